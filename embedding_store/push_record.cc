#include "embedding_store/push_record.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr uint32_t kRecordMagic = 0x52474450;  // "PDGR"
constexpr uint32_t kPlainVersion = 1;
constexpr uint32_t kOriginVersion = 2;
constexpr uint32_t kRefusedVersion = 3;  // With an origin, of sequence 0 where there is none.

struct RecordHeader {
  uint32_t magic = kRecordMagic;
  uint32_t version = kPlainVersion;
  uint64_t payload_bytes = 0;
  uint64_t sequence = 0;
  uint64_t payload_checksum = 0;
  uint64_t header_checksum = 0;  // Of the 32 bytes before it.
};
static_assert(sizeof(RecordHeader) == kRecordHeaderBytes);
constexpr size_t kCheckedHeaderBytes = 32;

struct PayloadHeader {
  int64_t step = 0;
  float learning_rate_factor = 1.0f;
  uint32_t num_tables = 0;
};
struct TableHeader {
  uint32_t table = 0;
  uint32_t dim = 0;
  uint64_t num_ids = 0;
  float learning_rate = 0.0f;
  uint32_t num_refused = 0;  // 0 before version 3.
};
static_assert(sizeof(PayloadHeader) == 16);
static_assert(sizeof(PushOrigin) == 24);
static_assert(sizeof(TableHeader) == 24);

constexpr char kPadding[8] = {};

size_t PaddingOf(size_t bytes) {
  return (8 - bytes % 8) % 8;
}

template <typename T>
absl::string_view BytesOf(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

EncodedRecord::EncodedRecord(const PushRecord& record) {
  // `fixed_` gets its final size first: the pieces point into it.
  bool has_refused = false;
  for (const PushRecord::Table& table : record.tables) has_refused |= !table.refused.empty();
  const bool has_origin = record.origin.sequence != 0 || has_refused;
  const size_t payload_fixed = sizeof(PayloadHeader) + (has_origin ? sizeof(PushOrigin) : 0);
  const size_t table_offset = sizeof(RecordHeader) + payload_fixed;
  fixed_.resize(table_offset + record.tables.size() * sizeof(TableHeader));
  pieces_.reserve(2 + 5 * record.tables.size());
  pieces_.push_back(absl::string_view(fixed_).substr(0, table_offset));
  size_t payload_bytes = payload_fixed;
  auto add = [&](absl::string_view piece) {
    if (piece.empty()) return;
    pieces_.push_back(piece);
    payload_bytes += piece.size();
  };

  const PayloadHeader payload{record.step, record.learning_rate_factor,
                              static_cast<uint32_t>(record.tables.size())};
  std::memcpy(fixed_.data() + sizeof(RecordHeader), &payload, sizeof(payload));
  if (has_origin) {
    std::memcpy(fixed_.data() + sizeof(RecordHeader) + sizeof(payload), &record.origin,
                sizeof(record.origin));
  }
  for (size_t t = 0; t < record.tables.size(); ++t) {
    const PushRecord::Table& table = record.tables[t];
    const size_t at = table_offset + t * sizeof(TableHeader);
    const TableHeader header{table.table, table.dim, table.ids.size(), table.learning_rate,
                             static_cast<uint32_t>(table.refused.size())};
    std::memcpy(fixed_.data() + at, &header, sizeof(header));
    add(absl::string_view(fixed_).substr(at, sizeof(header)));
    add(BytesOf(table.ids));
    add(BytesOf(table.gradients));
    add({kPadding, PaddingOf(payload_bytes)});
    add(BytesOf(table.refused));
  }

  HashStream checksum;
  checksum.Update(pieces_[0].substr(sizeof(RecordHeader)));
  for (size_t i = 1; i < pieces_.size(); ++i) checksum.Update(pieces_[i]);
  RecordHeader header;
  header.version = has_refused ? kRefusedVersion : has_origin ? kOriginVersion : kPlainVersion;
  header.payload_bytes = payload_bytes;
  header.sequence = record.sequence;
  header.payload_checksum = checksum.Digest();
  header.header_checksum = HashBytes({reinterpret_cast<const char*>(&header), kCheckedHeaderBytes});
  std::memcpy(fixed_.data(), &header, sizeof(header));
  bytes_ = static_cast<int64_t>(sizeof(header) + payload_bytes);
}

RecordFrame ReadRecordFrame(absl::string_view bytes) {
  RecordFrame frame;
  if (bytes.size() < sizeof(RecordHeader)) {
    frame.state = RecordFrame::State::kShort;
    return frame;
  }
  RecordHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kRecordMagic ||
      header.header_checksum != HashBytes(bytes.substr(0, kCheckedHeaderBytes))) {
    return frame;
  }
  frame.sequence = header.sequence;
  frame.version = header.version;
  frame.record_bytes = static_cast<int64_t>(sizeof(header) + header.payload_bytes);
  if (header.version < kPlainVersion || header.version > kRefusedVersion) {
    frame.state = RecordFrame::State::kOtherVersion;
    return frame;
  }
  if (header.payload_bytes > bytes.size() - sizeof(header)) {
    frame.state = RecordFrame::State::kShort;
    return frame;
  }
  frame.payload = bytes.substr(sizeof(header), header.payload_bytes);
  frame.state = HashBytes(frame.payload) == header.payload_checksum
                    ? RecordFrame::State::kComplete
                    : RecordFrame::State::kBadPayload;
  return frame;
}

