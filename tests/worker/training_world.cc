#include "tests/worker/training_world.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/model.h"
#include "deploy/in_process_client.h"
#include "server/parameter_service.h"
#include "tests/worker/thread_allreduce.h"

namespace pagoda {

void WriteWorld(const std::string& path, const WorldOptions& world) {
  std::mt19937 rng(world.seed);
  std::ofstream file(path);
  file << "user,item,tags,age,click\n";
  const auto effect = [](uint32_t kind, uint32_t id) {
    std::mt19937 own(kind * 1000003u + id);
    return std::normal_distribution<double>(0.0, 1.5)(own);
  };
  for (int i = 0; i < world.rows; ++i) {
    const double skew = std::pow(static_cast<double>(rng() % 100000) / 100000.0, 2.0);
    const auto user = static_cast<uint32_t>(skew * world.num_users);
    const uint32_t item = rng() % static_cast<uint32_t>(world.num_items);
    const uint32_t age = 18 + rng() % 50;
    double logit = effect(1, user) + effect(2, item) + 0.04 * (static_cast<double>(age) - 43.0);
    file << 'u' << user << ",i" << item << ',';
    const uint32_t num_tags = 1 + rng() % 3;
    for (uint32_t t = 0; t < num_tags; ++t) {
      const uint32_t tag = rng() % 12;
      logit += 0.5 * effect(3, tag);
      file << (t == 0 ? "" : "|") << 't' << tag;
    }
    const double p = 1.0 / (1.0 + std::exp(-logit));
    const bool click = static_cast<double>(rng() % 100000) / 100000.0 < p;
    file << ',' << age << ',' << (click ? 1 : 0) << '\n';
  }
}

FeatureSchema WorldSchema() {
  FeatureSchema schema;
  FeatureSpec user, item, tags, age;
  user.name = "user";
  item.name = "item";
  tags.name = "tags";
  tags.separator = "|";
  tags.pooling = Pooling::kMean;
  age.name = "age";
  age.kind = FeatureKind::kNumeric;
  age.transform.mean = 43.0;
  age.transform.stddev = 14.0;
  schema.features = {user, item, tags, age};
  schema.label = "click";
  return schema;
}

ModelOptions SmallModel(const std::string& model) {
  const auto info = FindModel(model);
  INFO(info.status().ToString());
  REQUIRE(info.ok());
  ModelOptions options((*info)->options);
  const std::map<std::string, OptionValue> small = {
      {"embedding_dim", int64_t{4}},
      {"hidden", std::vector<int64_t>{16, 8}},
      {"bottom_hidden", std::vector<int64_t>{8}},
      {"output_dim", int64_t{8}},
  };
  for (const OptionSpec& spec : (*info)->options) {
    const auto found = small.find(spec.key);
    if (found != small.end()) REQUIRE(options.Set(spec.key, found->second).ok());
  }
  return options;
}

TrainerOptions SmallJob(const std::string& model, const std::string& data_file,
                        const std::string& output_dir) {
  TrainerOptions options;
  options.job = "tiny";
  options.seed = 17;
  options.output_dir = output_dir;
  options.schema = WorldSchema();
  options.model = model;
  options.model_options = SmallModel(model);
  StageOptions stage;
  stage.data.files = {data_file};
  stage.data.shuffle_rows = 500;
  stage.epochs = 2;
  options.stages = {stage};
  options.batch_size = 64;
  options.sparse.optimizer.set_kind("adagrad");
  options.sparse.optimizer.set_learning_rate(0.05f);
  options.sparse.optimizer.set_initial_accumulator(0.1f);
  options.sparse.optimizer.set_epsilon(1e-8f);
  options.sparse.init_stddev = 0.05f;
  options.dense.args.kind = DenseOptimizerKind::kAdagrad;
  options.dense.args.learning_rate = 0.05f;
  options.log_every_steps = 10;
  return options;
}

ServerGroup::ServerGroup(const std::string& directory, int num_servers) {
  for (int shard = 0; shard < num_servers; ++shard) {
    ParameterServiceOptions options;
    options.data_dir = absl::StrCat(directory, "/server-", shard);
    options.memory_bytes = int64_t{64} << 20;
    auto service = ParameterService::Open(options);
    INFO(service.status().ToString());
    REQUIRE(service.ok());
    services_.push_back(*std::move(service));
  }
}

ServerGroup::~ServerGroup() = default;

std::unique_ptr<ParameterClient> ServerGroup::MakeClient() {
  std::vector<ParameterService*> services;
  for (const auto& service : services_) services.push_back(service.get());
  return MakeInProcessClient(services);
}

RunTrace RunWorker(const TrainerOptions& options, ParameterClient* client, AllReduce* allreduce,
                   const RunOptions& run) {
  RunTrace trace;
  Trainer* stoppable = nullptr;
  TrainObserver observer;
  observer.on_step = [&](Step step, double loss) {
    trace.losses.push_back(loss);
    if (run.on_step) run.on_step(step);
    if (run.stop_after > 0 && step == run.stop_after) stoppable->RequestStop();
  };
  observer.on_evaluation = [&](Step step, const EvaluationResult& result) {
    trace.evaluations.emplace_back(step, result);
  };
  observer.on_cut = [&](Step step, const std::string& cut) {
    trace.cuts.emplace_back(step, cut);
    if (run.on_cut) run.on_cut(step, cut);
  };
  auto trainer = Trainer::Create(options, client, allreduce, observer, run.resume_cut);
  trace.status = trainer.status();
  if (!trainer.ok()) return trace;
  stoppable = trainer->get();
  auto result = (*trainer)->Run();
  trace.status = result.status();
  if (result.ok()) trace.result = *result;
  return trace;
}

RunTrace RunAlone(const TrainerOptions& options, int num_servers, const RunOptions& run) {
  ServerGroup servers(options.output_dir, num_servers);
  const auto client = servers.MakeClient();
  const auto alone = SingleWorker();
  return RunWorker(options, client.get(), alone.get(), run);
}

std::vector<RunTrace> RunTogether(const std::vector<TrainerOptions>& options, int num_servers,
                                  const std::vector<RunOptions>& runs) {
  ServerGroup servers(options[0].output_dir, num_servers);
  const int num_workers = static_cast<int>(options.size());
  ThreadAllReduceGroup group(num_workers);
  std::vector<RunTrace> traces(options.size());
  std::vector<std::unique_ptr<ParameterClient>> clients;
  for (int r = 0; r < num_workers; ++r) clients.push_back(servers.MakeClient());
  std::vector<std::thread> threads;
  for (int r = 0; r < num_workers; ++r) {
    threads.emplace_back([&, r] {
      ThreadAllReduce allreduce(&group, r);
      const auto i = static_cast<size_t>(r);
      traces[i] = RunWorker(options[i], clients[i].get(), &allreduce,
                            runs.empty() ? RunOptions() : runs[i]);
      if (!traces[i].status.ok()) group.Break(r);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return traces;
}

}  // namespace pagoda
