#include "worker/pending_calls.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

// How often a wait looks at the job's health: often against the 10 s in which a
// death must end the job, seldom against the cost of waking.
constexpr std::chrono::milliseconds kHealthInterval(100);

}  // namespace

void PendingCalls::Started() {
  std::lock_guard lock(mutex_);
  ++unfinished_;
}

void PendingCalls::Finished(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  --unfinished_;
  if (error_.ok()) error_ = status;
  changed_.notify_all();
}

absl::Status PendingCalls::Wait(int64_t at_most, const ParameterClient& client,
                                absl::Duration wait_max, const std::string& what) {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(wait_max);
  std::unique_lock lock(mutex_);
  const auto done = [&] { return unfinished_ <= at_most || !error_.ok(); };
  while (!changed_.wait_for(lock, kHealthInterval, done)) {
    lock.unlock();
    PAGODA_RETURN_IF_ERROR(client.Health());
    lock.lock();
    if (std::chrono::steady_clock::now() > deadline && !done()) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, " was not answered within ", absl::FormatDuration(wait_max)));
    }
  }
  return error_;
}

bool PendingCalls::Idle() {
  std::lock_guard lock(mutex_);
  return unfinished_ == 0 && error_.ok();
}

}  // namespace pagoda
