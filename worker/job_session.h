// Starting a job with its servers and fellow workers: afresh, or from a cut.
//
// Threads: one thread at a time. Collective over the workers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/allreduce.h"
#include "worker/batch_reader.h"
#include "worker/job_cut.h"
#include "worker/model_instance.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct JobSession {
  uint64_t epoch = 1;             // Of this run: never used before in this output directory.
  std::optional<JobCut> resumed;  // The cut to continue from, on every worker.
  // A fresh start from another job's cut, on every worker: without its slots.
  std::optional<JobCut> source;
  proto::JobCut::HandOver hand_over;  // What is to be taken from it: nothing has been yet.
};

// Reads the cut on worker 0 (empty `resume_cut`: none, or the one to start from), claims
// the epoch, tells the other workers, and opens `client` for training. Rows are not rewound
// or taken over yet. Tables of `model` get the initial values of those they take rows from.
//   FAILED_PRECONDITION  the cut is of another job, model or seed, or its parameters or
//                        servers differ; or a fresh start finds cuts or rows of an
//                        earlier run
//   ReadJobCut's, PlanHandOver's and ParameterClient::Open's errors;  ABORTED when another
//   worker failed
absl::StatusOr<JobSession> StartSession(ModelInstance& model, ParameterClient* client,
                                        AllReduce* allreduce, const std::string& resume_cut);

// Worker 0's cut on every worker; the others' argument is ignored. Collective.
absl::StatusOr<JobCut> BroadcastCut(AllReduce& allreduce, const JobCut& cut);

// The session options of this model for `client`->Open.
SessionOptions SessionOptionsFor(const ModelInstance& model, const AllReduce& allreduce);

// Checks that `manifest` describes this model's dense parameters.
//   FAILED_PRECONDITION  names the first difference
absl::Status CheckSameModel(const proto::JobCut& manifest, const ModelInstance& model);
// Writes them into `manifest`.
void DescribeModel(const ModelInstance& model, proto::JobCut* manifest);

// Reader positions of all workers, gathered in rank order.
absl::StatusOr<std::vector<ReaderPosition>> GatherPositions(AllReduce& allreduce,
                                                            const ReaderPosition& mine);
void SavePositions(const std::vector<ReaderPosition>& positions, const std::string& sharding,
                   proto::JobCut* manifest);
// This worker's position.
//   FAILED_PRECONDITION  "files" sharding and another number of workers
absl::StatusOr<ReaderPosition> LoadPosition(const proto::JobCut& manifest, int rank,
                                            int num_workers);

}  // namespace pagoda
