#include "deploy/job_sections.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "kernels/device_name.h"
#include "worker/early_stopping.h"

namespace pagoda {
namespace {

constexpr double kMaxRows = 1e15;  // Doubles count exactly up to here, and no job gets there.

std::string DataHelp(const std::string& section) {
  if (section == "data.valid") {
    return "Evaluation set. A key left out is [data]'s, but split (all rows) and shuffle_rows "
           "(none).";
  }
  if (section == "data.test") {
    return "Test set, read only by `pagoda evaluate` and `pagoda predict`; as [data.valid].";
  }
  if (section == "data.items")
    return "Retrieval: the items to rank, one row each; as [data.valid].";
  return "Training data.";
}

void AddSplit(JobKeys& keys, DataOptions& data) {
  keys.AddCustom({"split", std::vector<double>{data.split_begin, data.split_end}, "",
                  "Keeps a fixed random share of the rows: [0.0, 0.9] and [0.9, 1.0] part a file."},
                 [&data](const OptionValue& value) {
                   data.split_begin = std::get<std::vector<double>>(value)[0];
                   data.split_end = std::get<std::vector<double>>(value)[1];
                 })
      .Between(0.0, 1.0)
      .Check([](const OptionValue& value) {
        const auto& ends = std::get<std::vector<double>>(value);
        if (ends.size() == 2 && ends[0] < ends[1]) return absl::OkStatus();
        return absl::InvalidArgumentError("expected two ends, the first the smaller: [0.0, 0.9]");
      });
  keys.Add("split_seed", &data.split_seed, "", "Seed of the split; parts of one file share it.");
}

void AddSparseOptimizer(JobKeys& keys, SparseFields& fields) {
  SparseOptimizerOptions& values = fields.values;
  keys.Add("optimizer", &fields.kind, "", "Optimizer of the rows.")
      .OneOf({"sgd", "momentum", "adagrad", "rowwise_adagrad", "adagrad_decay", "adam", "adamw",
              "rowwise_adam", "ftrl", "group_ftrl"});
  keys.Add("learning_rate", &values.learning_rate, "", "Base rate; [schedule] multiplies it.")
      .AtLeast(0);
  keys.Add("initial_accumulator", &values.initial_accumulator, "",
           "adagrad kinds: where the sum of squares starts.")
      .AtLeast(0);
  keys.Add("epsilon", &values.epsilon, "", "adagrad and adam kinds: keeps division tame.")
      .AtLeast(0);
  keys.Add("beta1", &values.beta1, "", "adam kinds: decay of the first moment.").Between(0, 1);
  keys.Add("beta2", &values.beta2, "", "adam kinds: decay of the second moment.").Between(0, 1);
  keys.Add("momentum", &values.momentum, "", "momentum: share of the last update kept.")
      .Between(0, 1);
  keys.Add("l2", &values.l2, "", "L2 added to the gradient of the rows a step touches.").AtLeast(0);
  keys.Add("weight_decay", &values.weight_decay, "",
           "Decay of the weight itself, times the learning rate; not for ftrl kinds.")
      .AtLeast(0);
  keys.Add("accumulator_decay", &values.accumulator_decay, "",
           "adagrad_decay: factor on the sums of squares at the end of each period.")
      .Between(0, 1);
  keys.Add("decay_steps", &values.decay_steps, "steps", "adagrad_decay: steps of a period.")
      .AtLeast(1);
  keys.Add("ftrl_l1", &values.ftrl_l1, "", "ftrl kinds: L1.").AtLeast(0);
  keys.Add("ftrl_l2", &values.ftrl_l2, "", "ftrl kinds: L2.").AtLeast(0);
  keys.Add("ftrl_l21", &values.ftrl_l21, "", "group_ftrl: L2,1, which makes whole rows zero.")
      .AtLeast(0);
  keys.Add("ftrl_beta", &values.ftrl_beta, "", "ftrl kinds: smooths the first rates.").AtLeast(0);
  keys.Add("clip_norm", &values.clip_norm, "",
           "Scales the norm of each row's gradient down to this; 0: never.")
      .AtLeast(0);
  keys.Add("clip_value", &values.clip_value, "",
           "Limits each gradient value to this, before clip_norm; 0: never.")
      .AtLeast(0);
  keys.Add("precision", &fields.precision, "",
           "Weights as the servers keep them; 16 bits are rounded at random, slots are f32. int8: "
           "on disk, with a scale for each row; f32 in memory.")
      .OneOf({"f32", "f16", "bf16", "int8"});
  keys.Add("schedule", &fields.schedule, "",
           "Course of the rate after its warm-up; [schedule] multiplies what comes of it.")
      .OneOf({"constant", "cosine", "inverse_sqrt"});
  keys.Add("warmup_steps", &values.schedule.warmup_steps, "steps",
           "Steps from 0 up to the full rate.")
      .Between(0, kMaxRows);
  keys.Add("total_steps", &values.schedule.total_steps, "steps",
           "cosine: where min_factor is reached.")
      .Between(0, kMaxRows);
  keys.Add("min_factor", &values.schedule.min_factor, "",
           "cosine, inverse_sqrt: the factor's floor.")
      .Between(0, 1);
  keys.Add("exact", &values.exact, "",
           "Rows read as if every step had updated every row: decay, momentum and L2 that a row "
           "missed are made up for. Needs train.mode sync; l2 only with sgd and momentum.");
  AddTablePolicies(keys, fields.policies);
}

void AddDuration(JobKeys& keys, const std::string& name, absl::Duration* field,
                 const std::string& help, double minimum) {
  keys.AddCustom(
          {name, absl::ToDoubleSeconds(*field), "seconds", help},
          [field](const OptionValue& value) { *field = absl::Seconds(std::get<double>(value)); })
      .Between(minimum, 86400);
}

void AddTrainStorage(JobKeys& keys, TrainerOptions& options) {
  keys.Add("checkpoint_every_steps", &options.checkpoint_every_steps, "steps",
           "Steps between cuts; 0: only at the end and on Ctrl-C.")
      .Between(0, kMaxRows);
  keys.Add("checkpoints_kept", &options.checkpoints_kept, "cuts", "Cuts kept beside the best one.")
      .Between(1, 1000);
  keys.Add("log_every_steps", &options.log_every_steps, "steps", "Steps between log lines.")
      .Between(1, kMaxRows);
  keys.Add("on_nonfinite", &options.on_nonfinite, "",
           "A loss or gradient that is not finite: stop, or skip the step and count it.")
      .OneOf({"stop", "skip"});
  keys.Add("nonfinite_steps_max", &options.nonfinite_steps_max, "steps",
           "skip: more such steps are an error.")
      .Between(0, kMaxRows);
}

}  // namespace

JobKeys KeysOfJob(TrainerOptions& options) {
  JobKeys keys("job", "The job's name, and where its results go.");
  keys.Add("name", &options.job, "", "Name of the job: names its directory and its random streams.")
      .Required()
      .Check([](const OptionValue& value) {
        const std::string& name = std::get<std::string>(value);
        const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
          return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
        });
        if (plain && !name.empty() && name[0] != '.') return absl::OkStatus();
        return absl::InvalidArgumentError(
            absl::StrCat("\"", name, "\": a name has letters, digits, '-', '_' and '.' only"));
      });
  keys.Add("seed", &options.seed, "", "Seed of initial values, dropout and the shuffle.");
  keys.Add("output", &options.output_dir, "",
           "Directory of cuts, TensorBoard files, logs and rows; empty: runs/ and the job's name.");
  return keys;
}

