#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "proto/version.h"
#include "server/parameter_service_impl.h"

namespace pagoda {
namespace {

// How often silence and deadlines are looked for. A tenth of the shortest sensible
// timeout (1 s); the thread does microseconds of work each time.
constexpr std::chrono::milliseconds kWatchInterval(50);

std::optional<Durability> ParseDurability(const std::string& name) {
  if (name == "none") return Durability::kNone;
  if (name == "process") return Durability::kProcess;
  if (name == "machine") return Durability::kMachine;
  return std::nullopt;
}

}  // namespace

ParameterServiceImpl::~ParameterServiceImpl() {
  Shutdown(absl::AbortedError("the parameter server is closing"));
  if (watcher_.joinable()) watcher_.join();
}

absl::Status ParameterServiceImpl::Init() {
  StoreOptions store;
  store.path = options_.read_only_cut ? options_.data_dir : directory_.StorePath();
  store.durability = *ParseDurability(options_.durability);  // Checked by Open.
  store.memory_bytes = options_.memory_bytes;
  store.disk_bytes_max = options_.disk_bytes_max;
  store.read_only = options_.read_only_cut;
  store.pool = &pool_;
  PAGODA_ASSIGN_OR_RETURN(store_, EmbeddingStore::Open(store));
  PAGODA_ASSIGN_OR_RETURN(place_, directory_.ReadShardPlace());
  watcher_ = std::thread([this] { Watch(); });
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ParameterServiceImpl::TableDim(uint32_t table) const {
  std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
  const ServedTables::Entry* entry = served_.Get(table);
  if (entry == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no table of index ", table));
  }
  return entry->options.dim;
}

absl::Status ParameterServiceImpl::CheckShardPlace(const proto::HelloRequest& request) const {
  if (request.num_shards() < 1 || request.shard() >= request.num_shards() ||
      request.num_shards() > kNumBuckets) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", request.shard(), " of ", request.num_shards(), " is out of range"));
  }
  const bool moves = request.training() && request.restoring();
  if (!moves && place_.has_value() &&
      *place_ != ShardPlace{request.shard(), request.num_shards()}) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " holds shard ", place_->shard, " of ", place_->num_shards,
                     "; the job asks for shard ", request.shard(), " of ", request.num_shards()));
  }
  return absl::OkStatus();
}

absl::Status ParameterServiceImpl::TakeShardPlace(const proto::HelloRequest& request) {
  const ShardPlace place{request.shard(), request.num_shards()};
  if (!place_.has_value()) {
    PAGODA_RETURN_IF_ERROR(directory_.WriteShardPlace(place));
    place_ = place;
  }
  next_place_.reset();
  if (*place_ != place) next_place_ = place;
  return absl::OkStatus();
}

absl::Status ParameterServiceImpl::CheckRestored() const {
  if (!next_place_.has_value()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(options_.data_dir, " holds shard ", place_->shard, " of ", place_->num_shards,
                   " until the rows of shard ", next_place_->shard, " of ", next_place_->num_shards,
                   " have been restored from a cut"));
}

absl::StatusOr<proto::HelloReply> ParameterServiceImpl::HelloReader(
    const proto::HelloRequest& request) {
  PAGODA_ASSIGN_OR_RETURN(
      const std::vector<uint32_t> indices,
      served_.Find(std::vector<proto::TableSpec>(request.tables().begin(), request.tables().end()),
                   *store_));
  std::lock_guard<std::mutex> lock(mutex_);
  membership_.AddReader(request.job(), std::chrono::steady_clock::now());
  proto::HelloReply reply;
  reply.set_version(options_.version);
  reply.mutable_table_ids()->Add(indices.begin(), indices.end());
  return reply;
}

absl::StatusOr<proto::HelloReply> ParameterServiceImpl::Hello(const proto::HelloRequest& request) {
  if (request.version() != options_.version || request.protocol() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the server is of version ", options_.version, " (protocol ", kProtocolVersion,
        "), the worker of version ", request.version(), " (protocol ", request.protocol(), ")"));
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
  PAGODA_RETURN_IF_ERROR(CheckExactMode(
      request.mode(),
      std::vector<proto::TableSpec>(request.tables().begin(), request.tables().end())));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<uint32_t> indices,
                          served_.Declare(std::vector<proto::TableSpec>(request.tables().begin(),
                                                                        request.tables().end()),
                                          *store_));
  PAGODA_RETURN_IF_ERROR(TakeShardPlace(request));
  Answers answers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    membership_.Join(request, std::chrono::steady_clock::now());
    if (new_session) {
      FailWaiting(absl::AbortedError("a new session of the job has started"), &answers);
      step_.Reset(static_cast<Step>(request.applied_step()));
      PAGODA_LOG_INFO("job '{}' epoch {}: {} workers, {}, shard {} of {}", request.job(),
                      request.epoch(), request.num_workers(), request.mode(), request.shard(),
                      request.num_shards());
    }
  }
  store_lock.unlock();
  answers.Run();
  proto::HelloReply reply;
  reply.set_version(options_.version);
  reply.mutable_table_ids()->Add(indices.begin(), indices.end());
  return reply;
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
    if (!job.empty()) PAGODA_RETURN_IF_ERROR(membership_.CheckJob(job));
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
    absl::Status status = shutdown_;
    if (status.ok() && !job.empty()) status = membership_.CheckJob(job);
    if (!status.ok()) {
      answers.Add([done, status] { done(status); });
    } else {
      const SteadyTime now = std::chrono::steady_clock::now();
      const auto wait = absl::ToChronoMilliseconds(std::min(timeout, absl::Hours(1)));
      answers.Add(board_.Get(job, key, now, now + wait, std::move(done)));
      watch_wake_.notify_all();
    }
  }
  answers.Run();
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
  if (!membership_.job().empty()) answers->Add(board_.Fail(membership_.job(), cause));
}

void ParameterServiceImpl::Shutdown(const absl::Status& cause) {
  Answers answers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shutdown_.ok()) {
      shutdown_ = cause.ok() ? absl::AbortedError("the parameter server is closing") : cause;
    }
    FailWaiting(shutdown_, &answers);
    answers.Add(board_.FailAll(shutdown_));
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

absl::StatusOr<std::unique_ptr<ParameterService>> ParameterService::Open(
    const ParameterServiceOptions& options) {
  if (options.num_threads < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_threads is ", options.num_threads, "; it must be at least 1"));
  }
  if (!ParseDurability(options.durability).has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("durability is '", options.durability,
                                                   "'; it must be none, process or machine"));
  }
  PAGODA_ASSIGN_OR_RETURN(DataDirectory directory,
                          DataDirectory::Open(options.data_dir, options.read_only_cut));
  auto service = std::make_unique<ParameterServiceImpl>(options, std::move(directory));
  PAGODA_RETURN_IF_ERROR(service->Init());
  return std::unique_ptr<ParameterService>(std::move(service));
}

}  // namespace pagoda
