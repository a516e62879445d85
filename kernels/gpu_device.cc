#include "kernels/gpu_device.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "kernels/gpu.h"
#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

#if defined(PAGODA_GPU_EMULATED)
constexpr DeviceKind kKind = DeviceKind::kEmulated;
#else
constexpr DeviceKind kKind = DeviceKind::kCuda;
#endif

std::string ErrorText(cudaError_t error) {
  std::string text = cudaGetErrorString(error);
#if defined(PAGODA_GPU_EMULATED)
  const std::string more = gpu::emulation::LastErrorText();
  if (!more.empty()) absl::StrAppend(&text, " (", more, ")");
#endif
  return text;
}

class GpuDevice final : public GpuStream, public std::enable_shared_from_this<GpuDevice> {
 public:
  GpuDevice(Device device, int64_t memory_bytes) : device_(device), memory_bytes_(memory_bytes) {}
  ~GpuDevice() override {
    if (blas_ != nullptr) (void)cublasDestroy(blas_);
    if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
  }

  absl::Status Start() {
    PAGODA_RETURN_IF_ERROR(Checked(cudaSetDevice(device_.index), "choosing the device"));
    PAGODA_RETURN_IF_ERROR(
        Checked(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"));
    if (cublasCreate(&blas_) != CUBLAS_STATUS_SUCCESS ||
        cublasSetStream(blas_, stream_) != CUBLAS_STATUS_SUCCESS) {
      return absl::UnavailableError("cuBLAS could not be started");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t size_bytes) override {
    PAGODA_CHECK(size_bytes >= 0);
    const int64_t used = used_bytes_.load();
    if (memory_bytes_ > 0 && used + size_bytes > memory_bytes_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a tensor of ", size_bytes, " bytes beside ", used,
                       " bytes in use is more than the device memory budget of ", memory_bytes_));
    }
    auto buffer = std::make_shared<GpuBuffer>();
    const cudaError_t allocated = cudaMallocAsync(
        &buffer->bytes, static_cast<size_t>(std::max<int64_t>(size_bytes, 1)), stream_);
    if (allocated == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      buffer->bytes = nullptr;
      return absl::ResourceExhaustedError(absl::StrCat("out of device memory: a tensor of ",
                                                       size_bytes, " bytes beside ", used,
                                                       " bytes in use"));
    }
    PAGODA_RETURN_IF_ERROR(Checked(allocated, "allocating a tensor"));
    used_bytes_ += size_bytes;
    buffer->size_bytes = size_bytes;
    buffer->device = device_;
    buffer->owner = shared_from_this();
    return std::shared_ptr<Buffer>(std::move(buffer));
  }

  cudaStream_t stream() const override { return stream_; }

  absl::Status Checked(cudaError_t error, const char* kernel) override {
    const char* const before = last_kernel_;
    last_kernel_ = kernel;
#if defined(PAGODA_GPU_EMULATED)
    gpu::emulation::NoteKernel(kernel);
#endif
    if (error == cudaSuccess) return absl::OkStatus();
    // A launch refused is this kernel's; what a kernel did shows later.
    const bool refused = error == cudaErrorInvalidConfiguration || error == cudaErrorInvalidValue;
    if (refused) (void)cudaGetLastError();
    return absl::InternalError(absl::StrCat("GPU ", device_.index, ": ", kernel,
                                            refused ? "" : absl::StrCat(", after ", before), ": ",
                                            ErrorText(error)));
  }

  bool is_gpu() const override {
    return true;
  }

  absl::Status CopyRows(const RowsCopy& copy) override {
    if (copy.rows == 0 || copy.row_bytes == 0) return absl::OkStatus();
    const cudaMemcpyKind kind = copy.to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    return Checked(
        cudaMemcpy2DAsync(copy.to, static_cast<size_t>(copy.to_pitch), copy.from,
                          static_cast<size_t>(copy.from_pitch), static_cast<size_t>(copy.row_bytes),
                          static_cast<size_t>(copy.rows), kind, stream_),
        "a copy");
  }

  absl::Status Zero(void* at, int64_t bytes) override {
    if (bytes == 0) return absl::OkStatus();
    return Checked(cudaMemsetAsync(at, 0, static_cast<size_t>(bytes), stream_), "filling with 0");
  }

  absl::Status Synchronize() override {
    const char* const last = last_kernel_;
    const cudaError_t error = cudaStreamSynchronize(stream_);
    if (error == cudaSuccess) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("GPU ", device_.index, ": ", last, " or one before it: ", ErrorText(error)));
  }

