#include "worker/dense_sync.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/elementwise.h"
#include "kernels/gpu_device.h"
#include "kernels/gradient_norm.h"
#include "worker/allreduce_nccl.h"
#include "worker/nonfinite.h"

namespace pagoda {
namespace {

int64_t Bytes(int64_t num_floats) {
  return num_floats * static_cast<int64_t>(sizeof(float));
}

Tensor StateOf(const ParameterSet& parameters) {
  return parameters.values().Flat(parameters.num_trainable(),
                                  {parameters.num_elements() - parameters.num_trainable()});
}

// The same for two workers when they have one GPU, as a double holds it.
double GpuNumber(const Device& device) {
  std::string identity = GpuIdentity(device);
  if (identity.empty()) {
    std::ifstream("/proc/sys/kernel/random/boot_id") >> identity;  // Of the machine.
    absl::StrAppend(&identity, "/", device.index);
  }
  HashStream hash;
  hash.Update(identity);
  return static_cast<double>(hash.Digest() >> 12);
}

// Whether all workers sum by NCCL: each has it, and a GPU of its own. Collective.
absl::StatusOr<bool> AgreeOnDevices(const Device& device, AllReduce* allreduce) {
  struct Place {
    double kind = 0, has_nccl = 0, gpu = 0;
  };
  constexpr size_t kNumbers = sizeof(Place) / sizeof(double);
  const bool cuda = device.kind == DeviceKind::kCuda;
  const Place mine = {static_cast<double>(device.kind), cuda && !NcclVersion().empty() ? 1.0 : 0.0,
                      GpuNumber(device)};
  PAGODA_ASSIGN_OR_RETURN(const std::vector<double> all, allreduce->Gather({&mine.kind, kNumbers}));
  PAGODA_CHECK(all.size() == kNumbers * static_cast<size_t>(allreduce->num_workers()));
  bool nccl = true;
  std::map<double, size_t> worker_of;
  for (size_t worker = 0; worker * kNumbers < all.size(); ++worker) {
    Place place;
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(worker * kNumbers), kNumbers,
                &place.kind);
    if (place.kind != all[0]) {
      const auto name = [](double kind) {
        return kind == static_cast<double>(DeviceKind::kCuda)       ? "a GPU"
               : kind == static_cast<double>(DeviceKind::kEmulated) ? "the emulated GPU"
                                                                    : "the CPU";
      };
      return absl::FailedPreconditionError(
          absl::StrCat("worker 0 trains on ", name(all[0]), " and worker ", worker, " on ",
                       name(place.kind), ": set train.device so that all are alike"));
    }
    const auto [other, is_new] = worker_of.try_emplace(place.gpu, worker);
    if (!is_new && cuda && allreduce->rank() == 0) {
      PAGODA_LOG_WARNING(
          "workers {} and {} share a GPU: gradients are summed by way of the host, not by NCCL",
          other->second, worker);
    }
    nccl = nccl && place.has_nccl == 1.0 && is_new;
  }
  return nccl;
}

}  // namespace

int64_t DenseSync::num_state() const {
  const ParameterSet& parameters = model_->parameters();
  return parameters.num_elements() - parameters.num_trainable();
}

absl::Status DenseSync::Connect() {
  Context& ctx = model_->ctx();
  const ParameterSet& parameters = model_->parameters();
  if (allreduce_->num_workers() == 1) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const bool nccl, AgreeOnDevices(ctx.device(), allreduce_));
  if (!ctx.on_gpu()) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(device_, nccl ? MakeNcclAllReduce(ctx, allreduce_)
                                        : MakeHostDeviceAllReduce(ctx, allreduce_));
  // Emulated: several buckets for small models, too.
  const int64_t bucket_bytes = ctx.device().kind == DeviceKind::kCuda ? 4 << 20 : 4 << 10;
  buckets_ = std::make_unique<GradientBuckets>(parameters, bucket_bytes);
  PAGODA_ASSIGN_OR_RETURN(sums_, ctx.Zeros({parameters.num_trainable()}));
  return absl::OkStatus();
}

