// A stream beside the context's, pinned memory for the host's side of copies, and events
// for who waits for whom. All waits between the streams are the device's; the host waits in
// Wait, and in ToDevice when both staging blocks are still on their way.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/copy_queue.h"
#include "kernels/gpu_device.h"
#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

// Pinned memory, and when the device is done with it.
class Staging {
 public:
  explicit Staging(GpuStream& gpu) : gpu_(gpu) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    if (event_ != nullptr) (void)cudaEventSynchronize(event_);
    Release();
    if (event_ != nullptr) (void)cudaEventDestroy(event_);
  }

  // At least `bytes` that no copy reads or writes any more.
  absl::StatusOr<char*> Take(int64_t bytes) {
    if (event_ == nullptr) {
      PAGODA_RETURN_IF_ERROR(gpu_.Checked(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming),
                                          "creating an event"));
    } else {
      PAGODA_RETURN_IF_ERROR(gpu_.Checked(cudaEventSynchronize(event_), "waiting for a copy"));
    }
    if (bytes > size_) {
      Release();
      void* block = nullptr;
      const int64_t wanted = bytes + bytes / 4;  // The next batch is a little larger.
      const cudaError_t got = cudaMallocHost(&block, static_cast<size_t>(wanted));
      if (got == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return absl::ResourceExhaustedError(
            absl::StrCat("out of memory: ", wanted, " bytes of pinned host memory"));
      }
      PAGODA_RETURN_IF_ERROR(gpu_.Checked(got, "allocating pinned memory"));
      block_ = static_cast<char*>(block);
      size_ = wanted;
    }
    return block_;
  }
  absl::Status InUseUntilHere(cudaStream_t stream) {
    return gpu_.Checked(cudaEventRecord(event_, stream), "recording an event");
  }
  cudaEvent_t event() const { return event_; }
  int64_t size() const { return size_; }

 private:
  void Release() {
    if (block_ != nullptr) (void)cudaFreeHost(block_);
    block_ = nullptr;
    size_ = 0;
  }

  GpuStream& gpu_;
  cudaEvent_t event_ = nullptr;
  char* block_ = nullptr;
  int64_t size_ = 0;
};

int64_t StagedBytes(const RowsCopy& copy) {
  return copy.rows * copy.row_bytes;
}

class GpuCopyQueue final : public CopyQueue {
 public:
  explicit GpuCopyQueue(Context& ctx)
      : ctx_(ctx), gpu_(GpuStream::Of(ctx)), staging_{Staging(gpu_), Staging(gpu_)}, out_(gpu_) {}

  ~GpuCopyQueue() override {
    if (side_ != nullptr) (void)cudaStreamSynchronize(side_->stream);
  }

  absl::Status Start() {
    PAGODA_ASSIGN_OR_RETURN(side_, gpu_.MakeSideStream());
    return absl::OkStatus();
  }

  absl::StatusOr<Tensor> Empty(Shape shape, DType dtype) override {
    PAGODA_ASSIGN_OR_RETURN(std::shared_ptr<Buffer> buffer,
                            gpu_.AllocateOn(side_, NumElements(shape) * SizeOf(dtype), ahead_));
    return Tensor(std::move(buffer), std::move(shape), dtype);
  }

