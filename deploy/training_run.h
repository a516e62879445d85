// One trainer from start to end, as `pagoda train` and `pagoda worker` both run it:
// progress on stdout, Ctrl-C, the trace of losses, and the closing words.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "deploy/job_config.h"
#include "worker/allreduce.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct TrainingRun {
  const JobConfig* job = nullptr;
  ParameterClient* client = nullptr;
  AllReduce* allreduce = nullptr;
  std::string resume_cut;          // Empty: a fresh start.
  std::string keep_newer;          // Resume: where newer rows go; empty: they are deleted.
  std::string trace_path;          // Empty: no trace. Only rank 0 writes it.
  absl::Duration hand_over_pause;  // StartOptions::pause.
  std::string resume_command;      // Shown after Ctrl-C; empty: another process shows it.
};

// Returns 0, or 130 after Ctrl-C with a cut made.
//   whatever Trainer::Create and Trainer::Run return
absl::StatusOr<int> RunTraining(const TrainingRun& run);

}  // namespace pagoda
