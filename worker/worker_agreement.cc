#include "worker/worker_agreement.h"

#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {

absl::StatusOr<std::string> BroadcastBytes(AllReduce& allreduce, const std::string& bytes) {
  if (allreduce.num_workers() == 1) return bytes;
  const bool sender = allreduce.rank() == 0;
  double size = sender ? static_cast<double>(bytes.size()) : 0.0;
  PAGODA_RETURN_IF_ERROR(allreduce.Sum(std::span<double>(&size, 1)));
  // Four bytes ride in each double, as an integer; all others add zero to it.
  constexpr size_t kWord = sizeof(uint32_t);
  const auto num_bytes = static_cast<size_t>(size);
  std::vector<double> words((num_bytes + kWord - 1) / kWord, 0.0);
  for (size_t i = 0; sender && i < words.size(); ++i) {
    uint32_t word = 0;
    std::memcpy(&word, bytes.data() + i * kWord, std::min(kWord, num_bytes - i * kWord));
    words[i] = word;
  }
  if (!words.empty()) PAGODA_RETURN_IF_ERROR(allreduce.Sum(std::span<double>(words)));
  std::string received(words.size() * kWord, '\0');
  for (size_t i = 0; i < words.size(); ++i) {
    const auto word = static_cast<uint32_t>(words[i]);
    std::memcpy(received.data() + i * kWord, &word, kWord);
  }
  received.resize(num_bytes);
  return received;
}

absl::Status AgreeOnStatus(AllReduce& allreduce, const absl::Status& mine,
                           const std::string& what) {
  const double failed = mine.ok() ? 0.0 : 1.0;
  absl::StatusOr<std::vector<double>> all = allreduce.Gather(std::span<const double>(&failed, 1));
  if (!mine.ok()) return mine;
  PAGODA_RETURN_IF_ERROR(all.status());
  for (size_t rank = 0; rank < all->size(); ++rank) {
    if ((*all)[rank] != 0.0) {
      return absl::AbortedError(absl::StrCat("worker ", rank, " could not ", what));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSameEverywhere(AllReduce& allreduce, uint64_t value, const std::string& what) {
  if (allreduce.num_workers() == 1) return absl::OkStatus();
  const std::array<double, 2> halves = {static_cast<double>(value >> 32),
                                        static_cast<double>(value & 0xffffffffU)};
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> all, allreduce.Gather(halves));
  for (size_t rank = 0; 2 * rank < all.size(); ++rank) {
    if (all[2 * rank] == all[0] && all[2 * rank + 1] == all[1]) continue;
    return absl::InternalError(absl::StrCat("workers 0 and ", rank, " differ in ", what));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
