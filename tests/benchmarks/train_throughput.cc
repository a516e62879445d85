// Samples per second of DeepFM, DCNv2 and DLRM with the real trainer, tape, store and
// in-process client, on batches that are in memory before the clock starts.
//
//   train_throughput DIRECTORY [--models deepfm,dcnv2,dlrm] [--dtypes f32,bf16]
//       [--durability process,none] [--modes sync,async] [--batches N] [--batch_size N]
//       [--threads N] [--memory_mb N] [--scratch DIR]
//   train_throughput --tiny [--scratch DIR]
//
// DIRECTORY is what generate_criteo wrote. Each combination trains two passes over the
// batches with a fresh store: the first pass makes the rows and warms up, the second is
// timed. Prints one JSON object a line:
//   samples_per_second     median over the steps of the second pass; with p10 and p90
//   cpu_ms_per_step        of all threads of the process, mean over the second pass
//   ms_per_step            per stage, mean over both passes; `read` and `prepare` run
//                          on the prefetch thread beside the rest
//   loss                   of the last step: changes when the arithmetic does
// --tiny makes 4 small batches itself: it proves that the benchmark runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "algorithms/nn/model.h"
#include "base/status_macros.h"
#include "deploy/embedded_servers.h"
#include "tests/benchmarks/criteo_log.h"
#include "tests/benchmarks/memory_reader.h"
#include "worker/allreduce.h"
#include "worker/trainer.h"

namespace pagoda {
namespace {

using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;

struct Plan {
  std::string directory;
  std::string scratch = "/tmp";
  Words models = {"deepfm", "dcnv2", "dlrm"};
  Words dtypes = {"f32", "bf16"};
  Words durability = {"process", "none"};
  Words modes = {"sync", "async"};
  int64_t batches = 100;
  int64_t batch_size = 4096;
  int64_t threads = 2;
  int64_t memory_mb = 4096;
  bool tiny = false;
};

absl::StatusOr<Plan> Parse(const Words& words) {
  Plan plan;
  const std::map<std::string, Words*> lists = {{"--models", &plan.models},
                                               {"--dtypes", &plan.dtypes},
                                               {"--durability", &plan.durability},
                                               {"--modes", &plan.modes}};
  const std::map<std::string, int64_t*> numbers = {{"--batches", &plan.batches},
                                                   {"--batch_size", &plan.batch_size},
                                                   {"--threads", &plan.threads},
                                                   {"--memory_mb", &plan.memory_mb}};
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool has_value = i + 1 < words.size();
    if (word == "--tiny") {
      plan.tiny = true;
    } else if (lists.contains(word) && has_value) {
      *lists.at(word) = absl::StrSplit(words[++i], ',');
    } else if (numbers.contains(word) && has_value) {
      if (!absl::SimpleAtoi(words[++i], numbers.at(word)) || *numbers.at(word) < 1) {
        return absl::InvalidArgumentError(absl::StrCat(word, " needs a number of at least 1"));
      }
    } else if (word == "--scratch" && has_value) {
      plan.scratch = words[++i];
    } else if (plan.directory.empty() && word[0] != '-') {
      plan.directory = word;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("cannot understand ", word));
    }
  }
  if (plan.directory.empty() != plan.tiny) {
    return absl::InvalidArgumentError("give the directory that generate_criteo wrote, or --tiny");
  }
  return plan;
}

absl::StatusOr<BatchList> MakeBatches(const Plan& plan) {
  if (!plan.tiny) return LoadCriteoBatches(plan.directory, plan.batch_size, plan.batches);
  const CriteoLog log({.seed = 1, .num_ids = 5000});
  auto batches = std::make_shared<std::vector<Batch>>();
  for (int64_t b = 0; b < 4; ++b) batches->push_back(log.MakeBatch(64 * b, 64));
  return BatchList(std::move(batches));
}

// The widths of criteo_torch.py.
absl::StatusOr<ModelOptions> OptionsOf(const std::string& model) {
  PAGODA_ASSIGN_OR_RETURN(const ModelInfo* info, FindModel(model));
  ModelOptions options(info->options);
  using Widths = std::vector<int64_t>;
  PAGODA_RETURN_IF_ERROR(options.Set("embedding_dim", int64_t{16}));
  PAGODA_RETURN_IF_ERROR(
      options.Set("hidden", model == "deepfm" ? Widths{400, 400, 400} : Widths{512, 256}));
  if (model == "dcnv2") PAGODA_RETURN_IF_ERROR(options.Set("cross_layers", int64_t{3}));
  if (model == "dlrm") PAGODA_RETURN_IF_ERROR(options.Set("bottom_hidden", Widths{512, 256}));
  return options;
}

// One line of the result.
struct Combination {
  std::string model, dtype, durability, mode;
};

