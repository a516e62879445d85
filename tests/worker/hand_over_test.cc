#include "worker/hand_over.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <map>

#include "embedding_store/embedding_store.h"
#include "tests/worker/training_world.h"
#include "worker/evaluation.h"
#include "worker/trained_model.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;
using Weights = std::map<std::pair<std::string, FeatureId>, std::vector<float>>;

TrainerOptions Job(const TemporaryDirectory& scratch, const std::string& name) {
  TrainerOptions options = SmallJob("dnn", scratch / "data.csv", scratch / name);
  options.job = name;
  options.stages[0].epochs = 1;
  options.sparse.optimizer.set_kind("adamw");
  options.sparse.optimizer.set_weight_decay(0.1f);
  options.dense.args.kind = DenseOptimizerKind::kAdamW;
  options.dense.args.weight_decay = 0.1f;
  options.checkpoints_kept = 100;
  return options;
}

TrainerOptions Finetune(const TemporaryDirectory& scratch, const std::string& name) {
  TrainerOptions options = Job(scratch, name);
  options.start.stage = name;
  options.start.from = scratch / "source";
  return options;
}

// A finished job in scratch/source.
JobCut TrainSource(const TemporaryDirectory& scratch, int num_servers = 1) {
  WriteWorld(scratch / "data.csv", {});
  const RunTrace source = RunAlone(Job(scratch, "source"), num_servers);
  INFO(source.status);
  REQUIRE(source.status.ok());
  REQUIRE(WriteFinished(scratch / "source", source.result.final_cut).ok());
  return ReadJobCut(source.result.final_cut).value();
}

// Every stored row of a cut's servers; `slots` counts their slot values.
Weights RowsOf(const proto::JobCut& cut, size_t* slots = nullptr, const std::string& only = "") {
  Weights rows;
  for (const proto::JobCut::Server& server : cut.servers()) {
    StoreOptions options;
    options.path = server.directory();
    options.read_only = true;
    auto store = EmbeddingStore::Open(options);
    INFO(store.status());
    REQUIRE(store.ok());
    const std::vector<TableOptions> tables = (*store)->tables();
    REQUIRE((*store)
                ->Scan([&](uint32_t table, const StoredRow& row) {
                  if (!only.empty() && tables[table].name != only) return true;
                  rows[{tables[table].name, row.id}] = row.weights;
                  if (slots != nullptr) *slots += row.slots.size();
                  return true;
                })
                .ok());
  }
  return rows;
}

Weights Only(const Weights& rows, const std::string& table) {
  Weights some;
  for (const auto& [key, row] : rows) {
    if (key.first == table) some[key] = row;
  }
  return some;
}

std::vector<float> Dense(const JobCut& cut, const std::string& name) {
  for (const proto::JobCut::Dense& dense : cut.manifest.dense()) {
    if (dense.name() != name) continue;
    int64_t size = 1;
    for (const int64_t n : dense.shape()) size *= n;
    return {cut.values.begin() + dense.offset(), cut.values.begin() + dense.offset() + size};
  }
  FAIL("no dense parameter " << name);
  return {};
}

TEST_CASE("everything is taken over by default, as the first cut, by any number of servers") {
  const TemporaryDirectory scratch;
  const JobCut source = TrainSource(scratch, 2);
  const int num_servers = GENERATE(1, 2, 3);
  CAPTURE(num_servers);
  const RunTrace run = RunAlone(Finetune(scratch, "next"), num_servers);
  INFO(run.status);
  REQUIRE(run.status.ok());
  REQUIRE(run.cuts.front().first == 0);
  const JobCut first = ReadJobCut(run.cuts.front().second).value();
  CHECK(first.values == source.values);
  CHECK(RowsOf(first.manifest) == RowsOf(source.manifest));
  // No slots came along: every moment is 0.
  for (const std::vector<float>& slot : first.slots) {
    for (const float value : slot) REQUIRE(value == 0.0f);
  }
  const proto::JobCut::HandOver& report = first.manifest.hand_over();
  CHECK(report.job() == "source");
  CHECK(report.step() == source.manifest.step());
  CHECK(report.tables_size() == 3);
  CHECK(report.fresh_size() == 0);
  CHECK(report.unexpected_size() == 0);
  CHECK(first.manifest.stage_name() == "next");
  // Training goes on from there, and every later cut says where it came from.
  const JobCut last = ReadJobCut(run.result.final_cut).value();
  CHECK(last.values != source.values);
  CHECK(last.manifest.hand_over().job() == "source");
}