JobKeys KeysOfData(const std::string& name, DataOptions& data) {
  JobKeys keys(name, DataHelp(name));
  keys.Add("files", &data.files, "", "Paths or globs; .gz and .zst files are decompressed.");
  keys.Add("format", &data.format, "", "Form of the files.")
      .OneOf({"csv", "tsv", "criteo", "libsvm", "libffm"});
  keys.Add("header", &data.header, "", "csv, tsv: the first line of each file names the columns.");
  keys.Add("columns", &data.columns, "", "Names of the columns when no header does.");
  keys.Add("delimiter", &data.delimiter, "", "One character; empty: comma for csv, tab for tsv.")
      .Check([](const OptionValue& value) {
        if (std::get<std::string>(value).size() <= 1) return absl::OkStatus();
        return absl::InvalidArgumentError("expected one character");
      });
  keys.Add("missing", &data.missing, "", "A cell with this text counts as empty.");
  keys.Add("trim", &data.trim, "", "Drops blanks around cells.");
  keys.Add("skip_lines", &data.skip_lines, "lines", "Lines to skip at the start of each file.")
      .Between(0, kMaxRows);
  keys.Add("shuffle_rows", &data.shuffle_rows, "rows", "Window of the shuffle; 0: file order.")
      .Between(0, kMaxRows);
  keys.Add("seed", &data.seed, "", "Seed of the shuffle; job.seed unless given.");
  keys.Add("sharding", &data.sharding, "",
           "rows: each worker takes its slice of every batch; files: worker r of n reads every "
           "n-th file.")
      .OneOf({"rows", "files"});
  keys.Add("on_bad_row", &data.on_bad_row, "", "fail: a bad row is an error; skip: it is counted.")
      .OneOf({"fail", "skip"});
  keys.Add("bad_rows_max", &data.bad_rows_max, "rows", "skip: more bad rows are an error.")
      .Between(0, kMaxRows);
  AddSplit(keys, data);
  return keys;
}

