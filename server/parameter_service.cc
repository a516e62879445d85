// Locks: store_mutex_ (registry and the store's identity; pulls and pushes share
// it) before mutex_ (everything about the job). Callbacks run with neither.
#include "server/parameter_service.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "proto/version.h"
#include "server/data_directory.h"
#include "server/job_membership.h"
#include "server/rendezvous_board.h"
#include "server/sync_step.h"
#include "server/table_registry.h"

namespace pagoda {
namespace {

constexpr size_t kWaitingPullsMax = 65536;
// How often silence and deadlines are looked for. A tenth of the shortest sensible
// timeout (1 s); the thread does microseconds of work each time.
constexpr std::chrono::milliseconds kWatchInterval(50);

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

int64_t PullBytes(const TableRegistry& registry, std::span<const ServicePull> tables) {
  int64_t bytes = 0;
  for (const ServicePull& pull : tables) {
    const int64_t row = 8 + 4 * registry.Get(pull.table)->options.dim;
    bytes += static_cast<int64_t>(pull.ids.size()) * row;
  }
  return bytes;
}

int64_t PushBytes(std::span<const ServicePush> tables) {
  int64_t bytes = 0;
  for (const ServicePush& push : tables) {
    bytes += static_cast<int64_t>(push.ids.size_bytes() + push.gradients.size_bytes());
  }
  return bytes;
}

class ParameterServiceImpl final : public ParameterService {
 public:
  ParameterServiceImpl(const ParameterServiceOptions& options, DataDirectory directory)
      : options_(options), directory_(std::move(directory)), pool_(options.num_threads) {}

  ~ParameterServiceImpl() override {
    Shutdown(absl::AbortedError("the parameter server is closing"));
    if (watcher_.joinable()) watcher_.join();
  }

  absl::Status Init() {
    StoreOptions store;
    store.path = options_.read_only_cut ? options_.data_dir : directory_.StorePath();
    store.durability = options_.durability == "none" ? Durability::kNone : Durability::kProcess;
    store.memory_bytes = options_.memory_bytes;
    store.read_only = options_.read_only_cut;
    store.pool = &pool_;
    PAGODA_ASSIGN_OR_RETURN(store_, EmbeddingStore::Open(store));
    PAGODA_ASSIGN_OR_RETURN(place_, directory_.ReadShardPlace());
    watcher_ = std::thread([this] { Watch(); });
    return absl::OkStatus();
  }

  absl::StatusOr<proto::HelloReply> Hello(const proto::HelloRequest& request) override;
  absl::StatusOr<int64_t> TableDim(uint32_t table) const override {
    std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
    const TableRegistry::Entry* entry = registry_.Get(table);
    if (entry == nullptr) {
      return absl::NotFoundError(absl::StrCat("there is no table of index ", table));
    }
    return entry->options.dim;
  }
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
  absl::StatusOr<proto::HelloReply> HelloReader(const proto::HelloRequest& request);

  // Counts `bytes` as in flight until the returned callback runs.
  //   RESOURCE_EXHAUSTED  over the limit
  absl::StatusOr<Done> Reserve(int64_t bytes, Done done);
  void RunPull(std::span<const ServicePull> tables, const Done& done);
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
  TableRegistry registry_;
  std::optional<ShardPlace> place_;

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

absl::Status ParameterServiceImpl::CheckShardPlace(const proto::HelloRequest& request) const {
  if (request.num_shards() < 1 || request.shard() >= request.num_shards() ||
      request.num_shards() > kNumBuckets) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", request.shard(), " of ", request.num_shards(), " is out of range"));
  }
  if (place_.has_value() && *place_ != ShardPlace{request.shard(), request.num_shards()}) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " holds shard ", place_->shard, " of ", place_->num_shards,
                     "; the job asks for shard ", request.shard(), " of ", request.num_shards()));
  }
  return absl::OkStatus();
}

absl::StatusOr<proto::HelloReply> ParameterServiceImpl::HelloReader(
    const proto::HelloRequest& request) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<uint32_t> indices,
                          registry_.Find(std::vector<proto::TableSpec>(request.tables().begin(),
                                                                       request.tables().end()),
                                         *store_));
  std::lock_guard<std::mutex> lock(mutex_);
  membership_.AddReader(request.job(), std::chrono::steady_clock::now());
  proto::HelloReply reply;
  reply.set_version(kPagodaVersion);
  reply.mutable_table_ids()->Add(indices.begin(), indices.end());
  return reply;
}

