// A finished job opened from one of its cuts: its model, its rows, and the data sets
// its job file names. For `pagoda evaluate` and `pagoda predict`.
//
// Threads: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/embedded_servers.h"
#include "deploy/job_config.h"
#include "worker/trained_model.h"

namespace pagoda {

struct TrainedJob {
  JobConfig job;
  std::unique_ptr<EmbeddedServers> servers;  // Read-only, on the cut's rows.
  std::unique_ptr<TrainedModel> model;       // Uses servers; declared after them.
};

// Reads the cut and the job file in it, with --set assignments applied.
//   NOT_FOUND, DATA_LOSS  no complete cut there, or its rows are not on this machine
//   what LoadJob, ParameterService::Open and TrainedModel::Load return
absl::StatusOr<TrainedJob> OpenTrainedJob(const std::string& cut,
                                          const std::vector<std::string>& assignments);

// The data that `input` names: "train", "valid" or "test" of the job file, or a file,
// read as the test data is (or the training data, when there is no [data.test]).
//   NOT_FOUND  the job has no such set, or there is no such file
absl::StatusOr<TestSet> InputOf(const JobConfig& job, const std::string& input);

}  // namespace pagoda
