// The emulation itself: what correct kernels compute under every schedule, and what it
// says of broken ones.
#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/gpu.h"

namespace pagoda {
namespace {

using Catch::Contains;
using gpu::emulation::Schedule;

// Device memory for n values, freed at the end.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(size_t n) : n_(n) {
    REQUIRE(cudaMalloc(reinterpret_cast<void**>(&at_), n * sizeof(T)) == cudaSuccess);
  }
  explicit OnDevice(const std::vector<T>& values) : OnDevice(values.size()) {
    REQUIRE(cudaMemcpyAsync(at_, values.data(), n_ * sizeof(T), cudaMemcpyHostToDevice, nullptr) ==
            cudaSuccess);
  }
  ~OnDevice() { (void)cudaFree(at_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  T* at() const { return at_; }
  std::vector<T> Read() const {
    std::vector<T> values(n_);
    REQUIRE(cudaMemcpyAsync(values.data(), at_, n_ * sizeof(T), cudaMemcpyDeviceToHost, nullptr) ==
            cudaSuccess);
    return values;
  }

 private:
  size_t n_;
  T* at_ = nullptr;
};

// Every schedule in turn; settings are as before at the end.
template <typename Body>
void UnderEverySchedule(const Body& body) {
  const gpu::emulation::Settings before = gpu::emulation::settings();
  for (const auto& [schedule, seed] :
       {std::pair{Schedule::kForward, 1}, std::pair{Schedule::kReverse, 1},
        std::pair{Schedule::kRandom, 1}, std::pair{Schedule::kRandom, 2}}) {
    gpu::emulation::settings().schedule = schedule;
    gpu::emulation::settings().seed = static_cast<uint64_t>(seed);
    CAPTURE(static_cast<int>(schedule), seed);
    body();
  }
  gpu::emulation::settings() = before;
}

// The error that a launch ended with, and none afterwards.
std::string TakeError(cudaError_t launched) {
  const cudaError_t ran = cudaDeviceSynchronize();
  const std::string text = gpu::emulation::LastErrorText();
  (void)cudaGetLastError();
  return launched == cudaSuccess && ran == cudaSuccess ? "" : text;
}

__global__ void Double(const float* x, float* y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = 2.0f * x[i];
}

__global__ void SumOfBlock(const float* x, float* sums) {
  GPU_SHARED(float, part, [64]);
  part[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}

__global__ void WarpSum(const float* x, float* sum) {
  float value = x[threadIdx.x];
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
  if (threadIdx.x % 32 == 0) sum[threadIdx.x / 32] = value;
}

__global__ void Reverse(float* x) {
  GPU_DYNAMIC_SHARED(float, buffer);
  buffer[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}

__global__ void Count(int* counter) {
  atomicAdd(counter, 1);
}

TEST_CASE("kernels compute the same under every schedule") {
  UnderEverySchedule([] {
    std::vector<float> x(130);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
    const OnDevice<float> in(x), out(x.size()), sums(2);
    REQUIRE(gpu::Launch(Double, 3, 64, 0, nullptr, in.at(), out.at(), 130) == cudaSuccess);
    std::vector<float> twice;
    for (const float value : x) twice.push_back(2.0f * value);
    CHECK(out.Read() == twice);
    REQUIRE(gpu::Launch(SumOfBlock, 2, 64, 0, nullptr, in.at(), sums.at()) == cudaSuccess);
    CHECK(sums.Read() == std::vector<float>{63 * 32.0f, 63 * 32.0f + 64 * 64.0f});
    REQUIRE(gpu::Launch(WarpSum, 1, 64, 0, nullptr, in.at(), sums.at()) == cudaSuccess);
    CHECK(sums.Read() == std::vector<float>{31 * 16.0f, 31 * 16.0f + 32 * 32.0f});
    const OnDevice<float> reversed(std::vector<float>{1, 2, 3});
    REQUIRE(gpu::Launch(Reverse, 1, 3, 3 * sizeof(float), nullptr, reversed.at()) == cudaSuccess);
    CHECK(reversed.Read() == std::vector<float>{3, 2, 1});
    const OnDevice<int> counter(std::vector<int>{0});
    REQUIRE(gpu::Launch(Count, 5, 33, 0, nullptr, counter.at()) == cudaSuccess);
    CHECK(counter.Read() == std::vector<int>{165});
  });
}

__global__ void HalfWaits() {
  if (threadIdx.x < 16) __syncwarp();
}
__global__ void DivergentBarrier() {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void MaskWithoutCaller() {
  __syncwarp(1u << (threadIdx.x + 1));
}
__global__ void TwoMasks() {
  if (threadIdx.x < 16) {
    (void)__shfl_sync(0xffffffffu, 1, 0);
  } else {
    (void)__ballot_sync(0xffffffffu, 1);
  }
}
__global__ void NoDynamicShared(float* x) {
  GPU_DYNAMIC_SHARED(float, buffer);
  x[0] = buffer[0];
}
__global__ void TooMuchShared(float* x) {
  GPU_SHARED(float, tile, [13000]);
  x[0] = tile[0];
}

TEST_CASE("kernels that break a rule end in words, and the next one runs") {
  UnderEverySchedule([] {
    const OnDevice<float> x(std::vector<float>{0.0f});
    // Lanes that returned are not waited for; those that wait elsewhere are.
    CHECK(TakeError(gpu::Launch(HalfWaits, 1, 32, 0, nullptr)) == "");
    CHECK_THAT(TakeError(gpu::Launch(DivergentBarrier, 1, 32, 0, nullptr)),
               Contains("divergent __syncthreads()") && Contains("gpu_emulation_test.cc:"));
    CHECK_THAT(TakeError(gpu::Launch(MaskWithoutCaller, 1, 8, 0, nullptr)),
               Contains("leaves out its caller"));
    CHECK_THAT(TakeError(gpu::Launch(TwoMasks, 1, 32, 0, nullptr)),
               Contains("deadlock: 16 threads") && Contains("in a warp operation"));
    CHECK_THAT(TakeError(gpu::Launch(NoDynamicShared, 1, 1, 0, nullptr, x.at())),
               Contains("dynamic shared memory in a launch of 0 bytes"));
    CHECK_THAT(TakeError(gpu::Launch(TooMuchShared, 1, 1, 0, nullptr, x.at())),
               Contains("more than 48 KiB"));
    CHECK_THAT(TakeError(gpu::Launch(Double, 1, 1025, 0, nullptr, x.at(), x.at(), 1)),
               Contains("1025 threads"));
    float host = 0.0f;
    CHECK_THAT(TakeError(gpu::Launch(Double, 1, 1, 0, nullptr, &host, x.at(), 1)),
               Contains("argument 0"));
    CHECK(TakeError(gpu::Launch(Double, 1, 1, 0, nullptr, x.at(), x.at(), 1)) == "");
    CHECK(x.Read() == std::vector<float>{0.0f});
  });
}

TEST_CASE("copies stay in their allocation and go the way they say") {
  const OnDevice<float> x(4);
  float host[8] = {};
  CHECK(cudaMemcpyAsync(host, x.at(), 20, cudaMemcpyDeviceToHost, nullptr) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(x.at(), host, 16, cudaMemcpyDeviceToHost, nullptr) ==
        cudaErrorInvalidValue);
  (void)cudaGetLastError();
  CHECK(cudaMemcpyAsync(x.at() + 2, host, 8, cudaMemcpyHostToDevice, nullptr) == cudaSuccess);
  CHECK(cudaMemcpyAsync(x.at() + 2, host, 12, cudaMemcpyHostToDevice, nullptr) ==
        cudaErrorInvalidValue);
  (void)cudaGetLastError();
}

TEST_CASE("with lazy streams what nobody waited for has not happened") {
  const gpu::emulation::Settings before = gpu::emulation::settings();
  gpu::emulation::settings().lazy_streams = true;
  cudaStream_t stream = nullptr, other = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  REQUIRE(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
  cudaEvent_t event = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  const OnDevice<float> x(std::vector<float>{5.0f}), y(std::vector<float>{-1.0f});
  float seen = 0.0f;
  REQUIRE(gpu::Launch(Double, 1, 1, 0, stream, x.at(), y.at(), 1) == cudaSuccess);
  REQUIRE(cudaEventRecord(event, stream) == cudaSuccess);
  // Without waiting for the event the other stream sees what was there before.
  REQUIRE(cudaMemcpyAsync(&seen, y.at(), 4, cudaMemcpyDeviceToHost, other) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(seen == -1.0f);
  REQUIRE(cudaStreamWaitEvent(other, event) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(&seen, y.at(), 4, cudaMemcpyDeviceToHost, other) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(seen == 10.0f);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(other) == cudaSuccess);
  gpu::emulation::settings() = before;
}

}  // namespace
}  // namespace pagoda
