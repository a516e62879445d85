#include "server/job_membership.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr size_t kNameBytesMax = 256;

double SecondsBetween(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

// The part of a Hello that must be the same for every worker of a session.
proto::HelloRequest SessionPart(const proto::HelloRequest& request) {
  proto::HelloRequest part = request;
  part.clear_rank();
  part.clear_incarnation();
  return part;
}

absl::Status CheckRanges(const proto::HelloRequest& request) {
  if (request.job().empty() || request.job().size() > kNameBytesMax) {
    return absl::InvalidArgumentError("a job name has 1 to 256 bytes");
  }
  if (request.num_workers() < 1 || request.num_workers() > JobMembership::kWorkersMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_workers is ", request.num_workers(), "; it must be in [1, 4096]"));
  }
  if (request.rank() >= request.num_workers()) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", request.rank(), " is not below the ",
                                                   request.num_workers(), " workers of the job"));
  }
  if (request.mode() != "sync" && request.mode() != "async") {
    return absl::InvalidArgumentError(
        absl::StrCat("mode is '", request.mode(), "'; it must be sync or async"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> JobMembership::CheckJoin(const proto::HelloRequest& request) const {
  PAGODA_RETURN_IF_ERROR(CheckRanges(request));
  const bool same_job = phase_ != Phase::kNone && session_.job() == request.job();
  if (same_job && request.epoch() < session_.epoch()) {
    return absl::FailedPreconditionError(absl::StrCat("epoch ", request.epoch(), " of job '",
                                                      request.job(), "' is over: it is at epoch ",
                                                      session_.epoch()));
  }
  if (phase_ != Phase::kRunning) return true;
  if (!same_job) {
    return absl::FailedPreconditionError(absl::StrCat("this server works for job '", session_.job(),
                                                      "', not for '", request.job(), "'"));
  }
  PAGODA_RETURN_IF_ERROR(CheckSameSession(request));
  const Member& member = members_[request.rank()];
  if (member.joined && member.incarnation != request.incarnation()) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", request.rank(), " of job '", request.job(),
                     "' is taken by another worker process; if that has died, its silence ends "
                     "the job within ",
                     session_.timeout_ms(), " ms"));
  }
  return false;
}

absl::Status JobMembership::CheckSameSession(const proto::HelloRequest& request) const {
  const std::string who = absl::StrCat("worker ", request.rank(), " of job '", request.job(), "'");
  auto differs = [&](absl::string_view what, auto mine, auto theirs) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, " says ", what, " ", mine, ", the workers before it said ", theirs));
  };
  if (request.epoch() != session_.epoch()) {
    return absl::FailedPreconditionError(absl::StrCat(who, " is at epoch ", request.epoch(),
                                                      ", but epoch ", session_.epoch(),
                                                      " is still running"));
  }
  if (request.num_workers() != session_.num_workers()) {
    return differs("num_workers", request.num_workers(), session_.num_workers());
  }
  if (request.mode() != session_.mode()) return differs("mode", request.mode(), session_.mode());
  if (request.applied_step() != session_.applied_step()) {
    return differs("applied_step", request.applied_step(), session_.applied_step());
  }
  if (request.tables_size() != session_.tables_size()) {
    return differs("tables", request.tables_size(), session_.tables_size());
  }
  for (int i = 0; i < request.tables_size(); ++i) {
    if (request.tables(i).SerializeAsString() != session_.tables(i).SerializeAsString()) {
      return absl::FailedPreconditionError(absl::StrCat(
          who, " declares table '", request.tables(i).name(),
          "' otherwise than the workers before it declared '", session_.tables(i).name(), "'"));
    }
  }
  return absl::OkStatus();
}

void JobMembership::Join(const proto::HelloRequest& request, SteadyTime now) {
  if (phase_ != Phase::kRunning) {
    phase_ = Phase::kRunning;
    session_ = SessionPart(request);
    members_.assign(request.num_workers(), Member());
    awaiting_all_ = false;
    failure_.clear();
    last_expire_ = now;
  }
  Member& member = members_[request.rank()];
  member.joined = true;
  member.left = false;
  member.incarnation = request.incarnation();
  member.heard = now;
}

void JobMembership::AddReader(const std::string& job, SteadyTime now) {
  if (readers_.size() >= kReadersMax && readers_.count(job) == 0) {
    readers_.erase(std::min_element(readers_.begin(), readers_.end(),
                                    [](auto& a, auto& b) { return a.second < b.second; }));
  }
  readers_[job] = now;
}

absl::Status JobMembership::health() const {
  if (phase_ != Phase::kFailed) return absl::OkStatus();
  return absl::AbortedError(failure_);
}

