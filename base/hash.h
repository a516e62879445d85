// Hashing with a fixed meaning: the results are part of file formats and of
// "same numbers on any layout", so they never change.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "base/ids.h"

namespace pagoda {

// Finalizer of splitmix64 (Steele, Lea, Flood 2014): a bijection of 64 bits.
constexpr uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// XXH3 (64 bits) of `bytes`.
uint64_t HashBytes(absl::string_view bytes, uint64_t seed = 0);

// HashBytes of bytes that come in pieces: equal bytes hash alike however they are
// cut. It is the checksum of the files we write. Threads: one at a time.
class HashStream {
 public:
  HashStream();
  ~HashStream();
  HashStream(const HashStream&) = delete;
  HashStream& operator=(const HashStream&) = delete;

  void Update(absl::string_view bytes);
  uint64_t Digest() const;  // Of everything so far.

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The id of a raw value: XXH3 over field name, a zero byte, and value. Equal
// values in different fields therefore get different ids.
FeatureId HashFeature(absl::string_view field, absl::string_view value);

// The bucket, in [0, kNumBuckets), that holds `id` of any table.
constexpr uint32_t BucketOf(FeatureId id) {
  return static_cast<uint32_t>(MixBits(id) >> 48);
}

// The shard, in [0, num_shards), that owns `bucket`: contiguous bucket ranges.
constexpr uint32_t ShardOfBucket(uint32_t bucket, uint32_t num_shards) {
  return static_cast<uint32_t>((uint64_t{bucket} * num_shards) / kNumBuckets);
}

// REQUIRES: num_shards > 0.
constexpr uint32_t ShardOf(FeatureId id, uint32_t num_shards) {
  return ShardOfBucket(BucketOf(id), num_shards);
}

}  // namespace pagoda
