#include "algorithms/worlds/stock_sale.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <limits>
#include <set>

#include "algorithms/worlds/draws.h"
#include "tests/algorithms/worlds/generated_world.h"

namespace pagoda {
namespace {

const std::vector<std::string> kFiles = {"train", "valid", "test"};
const std::vector<std::string> kSides = {"categories", "brands", "prices", "sellers", "conditions"};

TEST_CASE("stock_sale: clicks follow the oracle, and it is the stated logit") {
  const GeneratedWorld world = Generate("stock_sale", 3, {"users=700"});
  const Table& test = world["test"];
  CheckClicks(test);
  std::set<double> tastes;
  for (size_t row = 0; row < test.rows(); ++row) {
    const double logit = -2.0 + test.Number("quality", row) + test.Number("taste", row);
    CHECK(test.Number("oracle", row) == Approx(Sigmoid(logit)).margin(3e-6));
    tastes.insert(test.Number("taste", row));
  }
  // Liked or not, with mean 0 over 3 of 20 categories.
  REQUIRE(tastes.size() == 2);
  CHECK(*tastes.begin() == Approx(-0.45));
  CHECK(*tastes.rbegin() == Approx(2.55));
  CHECK(world.figures.at("sold_share") > 0.25);
  CHECK(world.figures.at("sold_share") < 0.35);
  CHECK(world.figures.at("limited_share") > 0.2);
  CHECK(world.figures.at("limited_share") < 0.3);
  CHECK(world.figures.at("limited_targets") > 0.55);
  CHECK(world.figures.at("limited_targets") < 0.65);
}

TEST_CASE("stock_sale: the qualities give the calibrated oracles of items") {
  // Without tastes a click depends on the item alone. The specification was calibrated at
  // .563 / .628 / .696 / .749 for click rates of n = 1 / 3 / 10 / 100 impressions, .729 for
  // the side fields and .758 for the truth; its click rate is not stated, and -2 fits best.
  // The standard error of an AUC of m positives is below 0.29 / sqrt(m).
  const std::vector<std::string> knobs = {"users=1500", "taste_strength=0", "history=0",
                                          "sellers=200"};
  const GeneratedWorld world = Generate("stock_sale", 12, knobs);
  // The same items without their own part: the quality is 0.9 of the side fields.
  std::vector<std::string> side_knobs = knobs;
  side_knobs.push_back("own_spread=0");
  const GeneratedWorld sides = Generate("stock_sale", 12, side_knobs);
  std::map<double, double> side;
  for (size_t row = 0; row < sides["test"].rows(); ++row) {
    side[sides["test"].Number("item", row)] = sides["test"].Number("quality", row);
  }
  const Table& test = world["test"];
  Draws draws(RandomKey{77});
  std::map<double, std::map<int, double>> rates;  // By item and number of impressions.
  Figures figures({{"truth", FigureName::kAuc},
                   {"side", FigureName::kAuc},
                   {"n1", FigureName::kAuc},
                   {"n3", FigureName::kAuc},
                   {"n10", FigureName::kAuc},
                   {"n100", FigureName::kAuc}});
  UnitFigures unit;
  for (size_t row = 0; row < test.rows(); ++row) {
    const double item = test.Number("item", row);
    const double oracle = test.Number("oracle", row);
    const bool click = test.Number("click", row) > 0;
    int figure = 2;
    for (const int n : {1, 3, 10, 100}) {
      if (rates[item].count(n) == 0) {
        int clicks = 0;
        for (int i = 0; i < n; ++i) clicks += draws.Chance(oracle) ? 1 : 0;
        rates[item][n] = static_cast<double>(clicks) / n;
      }
      unit.Score(figure++, 0.999 * rates[item][n], click);
    }
    unit.Score(0, oracle, click);
    if (side.count(item) > 0) unit.Score(1, Sigmoid(side.at(item)), click);
  }
  figures.Add(unit);
  const std::vector<double> calibrated = {0.758, 0.729, 0.563, 0.628, 0.696, 0.749};
  for (int figure = 0; figure < 6; ++figure) {
    INFO(figures.names()[static_cast<size_t>(figure)].name << " " << figures.At(figure));
    CHECK(std::fabs(figures.At(figure) - calibrated[static_cast<size_t>(figure)]) < 0.025);
  }
}

struct Row {
  const Table* table;
  size_t row;
  double user, item, time;
  bool click, limited;
};

std::vector<Row> RowsInTime(const GeneratedWorld& world) {
  std::vector<Row> rows;
  for (const std::string& file : kFiles) {
    const Table& table = world[file];
    for (size_t row = 0; row < table.rows(); ++row) {
      rows.push_back({&table, row, table.Number("user", row), table.Number("item", row),
                      table.Number("time", row), table.Number("click", row) > 0,
                      table.Number("limited", row) > 0});
    }
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.time < b.time; });
  return rows;
}

TEST_CASE("stock_sale: a history holds the user's earlier clicks, and nothing later") {
  const GeneratedWorld world = Generate("stock_sale", 5, {"users=60", "history=10000"});
  std::map<double, std::multiset<int64_t>> clicked;  // Of the rows so far, by user.
  std::map<double, size_t> lengths;
  std::map<double, std::set<double>> ever;  // Limited items that a user clicks at any time.
  const std::vector<Row> rows = RowsInTime(world);
  for (const Row& row : rows) {
    if (row.click && row.limited) ever[row.user].insert(row.item);
  }
  for (const Row& row : rows) {
    const std::vector<int64_t> items = row.table->List("hist_items", row.row);
    std::multiset<int64_t> history(items.begin(), items.end());
    for (const int64_t item : clicked[row.user]) {
      const auto found = history.find(item);
      REQUIRE(found != history.end());
      history.erase(found);
    }
    // Other events are clicks elsewhere or before the rows begin: a limited item that the user
    // clicks in some row is there once for every such row so far (since day 0: it may have
    // been shown to the same user before).
    const std::vector<int64_t> days = row.table->List("hist_days", row.row);
    std::map<int64_t, size_t> since_start;
    for (size_t i = 0; i < items.size(); ++i) {
      since_start[items[i]] += row.time - static_cast<double>(days[i]) - 1.0 >= 0.0 ? 1 : 0;
    }
    for (const auto& [item, count] : since_start) {
      if (ever[row.user].count(static_cast<double>(item)) == 0) continue;
      CHECK(count <= clicked[row.user].count(item));
    }
    CHECK(items.size() >= lengths[row.user]);
    lengths[row.user] = items.size();
    CHECK(std::is_sorted(days.rbegin(), days.rend()));
    CHECK((days.empty() || days.back() >= 0));
    if (row.click) clicked[row.user].insert(static_cast<int64_t>(row.item));
  }
}

TEST_CASE("stock_sale: limited items are shown six times at most, and never after their sale") {
  const GeneratedWorld world = Generate("stock_sale", 6, {"users=300", "withhold=0.5"});
  std::map<int64_t, int> shown;
  std::map<int64_t, double> last_shown, first_sold;
  std::map<int64_t, std::set<int64_t>> withheld;  // By item: 1 where fields read 0 once sold.
  for (const Row& row : RowsInTime(world)) {
    if (row.limited) {
      ++shown[static_cast<int64_t>(row.item)];
      last_shown[static_cast<int64_t>(row.item)] = row.time;
    }
    CHECK(row.limited == (row.item >= 2000));
    const std::vector<int64_t> items = row.table->List("hist_items", row.row);
    const std::vector<int64_t> limited = row.table->List("hist_limited", row.row);
    const std::vector<int64_t> sold = row.table->List("hist_sold", row.row);
    std::map<std::string, std::vector<int64_t>> sides;
    for (const std::string& side : kSides) {
      sides[side] = row.table->List("hist_" + side, row.row);
    }
    int wrong = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      wrong += (limited[i] == 1) == (items[i] >= 2000) ? 0 : 1;
      if (sold[i] == 1) {
        wrong += limited[i] == 1 ? 0 : 1;
        first_sold.emplace(items[i], row.time);
      } else {
        wrong += first_sold.count(items[i]) == 0 ? 0 : 1;  // Once sold, sold for ever.
      }
      size_t zeros = 0;
      for (const std::string& side : kSides) {
        zeros += sides[side][i] == 0 ? 1 : 0;
      }
      wrong += zeros == 0 || (zeros == kSides.size() && sold[i] == 1) ? 0 : 1;
      if (sold[i] == 1) withheld[items[i]].insert(zeros > 0 ? 1 : 0);
    }
    CHECK(wrong == 0);
  }
  for (const auto& [item, times] : shown) CHECK(times <= 6);
  int checked = 0;
  for (const auto& [item, time] : first_sold) {
    if (last_shown.count(item) == 0) continue;
    CHECK(last_shown.at(item) <= time);
    ++checked;
  }
  CHECK(checked > 100);
  std::vector<double> outcomes, half;
  for (const auto& [item, values] : withheld) {
    CHECK(values.size() == 1);
    outcomes.push_back(static_cast<double>(*values.begin()));
    half.push_back(0.5);
  }
  CHECK(std::fabs(Deviations(outcomes, half)) < kDeviationsMax);
}

