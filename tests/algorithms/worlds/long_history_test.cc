#include "algorithms/worlds/long_history.h"

#include <catch2/catch.hpp>

#include <set>

#include "tests/algorithms/worlds/generated_world.h"

namespace pagoda {
namespace {

double DecayedCount(const std::vector<int64_t>& topics, int64_t topic, size_t newest) {
  double sum = 0.0;
  for (size_t age = 0; age < std::min(newest, topics.size()); ++age) {
    if (topics[topics.size() - 1 - age] == topic) sum += std::exp2(-static_cast<double>(age) / 400);
  }
  return sum;
}

double Rule(double same, double complement) {
  return Sigmoid(1.2 * std::log(1 + same) + 1.2 * std::log(1 + complement) - 3.0);
}

TEST_CASE("long_history: the oracle is the rule, counted anew from the user's history") {
  const GeneratedWorld world = Generate("long_history", 3, {"users=400"});
  const Table& users = world["users"];
  const Table& test = world["test"];
  REQUIRE(users.rows() == 400);
  REQUIRE(test.rows() == 40 * 20);
  CHECK(world["train"].rows() == 320 * 20);
  CHECK(world["valid"].rows() == 40 * 20);
  CheckClicks(test);
  // Topics that every row of a topic leaves possible as its complement.
  std::map<int64_t, std::set<int64_t>> possible;
  for (size_t row = 0; row < test.rows(); ++row) {
    const size_t user = static_cast<size_t>(test.Number("user", row));
    REQUIRE(users.Number("user", user) == static_cast<double>(user));
    const std::vector<int64_t> topics = users.List("topics", user);
    const int64_t topic = static_cast<int64_t>(test.Number("topic", row));
    CHECK(static_cast<int64_t>(test.Number("item", row)) % 100 == topic);
    const double same = DecayedCount(topics, topic, topics.size());
    const double other = test.Number("n_complement", row);
    CHECK(test.Number("n_same", row) == Approx(same).margin(2e-6));
    CHECK(test.Number("oracle", row) == Approx(Rule(same, other)).margin(3e-6));
    CHECK(test.Number("oracle_same", row) == Approx(Rule(same, 0)).margin(3e-6));
    std::set<int64_t> fits;
    for (int64_t c = 0; c < 100; ++c) {
      if (std::fabs(DecayedCount(topics, c, topics.size()) - other) < 2e-6) fits.insert(c);
    }
    const bool first = possible.count(topic) == 0;
    std::set<int64_t> both;
    for (const int64_t c : first ? fits : possible[topic]) {
      if (fits.count(c) > 0) both.insert(c);
    }
    possible[topic] = both;
  }
  std::set<int64_t> complements;
  for (const auto& [topic, left] : possible) {
    INFO("topic " << topic);
    REQUIRE_FALSE(left.empty());
    if (left.size() > 1) continue;  // Too few rows to tell.
    CHECK(*left.begin() != topic);
    CHECK(complements.insert(*left.begin()).second);  // No topic is the complement of two.
  }
  CHECK(complements.size() > 50);
}

TEST_CASE("long_history: what is planted is old, and in another topic") {
  const GeneratedWorld world = Generate("long_history", 4, {"users=600"});
  CHECK(world.figures.at("old_share") >= 0.8);
  CHECK(world.figures.at("oracle_auc") - world.figures.at("short_oracle_auc") > 0.1);
  CHECK(world.figures.at("oracle_auc") - world.figures.at("same_oracle_auc") > 0.05);
}

TEST_CASE("long_history: sessions are aligned, or have lengths in their range") {
  const GeneratedWorld aligned = Generate("long_history", 5, {"users=20"});
  const GeneratedWorld unaligned =
      Generate("long_history", 5, {"users=20", "session_min=8", "session_max=24"});
  std::set<size_t> lengths;
  for (size_t user = 0; user < 20; ++user) {
    const std::vector<int64_t> topics = aligned["users"].List("topics", user);
    const std::vector<int64_t> items = aligned["users"].List("items", user);
    REQUIRE(topics.size() == 1024);
    REQUIRE(items.size() == 1024);
    for (size_t i = 0; i < 1024; ++i) {
      CHECK(topics[i] == topics[i / 16 * 16]);
      CHECK(items[i] % 100 == topics[i]);
      CHECK(items[i] < 3000);
    }
    const std::vector<int64_t> other = unaligned["users"].List("topics", user);
    REQUIRE(other.size() == 1024);
    size_t run = 1;
    bool oldest = true;  // The oldest session may be cut.
    for (size_t i = 1; i <= 1024; ++i) {
      if (i < 1024 && other[i] == other[i - 1]) {
        ++run;
        continue;
      }
      // Two neighbours of one topic (one pair in a hundred) make a longer run.
      if (!oldest) {
        CHECK(run >= 8);
        lengths.insert(run);
      }
      oldest = false;
      run = 1;
    }
  }
  for (size_t length = 8; length <= 24; ++length) CHECK(lengths.count(length) == 1);
}

TEST_CASE("long_history: the null world shows another user's history, and the own short one") {
  const std::vector<std::string> knobs = {"users=50", "short=20"};
  std::vector<std::string> null_knobs = knobs;
  null_knobs.push_back("variant=null");
  const GeneratedWorld planted = Generate("long_history", 6, knobs);
  const GeneratedWorld null = Generate("long_history", 6, null_knobs);
  std::set<std::string> shown;
  for (size_t user = 0; user < 50; ++user) {
    const std::vector<int64_t> own = planted["users"].List("items", user);
    CHECK(planted["users"].List("short_items", user) ==
          std::vector<int64_t>(own.end() - 20, own.end()));
    const std::vector<int64_t> topics = planted["users"].List("topics", user);
    CHECK(planted["users"].List("short_topics", user) ==
          std::vector<int64_t>(topics.end() - 20, topics.end()));
    CHECK(null["users"].Text("short_items", user) == planted["users"].Text("short_items", user));
    CHECK(null["users"].Text("items", user) != planted["users"].Text("items", user));
    shown.insert(null["users"].Text("items", user));
  }
  // The same histories, each at another user.
  for (size_t user = 0; user < 50; ++user) {
    CHECK(shown.count(planted["users"].Text("items", user)) == 1);
  }
  CHECK(null["test"].Numbers("click") == planted["test"].Numbers("click"));
  CHECK(Generate("long_history", 6, {"users=1", "variant=null"})["users"].rows() == 1);
}

}  // namespace
}  // namespace pagoda
