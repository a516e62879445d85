// Small training jobs for tests: generated data with a planted effect, options for a
// model over it, and runs of one or more workers over in-process servers.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "algorithms/nn/model_options.h"
#include "tests/worker/temporary_directory.h"
#include "worker/trainer.h"

namespace pagoda {

class ParameterService;

// A CSV of `rows` samples: user and item ids (skewed), one to three tags, an age, and
// a click whose probability depends on all of them.
struct WorldOptions {
  int rows = 2000;
  int num_users = 50;
  int num_items = 40;
  uint32_t seed = 1;
};
void WriteWorld(const std::string& path, const WorldOptions& world);

FeatureSchema WorldSchema();
// The options that `model` knows of {embedding_dim, hidden, bottom_hidden}, kept small.
ModelOptions SmallModel(const std::string& model);
TrainerOptions SmallJob(const std::string& model, const std::string& data_file,
                        const std::string& output_dir);

// In-process servers over directories that outlive one run.
class ServerGroup {
 public:
  ServerGroup(const std::string& directory, int num_servers);
  ~ServerGroup();
  std::unique_ptr<ParameterClient> MakeClient();

 private:
  std::vector<std::unique_ptr<ParameterService>> services_;
};

// What a run showed.
struct RunTrace {
  absl::Status status;
  TrainResult result;
  std::vector<double> losses;  // Per applied step.
  std::vector<std::pair<Step, EvaluationResult>> evaluations;
  std::vector<std::pair<Step, std::string>> cuts;
};

struct RunOptions {
  std::string resume_cut;
  Step stop_after = 0;                // > 0: RequestStop after that step.
  std::function<void(Step)> on_step;  // Called after each.
  std::function<void(Step, const std::string&)> on_cut;
};

RunTrace RunWorker(const TrainerOptions& options, ParameterClient* client, AllReduce* allreduce,
                   const RunOptions& run = {});
// One worker over servers in `<output_dir>/..`: a whole run from start to end.
RunTrace RunAlone(const TrainerOptions& options, int num_servers, const RunOptions& run = {});
// `options[r]` for worker r, as threads over the same servers.
std::vector<RunTrace> RunTogether(const std::vector<TrainerOptions>& options, int num_servers,
                                  const std::vector<RunOptions>& runs = {});

}  // namespace pagoda