absl::Status DecodePushRecord(const RecordFrame& frame, PushRecord* record) {
  absl::string_view rest = frame.payload;
  auto broken = [&] {
    return absl::DataLossError(
        absl::StrCat("the sizes inside log record ", frame.sequence, " contradict one another"));
  };
  PayloadHeader payload;
  if (rest.size() < sizeof(payload)) return broken();
  std::memcpy(&payload, rest.data(), sizeof(payload));
  rest.remove_prefix(sizeof(payload));
  record->sequence = frame.sequence;
  record->step = payload.step;
  record->learning_rate_factor = payload.learning_rate_factor;
  record->origin = PushOrigin{};
  const bool may_refuse = frame.version == kRefusedVersion;
  if (frame.version == kOriginVersion || may_refuse) {
    if (rest.size() < sizeof(record->origin)) return broken();
    std::memcpy(&record->origin, rest.data(), sizeof(record->origin));
    rest.remove_prefix(sizeof(record->origin));
    if (record->origin.sequence == 0 && !may_refuse) return broken();
  }
  record->tables.clear();
  for (uint32_t t = 0; t < payload.num_tables; ++t) {
    TableHeader header;
    if (rest.size() < sizeof(header)) return broken();
    std::memcpy(&header, rest.data(), sizeof(header));
    rest.remove_prefix(sizeof(header));
    const uint64_t id_room = rest.size() / sizeof(FeatureId);
    if (header.num_ids > id_room) return broken();
    const auto* ids = reinterpret_cast<const FeatureId*>(rest.data());
    rest.remove_prefix(header.num_ids * sizeof(FeatureId));
    // num_ids and dim are bounded by what was just checked and by u32: no overflow.
    const uint64_t num_gradients = header.num_ids * header.dim;
    const size_t padding = PaddingOf(num_gradients * sizeof(float));
    if (num_gradients > rest.size() / sizeof(float) ||
        rest.size() - num_gradients * sizeof(float) < padding) {
      return broken();
    }
    const auto* gradients = reinterpret_cast<const float*>(rest.data());
    rest.remove_prefix(num_gradients * sizeof(float) + padding);
    const uint64_t num_refused = may_refuse ? header.num_refused : 0;
    if (num_refused > rest.size() / sizeof(FeatureId)) return broken();
    const auto* refused = reinterpret_cast<const FeatureId*>(rest.data());
    rest.remove_prefix(num_refused * sizeof(FeatureId));
    record->tables.push_back({header.table, header.dim, header.learning_rate,
                              std::span<const FeatureId>(ids, header.num_ids),
                              std::span<const float>(gradients, num_gradients),
                              std::span<const FeatureId>(refused, num_refused)});
  }
  if (!rest.empty()) return broken();
  return absl::OkStatus();
}

}  // namespace pagoda