absl::StatusOr<proto::HelloReply> ParameterServiceImpl::Hello(const proto::HelloRequest& request) {
  if (request.version() != kPagodaVersion || request.protocol() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the server is Pagoda ", kPagodaVersion, " (protocol ", kProtocolVersion,
        "), the worker is Pagoda ", request.version(), " (protocol ", request.protocol(), ")"));
  }
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  PAGODA_RETURN_IF_ERROR(CheckShardPlace(request));
  bool new_session = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(shutdown_);
    if (request.training()) {
      if (options_.read_only_cut) {
        return absl::FailedPreconditionError(absl::StrCat(
            options_.data_dir, " is served read-only: it can be evaluated, not trained"));
      }
      PAGODA_ASSIGN_OR_RETURN(new_session, membership_.CheckJoin(request));
    }
  }
  if (!request.training()) return HelloReader(request);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<uint32_t> indices,
                          registry_.Declare(std::vector<proto::TableSpec>(request.tables().begin(),
                                                                          request.tables().end()),
                                            *store_));
  if (!place_.has_value()) {
    const ShardPlace place{request.shard(), request.num_shards()};
    PAGODA_RETURN_IF_ERROR(directory_.WriteShardPlace(place));
    place_ = place;
  }
  Answers answers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    membership_.Join(request, std::chrono::steady_clock::now());
    if (new_session) {
      FailWaiting(absl::AbortedError("a new session of the job has started"), &answers);
      board_.Wipe();
      step_.Reset(static_cast<Step>(request.applied_step()));
      PAGODA_LOG_INFO("job '{}' epoch {}: {} workers, {}, shard {} of {}", request.job(),
                      request.epoch(), request.num_workers(), request.mode(), request.shard(),
                      request.num_shards());
    }
  }
  store_lock.unlock();
  answers.Run();
  proto::HelloReply reply;
  reply.set_version(kPagodaVersion);
  reply.mutable_table_ids()->Add(indices.begin(), indices.end());
  return reply;
}

absl::StatusOr<ParameterService::Done> ParameterServiceImpl::Reserve(int64_t bytes, Done done) {
  const int64_t before = bytes_in_flight_.fetch_add(bytes);
  if (before + bytes > options_.bytes_in_flight_max) {
    bytes_in_flight_.fetch_sub(bytes);
    return absl::ResourceExhaustedError(absl::StrCat("a request of ", bytes, " bytes on top of ",
                                                     before, " in flight; the server's limit is ",
                                                     options_.bytes_in_flight_max));
  }
  return Done([this, bytes, done = std::move(done)](absl::Status status) {
    bytes_in_flight_.fetch_sub(bytes);
    done(std::move(status));
  });
}

void ParameterServiceImpl::RunPull(std::span<const ServicePull> tables, const Done& done) {
  absl::Status status;
  {
    std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
    std::vector<StorePull> pulls;
    for (const ServicePull& pull : tables) {
      pulls.push_back({registry_.Get(pull.table)->store_index, pull.ids, pull.rows});
    }
    status = store_->Pull(pulls);
  }
  done(status);
}

absl::Status ParameterServiceImpl::AdmitPull(const std::string& job, Step after_step,
                                             std::vector<ServicePull>& tables, Done& done,
                                             bool* waits) {
  std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
  std::lock_guard<std::mutex> lock(mutex_);
  PAGODA_RETURN_IF_ERROR(shutdown_);
  PAGODA_RETURN_IF_ERROR(membership_.CheckReader(job));
  PAGODA_RETURN_IF_ERROR(registry_.CheckPull(tables, options_.ids_per_request_max));
  const bool after_push = after_step > step_.applied_step() && membership_.sync();
  if (after_push) PAGODA_RETURN_IF_ERROR(membership_.CheckJob(job));
  PAGODA_ASSIGN_OR_RETURN(Done counted, Reserve(PullBytes(registry_, tables), done));
  done = std::move(counted);
  if (!after_push) return absl::OkStatus();
  if (waiting_pulls_.size() >= kWaitingPullsMax) {
    return absl::ResourceExhaustedError(absl::StrCat(kWaitingPullsMax, " pulls wait for a step"));
  }
  membership_.AwaitAll(std::chrono::steady_clock::now());
  waiting_pulls_.push_back({after_step, std::move(tables), std::move(done)});
  *waits = true;
  return absl::OkStatus();
}

