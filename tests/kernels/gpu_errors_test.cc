// What goes wrong on a GPU ends in a Status that names the kernel, and a context whose
// kernel failed says so from then on.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include <catch2/catch.hpp>

#include "base/thread_pool.h"
#include "kernels/context.h"
#include "kernels/elementwise.h"
#include "kernels/gpu_device.h"
#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

using Catch::Contains;

struct Gpu {
  Gpu() : pool(1) {
    auto created = Context::Create({DeviceKind::kEmulated, 0}, &pool);
    REQUIRE(created.ok());
    ctx = *std::move(created);
  }
  ThreadPool pool;
  std::unique_ptr<Context> ctx;
};

__global__ void OneLaneWaits(float* x) {
  if (threadIdx.x == 0) (void)__shfl_sync(0xffffffffu, x[0], 0);
  if (threadIdx.x != 0) (void)__ballot_sync(0xffffffffu, 1);
}
__global__ void Nothing(float*) {}

std::string Text(const absl::Status& status) {
  return std::string(status.message());
}

}  // namespace

TEST_CASE("more memory than the budget is refused with both sizes, and nothing is lost") {
  auto made = CreateGpuAllocator({DeviceKind::kEmulated, 0}, {.memory_bytes = 4096});
  REQUIRE(made.ok());
  auto first = (*made)->Allocate(4000);
  REQUIRE(first.ok());
  const auto second = (*made)->Allocate(97);
  REQUIRE(second.status().code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(Text(second.status()),
             Contains("97 bytes") && Contains("4000 bytes in use") && Contains("budget of 4096"));
  REQUIRE((*made)->Allocate(96).ok());
  first->reset();
  REQUIRE((*made)->Allocate(4000).ok());
}

TEST_CASE("a launch that the device refuses names the kernel, and the next one runs") {
  Gpu gpu;
  const Tensor x = *gpu.ctx->Zeros({4});
  const absl::Status refused =
      LaunchKernel(*gpu.ctx, "TooWide", Nothing, 1, 4096, 0, x.data<float>());
  REQUIRE(refused.code() == absl::StatusCode::kInternal);
  CHECK_THAT(Text(refused), Contains("GPU 0: TooWide") && Contains("4096 threads"));
  float host = 0.0f;
  const absl::Status of_host = LaunchKernel(*gpu.ctx, "HostPointer", Nothing, 1, 1, 0, &host);
  CHECK_THAT(Text(of_host), Contains("HostPointer") && Contains("argument 0"));
  CHECK(LaunchKernel(*gpu.ctx, "Nothing", Nothing, 1, 1, 0, x.data<float>()).ok());
  CHECK(Fill(*gpu.ctx, 1.0f, x).ok());
}

TEST_CASE("a kernel that fails is named when it is waited for, and every call after it fails") {
  Gpu gpu;
  const Tensor x = *gpu.ctx->Zeros({4});
  absl::Status failed =
      LaunchKernel(*gpu.ctx, "OneLaneWaits", OneLaneWaits, 1, 32, 0, x.data<float>());
  if (failed.ok()) failed = gpu.ctx->allocator().Synchronize();
  REQUIRE(failed.code() == absl::StatusCode::kInternal);
  CHECK_THAT(Text(failed), Contains("OneLaneWaits") && Contains("deadlock"));
  const absl::Status after = Fill(*gpu.ctx, 1.0f, x);
  CHECK(after.code() == absl::StatusCode::kInternal);
  CHECK_THAT(Text(after), Contains("Fill, after OneLaneWaits"));
  (void)cudaGetLastError();  // Of this thread: other tests start anew.
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Reading device memory is no CUDA call, so no Status can come of it: on a GPU the process
// dies. Under emulation it dies, too, but says of what.
TEST_CASE("host code that touches device memory dies, and the last kernel is named") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    std::signal(SIGSEGV, SIG_DFL);
    ThreadPool pool(1);
    auto ctx = Context::Create({DeviceKind::kEmulated, 0}, &pool);
    const Tensor x = *(*ctx)->Zeros({4});
    (void)Fill(**ctx, 1.0f, x);
    volatile float read = x.data<float>()[0];
    (void)read;
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    said.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV);
  CHECK_THAT(said, Contains("host code touched device memory") && Contains("Fill"));
}
#endif

}  // namespace pagoda
