// The parameter service over one embedding store: what parameter_service.cc (jobs,
// sessions, time), parameter_service_rows.cc (pull and push) and
// parameter_service_cuts.cc (cuts, rewinds, statistics) share. Others include
// parameter_service.h.
//
// Locks: store_mutex_ (the tables served and the store's identity; pulls and pushes
// share it) before mutex_ (everything about the job). Callbacks run with neither.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "embedding_store/embedding_store.h"
#include "server/data_directory.h"
#include "server/job_membership.h"
#include "server/parameter_service.h"
#include "server/rendezvous_board.h"
#include "server/served_tables.h"
#include "server/sync_step.h"

namespace pagoda {

// Callbacks collected under a lock, run after it.
class Answers {
 public:
  void Add(std::function<void()> call) { calls_.push_back(std::move(call)); }
  void Add(ParameterService::Done done, absl::Status status) {
    calls_.push_back([done = std::move(done), status = std::move(status)] { done(status); });
  }
  void Add(std::vector<RendezvousBoard::Answer> answers) {
    for (RendezvousBoard::Answer& answer : answers) {
      calls_.push_back([answer = std::move(answer)] { answer.done(answer.value); });
    }
  }
  void Run() {
    for (const std::function<void()>& call : calls_) call();
    calls_.clear();
  }

 private:
  std::vector<std::function<void()>> calls_;
};

class ParameterServiceImpl final : public ParameterService {
 public:
  ParameterServiceImpl(const ParameterServiceOptions& options, DataDirectory directory)
      : options_(options), directory_(std::move(directory)), pool_(options.num_threads) {}

  ~ParameterServiceImpl() override;

  // Opens the store and starts the watch. Call once, first.
  absl::Status Init();

  absl::StatusOr<proto::HelloReply> Hello(const proto::HelloRequest& request) override;
  absl::StatusOr<int64_t> TableDim(uint32_t table) const override;
  void Pull(const std::string& job, uint32_t rank, Step after_step, std::vector<ServicePull> tables,
            Done done) override;
  void Push(const PushHeader& header, std::vector<ServicePush> tables, Done done) override;
  proto::HeartbeatReply Heartbeat(const proto::HeartbeatRequest& request) override;
  absl::Status SetKey(const std::string& job, const std::string& key,
                      const std::string& value) override;
  void GetKey(const std::string& job, const std::string& key, absl::Duration timeout,
              std::function<void(absl::StatusOr<std::string>)> done) override;
  absl::StatusOr<proto::PrepareCutReply> PrepareCut(const std::string& cut) override;
  absl::Status DropCut(const std::string& cut) override;
  absl::StatusOr<proto::RestoreCutReply> RestoreCut(
      const proto::RestoreCutRequest& request) override;
  absl::StatusOr<proto::ImportRowsReply> ImportRows(
      const proto::ImportRowsRequest& request) override;
  absl::StatusOr<proto::TableStatReply> TableStats() override;

  absl::Status JobHealth() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return membership_.health();
  }
  bool JobFinished() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return membership_.phase() == JobMembership::Phase::kFinished;
  }
  void Shutdown(const absl::Status& cause) override;

 private:
  using PushKey = std::pair<uint32_t, uint64_t>;  // Rank, sequence.
  struct PushInFlight {
    std::vector<Done> dones;  // More than one when it was retried meanwhile.
    bool applying = false;    // The store reads its spans: not to be answered before it is done.
  };
  struct WaitingPull {
    Step after_step = 0;
    std::vector<ServicePull> tables;
    Done done;
  };

  absl::Status CheckShardPlace(const proto::HelloRequest& request) const;
  absl::Status TakeShardPlace(const proto::HelloRequest& request);
  absl::Status CheckRestored() const;  // FAILED_PRECONDITION  next_place_ waits for RestoreCut
  absl::Status RestoreRows(const proto::RestoreCutRequest& request, const std::string& set_aside);
  absl::Status RestoreOwnCut(const std::string& cut, const std::optional<ShardPlace>& place,
                             const std::string& set_aside);
  absl::Status RestoreOthersCuts(const proto::RestoreCutRequest& request,
                                 const std::optional<ShardPlace>& place,
                                 const std::string& set_aside);
  // Checks all of it before the first row is written.
  absl::Status CheckImport(const proto::ImportRowsRequest& request);
  // Returns the rows of this shard.
  absl::StatusOr<uint64_t> ImportTable(const proto::ImportRowsRequest& request,
                                       const proto::ImportRowsRequest::Table& table);
  absl::StatusOr<proto::HelloReply> HelloReader(const proto::HelloRequest& request);

  // Counts `bytes` as in flight until the returned callback runs.
  //   RESOURCE_EXHAUSTED  over the limit
  absl::StatusOr<Done> Reserve(int64_t bytes, Done done);
  void RunPull(std::span<const ServicePull> tables, const Done& done);
  // Reads what a push wants back.
  absl::Status ReadReturned(std::span<const ServicePush> tables);
  // Serves or parks; an error is the caller's to answer.
  absl::Status AdmitPull(const std::string& job, Step after_step, std::vector<ServicePull>& tables,
                         Done& done, bool* waits);

  // Decides what becomes of a push: answered at once, gathered, or `ready` to be
  // applied by the caller (with all others of its step). An error is the caller's to answer.
  absl::Status AdmitPush(const PushHeader& header, std::vector<ServicePush>& tables,
                         const Done& done, std::vector<WorkerPush>* ready, Answers* answers);
  absl::Status CheckPushContents(const PushHeader& header, std::span<const ServicePush> tables);
  void FinishPushes(std::span<const WorkerPush> pushes, const absl::Status& status,
                    Answers* answers);
  void TakeReleasedPulls(std::vector<WaitingPull>* released);
  // Answers everything that waits; pushes that the store is applying are answered
  // when it is done. REQUIRES: mutex_ held.
  void FailWaiting(const absl::Status& cause, Answers* answers);
  void Watch();

  const ParameterServiceOptions options_;
  const DataDirectory directory_;
  ThreadPool pool_;

  mutable std::shared_mutex store_mutex_;
  std::unique_ptr<EmbeddingStore> store_;
  ServedTables served_;
  std::optional<ShardPlace> place_;
  // Asked for by a session that restores rows of other shards; place_ once it has.
  std::optional<ShardPlace> next_place_;

  mutable std::mutex mutex_;
  JobMembership membership_;
  RendezvousBoard board_;
  SyncStep step_;
  std::vector<WaitingPull> waiting_pulls_;
  std::map<PushKey, PushInFlight> in_flight_;  // Between admission and answer.
  absl::Status shutdown_;

  std::atomic<int64_t> bytes_in_flight_{0};
  std::condition_variable watch_wake_;
  bool stop_watching_ = false;  // Guarded by mutex_.
  std::thread watcher_;
};

}  // namespace pagoda
