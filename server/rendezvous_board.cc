#include "server/rendezvous_board.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace pagoda {

absl::StatusOr<std::vector<RendezvousBoard::Answer>> RendezvousBoard::Set(
    const std::string& key, const std::string& value) {
  if (key.empty() || key.size() > kKeyBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a rendezvous key has 1 to ", kKeyBytesMax, " bytes, not ", key.size()));
  }
  if (value.size() > kValueBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("the value of rendezvous key '", key, "' has ",
                                                   value.size(), " bytes; the limit is ",
                                                   kValueBytesMax));
  }
  const auto old = values_.find(key);
  const size_t bytes_old = old == values_.end() ? 0 : old->second.size();
  if ((old == values_.end() && values_.size() >= kKeysMax) ||
      bytes_ - bytes_old + value.size() > kBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat("the rendezvous board is full (",
                                                     values_.size(), " keys, ", bytes_,
                                                     " bytes): no room for '", key, "'"));
  }
  bytes_ = bytes_ - bytes_old + value.size();
  values_[key] = value;

  std::vector<Answer> answers;
  std::vector<Waiter> waiting;
  for (Waiter& waiter : waiters_) {
    if (waiter.key == key) {
      answers.push_back({std::move(waiter.done), value});
    } else {
      waiting.push_back(std::move(waiter));
    }
  }
  waiters_ = std::move(waiting);
  return answers;
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Get(const std::string& key,
                                                          SteadyTime deadline, Done done) {
  std::vector<Answer> answers;
  const auto found = values_.find(key);
  if (found != values_.end()) {
    answers.push_back({std::move(done), found->second});
  } else if (waiters_.size() >= kWaitersMax) {
    answers.push_back({std::move(done), absl::ResourceExhaustedError(absl::StrCat(
                                            kWaitersMax, " calls wait on the rendezvous board"))});
  } else {
    waiters_.push_back({key, deadline, std::move(done)});
  }
  return answers;
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Expire(SteadyTime now) {
  std::vector<Answer> answers;
  std::vector<Waiter> waiting;
  for (Waiter& waiter : waiters_) {
    if (waiter.deadline <= now) {
      answers.push_back({std::move(waiter.done),
                         absl::DeadlineExceededError(absl::StrCat("nobody has set rendezvous key '",
                                                                  waiter.key, "' in time"))});
    } else {
      waiting.push_back(std::move(waiter));
    }
  }
  waiters_ = std::move(waiting);
  return answers;
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Fail(const absl::Status& cause) {
  std::vector<Answer> answers;
  for (Waiter& waiter : waiters_) answers.push_back({std::move(waiter.done), cause});
  waiters_.clear();
  return answers;
}

void RendezvousBoard::Wipe() {
  values_.clear();
  bytes_ = 0;
}

}  // namespace pagoda