absl::Status DenseSync::StartSum(int64_t begin, int64_t end) {
  under_way_ = true;
  const Tensor& own = model_->parameters().gradients();
  return device_->Start(own.Flat(begin, {end - begin}), sums_.Flat(begin, {end - begin}));
}

absl::Status DenseSync::GradientFinal(DenseHandle handle) {
  return buckets_->Final(handle,
                         [this](int64_t begin, int64_t end) { return StartSum(begin, end); });
}

// With the sums in parameters().gradients() when they are finite.
absl::StatusOr<DenseSync::Outcome> DenseSync::FinishBuckets() {
  const Tensor& own = model_->parameters().gradients();
  PAGODA_RETURN_IF_ERROR(
      buckets_->AllFinal([this](int64_t begin, int64_t end) { return StartSum(begin, end); }));
  PAGODA_RETURN_IF_ERROR(device_->Finish());
  under_way_ = false;
  PAGODA_ASSIGN_OR_RETURN(const Outcome outcome, CheckGradients(sums_));
  if (outcome.finite) {
    PAGODA_RETURN_IF_ERROR(AxpBy(model_->ctx(), 1.0f, sums_, 0.0f, own));
    return outcome;
  }
  PAGODA_ASSIGN_OR_RETURN(const Outcome own_outcome, CheckGradients(own));
  return own_outcome.finite ? outcome : own_outcome;
}

absl::Status DenseSync::SaveState() {
  if (buckets_ != nullptr) buckets_->BeginStep();
  if (num_state() == 0) return absl::OkStatus();
  state_before_.resize(static_cast<size_t>(num_state()));
  return model_->ctx().CopyToHost(StateOf(model_->parameters()), state_before_.data(),
                                  Bytes(num_state()));
}

absl::Status DenseSync::RestoreState() {
  if (num_state() == 0) return absl::OkStatus();
  return model_->ctx().CopyFromHost(state_before_.data(), Bytes(num_state()),
                                    StateOf(model_->parameters()));
}

absl::StatusOr<DenseSync::Outcome> DenseSync::Sum(int64_t samples, bool rows_finite) {
  absl::StatusOr<Outcome> outcome = SumAll(samples, rows_finite);
  // Whoever ends the job may wait for the device.
  if (!outcome.ok() && device_ != nullptr) device_->Abort();
  return outcome;
}

absl::StatusOr<DenseSync::Outcome> DenseSync::SumAll(int64_t samples, bool rows_finite) {
  PAGODA_ASSIGN_OR_RETURN(std::string culprit, CheckState());
  bool all_finite = rows_finite && culprit.empty();
  const Tensor& gradients = model_->parameters().gradients();
  Outcome outcome;
  if (device_ != nullptr) {
    PAGODA_RETURN_IF_ERROR(Exchange(samples, &all_finite));
    PAGODA_ASSIGN_OR_RETURN(outcome, FinishBuckets());
  } else {
    if (allreduce_->num_workers() > 1) {
      PAGODA_ASSIGN_OR_RETURN(const Outcome own, CheckGradients(gradients));
      if (culprit.empty()) culprit = own.culprit;
      PAGODA_RETURN_IF_ERROR(Exchange(samples, &all_finite));
    }
    // With several workers, an overflow of finite parts shows only in the sum, and on
    // every worker alike.
    PAGODA_ASSIGN_OR_RETURN(outcome, CheckGradients(gradients));
  }
  if (!culprit.empty()) outcome.culprit = culprit;
  outcome.finite = outcome.finite && all_finite;
  return outcome;
}

absl::StatusOr<std::string> DenseSync::CheckState() {
  if (num_state() == 0) return std::string();
  const ParameterSet& parameters = model_->parameters();
  std::vector<float> state(static_cast<size_t>(num_state()));
  PAGODA_RETURN_IF_ERROR(
      model_->ctx().CopyToHost(StateOf(parameters), state.data(), Bytes(num_state())));
  const int64_t bad = FirstNonFinite(state);
  if (bad < 0) return std::string();
  return DescribeNonFiniteDense(parameters, parameters.num_trainable() + bad,
                                state[static_cast<size_t>(bad)]);
}

