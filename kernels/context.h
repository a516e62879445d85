// What an operator needs beside its operands: a device, memory, threads.
//
// Every operator has the form (DESIGN ruling 11)
//     absl::Status Op(Context& ctx, inputs..., preallocated outputs...);
// runs in stream order on ctx's device, and never reads device values on the
// host. Shapes and ragged offsets are known on the host before a step begins.
// Its errors, each found before the first write:
//   INVALID_ARGUMENT    an operand is absent, or has the wrong shape, type or
//                       device (names operator, operand and both shapes)
//   UNIMPLEMENTED       this build has no kernel for ctx's device
//   RESOURCE_EXHAUSTED  no memory for intermediate results
// Size 0 in any dimension is legal. Outputs may not overlap inputs unless the
// operator's header says so. Results have the same bits for any number of threads.
//
// On the CPU a freed tensor's memory is kept for the next of about its size; all
// together at most twice the bytes that were ever in use at one time. A build with AddressSanitizer
// gives each tensor memory of its own.
//
// Threads: one context is used by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "kernels/tensor.h"

namespace pagoda {

// Rows of bytes to move between a device and the host; both sides may have gaps in between.
struct RowsCopy {
  const char* from = nullptr;
  int64_t from_pitch = 0;  // Bytes between rows.
  char* to = nullptr;
  int64_t to_pitch = 0;
  int64_t row_bytes = 0;
  int64_t rows = 0;
  bool to_device = false;
  const void* tensor = nullptr;  // Whose memory the device's side is: copies of one may be joined.
};

// All of a tensor.
RowsCopy WholeToDevice(const void* host, const Tensor& to);
RowsCopy WholeToHost(const Tensor& from, void* host);
// A tensor f32 [rows, width] and rows on the host, `host_stride` >= width elements apart.
RowsCopy RowsToDevice(const float* host, int64_t host_stride, const Tensor& to);
RowsCopy RowsToHost(const Tensor& from, float* host, int64_t host_stride);

// Memory of one device. Implementations: context.cc (CPU, fake), gpu_device.cc.
class Allocator {
 public:
  virtual ~Allocator() = default;
  // Uninitialised memory, 64-byte aligned; a size of 0 is legal.
  //   RESOURCE_EXHAUSTED  the device or its budget is full (names both sizes)
  virtual absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t size_bytes) = 0;
  // Brackets an operator; the fake device opens its pages in between.
  virtual void BeginAccess() {}
  virtual void EndAccess() {}

  // A GPU's memory is reached by these alone, in the order of its stream; the host's
  // side of a copy must stay until Synchronize has returned.
  virtual bool is_gpu() const { return false; }
  virtual absl::Status CopyRows(const RowsCopy& copy);
  virtual absl::Status Zero(void* at, int64_t bytes);
  //   INTERNAL  a kernel failed (named)
  virtual absl::Status Synchronize() { return absl::OkStatus(); }
};

class Context {
 public:
  // `pool` must outlive the context; results do not depend on its size. A GPU's tensors
  // together take at most `gpu_memory_bytes`; 0: what the device has.
  //   UNIMPLEMENTED  this build has no such device
  //   others         CreateGpuAllocator's
  static absl::StatusOr<std::unique_ptr<Context>> Create(Device device, ThreadPool* pool,
                                                         int64_t gpu_memory_bytes = 0);

  Device device() const { return device_; }
  bool on_gpu() const { return allocator_->is_gpu(); }
  ThreadPool& pool() { return *pool_; }
  Allocator& allocator() { return *allocator_; }

  // Matrix products read their operands in this type and add up in f32: kF32
  // (default) or kBF16. Parameters and all other operators stay f32.
  DType compute_dtype() const { return compute_dtype_; }
  void set_compute_dtype(DType dtype) { compute_dtype_ = dtype; }

  // New tensors on this device; Zeros is filled in stream order.
  //   INVALID_ARGUMENT    a size is negative, or there are too many elements
  //   RESOURCE_EXHAUSTED  as Allocate
  absl::StatusOr<Tensor> Empty(Shape shape, DType dtype = DType::kF32);
  absl::StatusOr<Tensor> Zeros(Shape shape, DType dtype = DType::kF32);

  // Copies between this device and host memory, complete on return.
  //   INVALID_ARGUMENT  the byte sizes differ
  absl::Status CopyFromHost(const void* host, int64_t size_bytes, const Tensor& to);
  absl::Status CopyToHost(const Tensor& from, void* host, int64_t size_bytes);

  // The same for many blocks of rows at once, on the pool.
  absl::Status Copy(std::span<const RowsCopy> copies);

  template <typename T>
  absl::StatusOr<Tensor> Upload(std::span<const T> host, Shape shape) {
    PAGODA_ASSIGN_OR_RETURN(Tensor tensor, Empty(std::move(shape), DTypeOf<T>::value));
    PAGODA_RETURN_IF_ERROR(
        CopyFromHost(host.data(), static_cast<int64_t>(host.size_bytes()), tensor));
    return tensor;
  }

 private:
  Context(Device device, ThreadPool* pool, std::shared_ptr<Allocator> allocator)
      : device_(device), pool_(pool), allocator_(std::move(allocator)) {}

  Device device_;
  ThreadPool* pool_;
  std::shared_ptr<Allocator> allocator_;
  DType compute_dtype_ = DType::kF32;
};

// Put first in every CPU operator: opens the device's memory until the end of
// the scope. (A CUDA operator has no need of it.)
class KernelScope {
 public:
  explicit KernelScope(Context& ctx) : allocator_(ctx.allocator()) { allocator_.BeginAccess(); }
  ~KernelScope() { allocator_.EndAccess(); }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  Allocator& allocator_;
};

}  // namespace pagoda