JobKeys KeysOfSchema(FeatureSchema& schema) {
  JobKeys keys("schema", "What the columns mean, features apart.");
  keys.Add("label", &schema.label, "", "Column of the label.");
  keys.Add("label_positive", &schema.label_positive, "",
           "Text that means 1, all else 0; empty: the cell is 0 or 1.");
  keys.AddCustom({"label_threshold", 0.0, "", "When given: the label is 1 from this value up."},
                 [&schema](const OptionValue& value) {
                   schema.label_has_threshold = true;
                   schema.label_threshold = std::get<double>(value);
                 })
      .Unset();
  keys.Add("weight", &schema.weight, "", "Column of the sample weight; empty: every weight is 1.");
  keys.Add("group", &schema.group, "", "Column that GAUC groups by; empty: no GAUC.");
  keys.Add("targets", &schema.targets, "",
           "Columns of further numbers that the model learns from, beside the label.");
  return keys;
}

JobKeys KeysOfJoin(const std::string& name, JoinSpec& join) {
  JobKeys keys(name,
               "Side files with one row per key. Features with join = NAME read their columns, for "
               "every sample with that key; a batch holds each row once.");
  keys.Add("files", &join.files, "", "Paths or globs, with a header; .gz and .zst files too.")
      .Required();
  keys.Add("format", &join.format, "", "Form of the files.").OneOf({"csv", "tsv"});
  keys.Add("column", &join.column, "", "The samples' key column; empty: the join's name.");
  keys.Add("key", &join.key, "", "The side files' key column; empty: as `column`.");
  keys.Add("allow_missing", &join.allow_missing, "",
           "A sample whose key has no row reads as one whose columns are absent; false: it is a "
           "bad row.");
  keys.AddCustom({"memory_mb", join.memory_bytes_max >> 20, "MiB",
                  "The parsed files may need so much on each worker; more is an error."},
                 [&join](const OptionValue& value) {
                   join.memory_bytes_max = std::get<int64_t>(value) << 20;
                 })
      .Between(1, 1 << 24);
  return keys;
}

JobKeys KeysOfMetrics(EvaluationOptions& options, FeatureSchema& schema) {
  JobKeys keys("metrics", "What evaluation measures beside the usual.");
  keys.Add("pairs", &options.pairs, "",
           "AUC and log-loss of named outputs against targets: OUTPUT:TARGET; score is the "
           "prediction, label the label.")
      .Check([](const OptionValue& value) -> absl::Status {
        for (const std::string& pair : std::get<std::vector<std::string>>(value)) {
          const size_t colon = pair.find(':');
          if (colon != std::string::npos && colon > 0 && colon + 1 < pair.size() &&
              pair.find(':', colon + 1) == std::string::npos) {
            continue;
          }
          return absl::InvalidArgumentError(
              absl::StrCat("expected \"OUTPUT:TARGET\", found \"", pair, "\""));
        }
        return absl::OkStatus();
      });
  keys.Add("slices", &schema.slices, "",
           "Columns: AUC and log-loss of the prediction for each of their values.");
  keys.Add("top_ks", &options.top_ks, "items",
           "Retrieval: further K of recall@K, ndcg@K and hit_rate@K.")
      .Between(1, 1 << 20);
  return keys;
}