TEST_CASE("ids that were never trained read as they did where the rows come from") {
  const TemporaryDirectory scratch;
  const JobCut source = TrainSource(scratch);
  TrainerOptions options = Finetune(scratch, "next");
  options.start.load = {"item", "user -> tags"};
  options.stages[0].steps_max = 1;
  const RunTrace run = RunAlone(options, 1);
  INFO(run.status);
  REQUIRE(run.status.ok());
  const JobCut cut = ReadJobCut(run.result.final_cut).value();
  const auto spec = [](const JobCut& from, const std::string& name) {
    for (const proto::TableSpec& table : from.manifest.tables()) {
      if (table.name() == name) return table;
    }
    FAIL("no table " << name);
    return proto::TableSpec();
  };
  CHECK(spec(cut, "item").seed() == spec(source, "item").seed());
  CHECK(spec(cut, "tags").seed() == spec(source, "user").seed());
  CHECK(spec(cut, "user").seed() != spec(source, "user").seed());
  // And a cut of it can be opened again: for prediction, and to go on.
  ServerGroup servers(scratch / "next", 1);
  const auto client = servers.MakeClient();
  const auto trained = TrainedModel::Load(run.result.final_cut, options, client.get());
  INFO(trained.status());
  CHECK(trained.ok());
}

TEST_CASE("what is frozen keeps its bits under AdamW with decay, has no slots and gets no push") {
  const TemporaryDirectory scratch;
  const JobCut source = TrainSource(scratch);
  TrainerOptions options = Finetune(scratch, "next");
  options.stages[0].freeze = {"item", "deep.0.*"};
  options.stages[0].epochs = 2;
  const int num_workers = GENERATE(1, 2);
  CAPTURE(num_workers);
  const std::vector<RunTrace> runs =
      RunTogether(std::vector<TrainerOptions>(static_cast<size_t>(num_workers), options), 2);
  INFO(runs[0].status);
  REQUIRE(runs[0].status.ok());
  REQUIRE(runs[0].result.steps > 20);
  const JobCut last = ReadJobCut(runs[0].result.final_cut).value();
  CHECK(Dense(last, "deep.0.weight") == Dense(source, "deep.0.weight"));
  CHECK(Dense(last, "deep.0.bias") == Dense(source, "deep.0.bias"));
  CHECK(Dense(last, "deep.1.weight") != Dense(source, "deep.1.weight"));
  size_t frozen_slots = 0, other_slots = 0;
  const Weights items = RowsOf(last.manifest, &frozen_slots, "item");
  const Weights users = RowsOf(last.manifest, &other_slots, "user");
  REQUIRE(items.size() == 40);
  CHECK(items == Only(RowsOf(source.manifest), "item"));
  CHECK(users != Only(RowsOf(source.manifest), "user"));
  CHECK(frozen_slots == 0);
  CHECK(other_slots > 0);
  for (const TableUse& table : runs[0].result.tables) {
    CAPTURE(table.name);
    CHECK(table.frozen == (table.name == "item"));
    CHECK((table.pushed == 0) == (table.name == "item"));
  }
}

TEST_CASE("two workers over two servers take the same over and train to the same numbers") {
  const TemporaryDirectory scratch;
  TrainSource(scratch);
  const auto steady = [&](const std::string& name) {
    // Adagrad with a floor: what differs in the last bit stays there (acceptance script 5).
    TrainerOptions options = Finetune(scratch, name);
    options.stages[0].freeze = {"item"};
    options.sparse.optimizer.set_kind("adagrad");
    options.dense.args.kind = DenseOptimizerKind::kAdagrad;
    options.dense.args.epsilon = 1e-3f;
    return options;
  };
  const RunTrace alone = RunAlone(steady("alone"), 1);
  const std::vector<RunTrace> pair = RunTogether(std::vector<TrainerOptions>(2, steady("pair")), 2);
  REQUIRE(alone.status.ok());
  INFO(pair[0].status);
  REQUIRE(pair[0].status.ok());
  REQUIRE(alone.losses.size() == pair[0].losses.size());
  for (size_t i = 0; i < alone.losses.size(); ++i) {
    REQUIRE(std::abs(alone.losses[i] - pair[0].losses[i]) <= 1e-4 * std::abs(alone.losses[i]));
  }
}

TEST_CASE("a job resumed from the cut of its hand-over needs the source no more") {
  const TemporaryDirectory scratch;
  TrainSource(scratch);
  TrainerOptions options = Finetune(scratch, "whole");
  options.start.load = {"item", "user", "deep.0.*"};
  const RunTrace whole = RunAlone(options, 1);
  REQUIRE(whole.status.ok());
  TrainerOptions stopped = options;
  stopped.output_dir = scratch / "stopped";
  RunOptions stop;
  stop.stop_after = 3;
  const RunTrace first = RunAlone(stopped, 1, stop);
  REQUIRE(first.status.ok());
  REQUIRE(first.result.interrupted);
  std::filesystem::remove_all(scratch / "source");
  for (const std::string& cut : {first.result.final_cut, first.cuts.front().second}) {
    RunOptions resume;
    resume.resume_cut = cut;
    const RunTrace rest = RunAlone(stopped, 2, resume);
    INFO(rest.status);
    REQUIRE(rest.status.ok());
    const size_t done = whole.losses.size() - rest.losses.size();
    REQUIRE(std::equal(rest.losses.begin(), rest.losses.end(), whole.losses.begin() + done));
  }
}

