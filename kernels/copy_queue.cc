#include "kernels/copy_queue.h"

#include <utility>

#include "base/status_macros.h"
#include "kernels/gpu_device.h"

namespace pagoda {
namespace {

class HostCopyQueue final : public CopyQueue {
 public:
  explicit HostCopyQueue(Context& ctx) : ctx_(ctx) {}

  absl::StatusOr<Tensor> Empty(Shape shape, DType dtype) override {
    return ctx_.Empty(std::move(shape), dtype);
  }
  absl::Status ToDevice(std::span<const RowsCopy> copies) override { return ctx_.Copy(copies); }
  absl::Status Publish() override { return absl::OkStatus(); }
  void BeginAhead(bool) override {}
  void EndAhead() override {}
  absl::Status ToHost(std::span<const RowsCopy> copies) override { return ctx_.Copy(copies); }
  absl::Status ReserveToHost(int64_t) override { return absl::OkStatus(); }
  absl::Status Wait() override { return absl::OkStatus(); }

 private:
  Context& ctx_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CopyQueue>> CopyQueue::Create(Context& ctx) {
  if (ctx.on_gpu()) return CreateGpuCopyQueue(ctx);
  return std::unique_ptr<CopyQueue>(std::make_unique<HostCopyQueue>(ctx));
}

}  // namespace pagoda
