// How the workers of one run find one another on a rendezvous board that may still
// hold what earlier runs wrote there.
//
//   here/R    worker R's number, drawn anew in every run
//   meeting   worker 0's proposal: a fresh meeting number, then the numbers it saw
//   joined/R  the meeting that worker R found its own number in
//   M/go      worker 0 saw that all have joined meeting M
//
// A number left by a dead run is in nobody's hands, so a proposal that holds one
// is never joined by all, and worker 0 makes another as soon as the number changes.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct MeetingOptions {
  std::string job;  // Keeps the jobs that use one board apart.
  int rank = 0;
  int num_workers = 1;
  absl::Duration timeout = absl::Seconds(60);
};

// Waits until all workers of the run are there; returns a prefix for keys that is
// theirs alone ("job/meeting-17/"). `client` need not be open.
//   DEADLINE_EXCEEDED  a worker has not come (names it where that can be known)
//   others             the board's
absl::StatusOr<std::string> MeetWorkers(const MeetingOptions& options, ParameterClient* client);

}  // namespace pagoda
