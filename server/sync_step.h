// Gathers the workers' pushes of one step and applies them as one (DESIGN ruling
// 2): sums per id in rank order, then one optimizer step per row.
//
// Threads: SyncStep has none of its own, the owner locks; ApplyPushes may run
// while others read the tables served.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "base/ids.h"
#include "base/thread_pool.h"
#include "embedding_store/embedding_store.h"
#include "server/parameter_service.h"
#include "server/served_tables.h"

namespace pagoda {

// One worker's push; its spans live until the push is answered.
struct WorkerPush {
  PushHeader header;
  std::vector<ServicePush> tables;
};

class SyncStep {
 public:
  // Whether the push belongs to the step being gathered, or may open the next one.
  //   FAILED_PRECONDITION  the step has been applied, another one is being
  //                        gathered, this worker's push of it is here already, or
  //                        the learning rate factor differs from the others'
  absl::Status Check(const PushHeader& header) const;

  // REQUIRES: Check was OK. The first push of a step also means that all earlier
  // steps are over.
  void Add(WorkerPush push);

  // Whether all of `num_workers` are in.
  bool Complete(size_t num_workers) const { return pushes_.size() == num_workers; }
  bool empty() const { return pushes_.empty(); }
  size_t size() const { return pushes_.size(); }
  Step step() const { return step_; }

  // The pushes in rank order; the step is then in the caller's hands until
  // Finish(applied).
  std::vector<WorkerPush> Take();
  // With `applied` the next step is due; without, the same one may be pushed again.
  void Finish(bool applied);

  // Forgets what has been gathered: their spans are about to end.
  void Drop() { pushes_.clear(); }

  // The last step whose effect every pull sees.
  Step applied_step() const { return applied_step_; }
  // Starts a session whose rows already hold `applied_step`.
  void Reset(Step applied_step);

 private:
  Step applied_step_ = 0;
  Step step_ = 0;  // Being gathered or applied; 0: none.
  bool applying_ = false;
  std::vector<WorkerPush> pushes_;  // In rank order.
};

// What the store knows a worker's push by: its job and rank, incarnation and sequence.
PushOrigin OriginOf(const PushHeader& header);

// Pushes all tables' sums to the store as one step, in which exact tables take part
// also without a row; with neither rows nor exact tables, nothing is done. One worker's
// push goes to the store as it is, with its origin: the store applies it once, also
// across a restart of the server.
//   errors  the store's; nothing is applied then
absl::Status ApplyPushes(std::span<const WorkerPush> pushes, const ServedTables& served,
                         EmbeddingStore& store, ThreadPool* pool);

}  // namespace pagoda
