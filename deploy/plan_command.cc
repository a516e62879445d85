// `pagoda plan`: what a job will need, from a sample of its data and a short trial.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <unordered_set>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/embedded_servers.h"
#include "deploy/job_config.h"
#include "deploy/job_plan.h"
#include "deploy/job_stages.h"
#include "server/served_tables.h"
#include "worker/batch_reader.h"
#include "worker/model_instance.h"
#include "worker/trainer.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Of the trial: until both have passed.
constexpr size_t kTrialStepsMin = 10;
constexpr auto kTrialTime = std::chrono::seconds(3);

// Removed with all in it at the end.
class TrialDirectory {
 public:
  explicit TrialDirectory(const std::string& output)
      : path_(absl::StrCat(output, ".plan-", ::getpid())) {}
  ~TrialDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return absl::StrCat(path_, "/", name); }

 private:
  const std::string path_;
};

// What the first batches of the data hold, by table.
struct Sample {
  int64_t batches = 0;
  bool whole = false;                   // The data ended: it is all of one pass.
  std::vector<double> unique_per_step;  // Of the first worker's part.
  std::vector<double> repeats;          // Of those, ids that the batch before had too.
  std::vector<double> distinct;
};

absl::StatusOr<Sample> ReadSample(const TrainerOptions& options, const ModelInstance& model,
                                  int64_t batches, int num_workers) {
  ReaderOptions reader_options;
  reader_options.data = options.stages[0].data;
  reader_options.schema = options.schema;
  reader_options.batch_size = options.batch_size;
  reader_options.num_workers = num_workers;
  reader_options.whole_batches = model.declaration().NeedsWholeBatches();
  reader_options.num_parse_threads = std::max(1, options.num_threads);
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<BatchReader> reader,
                          BatchReader::Open(reader_options));
  const size_t num_tables = model.tables().size();
  Sample sample;
  sample.unique_per_step.assign(num_tables, 0);
  sample.repeats.assign(num_tables, 0);
  std::vector<std::unordered_set<FeatureId>> before(num_tables);
  std::vector<std::unordered_set<FeatureId>> seen(num_tables);
  while (sample.batches < batches) {
    PAGODA_ASSIGN_OR_RETURN(std::optional<Batch> batch, reader->Next());
    sample.whole = !batch.has_value();
    if (sample.whole) break;
    PAGODA_ASSIGN_OR_RETURN(const PreparedBatch prepared,
                            PrepareBatch(options.schema, model.declaration(), *std::move(batch)));
    ++sample.batches;
    for (size_t t = 0; t < num_tables; ++t) {
      const std::vector<FeatureId>& ids = prepared.unique_ids[t];
      sample.unique_per_step[t] += static_cast<double>(ids.size());
      seen[t].insert(ids.begin(), ids.end());
      for (const FeatureId id : ids) sample.repeats[t] += before[t].count(id) > 0 ? 1 : 0;
      before[t] = {ids.begin(), ids.end()};
    }
  }
  if (sample.batches == 0) return absl::InvalidArgumentError("the training data has no rows");
  for (size_t t = 0; t < num_tables; ++t) {
    sample.unique_per_step[t] /= static_cast<double>(sample.batches);
    sample.repeats[t] /= static_cast<double>(sample.batches);
    sample.distinct.push_back(static_cast<double>(seen[t].size()));
  }
  return sample;
}

// Trains for some seconds in the trial directory; steps a second of the later half,
// because the first steps create rows and find batches that were read beforehand.
absl::StatusOr<double> MeasureRate(const JobConfig& job, int servers, const TrialDirectory& trial) {
  std::vector<std::string> directories;
  for (int s = 0; s < servers; ++s) directories.push_back(trial / absl::StrCat("server-", s));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddedServers> embedded,
                          EmbeddedServers::Open(job.server, directories));
  TrainerOptions options = job.trainer;
  options.output_dir = trial / "output";
  options.stages[0].steps_max = 0;
  options.stages[0].epochs = int64_t{1} << 30;
  options.evaluation.data.files.clear();
  options.evaluation.every_steps = 0;
  options.checkpoint_every_steps = 0;
  std::vector<Clock::time_point> ends;
  Trainer* training = nullptr;
  TrainObserver observer;
  observer.on_step = [&](Step, double) {
    ends.push_back(Clock::now());
    if (ends.size() >= kTrialStepsMin && ends.back() - ends.front() >= kTrialTime) {
      training->RequestStop();
    }
  };
  const std::unique_ptr<AllReduce> alone = SingleWorker();
  PAGODA_ASSIGN_OR_RETURN(
      const std::unique_ptr<Trainer> trainer,
      Trainer::Create(options, &embedded->client(), alone.get(), std::move(observer), ""));
  training = trainer.get();
  PAGODA_RETURN_IF_ERROR(trainer->Run().status());
  if (ends.size() < 2) return absl::InvalidArgumentError("the training data has no rows");
  const size_t first = ends.size() / 2 - (ends.size() == 2 ? 1 : 0);
  const double seconds = std::chrono::duration<double>(ends.back() - ends[first]).count();
  return static_cast<double>(ends.size() - 1 - first) / std::max(seconds, 1e-9);
}

