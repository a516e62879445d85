// A ParameterClient over parameter services in this process: no network and no
// serialising. With one service the caller's memory goes straight to the store;
// with several, ids are split as over real servers, and the results have the same
// bits (DESIGN ruling 3).
//
// Callbacks run on the client's thread or inside another worker's push. A worker
// here never counts as silent; it can only say that it has failed.
#pragma once

#include <memory>
#include <vector>

#include "server/parameter_service.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct InProcessClientOptions {
  // Threads that run pulls and pushes. With one, they reach the store in the order
  // of the calls, so that also an async job with one worker is reproducible.
  int num_threads = 1;
  // Pulls and pushes that may wait for a thread; beyond: RESOURCE_EXHAUSTED.
  int waiting_max = 1024;
};

// services[i] is shard i; they must outlive the client.
// REQUIRES: services is not empty.
std::unique_ptr<ParameterClient> MakeInProcessClient(std::vector<ParameterService*> services,
                                                     const InProcessClientOptions& options = {});

}  // namespace pagoda