void ParameterServiceImpl::Pull(const std::string& job, uint32_t rank, Step after_step,
                                std::vector<ServicePull> tables, Done done) {
  bool waits = false;
  const absl::Status status = AdmitPull(job, after_step, tables, done, &waits);
  if (!status.ok()) {
    done(status);
  } else if (!waits) {
    RunPull(tables, done);
  }
}

absl::Status ParameterServiceImpl::CheckPushContents(const PushHeader& header,
                                                     std::span<const ServicePush> tables) {
  if (header.sequence == 0) return absl::InvalidArgumentError("push sequences start at 1");
  if (header.step < 1) {
    return absl::InvalidArgumentError(absl::StrCat("steps start at 1, not at ", header.step));
  }
  if (!(header.learning_rate_factor >= 0) || header.learning_rate_factor > 1e30f) {
    return absl::InvalidArgumentError(
        absl::StrCat("learning rate factor ", header.learning_rate_factor, " is not in [0, 1e30]"));
  }
  bool merged = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(
        membership_.CheckWorker({header.job, header.rank, header.epoch, header.incarnation}));
    merged = membership_.sync() && membership_.num_workers() > 1;
  }
  PAGODA_RETURN_IF_ERROR(registry_.CheckPush(tables, options_.ids_per_request_max));
  for (const ServicePush& push : tables) {
    const std::string table = registry_.Describe(push.table);
    if (place_.has_value() && place_->num_shards > 1) {
      PAGODA_RETURN_IF_ERROR(CheckPushShard(push, table, place_->shard, place_->num_shards));
    }
    // Otherwise the store's own check comes before its first write.
    if (merged) {
      PAGODA_RETURN_IF_ERROR(CheckPushRows(push, table, registry_.Get(push.table)->options.dim));
    }
  }
  return absl::OkStatus();
}

absl::Status ParameterServiceImpl::AdmitPush(const PushHeader& header,
                                             std::vector<ServicePush>& tables, const Done& done,
                                             std::vector<WorkerPush>* ready, Answers* answers) {
  std::lock_guard<std::mutex> lock(mutex_);
  const SteadyTime now = std::chrono::steady_clock::now();
  PAGODA_RETURN_IF_ERROR(shutdown_);
  PAGODA_RETURN_IF_ERROR(
      membership_.CheckWorker({header.job, header.rank, header.epoch, header.incarnation}));
  membership_.Heard(header.rank, now);
  const PushKey key(header.rank, header.sequence);
  switch (membership_.window(header.rank).Find(header.sequence)) {
    case SequenceWindow::State::kApplied:
      answers->Add(done, absl::OkStatus());
      return absl::OkStatus();
    case SequenceWindow::State::kForgotten:
      return absl::ResourceExhaustedError(absl::StrCat(
          "push ", header.sequence, " of worker ", header.rank, " is more than ",
          SequenceWindow::kWidth, " behind its newest: its outcome is no longer known"));
    case SequenceWindow::State::kNew: break;
  }
  if (const auto same = in_flight_.find(key); same != in_flight_.end()) {
    same->second.dones.push_back(done);  // A retry; the first one's result answers both.
    return absl::OkStatus();
  }
  if (membership_.sync()) {
    PAGODA_RETURN_IF_ERROR(step_.Check(header));
    if (const absl::Status left = membership_.CheckNobodyLeft(); !left.ok()) {
      membership_.Fail(std::string(left.message()));
      FailWaiting(left, answers);
      return left;
    }
  }
  PAGODA_ASSIGN_OR_RETURN(Done counted, Reserve(PushBytes(tables), done));
  in_flight_[key].dones.push_back(std::move(counted));
  if (!membership_.sync()) {
    ready->push_back({header, std::move(tables)});
  } else {
    membership_.AwaitAll(now);
    step_.Add({header, std::move(tables)});
    if (!step_.Complete(membership_.num_workers())) return absl::OkStatus();
    *ready = step_.Take();
  }
  for (const WorkerPush& push : *ready) {
    in_flight_[{push.header.rank, push.header.sequence}].applying = true;
  }
  return absl::OkStatus();
}

