// Checks of a training job's options that need neither data nor servers.
//
// Threads: pure.
#pragma once

#include "absl/status/status.h"
#include "worker/trainer_options.h"

namespace pagoda {

//   INVALID_ARGUMENT  the first option that is out of range (named, with its value and
//                     what it may be)
absl::Status CheckTrainerOptions(const TrainerOptions& options);

}  // namespace pagoda