absl::Status JobMembership::CheckJob(const std::string& job) const {
  if (phase_ == Phase::kNone) {
    return absl::FailedPreconditionError(
        absl::StrCat("job '", job, "' has not said Hello to this server"));
  }
  if (job != session_.job()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this server works for job '", session_.job(), "', not for '", job, "'"));
  }
  if (phase_ == Phase::kFinished) {
    return absl::FailedPreconditionError(absl::StrCat("job '", job, "' has finished"));
  }
  return health();
}

absl::Status JobMembership::CheckReader(const std::string& job) const {
  if (readers_.count(job) > 0) return absl::OkStatus();
  return CheckJob(job);
}

absl::Status JobMembership::CheckWorker(const WorkerIdentity& worker) const {
  PAGODA_RETURN_IF_ERROR(CheckJob(worker.job));
  if (worker.epoch != session_.epoch()) {
    return absl::FailedPreconditionError(absl::StrCat("a push of epoch ", worker.epoch,
                                                      ", but job '", worker.job, "' is at epoch ",
                                                      session_.epoch()));
  }
  if (worker.rank >= members_.size() || !members_[worker.rank].joined) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker ", worker.rank, " has not joined job '", worker.job, "'"));
  }
  const Member& member = members_[worker.rank];
  if (worker.incarnation != member.incarnation) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker ", worker.rank, " is another process now: incarnation ",
                     worker.incarnation, " is not ", member.incarnation));
  }
  if (member.left) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker ", worker.rank, " has left job '", worker.job, "'"));
  }
  return absl::OkStatus();
}

void JobMembership::Heard(uint32_t rank, SteadyTime now) {
  if (rank < members_.size() && members_[rank].joined) members_[rank].heard = now;
}

void JobMembership::AwaitAll(SteadyTime now) {
  if (awaiting_all_) return;
  awaiting_all_ = true;
  for (Member& member : members_) {
    if (!member.joined) member.heard = now;
  }
}

absl::Status JobMembership::CheckNobodyLeft() const {
  for (size_t rank = 0; rank < members_.size(); ++rank) {
    if (members_[rank].left) {
      return absl::AbortedError(
          absl::StrCat("worker ", rank, " (rank ", rank, ") has left before the others ended"));
    }
  }
  return absl::OkStatus();
}

void JobMembership::Leave(uint32_t rank) {
  if (phase_ != Phase::kRunning || rank >= members_.size()) return;
  members_[rank].left = true;
  for (const Member& member : members_) {
    if (!member.left) return;
  }
  phase_ = Phase::kFinished;
}

bool JobMembership::Fail(const std::string& cause) {
  if (phase_ != Phase::kRunning) return false;
  phase_ = Phase::kFailed;
  failure_ = cause;
  return true;
}

bool JobMembership::Expire(SteadyTime now) {
  const auto timeout = std::chrono::milliseconds(session_.timeout_ms());
  const SteadyTime previous = last_expire_;
  last_expire_ = now;
  if (phase_ != Phase::kRunning || timeout.count() == 0) return false;
  if (now - previous > timeout / 2) {  // We were paused ourselves.
    for (Member& member : members_) member.heard += now - previous;
    return false;
  }
  for (size_t rank = 0; rank < members_.size(); ++rank) {
    const Member& member = members_[rank];
    if (member.left || (!member.joined && !awaiting_all_) || now - member.heard <= timeout) {
      continue;
    }
    const std::string who = absl::StrCat("worker ", rank, " (rank ", rank, ")");
    const double seconds = SecondsBetween(member.heard, now);
    return Fail(member.joined
                    ? absl::StrFormat("%s has not been heard from for %.1f s", who, seconds)
                    : absl::StrFormat("%s has not joined after %.1f s of waiting", who, seconds));
  }
  return false;
}

std::string JobMembership::Heartbeat(const proto::HeartbeatRequest& request, SteadyTime now,
                                     bool* failed) {
  *failed = false;
  const bool known_job = phase_ != Phase::kNone && request.job() == session_.job();
  const bool member = known_job && request.rank() < members_.size() &&
                      members_[request.rank()].joined &&
                      members_[request.rank()].incarnation == request.incarnation();
  if (!member) {
    auto reader = readers_.find(request.job());
    if (reader != readers_.end()) {
      reader->second = now;
      return "";
    }
    const absl::Status status = known_job ? health() : CheckJob(request.job());
    if (!status.ok()) return std::string(status.message());
    return absl::StrCat("worker ", request.rank(), " has not joined job '", request.job(), "'");
  }
  Heard(request.rank(), now);
  if (!request.failure().empty()) {
    *failed = Fail(absl::StrCat("worker ", request.rank(), " (rank ", request.rank(),
                                ") has failed: ", request.failure()));
  } else if (request.leaving()) {
    Leave(request.rank());
  }
  return phase_ == Phase::kFailed ? failure_ : "";
}

}  // namespace pagoda
