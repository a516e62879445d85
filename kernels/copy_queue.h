// Copies between host and device that go on beside a context's own work.
//
//   in    queue.Empty, queue.ToDevice ... queue.Publish(): what ctx is given from then on
//         sees what was copied
//   out   queue.ToHost ... queue.Wait(): the host's memory has what ctx's work had left
//         when ToHost was called
//
// On a GPU a queue is a stream of its own, and the host's side is staged in pinned memory.
// On the CPU and the fake device every copy is done when its call returns.
//
// Threads: those of the context, one at a time. Errors: the allocator's; after a kernel
// failed, every call says so.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

class CopyQueue {
 public:
  // `ctx` must outlive the queue, and the queue's tensors may outlive both.
  //   RESOURCE_EXHAUSTED, UNAVAILABLE  no stream
  static absl::StatusOr<std::unique_ptr<CopyQueue>> Create(Context& ctx);
  virtual ~CopyQueue() = default;

  // Uninitialised memory that this queue's copies may write at once, although ctx's
  // earlier work still runs. ctx may use it after Publish.
  //   REQUIRES: no size is negative
  //   RESOURCE_EXHAUSTED  as Context::Empty
  virtual absl::StatusOr<Tensor> Empty(Shape shape, DType dtype) = 0;

  // Starts copies to tensors of Empty; host memory may change on return.
  //   REQUIRES: to_device
  virtual absl::Status ToDevice(std::span<const RowsCopy> copies) = 0;
  virtual absl::Status Publish() = 0;
  // Between these two, what is copied in is not needed yet, and is refused with
  // RESOURCE_EXHAUSTED where it would leave less memory than the most that ctx's own
  // tensors have taken so far; and, unless it `may_wait`, where it needs more staging
  // memory, for which the driver may wait for all work of the device.
  virtual void BeginAhead(bool may_wait) = 0;
  virtual void EndAhead() = 0;

  // Starts copies to host memory. It must stay, and the tensors too, unchanged, until Wait.
  //   REQUIRES: !to_device
  virtual absl::Status ToHost(std::span<const RowsCopy> copies) = 0;
  // Staging memory for a ToHost of so many bytes, which then waits for nothing.
  virtual absl::Status ReserveToHost(int64_t bytes) = 0;
  virtual absl::Status Wait() = 0;
};

}  // namespace pagoda
