// A job file with its meaning: every section and key, and the options they fill.
// The format for users: docs/job_file.md, which `pagoda config explain` prints from
// the same declarations.
//
// Paths of data files are relative to the job file; those given by --set, and
// job.output, are relative to the current directory.
//
// Threads: pure functions; a JobConfig is plain data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "deploy/job_file_toml.h"
#include "deploy/job_sections.h"
#include "server/parameter_service.h"
#include "worker/trainer_options.h"

namespace pagoda {

struct JobConfig {
  std::string path;  // Of the job file, as it was given.
  // One stage, fed by [data]; evaluation by [data.valid]; paths absolute.
  TrainerOptions trainer;
  ParameterServiceOptions server;  // data_dir is left empty.
  LaunchOptions launch;
  std::optional<TestSet> test;  // [data.test]
  // The file with the command line's --set applied and paths made absolute: parses
  // to this job from any directory. Kept beside every cut.
  std::string effective_text;
  // Sections that a stage inherited and that mean nothing for its model.
  std::vector<std::string> dropped;
  std::string base_output;  // Of the job file: with stages, the folder around theirs.
};

// Gives a document without stages its meaning. Files: job_stages.h, LoadJob.
//   INVALID_ARGUMENT  anything wrong in it: one sentence with file and line ("job.toml:12:
//                     unknown key 'batchsize' in [train]; did you mean 'batch_size'?")
// Data files need not exist yet: readers check that.
absl::StatusOr<JobConfig> ParseJob(JobDocument document);

}  // namespace pagoda
