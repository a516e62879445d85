#include "embedding_store/table_state.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace pagoda {
namespace {

constexpr char kCountersVersion = 1;
static_assert(sizeof(TableCounters) == 32);  // Written as it is.

}  // namespace

std::string EncodeTableCounters(const TableCounters& counters) {
  std::string bytes(1, kCountersVersion);
  bytes.append(reinterpret_cast<const char*>(&counters), sizeof(counters));
  return bytes;
}

absl::Status DecodeTableCounters(absl::string_view bytes, TableCounters* counters) {
  if (!bytes.empty() && bytes[0] != kCountersVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("a table's counters have format version ", static_cast<int>(bytes[0]),
                     ", this build reads ", static_cast<int>(kCountersVersion)));
  }
  if (bytes.size() != 1 + sizeof(*counters)) {
    return absl::DataLossError(absl::StrCat("a table's counters have ", bytes.size(),
                                            " bytes instead of ", 1 + sizeof(*counters)));
  }
  std::memcpy(counters, bytes.data() + 1, sizeof(*counters));
  return absl::OkStatus();
}

}  // namespace pagoda
