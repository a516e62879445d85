#include "base/hash.h"

#include <bit>
#include <map>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace pagoda {

// These values are part of file formats: a test that fails here means that
// existing models would be read wrongly.
TEST_CASE("MixBits has its golden values, those of splitmix64") {
  REQUIRE(MixBits(0) == 0xe220a8397b1dcdafULL);
  REQUIRE(MixBits(1) == 0x910a2dec89025cc1ULL);
  REQUIRE(MixBits(42) == 0xbdd732262feb6e95ULL);
  REQUIRE(MixBits(~uint64_t{0}) == 0xe4d971771b652c20ULL);
}

TEST_CASE("HashBytes is XXH3 with its published values") {
  REQUIRE(HashBytes("") == 0x2d06800538d394c2ULL);
  REQUIRE(HashBytes("a") == 0xe6c632b61e964e1fULL);
  REQUIRE(HashBytes("abc") == 0x78af5f94892f3950ULL);
  REQUIRE(HashBytes("abc", 1) != HashBytes("abc", 2));
}

TEST_CASE("HashFeature is XXH3 over field, zero byte, value") {
  for (size_t length : {0u, 1u, 17u, 250u, 254u, 255u, 256u, 257u, 1023u}) {
    CAPTURE(length);
    const std::string value(length, 'v');
    REQUIRE(HashFeature("f", value) == HashBytes(std::string("f\0", 2) + value));
  }
  REQUIRE(HashFeature("a", "bc") != HashFeature("ab", "c"));
  REQUIRE(HashFeature("user", "7") != HashFeature("item", "7"));
}

TEST_CASE("MixBits flips half of the bits for each bit of its input") {
  for (int bit = 0; bit < 64; ++bit) {
    double flipped = 0.0;
    constexpr int kInputs = 512;
    for (uint64_t i = 0; i < kInputs; ++i) {
      flipped += std::popcount(MixBits(i * 977) ^ MixBits((i * 977) ^ (uint64_t{1} << bit)));
    }
    // 512 * 64 coin tosses: five sigma are 0.9 bits.
    CAPTURE(bit);
    REQUIRE(flipped / kInputs == Approx(32.0).margin(1.0));
  }
}

TEST_CASE("Buckets have golden values and spread consecutive ids evenly") {
  REQUIRE(BucketOf(0) == 57888);
  REQUIRE(BucketOf(1) == 37130);
  REQUIRE(BucketOf(42) == 48599);
  REQUIRE(BucketOf(uint64_t{1} << 63) == 18462);
  std::vector<int> counts(16, 0);
  constexpr int kIds = 160000;
  for (uint64_t id = 0; id < kIds; ++id) ++counts[BucketOf(id) / (kNumBuckets / 16)];
  // Chi-square with 15 degrees of freedom: 44 is passed once in 10,000.
  double chi_square = 0.0;
  for (int count : counts) chi_square += (count - 10000.0) * (count - 10000.0) / 10000.0;
  REQUIRE(chi_square < 44.0);
}

TEST_CASE("Shards own contiguous bucket ranges that cover all, evenly") {
  for (uint32_t shards : {1u, 2u, 3u, 7u, 640u, 65536u}) {
    CAPTURE(shards);
    std::map<uint32_t, uint32_t> sizes;
    uint32_t previous = 0;
    for (uint32_t bucket = 0; bucket < kNumBuckets; ++bucket) {
      const uint32_t shard = ShardOfBucket(bucket, shards);
      REQUIRE(shard < shards);
      REQUIRE(shard >= previous);
      previous = shard;
      ++sizes[shard];
    }
    REQUIRE(sizes.size() == shards);
    for (const auto& [shard, size] : sizes) {
      REQUIRE(size >= kNumBuckets / shards);
      REQUIRE(size <= kNumBuckets / shards + 1);
    }
  }
  REQUIRE(ShardOf(42, 4) == ShardOfBucket(48599, 4));
}

TEST_CASE("A hash stream gives the hash of the whole, however it is cut") {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes.push_back(static_cast<char>(i * 7));
  for (size_t piece : {size_t{1}, size_t{3}, size_t{64}, size_t{999}, size_t{5000}}) {
    CAPTURE(piece);
    HashStream stream;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      stream.Update(absl::string_view(bytes).substr(at, piece));
    }
    REQUIRE(stream.Digest() == HashBytes(bytes));
  }
  REQUIRE(HashStream().Digest() == HashBytes(""));
}

}  // namespace pagoda