JobKeys KeysOfFeature(const std::string& name, FeatureSpec& feature) {
  JobKeys keys(name, "One feature. NAME = \"kind\" under [features] is short for its kind alone.");
  keys.AddCustom({"kind", std::string(), "",
                  "categorical: text, hashed; id: an integer as it is; numeric: a number for the "
                  "dense part; bucketised: the bucket of a number."},
                 [&feature](const OptionValue& value) {
                   const std::string& kind = std::get<std::string>(value);
                   feature.kind = kind == "id"           ? FeatureKind::kId
                                  : kind == "numeric"    ? FeatureKind::kNumeric
                                  : kind == "bucketised" ? FeatureKind::kBucketised
                                                         : FeatureKind::kCategorical;
                 })
      .OneOf({"categorical", "id", "numeric", "bucketised"})
      .Required();
  keys.Add("column", &feature.column, "", "Column of the file; empty: the feature's name.");
  keys.Add("table", &feature.table, "",
           "Table of its rows; features may share one; empty: the feature's name.");
  keys.AddCustom({"pooling", std::string("sum"), "", "How several values become one vector."},
                 [&feature](const OptionValue& value) {
                   const std::string& pooling = std::get<std::string>(value);
                   feature.pooling = pooling == "mean"    ? Pooling::kMean
                                     : pooling == "sqrtn" ? Pooling::kSqrtN
                                                          : Pooling::kSum;
                 })
      .OneOf({"sum", "mean", "sqrtn"});
  keys.Add("separator", &feature.separator, "",
           "Between the values of a cell; empty: a cell is one value.");
  keys.Add("last", &feature.last, "values",
           "Keeps the last values of a cell, as a sequence; 0: the cell is a set.")
      .Between(0, 1 << 20);
  keys.Add("log", &feature.transform.log, "",
           "Numbers: x becomes sign(x) log(1 + |x|), before the mean is taken off.");
  keys.Add("mean", &feature.transform.mean, "", "Numbers: subtracted.");
  keys.Add("stddev", &feature.transform.stddev, "", "Numbers: divided by.").MoreThan(0);
  keys.Add("missing_value", &feature.transform.missing_value, "",
           "Numbers: an empty cell reads as this.");
  keys.Add("boundaries", &feature.boundaries, "", "bucketised: ends of the buckets, ascending.")
      .Check([](const OptionValue& value) {
        const auto& ends = std::get<std::vector<double>>(value);
        if (std::is_sorted(ends.begin(), ends.end(), std::less_equal<>())) return absl::OkStatus();
        return absl::InvalidArgumentError("the boundaries do not ascend");
      });
  keys.Add("num_buckets", &feature.num_buckets, "ids",
           "categorical: folds the ids into so many; 0: any 64-bit id.")
      .Between(0, kMaxRows);
  keys.Add("optional", &feature.optional, "",
           "The column may be absent from a data set: no ids then, or missing_value.");
  keys.Add("join", &feature.join, "",
           "The column is one of this [join.NAME]'s side files; empty: of the data.");
  return keys;
}

JobKeys KeysOfModel(std::string* name, const ModelInfo* model, ModelOptions* options) {
  JobKeys keys("model", "The model, and its own options.");
  std::vector<std::string> names;
  for (const ModelInfo& info : AllModels()) names.push_back(info.name);
  keys.Add("name", name, "", "Which model.").OneOf(names).Required();
  if (model == nullptr) return keys;
  for (const OptionSpec& spec : model->options) keys.AddOption(spec, options);
  return keys;
}

JobKeys KeysOfSparse(SparseFields& fields, float* init_stddev) {
  JobKeys keys("sparse", "Rows of the tables: their optimizer, on the servers.");
  AddSparseOptimizer(keys, fields);
  keys.Add("init_stddev", init_stddev, "", "Deviation of a new row's normal values; 0: zeros.")
      .AtLeast(0);
  return keys;
}

JobKeys KeysOfTable(const std::string& name, SparseFields& fields) {
  JobKeys keys(name, "One table where it differs from [sparse]; a key left out is [sparse]'s.");
  AddSparseOptimizer(keys, fields);
  keys.Add("frozen", &fields.frozen, "", "Rows keep their values; pushes are refused.");
  return keys;
}

