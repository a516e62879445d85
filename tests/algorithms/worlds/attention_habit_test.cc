#include "algorithms/worlds/attention_habit.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <set>

#include "tests/algorithms/worlds/generated_world.h"

namespace pagoda {
namespace {

constexpr size_t kClusters = 20;

TEST_CASE("attention_habit: clicks of the test follow the interest") {
  const GeneratedWorld world = Generate("attention_habit", 11, {"users=500", "train_days=2"});
  const Table& test = world["test"];
  REQUIRE(test.rows() == 500 * 40);
  CheckClicks(test);
  CHECK(test.Numbers("oracle") == test.Numbers("interest"));
  CHECK(world.figures.at("oracle_gauc") > world.figures.at("cluster_oracle_gauc"));
  CHECK(world["train"].rows() == 1000);
  CHECK(world["valid"].rows() == 500);
}

TEST_CASE("attention_habit: with one interest for all, portal and block follow the rule") {
  // q is the same everywhere, so that the chance of a click is known exactly.
  for (const std::string variant : {"planted", "null", "violation"}) {
    const GeneratedWorld world = Generate("attention_habit", 5,
                                          {"variant=" + variant, "users=4000", "train_days=1",
                                           "test_items=1", "taste=0", "appeal=0"});
    const Table& test = world["test"];
    std::vector<double> portal_chance, block_chance;
    for (size_t row = 0; row < test.rows(); ++row) {
      const double drive = test.Number("drive", row);
      const double habit = test.Number("habit", row);
      const double q = test.Number("interest", row);
      const double look = variant == "null" ? 1.0 : 0.02;
      CHECK(q == Approx(Sigmoid(-1.5)).epsilon(1e-5));
      if (variant == "planted") CHECK(habit == Approx(std::min(0.95, 1.3 * drive)).margin(2e-6));
      if (variant == "null") CHECK(habit == 0.0);
      if (variant == "violation") CHECK(habit == Approx(0.5 * drive).margin(2e-6));
      portal_chance.push_back(drive + (1 - drive) * look * q);
      block_chance.push_back(drive * (habit + (1 - habit) * q) + (1 - drive) * look * q);
    }
    INFO(variant);
    CHECK(std::fabs(Deviations(test.Numbers("portal"), portal_chance)) < kDeviationsMax);
    CHECK(std::fabs(Deviations(test.Numbers("block"), block_chance)) < kDeviationsMax);
    // Beta(a, b) has mean a / (a + b), and a variance below 1/12 for these.
    double sum = 0.0;
    for (const double drive : test.Numbers("drive")) sum += drive;
    const double mean = variant == "violation" ? 0.4 : 0.2;
    CHECK(std::fabs(sum / 4000 - mean) < 5 * std::sqrt(1.0 / 12 / 4000));
  }
}

TEST_CASE("attention_habit: which cluster is shown depends on the drive as stated") {
  for (const std::string variant : {"planted", "null"}) {
    const GeneratedWorld world = Generate(
        "attention_habit", 7, {"variant=" + variant, "users=3000", "train_days=5", "test_items=1"});
    std::map<double, double> drives;
    for (size_t row = 0; row < world["test"].rows(); ++row) {
      drives[world["test"].Number("user", row)] = world["test"].Number("drive", row);
    }
    const Table& train = world["train"];
    std::array<double, kClusters> sums = {}, counts = {};
    double all = 0.0;
    for (size_t row = 0; row < train.rows(); ++row) {
      const size_t cluster = static_cast<size_t>(train.Number("cluster", row));
      CHECK(static_cast<size_t>(train.Number("item", row)) % kClusters == cluster);
      sums[cluster] += drives.at(train.Number("user", row));
      counts[cluster] += 1.0;
      all += drives.at(train.Number("user", row));
    }
    const double mean = all / static_cast<double>(train.rows());
    double highest = 0.0;
    size_t high = 0;
    for (size_t c = 0; c < kClusters; ++c) {
      high += sums[c] / counts[c] > mean ? 1 : 0;
      highest = std::max(highest, sums[c] / counts[c] - mean);
    }
    INFO(variant);
    if (variant == "null") {
      // The mean of 750 drives of variance 0.04 has a standard error of 0.0073.
      CHECK(highest < 5 * 0.0073);
      continue;
    }
    CHECK(high == kClusters / 2);
    std::vector<double> shown, chance;
    for (size_t row = 0; row < train.rows(); ++row) {
      const size_t cluster = static_cast<size_t>(train.Number("cluster", row));
      shown.push_back(sums[cluster] / counts[cluster] > mean ? 1.0 : 0.0);
      chance.push_back(Sigmoid(2 * 1.5 * (drives.at(train.Number("user", row)) - 0.4)));
    }
    CHECK(std::fabs(Deviations(shown, chance)) < kDeviationsMax);
  }
}

TEST_CASE("attention_habit: tokens end yesterday, and tomorrow's hold today") {
  const GeneratedWorld world = Generate(
      "attention_habit", 2, {"users=40", "train_days=6", "items_per_day=3", "test_items=1"});
  struct Day {
    std::vector<int64_t> tokens, clicked;
    int64_t token = 0;
    bool recent = false;
    int rows = 0, firsts = 0;
    std::vector<int64_t> items;  // Clicked on that day.
  };
  std::map<int64_t, std::map<int64_t, Day>> users;
  for (const std::string file : {"train", "valid"}) {
    const Table& rows = world[file];
    for (size_t row = 0; row < rows.rows(); ++row) {
      const auto whole = [&](const char* name) {
        return static_cast<int64_t>(rows.Number(name, row));
      };
      Day& day = users[whole("user")][whole("day")];
      day.tokens = rows.List("tokens", row);
      day.clicked = rows.List("clicked_items", row);
      day.token = whole("block") != 0 ? 2 : whole("portal");
      day.recent = whole("recent") != 0;
      ++day.rows;
      day.firsts += static_cast<int>(whole("day_first"));
      if (whole("click") != 0) day.items.push_back(whole("item"));
    }
  }
  CHECK(users.size() == 40);
  for (auto& [user, days] : users) {
    REQUIRE(days.size() == 7);
    for (auto& [number, day] : days) {
      CHECK(day.rows == 3);
      CHECK(day.firsts == 1);
      REQUIRE(day.tokens.size() == 30);
      const bool recent = std::any_of(day.tokens.end() - 7, day.tokens.end(),
                                      [](int64_t token) { return token != 0; });
      CHECK(day.recent == recent);
      CHECK((day.token == 2) == !day.items.empty());
      if (days.count(number + 1) == 0) continue;
      const Day& next = days.at(number + 1);
      std::vector<int64_t> expected(day.tokens.begin() + 1, day.tokens.end());
      expected.push_back(day.token);
      CHECK(next.tokens == expected);
      // What was clicked today stands last tomorrow, in the order it was shown.
      REQUIRE(next.clicked.size() >= day.items.size());
      std::vector<int64_t> last(next.clicked.end() - static_cast<int64_t>(day.items.size()),
                                next.clicked.end());
      std::sort(last.begin(), last.end());
      std::sort(day.items.begin(), day.items.end());
      CHECK(last == day.items);
    }
  }
}

// GAUC on the test of scores per cluster, users weighted alike.
double Gauc(const Table& test, const std::array<double, kClusters>& scores) {
  std::map<double, std::pair<std::vector<double>, std::vector<bool>>> users;
  for (size_t row = 0; row < test.rows(); ++row) {
    auto& [user_scores, labels] = users[test.Number("user", row)];
    user_scores.push_back(scores[static_cast<size_t>(test.Number("cluster", row))]);
    labels.push_back(test.Number("click", row) > 0);
  }
  double sum = 0.0;
  int count = 0;
  for (const auto& [user, rows] : users) {
    const double auc = PairwiseAuc(rows.first, rows.second);
    if (std::isnan(auc)) continue;
    sum += auc;
    ++count;
  }
  return sum / count;
}

// Click rate per cluster of weighted rows: the estimators of the calibration, with the
// user's rates taken from the 30 tokens.
std::map<std::string, double> Estimators(const GeneratedWorld& world) {
  const std::vector<std::string> names = {"base", "no_debias", "no_block", "no_portal", "usd"};
  std::map<std::string, std::array<double, kClusters>> clicks, weights;
  const Table& train = world["train"];
  for (size_t row = 0; row < train.rows(); ++row) {
    double portal = 0.0, block = 0.0;
    for (const int64_t token : train.List("tokens", row)) {
      portal += token > 0 ? 1.0 / 30 : 0.0;
      block += token > 1 ? 1.0 / 30 : 0.0;
    }
    const bool click = train.Number("click", row) > 0;
    const bool kept = train.Number("portal", row) > 0;
    const double by_block = std::clamp(1.0 / std::max(block, 1e-9), 1.0, 15.0);
    const double by_portal = std::clamp(1.0 / std::max(1.0 - portal, 1e-9), 1.0, 15.0);
    const std::array<double, 5> all = {
        1.0, kept ? 1.0 : 0.0, kept ? (click ? 1.0 : by_portal) : 0.0,
        kept ? (click ? by_block : 1.0) : 0.0, kept ? (click ? by_block : by_portal) : 0.0};
    const size_t cluster = static_cast<size_t>(train.Number("cluster", row));
    for (size_t i = 0; i < names.size(); ++i) {
      weights[names[i]][cluster] += all[i];
      clicks[names[i]][cluster] += click ? all[i] : 0.0;
    }
  }
  std::map<std::string, double> gauc;
  for (const std::string& name : names) {
    for (size_t c = 0; c < kClusters; ++c) clicks[name][c] /= weights[name][c];
    gauc[name] = Gauc(world["test"], clicks[name]);
  }
  gauc["oracle"] = world.figures.at("cluster_oracle_gauc");
  return gauc;
}

TEST_CASE("attention_habit: cluster rates lose as calibrated in each variant") {
  // What the estimators lose against the oracle: docs/worlds.md and the calibration that the
  // world was specified with (means of 8 seeds). The appeal of 20 clusters is drawn anew by
  // each seed, which moves a single figure by 0.03 or so (standard deviation); of 2 seeds by
  // 0.02, and where the loss is near 0 by less.
  const std::map<std::string, std::map<std::string, double>> calibrated = {{"planted",
                                                                            {{"base", 0.100},
                                                                             {"no_debias", 0.067},
                                                                             {"no_block", 0.045},
                                                                             {"no_portal", 0.007},
                                                                             {"usd", 0.008}}},
                                                                           {"violation",
                                                                            {{"base", 0.092},
                                                                             {"no_debias", 0.027},
                                                                             {"no_block", 0.018},
                                                                             {"no_portal", 0.010},
                                                                             {"usd", 0.066}}},
                                                                           {"null",
                                                                            {{"base", 0.0},
                                                                             {"no_debias", 0.0},
                                                                             {"no_block", 0.001},
                                                                             {"no_portal", 0.0},
                                                                             {"usd", 0.001}}}};
  constexpr int kSeeds = 2;
  for (const auto& [variant, losses] : calibrated) {
    std::map<std::string, double> loss;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const GeneratedWorld world = Generate(
          "attention_habit", seed, {"variant=" + variant, "users=3000", "test_users=1000"});
      std::map<std::string, double> gauc = Estimators(world);
      for (const auto& [name, value] : gauc) loss[name] += (gauc["oracle"] - value) / kSeeds;
      INFO(variant << " seed " << seed);
      if (variant == "planted") CHECK(gauc["usd"] - gauc["base"] > 0.03);
      if (variant == "violation") CHECK(gauc["usd"] < gauc["no_debias"]);
      if (variant == "null") CHECK(std::fabs(gauc["usd"] - gauc["base"]) < 0.005);
    }
    for (const auto& [name, value] : losses) {
      INFO(variant << " " << name << " loses " << loss[name] << ", calibrated " << value);
      CHECK(std::fabs(loss[name] - value) < (value < 0.015 ? 0.01 : 0.045));
    }
  }
}

}  // namespace
}  // namespace pagoda
