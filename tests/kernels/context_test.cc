#include "kernels/context.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <limits>
#include <thread>

#include <catch2/catch.hpp>

#include "kernels/elementwise.h"
#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

bool Aligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.raw()) % 64 == 0;
}

}  // namespace

TEST_CASE("Tensors are aligned, of any size") {
  for (DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kFake}) {
    TestDevice device(kind);
    for (int64_t size : {0, 1, 17, 64, 65, 1023, 1 << 20, (5 << 20) + 1}) {
      auto tensor = device.ctx->Empty({size});
      REQUIRE(tensor.ok());
      REQUIRE_FALSE(tensor->absent());
      REQUIRE(tensor->size() == size);
      REQUIRE(Aligned(*tensor));
      REQUIRE(tensor->device() == device.ctx->device());
    }
  }
}

TEST_CASE("Zeros are zero also in a reused block") {
  for (DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kFake}) {
    TestDevice device(kind);
    {
      auto dirty = device.ctx->Empty({1000});
      REQUIRE(Fill(*device.ctx, 7.0f, *dirty).ok());
    }
    auto zeros = device.ctx->Zeros({1000});
    REQUIRE(device.Download(*zeros) == std::vector<float>(1000, 0.0f));
  }
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE("Freed blocks serve again, for sizes down to half of theirs") {
  for (int64_t size : {100, 300000, 3000000}) {
    for (int64_t percent : {99, 75, 51}) {
      CAPTURE(size, percent);
      TestDevice device(DeviceKind::kCpu);
      const void* first = device.ctx->Empty({size})->raw();
      auto less = device.ctx->Empty({size * percent / 100});
      REQUIRE(first == less->raw());
      // Not for much less, and each block for one tensor at a time.
      REQUIRE(device.ctx->Empty({size * percent / 100})->raw() != first);
      less = device.ctx->Empty({1});
      REQUIRE(device.ctx->Empty({size / 4})->raw() != first);
      REQUIRE(device.ctx->Empty({size})->raw() == first);
    }
  }
}

#if defined(NDEBUG)  // Else a block is filled anew when it is taken.
TEST_CASE("Of the free blocks those of a size that is no longer asked for go first") {
  TestDevice device(DeviceKind::kCpu);
  // Each is too large for the blocks before it, and all of them are too much to keep. A block
  // from the system would be all zeros.
  for (int64_t size = 5 << 20; size <= 5 << 22; size = size * 5 / 4) {
    CAPTURE(size);
    REQUIRE(Fill(*device.ctx, 7.0f, *device.ctx->Empty({size})).ok());
    REQUIRE(device.Download(*device.ctx->Empty({size}))[0] == 7.0f);
  }
}
#endif
#endif

TEST_CASE("Live tensors never share memory") {
  TestDevice device;
  std::vector<Tensor> tensors;
  for (int i = 0; i < 64; ++i) {
    tensors.push_back(*device.ctx->Empty({i * 37}));
    REQUIRE(Fill(*device.ctx, static_cast<float>(i), tensors.back()).ok());
    if (i % 3 == 0) tensors.erase(tensors.begin() + i / 3);
  }
  for (const Tensor& tensor : tensors) {
    for (float value : device.Download(tensor)) REQUIRE(value == tensor.size() / 37);
  }
}

TEST_CASE("A tensor outlives its context, and may be freed on another thread") {
  for (DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kFake}) {
    Tensor tensor;
    {
      TestDevice device(kind);
      tensor = device.Upload<float>({1, 2, 3}, {3});
    }
    std::thread([moved = std::move(tensor)]() mutable { moved = Tensor(); }).join();
  }
}

TEST_CASE("Copies move bytes of the stated size only") {
  TestDevice device;
  const Tensor x = device.Upload<float>({1, 2, 3, 4}, {2, 2});
  float host[5] = {};
  RequireInvalid(device.ctx->CopyToHost(x, host, 20), "[2, 2]");
  RequireInvalid(device.ctx->CopyFromHost(host, 4, x), "[2, 2]");
  REQUIRE(device.Download(x) == std::vector<float>{1, 2, 3, 4});
  REQUIRE(device.ctx->CopyToHost(Tensor(), nullptr, 0).ok());
}

