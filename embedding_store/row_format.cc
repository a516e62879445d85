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

// The slots of a value, `bytes`, or those of a new row where it may have none. False when
// it is neither.
bool TakeSlots(const RowShape& shape, absl::string_view bytes, char* row) {
  float* const slots = SlotsOf(shape, row);
  if (bytes.size() == shape.slot_bytes()) {
    std::memcpy(slots, bytes.data(), bytes.size());
    return true;
  }
  if (!bytes.empty() || !shape.may_lack_slots) return false;
  for (int64_t s = 0; s < shape.slot_dim; ++s) {
    slots[s] = s < shape.started_slots ? shape.initial_slot : 0.0f;
  }
  return true;
}

// Version 1: sequence u64, step i64, and all values in f32.
const char* DecodeFirstVersion(const RowShape& shape, absl::string_view value, char* row) {
  constexpr size_t kHeaderBytes = 2 * sizeof(uint64_t);
  if (shape.precision != RowPrecision::kF32 || shape.int8_on_disk) {
    return "a row of version 1 is not f32";
  }
  if (value.size() < kHeaderBytes + shape.weight_bytes() ||
      !TakeSlots(shape, value.substr(kHeaderBytes + shape.weight_bytes()), row)) {
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
  std::memcpy(WeightsOf(row), value.data() + kHeaderBytes, shape.weight_bytes());
  return nullptr;
}

}  // namespace

RowShape ShapeOf(const TableOptions& options) {
  RowShape shape;
  shape.dim = options.dim;
  shape.slot_dim = SlotDim(options.optimizer.kind, options.dim);
  shape.int8_on_disk = options.precision == RowPrecision::kInt8;
  shape.precision = shape.int8_on_disk ? RowPrecision::kF32 : options.precision;
  shape.may_lack_slots = options.slots_grown;
  // As FillInitialRow.
  const SparseOptimizerKind kind = options.optimizer.kind;
  if (kind == SparseOptimizerKind::kAdagrad || kind == SparseOptimizerKind::kRowwiseAdagrad) {
    shape.started_slots = shape.slot_dim;
  } else if (kind == SparseOptimizerKind::kAdagradDecay) {
    shape.started_slots = options.dim;
  }
  shape.initial_slot = options.optimizer.initial_accumulator;
  return shape;
}

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
  *to++ = shape.int8_on_disk ? kInt8RowVersion : kRowVersion;
  to = PutVarint(header.sequence, to);
  to = PutVarint(header.last_step, to);
  to = PutVarint(header.updates, to);
  if (shape.int8_on_disk) {
    PackInt8(FloatsOf(row), shape.dim, to);
  } else {
    std::memcpy(to, WeightsOf(row), shape.weight_bytes());
  }
  to += shape.disk_weight_bytes();
  std::memcpy(to, SlotsOf(shape, row), shape.slot_bytes());
  return static_cast<size_t>(to + shape.slot_bytes() - value);
}

const char* DecodeRowValue(const RowShape& shape, absl::string_view value, char* row) {
  if (!value.empty() && value[0] == kFirstRowVersion) {
    return DecodeFirstVersion(shape, value.substr(1), row);
  }
  if (value.empty() || value[0] != (shape.int8_on_disk ? kInt8RowVersion : kRowVersion)) {
    return "unknown row version, or of a table of another precision";
  }
  value.remove_prefix(1);
  constexpr uint64_t kMax32 = 0xffffffff;
  uint64_t sequence = 0, last_step = 0, updates = 0;
  if (!TakeVarint(&value, ~uint64_t{0}, &sequence) || !TakeVarint(&value, kMax32, &last_step) ||
      !TakeVarint(&value, kMax32, &updates)) {
    return "the header is damaged";
  }
  if (value.size() < shape.disk_weight_bytes() ||
      !TakeSlots(shape, value.substr(shape.disk_weight_bytes()), row)) {
    return "it has another length";
  }
  *HeaderOf(row) =
      RowHeader{sequence, static_cast<uint32_t>(last_step), static_cast<uint32_t>(updates)};
  if (!shape.int8_on_disk) {
    std::memcpy(WeightsOf(row), value.data(), shape.weight_bytes());
  } else if (!UnpackInt8(value.data(), shape.dim, FloatsOf(row))) {
    return "the scale is damaged";
  }
  const size_t end = sizeof(RowHeader) + shape.weight_bytes();
  std::memset(row + end, 0, shape.slots_offset() - end);
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
