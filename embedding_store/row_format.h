// The bytes of a row: in memory, in RocksDB, and their keys. Worked examples are in
// docs/formats.md.
//
//   row    RowHeader (16 bytes), weights [dim] in the table's precision, zeros to a
//          multiple of 4 bytes, slots f32 [slot_dim]
//   value  version byte; sequence, last step and updates as varints; weights; slots.
//          Version 3: the weights are int8 with a scale (row_precision.h)
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
#include "embedding_store/row_precision.h"
#include "embedding_store/table_options.h"

namespace pagoda {

static_assert(std::endian::native == std::endian::little, "file formats are little-endian");

// `sequence` is that of the last push applied to the row. 0: the row was never
// pushed; it holds its initial value and does not count as stored.
struct RowHeader {
  uint64_t sequence = 0;
  uint32_t last_step = 0;
  uint32_t updates = 0;  // Pushes applied to the row, modulo 2^32.
};
static_assert(sizeof(RowHeader) == 16);

// The highest step that a row can hold.
inline constexpr int64_t kStepMax = 0xffffffff;

struct RowShape {
  int64_t dim = 0;
  int64_t slot_dim = 0;
  RowPrecision precision = RowPrecision::kF32;  // In memory.
  bool int8_on_disk = false;                    // With kF32 only.
  // A value may end before its slots (TableOptions::slots_grown): then the first
  // `started_slots` of them are initial_slot, the others 0.
  bool may_lack_slots = false;
  int64_t started_slots = 0;
  float initial_slot = 0.0f;

  int64_t num_floats() const { return dim + slot_dim; }
  size_t weight_bytes() const { return static_cast<size_t>(dim) * WeightBytes(precision); }
  size_t slot_bytes() const { return static_cast<size_t>(slot_dim) * sizeof(float); }
  size_t slots_offset() const { return sizeof(RowHeader) + (weight_bytes() + 3) / 4 * 4; }
  size_t row_bytes() const { return slots_offset() + slot_bytes(); }
  // At most; see EncodeRowValue.
  size_t value_bytes_max() const {
    return kValueHeaderBytesMax + disk_weight_bytes() + slot_bytes();
  }
  size_t disk_weight_bytes() const { return int8_on_disk ? PackedInt8Bytes(dim) : weight_bytes(); }
  static constexpr size_t kValueHeaderBytesMax = 1 + 10 + 5 + 5;
  // With numbers as they usually are: sequence below 2^28, step below 2^21, fewer than
  // 2^14 pushes. For estimates.
  size_t value_bytes_usual() const { return 1 + 4 + 3 + 2 + disk_weight_bytes() + slot_bytes(); }
};

RowShape ShapeOf(const TableOptions& options);

inline RowHeader* HeaderOf(char* row) {
  return reinterpret_cast<RowHeader*>(row);
}
inline const RowHeader* HeaderOf(const char* row) {
  return reinterpret_cast<const RowHeader*>(row);
}
inline char* WeightsOf(char* row) {
  return row + sizeof(RowHeader);
}
inline const char* WeightsOf(const char* row) {
  return row + sizeof(RowHeader);
}
// What a pull may ask for beside the weights: updates and last step. {0, 0}: never pushed.
inline constexpr size_t kRowStatistics = 2;
inline void CopyStatistics(const char* row, uint32_t* statistics) {
  statistics[0] = HeaderOf(row)->updates;
  statistics[1] = HeaderOf(row)->last_step;
}
inline float* SlotsOf(const RowShape& shape, char* row) {
  return reinterpret_cast<float*>(row + shape.slots_offset());
}
inline const float* SlotsOf(const RowShape& shape, const char* row) {
  return reinterpret_cast<const float*>(row + shape.slots_offset());
}
// Weights and slots side by side: f32 rows only.
inline float* FloatsOf(char* row) {
  return reinterpret_cast<float*>(row + sizeof(RowHeader));
}
inline const float* FloatsOf(const char* row) {
  return reinterpret_cast<const float*>(row + sizeof(RowHeader));
}

// Weights and slots as f32 [num_floats].
void LoadRow(const RowShape& shape, const char* row, float* floats);
// The opposite: weights to nearest.
void StoreRowNearest(const RowShape& shape, const float* floats, char* row);
// The same with weights rounded at random by `key`.
void StoreRowRandomly(const RowShape& shape, const float* floats, RandomKey key, char* row);

// Sorts as the encoded key does.
struct RowKey {
  uint32_t bucket = 0;
  uint32_t table = 0;
  FeatureId id = 0;

  static RowKey Of(uint32_t table, FeatureId id) { return RowKey{BucketOf(id), table, id}; }
  auto operator<=>(const RowKey&) const = default;
};

inline constexpr size_t kRowKeyBytes = 14;
inline constexpr char kRowVersion = 2;
inline constexpr char kInt8RowVersion = 3;
inline constexpr char kFirstRowVersion = 1;  // Still read.

// Writes at most value_bytes_max() bytes to `value`; returns how many.
//   REQUIRES: with int8_on_disk, RoundToInt8 was called on the weights.
size_t EncodeRowValue(const RowShape& shape, const char* row, char* value);
// Fills row [row_bytes()]. Returns what is wrong, or null.
const char* DecodeRowValue(const RowShape& shape, absl::string_view value, char* row);

// Writes kRowKeyBytes bytes.
void EncodeRowKey(const RowKey& key, char* bytes);
// False when `bytes` is not a row's key.
bool DecodeRowKey(absl::string_view bytes, RowKey* key);

}  // namespace pagoda