// Plans only.
struct Plan {
  TemporaryDirectory scratch;
  TrainerOptions options = SmallJob("dnn", "/data.csv", "/out");
  proto::JobCut source;
  Plan() {
    const auto model = ModelInstance::Create(options);
    REQUIRE(model.ok());
    for (const proto::TableSpec& table : (*model)->tables()) *source.add_tables() = table;
    for (const DenseDecl& decl : (*model)->parameters().decls()) {
      proto::JobCut::Dense* dense = source.add_dense();
      dense->set_name(decl.name);
      for (const int64_t size : decl.shape) dense->add_shape(size);
    }
  }
  absl::StatusOr<proto::JobCut::HandOver> Make(const std::vector<std::string>& load) {
    const auto model = ModelInstance::Create(options);
    REQUIRE(model.ok());
    options.start.load = load;
    return PlanHandOver(options.start, source, **model);
  }
  std::string Error(const std::vector<std::string>& load) {
    const auto plan = Make(load);
    return plan.ok() ? "(none)" : std::string(plan.status().message());
  }
};

std::string Names(const google::protobuf::RepeatedPtrField<proto::JobCut::Loaded>& loaded) {
  std::string names;
  for (const proto::JobCut::Loaded& one : loaded) {
    names += one.source() + ">" + one.name() + " ";
  }
  return names;
}

TEST_CASE("patterns pair names, the later over the earlier, and the report names the rest") {
  Plan plan;
  plan.source.add_dense()->set_name("pretext.weight");
  auto made = plan.Make({"item", "item -> tags", "deep.*", "!deep.1.*"});
  INFO(made.status());
  REQUIRE(made.ok());
  CHECK(Names(made->tables()) == "item>item item>tags ");
  CHECK(Names(made->dense()) == "deep.0.weight>deep.0.weight deep.0.bias>deep.0.bias ");
  const std::vector<std::string> fresh(made->fresh().begin(), made->fresh().end());
  CHECK(std::count(fresh.begin(), fresh.end(), "table user") == 1);
  CHECK(std::count(fresh.begin(), fresh.end(), "deep.1.weight") == 1);
  const std::vector<std::string> left(made->unexpected().begin(), made->unexpected().end());
  CHECK(std::count(left.begin(), left.end(), "pretext.weight") == 1);
  CHECK(std::count(left.begin(), left.end(), "table user") == 1);
  made = plan.Make({"*", "item -> tags"});
  REQUIRE(made.ok());
  CHECK(Names(made->tables()) == "user>user item>item item>tags ");
  const std::vector<std::string> lines = DescribeHandOver({}, *made);
  REQUIRE(lines.size() == 3);
  CHECK_THAT(lines[1], Contains("loaded: table user (0 rows)") && Contains("item -> tags"));
  CHECK_THAT(lines[2], Contains("not loaded: table tags, pretext.weight"));
}

TEST_CASE("what cannot be loaded is refused before anything is changed") {
  Plan plan;
  CHECK_THAT(plan.Error({"itm"}), Contains("\"itm\" names no table") && Contains("'item'"));
  CHECK_THAT(plan.Error({"item -> it"}), Contains("this model has no 'it'"));
  plan.source.add_dense()->set_name("old.weight");
  CHECK_THAT(plan.Error({"old.*"}), Contains("this model has no 'old.weight'"));
  CHECK_THAT(plan.Error({"item", "a -> "}), Contains("nothing behind"));
  CHECK_THAT(plan.Error({"deep.0.weight -> deep.1.weight"}),
             Contains("'deep.0.weight' of the cut has the shape [16, 13]") &&
                 Contains("'deep.1.weight' here [8, 16]"));
  plan.source.mutable_tables(1)->set_dim(9);
  CHECK_THAT(plan.Error({"*"}), Contains("table 'item' of the cut has the shape [9], 'item' here "
                                         "[4]"));
  CHECK(plan.Error({"*", "!item"}) == "(none)");
}

TEST_CASE("a table of an ftrl kind is refused unless it is left out or frozen") {
  Plan plan;
  plan.options.sparse.optimizer.set_kind("ftrl");
  CHECK_THAT(plan.Error({"item"}),
             Contains("'item' is trained by ftrl") && Contains("leave it out with \"!item\""));
  CHECK(plan.Error({"deep.*"}) == "(none)");
  plan.options.stages[0].freeze = {"item"};
  CHECK(plan.Error({"item"}) == "(none)");
}

TEST_CASE("the source is a cut, a finished job's result, or its newest cut") {
  const TemporaryDirectory scratch;
  const JobCut source = TrainSource(scratch);
  StartOptions start;
  start.from = scratch / "source";
  const std::string cut = FindSourceCut(start).value();
  CHECK(cut == CutDirectory(scratch / "source", source.manifest.cut()));
  start.from = cut;
  CHECK(FindSourceCut(start).value() == cut);
  start.from = scratch / "source";
  REQUIRE(ForgetFinished(start.from).ok());
  REQUIRE(ForgetFinished(start.from).ok());
  CHECK_THAT(std::string(FindSourceCut(start).status().message()), Contains("has not finished"));
  start.cut = "last";
  CHECK(FindSourceCut(start).value() == cut);
  start.from = scratch / "nowhere";
  CHECK(absl::IsNotFound(FindSourceCut(start).status()));
}

}  // namespace
}  // namespace pagoda