void ParameterServiceImpl::Push(const PushHeader& header, std::vector<ServicePush> tables,
                                Done done) {
  Answers answers;
  std::vector<WaitingPull> released;
  {
    std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
    absl::Status status = CheckPushContents(header, tables);
    std::vector<WorkerPush> ready;
    if (status.ok()) status = AdmitPush(header, tables, done, &ready, &answers);
    if (!status.ok()) {
      answers.Add(std::move(done), status);
    } else if (!ready.empty()) {
      status = ApplyPushes(ready, registry_, *store_, &pool_);
      FinishPushes(ready, status, &answers);
    }
    TakeReleasedPulls(&released);
  }
  answers.Run();
  for (const WaitingPull& pull : released) RunPull(pull.tables, pull.done);
}

void ParameterServiceImpl::FinishPushes(std::span<const WorkerPush> pushes,
                                        const absl::Status& status, Answers* answers) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const WorkerPush& push : pushes) {
    const auto found = in_flight_.find({push.header.rank, push.header.sequence});
    PAGODA_CHECK(found != in_flight_.end());
    if (status.ok()) membership_.window(push.header.rank).Record(push.header.sequence);
    for (Done& done : found->second.dones) answers->Add(std::move(done), status);
    in_flight_.erase(found);
  }
  if (membership_.sync()) step_.Finish(status.ok());
}

void ParameterServiceImpl::TakeReleasedPulls(std::vector<WaitingPull>* released) {
  std::lock_guard<std::mutex> lock(mutex_);
  const Step applied = step_.applied_step();
  std::vector<WaitingPull> waiting;
  for (WaitingPull& pull : waiting_pulls_) {
    (pull.after_step <= applied ? released : &waiting)->push_back(std::move(pull));
  }
  waiting_pulls_ = std::move(waiting);
}

proto::HeartbeatReply ParameterServiceImpl::Heartbeat(const proto::HeartbeatRequest& request) {
  Answers answers;
  proto::HeartbeatReply reply;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!shutdown_.ok()) {
      reply.set_failure(std::string(shutdown_.message()));
      return reply;
    }
    bool failed = false;
    reply.set_failure(membership_.Heartbeat(request, std::chrono::steady_clock::now(), &failed));
    if (failed) FailWaiting(membership_.health(), &answers);
  }
  answers.Run();
  return reply;
}

absl::Status ParameterServiceImpl::SetKey(const std::string& job, const std::string& key,
                                          const std::string& value) {
  Answers answers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(shutdown_);
    PAGODA_RETURN_IF_ERROR(membership_.CheckJob(job));
    PAGODA_ASSIGN_OR_RETURN(std::vector<RendezvousBoard::Answer> set, board_.Set(key, value));
    answers.Add(std::move(set));
  }
  answers.Run();
  return absl::OkStatus();
}

void ParameterServiceImpl::GetKey(const std::string& job, const std::string& key,
                                  absl::Duration timeout,
                                  std::function<void(absl::StatusOr<std::string>)> done) {
  Answers answers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    absl::Status status = shutdown_.ok() ? membership_.CheckJob(job) : shutdown_;
    if (!status.ok()) {
      answers.Add([done, status] { done(status); });
    } else {
      const auto deadline = std::chrono::steady_clock::now() +
                            absl::ToChronoMilliseconds(std::min(timeout, absl::Hours(1)));
      answers.Add(board_.Get(key, deadline, std::move(done)));
      watch_wake_.notify_all();
    }
  }
  answers.Run();
}

absl::StatusOr<proto::PrepareCutReply> ParameterServiceImpl::PrepareCut(const std::string& cut) {
  // Exclusive: no push is admitted while the cut is taken.
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: it takes no cut"));
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(shutdown_);
    if (!in_flight_.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("cut '", cut, "': ", in_flight_.size(),
                       " pushes have not been acknowledged; a cut is taken between steps"));
    }
  }
  StoreCut made;
  PAGODA_RETURN_IF_ERROR_CONTEXT(
      directory_.MakeCut(cut,
                         [&](const std::string& directory) -> absl::Status {
                           PAGODA_ASSIGN_OR_RETURN(made, store_->Cut(directory));
                           return absl::OkStatus();
                         }),
      absl::StrCat("cut '", cut, "'"));
  proto::PrepareCutReply reply;
  reply.set_directory(directory_.CutPath(cut));
  reply.set_sequence(made.sequence);
  reply.set_rows(made.rows);
  reply.set_checksum(made.checksum);
  return reply;
}

absl::Status ParameterServiceImpl::DropCut(const std::string& cut) {
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: no cut can be dropped"));
  }
  return directory_.DropCut(cut);
}

