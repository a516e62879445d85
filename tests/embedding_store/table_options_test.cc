#include "embedding_store/table_options.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;

TEST_CASE("optimizer names go both ways, unknown ones list the known") {
  for (Kind kind :
       {Kind::kSgd, Kind::kAdagrad, Kind::kRowwiseAdagrad, Kind::kAdam, Kind::kFtrl,
        Kind::kMomentum, Kind::kAdagradDecay, Kind::kAdamW, Kind::kRowwiseAdam, Kind::kGroupFtrl}) {
    const auto parsed = ParseSparseOptimizer(SparseOptimizerName(kind));
    REQUIRE(parsed.ok());
    CHECK(*parsed == kind);
  }
  const auto unknown = ParseSparseOptimizer("adamax");
  CHECK(absl::IsInvalidArgument(unknown.status()));
  CHECK_THAT(std::string(unknown.status().message()),
             Contains("adamax") && Contains("rowwise_adagrad"));
}

TEST_CASE("slots by optimizer") {
  CHECK(SlotDim(Kind::kSgd, 7) == 0);
  CHECK(SlotDim(Kind::kAdagrad, 7) == 7);
  CHECK(SlotDim(Kind::kRowwiseAdagrad, 7) == 1);
  CHECK(SlotDim(Kind::kAdam, 7) == 15);
  CHECK(SlotDim(Kind::kFtrl, 7) == 14);
  CHECK(SlotDim(Kind::kMomentum, 7) == 7);
  CHECK(SlotDim(Kind::kAdagradDecay, 7) == 8);
  CHECK(SlotDim(Kind::kAdamW, 7) == 15);
  CHECK(SlotDim(Kind::kRowwiseAdam, 7) == 9);
  CHECK(SlotDim(Kind::kGroupFtrl, 7) == 14);
}

TEST_CASE("each option out of range is refused by name") {
  struct Case {
    const char* member;
    std::function<void(TableOptions&)> spoil;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Case> cases = {
      {"name", [](TableOptions& t) { t.name = ""; }},
      {"name", [](TableOptions& t) { t.name = std::string(257, 'x'); }},
      {"dim", [](TableOptions& t) { t.dim = 0; }},
      {"dim", [](TableOptions& t) { t.dim = 4097; }},
      {"init_stddev", [=](TableOptions& t) { t.init_stddev = nan; }},
      {"init_stddev", [](TableOptions& t) { t.init_stddev = -1.0f; }},
      {"init_zero_columns", [](TableOptions& t) { t.init_zero_columns = t.dim + 1; }},
      {"optimizer.kind", [](TableOptions& t) { t.optimizer.kind = static_cast<Kind>(10); }},
      {"learning_rate", [=](TableOptions& t) { t.optimizer.learning_rate = nan; }},
      {"initial_accumulator", [](TableOptions& t) { t.optimizer.initial_accumulator = -0.1f; }},
      {"epsilon", [](TableOptions& t) { t.optimizer.epsilon = 0.0f; }},
      {"beta1", [](TableOptions& t) { t.optimizer.beta1 = 1.0f; }},
      {"beta2", [=](TableOptions& t) { t.optimizer.beta2 = nan; }},
      {"l2", [](TableOptions& t) { t.optimizer.l2 = -1.0f; }},
      {"ftrl_beta", [](TableOptions& t) { t.optimizer.ftrl_beta = INFINITY; }},
      {"ftrl_l21", [](TableOptions& t) { t.optimizer.ftrl_l21 = -1.0f; }},
      {"warmup_steps", [](TableOptions& t) { t.optimizer.schedule.warmup_steps = -1; }},
      {"momentum", [](TableOptions& t) { t.optimizer.momentum = 1.0f; }},
      {"clip_norm", [](TableOptions& t) { t.optimizer.clip_norm = -1.0f; }},
      {"clip_value", [=](TableOptions& t) { t.optimizer.clip_value = nan; }},
      {"weight_decay", [](TableOptions& t) { t.optimizer.weight_decay = -1.0f; }},
      {"weight_decay",
       [](TableOptions& t) {
         t.optimizer.kind = Kind::kFtrl;
         t.optimizer.weight_decay = 0.1f;
       }},
      {"accumulator_decay",
       [](TableOptions& t) {
         t.optimizer.kind = Kind::kAdagradDecay;
         t.optimizer.accumulator_decay = 0.0f;
       }},
      {"decay_steps", [](TableOptions& t) {
         t.optimizer.kind = Kind::kAdagradDecay;
         t.optimizer.decay_steps = 0;
       }}};
  CHECK(CheckTableOptions(MakeTable("good", 4, Kind::kAdagrad)).ok());
  for (const Case& c : cases) {
    TableOptions table = MakeTable("spoiled", 4, Kind::kAdagrad);
    c.spoil(table);
    const absl::Status status = CheckTableOptions(table);
    CAPTURE(c.member, status);
    CHECK(absl::IsInvalidArgument(status));
    CHECK_THAT(std::string(status.message()), Contains(c.member));
  }
}

TEST_CASE("what may change between runs, and what may not") {
  const TableOptions stored = MakeTable("t", 4, Kind::kAdagrad);
  TableOptions asked = stored;
  asked.optimizer.learning_rate = 9.0f;
  asked.frozen = true;
  asked.optimizer.schedule.warmup_steps = 4;
  CHECK(CheckSameTable(stored, asked).ok());
  const std::vector<std::pair<const char*, std::function<void(TableOptions&)>>> changes = {
      {"dim", [](TableOptions& t) { t.dim = 5; }},
      {"seed", [](TableOptions& t) { t.seed = 99; }},
      {"init_stddev", [](TableOptions& t) { t.init_stddev = 0.5f; }},
      {"init_zero_columns", [](TableOptions& t) { t.init_zero_columns = 2; }},
      {"optimizer", [](TableOptions& t) { t.optimizer.kind = Kind::kAdam; }},
      {"epsilon", [](TableOptions& t) { t.optimizer.epsilon = 0.5f; }},
      {"l2", [](TableOptions& t) { t.optimizer.l2 = 0.5f; }},
      {"ftrl_l21", [](TableOptions& t) { t.optimizer.ftrl_l21 = 0.5f; }},
      {"momentum", [](TableOptions& t) { t.optimizer.momentum = 0.5f; }},
      {"weight_decay", [](TableOptions& t) { t.optimizer.weight_decay = 0.5f; }},
      {"accumulator_decay", [](TableOptions& t) { t.optimizer.accumulator_decay = 0.5f; }},
      {"decay_steps", [](TableOptions& t) { t.optimizer.decay_steps = 5; }},
      {"clip_norm", [](TableOptions& t) { t.optimizer.clip_norm = 0.5f; }},
      {"clip_value", [](TableOptions& t) { t.optimizer.clip_value = 0.5f; }},
      {"exact", [](TableOptions& t) { t.optimizer.exact = true; }}};
  for (const auto& [member, change] : changes) {
    asked = stored;
    change(asked);
    const absl::Status status = CheckSameTable(stored, asked);
    CAPTURE(member, status);
    CHECK(absl::IsFailedPrecondition(status));
    CHECK_THAT(std::string(status.message()), Contains(member) && Contains("\"t\""));
  }
}

}  // namespace
}  // namespace pagoda
