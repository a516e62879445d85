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
  Erase(key);
  while (!by_age_.empty() && (values_.size() >= kKeysMax || bytes_ + value.size() > kBytesMax)) {
    Erase(std::string(by_age_.begin()->second));
  }
  values_[key] = {value, ++sets_};
  by_age_[sets_] = key;
  bytes_ += value.size();
  return Take([&](const Waiter& waiter) { return waiter.key == key; },
              [&](const Waiter&) { return value; });
}

void RendezvousBoard::Erase(const std::string& key) {
  const auto found = values_.find(key);
  if (found == values_.end()) return;
  bytes_ -= found->second.bytes.size();
  by_age_.erase(found->second.set_at);
  values_.erase(found);
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Get(const std::string& job,
                                                          const std::string& key, SteadyTime now,
                                                          SteadyTime deadline, Done done) {
  std::vector<Answer> answers;
  const auto found = values_.find(key);
  if (found != values_.end()) {
    answers.push_back({std::move(done), found->second.bytes});
  } else if (waiters_.size() >= kWaitersMax) {
    answers.push_back({std::move(done), absl::ResourceExhaustedError(absl::StrCat(
                                            kWaitersMax, " calls wait on the rendezvous board"))});
  } else {
    waiters_.push_back({job, key, deadline, std::move(done)});
    if (deadline <= now) return Expire(now);
  }
  return answers;
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Take(
    const std::function<bool(const Waiter&)>& matches,
    const std::function<absl::StatusOr<std::string>(const Waiter&)>& value) {
  std::vector<Answer> answers;
  std::vector<Waiter> waiting;
  for (Waiter& waiter : waiters_) {
    if (matches(waiter)) {
      absl::StatusOr<std::string> answer = value(waiter);
      answers.push_back({std::move(waiter.done), std::move(answer)});
    } else {
      waiting.push_back(std::move(waiter));
    }
  }
  waiters_ = std::move(waiting);
  return answers;
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Expire(SteadyTime now) {
  return Take([&](const Waiter& waiter) { return waiter.deadline <= now; },
              [](const Waiter& waiter) {
                return absl::DeadlineExceededError(
                    absl::StrCat("nobody has set rendezvous key '", waiter.key, "' in time"));
              });
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::Fail(const std::string& job,
                                                           const absl::Status& cause) {
  return Take([&](const Waiter& waiter) { return waiter.job == job; },
              [&](const Waiter&) { return cause; });
}

std::vector<RendezvousBoard::Answer> RendezvousBoard::FailAll(const absl::Status& cause) {
  return Take([](const Waiter&) { return true; }, [&](const Waiter&) { return cause; });
}

}  // namespace pagoda
