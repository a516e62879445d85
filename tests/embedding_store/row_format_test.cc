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
  const RowShape shape = ShapeOf(table);
  CHECK(shape.num_floats() == 16 + 33);
  CHECK(shape.row_bytes() == 16 + 49 * 4);
  CHECK(shape.value_bytes() == 1 + 16 + 49 * 4);
}

}  // namespace
}  // namespace pagoda
