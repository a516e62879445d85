// A training job as the trainer sees it: filled from the job file by deploy/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "algorithms/nn/feature_schema.h"
#include "algorithms/nn/model.h"
#include "algorithms/nn/model_options.h"
#include "algorithms/nn/optimizer.h"
#include "kernels/tensor.h"
#include "proto/parameter_server.pb.h"
#include "worker/batch_reader.h"
#include "worker/data_options.h"

namespace pagoda {

struct SparseOptions {
  proto::TableSpec::Optimizer optimizer;  // For every table unless overridden.
  float init_stddev = 0.01f;
  std::string precision = "f32";  // Of the weights as servers keep them: f32 | f16 | bf16 | int8.
  proto::TableSpec policies{};    // Only admission and eviction are looked at.
  struct Override {
    std::string table;
    proto::TableSpec::Optimizer optimizer;
    bool frozen = false;
    std::string precision = "f32";
    proto::TableSpec policies{};
  };
  std::vector<Override> overrides;
};

struct EvaluationOptions {
  DataOptions data;  // No files: no evaluation.
  int64_t batch_size = 4096;
  int64_t every_steps = 0;  // 0: at the end of each epoch.
  // For early stopping: auc | gauc | log_loss | recall | ndcg | hit_rate, or the name of a
  // further metric ("auc(cvr:bought)", "ndcg@20").
  std::string metric = "auc";
  int64_t patience = 0;      // Evaluations without gain before stopping; 0: never.
  int64_t top_k = 10;        // Retrieval.
  DataOptions items;         // Retrieval: the corpus, one row per item.
  bool exclude_seen = true;  // Retrieval: a user's training positives are not ranked.
  // Retrieval, with exclude_seen: features of the user (a history) whose items are not
  // ranked either; each shares its table with the corpus's item feature.
  std::vector<std::string> seen_features;
  std::vector<int64_t> top_ks;  // Retrieval: further K, as recall@K, ndcg@K, hit_rate@K.
  // "OUTPUT:TARGET": AUC and log-loss of a model's named output against a target;
  // "score" is the prediction, "label" the label.
  std::vector<std::string> pairs;
};

// One stage of training; a job has one or more (today: one).
struct StageOptions {
  std::string name = "train";
  DataOptions data;
  int64_t epochs = 1;
  int64_t steps_max = 0;  // 0: no limit
  std::vector<std::string> frozen_tables;
  std::vector<std::string> frozen_groups;  // Dense parameter groups.
  // Patterns (algorithms/nn/name_pattern.h) of tables and dense parameters that keep their
  // values. A table frozen so has no optimizer: its rows are stored without slots.
  std::vector<std::string> freeze;
};

// What a job takes over from another one's cut before its first step (worker/hand_over.h).
struct StartOptions {
  std::string stage;              // This job's name among the stages of a job file; or empty.
  std::string from;               // A cut's directory, or a job's output; empty: nothing.
  std::string from_stage;         // That job's name among the stages; or empty.
  std::string cut = "best";       // Of a job's output: best | last.
  std::vector<std::string> load;  // Patterns; empty: everything that both have.
  // Waits so long after each table's rows: for tests that kill a job just then.
  absl::Duration pause;
};

struct TrainerOptions {
  std::string job;       // Name, and salt of every random key.
  std::string job_text;  // The effective job file, copied into every cut.
  uint64_t seed = 1;
  std::string output_dir;  // Cuts, TensorBoard files, logs.
  // Resume: rows newer than the cut are set aside under this name on the servers;
  // empty: they are deleted.
  std::string keep_newer;
  FeatureSchema schema;
  std::string model;  // FindModel() name
  ModelOptions model_options;
  std::vector<StageOptions> stages;
  StartOptions start;
  EvaluationOptions evaluation;

  std::string mode = "sync";  // sync | async
  int64_t batch_size = 4096;  // Global samples per step.
  // Batches pulled while one trains (async). In sync mode with one worker, > 0 pulls
  // the next batch early and reads again the rows that the step changed.
  int64_t pull_ahead = 2;
  int64_t pushes_in_flight = 2;  // async
  SparseOptions sparse;
  DenseOptimizerOptions dense;
  ScheduleOptions schedule;  // For dense and sparse rates alike.

  Device device;
  int64_t device_memory_bytes = 0;  // Of a GPU, for all tensors; 0: what it has.
  // Rows that batches keep asking for stay on the GPU (worker/row_cache.h); 0 bytes: none.
  int64_t device_cache_bytes = 0;
  Step device_cache_age_steps = 64;
  DType compute_dtype = DType::kF32;
  int num_threads = 2;

  // Makes the model, in place of the one that `model` names; empty: that one. For tests.
  std::function<std::unique_ptr<Model>()> create_model;

  // Opens the training data; empty: BatchReader::Open. For benchmarks and tests that
  // train from memory.
  OpenReaderFn open_reader;

  int64_t checkpoint_every_steps = 0;  // 0: only at the end and on Ctrl-C.
  int64_t checkpoints_kept = 2;        // Beside the best one.
  int64_t log_every_steps = 100;
  std::string on_nonfinite = "stop";  // stop | skip
  int64_t nonfinite_steps_max = 10;   // skip: more is an error.

  // Servers and peers that fall silent are found in SessionOptions::timeout; this
  // bounds a wait in which every one of them looks alive.
  absl::Duration timeout = absl::Seconds(8);
  absl::Duration wait_max = absl::Minutes(2);
};

}  // namespace pagoda
