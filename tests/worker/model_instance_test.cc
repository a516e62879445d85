#include "worker/model_instance.h"

#include <catch2/catch.hpp>

#include "tests/worker/training_world.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

TrainerOptions Options(const std::string& model = "deepfm") {
  return SmallJob(model, "/data.csv", "/out");
}

const proto::TableSpec& Table(const ModelInstance& model, const std::string& name) {
  for (const proto::TableSpec& table : model.tables()) {
    if (table.name() == name) return table;
  }
  FAIL("no table " << name);
  return model.tables()[0];
}

TEST_CASE("tables take the job's defaults, the model's wishes and the overrides, in that order") {
  TrainerOptions options = Options("wide_deep");
  SparseOptions::Override change;
  change.table = "item";
  change.optimizer.set_kind("sgd");
  change.optimizer.set_learning_rate(0.5f);
  change.frozen = true;
  options.sparse.overrides = {change};
  const auto model = ModelInstance::Create(options);
  INFO(model.status().ToString());
  REQUIRE(model.ok());
  REQUIRE(Table(**model, "user").optimizer().kind() == "adagrad");
  REQUIRE(Table(**model, "user").optimizer().learning_rate() == 0.05f);
  REQUIRE(Table(**model, "item").optimizer().kind() == "sgd");
  REQUIRE(Table(**model, "item").frozen());
  bool has_ftrl = false;  // The wide part's own choice.
  for (const proto::TableSpec& table : (*model)->tables()) {
    has_ftrl = has_ftrl || table.optimizer().kind() == "ftrl";
  }
  REQUIRE(has_ftrl);
}

TEST_CASE("seeds differ between tables, jobs and seeds, and depend on nothing else") {
  const auto table_seed = [](const std::string& job, uint64_t seed, const std::string& table,
                             const std::string& model) {
    TrainerOptions options = Options(model);
    options.job = job;
    options.seed = seed;
    const auto instance = ModelInstance::Create(options);
    REQUIRE(instance.ok());
    return Table(**instance, table).seed();
  };
  const uint64_t base = table_seed("a", 1, "user", "deepfm");
  REQUIRE(base == table_seed("a", 1, "user", "dlrm"));
  REQUIRE(base != table_seed("b", 1, "user", "deepfm"));
  REQUIRE(base != table_seed("a", 2, "user", "deepfm"));
  REQUIRE(base != table_seed("a", 1, "item", "deepfm"));
}

TEST_CASE("a table frozen by pattern has no optimizer, and dense parameters are frozen by name") {
  TrainerOptions options = Options("dnn");
  options.sparse.optimizer.set_kind("adamw");
  options.sparse.optimizer.set_weight_decay(0.1f);
  options.sparse.policies.mutable_admission()->set_kind("frequency");
  options.stages[0].freeze = {"item", "deep.*", "!deep.1.bias"};
  const auto model = ModelInstance::Create(options);
  INFO(model.status().ToString());
  REQUIRE(model.ok());
  const proto::TableSpec& item = Table(**model, "item");
  CHECK(item.frozen());
  CHECK(item.optimizer().kind() == "sgd");
  CHECK(item.optimizer().weight_decay() == 0.0f);
  CHECK_FALSE(item.has_admission());
  CHECK(Table(**model, "user").optimizer().kind() == "adamw");
  const ParameterSet& parameters = (*model)->parameters();
  for (size_t i = 0; i < parameters.decls().size(); ++i) {
    const std::string& name = parameters.decls()[i].name;
    CAPTURE(name);
    CHECK(parameters.frozen(DenseHandle{static_cast<int>(i)}) ==
          (name.substr(0, 4) == "deep" && name != "deep.1.bias"));
  }
  options.stages[0].freeze = {"itm"};
  CHECK_THAT(std::string(ModelInstance::Create(options).status().message()),
             Contains("freeze: \"itm\" names no table") && Contains("'item'"));
}