  absl::Status ToDevice(std::span<const RowsCopy> copies) override {
    int64_t bytes = 0;
    for (const RowsCopy& copy : copies) bytes += StagedBytes(copy);
    if (bytes == 0) return absl::OkStatus();
    Staging& staging = staging_[turn_];
    if (ahead_ && !may_wait_ && bytes > staging.size()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no staging memory for ", bytes, " bytes without waiting for the GPU"));
    }
    turn_ = 1 - turn_;
    PAGODA_ASSIGN_OR_RETURN(char* const block, staging.Take(bytes));
    std::vector<char*> places;
    char* place = block;
    for (const RowsCopy& copy : copies) {
      places.push_back(place);
      place += StagedBytes(copy);
    }
    ctx_.pool().ParallelFor(static_cast<int64_t>(copies.size()), [&](int64_t i) {
      const RowsCopy& copy = copies[static_cast<size_t>(i)];
      char* to = places[static_cast<size_t>(i)];
      if (StagedBytes(copy) == 0) return;
      if (copy.from_pitch == copy.row_bytes) {
        std::memcpy(to, copy.from, static_cast<size_t>(StagedBytes(copy)));
        return;
      }
      for (int64_t row = 0; row < copy.rows; ++row) {
        std::memcpy(to, copy.from + row * copy.from_pitch, static_cast<size_t>(copy.row_bytes));
        to += copy.row_bytes;
      }
    });
    for (size_t i = 0; i < copies.size();) {
      // What lies one behind the other on both sides is one copy.
      RowsCopy whole = copies[i];
      whole.from = places[i];
      whole.from_pitch = whole.row_bytes;
      size_t next = i + 1;
      if (whole.to_pitch == whole.row_bytes || whole.rows <= 1) {
        whole.row_bytes = whole.from_pitch = whole.to_pitch = StagedBytes(whole);
        whole.rows = 1;
        while (next < copies.size() && whole.tensor != nullptr &&
               copies[next].tensor == whole.tensor &&
               copies[next].to == whole.to + whole.row_bytes &&
               (copies[next].to_pitch == copies[next].row_bytes || copies[next].rows <= 1)) {
          whole.row_bytes += StagedBytes(copies[next]);
          ++next;
        }
        whole.from_pitch = whole.to_pitch = whole.row_bytes;
      }
      PAGODA_RETURN_IF_ERROR(gpu_.CopyRowsOn(side_->stream, whole));
      i = next;
    }
    return staging.InUseUntilHere(side_->stream);
  }

  absl::Status Publish() override { return gpu_.Order(side_->stream, gpu_.stream()); }
  void BeginAhead(bool may_wait) override {
    ahead_ = true;
    may_wait_ = may_wait;
  }
  void EndAhead() override { ahead_ = false; }
  absl::Status ReserveToHost(int64_t bytes) override { return out_.Take(bytes).status(); }

  absl::Status ToHost(std::span<const RowsCopy> copies) override {
    PAGODA_CHECK(arriving_.empty());
    int64_t bytes = 0;
    for (const RowsCopy& copy : copies) bytes += StagedBytes(copy);
    if (bytes == 0) return absl::OkStatus();
    PAGODA_ASSIGN_OR_RETURN(char* place, out_.Take(bytes));
    PAGODA_RETURN_IF_ERROR(gpu_.Order(gpu_.stream(), side_->stream));
    for (const RowsCopy& copy : copies) {
      if (StagedBytes(copy) == 0) continue;
      RowsCopy staged = copy;
      staged.to = place;
      staged.to_pitch = copy.row_bytes;
      PAGODA_RETURN_IF_ERROR(gpu_.CopyRowsOn(side_->stream, staged));
      RowsCopy arrival = copy;
      arrival.from = place;
      arrival.from_pitch = copy.row_bytes;
      arriving_.push_back(arrival);
      place += StagedBytes(copy);
    }
    return out_.InUseUntilHere(side_->stream);
  }

  absl::Status Wait() override {
    if (arriving_.empty()) return absl::OkStatus();
    const std::vector<RowsCopy> arrived = std::exchange(arriving_, {});
    PAGODA_RETURN_IF_ERROR(
        gpu_.Checked(cudaEventSynchronize(out_.event()), "waiting for a copy to the host"));
    ctx_.pool().ParallelFor(static_cast<int64_t>(arrived.size()), [&](int64_t i) {
      const RowsCopy& copy = arrived[static_cast<size_t>(i)];
      for (int64_t row = 0; row < copy.rows; ++row) {
        std::memcpy(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch,
                    static_cast<size_t>(copy.row_bytes));
      }
    });
    return absl::OkStatus();
  }

 private:
  Context& ctx_;
  GpuStream& gpu_;
  std::shared_ptr<GpuSideStream> side_;
  std::array<Staging, 2> staging_;
  size_t turn_ = 0;
  bool ahead_ = false, may_wait_ = true;
  Staging out_;
  std::vector<RowsCopy> arriving_;  // From the staging block to the caller's memory.
};

}  // namespace

absl::StatusOr<std::unique_ptr<CopyQueue>> CreateGpuCopyQueue(Context& ctx) {
  auto queue = std::make_unique<GpuCopyQueue>(ctx);
  PAGODA_RETURN_IF_ERROR(queue->Start());
  return std::unique_ptr<CopyQueue>(std::move(queue));
}

}  // namespace pagoda
