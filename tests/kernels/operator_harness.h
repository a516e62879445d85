// Runs one operator on every kind of context that must agree to the last bit, and
// compares results with oracles computed in double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/random.h"
#include "base/thread_pool.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

#if defined(PAGODA_GPU_EMULATED)
#include "kernels/gpu_emulation/scheduler.h"
#endif

namespace pagoda {

// Half an ulp of 1: the relative error of one rounding.
inline constexpr double kUnitRoundoff = 0x1p-24;

// Where operators run: what PAGODA_TEST_DEVICE says, or the CPU.
inline DeviceKind KindUnderTest() {
  const char* const given = std::getenv("PAGODA_TEST_DEVICE");
  const std::string name = given == nullptr ? "cpu" : given;
  if (name == "cuda") return DeviceKind::kCuda;
  if (name == "emulated") return DeviceKind::kEmulated;
  INFO("PAGODA_TEST_DEVICE=" << name);
  REQUIRE(name == "cpu");
  return DeviceKind::kCpu;
}
inline bool GpuUnderTest() {
  return KindUnderTest() != DeviceKind::kCpu;
}

// A context with its threads.
struct TestDevice {
  explicit TestDevice(DeviceKind kind = KindUnderTest(), int num_threads = 1) : pool(num_threads) {
    auto created = Context::Create(Device{kind, 0}, &pool);
    REQUIRE(created.ok());
    ctx = *std::move(created);
  }

  template <typename T>
  Tensor Upload(const std::vector<T>& values, Shape shape) {
    auto tensor = ctx->Upload(std::span<const T>(values), std::move(shape));
    INFO(tensor.status());
    REQUIRE(tensor.ok());
    return *tensor;
  }

  std::vector<float> Download(const Tensor& tensor) {
    std::vector<float> values(static_cast<size_t>(tensor.size()));
    REQUIRE(ctx->CopyToHost(tensor, values.data(), tensor.size() * 4).ok());
    return values;
  }

  ThreadPool pool;
  std::unique_ptr<Context> ctx;
};

// Uniform in [-1, 1), a function of the seed.
inline std::vector<float> RandomFloats(uint64_t seed, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 2.0f * RandomUniform(RandomKey{seed}, i) - 1.0f;
  }
  return values;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 4) == 0);
}

// Sanitizers see under any schedule what they see, and take their time: in their builds the
// others run when PAGODA_GPU_SCHEDULES is "all".
inline bool EverySchedule() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const char* const wanted = std::getenv("PAGODA_GPU_SCHEDULES");
  return wanted != nullptr && std::strcmp(wanted, "all") == 0;
#else
  return true;
#endif
}

// The same on a GPU: twice, and under emulation for each schedule of its threads.
inline std::vector<float> RunOnGpu(const std::function<std::vector<float>(TestDevice&)>& run) {
  TestDevice first;
  const std::vector<float> expected = run(first);
#if defined(PAGODA_GPU_EMULATED)
  using gpu::emulation::Schedule;
  const gpu::emulation::Settings before = gpu::emulation::settings();
  std::vector<gpu::emulation::Settings> schedules = {{Schedule::kRandom, 2, true}};
  if (EverySchedule()) {
    schedules.push_back({Schedule::kReverse, 1, true});
    schedules.push_back({Schedule::kRandom, 1, false});
  }
  for (const gpu::emulation::Settings& settings : schedules) {
    gpu::emulation::settings() = settings;
    INFO("schedule " << static_cast<int>(settings.schedule) << ", seed " << settings.seed);
    TestDevice device;
    const std::vector<float> got = run(device);
    gpu::emulation::settings() = before;
    REQUIRE(SameBits(got, expected));
  }
#else
  TestDevice again;
  REQUIRE(SameBits(run(again), expected));
#endif
  return expected;
}

// Calls `run` with 1, 2 and 8 threads and on the fake device, requires the same
// bits of all, and returns them.
inline std::vector<float> RunEverywhere(const std::function<std::vector<float>(TestDevice&)>& run) {
  if (GpuUnderTest()) return RunOnGpu(run);
  TestDevice one(DeviceKind::kCpu, 1);
  const std::vector<float> expected = run(one);
  for (int num_threads : {2, 8}) {
    TestDevice device(DeviceKind::kCpu, num_threads);
    INFO("threads: " << num_threads);
    REQUIRE(SameBits(run(device), expected));
  }
  TestDevice fake(DeviceKind::kFake, 2);
  INFO("fake device");
  REQUIRE(SameBits(run(fake), expected));
  return expected;
}

// An oracle's result: a sum in double, with what bounds the error of the same
// sum in float (Higham, Accuracy and Stability, section 4.2):
//   |float - value| <= (roundings of the longest chain) * u * (sum of |terms|).
struct Exact {
  double value = 0.0;
  double magnitude = 0.0;  // Sum of the terms' absolute values.
  double roundings = 2.0;  // Beside one per term.
  void Add(double term) {
    value += term;
    magnitude += std::fabs(term);
    roundings += 1.0;
  }
};

inline void RequireNear(const std::vector<float>& got, const std::vector<Exact>& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double bound = 1.1 * want[i].roundings * kUnitRoundoff * want[i].magnitude + 1e-37;
    if (!(std::fabs(got[i] - want[i].value) <= bound)) {
      INFO("element " << i << ": " << got[i] << ", expected " << want[i].value << " +- " << bound);
      REQUIRE(false);
    }
  }
}

// Checks gradient[i] against the slope of loss(x), a double oracle, along x[i] for
// every `stride`-th i. The operators here are polynomials of degree 2 or less in
// any one input, for which a central difference is exact at any step size, so the
// tolerance is that of the float gradient alone.
inline void RequireSlopes(std::vector<double> x, const std::vector<float>& gradient,
                          const std::function<double(const std::vector<double>&)>& loss,
                          size_t stride = 1) {
  REQUIRE(x.size() == gradient.size());
  for (size_t i = 0; i < x.size(); i += stride) {
    const double at = x[i];
    x[i] = at + 0.5;
    const double high = loss(x);
    x[i] = at - 0.5;
    const double slope = high - loss(x);
    x[i] = at;
    INFO("element " << i);
    REQUIRE(gradient[i] == Approx(slope).epsilon(1e-4).margin(1e-4));
  }
}

inline std::vector<double> ToDouble(const std::vector<float>& x) {
  return std::vector<double>(x.begin(), x.end());
}

// `status` must be INVALID_ARGUMENT and name `word`.
inline void RequireInvalid(const absl::Status& status, const std::string& word) {
  INFO(status);
  REQUIRE(status.code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(status.message().find(word) != std::string::npos);
}

}  // namespace pagoda
