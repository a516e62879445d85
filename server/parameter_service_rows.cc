// Pulls and pushes: admission, sync steps, exactly-once.
#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/parameter_service_impl.h"

namespace pagoda {
namespace {

constexpr size_t kWaitingPullsMax = 65536;

int64_t PullBytes(const ServedTables& served, std::span<const ServicePull> tables) {
  int64_t bytes = 0;
  for (const ServicePull& pull : tables) {
    const int64_t statistics = pull.statistics == nullptr ? 0 : 8;
    const int64_t row = 8 + statistics + 4 * served.Get(pull.table)->options.dim;
    bytes += static_cast<int64_t>(pull.ids.size()) * row;
  }
  return bytes;
}

int64_t PushBytes(std::span<const ServicePush> tables) {
  int64_t bytes = 0;
  for (const ServicePush& push : tables) {
    const size_t dim = push.ids.empty() ? 0 : push.gradients.size() / push.ids.size();
    bytes += static_cast<int64_t>(push.ids.size_bytes() + push.gradients.size_bytes() +
                                  push.returned.size() * dim * sizeof(float));
  }
  return bytes;
}

}  // namespace

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
      pulls.push_back({served_.Get(pull.table)->store_index, pull.ids, pull.rows, pull.statistics});
    }
    status = store_->Pull(pulls);
  }
  done(status);
}

absl::Status ParameterServiceImpl::ReadReturned(std::span<const ServicePush> tables) {
  std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
  std::vector<std::vector<FeatureId>> ids(tables.size());
  std::vector<StorePull> pulls;
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].returned.empty()) continue;
    for (const uint32_t position : tables[i].returned) ids[i].push_back(tables[i].ids[position]);
    const ServedTables::Entry* entry = served_.Get(tables[i].table);
    if (entry == nullptr) {  // A rewind came between.
      return absl::NotFoundError(absl::StrCat("there is no table of index ", tables[i].table));
    }
    pulls.push_back({entry->store_index, ids[i], tables[i].rows});
  }
  return store_->Pull(pulls);
}

absl::Status ParameterServiceImpl::AdmitPull(const std::string& job, Step after_step,
                                             std::vector<ServicePull>& tables, Done& done,
                                             bool* waits) {
  std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
  std::lock_guard<std::mutex> lock(mutex_);
  PAGODA_RETURN_IF_ERROR(shutdown_);
  PAGODA_RETURN_IF_ERROR(membership_.CheckReader(job));
  PAGODA_RETURN_IF_ERROR(served_.CheckPull(tables, options_.ids_per_request_max));
  const bool after_push = after_step > step_.applied_step() && membership_.sync();
  if (after_push) PAGODA_RETURN_IF_ERROR(membership_.CheckJob(job));
  PAGODA_ASSIGN_OR_RETURN(Done counted, Reserve(PullBytes(served_, tables), done));
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
  PAGODA_RETURN_IF_ERROR(CheckRestored());
  PAGODA_RETURN_IF_ERROR(served_.CheckPush(tables, options_.ids_per_request_max));
  for (const ServicePush& push : tables) {
    const std::string table = served_.Describe(push.table);
    if (place_.has_value() && place_->num_shards > 1) {
      PAGODA_RETURN_IF_ERROR(CheckPushShard(push, table, place_->shard, place_->num_shards));
    }
    // Otherwise the store's own check comes before its first write.
    if (merged) {
      PAGODA_RETURN_IF_ERROR(CheckPushRows(push, table, served_.Get(push.table)->options.dim));
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
  if (std::any_of(tables.begin(), tables.end(),
                  [](const ServicePush& push) { return !push.returned.empty(); })) {
    done = [this, tables, done = std::move(done)](absl::Status status) {
      done(status.ok() ? ReadReturned(tables) : status);
    };
  }
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
      status = ApplyPushes(ready, served_, *store_, &pool_);
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

}  // namespace pagoda