TEST_CASE("a group changes the rate, the decay and the optimizer of its tables") {
  TrainerOptions options = Options("dnn");
  options.sparse.optimizer.set_weight_decay(0.1f);
  options.dense.groups = {{.name = "slow", .match = {"table:*"}, .learning_rate = 0.5},
                          {.name = "user",
                           .match = {"user"},
                           .learning_rate = 0.1,
                           .weight_decay = false,
                           .optimizer = "adam"}};
  const auto model = ModelInstance::Create(options);
  INFO(model.status().ToString());
  REQUIRE(model.ok());
  CHECK(Table(**model, "item").optimizer().learning_rate() == 0.5f * 0.05f);
  CHECK(Table(**model, "item").optimizer().weight_decay() == 0.1f);
  CHECK(Table(**model, "item").optimizer().kind() == "adagrad");
  CHECK(Table(**model, "user").optimizer().learning_rate() == Approx(0.1 * 0.05).epsilon(1e-6));
  CHECK(Table(**model, "user").optimizer().weight_decay() == 0.0f);
  CHECK(Table(**model, "user").optimizer().kind() == "adam");
}

TEST_CASE("a table is frozen for good only when every stage freezes it") {
  TrainerOptions options = Options();
  options.stages.push_back(options.stages[0]);
  options.stages[0].frozen_tables = {"user", "item"};
  options.stages[1].frozen_tables = {"user"};
  const auto model = ModelInstance::Create(options);
  REQUIRE(model.ok());
  REQUIRE(Table(**model, "user").frozen());
  REQUIRE_FALSE(Table(**model, "item").frozen());
  const auto index = [&](const std::string& name) {
    return static_cast<size_t>(&Table(**model, name) - (*model)->tables().data());
  };
  REQUIRE((*model)->frozen(index("item")));
  REQUIRE((*model)->Freeze(options.stages[1]).ok());
  REQUIRE_FALSE((*model)->frozen(index("item")));
  REQUIRE((*model)->frozen(index("user")));
}

TEST_CASE("admission and eviction are every table's but where one has its own") {
  TrainerOptions options = Options();
  options.sparse.policies.mutable_admission()->set_count(3);
  options.sparse.policies.mutable_eviction()->set_rows_max(5);
  SparseOptions::Override change{"item", {}, false};
  change.policies.mutable_admission()->set_count(9);
  options.sparse.overrides.push_back(change);
  const auto model = ModelInstance::Create(options);
  REQUIRE(model.ok());
  REQUIRE(Table(**model, "user").admission().count() == 3);
  REQUIRE(Table(**model, "user").eviction().rows_max() == 5);
  REQUIRE(Table(**model, "item").admission().count() == 9);
  REQUIRE_FALSE(Table(**model, "item").has_eviction());
}

TEST_CASE("unknown names are refused, and the nearest named") {
  const auto refused = [](const std::function<void(TrainerOptions&)>& change) {
    TrainerOptions options = Options();
    change(options);
    const auto model = ModelInstance::Create(options);
    REQUIRE(absl::IsNotFound(model.status()));
    return std::string(model.status().message());
  };
  REQUIRE_THAT(refused([](auto& o) { o.model = "deepfn"; }), Contains("deepfm"));
  REQUIRE_THAT(refused([](auto& o) {
                 o.sparse.overrides.push_back({"itme", {}, false});
               }),
               Contains("'itme'") && Contains("'item'"));
  REQUIRE_THAT(refused([](auto& o) { o.stages[0].frozen_tables = {"usr"}; }),
               Contains("'train'") && Contains("'user'"));
  REQUIRE_THAT(refused([](auto& o) { o.stages[0].frozen_groups = {"towers"}; }),
               Contains("'towers'"));
}

TEST_CASE("dense values go out and come back; another size is refused") {
  const auto model = ModelInstance::Create(Options());
  REQUIRE(model.ok());
  auto values = (*model)->DenseValues();
  REQUIRE(values.ok());
  REQUIRE(static_cast<int64_t>(values->size()) == (*model)->parameters().num_elements());
  REQUIRE(values->size() > 100);
  (*values)[5] = 42.0f;
  REQUIRE((*model)->SetDenseValues(*values).ok());
  REQUIRE(*(*model)->DenseValues() == *values);
  values->pop_back();
  REQUIRE(absl::IsInvalidArgument((*model)->SetDenseValues(*values)));
}

TEST_CASE("steps have keys of their own") {
  const auto model = ModelInstance::Create(Options());
  REQUIRE(model.ok());
  REQUIRE((*model)->StepKey(1).value != (*model)->StepKey(2).value);
  REQUIRE((*model)->StepKey(7).value == (*model)->StepKey(7).value);
}

}  // namespace
}  // namespace pagoda