absl::StatusOr<DenseSync::Outcome> DenseSync::CheckGradients(const Tensor& sum) {
  Outcome outcome;
  const ParameterSet& parameters = model_->parameters();
  if (parameters.num_trainable() == 0) return outcome;
  Context& ctx = model_->ctx();
  if (norm_.absent()) {
    PAGODA_ASSIGN_OR_RETURN(norm_, ctx.Zeros({2}));
  }
  PAGODA_RETURN_IF_ERROR(SquaredNorm(ctx, sum, norm_));
  std::array<float, 2> norm{};
  PAGODA_RETURN_IF_ERROR(ctx.CopyToHost(norm_, norm.data(), Bytes(2)));
  outcome.finite = std::isfinite(norm[0]) && norm[1] == 0.0f;
  if (outcome.finite) return outcome;
  std::vector<float> gradients(static_cast<size_t>(parameters.num_trainable()));
  PAGODA_RETURN_IF_ERROR(ctx.CopyToHost(sum, gradients.data(), Bytes(parameters.num_trainable())));
  const int64_t first = FirstNonFinite(gradients);
  outcome.culprit =
      first < 0 ? "the norm of the dense gradients overflows"
                : DescribeNonFiniteDense(parameters, first, gradients[static_cast<size_t>(first)]);
  return outcome;
}

absl::Status DenseSync::Exchange(int64_t samples, bool* rows_finite) {
  const ParameterSet& parameters = model_->parameters();
  Context& ctx = model_->ctx();
  const auto num_gradients =  // Those of a device have a way of their own.
      device_ == nullptr ? static_cast<size_t>(parameters.num_trainable()) : 0;
  const auto num_values = num_gradients + static_cast<size_t>(num_state());
  exchange_.assign(num_values + 2, 0.0f);
  if (num_gradients > 0) {
    PAGODA_RETURN_IF_ERROR(ctx.CopyToHost(parameters.gradients(), exchange_.data(),
                                          Bytes(parameters.num_trainable())));
  }
  const float weight = static_cast<float>(samples);
  if (num_state() > 0) {
    PAGODA_RETURN_IF_ERROR(
        ctx.CopyToHost(StateOf(parameters), exchange_.data() + num_gradients, Bytes(num_state())));
    for (size_t i = num_gradients; i < num_values; ++i) {
      exchange_[i] = samples > 0 ? exchange_[i] * weight : 0.0f;
    }
  }
  exchange_[num_values] = weight;
  exchange_[num_values + 1] = *rows_finite ? 0.0f : 1.0f;
  PAGODA_RETURN_IF_ERROR(allreduce_->Sum(std::span<float>(exchange_)));
  *rows_finite = exchange_[num_values + 1] == 0.0f;
  if (num_gradients > 0) {
    PAGODA_RETURN_IF_ERROR(ctx.CopyFromHost(exchange_.data(), Bytes(parameters.num_trainable()),
                                            parameters.gradients()));
  }
  return SetAveragedState(exchange_.data() + num_gradients, exchange_[num_values]);
}

absl::Status DenseSync::SetAveragedState(const float* sums, float samples) {
  if (num_state() == 0 || samples <= 0.0f) return absl::OkStatus();
  const ParameterSet& parameters = model_->parameters();
  std::vector<float> averaged(state_before_);
  for (size_t i = 0; i < averaged.size(); ++i) averaged[i] = sums[i] / samples;
  for (size_t d = 0; d < parameters.decls().size(); ++d) {
    const DenseHandle handle{static_cast<int>(d)};
    const DenseDecl& decl = parameters.decls()[d];
    if (decl.trainable || !parameters.frozen(handle)) continue;
    const int64_t begin = parameters.offset(handle) - parameters.num_trainable();
    std::copy_n(state_before_.begin() + begin, NumElements(decl.shape), averaged.begin() + begin);
  }
  return model_->ctx().CopyFromHost(averaged.data(), Bytes(num_state()), StateOf(parameters));
}

}  // namespace pagoda
