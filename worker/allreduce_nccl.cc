#include "worker/allreduce_nccl.h"

#if defined(PAGODA_NCCL)

#include <nccl.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "kernels/gpu.h"
#include "kernels/gpu_stream.h"

namespace pagoda {
namespace {

// How often a wait looks at the GPU, and at the job's health.
constexpr std::chrono::microseconds kPollInterval(20);
constexpr absl::Duration kHealthInterval = absl::Milliseconds(100);

class NcclAllReduce final : public DeviceAllReduce {
 public:
  NcclAllReduce(Context& ctx, AllReduce* allreduce, const NcclOptions& options)
      : gpu_(GpuStream::Of(ctx)), allreduce_(allreduce), options_(options) {}

  ~NcclAllReduce() override {
    // Not ncclCommDestroy, which may wait for peers that are gone.
    if (communicator_ != nullptr) (void)ncclCommAbort(communicator_);
    if (done_ != nullptr) (void)cudaEventDestroy(done_);
  }

  absl::Status Connect() {
    PAGODA_ASSIGN_OR_RETURN(side_, gpu_.MakeSideStream());
    PAGODA_RETURN_IF_ERROR(gpu_.Checked(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming),
                                        "creating an event"));
    PAGODA_ASSIGN_OR_RETURN(const ncclUniqueId id, ShareId());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // So that a call that waits for a dead peer can be aborted.
    const ncclResult_t begun = ncclCommInitRankConfig(&communicator_, allreduce_->num_workers(), id,
                                                      allreduce_->rank(), &config);
    return Settled("connecting", begun, options_.connect_timeout);
  }

  absl::Status Start(const Tensor& from, const Tensor& to) override {
    PAGODA_RETURN_IF_ERROR(failure_);
    PAGODA_CHECK(from.size() == to.size());
    if (from.size() == 0) return absl::OkStatus();
    PAGODA_RETURN_IF_ERROR(gpu_.Order(gpu_.stream(), side_->stream));
    const ncclResult_t begun = ncclAllReduce(from.raw(), to.raw(), static_cast<size_t>(from.size()),
                                             ncclFloat, ncclSum, communicator_, side_->stream);
    return Settled("a sum", begun, options_.call_deadline);
  }

  absl::Status Finish() override {
    PAGODA_RETURN_IF_ERROR(failure_);
    PAGODA_RETURN_IF_ERROR(
        gpu_.Checked(cudaEventRecord(done_, side_->stream), "recording an event"));
    const auto is_done = [this]() -> absl::StatusOr<bool> {
      const cudaError_t state = cudaEventQuery(done_);
      if (state == cudaErrorNotReady) return false;
      PAGODA_RETURN_IF_ERROR(gpu_.Checked(state, "ncclAllReduce"));
      return true;
    };
    PAGODA_RETURN_IF_ERROR(Await("a sum", options_.call_deadline, is_done));
    return gpu_.Order(side_->stream, gpu_.stream());
  }

  void Abort() override {
    if (failure_.ok()) (void)Abort("a sum", absl::CancelledError("the step has failed"));
  }

 private:
  // Worker 0's id, on every worker: one double a byte, and none when there is no id.
  absl::StatusOr<ncclUniqueId> ShareId() {
    ncclUniqueId id = {};
    std::vector<double> mine;
    absl::Status made;
    if (allreduce_->rank() == 0) {
      const ncclResult_t got = ncclGetUniqueId(&id);
      if (got == ncclSuccess) {
        for (const char byte : id.internal) mine.push_back(static_cast<unsigned char>(byte));
      } else {
        made = absl::UnavailableError(absl::StrCat("NCCL: ", ncclGetErrorString(got)));
      }
    }
    PAGODA_ASSIGN_OR_RETURN(const std::vector<double> all, allreduce_->Gather(mine));
    PAGODA_RETURN_IF_ERROR(made);
    if (all.size() != sizeof(id.internal)) {
      return absl::UnavailableError("NCCL could not be started on worker 0");
    }
    for (size_t i = 0; i < all.size(); ++i) {
      id.internal[i] = static_cast<char>(static_cast<unsigned char>(all[i]));
    }
    return id;
  }

  // Ends when a non-blocking call has done its part.
  absl::Status Settled(const char* what, ncclResult_t begun, absl::Duration deadline) {
    if (begun == ncclSuccess) return absl::OkStatus();
    if (begun != ncclInProgress) return Abort(what, Words(begun));
    return Await(what, deadline, []() -> absl::StatusOr<bool> { return true; });
  }

  // Waits until NCCL has no call in progress and `done` says so, while the job is healthy.
  template <typename Done>
  absl::Status Await(const char* what, absl::Duration deadline, const Done& done) {
    const absl::Time start = absl::Now();
    absl::Time looked = start;
    for (;;) {
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &state);
      if (asked != ncclSuccess) return Abort(what, Words(asked));
      if (state == ncclSuccess) {
        const absl::StatusOr<bool> ended = done();
        if (!ended.ok()) return Abort(what, ended.status());
        if (*ended) return absl::OkStatus();
      } else if (state != ncclInProgress) {
        return Abort(what, Words(state));
      }
      const absl::Time now = absl::Now();
      if (now - start > deadline) {
        return Abort(what, absl::DeadlineExceededError(absl::StrCat(
                               "it has not ended within ", absl::FormatDuration(deadline))));
      }
      if (now - looked > kHealthInterval) {
        looked = now;
        const absl::Status health = allreduce_->Health();
        if (!health.ok()) return Abort(what, health);
      }
      std::this_thread::sleep_for(kPollInterval);
    }
  }

  absl::Status Words(ncclResult_t result) const {
    const char* const more = communicator_ == nullptr ? nullptr : ncclGetLastError(communicator_);
    return absl::UnavailableError(absl::StrCat(ncclGetErrorString(result),
                                               more == nullptr || *more == '\0' ? "" : ": ",
                                               more == nullptr ? "" : more));
  }

  // What the servers know of a death is a better cause than NCCL's.
  absl::Status Abort(const char* what, absl::Status cause) {
    const absl::Status health = allreduce_->Health();
    failure_ = health.ok() ? WithContext(cause, absl::StrCat("NCCL, ", what, " over ",
                                                             allreduce_->num_workers(), " workers"))
                           : health;
    if (communicator_ != nullptr) (void)ncclCommAbort(std::exchange(communicator_, nullptr));
    return failure_;
  }

  GpuStream& gpu_;
  AllReduce* const allreduce_;
  const NcclOptions options_;
  std::shared_ptr<GpuSideStream> side_;
  ncclComm_t communicator_ = nullptr;
  cudaEvent_t done_ = nullptr;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceAllReduce>> MakeNcclAllReduce(Context& ctx,
                                                                   AllReduce* allreduce,
                                                                   const NcclOptions& options) {
  auto made = std::make_unique<NcclAllReduce>(ctx, allreduce, options);
  PAGODA_RETURN_IF_ERROR(made->Connect());
  return std::unique_ptr<DeviceAllReduce>(std::move(made));
}

std::string NcclVersion() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "";
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace pagoda

#else

namespace pagoda {

absl::StatusOr<std::unique_ptr<DeviceAllReduce>> MakeNcclAllReduce(Context&, AllReduce*,
                                                                   const NcclOptions&) {
  return absl::UnimplementedError("this build of Pagoda has no NCCL");
}

std::string NcclVersion() {
  return "";
}

}  // namespace pagoda

#endif
