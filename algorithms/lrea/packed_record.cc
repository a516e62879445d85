#include "algorithms/lrea/packed_record.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda::lrea {
namespace {

constexpr uint32_t kMagic = 0x31524c50;  // "PLR1"
constexpr uint32_t kHalf = 2, kFull = 4;

struct Header {
  uint32_t magic = kMagic;
  uint32_t value_bytes = kFull;
  uint64_t model_version = 0;
  int64_t candidate_dim = 0, rank = 0, value_width = 0;
  float scale_a = 1.0f, scale_m = 1.0f;
};
static_assert(sizeof(Header) == 48);
constexpr size_t kHashBytes = sizeof(uint64_t);
constexpr int64_t kMostColumns = int64_t{1} << 20;  // Sizes above are no record's.

// Brings the largest of `values` into [1, 2).
float ScaleOf(const std::vector<float>& values) {
  float most = 0.0f;
  for (const float value : values) most = std::max(most, std::fabs(value));
  return most > 0.0f ? std::exp2f(static_cast<float>(std::ilogb(most))) : 1.0f;
}

absl::Status Check(const UserRecord& record, const char* name, const std::vector<float>& values,
                   int64_t rows, int64_t columns) {
  if (static_cast<int64_t>(values.size()) != rows * columns) {
    return absl::InvalidArgumentError(absl::StrCat(name, " of a record has ", values.size(),
                                                   " values, expected ", rows * columns));
  }
  if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(name, " of a record of model version ",
                                                 record.model_version,
                                                 " has a value that is not finite"));
}

void Append(const std::vector<float>& values, uint32_t value_bytes, float scale,
            std::string* bytes) {
  for (const float value : values) {
    if (value_bytes == kFull) {
      bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
      continue;
    }
    const auto half = static_cast<_Float16>(value / scale);
    bytes->append(reinterpret_cast<const char*>(&half), sizeof(half));
  }
}

std::vector<float> Take(absl::string_view* bytes, uint32_t value_bytes, float scale, size_t count) {
  std::vector<float> values(count);
  for (float& value : values) {
    if (value_bytes == kFull) {
      std::memcpy(&value, bytes->data(), sizeof(value));
    } else {
      _Float16 half;
      std::memcpy(&half, bytes->data(), sizeof(half));
      value = static_cast<float>(half) * scale;
    }
    bytes->remove_prefix(value_bytes);
  }
  return values;
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("a stored record ", what));
}

}  // namespace

absl::StatusOr<std::string> PackRecord(const UserRecord& record, RecordPrecision precision) {
  PAGODA_RETURN_IF_ERROR(Check(record, "A_u", record.a, record.candidate_dim, record.rank));
  PAGODA_RETURN_IF_ERROR(Check(record, "M_u", record.m, record.rank, record.value_width));
  Header header;
  header.model_version = record.model_version;
  header.candidate_dim = record.candidate_dim;
  header.rank = record.rank;
  header.value_width = record.value_width;
  if (precision == RecordPrecision::kF16) {
    header.value_bytes = kHalf;
    header.scale_a = ScaleOf(record.a);
    header.scale_m = ScaleOf(record.m);
  }
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  Append(record.a, header.value_bytes, header.scale_a, &bytes);
  Append(record.m, header.value_bytes, header.scale_m, &bytes);
  const uint64_t hash = HashBytes(bytes);
  bytes.append(reinterpret_cast<const char*>(&hash), sizeof(hash));
  return bytes;
}

absl::StatusOr<UserRecord> UnpackRecord(absl::string_view bytes) {
  Header header;
  if (bytes.size() < sizeof(header) + kHashBytes) {
    return Damaged(absl::StrCat("has ", bytes.size(), " bytes, too few for any"));
  }
  uint64_t hash = 0;
  std::memcpy(&hash, bytes.data() + bytes.size() - kHashBytes, kHashBytes);
  bytes.remove_suffix(kHashBytes);
  if (HashBytes(bytes) != hash) return Damaged("does not have the hash that was written with it");
  std::memcpy(&header, bytes.data(), sizeof(header));
  bytes.remove_prefix(sizeof(header));
  const auto is_size = [](int64_t n) { return n >= 0 && n <= kMostColumns; };
  if (header.magic != kMagic || (header.value_bytes != kHalf && header.value_bytes != kFull) ||
      !is_size(header.candidate_dim) || !is_size(header.rank) || !is_size(header.value_width)) {
    return Damaged("is none: its header is not one");
  }
  const int64_t of_a = header.candidate_dim * header.rank;
  const int64_t of_m = header.rank * header.value_width;
  if (static_cast<int64_t>(bytes.size()) != (of_a + of_m) * header.value_bytes) {
    return Damaged(absl::StrCat("has ", bytes.size(), " bytes of values, expected ",
                                (of_a + of_m) * header.value_bytes));
  }
  UserRecord record = {
      header.model_version, header.candidate_dim, header.rank, header.value_width, {}, {}};
  record.a = Take(&bytes, header.value_bytes, header.scale_a, static_cast<size_t>(of_a));
  record.m = Take(&bytes, header.value_bytes, header.scale_m, static_cast<size_t>(of_m));
  return record;
}

}  // namespace pagoda::lrea