TEST_CASE("stock_sale: the number of training rows and the slice of an item are right") {
  const GeneratedWorld world = Generate("stock_sale", 7, {"users=400", "history=2"});
  std::map<double, int> counts;
  const Table& train = world["train"];
  for (size_t row = 0; row < train.rows(); ++row) ++counts[train.Number("item", row)];
  const Table& test = world["test"];
  std::map<std::string, int> slices;
  double deep = 0.0, deep_rows = 0.0;
  for (size_t row = 0; row < test.rows(); ++row) {
    const int count = counts[test.Number("item", row)];
    const std::string slice = test.Text("slice", row);
    ++slices[slice];
    if (test.Number("limited", row) == 0) {
      CHECK(slice == "deep");
      deep += test.Number("train_count", row) - count;
      deep_rows += 1.0;
      continue;
    }
    CHECK(test.Number("train_count", row) == count);
    CHECK(slice == (count == 0 ? "limited_new" : (count <= 3 ? "limited_few" : "limited_more")));
  }
  CHECK(slices.size() == 4);
  CHECK(std::fabs(deep / deep_rows) < 1.0);  // Expected, and rounded.
}

TEST_CASE("stock_sale: the two tastes of a user are independent, and in their own clicks") {
  const GeneratedWorld world = Generate("stock_sale", 8, {"users=2500", "history=30"});
  // (user, limited) -> liked categories as far as the test shows them.
  std::map<std::pair<double, bool>, std::set<double>> liked, seen;
  for (size_t row = 0; row < world["test"].rows(); ++row) {
    const Table& test = world["test"];
    const std::pair<double, bool> key(test.Number("user", row), test.Number("limited", row) > 0);
    seen[key].insert(test.Number("category", row));
    if (test.Number("taste", row) > 0) liked[key].insert(test.Number("category", row));
  }
  // A category liked among limited items is liked among deep-stock ones in 3 of 20 cases.
  std::vector<double> both, chance;
  for (const auto& [key, categories] : liked) {
    if (!key.second) continue;
    for (const double category : categories) {
      if (seen[{key.first, false}].count(category) == 0) continue;
      both.push_back(liked[{key.first, false}].count(category) > 0 ? 1.0 : 0.0);
      chance.push_back(0.15);
    }
  }
  REQUIRE(both.size() > 100);
  CHECK(std::fabs(Deviations(both, chance)) < kDeviationsMax);
  // Events of a kind lie in the categories liked for that kind, far more often than by chance,
  // and in those liked for the other kind as by chance.
  std::map<std::pair<bool, bool>, std::pair<double, double>> hits;  // (kind, taste of kind)
  const Table& test = world["test"];
  for (size_t row = 0; row < test.rows(); ++row) {
    const std::vector<int64_t> kinds = test.List("hist_limited", row);
    const std::vector<int64_t> categories = test.List("hist_categories", row);
    for (size_t i = 0; i < kinds.size(); ++i) {
      for (const bool taste : {false, true}) {
        const std::pair<double, bool> key(test.Number("user", row), taste);
        if (seen[key].count(static_cast<double>(categories[i])) == 0) continue;
        auto& [hit, all] = hits[{kinds[i] == 1, taste}];
        hit += liked[key].count(static_cast<double>(categories[i])) > 0 ? 1.0 : 0.0;
        all += 1.0;
      }
    }
  }
  const auto rate = [&](bool kind, bool taste) {
    return hits[{kind, taste}].first / hits[{kind, taste}].second;
  };
  CHECK(rate(true, true) > 0.35);
  CHECK(rate(false, false) > 0.35);
  CHECK(rate(true, false) < 0.2);
  CHECK(rate(false, true) < 0.2);
}

TEST_CASE("stock_sale: in the null world nothing is limited and nothing is sold") {
  const GeneratedWorld world = Generate("stock_sale", 9, {"users=200", "variant=null"});
  CheckClicks(world["test"]);
  for (const Row& row : RowsInTime(world)) {
    CHECK_FALSE(row.limited);
    CHECK(row.item < 2000);
    for (const int64_t sold : row.table->List("hist_sold", row.row)) CHECK(sold == 0);
    for (const int64_t limited : row.table->List("hist_limited", row.row)) CHECK(limited == 0);
  }
}

}  // namespace
}  // namespace pagoda