// --ids: "1000000" for every table, or "TABLE=1000000".
absl::Status SetIds(const std::vector<std::string>& words, std::vector<PlanTable>* tables) {
  for (const std::string& word : words) {
    const size_t equals = word.rfind('=');
    const std::string name = equals == std::string::npos ? "" : word.substr(0, equals);
    double ids = 0;
    if (!absl::SimpleAtod(equals == std::string::npos ? word : word.substr(equals + 1), &ids) ||
        !(ids >= 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--ids ", word, " is neither a number nor TABLE=NUMBER"));
    }
    bool found = false;
    for (PlanTable& table : *tables) {
      if (!name.empty() && table.name != name) continue;
      table.ids = ids;
      found = true;
    }
    if (!found)
      return absl::NotFoundError(absl::StrCat("--ids: the job has no table '", name, "'"));
  }
  return absl::OkStatus();
}

// Tables with the sizes that a store gives their rows.
absl::StatusOr<std::vector<PlanTable>> TablesOf(const ModelInstance& model,
                                                const TrialDirectory& trial) {
  StoreOptions options;
  options.path = trial / "tables";
  options.memory_bytes = int64_t{16} << 20;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> store,
                          EmbeddingStore::Open(options));
  for (const proto::TableSpec& spec : model.tables()) {
    PAGODA_ASSIGN_OR_RETURN(TableOptions table, TableOptionsFromSpec(spec));
    table.admission = AdmissionOptions();  // Counters for it are not for so small a store.
    table.eviction = EvictionPolicy();
    PAGODA_RETURN_IF_ERROR(store->OpenTable(table).status());
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<StoreTableStat> stats, store->Stat());
  std::vector<PlanTable> tables;
  for (const StoreTableStat& stat : stats) {
    PlanTable table;
    table.name = stat.options.name;
    table.dim = stat.options.dim;
    table.row_bytes_disk = static_cast<double>(stat.row_bytes_disk);
    table.row_bytes_memory = static_cast<double>(stat.row_bytes_memory);
    tables.push_back(std::move(table));
  }
  return tables;
}

void PrintAssumptions(const PlanArguments& arguments, const Sample& sample, bool networked) {
  absl::PrintF("\nassumed:\n");
  absl::PrintF("- unique rows a step: mean of the first %d batches\n", sample.batches);
  if (!arguments.ids.empty()) {
    absl::PrintF("- ids: as given by --ids; tables not named there as in the sample\n");
  } else if (sample.whole) {
    absl::PrintF("- ids: all of the data, which the sample covers\n");
  } else {
    absl::PrintF(
        "- ids: those of the sample only, a lower bound; give --ids, or raise "
        "--sample-batches\n");
  }
  if (arguments.steps_per_second > 0) {
    absl::PrintF("- steps a second: as given\n");
  } else {
    absl::PrintF(
        "- steps a second: measured by training for seconds in this process%s; rows that "
        "do not fit into memory are read from disk and make it slower\n",
        networked ? ", without the network" : "");
  }
  absl::PrintF(
      "- disk: 1.3 x the rows, for index, filter and older versions; each cut shares its "
      "files with the rows until they are rewritten\n");
}

}  // namespace

absl::StatusOr<int> RunPlan(const PlanArguments& arguments) {
  InitLogging("plan", LogLevel::kWarning);
  PAGODA_ASSIGN_OR_RETURN(
      const JobConfig job,
      LoadJob(arguments.job.job_path, arguments.job.assignments, arguments.job.stage));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<ModelInstance> model,
                          ModelInstance::Create(job.trainer));
  PAGODA_RETURN_IF_ERROR(model->LoadNegatives());
  const TrialDirectory trial(job.trainer.output_dir);
  PlanInput input;
  input.servers = arguments.servers > 0 ? arguments.servers : job.launch.servers;
  input.workers = arguments.workers > 0 ? arguments.workers : job.launch.workers;
  input.networked = arguments.networked || input.workers > 1;
  input.batch_size = job.trainer.batch_size;
  input.logged = job.server.durability != "none";
  input.server_memory_bytes = job.server.memory_bytes;
  input.server_log_bytes_max = StoreOptions().log_bytes_max;
  PAGODA_ASSIGN_OR_RETURN(input.tables, TablesOf(*model, trial));
  PAGODA_ASSIGN_OR_RETURN(const Sample sample,
                          ReadSample(job.trainer, *model, arguments.sample_batches, 1));
  Sample part = sample;
  if (input.workers > 1) {
    PAGODA_ASSIGN_OR_RETURN(
        part, ReadSample(job.trainer, *model, arguments.sample_batches, input.workers));
  }
  // docs/training.md, "Modes": then a batch is pulled while the one before it trains.
  const bool rereads =
      job.trainer.mode == "sync" && job.trainer.pull_ahead > 0 && input.workers == 1;
  for (size_t t = 0; t < input.tables.size(); ++t) {
    input.tables[t].unique_per_step = sample.unique_per_step[t];
    input.tables[t].reread_per_step = rereads ? sample.repeats[t] : 0;
    input.tables[t].unique_per_worker = part.unique_per_step[t];
    input.tables[t].ids = sample.distinct[t];
  }
  PAGODA_RETURN_IF_ERROR(SetIds(arguments.ids, &input.tables));
  input.steps_per_second = arguments.steps_per_second;
  if (input.steps_per_second <= 0) {
    PAGODA_ASSIGN_OR_RETURN(input.steps_per_second, MeasureRate(job, input.servers, trial));
  }
  std::fputs(PlanText(input, MakePlan(input)).c_str(), stdout);
  PrintAssumptions(arguments, sample, input.networked);
  return 0;
}

}  // namespace pagoda
