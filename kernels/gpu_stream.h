// The GPU behind a context, for operators' .cu files and gpu_device.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/gpu.h"

namespace pagoda {

// Another stream of the same GPU, for copies beside the context's work. Lives as long as a
// tensor of it.
struct GpuSideStream {
  explicit GpuSideStream(std::shared_ptr<Allocator> device) : gpu(std::move(device)) {}
  GpuSideStream(const GpuSideStream&) = delete;
  GpuSideStream& operator=(const GpuSideStream&) = delete;
  ~GpuSideStream() {
    if (stream != nullptr) (void)cudaStreamDestroy(stream);
  }
  const std::shared_ptr<Allocator> gpu;
  cudaStream_t stream = nullptr;
};

class GpuStream : public Allocator {
 public:
  //   REQUIRES: the context's device is kCuda or kEmulated.
  static GpuStream& Of(Context& ctx) { return static_cast<GpuStream&>(ctx.allocator()); }

  virtual cudaStream_t stream() const = 0;

  //   UNAVAILABLE  the device gives none
  virtual absl::StatusOr<std::shared_ptr<GpuSideStream>> MakeSideStream() = 0;
  // Work given to `later` from now on waits for what `earlier` has been given so far.
  virtual absl::Status Order(cudaStream_t earlier, cudaStream_t later) = 0;
  // As Allocate, for memory that `side`'s work uses first. Freed when the work of both
  // streams up to then is done. `ahead`: as CopyQueue::BeginAhead.
  virtual absl::StatusOr<std::shared_ptr<Buffer>> AllocateOn(std::shared_ptr<GpuSideStream> side,
                                                             int64_t size_bytes, bool ahead) = 0;
  virtual absl::Status CopyRowsOn(cudaStream_t stream, const RowsCopy& copy) = 0;

  // OK, or what went wrong, with the kernel's name; remembers the name.
  virtual absl::Status Checked(cudaError_t error, const char* kernel) = 0;

  // c [m, n] = op(a) op(b) + beta c, row-major; a and b f32, or both bf16. Strides as in
  // kernels/gemm.h.
  struct Product {
    int64_t m = 0, n = 0, k = 0;
    const void* a = nullptr;
    int64_t a_stride = 0;
    bool a_transposed = false;
    const void* b = nullptr;
    int64_t b_stride = 0;
    bool b_transposed = false;
    DType operands = DType::kF32;
    float* c = nullptr;
    int64_t c_stride = 0;
    float beta = 0.0f;
    int64_t batches = 1;  // Matrices one after another in a, b and c.

    // For MultiplyFused, one of them, f32.
    const float* bias = nullptr;  // [n], added to every row of c.
    float* a_sums = nullptr;      // [m], becomes the sums of the rows of op(a).
  };
  virtual absl::Status Multiply(const Product& product) = 0;
  // With `bias` or `a_sums`, in the same pass over memory. False, and nothing done, where
  // the library cannot for these shapes and places.
  virtual absl::StatusOr<bool> MultiplyFused(const Product& product) = 0;
};

// Threads of a block where nothing asks for another number.
inline constexpr int kGpuThreads = 256;

// Blocks for `count` pieces of work, `per_block` to a block, that are gone through in
// grid strides. At most so many that each block is worth its start.
inline unsigned GpuBlocks(int64_t count, int64_t per_block) {
#if defined(PAGODA_GPU_EMULATED)
  constexpr int64_t kMost = 7;  // So that blocks go round more than once in tests, too.
#else
  constexpr int64_t kMost = 4096;  // A few waves on the largest devices.
#endif
  return static_cast<unsigned>(std::clamp<int64_t>((count + per_block - 1) / per_block, 1, kMost));
}

#if defined(__CUDACC__) || defined(PAGODA_GPU_EMULATED)
// Starts a kernel on the context's stream.
template <typename... Parameters, typename... Arguments>
absl::Status LaunchKernel(Context& ctx, const char* name, void (*kernel)(Parameters...), dim3 grid,
                          dim3 block, size_t shared_bytes, Arguments&&... arguments) {
  GpuStream& gpu_stream = GpuStream::Of(ctx);
  return gpu_stream.Checked(gpu::Launch(kernel, grid, block, shared_bytes, gpu_stream.stream(),
                                        std::forward<Arguments>(arguments)...),
                            name);
}
#endif

}  // namespace pagoda