JobKeys KeysOfDense(DenseOptimizerOptions& options) {
  JobKeys keys("dense", "Dense parameters: their optimizer, on the workers.");
  DenseStepArgs& args = options.args;
  static constexpr const char* kKinds[] = {"sgd", "adagrad", "adam", "adamw"};
  keys.AddCustom({"optimizer", std::string(kKinds[static_cast<int>(args.kind)]), "",
                  "Optimizer of the dense parameters."},
                 [&args](const OptionValue& value) {
                   const auto* end = std::end(kKinds);
                   const auto* at = std::find(kKinds, end, std::get<std::string>(value));
                   args.kind = static_cast<DenseOptimizerKind>(at - kKinds);
                 })
      .OneOf({std::begin(kKinds), std::end(kKinds)});
  keys.Add("learning_rate", &args.learning_rate, "", "Base rate; [schedule] multiplies it.")
      .AtLeast(0);
  keys.Add("momentum", &args.momentum, "", "sgd: share of the last update kept.").Between(0, 1);
  keys.Add("beta1", &args.beta1, "", "adam, adamw: decay of the first moment.").Between(0, 1);
  keys.Add("beta2", &args.beta2, "", "adam, adamw: decay of the second moment.").Between(0, 1);
  keys.Add("epsilon", &args.epsilon, "", "adagrad, adam, adamw: keeps division tame.").AtLeast(0);
  keys.Add("weight_decay", &args.weight_decay, "",
           "L2 added to the gradient; adamw: decay of the weight itself.")
      .AtLeast(0);
  keys.Add("clip_norm", &options.clip_norm, "",
           "Scales the gradient's global norm down to this; 0: never.")
      .AtLeast(0);
  return keys;
}

JobKeys KeysOfGroup(const std::string& name, ParameterGroup& group) {
  JobKeys keys(name,
               "Tables and dense parameters that are trained in another way. Where groups overlap, "
               "the later one counts.");
  keys.Add("match", &group.match, "",
           "Patterns of their names: '*' is any text, table:NAME and dense:NAME one kind, "
           "group:NAME a dense group of the model, !NAME takes out again.")
      .Required();
  keys.Add("learning_rate", &group.learning_rate, "", "Factor on their learning rate.").AtLeast(0);
  keys.Add("weight_decay", &group.weight_decay, "", "false: neither weight decay nor l2.");
  keys.Add("optimizer", &group.optimizer, "",
           "Their optimizer, with the other settings of [dense], [sparse] or [table.NAME]; empty: "
           "theirs.");
  return keys;
}

JobKeys KeysOfStart(const std::string& name, StartOptions& start, StageOptions& stage) {
  JobKeys keys(name,
               name == "start"
                   ? "What a job takes over from another one before its first step, and what it "
                     "leaves as it is (docs/stages.md). In a job with stages these are keys of "
                     "[stage.NAME]."
                   : "One stage: a job of its own, after the stages above it in the file. "
                     "[stage.NAME.SECTION] changes keys of [SECTION] for it; [features], and "
                     "[model] with another name, are replaced as a whole.");
  keys.Add("from", &start.from, "",
           name == "start" ? "Directory of a cut, or of a finished job's output; empty: nothing."
                           : "Name of an earlier stage, directory of a cut, or directory of a "
                             "finished job's output; empty: nothing.");
  keys.Add("cut", &start.cut, "", "Of a job's output: its result, or the newest cut.")
      .OneOf({"best", "last"});
  keys.Add("load", &start.load, "",
           "Patterns of tables and dense parameters to load, as in [group.NAME]; also renaming, "
           "\"a.* -> b.*\"; empty: all that both have.");
  keys.Add("freeze", &stage.freeze, "",
           "Patterns of tables and dense parameters that keep their values: no gradient, no "
           "slots, no decay.");
  return keys;
}

JobKeys KeysOfSchedule(ScheduleOptions& options) {
  JobKeys keys("schedule", "A factor on the learning rates of rows and dense parameters.");
  keys.Add("kind", &options.kind, "", "Course of the factor after the warm-up.")
      .OneOf({"constant", "cosine", "plateau"});
  keys.Add("warmup_steps", &options.warmup_steps, "steps", "Steps from 0 up to the full rate.")
      .Between(0, kMaxRows);
  keys.Add("total_steps", &options.total_steps, "steps", "cosine: where min_factor is reached.")
      .Between(0, kMaxRows);
  keys.Add("min_factor", &options.min_factor, "", "cosine, plateau: the factor's floor.")
      .Between(0, 1);
  keys.Add("plateau_factor", &options.plateau_factor, "", "plateau: multiplies the factor ...")
      .Between(0, 1);
  keys.Add("plateau_patience", &options.plateau_patience, "evaluations",
           "plateau: ... after so many evaluations without gain.")
      .Between(1, kMaxRows);
  return keys;
}

