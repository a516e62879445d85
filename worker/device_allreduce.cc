#include "worker/device_allreduce.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/status_macros.h"
#include "kernels/copy_queue.h"

namespace pagoda {
namespace {

class HostDeviceAllReduce final : public DeviceAllReduce {
 public:
  HostDeviceAllReduce(Context& ctx, AllReduce* allreduce) : ctx_(ctx), allreduce_(allreduce) {}

  absl::Status Start(const Tensor& from, const Tensor& to) override {
    PAGODA_CHECK(from.size() == to.size());
    PAGODA_RETURN_IF_ERROR(failure_);
    if (from.size() == 0) return absl::OkStatus();
    if (num_parts_ == parts_.size()) {
      PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<CopyQueue> queue, CopyQueue::Create(ctx_));
      parts_.push_back({});
      parts_.back().queue = std::move(queue);
    }
    Part& part = parts_[num_parts_++];
    part.to = to;
    part.host.resize(static_cast<size_t>(from.size()));
    const RowsCopy copy = WholeToHost(from, part.host.data());
    return part.queue->ToHost({&copy, 1});
  }

  absl::Status Finish() override {
    PAGODA_RETURN_IF_ERROR(failure_);
    const size_t started = std::exchange(num_parts_, 0);
    for (size_t i = 0; i < started; ++i) {
      Part& part = parts_[i];
      PAGODA_RETURN_IF_ERROR(part.queue->Wait());
      PAGODA_RETURN_IF_ERROR(allreduce_->Sum(std::span<float>(part.host)));
      const Tensor to = std::exchange(part.to, Tensor());
      PAGODA_RETURN_IF_ERROR(ctx_.CopyFromHost(part.host.data(), to.size() * 4, to));
    }
    return absl::OkStatus();
  }

  void Abort() override {
    parts_.clear();  // A queue's end waits for its copies.
    num_parts_ = 0;
    failure_ = absl::CancelledError("the sums of dense gradients were given up");
  }

 private:
  struct Part {
    // Last: it goes first, when its copies have ended.
    std::vector<float> host;
    Tensor to;
    std::unique_ptr<CopyQueue> queue;
  };
  Context& ctx_;
  AllReduce* const allreduce_;
  std::vector<Part> parts_;  // Kept for the next steps.
  size_t num_parts_ = 0;     // Started.
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceAllReduce>> MakeHostDeviceAllReduce(Context& ctx,
                                                                         AllReduce* allreduce) {
  return std::unique_ptr<DeviceAllReduce>(std::make_unique<HostDeviceAllReduce>(ctx, allreduce));
}

GradientBuckets::GradientBuckets(const ParameterSet& parameters, int64_t bucket_bytes)
    : bucket_of_(parameters.decls().size()), is_final_(parameters.decls().size()) {
  std::vector<int> last_first;
  for (size_t d = 0; d < parameters.decls().size(); ++d) {
    if (parameters.decls()[d].trainable) last_first.push_back(static_cast<int>(d));
  }
  std::sort(last_first.begin(), last_first.end(), [&](int a, int b) {
    return parameters.offset(DenseHandle{a}) > parameters.offset(DenseHandle{b});
  });
  int64_t end = parameters.num_trainable();
  for (const int d : last_first) {
    if (buckets_.empty() || (buckets_.back().end - buckets_.back().begin) * 4 >= bucket_bytes) {
      buckets_.push_back({end, end});
    }
    buckets_.back().begin = end = parameters.offset(DenseHandle{d});
    ++buckets_.back().parameters;
    bucket_of_[static_cast<size_t>(d)] = buckets_.size() - 1;
  }
}

void GradientBuckets::BeginStep() {
  for (Bucket& bucket : buckets_) bucket.final = 0;
  is_final_.assign(is_final_.size(), false);
  next_ = 0;
}

absl::Status GradientBuckets::Final(DenseHandle handle, const StartFn& start) {
  const auto d = static_cast<size_t>(handle.index);
  PAGODA_CHECK(d < is_final_.size() && !is_final_[d]);
  is_final_[d] = true;
  ++buckets_[bucket_of_[d]].final;
  for (; next_ < buckets_.size() && buckets_[next_].final == buckets_[next_].parameters; ++next_) {
    PAGODA_RETURN_IF_ERROR(start(buckets_[next_].begin, buckets_[next_].end));
  }
  return absl::OkStatus();
}

absl::Status GradientBuckets::AllFinal(const StartFn& start) {
  for (; next_ < buckets_.size(); ++next_) {
    PAGODA_RETURN_IF_ERROR(start(buckets_[next_].begin, buckets_[next_].end));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
