// What a job keeps in its output directory, and the beginning of a run in it.
//
//   <output>/job.toml            the job as it ran last (every cut has its own copy)
//   <output>/server-K/           rows of server K, embedded or launched here
//   <output>/cuts/NAME/          cuts (worker/job_cut.h)
//   <output>/tensorboard/        event files
//   <output>/logs/NAME.log       launched processes
//   <output>/finished            the cut that is the result of a finished run
//   <output>/STAGE/              all of this for a stage of a job with stages
//
// Threads: one process at a time runs a job in a directory.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "deploy/commands.h"
#include "deploy/job_config.h"

namespace pagoda {

std::string ServerDirectory(const std::string& output_dir, int server);
std::string LogPath(const std::string& output_dir, const std::string& process);

// Makes the directory ready for a run and returns the cut to resume from ("" for a
// fresh start).
//   NOT_FOUND            --resume, and there is no complete cut
//   FAILED_PRECONDITION  a fresh start, and the directory holds cuts of an earlier run
// A fresh start removes rows that an earlier run left without any complete cut: they
// cannot be resumed. With `overwrite` it removes an earlier run altogether, but no
// file that Pagoda did not write.
absl::StatusOr<std::string> PrepareOutput(const JobConfig& config, const StartArguments& start);

// The cut that `start` asks to resume from, checked; "" without --resume.
//   NOT_FOUND  as PrepareOutput;  DATA_LOSS  its manifest is damaged
absl::StatusOr<std::string> ResumeCut(const JobConfig& config, const StartArguments& start);

// The command line that resumes this job, to be shown to the user.
std::string ResumeCommand(const std::string& command, const JobArguments& job,
                          const std::string& options);

// `path` relative to the current directory when it lies below it, else as it is.
std::string ShortPath(const std::string& path);

// "'a b'": as a shell would need it; plain words stay as they are.
std::string ShellQuote(const std::string& word);

}  // namespace pagoda
