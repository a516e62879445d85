// Job files, with or without stages: a job file that has [stage.NAME] sections stands for
// as many jobs, one after the other, in the order of the file.
//
//   [train]                          the job around the stages: what they have in common
//   batch_size = 512
//   [stage.pretrain.train]           this stage's [train] where it differs
//   epochs = 10
//   [stage.finetune]                 keys of [start]: what the stage begins with
//   from = "pretrain"
//
// A stage's job is called JOB.STAGE, and its output is a folder of the job's. Its document
// has no stages: it is what every cut of the stage keeps as job.toml.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/job_config.h"

namespace pagoda {

// The jobs of a file in their order; of a file without stages: its one job. --set
// assignments are applied first: "train.epochs=1" to what the stages have in common,
// "stage.NAME.train.epochs=1" to one of them.
//   NOT_FOUND         the file cannot be read
//   INVALID_ARGUMENT  anything wrong in it, by one sentence with file and line (ParseJob);
//                     what SplitStages says
absl::StatusOr<std::vector<JobConfig>> LoadJobs(const std::string& path,
                                                const std::vector<std::string>& assignments);

// One of them; `stage` empty: the job of a file without stages.
//   INVALID_ARGUMENT  also: no such stage, or the file has stages and none is named (lists
//                     them)
absl::StatusOr<JobConfig> LoadJob(const std::string& path,
                                  const std::vector<std::string>& assignments,
                                  const std::string& stage = "");

struct JobStage {
  std::string name;
  std::string from_stage;   // The earlier stage that it starts from; or empty.
  std::string base_output;  // Of the job around it, absolute.
  JobDocument document;     // A job's, without stages.
};

// The stages of a document, in file order; none: it has none.
//   INVALID_ARGUMENT  a stage's name has other characters than letters, digits, '-' and '_';
//                     a stage sets job.name or job.output; `from` names a stage that is not
//                     above it, or neither a stage nor a path
absl::StatusOr<std::vector<JobStage>> SplitStages(const JobDocument& document);

}  // namespace pagoda
