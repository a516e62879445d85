#include "embedding_store/row_format.h"

namespace pagoda {
namespace {

// Seven bits a byte, the lowest first; the top bit says that more follow.
char* PutVarint(uint64_t value, char* to) {
  while (value >= 0x80) {
    *to++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<char>(value);
  return to;
}

// False when the bytes end early, or the number is above `max` or not in its
// shortest form.
bool TakeVarint(absl::string_view* bytes, uint64_t max, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && !bytes->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes->front());
    bytes->remove_prefix(1);
    const uint64_t part = byte & 0x7fu;
    if (shift == 63 && part > 1) return false;
    *value |= part << shift;
    if ((byte & 0x80u) == 0) return *value <= max && (part != 0 || shift == 0);
  }
  return false;
}

void StoreSlots(const RowShape& shape, const float* floats, char* row) {
  const size_t end = sizeof(RowHeader) + shape.weight_bytes();
  std::memset(row + end, 0, shape.slots_offset() - end);
  std::memcpy(SlotsOf(shape, row), floats + shape.dim, shape.slot_bytes());
}

// Version 1: sequence u64, step i64, and all values in f32.
const char* DecodeFirstVersion(const RowShape& shape, absl::string_view value, char* row) {
  constexpr size_t kHeaderBytes = 2 * sizeof(uint64_t);
  if (shape.precision != RowPrecision::kF32) return "a row of version 1 is not f32";
  if (value.size() != kHeaderBytes + shape.weight_bytes() + shape.slot_bytes()) {
    return "it has another length";
  }
  RowHeader header;
  uint64_t step = 0;
  std::memcpy(&header.sequence, value.data(), sizeof(header.sequence));
  std::memcpy(&step, value.data() + sizeof(header.sequence), sizeof(step));
  if (step > static_cast<uint64_t>(kStepMax)) return "the header is damaged";
  header.last_step = static_cast<uint32_t>(step);
  header.updates = 1;  // It was not counted.
  *HeaderOf(row) = header;
  std::memcpy(WeightsOf(row), value.data() + kHeaderBytes, value.size() - kHeaderBytes);
  return nullptr;
}

}  // namespace

void LoadRow(const RowShape& shape, const char* row, float* floats) {
  LoadWeights(shape.precision, WeightsOf(row), shape.dim, floats);
  std::memcpy(floats + shape.dim, SlotsOf(shape, row), shape.slot_bytes());
}

void StoreRowNearest(const RowShape& shape, const float* floats, char* row) {
  StoreNearest(shape.precision, floats, shape.dim, WeightsOf(row));
  StoreSlots(shape, floats, row);
}

void StoreRowRandomly(const RowShape& shape, const float* floats, RandomKey key, char* row) {
  StoreRandomly(shape.precision, floats, shape.dim, key, WeightsOf(row));
  StoreSlots(shape, floats, row);
}

size_t EncodeRowValue(const RowShape& shape, const char* row, char* value) {
  const RowHeader& header = *HeaderOf(row);
  char* to = value;
  *to++ = kRowVersion;
  to = PutVarint(header.sequence, to);
  to = PutVarint(header.last_step, to);
  to = PutVarint(header.updates, to);
  std::memcpy(to, WeightsOf(row), shape.weight_bytes());
  to += shape.weight_bytes();
  std::memcpy(to, SlotsOf(shape, row), shape.slot_bytes());
  return static_cast<size_t>(to + shape.slot_bytes() - value);
}

const char* DecodeRowValue(const RowShape& shape, absl::string_view value, char* row) {
  if (!value.empty() && value[0] == kFirstRowVersion) {
    return DecodeFirstVersion(shape, value.substr(1), row);
  }
  if (value.empty() || value[0] != kRowVersion) return "unknown row version";
  value.remove_prefix(1);
  constexpr uint64_t kMax32 = 0xffffffff;
  uint64_t sequence = 0, last_step = 0, updates = 0;
  if (!TakeVarint(&value, ~uint64_t{0}, &sequence) || !TakeVarint(&value, kMax32, &last_step) ||
      !TakeVarint(&value, kMax32, &updates)) {
    return "the header is damaged";
  }
  if (value.size() != shape.weight_bytes() + shape.slot_bytes()) return "it has another length";
  *HeaderOf(row) =
      RowHeader{sequence, static_cast<uint32_t>(last_step), static_cast<uint32_t>(updates)};
  std::memcpy(WeightsOf(row), value.data(), shape.weight_bytes());
  const size_t end = sizeof(RowHeader) + shape.weight_bytes();
  std::memset(row + end, 0, shape.slots_offset() - end);
  std::memcpy(SlotsOf(shape, row), value.data() + shape.weight_bytes(), shape.slot_bytes());
  return nullptr;
}

void EncodeRowKey(const RowKey& key, char* bytes) {
  const uint16_t bucket = __builtin_bswap16(static_cast<uint16_t>(key.bucket));
  const uint32_t table = __builtin_bswap32(key.table);
  const uint64_t id = __builtin_bswap64(key.id);
  std::memcpy(bytes, &bucket, sizeof(bucket));
  std::memcpy(bytes + 2, &table, sizeof(table));
  std::memcpy(bytes + 6, &id, sizeof(id));
}

bool DecodeRowKey(absl::string_view bytes, RowKey* key) {
  if (bytes.size() != kRowKeyBytes) return false;
  uint16_t bucket = 0;
  std::memcpy(&bucket, bytes.data(), sizeof(bucket));
  std::memcpy(&key->table, bytes.data() + 2, sizeof(key->table));
  std::memcpy(&key->id, bytes.data() + 6, sizeof(key->id));
  key->bucket = __builtin_bswap16(bucket);
  key->table = __builtin_bswap32(key->table);
  key->id = __builtin_bswap64(key->id);
  return true;
}

}  // namespace pagoda