JobKeys KeysOfTrain(TrainerOptions& options, StageOptions& stage) {
  JobKeys keys("train", "The training loop.");
  keys.Add("mode", &options.mode, "",
           "sync: one update a step from all workers; async: no waiting for other workers.")
      .OneOf({"sync", "async"});
  keys.Add("batch_size", &options.batch_size, "samples", "Samples per step, of all workers.")
      .Between(1, 1 << 24);
  keys.Add("epochs", &stage.epochs, "passes", "Passes over the data.").Between(1, 1e6);
  keys.Add("steps_max", &stage.steps_max, "steps", "Ends the training early; 0: no limit.")
      .Between(0, kMaxRows);
  keys.Add("threads", &options.num_threads, "threads", "Threads of each worker.").Between(1, 1024);
  keys.AddCustom({"device", std::string("cpu"), "",
                  "Where the dense part runs: cpu; cuda or cuda:N, a GPU; auto: a GPU where there "
                  "is one; emulated: the GPU's kernels on the CPU, in builds for that."},
                 [&options](const OptionValue& value) {
                   options.device = *ParseDevice(std::get<std::string>(value));
                 })
      .Check([](const OptionValue& value) {
        return ParseDevice(std::get<std::string>(value)).status();
      });
  keys.AddCustom({"device_memory_mb", int64_t{0}, "MiB",
                  "Budget of a GPU's memory for this worker; 0: what the GPU has."},
                 [&options](const OptionValue& value) {
                   options.device_memory_bytes = std::get<int64_t>(value) << 20;
                 })
      .Between(0, 1 << 24);
  keys.AddCustom({"device_cache_mb", int64_t{0}, "MiB",
                  "A GPU's memory for rows that batches keep asking for, of device_memory_mb; with "
                  "several workers in async mode only. 0: none."},
                 [&options](const OptionValue& value) {
                   options.device_cache_bytes = std::get<int64_t>(value) << 20;
                 })
      .Between(0, 1 << 24);
  keys.Add("device_cache_age_steps", &options.device_cache_age_steps, "steps",
           "async: a row in that cache is read again after so many steps.")
      .Between(1, kMaxRows);
  keys.AddCustom({"dtype", std::string("f32"), "", "Numbers of the dense part's products."},
                 [&options](const OptionValue& value) {
                   options.compute_dtype =
                       std::get<std::string>(value) == "bf16" ? DType::kBF16 : DType::kF32;
                 })
      .OneOf({"f32", "bf16"});
  keys.Add("pull_ahead", &options.pull_ahead, "batches",
           "Batches whose rows are pulled while one trains; with several workers, async only.")
      .Between(0, 64);
  keys.Add("pushes_in_flight", &options.pushes_in_flight, "pushes",
           "async: pushes not yet acknowledged.")
      .Between(1, 64);
  AddTrainStorage(keys, options);
  AddDuration(keys, "timeout_s", &options.timeout,
              "A worker or server silent for so long is dead, and the job ends.", 2);
  AddDuration(keys, "wait_max_s", &options.wait_max,
              "Longest wait for others that are alive, as at the end of an epoch.", 10);
  keys.Add("frozen_tables", &stage.frozen_tables, "", "Tables whose rows keep their values.");
  keys.Add("frozen_groups", &stage.frozen_groups, "", "Dense parameter groups that keep theirs.");
  return keys;
}

JobKeys KeysOfEvaluation(EvaluationOptions& options) {
  JobKeys keys("evaluation", "Evaluation on [data.valid] while training.");
  keys.Add("batch_size", &options.batch_size, "samples", "Samples per evaluation batch.")
      .Between(1, 1 << 24);
  keys.Add("every_steps", &options.every_steps, "steps",
           "Steps between evaluations; 0: at the end of each epoch.")
      .Between(0, kMaxRows);
  keys.Add("metric", &options.metric, "",
           "What decides early stopping and the best cut: auc, gauc, log_loss, recall, ndcg, "
           "hit_rate, or one that [metrics] adds, as auc(OUTPUT:TARGET) or ndcg@20.")
      .Check([](const OptionValue& value) {
        return EarlyStopping::Create(std::get<std::string>(value), 0).status();
      });
  keys.Add("patience", &options.patience, "evaluations",
           "Evaluations without gain before stopping; 0: never stops early.")
      .Between(0, kMaxRows);
  keys.Add("top_k", &options.top_k, "items", "Retrieval: K of Recall@K and NDCG@K.")
      .Between(1, 1 << 20);
  keys.Add("exclude_seen", &options.exclude_seen, "",
           "Retrieval: a user's training items are not ranked.");
  keys.Add("seen_features", &options.seen_features, "",
           "Retrieval, exclude_seen: features of the user (a history) whose items are not ranked "
           "either; they share the item's table.");
  return keys;
}

