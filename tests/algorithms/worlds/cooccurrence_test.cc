#include "algorithms/worlds/cooccurrence.h"

#include <catch2/catch.hpp>

#include <set>

#include "tests/algorithms/worlds/generated_world.h"

namespace pagoda {
namespace {

const std::vector<std::string> kSmall = {"users=1500",          "items=2000",    "candidates=64",
                                         "categories_count=40", "length_min=10", "length_max=20"};

std::vector<std::string> With(std::vector<std::string> knobs,
                              const std::vector<std::string>& more) {
  knobs.insert(knobs.end(), more.begin(), more.end());
  return knobs;
}

TEST_CASE("cooccurrence: clicks follow the oracle, and it is the stated function of the cosine") {
  const GeneratedWorld world = Generate("cooccurrence", 3, With(kSmall, {"impressions=20"}));
  const Table& test = world["test"];
  REQUIRE(test.rows() == 225 * 20);
  CheckClicks(test);
  for (size_t row = 0; row < test.rows(); ++row) {
    const double sure = Sigmoid(8 * (test.Number("nearest", row) - 0.5));
    CHECK(test.Number("oracle", row) == Approx(0.95 * sure + 0.05 * (1 - sure)).margin(5e-6));
    CHECK(static_cast<int64_t>(test.Number("item", row)) % 40 ==
          static_cast<int64_t>(test.Number("category", row)));
  }
  // The oracle of a category is the mean over its 50 items, so that it is right on average
  // where candidates are drawn at random: those are half.
  CHECK(world.figures.at("oracle_auc") > world.figures.at("category_oracle_auc") + 0.02);
}

TEST_CASE("cooccurrence: users, sequences and files are as stated") {
  const GeneratedWorld world = Generate("cooccurrence", 4, kSmall);
  std::map<std::string, std::set<double>> users;
  std::map<double, std::string> sequences;
  for (const std::string file : {"train", "valid", "test", "pretrain", "pretrain_transductive"}) {
    const Table& table = world[file];
    for (size_t row = 0; row < table.rows(); ++row) {
      const double user = table.Number("user", row);
      users[file].insert(user);
      // A user has one sequence, wherever it stands.
      const std::string& items = table.Text("items", row);
      CHECK(sequences.emplace(user, items).first->second == items);
      const std::vector<int64_t> list = table.List("items", row);
      const std::vector<int64_t> categories = table.List("categories", row);
      CHECK(list.size() >= 10);
      CHECK(list.size() <= 20);
      REQUIRE(list.size() == categories.size());
      for (size_t i = 0; i < list.size(); ++i) CHECK(list[i] % 40 == categories[i]);
      if (file.substr(0, 8) == "pretrain") {
        CHECK(table.Text("item", row).empty());
        CHECK(table.Text("category", row).empty());
        CHECK(table.Text("click", row) == "0");
      }
    }
  }
  CHECK(users["train"].size() == 1200);
  CHECK(users["valid"].size() == 75);
  CHECK(users["test"].size() == 225);
  CHECK(users["pretrain"] == users["train"]);  // Inductive: none of the test's.
  CHECK(users["pretrain_transductive"].size() == 1500);
  CHECK(world["train"].rows() == 2400);
  CHECK(world["pretrain"].rows() == 1200);
  for (const double user : users["test"]) CHECK(users["train"].count(user) == 0);
}

TEST_CASE("cooccurrence: test_impressions adds rows to the test's users alone") {
  const GeneratedWorld few = Generate("cooccurrence", 4, kSmall);
  const GeneratedWorld many = Generate("cooccurrence", 4, With(kSmall, {"test_impressions=5"}));
  REQUIRE(few["test"].rows() == 225 * 2);
  REQUIRE(many["test"].rows() == 225 * 5);
  for (const std::string file : {"train", "valid", "pretrain"}) {
    REQUIRE(many[file].rows() == few[file].rows());
    for (const std::string column : {"user", "items", "item", "click"}) {
      for (size_t row = 0; row < few[file].rows(); ++row) {
        if (many[file].Text(column, row) != few[file].Text(column, row)) FAIL(file << column);
      }
    }
  }
  // The rows that both have are the same.
  for (size_t row = 0; row < few["test"].rows(); ++row) {
    const size_t same = row / 2 * 5 + row % 2;
    CHECK(many["test"].Number("user", same) == few["test"].Number("user", row));
    CHECK(many["test"].Number("item", same) == few["test"].Number("item", row));
    CHECK(many["test"].Number("click", same) == few["test"].Number("click", row));
  }
}

// How often two events of a sequence have one category.
double SameCategory(const Table& table) {
  double same = 0.0, pairs = 0.0;
  for (size_t row = 0; row < table.rows(); ++row) {
    const std::vector<int64_t> categories = table.List("categories", row);
    for (size_t i = 1; i < categories.size(); ++i) {
      same += categories[i] == categories[i - 1] ? 1.0 : 0.0;
      pairs += 1.0;
    }
  }
  return same / pairs;
}

std::vector<double> ItemShares(const Table& table, size_t items) {
  std::vector<double> shares(items);
  double all = 0.0;
  for (size_t row = 0; row < table.rows(); ++row) {
    for (const int64_t item : table.List("items", row)) {
      shares[static_cast<size_t>(item)] += 1.0;
      all += 1.0;
    }
  }
  for (double& share : shares) share /= all;
  return shares;
}

TEST_CASE("cooccurrence: the null world loses co-occurrence and keeps popularity") {
  const std::vector<std::string> knobs = With(kSmall, {"items=200", "categories_count=20"});
  const GeneratedWorld planted = Generate("cooccurrence", 5, knobs);
  const GeneratedWorld null = Generate("cooccurrence", 5, With(knobs, {"variant=null"}));
  const double together = SameCategory(planted["pretrain"]);
  const double apart = SameCategory(null["pretrain"]);
  const std::vector<double> before = ItemShares(planted["pretrain"], 200);
  const std::vector<double> after = ItemShares(null["pretrain"], 200);
  // Independent events share a category as often as the categories' shares say.
  std::vector<double> categories(20);
  double difference = 0.0;
  for (size_t item = 0; item < 200; ++item) {
    categories[item % 20] += before[item];
    difference += std::fabs(before[item] - after[item]);
  }
  double by_chance = 0.0;
  for (const double share : categories) by_chance += share * share;
  INFO("together " << together << ", apart " << apart << ", by chance " << by_chance);
  CHECK(together > 2 * by_chance);
  CHECK(std::fabs(apart - by_chance) < 0.01);
  // 18000 events over 200 items: two draws of the shares differ by about
  // 200 * 0.8 * sqrt(2 * 0.005 / 18000) = 0.12 in all, and more as users share centres.
  CHECK(difference < 0.25);
  // Labels and the histories beside them do not change.
  CHECK(null["train"].Text("items", 0) == planted["train"].Text("items", 0));
  CHECK(null["test"].Numbers("oracle") == planted["test"].Numbers("oracle"));
  for (size_t row = 0; row < 20; ++row) {
    CHECK(null["pretrain"].List("items", row).size() ==
          planted["pretrain"].List("items", row).size());
  }
}

TEST_CASE("cooccurrence: without sharpness events follow popularity to the power 0.3") {
  const GeneratedWorld world =
      Generate("cooccurrence", 6,
               {"users=3000", "items=20", "categories_count=2", "choice_sharpness=0",
                "candidates=400", "length_min=20", "length_max=20"});
  std::vector<double> shares = ItemShares(world["pretrain_transductive"], 20);
  std::sort(shares.rbegin(), shares.rend());
  double sum = 0.0;
  for (int rank = 1; rank <= 20; ++rank) sum += std::pow(rank, -0.24);
  for (int rank = 1; rank <= 20; ++rank) {
    const double share = std::pow(rank, -0.24) / sum;
    INFO("rank " << rank);
    // 60000 events, and candidates drawn with repetition (400 of them add a spread of
    // 1 / sqrt(20) of an event's own); sorting moves near neighbours by less.
    CHECK(std::fabs(shares[static_cast<size_t>(rank - 1)] - share) <
          5 * std::sqrt(1.1 * share / 60000));
  }
}

TEST_CASE("cooccurrence: events are as near to the centre as the exponential weights say") {
  // With one centre for all (two items, and the choice between them), the odds of the two are
  // exp(sharpness (cos - 1)) against 1. The cosine shows in `nearest`.
  const GeneratedWorld world =
      Generate("cooccurrence", 9,
               {"users=4000", "items=2", "categories_count=2", "choice_sharpness=2",
                "candidates=400", "length_min=10", "length_max=10", "stickiness=1"});
  double cosine = 1.0;
  for (const double nearest : world["test"].Numbers("nearest")) cosine = std::min(cosine, nearest);
  REQUIRE(cosine < 0.9);
  // Per sequence: the centre is one item or the other.
  const double weight = std::exp(2.0 * (cosine - 1.0));
  const double popular = std::pow(2.0, -0.24);
  std::map<int64_t, double> ones;
  for (size_t row = 0; row < 4000; ++row) {
    for (const int64_t item : world["pretrain_transductive"].List("items", row)) {
      ones[item] += 1.0;
    }
  }
  // Half of the sequences are near item 0: the popular one gets this share over all.
  const double own = 1.0 / (1.0 + weight * popular);
  const double other = weight / (weight + popular);
  const double share = 0.5 * (own + other);
  const double most = std::max(ones[0], ones[1]) / 40000;
  // 4000 sequences of 10 events of one centre each: at most the variance of 4000 draws.
  CHECK(std::fabs(most - share) < 5 * std::sqrt(0.25 / 4000));
}

}  // namespace
}  // namespace pagoda
