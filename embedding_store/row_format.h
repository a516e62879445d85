// The bytes of a row: in memory, in RocksDB, and their keys. Worked examples are in
// docs/formats.md.
//
//   row    RowHeader (16 bytes), weights f32 [dim], slots f32 [slot_dim]
//   value  version byte, then the row
//   key    14 bytes, big-endian: bucket u16, table u32, id u64
//
// Big-endian keys sort as their numbers do, and the bucket leads, so that a range
// of buckets, the unit that moves between servers, is a range of keys.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "base/hash.h"
#include "base/ids.h"
#include "embedding_store/table_options.h"

namespace pagoda {

static_assert(std::endian::native == std::endian::little, "file formats are little-endian");

// `sequence` is that of the last push applied to the row. 0: the row was never
// pushed; it holds its initial value and does not count as stored.
struct RowHeader {
  uint64_t sequence = 0;
  int64_t last_step = 0;
};
static_assert(sizeof(RowHeader) == 16);

struct RowShape {
  int64_t dim = 0;
  int64_t slot_dim = 0;

  int64_t num_floats() const { return dim + slot_dim; }
  size_t row_bytes() const {
    return sizeof(RowHeader) + static_cast<size_t>(num_floats()) * sizeof(float);
  }
  size_t value_bytes() const { return 1 + row_bytes(); }
};

inline RowShape ShapeOf(const TableOptions& options) {
  return RowShape{options.dim, SlotDim(options.optimizer.kind, options.dim)};
}

inline RowHeader* HeaderOf(char* row) {
  return reinterpret_cast<RowHeader*>(row);
}
inline const RowHeader* HeaderOf(const char* row) {
  return reinterpret_cast<const RowHeader*>(row);
}
inline float* FloatsOf(char* row) {
  return reinterpret_cast<float*>(row + sizeof(RowHeader));
}
inline const float* FloatsOf(const char* row) {
  return reinterpret_cast<const float*>(row + sizeof(RowHeader));
}

// Sorts as the encoded key does.
struct RowKey {
  uint32_t bucket = 0;
  uint32_t table = 0;
  FeatureId id = 0;

  static RowKey Of(uint32_t table, FeatureId id) { return RowKey{BucketOf(id), table, id}; }
  auto operator<=>(const RowKey&) const = default;
};

inline constexpr size_t kRowKeyBytes = 14;
inline constexpr char kRowVersion = 1;

// Writes kRowKeyBytes bytes.
void EncodeRowKey(const RowKey& key, char* bytes);
// False when `bytes` is not a row's key.
bool DecodeRowKey(absl::string_view bytes, RowKey* key);

}  // namespace pagoda
