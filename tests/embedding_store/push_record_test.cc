#include "embedding_store/push_record.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>

#include "base/hash.h"

namespace pagoda {
namespace {

using State = RecordFrame::State;

// Owns what a PushRecord points to.
struct OwnedRecord {
  std::vector<std::vector<FeatureId>> ids;
  std::vector<std::vector<float>> gradients;
  PushRecord record;

  OwnedRecord(uint64_t sequence, const std::vector<std::pair<uint32_t, size_t>>& dim_and_rows) {
    record.sequence = sequence;
    record.step = static_cast<Step>(sequence) * 10;
    record.learning_rate_factor = 0.25f;
    for (const auto& [dim, rows] : dim_and_rows) {
      ids.emplace_back(rows);
      gradients.emplace_back(rows * dim);
      for (size_t i = 0; i < rows; ++i) ids.back()[i] = MixBits(sequence + i);
      std::iota(gradients.back().begin(), gradients.back().end(), -3.0f);
    }
    for (size_t t = 0; t < ids.size(); ++t) {
      record.tables.push_back({static_cast<uint32_t>(t * 5), dim_and_rows[t].first,
                               0.5f + static_cast<float>(t), ids[t], gradients[t]});
    }
  }
};

// In storage aligned as a segment's is.
std::vector<uint64_t> Encode(const PushRecord& record) {
  const EncodedRecord encoded(record);
  std::string bytes;
  for (absl::string_view piece : encoded.pieces()) bytes.append(piece.data(), piece.size());
  REQUIRE(static_cast<int64_t>(bytes.size()) == encoded.bytes());
  REQUIRE(bytes.size() % 8 == 0);
  std::vector<uint64_t> words(bytes.size() / 8);
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(words.data()));
  return words;
}

absl::string_view View(const std::vector<uint64_t>& words) {
  return {reinterpret_cast<const char*>(words.data()), words.size() * 8};
}

TEST_CASE("records of any shape come back") {
  const std::vector<std::pair<uint32_t, size_t>> shape = GENERATE(
      std::vector<std::pair<uint32_t, size_t>>{}, std::vector<std::pair<uint32_t, size_t>>{{1, 1}},
      std::vector<std::pair<uint32_t, size_t>>{{3, 0}, {1, 3}, {7, 5}, {16, 2}},
      std::vector<std::pair<uint32_t, size_t>>{{4096, 3}});
  const OwnedRecord owned(42, shape);
  const std::vector<uint64_t> words = Encode(owned.record);
  const RecordFrame frame = ReadRecordFrame(View(words));
  REQUIRE(frame.state == State::kComplete);
  CHECK(frame.sequence == 42);
  CHECK(frame.record_bytes == static_cast<int64_t>(View(words).size()));
  PushRecord back;
  REQUIRE(DecodePushRecord(frame, &back).ok());
  CHECK(back.sequence == 42);
  CHECK(back.step == 420);
  CHECK(back.learning_rate_factor == 0.25f);
  REQUIRE(back.tables.size() == shape.size());
  for (size_t t = 0; t < shape.size(); ++t) {
    CHECK(back.tables[t].table == t * 5);
    CHECK(back.tables[t].dim == shape[t].first);
    CHECK(back.tables[t].learning_rate == 0.5f + static_cast<float>(t));
    CHECK(std::equal(back.tables[t].ids.begin(), back.tables[t].ids.end(), owned.ids[t].begin(),
                     owned.ids[t].end()));
    CHECK(std::equal(back.tables[t].gradients.begin(), back.tables[t].gradients.end(),
                     owned.gradients[t].begin(), owned.gradients[t].end()));
  }
}

TEST_CASE("refused ids stand in records of version 3, with and without an origin") {
  const std::vector<FeatureId> refused = {9, ~FeatureId{0}, 3};
  for (const uint64_t origin : {0, 6}) {
    OwnedRecord owned(42, {{3, 0}, {1, 3}, {7, 5}});
    owned.record.origin = {4, 5, origin};
    owned.record.tables[0].refused = refused;
    owned.record.tables[1].refused = {refused.data(), 1};
    const std::vector<uint64_t> words = Encode(owned.record);
    const RecordFrame frame = ReadRecordFrame(View(words));
    REQUIRE(frame.state == State::kComplete);
    CHECK(frame.version == 3);
    PushRecord back;
    REQUIRE(DecodePushRecord(frame, &back).ok());
    CHECK(back.origin.sequence == origin);
    REQUIRE(back.tables.size() == 3);
    for (size_t t = 0; t < 3; ++t) {
      const PushRecord::Table& want = owned.record.tables[t];
      const PushRecord::Table& got = back.tables[t];
      CHECK(std::equal(got.ids.begin(), got.ids.end(), want.ids.begin(), want.ids.end()));
      CHECK(got.gradients.size() == want.gradients.size());
      CHECK(std::equal(got.refused.begin(), got.refused.end(), want.refused.begin(),
                       want.refused.end()));
    }
    // The number of refused ids, one too many.
    std::vector<uint64_t> changed(words.begin() + 5, words.end());
    changed[5 + 2] += uint64_t{1} << 32;
    RecordFrame bad = frame;
    bad.payload = View(changed);
    CHECK(absl::IsDataLoss(DecodePushRecord(bad, &back)));
  }
}

TEST_CASE("a cut record is short, a changed one is bad") {
  const OwnedRecord owned(7, {{3, 3}, {1, 2}});
  const std::vector<uint64_t> words = Encode(owned.record);
  const std::string bytes(View(words));
  for (size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    REQUIRE(ReadRecordFrame(absl::string_view(bytes).substr(0, size)).state == State::kShort);
  }
  for (size_t at = 0; at < bytes.size(); ++at) {
    CAPTURE(at);
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    const State state = ReadRecordFrame(changed).state;
    REQUIRE(state == (at < kRecordHeaderBytes ? State::kBadHeader : State::kBadPayload));
  }
}

TEST_CASE("sizes that contradict one another are refused, whatever the checksum says") {
  const OwnedRecord owned(7, {{3, 3}, {1, 2}});
  const std::vector<uint64_t> words = Encode(owned.record);
  const RecordFrame good = ReadRecordFrame(View(words));
  // The number of tables, and the first table's number of ids and dim.
  for (const size_t at : {size_t{12}, size_t{16 + 4}, size_t{16 + 8}, size_t{16 + 15}}) {
    CAPTURE(at);
    std::vector<uint64_t> changed(good.payload.size() / 8);
    std::copy(good.payload.begin(), good.payload.end(), reinterpret_cast<char*>(changed.data()));
    reinterpret_cast<char*>(changed.data())[at] ^= 0x21;
    RecordFrame frame = good;
    frame.payload = View(changed);
    PushRecord record;
    REQUIRE(absl::IsDataLoss(DecodePushRecord(frame, &record)));
  }
}

TEST_CASE("a later record format is told apart from damage") {
  const OwnedRecord owned(7, {{1, 1}});
  std::vector<uint64_t> words = Encode(owned.record);
  char* bytes = reinterpret_cast<char*>(words.data());
  bytes[4] = 4;
  const uint64_t checksum = HashBytes(absl::string_view(bytes, 32));
  std::memcpy(bytes + 32, &checksum, sizeof(checksum));
  const RecordFrame frame = ReadRecordFrame(View(words));
  CHECK(frame.state == State::kOtherVersion);
  CHECK(frame.version == 4);
}

TEST_CASE("the worked example of docs/formats.md is true") {
  const std::vector<FeatureId> ids = {42};
  const std::vector<float> gradients = {1.0f, -2.0f};
  PushRecord record;
  record.sequence = 5;
  record.step = 7;
  record.tables.push_back({0, 2, 0.5f, ids, gradients});
  const std::vector<uint64_t> expected = {0x0000000152474450,
                                          56,
                                          5,
                                          0x38048219ef4eb210,
                                          0x21c24fd832f1f8fd,
                                          7,
                                          0x000000013f800000,
                                          0x0000000200000000,
                                          1,
                                          0x000000003f000000,
                                          42,
                                          0xc00000003f800000};
  CHECK(Encode(record) == expected);
}

}  // namespace
}  // namespace pagoda
