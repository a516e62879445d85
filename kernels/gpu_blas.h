// Matrix products on one GPU: cuBLAS, and cublasLt where what goes with a product saves a
// pass over memory. Used by gpu_device.cc.
//
// Threads: as Context, one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/gpu.h"
#include "kernels/gpu_stream.h"

namespace pagoda {

class GpuBlas {
 public:
  GpuBlas();
  GpuBlas(const GpuBlas&) = delete;
  GpuBlas& operator=(const GpuBlas&) = delete;
  ~GpuBlas();

  //   UNAVAILABLE  a library does not start
  absl::Status Start(cudaStream_t stream);

  //   INTERNAL  the library's status
  absl::Status Multiply(const GpuStream::Product& product);

  // The same with the product's bias or a_sums. False when the library has no way to do it
  // for these shapes and places; nothing was done then.
  absl::StatusOr<bool> MultiplyFused(const GpuStream::Product& product);

 private:
  // All that the choice of an algorithm depends on.
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int, int, int, int>;
  class Plan;
  absl::StatusOr<Plan*> PlanFor(const GpuStream::Product& product);

  cudaStream_t stream_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  cublasLtHandle_t lt_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;  // Null: there is none.
};

}  // namespace pagoda