JobKeys KeysOfServer(ParameterServiceOptions& options) {
  JobKeys keys("server", "Each parameter server, embedded or its own process.");
  keys.Add("durability", &options.durability, "",
           "none: a crash loses what came since the last cut; process: an acknowledged push "
           "survives the death of the process; machine: and the loss of power.")
      .OneOf({"none", "process", "machine"});
  keys.AddCustom({"memory_mb", options.memory_bytes >> 20, "MiB",
                  "Budget of all that the store keeps in memory: about 3/4 of it rows, 1/8 what "
                  "is read from disk."},
                 [&options](const OptionValue& value) {
                   options.memory_bytes = std::get<int64_t>(value) << 20;
                 })
      .Between(16, 1 << 24);
  keys.AddCustom({"disk_mb", options.disk_bytes_max >> 20, "MiB",
                  "Budget of rows, log, and what a flush and a merge need for a while, cuts not "
                  "counted: pushes beyond it are refused; 0: none."},
                 [&options](const OptionValue& value) {
                   options.disk_bytes_max = std::get<int64_t>(value) << 20;
                 })
      .Between(0, 1 << 28);
  keys.Add("threads", &options.num_threads, "threads", "Threads of each server.").Between(1, 1024);
  keys.Add("ids_per_request_max", &options.ids_per_request_max, "ids",
           "A request with more ids is refused.")
      .Between(1, 1 << 30);
  keys.AddCustom({"in_flight_mb", options.bytes_in_flight_max >> 20, "MiB",
                  "Requests beyond so many bytes at a time are refused."},
                 [&options](const OptionValue& value) {
                   options.bytes_in_flight_max = std::get<int64_t>(value) << 20;
                 })
      .Between(1, 1 << 24);
  return keys;
}

JobKeys KeysOfLaunch(LaunchOptions& options) {
  JobKeys keys("launch", "Processes that `pagoda launch` starts on this machine.");
  keys.Add("servers", &options.servers, "processes", "Parameter servers.").Between(1, 1024);
  keys.Add("workers", &options.workers, "processes", "Workers.").Between(1, 1024);
  return keys;
}

JobKeys KeysOfTest(TestSet& test) {
  JobKeys keys = KeysOfData("data.test", test.data);
  keys.Add("label_positive", &test.schema.label_positive, "",
           "Overrides schema.label_positive for this set.");
  return keys;
}

std::vector<JobKeys> DescribeJob(const ModelInfo* model) {
  // The keys point into these; nobody stores through keys that only describe.
  static TrainerOptions trainer;
  static ParameterServiceOptions server;
  static LaunchOptions launch;
  static StageOptions stage;
  static TestSet test;
  static FeatureSpec feature;
  static JoinSpec join;
  static SparseFields fields;
  static ModelOptions options;
  static ParameterGroup group;
  static std::string model_name;
  DataOptions& data = stage.data;
  return {
      KeysOfJob(trainer),
      KeysOfData("data", data),
      KeysOfData("data.valid", data),
      KeysOfTest(test),
      KeysOfData("data.items", data),
      KeysOfSchema(trainer.schema),
      KeysOfJoin("join.NAME", join),
      KeysOfFeature("features.NAME", feature),
      KeysOfModel(&model_name, model, &options),
      KeysOfSparse(fields, &trainer.sparse.init_stddev),
      KeysOfTable("table.NAME", fields),
      KeysOfDense(trainer.dense),
      KeysOfGroup("group.NAME", group),
      KeysOfSchedule(trainer.schedule),
      KeysOfTrain(trainer, stage),
      KeysOfEvaluation(trainer.evaluation),
      KeysOfStart("start", trainer.start, stage),
      KeysOfStart("stage.NAME", trainer.start, stage),
      KeysOfMetrics(trainer.evaluation, trainer.schema),
      KeysOfServer(server),
      KeysOfLaunch(launch),
  };
}

}  // namespace pagoda
