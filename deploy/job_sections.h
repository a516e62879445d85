// The table of a job file's keys: one function per section, each declaring its keys
// over the options they fill. A key's default is what the field holds.
//
// Adding a key: one Add() here; docs/job_file.md follows by
// `pagoda config explain --markdown`, and tests/deploy checks that it did.
//
// Threads: pure functions; the fields must outlive what is returned.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "algorithms/nn/model.h"
#include "deploy/job_keys.h"
#include "deploy/table_policy_keys.h"
#include "embedding_store/table_options.h"
#include "server/parameter_service.h"
#include "worker/trainer_options.h"

namespace pagoda {

struct LaunchOptions {
  int servers = 1;
  int workers = 1;
};

// A data set that is read after training only, with its own spelling of labels.
struct TestSet {
  DataOptions data;
  FeatureSchema schema;
};

// What becomes of [sparse] and [table.NAME].
struct SparseFields {
  std::string kind = "adagrad";
  std::string schedule = "constant";
  SparseOptimizerOptions values;
  bool frozen = false;
  std::string precision = "f32";
  TablePolicyFields policies;
};

JobKeys KeysOfJob(TrainerOptions& options);
// `name`: data | data.valid | data.items
JobKeys KeysOfData(const std::string& name, DataOptions& data);
JobKeys KeysOfTest(TestSet& test);  // [data.test]
JobKeys KeysOfSchema(FeatureSchema& schema);
// `name`: "join.history"
JobKeys KeysOfJoin(const std::string& name, JoinSpec& join);
JobKeys KeysOfMetrics(EvaluationOptions& options, FeatureSchema& schema);
// `name`: "features.age"
JobKeys KeysOfFeature(const std::string& name, FeatureSpec& feature);
// `model` nullptr: only the key `name`; then `options` may be nullptr too.
JobKeys KeysOfModel(std::string* name, const ModelInfo* model, ModelOptions* options);
JobKeys KeysOfSparse(SparseFields& fields, float* init_stddev);
// `name`: "table.movieId"
JobKeys KeysOfTable(const std::string& name, SparseFields& fields);
JobKeys KeysOfDense(DenseOptimizerOptions& options);
// `name`: "group.tower"
JobKeys KeysOfGroup(const std::string& name, ParameterGroup& group);
// `name`: "start" or "stage.NAME", which has the same keys.
JobKeys KeysOfStart(const std::string& name, StartOptions& start, StageOptions& stage);
JobKeys KeysOfSchedule(ScheduleOptions& options);
JobKeys KeysOfTrain(TrainerOptions& options, StageOptions& stage);
JobKeys KeysOfEvaluation(EvaluationOptions& options);
JobKeys KeysOfServer(ParameterServiceOptions& options);
JobKeys KeysOfLaunch(LaunchOptions& options);

// Every section with its keys at their defaults, in the order of the documentation;
// [model] holds `model`'s options (nullptr: only `name`). Only for reading.
std::vector<JobKeys> DescribeJob(const ModelInfo* model);

}  // namespace pagoda
