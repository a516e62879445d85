#include "kernels/unique_ids.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// `count` ids out of `distinct`.
std::vector<int64_t> SomeIds(int64_t count, uint64_t distinct, uint64_t seed) {
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint64_t which = RandomBits(RandomKey{seed}, i) % distinct;
    ids[i] = static_cast<int64_t>(RandomBits(RandomKey{7}, which));
  }
  return ids;
}

void RequireUnique(const std::vector<int64_t>& ids) {
  const auto n = static_cast<int64_t>(ids.size());
  std::vector<int64_t> want_unique;
  std::vector<float> want;
  for (const int64_t id : ids) {
    const auto at = std::find(want_unique.begin(), want_unique.end(), id);
    want.push_back(static_cast<float>(at - want_unique.begin()));
    if (at == want_unique.end()) want_unique.push_back(id);
  }
  const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
    const Tensor unique = device.Upload(std::vector<int64_t>(ids.size(), -77), {n});
    const Tensor inverse = *device.ctx->Empty({n}, DType::kI32);
    const Tensor count = *device.ctx->Empty({1}, DType::kI32);
    const absl::Status status =
        UniqueIds(*device.ctx, device.Upload(ids, {n}), unique, inverse, count);
    INFO(status);
    REQUIRE(status.ok());
    std::vector<int64_t> distinct(ids.size());
    std::vector<int32_t> places(ids.size()), number(1);
    REQUIRE(device.ctx->CopyToHost(unique, distinct.data(), n * 8).ok());
    REQUIRE(device.ctx->CopyToHost(inverse, places.data(), n * 4).ok());
    REQUIRE(device.ctx->CopyToHost(count, number.data(), 4).ok());
    REQUIRE(number[0] == static_cast<int32_t>(want_unique.size()));
    for (size_t i = 0; i < distinct.size(); ++i) {
      REQUIRE(distinct[i] == (i < want_unique.size() ? want_unique[i] : -77));
    }
    return std::vector<float>(places.begin(), places.end());
  });
  REQUIRE(got == want);
}

}  // namespace

TEST_CASE("Unique ids come in the order of their first place, with every place's number") {
  for (const int64_t n : {0, 1, 2, 31, 255, 256, 257, 2000}) {
    for (const uint64_t distinct : {1, 2, 60, 1 << 20}) {
      CAPTURE(n, distinct);
      RequireUnique(SomeIds(n, distinct, 3));
    }
  }
  RequireUnique({0, -1, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(), 0,
                 -1, 0x7fffffff});
  // Neighbours, which share no slot, and more pieces than one block adds up at a time.
  std::vector<int64_t> neighbours;
  for (int64_t i = 0; i < 70000; ++i) neighbours.push_back(i % 300);
  RequireUnique(neighbours);
}

TEST_CASE("Lists of another length or type are refused") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor ids = *ctx.Zeros({3}, DType::kI64), inverse = *ctx.Zeros({3}, DType::kI32);
  const Tensor count = *ctx.Zeros({1}, DType::kI32);
  RequireInvalid(UniqueIds(ctx, ids, *ctx.Zeros({2}, DType::kI64), inverse, count), "unique");
  RequireInvalid(UniqueIds(ctx, ids, inverse, inverse, count), "unique");
  RequireInvalid(UniqueIds(ctx, ids, ids, *ctx.Zeros({2}, DType::kI32), count), "inverse");
  RequireInvalid(UniqueIds(ctx, ids, ids, inverse, inverse), "count");
}

}  // namespace pagoda
