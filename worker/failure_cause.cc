#include "worker/failure_cause.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace pagoda {
namespace {

// A worker's death is known to the servers after at most one timeout and to this
// client one heartbeat later; a report by the dying worker itself comes within one
// heartbeat. This waits for the latter, so as not to spend the 10 s that a job has
// for ending.
constexpr absl::Duration kCauseWait = absl::Seconds(2);
constexpr absl::Duration kPollInterval = absl::Milliseconds(20);

bool MayBeEcho(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsAborted(status);
}

}  // namespace

absl::Status ExplainFailure(const absl::Status& seen, const ParameterClient& client) {
  if (!MayBeEcho(seen)) return seen;
  absl::Status cause = client.Health();
  const absl::Time deadline = absl::Now() + kCauseWait;
  while (cause.ok() && absl::Now() < deadline) {
    absl::SleepFor(kPollInterval);
    cause = client.Health();
  }
  if (cause.ok() || absl::StrContains(seen.message(), cause.message())) return seen;
  return absl::Status(
      cause.code(),
      absl::StrCat(cause.message(), " (seen by this worker as: ", seen.message(), ")"));
}

}  // namespace pagoda