  absl::Status Multiply(const Product& product) override {
    const float alpha = 1.0f;
    const cudaDataType_t type = product.operands == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
    if (product.m == 0 || product.n == 0 || product.batches == 0) return absl::OkStatus();
    // cuBLAS is column-major: it sees every matrix transposed, and c' = b' a'.
    const cublasStatus_t status = cublasGemmStridedBatchedEx(
        blas_, product.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
        product.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, static_cast<int>(product.n),
        static_cast<int>(product.m), static_cast<int>(product.k), &alpha, product.b, type,
        static_cast<int>(product.b_stride), product.k * product.n, product.a, type,
        static_cast<int>(product.a_stride), product.m * product.k, &product.beta, product.c,
        CUDA_R_32F, static_cast<int>(product.c_stride), product.m * product.n,
        static_cast<int>(product.batches), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    last_kernel_ = "cublasGemmStridedBatchedEx";
    if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("GPU ", device_.index, ": ", last_kernel_, " of ",
                                            product.batches, " times ", product.m, " x ", product.k,
                                            " by ", product.k, " x ", product.n,
                                            " failed with status ", static_cast<int>(status)));
  }

 private:
  struct GpuBuffer : Buffer {
    ~GpuBuffer() override {
      if (bytes == nullptr) return;
      (void)cudaFreeAsync(bytes, owner->stream_);
      owner->used_bytes_ -= size_bytes;
    }
    std::shared_ptr<GpuDevice> owner;  // Outlives the context with its last tensor.
  };

  const Device device_;
  const int64_t memory_bytes_;
  std::atomic<int64_t> used_bytes_{0};
  cudaStream_t stream_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  const char* last_kernel_ = "the start";
};

}  // namespace

int CountGpus(DeviceKind kind) {
  int count = 0;  // Left as it is by a driver that is missing.
  if (kind != kKind || cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return count;
}

#if defined(PAGODA_GPU_EMULATED)
GpuReport DescribeGpus() {
  GpuReport report;
  report.kernels = "emulated";
  report.devices.push_back("the emulated device, on the CPU; for tests");
  return report;
}
#else
namespace {

std::string CudaVersion(int version) {
  return absl::StrCat("CUDA ", version / 1000, ".", version % 1000 / 10);
}

}  // namespace

GpuReport DescribeGpus() {
  GpuReport report;
  report.kernels = CudaVersion(CUDART_VERSION);
  int driver = 0;  // 0 where there is none.
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    (void)cudaGetLastError();
    report.driver = "not found";
    report.problem = "no NVIDIA driver was found: install one, or train on the CPU";
    return report;
  }
  report.driver = absl::StrCat("supports ", CudaVersion(driver));
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted != cudaSuccess || count == 0) {
    (void)cudaGetLastError();
    report.problem =
        counted == cudaErrorInsufficientDriver
            ? absl::StrCat("the driver is too old for this build, which needs one for ",
                           report.kernels)
            : absl::StrCat("the driver sees no GPU: ", cudaGetErrorString(counted));
    return report;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties = {};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    report.devices.push_back(absl::StrFormat(
        "%s, sm_%d%d, %.1f GiB", properties.name, properties.major, properties.minor,
        static_cast<double>(properties.totalGlobalMem) / (1 << 30)));
    if (properties.major < 8) {
      report.problem = absl::StrCat("GPU ", i, " is older than sm_80, which the kernels are for");
    }
  }
  return report;
}
#endif

absl::StatusOr<std::shared_ptr<Allocator>> CreateGpuAllocator(Device device,
                                                              const GpuOptions& options) {
  if (device.kind != kKind) {
    return absl::UnimplementedError(
        kKind == DeviceKind::kCuda
            ? "this build of Pagoda has CUDA kernels, not emulated ones: use device = \"cuda:0\""
            : "this build of Pagoda emulates the GPU: use device = \"emulated\" or \"cpu\"");
  }
  const int count = CountGpus(device.kind);
  if (count == 0) {
    return absl::UnavailableError(
        "no CUDA device: there is no GPU, or its driver is missing or too old for this build");
  }
  if (device.index < 0 || device.index >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no GPU ", device.index, "; this machine has ", count));
  }
  auto gpu = std::make_shared<GpuDevice>(device, options.memory_bytes);
  PAGODA_RETURN_IF_ERROR(gpu->Start());
  return std::shared_ptr<Allocator>(std::move(gpu));
}

}  // namespace pagoda
