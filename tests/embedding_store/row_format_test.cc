#include "embedding_store/row_format.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

namespace pagoda {
namespace {

std::string Encoded(const RowKey& key) {
  std::string bytes(kRowKeyBytes, '\0');
  EncodeRowKey(key, bytes.data());
  return bytes;
}

TEST_CASE("keys have the documented bytes") {
  // The worked example of docs/formats.md.
  const RowKey key = RowKey::Of(3, 42);
  CHECK(key.bucket == 0xbdd7);
  CHECK(Encoded(key) == std::string("\xbd\xd7\0\0\0\x03\0\0\0\0\0\0\0\x2a", 14));
}

TEST_CASE("keys sort as their bytes do and come back") {
  const uint32_t seed = 5;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::vector<RowKey> keys = {RowKey::Of(0, 0), RowKey::Of(0xffffffff, ~uint64_t{0})};
  for (int i = 0; i < 500; ++i) {
    keys.push_back({static_cast<uint32_t>(random() % 4 * 0x1234),
                    static_cast<uint32_t>(random() % 3), random() % 5 * 0x0102030405060708});
  }
  std::sort(keys.begin(), keys.end());
  for (size_t i = 0; i + 1 < keys.size(); ++i) {
    REQUIRE((keys[i] < keys[i + 1]) == (Encoded(keys[i]) < Encoded(keys[i + 1])));
    RowKey back;
    REQUIRE(DecodeRowKey(Encoded(keys[i]), &back));
    REQUIRE(back == keys[i]);
  }
}

TEST_CASE("only row keys decode") {
  RowKey key;
  CHECK_FALSE(DecodeRowKey("", &key));
  CHECK_FALSE(DecodeRowKey(std::string(13, 'x'), &key));
  CHECK_FALSE(DecodeRowKey(std::string(15, '\xff'), &key));
}

TEST_CASE("shapes count header, weights and slots") {
  TableOptions table;
  table.dim = 16;
  table.optimizer.kind = SparseOptimizerKind::kAdam;
  RowShape shape = ShapeOf(table);
  CHECK(shape.num_floats() == 16 + 33);
  CHECK(shape.row_bytes() == 16 + 49 * 4);
  table.dim = 5;
  table.precision = RowPrecision::kBF16;
  table.optimizer.kind = SparseOptimizerKind::kAdagrad;
  shape = ShapeOf(table);
  CHECK(shape.slots_offset() == 16 + 12);  // 10 bytes of weights, 2 of zeros.
  CHECK(shape.row_bytes() == 16 + 12 + 20);
}

struct ValueCase {
  int64_t dim;
  SparseOptimizerKind kind;
  RowPrecision precision;
};

TEST_CASE("row values come back, and nothing else is taken for one") {
  const uint32_t seed = 11;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (const ValueCase c : {ValueCase{1, SparseOptimizerKind::kSgd, RowPrecision::kF16},
                            {3, SparseOptimizerKind::kRowwiseAdagrad, RowPrecision::kBF16},
                            {8, SparseOptimizerKind::kAdam, RowPrecision::kF16},
                            {1, SparseOptimizerKind::kSgd, RowPrecision::kInt8},
                            {5, SparseOptimizerKind::kAdagrad, RowPrecision::kInt8},
                            {16, SparseOptimizerKind::kAdagrad, RowPrecision::kF32}}) {
    TableOptions table;
    table.dim = c.dim;
    table.optimizer.kind = c.kind;
    table.precision = c.precision;
    const RowShape shape = ShapeOf(table);
    for (int round = 0; round < 100; ++round) {
      CAPTURE(c.dim, round);
      std::vector<uint64_t> row_words(shape.row_bytes() / 8 + 1);
      char* row = reinterpret_cast<char*>(row_words.data());
      std::vector<float> floats(static_cast<size_t>(shape.num_floats()));
      for (float& value : floats) value = static_cast<float>(random() % 1000) / 64.0f;
      *HeaderOf(row) = RowHeader{random() >> (random() % 64), static_cast<uint32_t>(random()),
                                 static_cast<uint32_t>(random() >> 60)};
      StoreRowNearest(shape, floats.data(), row);
      if (shape.int8_on_disk) RoundToInt8(FloatsOf(row), shape.dim, RandomKey{random()});
      std::string value(shape.value_bytes_max(), 'x');
      value.resize(EncodeRowValue(shape, row, value.data()));
      std::vector<uint64_t> back_words(row_words.size(), ~uint64_t{0});
      char* back = reinterpret_cast<char*>(back_words.data());
      REQUIRE(DecodeRowValue(shape, value, back) == nullptr);
      REQUIRE(std::memcmp(row, back, shape.row_bytes()) == 0);
      REQUIRE(DecodeRowValue(shape, value + "x", back) != nullptr);
      for (size_t size = 0; size < value.size(); ++size) {
        REQUIRE(DecodeRowValue(shape, absl::string_view(value).substr(0, size), back) != nullptr);
      }
      for (const char other : {'\0', '\x01', '\x02', '\x03', '\x04'}) {
        if (other == (shape.int8_on_disk ? kInt8RowVersion : kRowVersion)) continue;
        value[0] = other;
        REQUIRE(DecodeRowValue(shape, value, back) != nullptr);
      }
    }
  }
}

TEST_CASE("a row value of version 1 is read") {
  TableOptions table;
  table.dim = 1;
  RowShape shape = ShapeOf(table);
  const std::string value("\x01\x05\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\x80\x40", 25);
  std::vector<uint64_t> words(shape.row_bytes() / 8 + 1);
  char* row = reinterpret_cast<char*>(words.data());
  REQUIRE(DecodeRowValue(shape, value, row) == nullptr);
  CHECK(HeaderOf(row)->sequence == 5);
  CHECK(HeaderOf(row)->last_step == 7);
  CHECK(FloatsOf(row)[0] == 1.0f);
  CHECK(FloatsOf(row)[1] == 4.0f);
  CHECK(DecodeRowValue(shape, value.substr(0, 24), row) != nullptr);
  shape.precision = RowPrecision::kF16;
  CHECK(DecodeRowValue(shape, value, row) != nullptr);
  table.precision = RowPrecision::kInt8;
  CHECK(DecodeRowValue(ShapeOf(table), value, row) != nullptr);
}

TEST_CASE("a value without slots is a row of a table that grew, with a new row's slots") {
  TableOptions table;
  table.dim = 3;
  table.optimizer.kind = SparseOptimizerKind::kSgd;
  const RowShape before = ShapeOf(table);
  table.optimizer.kind = SparseOptimizerKind::kAdagradDecay;
  table.optimizer.initial_accumulator = 0.5f;
  const RowShape strict = ShapeOf(table);
  table.slots_grown = true;
  const RowShape grown = ShapeOf(table);
  std::vector<uint64_t> words(grown.row_bytes() / 8 + 1);
  char* row = reinterpret_cast<char*>(words.data());
  *HeaderOf(row) = RowHeader{5, 7, 9};
  const float weights[] = {1.0f, 2.0f, 3.0f};
  StoreRowNearest(before, weights, row);
  std::string value(before.value_bytes_max(), 'x');
  value.resize(EncodeRowValue(before, row, value.data()));
  CHECK(DecodeRowValue(strict, value, row) != nullptr);
  words.assign(words.size(), ~uint64_t{0});
  REQUIRE(DecodeRowValue(grown, value, row) == nullptr);
  CHECK(HeaderOf(row)->updates == 9);
  const std::vector<float> floats(FloatsOf(row), FloatsOf(row) + 7);
  CHECK(floats == std::vector<float>{1.0f, 2.0f, 3.0f, 0.5f, 0.5f, 0.5f, 0.0f});
  std::string longer(grown.value_bytes_max(), 'x');
  longer.resize(EncodeRowValue(grown, row, longer.data()));
  CHECK(DecodeRowValue(grown, longer, row) == nullptr);
  for (size_t size = 0; size < longer.size(); ++size) {
    CAPTURE(size);
    const char* error = DecodeRowValue(grown, absl::string_view(longer).substr(0, size), row);
    CHECK((error == nullptr) == (size == value.size()));
  }
}

TEST_CASE("a row value has the documented bytes") {
  // The worked example of docs/formats.md.
  TableOptions table;
  table.dim = 2;
  table.precision = RowPrecision::kF16;
  const RowShape shape = ShapeOf(table);
  std::vector<uint64_t> words(shape.row_bytes() / 8 + 1);
  char* row = reinterpret_cast<char*>(words.data());
  *HeaderOf(row) = RowHeader{300, 7, 1};
  const float floats[] = {-0.5f, 0.5f, 1.0f, 4.0f};
  StoreRowNearest(shape, floats, row);
  std::string value(shape.value_bytes_max(), 'x');
  value.resize(EncodeRowValue(shape, row, value.data()));
  CHECK(value == std::string("\x02\xac\x02\x07\x01\x00\xb8\x00\x38\0\0\x80\x3f\0\0\x80\x40", 17));

  table.dim = 3;
  table.precision = RowPrecision::kInt8;
  table.optimizer.kind = SparseOptimizerKind::kSgd;
  const RowShape int8 = ShapeOf(table);
  std::vector<uint64_t> int8_words(int8.row_bytes() / 8 + 1);
  row = reinterpret_cast<char*>(int8_words.data());
  *HeaderOf(row) = RowHeader{300, 7, 1};
  const float weights[] = {-127.0f / 128.0f, 0.5f, 0.0f};
  StoreRowNearest(int8, weights, row);
  value.assign(int8.value_bytes_max(), 'x');
  value.resize(EncodeRowValue(int8, row, value.data()));
  CHECK(value == std::string("\x03\xac\x02\x07\x01\x00\x3c\x81\x40\x00", 10));
}

}  // namespace
}  // namespace pagoda