absl::StatusOr<proto::RestoreCutReply> ParameterServiceImpl::RestoreCut(
    const proto::RestoreCutRequest& request) {
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  PAGODA_RETURN_IF_ERROR(DataDirectory::CheckName(request.cut()));
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: it cannot be rewound"));
  }
  std::string set_aside;
  if (!request.keep_newer().empty()) {
    PAGODA_RETURN_IF_ERROR(DataDirectory::CheckName(request.keep_newer()));
    set_aside = directory_.SetAsidePath(request.keep_newer());
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(shutdown_);
    if (membership_.phase() == JobMembership::Phase::kRunning) {
      PAGODA_RETURN_IF_ERROR(membership_.CheckJob(request.job()));
    }
    if (membership_.phase() != JobMembership::Phase::kNone &&
        request.epoch() < membership_.epoch()) {
      return absl::FailedPreconditionError(absl::StrCat("a rewind of epoch ", request.epoch(),
                                                        ", but the job is at epoch ",
                                                        membership_.epoch()));
    }
    if (!in_flight_.empty() || !waiting_pulls_.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot rewind to cut '", request.cut(), "': ", in_flight_.size(),
                       " pushes and ", waiting_pulls_.size(), " pulls are under way"));
    }
  }
  PAGODA_RETURN_IF_ERROR_CONTEXT(store_->Restore(directory_.CutPath(request.cut()), set_aside),
                                 absl::StrCat("rewinding to cut '", request.cut(), "'"));
  PAGODA_RETURN_IF_ERROR(registry_.Reopen(*store_));
  proto::RestoreCutReply reply;
  reply.set_sequence(store_->sequence());
  return reply;
}

absl::StatusOr<proto::TableStatReply> ParameterServiceImpl::TableStats() {
  std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<StoreTableStat> stats, store_->Stat());
  proto::TableStatReply reply;
  for (const StoreTableStat& stat : stats) {
    proto::TableStat& table = *reply.add_tables();
    *table.mutable_spec() = SpecFromTableOptions(stat.options);
    table.set_rows(stat.rows);
    table.set_bytes_memory(stat.bytes_memory);
    table.set_bytes_disk(stat.bytes_disk);
  }
  return reply;
}

void ParameterServiceImpl::FailWaiting(const absl::Status& cause, Answers* answers) {
  for (auto push = in_flight_.begin(); push != in_flight_.end();) {
    if (push->second.applying) {
      ++push;
      continue;
    }
    for (Done& done : push->second.dones) answers->Add(std::move(done), cause);
    push = in_flight_.erase(push);
  }
  step_.Drop();
  for (WaitingPull& pull : waiting_pulls_) answers->Add(std::move(pull.done), cause);
  waiting_pulls_.clear();
  answers->Add(board_.Fail(cause));
}

void ParameterServiceImpl::Shutdown(const absl::Status& cause) {
  Answers answers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shutdown_.ok()) {
      shutdown_ = cause.ok() ? absl::AbortedError("the parameter server is closing") : cause;
    }
    FailWaiting(shutdown_, &answers);
    stop_watching_ = true;
  }
  watch_wake_.notify_all();
  answers.Run();
}

void ParameterServiceImpl::Watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_watching_) {
    watch_wake_.wait_for(lock, kWatchInterval);
    const SteadyTime now = std::chrono::steady_clock::now();
    Answers answers;
    if (membership_.Expire(now)) {
      PAGODA_LOG_ERROR("the job has failed: {}", std::string(membership_.health().message()));
      FailWaiting(membership_.health(), &answers);
    }
    answers.Add(board_.Expire(now));
    lock.unlock();
    answers.Run();
    lock.lock();
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterService>> ParameterService::Open(
    const ParameterServiceOptions& options) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_threads is ", options.num_threads, "; it must be at least 1"));
  }
  if (options.durability != "none" && options.durability != "process") {
    return absl::InvalidArgumentError(
        absl::StrCat("durability is '", options.durability, "'; it must be none or process"));
  }
  PAGODA_ASSIGN_OR_RETURN(DataDirectory directory,
                          DataDirectory::Open(options.data_dir, options.read_only_cut));
  auto service = std::make_unique<ParameterServiceImpl>(options, std::move(directory));
  PAGODA_RETURN_IF_ERROR(service->Init());
  return std::unique_ptr<ParameterService>(std::move(service));
}

}  // namespace pagoda
