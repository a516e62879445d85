#include "kernels/copy_queue.h"

#include <catch2/catch.hpp>

#include "kernels/elementwise.h"
#include "tests/kernels/operator_harness.h"

namespace pagoda {
TEST_CASE("What a queue copied in is there for the context's work, and its results come out") {
  // Sizes go up and down, so that staging memory is used again and grows; and there are
  // more rounds than staging blocks.
  for (const int64_t rows : {5, 0, 700, 1, 64, 3000, 2}) {
    CAPTURE(rows);
    const std::vector<float> got = RunEverywhere([&](TestDevice& device) {
      auto in = CopyQueue::Create(*device.ctx), out = CopyQueue::Create(*device.ctx);
      REQUIRE(in.ok());
      REQUIRE(out.ok());
      std::vector<float> all;
      std::vector<float> results(static_cast<size_t>(rows * 9), -1.0f);
      for (uint64_t round = 0; round < 4; ++round) {
        std::vector<float> whole = RandomFloats(10 + round, rows * 3);
        std::vector<float> wide = RandomFloats(20 + round, rows * 7);
        const Tensor a = *(*in)->Empty({rows * 2, 3}, DType::kF32);
        const Tensor b = *(*in)->Empty({rows, 4}, DType::kF32);
        // a in two halves, one behind the other; b out of the middle of wider rows.
        const std::vector<RowsCopy> copies = {
            WholeToDevice(whole.data(), a.Rows(0, rows)),
            WholeToDevice(whole.data(), a.Rows(rows, 2 * rows)),
            RowsToDevice(rows == 0 ? nullptr : wide.data() + 2, 7, b)};
        REQUIRE((*in)->ToDevice(copies).ok());
        whole.assign(whole.size(), 0.0f);  // No longer needed.
        wide.assign(wide.size(), 0.0f);
        REQUIRE((*in)->Publish().ok());
        const Tensor doubled = *device.ctx->Zeros({rows * 2, 3});
        const Tensor sum = *device.ctx->Zeros({rows, 4});
        REQUIRE(AxpBy(*device.ctx, 2.0f, a, 0.0f, doubled).ok());
        REQUIRE(AxpBy(*device.ctx, 1.0f, b, 1.0f, sum).ok());
        const std::vector<RowsCopy> back = {
            RowsToHost(doubled.Rows(rows, 2 * rows), results.data(), 9),
            RowsToHost(sum, results.data() + 4, 9)};
        REQUIRE((*out)->ToHost(back).ok());
        REQUIRE((*out)->Wait().ok());
        REQUIRE((*out)->Wait().ok());  // Nothing more to wait for.
        all.insert(all.end(), results.begin(), results.end());
      }
      return all;
    });
    std::vector<float> want;
    for (uint64_t round = 0; round < 4; ++round) {
      const std::vector<float> whole = RandomFloats(10 + round, rows * 3);
      const std::vector<float> wide = RandomFloats(20 + round, rows * 7);
      for (size_t i = 0; i < static_cast<size_t>(rows); ++i) {
        for (size_t c = 0; c < 3; ++c) want.push_back(2.0f * whole[i * 3 + c]);
        want.push_back(-1.0f);  // Between the columns: as it was.
        for (size_t c = 0; c < 4; ++c) want.push_back(wide[i * 7 + 2 + c]);
        want.push_back(-1.0f);
      }
    }
    REQUIRE(SameBits(got, want));
  }
}

TEST_CASE("A queue's tensors may outlive it, and be dropped before they were ever used") {
  TestDevice device;
  auto queue = CopyQueue::Create(*device.ctx);
  REQUIRE(queue.ok());
  const std::vector<float> values = RandomFloats(1, 1000);
  const Tensor kept = *(*queue)->Empty({1000}, DType::kF32);
  {
    const Tensor dropped = *(*queue)->Empty({1000}, DType::kF32);
    const RowsCopy copy = WholeToDevice(values.data(), dropped);
    REQUIRE((*queue)->ToDevice({&copy, 1}).ok());
  }
  const RowsCopy copy = WholeToDevice(values.data(), kept);
  REQUIRE((*queue)->ToDevice({&copy, 1}).ok());
  REQUIRE((*queue)->Publish().ok());
  queue->reset();
  REQUIRE(SameBits(device.Download(kept), values));
}

#if defined(PAGODA_GPU_EMULATED)
TEST_CASE("A queue that may not wait refuses what its staging memory does not hold") {
  TestDevice device(DeviceKind::kEmulated);
  auto queue = CopyQueue::Create(*device.ctx);
  REQUIRE(queue.ok());
  const std::vector<float> values = RandomFloats(1, 1000);
  const auto copy_of = [&](int64_t count) {
    const Tensor x = *(*queue)->Empty({count}, DType::kF32);
    const RowsCopy copy = WholeToDevice(values.data(), x);
    PAGODA_RETURN_IF_ERROR((*queue)->ToDevice({&copy, 1}));
    PAGODA_RETURN_IF_ERROR((*queue)->Publish());
    const std::vector<float> there = device.Download(x);
    return SameBits(there, std::vector<float>(values.begin(), values.begin() + count))
               ? absl::OkStatus()
               : absl::InternalError("other bits");
  };
  (*queue)->BeginAhead(/*may_wait=*/false);
  REQUIRE(absl::IsResourceExhausted(copy_of(100)));
  (*queue)->EndAhead();
  for (int i = 0; i < 2; ++i) REQUIRE(copy_of(100).ok());  // Both blocks.
  (*queue)->BeginAhead(/*may_wait=*/false);
  for (int i = 0; i < 3; ++i) REQUIRE(copy_of(90).ok());
  REQUIRE(absl::IsResourceExhausted(copy_of(1000)));
  REQUIRE(copy_of(90).ok());
}

TEST_CASE("What is copied in ahead leaves the work the memory that it has needed before") {
  ThreadPool pool(1);
  const auto ctx = *Context::Create({DeviceKind::kEmulated, 0}, &pool, 1000);
  auto queue = CopyQueue::Create(*ctx);
  REQUIRE(queue.ok());
  const auto bytes = [&](int64_t n) { return ctx->Empty({n / 4}, DType::kF32); };
  const auto ahead = [&](int64_t n) { return (*queue)->Empty({n / 4}, DType::kF32); };
  REQUIRE(bytes(600).ok());  // And gone again.
  (*queue)->BeginAhead(/*may_wait=*/true);
  const auto kept = ahead(300);
  REQUIRE(kept.ok());
  REQUIRE(absl::IsResourceExhausted(ahead(200).status()));
  (*queue)->EndAhead();
  REQUIRE(ahead(200).ok());  // Needed now.
  REQUIRE(bytes(600).ok());
}

TEST_CASE("A copy that was not published has not happened when streams are lazy") {
  const gpu::emulation::Settings before = gpu::emulation::settings();
  gpu::emulation::settings().lazy_streams = true;
  {
    TestDevice device(DeviceKind::kEmulated);
    auto queue = CopyQueue::Create(*device.ctx);
    REQUIRE(queue.ok());
    const std::vector<float> values = RandomFloats(1, 10);
    const Tensor x = *(*queue)->Empty({10}, DType::kF32);
    const RowsCopy copy = WholeToDevice(values.data(), x);
    REQUIRE((*queue)->ToDevice({&copy, 1}).ok());
    REQUIRE(std::isnan(device.Download(x)[0]));
    REQUIRE((*queue)->Publish().ok());
    REQUIRE(SameBits(device.Download(x), values));
  }
  gpu::emulation::settings() = before;
}
#endif

}  // namespace pagoda
