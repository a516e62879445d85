// Rules by themselves; what a store makes of them: shard_store_evict_test.cc.
#include "embedding_store/eviction.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace pagoda {
namespace {

using Catch::Contains;

TEST_CASE("orders of eviction have names") {
  for (const EvictionOrder order : {EvictionOrder::kOldest, EvictionOrder::kLeastFrequent,
                                    EvictionOrder::kLowestScore, EvictionOrder::kSmallest}) {
    const auto parsed = ParseEvictionOrder(EvictionOrderName(order));
    REQUIRE(parsed.ok());
    CHECK(*parsed == order);
  }
  CHECK_THAT(std::string(ParseEvictionOrder("newest").status().message()),
             Contains("\"newest\"") && Contains("oldest"));
}

TEST_CASE("a score halves with every half life") {
  const EvictionRule rule{.now = 1000, .score_min = 2.0, .score_half_life = 100};
  CHECK(ScoreOf(rule, {1000, 8, 0.0}) == 8.0);
  CHECK(ScoreOf(rule, {900, 8, 0.0}) == 4.0);
  CHECK(ScoreOf(rule, {2000, 8, 0.0}) == 8.0);
  CHECK(!RuleEvicts(rule, {800, 8, 0.0}));
  CHECK(RuleEvicts(rule, {799, 8, 0.0}));
  CHECK(!RuleEvicts({.now = 1000}, {0, 0, 0.0}));
}

TEST_CASE("ranks rise with what the order looks at") {
  EvictionRule rule{.now = 50000};
  const auto rank = [&](const RowFacts& row) { return EvictionRank(rule, row); };
  CHECK(rank({7, 0, 0.0}) < rank({8, 0, 0.0}));
  rule.now = int64_t{1} << 31;
  CHECK(rank({7, 0, 0.0}) == rank({8, 0, 0.0}));
  CHECK(rank({1 << 20, 0, 0.0}) < rank({1 << 21, 0, 0.0}));
  CHECK(rank({rule.now, 0, 0.0}) <= 0xffff);
  rule.order = EvictionOrder::kLeastFrequent;
  CHECK(rank({0, 1, 0.0}) < rank({0, 2, 0.0}));
  CHECK(rank({0, 70000, 0.0}) == rank({0, 80000, 0.0}));
  rule.order = EvictionOrder::kSmallest;
  double last = 0.0;
  for (double norm = 1e-6; norm < 1e6; norm *= 1.01) {
    REQUIRE(rank({0, 0, last * last}) < rank({0, 0, norm * norm}));
    last = norm;
  }
  CHECK(rank({0, 0, std::numeric_limits<double>::quiet_NaN()}) == 0xffff);
  rule.order = EvictionOrder::kLowestScore;
  CHECK(rank({rule.now - 10000, 8, 0.0}) == rank({rule.now, 4, 0.0}));
  CHECK(rank({rule.now, 3, 0.0}) < rank({rule.now, 4, 0.0}));
}

TEST_CASE("policies that cannot do anything are refused") {
  CHECK(CheckEvictionPolicy({}).ok());
  CHECK(!EvictionPolicy().triggers());
  EvictionPolicy policy;
  policy.rule.unused_steps = 5;
  CHECK_THAT(std::string(CheckEvictionPolicy(policy).message()), Contains("every_steps"));
  policy.every_steps = 10;
  CHECK(CheckEvictionPolicy(policy).ok());
  policy.rule.unused_steps = 0;
  CHECK_THAT(std::string(CheckEvictionPolicy(policy).message()), Contains("no criterion"));
  policy.bytes_disk_max = 1;
  CHECK(CheckEvictionPolicy(policy).ok());
  policy.every_seconds = -1;
  CHECK_THAT(std::string(CheckEvictionPolicy(policy).message()), Contains("every_seconds"));
  policy = {};
  policy.rule.score_half_life = 0;
  CHECK_THAT(std::string(CheckEvictionPolicy(policy).message()), Contains("score_half_life"));
  policy = {};
  policy.rule.score_min = std::numeric_limits<double>::infinity();
  CHECK_THAT(std::string(CheckEvictionPolicy(policy).message()), Contains("score_min"));
}

}  // namespace
}  // namespace pagoda
