#include "worker/trainer_check.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

absl::Status CheckAtLeast(const char* key, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, " is ", value, "; it must be ", least, " or more"));
}

absl::Status CheckWord(const char* key, const std::string& value, const char* first,
                       const char* second) {
  if (value == first || value == second) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(key, " is '", value, "'; it must be '", first, "' or '", second, "'"));
}

}  // namespace

absl::Status CheckTrainerOptions(const TrainerOptions& options) {
  if (options.job.empty()) return absl::InvalidArgumentError("the job has no name");
  if (options.output_dir.empty()) {
    return absl::InvalidArgumentError("the job has no output directory");
  }
  if (options.stages.empty()) return absl::InvalidArgumentError("the job has no stage");
  PAGODA_RETURN_IF_ERROR(CheckWord("mode", options.mode, "sync", "async"));
  PAGODA_RETURN_IF_ERROR(CheckWord("on_nonfinite", options.on_nonfinite, "stop", "skip"));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("batch_size", options.batch_size, 1));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("evaluation batch_size", options.evaluation.batch_size, 1));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("evaluation every_steps", options.evaluation.every_steps, 0));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("pull_ahead", options.pull_ahead, 0));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("pushes_in_flight", options.pushes_in_flight, 1));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("device_memory_bytes", options.device_memory_bytes, 0));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("device_cache_bytes", options.device_cache_bytes, 0));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("device_cache_age_steps", options.device_cache_age_steps, 1));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("num_threads", options.num_threads, 1));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("checkpoint_every_steps", options.checkpoint_every_steps, 0));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("checkpoints_kept", options.checkpoints_kept, 1));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("log_every_steps", options.log_every_steps, 0));
  PAGODA_RETURN_IF_ERROR(CheckAtLeast("nonfinite_steps_max", options.nonfinite_steps_max, 0));
  for (const StageOptions& stage : options.stages) {
    PAGODA_RETURN_IF_ERROR(CheckAtLeast("epochs", stage.epochs, 1));
    PAGODA_RETURN_IF_ERROR(CheckAtLeast("steps_max", stage.steps_max, 0));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