absl::StatusOr<TrainerOptions> JobOf(const Plan& plan, const Combination& combination,
                                     const BatchList& batches, const std::string& output_dir) {
  TrainerOptions job;
  job.job = "throughput";
  job.output_dir = output_dir;
  job.schema = CriteoLogSchema(FeatureKind::kId);
  job.model = combination.model;
  PAGODA_ASSIGN_OR_RETURN(job.model_options, OptionsOf(combination.model));
  StageOptions stage;
  stage.epochs = 2;
  job.stages = {stage};
  job.open_reader = ReadFromMemory(batches);
  job.mode = combination.mode;
  job.batch_size = (*batches)[0].size;
  job.sparse.optimizer.set_kind("adagrad");
  job.sparse.optimizer.set_learning_rate(0.05f);
  job.sparse.optimizer.set_epsilon(1e-10f);
  job.dense.args.kind = DenseOptimizerKind::kAdagrad;
  job.dense.args.learning_rate = 0.01f;
  job.dense.args.epsilon = 1e-10f;
  job.compute_dtype = combination.dtype == "bf16" ? DType::kBF16 : DType::kF32;
  job.num_threads = static_cast<int>(plan.threads);
  job.log_every_steps = 0;
  return job;
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

std::string StagesJson(const StageTimes& times, Step steps) {
  const std::vector<std::pair<const char*, double>> stages = {
      {"read", times.read},           {"prepare", times.prepare}, {"wait_data", times.wait_data},
      {"pull", times.pull},           {"forward", times.forward}, {"backward", times.backward},
      {"allreduce", times.allreduce}, {"push", times.push},       {"dense", times.dense}};
  const auto entry = [&](std::string* out, const std::pair<const char*, double>& stage) {
    absl::StrAppendFormat(out, "\"%s\": %.2f", stage.first,
                          1e3 * stage.second / static_cast<double>(steps));
  };
  return absl::StrCat("{", absl::StrJoin(stages, ", ", entry), "}");
}

// Trains in `directory`, which must not exist, and prints the line.
absl::Status Measure(const Plan& plan, const Combination& combination, const BatchList& batches,
                     const std::string& directory) {
  PAGODA_ASSIGN_OR_RETURN(const TrainerOptions job,
                          JobOf(plan, combination, batches, directory + "/job"));
  ParameterServiceOptions service;
  service.durability = combination.durability;
  service.memory_bytes = plan.memory_mb << 20;
  service.num_threads = job.num_threads;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddedServers> servers,
                          EmbeddedServers::Open(service, {directory + "/server-0"}));
  std::vector<double> rates;  // Of the second pass.
  const auto first_pass = static_cast<Step>(batches->size());
  Clock::time_point last = Clock::now();
  std::clock_t cpu_before = 0;  // When the second pass began.
  std::clock_t cpu_after = 0;
  TrainObserver observer;
  observer.on_step = [&](Step step, double) {
    const Clock::time_point now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - last).count();
    if (step > first_pass) rates.push_back(static_cast<double>(job.batch_size) / seconds);
    last = now;
    (step <= first_pass ? cpu_before : cpu_after) = std::clock();
  };
  const std::unique_ptr<AllReduce> alone = SingleWorker();
  PAGODA_ASSIGN_OR_RETURN(
      const std::unique_ptr<Trainer> trainer,
      Trainer::Create(job, &servers->client(), alone.get(), std::move(observer), ""));
  PAGODA_ASSIGN_OR_RETURN(const TrainResult result, trainer->Run());
  absl::PrintF(
      "{\"model\": \"%s\", \"dtype\": \"%s\", \"mode\": \"%s\", \"durability\": \"%s\", "
      "\"threads\": %d, \"samples_per_second\": %.0f, \"p10\": %.0f, \"p90\": %.0f, "
      "\"cpu_ms_per_step\": %.1f, \"ms_per_step\": %s, \"loss\": %.6f}\n",
      combination.model, combination.dtype, combination.mode, combination.durability,
      job.num_threads, Quantile(rates, 0.5), Quantile(rates, 0.1), Quantile(rates, 0.9),
      1e3 * static_cast<double>(cpu_after - cpu_before) / CLOCKS_PER_SEC /
          static_cast<double>(rates.size()),
      StagesJson(result.times, result.steps), result.last_loss);
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Run(const Words& words) {
  PAGODA_ASSIGN_OR_RETURN(const Plan plan, Parse(words));
  PAGODA_ASSIGN_OR_RETURN(const BatchList batches, MakeBatches(plan));
  for (const std::string& model : plan.models) {
    for (const std::string& dtype : plan.dtypes) {
      for (const std::string& durability : plan.durability) {
        for (const std::string& mode : plan.modes) {
          const Combination combination = {model, dtype, durability, mode};
          const std::string directory = absl::StrCat(plan.scratch, "/train_throughput.",
                                                     Clock::now().time_since_epoch().count());
          const absl::Status status = Measure(plan, combination, batches, directory);
          std::error_code ignored;
          std::filesystem::remove_all(directory, ignored);
          PAGODA_RETURN_IF_ERROR_CONTEXT(
              status, absl::StrCat(model, " ", dtype, " ", durability, " ", mode));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  const absl::Status status = pagoda::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (!status.ok()) std::fprintf(stderr, "train_throughput: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
