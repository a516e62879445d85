#include "server/served_tables.h"

#include <catch2/catch.hpp>
#include <limits>

#include "base/hash.h"
#include "tests/server/service_session.h"
#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

std::unique_ptr<EmbeddingStore> OpenStore(const std::string& path) {
  StoreOptions options;
  options.path = path + "/store";
  options.memory_bytes = 32 << 20;
  return EmbeddingStore::Open(options).value();
}

TEST_CASE("a specification survives the way to the store's options and back") {
  for (const char* kind : {"sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl", "momentum",
                           "adagrad_decay", "adamw", "rowwise_adam", "group_ftrl"}) {
    proto::TableSpec spec = MakeTable("user", 5, kind);
    spec.set_frozen(true);
    spec.set_init_zero_columns(2);
    spec.set_precision(std::string(kind) == "adam" ? "bf16" : "f32");
    spec.mutable_optimizer()->set_l2(0.25f);
    spec.mutable_optimizer()->set_ftrl_l1(0.5f);
    spec.mutable_optimizer()->set_ftrl_l2(0.75f);
    spec.mutable_optimizer()->set_ftrl_l21(0.125f);
    spec.mutable_optimizer()->set_momentum(0.375f);
    spec.mutable_optimizer()->set_accumulator_decay(0.625f);
    spec.mutable_optimizer()->set_decay_steps(12);
    spec.mutable_optimizer()->set_clip_norm(2.0f);
    spec.mutable_optimizer()->set_clip_value(3.0f);
    spec.mutable_optimizer()->set_schedule("cosine");
    spec.mutable_optimizer()->set_warmup_steps(3);
    spec.mutable_optimizer()->set_total_steps(30);
    spec.mutable_optimizer()->set_min_factor(0.5f);
    const auto options = TableOptionsFromSpec(spec);
    REQUIRE(options.ok());
    CHECK(SpecFromTableOptions(*options).SerializeAsString() == spec.SerializeAsString());
  }
  proto::TableSpec unknown = MakeTable("user", 5, "adagarden");
  CHECK_THAT(std::string(TableOptionsFromSpec(unknown).status().message()),
             Catch::Contains("user") && Catch::Contains("adagarden"));
  proto::TableSpec precise = MakeTable("user", 5, "sgd");
  CHECK(TableOptionsFromSpec(precise)->precision == RowPrecision::kF32);  // Not said: f32.
  precise.set_precision("f8");
  CHECK_THAT(std::string(TableOptionsFromSpec(precise).status().message()),
             Catch::Contains("user") && Catch::Contains("f8"));
}

TEST_CASE("tables keep their index through sessions and rewinds") {
  const TemporaryDirectory directory;
  auto store = OpenStore(directory.path());
  ServedTables served;
  const std::vector<proto::TableSpec> first = {MakeTable("a", 1), MakeTable("b", 2)};
  const std::vector<proto::TableSpec> second = {MakeTable("b", 2), MakeTable("c", 3)};
  CHECK(served.Declare(first, *store).value() == std::vector<uint32_t>{0, 1});
  CHECK(served.Declare(second, *store).value() == std::vector<uint32_t>{1, 2});
  CHECK(served.Find(first, *store).value() == std::vector<uint32_t>{0, 1});
  REQUIRE(served.Reopen(*store).ok());
  CHECK(served.Get(2)->options.name == "c");
  CHECK(served.Get(3) == nullptr);
  CHECK(served.Describe(1) == "table 'b' (index 1)");
}

TEST_CASE("requests are checked against the tables") {
  const TemporaryDirectory directory;
  auto store = OpenStore(directory.path());
  ServedTables served;
  REQUIRE(served.Declare(std::vector<proto::TableSpec>{MakeTable("a", 2)}, *store).ok());
  const std::vector<FeatureId> ids = {1, 2};
  const std::vector<float> gradients(4);
  using Pushes = std::vector<ServicePush>;
  CHECK(served.CheckPush(Pushes{{0, ids, gradients}}, 2).ok());
  CHECK(served.CheckPush(Pushes{{0, ids, gradients}}, 1).code() ==
        absl::StatusCode::kResourceExhausted);
  CHECK(served.CheckPush(Pushes{{1, ids, gradients}}, 2).code() == absl::StatusCode::kNotFound);
  CHECK(served.CheckPush(Pushes{{0, ids, std::span(gradients).first(3)}}, 2).code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(
      served.CheckPull(std::vector<ServicePull>{{0, ids, nullptr}, {0, ids, nullptr}}, 9).code() ==
      absl::StatusCode::kInvalidArgument);
}

TEST_CASE("rows of a push are distinct, finite and of this shard") {
  const std::vector<FeatureId> ids = {0, 5, 9}, twice = {5, 9, 5};
  const std::vector<float> good = {1, 2, 3};
  CHECK(CheckPushRows({0, {}, {}}, "t", 1).ok());
  CHECK(CheckPushRows({0, ids, good}, "t", 1).ok());
  CHECK(CheckPushRows({0, twice, good}, "t", 1) ==
        absl::InvalidArgumentError("t: id 5 repeats in one push"));
  for (size_t i = 0; i < 3; ++i) {
    std::vector<float> bad = good;
    bad[i] = std::numeric_limits<float>::quiet_NaN();
    CHECK(CheckPushRows({0, ids, bad}, "t", 1).code() == absl::StatusCode::kInvalidArgument);
  }
  for (const FeatureId id : ids) {
    const std::vector<FeatureId> one = {id};
    for (uint32_t shard = 0; shard < 3; ++shard) {
      CHECK(CheckPushShard({0, one, {}}, "t", shard, 3).ok() == (ShardOf(id, 3) == shard));
    }
  }
}

}  // namespace
}  // namespace pagoda