TEST_CASE("Blocks of rows move to and from host rows with gaps") {
  struct Size {
    int64_t rows, width, stride;
  };
  for (DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kFake}) {
    for (int threads : {1, 4}) {
      TestDevice device(kind, threads);
      std::vector<std::vector<float>> hosts, backs, values;
      std::vector<Tensor> tensors;
      for (const auto [rows, width, stride] :
           {Size{0, 3, 3}, {1, 1, 4}, {5, 3, 3}, {2001, 17, 19}, {40000, 1, 1}}) {
        std::vector<float> host = RandomFloats(7, rows * stride);
        std::vector<float> value;
        for (int64_t i = 0; i < rows * width; ++i) {
          value.push_back(host[static_cast<size_t>(i / width * stride + i % width)]);
        }
        backs.emplace_back(host.size(), -1.0f);
        hosts.push_back(std::move(host));
        values.push_back(std::move(value));
        tensors.push_back(*device.ctx->Empty({rows, width}));
      }
      std::vector<RowsCopy> in, out;
      std::vector<int64_t> strides;
      for (size_t i = 0; i < tensors.size(); ++i) {
        const int64_t rows = tensors[i].dim(0);
        const int64_t stride = rows == 0 ? 3 : static_cast<int64_t>(hosts[i].size()) / rows;
        in.push_back(RowsToDevice(hosts[i].data(), stride, tensors[i]));
        out.push_back(RowsToHost(tensors[i], backs[i].data(), stride));
        strides.push_back(stride);
      }
      REQUIRE(device.ctx->Copy(in).ok());
      REQUIRE(device.ctx->Copy(out).ok());
      for (size_t i = 0; i < tensors.size(); ++i) {
        REQUIRE(device.Download(tensors[i]) == values[i]);
        const int64_t width = tensors[i].dim(1);
        for (size_t at = 0; at < backs[i].size(); ++at) {
          const bool gap = static_cast<int64_t>(at) % strides[i] >= width;
          REQUIRE(backs[i][at] == (gap ? -1.0f : hosts[i][at]));  // Gaps are left alone.
        }
      }
    }
  }
}

TEST_CASE("Impossible shapes are refused") {
  TestDevice device;
  RequireInvalid(device.ctx->Empty({3, -1}).status(), "[3, -1]");
  const int64_t huge = int64_t{1} << 40;
  RequireInvalid(device.ctx->Empty({huge, huge}).status(), "too many elements");
  REQUIRE(device.ctx->Empty({huge, 0, huge})->size() == 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("Running out of memory is an error, not a crash") {
  for (DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kFake}) {
    TestDevice device(kind);
    const auto tensor = device.ctx->Empty({int64_t{1} << 46});  // 256 TiB
    REQUIRE(tensor.status().code() == absl::StatusCode::kResourceExhausted);
    REQUIRE(device.ctx->Empty({16}).ok());
  }
}
#endif

TEST_CASE("Devices that this build lacks are refused by name") {
  ThreadPool pool(1);
#if defined(PAGODA_GPU_EMULATED)
  CHECK(Context::Create({DeviceKind::kEmulated, 0}, &pool).ok());
  CHECK(absl::IsInvalidArgument(Context::Create({DeviceKind::kEmulated, 1}, &pool).status()));
  CHECK(absl::IsUnimplemented(Context::Create({DeviceKind::kCuda, 0}, &pool).status()));
#else
  CHECK(absl::IsUnimplemented(Context::Create({DeviceKind::kEmulated, 0}, &pool).status()));
  CHECK(!Context::Create({DeviceKind::kCuda, 1000000}, &pool).ok());
#endif
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
namespace {

// The signal that ends `body` in a child process, or 0.
int SignalOf(const std::function<void()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // Not the test runner's handler, which would report for the parent.
    std::signal(SIGSEGV, SIG_DFL);
    body();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

TEST_CASE("The fake device's memory faults outside operators") {
  TestDevice device(DeviceKind::kFake);
  const Tensor x = device.Upload<float>({1, 2, 3}, {3});
  volatile float* memory = x.data<float>();
  REQUIRE(SignalOf([&] { (void)memory[0]; }) == SIGSEGV);
  REQUIRE(SignalOf([&] { memory[0] = 1.0f; }) == SIGSEGV);
  REQUIRE(SignalOf([&] {
            KernelScope scope(*device.ctx);
            (void)memory[0];
          }) == 0);
  // Nested scopes close with the outer one.
  REQUIRE(SignalOf([&] {
            KernelScope outer(*device.ctx);
            { KernelScope inner(*device.ctx); }
            (void)memory[0];
          }) == 0);
  REQUIRE(SignalOf([&] {
            { KernelScope scope(*device.ctx); }
            (void)memory[0];
          }) == SIGSEGV);
  // Also after an operator and an allocation have opened and closed it.
  REQUIRE(Add(*device.ctx, x, x, x).ok());
  REQUIRE(device.ctx->Zeros({100}).ok());
  REQUIRE(SignalOf([&] { (void)memory[0]; }) == SIGSEGV);
}
#endif

TEST_CASE("What nobody wrote reads as NaN on the fake device") {
  TestDevice device(DeviceKind::kFake);
  for (float value : device.Download(*device.ctx->Empty({33}))) REQUIRE(std::isnan(value));
}

}  // namespace pagoda
