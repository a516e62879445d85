#include "kernels/gpu_device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "kernels/gpu.h"
#include "kernels/gpu_blas.h"
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

// The pool keeps what is freed: by default it goes back to the driver at each
// synchronisation, and comes from it again.
cudaError_t KeepFreedMemory([[maybe_unused]] int device) {
#if defined(PAGODA_GPU_EMULATED)
  return cudaSuccess;
#else
  cudaMemPool_t pool = nullptr;
  const cudaError_t found = cudaDeviceGetDefaultMemPool(&pool, device);
  if (found != cudaSuccess) return found;
  uint64_t keep = UINT64_MAX;
  return cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
#endif
}

class GpuDevice final : public GpuStream, public std::enable_shared_from_this<GpuDevice> {
 public:
  GpuDevice(Device device, int64_t memory_bytes)
      : device_(device), memory_bytes_(memory_bytes), ahead_bytes_max_(memory_bytes) {}
  ~GpuDevice() override {
    blas_.reset();
    if (order_ != nullptr) (void)cudaEventDestroy(order_);
    if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
  }

  absl::Status Start() {
    PAGODA_RETURN_IF_ERROR(Checked(cudaSetDevice(device_.index), "choosing the device"));
    PAGODA_RETURN_IF_ERROR(
        Checked(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"));
    PAGODA_RETURN_IF_ERROR(
        Checked(cudaEventCreateWithFlags(&order_, cudaEventDisableTiming), "creating an event"));
    PAGODA_RETURN_IF_ERROR(Checked(KeepFreedMemory(device_.index), "setting up its memory"));
#if !defined(PAGODA_GPU_EMULATED)
    size_t free = 0, total = 0;
    PAGODA_RETURN_IF_ERROR(Checked(cudaMemGetInfo(&free, &total), "asking for its memory"));
    if (memory_bytes_ == 0) ahead_bytes_max_ = static_cast<int64_t>(total);
#endif
    return blas_->Start(stream_);
  }

  absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t size_bytes) override {
    return AllocateOn(nullptr, size_bytes, false);
  }

  absl::StatusOr<std::shared_ptr<Buffer>> AllocateOn(std::shared_ptr<GpuSideStream> side,
                                                     int64_t size_bytes, bool ahead) override {
    PAGODA_CHECK(size_bytes >= 0);
    const int64_t used = used_bytes_.load();
    const int64_t spared = most_used_ - (used - side_bytes_.load());
    if (ahead && ahead_bytes_max_ > 0 && used + size_bytes + spared > ahead_bytes_max_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a tensor of ", size_bytes, " bytes, beside ", used,
                       " bytes in use, would take what the work has needed before"));
    }
    if (memory_bytes_ > 0 && used + size_bytes > memory_bytes_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a tensor of ", size_bytes, " bytes beside ", used,
                       " bytes in use is more than the device memory budget of ", memory_bytes_));
    }
    auto buffer = std::make_shared<GpuBuffer>();
    const cudaError_t allocated =
        cudaMallocAsync(&buffer->bytes, static_cast<size_t>(std::max<int64_t>(size_bytes, 1)),
                        side == nullptr ? stream_ : side->stream);
    if (allocated == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      buffer->bytes = nullptr;
      return absl::ResourceExhaustedError(absl::StrCat("out of device memory: a tensor of ",
                                                       size_bytes, " bytes beside ", used,
                                                       " bytes in use"));
    }
    if (allocated != cudaSuccess) buffer->bytes = nullptr;
    PAGODA_RETURN_IF_ERROR(Checked(allocated, "allocating a tensor"));
    used_bytes_ += size_bytes;
    if (side != nullptr) side_bytes_ += size_bytes;
    most_used_ = std::max(most_used_, used_bytes_.load() - side_bytes_.load());
    buffer->size_bytes = size_bytes;
    buffer->device = device_;
    buffer->owner = shared_from_this();
    buffer->side = std::move(side);
    return std::shared_ptr<Buffer>(std::move(buffer));
  }

  absl::StatusOr<std::shared_ptr<GpuSideStream>> MakeSideStream() override {
    auto side = std::make_shared<GpuSideStream>(shared_from_this());
    PAGODA_RETURN_IF_ERROR(Checked(cudaStreamCreateWithFlags(&side->stream, cudaStreamNonBlocking),
                                   "creating a stream"));
    return side;
  }

  absl::Status Order(cudaStream_t earlier, cudaStream_t later) override {
    PAGODA_RETURN_IF_ERROR(Checked(cudaEventRecord(order_, earlier), "recording an event"));
    return Checked(cudaStreamWaitEvent(later, order_, 0), "waiting for a stream");
  }

  cudaStream_t stream() const override {
    return stream_;
  }

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
    return CopyRowsOn(stream_, copy);
  }

  absl::Status CopyRowsOn(cudaStream_t stream, const RowsCopy& copy) override {
    if (copy.rows == 0 || copy.row_bytes == 0) return absl::OkStatus();
    const cudaMemcpyKind kind = copy.to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    // A pitch may be 2 GiB at most.
    if (copy.rows == 1 || (copy.from_pitch == copy.row_bytes && copy.to_pitch == copy.row_bytes)) {
      return Checked(cudaMemcpyAsync(copy.to, copy.from,
                                     static_cast<size_t>(copy.rows * copy.row_bytes), kind, stream),
                     "a copy");
    }
    return Checked(
        cudaMemcpy2DAsync(copy.to, static_cast<size_t>(copy.to_pitch), copy.from,
                          static_cast<size_t>(copy.from_pitch), static_cast<size_t>(copy.row_bytes),
                          static_cast<size_t>(copy.rows), kind, stream),
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
    last_kernel_ = "a product";
    return WithDevice(blas_->Multiply(product));
  }

  absl::StatusOr<bool> MultiplyFused(const Product& product) override {
    last_kernel_ = "a product";
    absl::StatusOr<bool> done = blas_->MultiplyFused(product);
    if (!done.ok()) return WithDevice(done.status());
    return done;
  }

 private:
  absl::Status WithDevice(const absl::Status& status) const {
    return status.ok() ? status : WithContext(status, absl::StrCat("GPU ", device_.index));
  }

  struct GpuBuffer : Buffer {
    ~GpuBuffer() override {
      if (bytes == nullptr) return;
      if (side != nullptr) owner->Order(owner->stream_, side->stream).IgnoreError();
      (void)cudaFreeAsync(bytes, side == nullptr ? owner->stream_ : side->stream);
      owner->used_bytes_ -= size_bytes;
      if (side != nullptr) owner->side_bytes_ -= size_bytes;
    }
    std::shared_ptr<GpuDevice> owner;  // Outlives the context with its last tensor.
    std::shared_ptr<GpuSideStream> side;
  };

  const Device device_;
  const int64_t memory_bytes_;  // 0: what the device has.
  int64_t ahead_bytes_max_;     // 0: not known.
  std::atomic<int64_t> used_bytes_{0};
  std::atomic<int64_t> side_bytes_{0};  // Those of side streams among them.
  int64_t most_used_ = 0;               // Of the others, so far.
  cudaStream_t stream_ = nullptr;
  cudaEvent_t order_ = nullptr;
  std::unique_ptr<GpuBlas> blas_ = std::make_unique<GpuBlas>();
  const char* last_kernel_ = "the start";
};

}  // namespace

