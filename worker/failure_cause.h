// Why a run really failed: what this worker saw (a broken connection, a silent peer)
// is often only the echo of another process's death, which the servers know by name.
//
// Threads: pure, but for the client.
#pragma once

#include "absl/status/status.h"
#include "worker/parameter_client.h"

namespace pagoda {

// `seen`, or for an error that may be an echo (UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED)
// the job's failure as the servers tell it within a few seconds, with `seen` behind it.
absl::Status ExplainFailure(const absl::Status& seen, const ParameterClient& client);

}  // namespace pagoda
