#include "embedding_store/client_windows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pagoda {
namespace {

constexpr size_t kWords = ClientWindows::kWidth / 64;
constexpr size_t kWindowBytes = (4 + kWords) * sizeof(uint64_t);

size_t WordOf(uint64_t sequence) {
  return sequence % ClientWindows::kWidth / 64;
}
uint64_t BitOf(uint64_t sequence) {
  return uint64_t{1} << (sequence % 64);
}

}  // namespace

absl::StatusOr<bool> ClientWindows::WasApplied(const PushOrigin& origin) const {
  const auto found = windows_.find(origin.client);
  if (found == windows_.end() || origin.incarnation > found->second.incarnation) return false;
  const Window& window = found->second;
  if (origin.incarnation < window.incarnation) {
    return absl::FailedPreconditionError(
        absl::StrCat("push ", origin.sequence, " of client ", origin.client, " is of incarnation ",
                     origin.incarnation, ", but incarnation ", window.incarnation,
                     " of that client has pushed since"));
  }
  if (origin.sequence > window.highest) return false;
  if (window.highest - origin.sequence >= kWidth) {
    return absl::ResourceExhaustedError(
        absl::StrCat("push ", origin.sequence, " of client ", origin.client, " is ",
                     window.highest - origin.sequence, " behind its newest, and only ", kWidth,
                     " are remembered: whether it was applied is not known"));
  }
  return (window.applied[WordOf(origin.sequence)] & BitOf(origin.sequence)) != 0;
}

void ClientWindows::Record(const PushOrigin& origin, uint64_t push) {
  auto found = windows_.find(origin.client);
  if (found == windows_.end()) {
    if (windows_.size() >= kClientsMax) {
      windows_.erase(std::min_element(windows_.begin(), windows_.end(), [](auto& a, auto& b) {
        return a.second.last_push < b.second.last_push;
      }));
    }
    found = windows_.emplace(origin.client, Window{}).first;
    found->second.incarnation = origin.incarnation;
  }
  Window& window = found->second;
  if (origin.incarnation > window.incarnation) window = Window{origin.incarnation, 0, 0, {}};
  window.last_push = push;
  if (origin.sequence > window.highest) {
    if (origin.sequence - window.highest >= kWidth) {
      window.applied = {};
    } else {
      for (uint64_t s = window.highest + 1; s <= origin.sequence; ++s) {
        window.applied[WordOf(s)] &= ~BitOf(s);
      }
    }
    window.highest = origin.sequence;
  }
  window.applied[WordOf(origin.sequence)] |= BitOf(origin.sequence);
}

std::string ClientWindows::Encode() const {
  std::string bytes;
  bytes.reserve(windows_.size() * kWindowBytes);
  auto append = [&](uint64_t v) { bytes.append(reinterpret_cast<const char*>(&v), sizeof(v)); };
  for (const auto& [client, window] : windows_) {
    append(client);
    append(window.incarnation);
    append(window.highest);
    append(window.last_push);
    for (const uint64_t word : window.applied) append(word);
  }
  return bytes;
}

absl::Status ClientWindows::Decode(absl::string_view bytes) {
  std::map<uint64_t, Window> windows;
  bool good = bytes.size() % kWindowBytes == 0 && bytes.size() / kWindowBytes <= kClientsMax;
  for (size_t at = 0; good && at < bytes.size(); at += kWindowBytes) {
    uint64_t words[4 + kWords];
    std::memcpy(words, bytes.data() + at, kWindowBytes);
    Window window{words[1], words[2], words[3], {}};
    std::copy(words + 4, words + 4 + kWords, window.applied.begin());
    // Clients rise, and the newest push was applied.
    good = (windows.empty() || words[0] > windows.rbegin()->first) && window.highest > 0 &&
           (window.applied[WordOf(window.highest)] & BitOf(window.highest)) != 0;
    windows.emplace(words[0], window);
  }
  if (!good) return absl::DataLossError("the clients' windows are damaged");
  windows_ = std::move(windows);
  return absl::OkStatus();
}

}  // namespace pagoda