#if defined(PAGODA_GPU_EMULATED)
namespace {
bool IsUsable(int) {
  return true;
}
}  // namespace
#else
namespace {

// The kernels are compiled for sm_80 and later.
bool IsUsable(int index) {
  int major = 0;
  const cudaError_t asked =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  if (asked != cudaSuccess) (void)cudaGetLastError();
  return asked == cudaSuccess && major >= 8;
}

}  // namespace
#endif

std::vector<int> UsableGpus(DeviceKind kind) {
  std::vector<int> usable;
  const int count = CountGpus(kind);
  for (int i = 0; i < count; ++i) {
    if (IsUsable(i)) usable.push_back(i);
  }
  return usable;
}

std::string GpuIdentity([[maybe_unused]] Device device) {
#if !defined(PAGODA_GPU_EMULATED)
  cudaDeviceProp properties = {};
  if (device.kind == kKind && cudaGetDeviceProperties(&properties, device.index) == cudaSuccess) {
    return std::string(properties.uuid.bytes, sizeof(properties.uuid.bytes));
  }
  (void)cudaGetLastError();
#endif
  return "";
}

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
  }
  if (UsableGpus(DeviceKind::kCuda).empty()) {
    report.problem = "every GPU is older than sm_80, which the kernels are for";
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
  if (!IsUsable(device.index)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", device.index, " is older than sm_80, which the kernels are compiled for"));
  }
  auto gpu = std::make_shared<GpuDevice>(device, options.memory_bytes);
  PAGODA_RETURN_IF_ERROR(gpu->Start());
  return std::shared_ptr<Allocator>(std::move(gpu));
}

}  // namespace pagoda
