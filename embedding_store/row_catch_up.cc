#include "embedding_store/row_catch_up.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/sparse_optimizer.h"
#include "embedding_store/vector_width.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

constexpr int64_t kWindowMax = 65536;
constexpr int64_t kTermsMax = 256;

bool Scales(Kind kind) {
  return kind != Kind::kMomentum && !IsFtrl(kind);
}

// F of missed_adam.h at root = sqrt(v), for one value.
inline __attribute__((always_inline)) float SumOfTerm(const MissedAdam::Term& term, float root,
                                                      float epsilon) {
  const float scaled = term.center * root;
  const float inverse = 1.0f / (scaled + epsilon);
  const float y = scaled * inverse;
  const auto& m = term.moments;
  const float far = m[4] - y * (m[5] - y * (m[6] - y * m[7]));
  return inverse * (m[0] - y * (m[1] - y * (m[2] - y * (m[3] - y * far))));
}

// weights = scale (w - m F(sqrt(v))), a block of columns at a time.
PAGODA_EACH_VECTOR_WIDTH
void AdamWeights(const MissedAdam::Term* terms, size_t count, float epsilon, float scale,
                 int64_t dim, const float* w, const float* m, const float* v, float* weights) {
  constexpr int64_t kBlock = 16;
  for (int64_t begin = 0; begin < dim; begin += kBlock) {
    const int64_t width = std::min(kBlock, dim - begin);
    float root[kBlock] = {};
    float sum[kBlock] = {};
    for (int64_t i = 0; i < width; ++i) root[i] = std::sqrt(v[begin + i]);
    for (size_t t = 0; t < count; ++t) {
      const MissedAdam::Term term = terms[t];
      for (int64_t i = 0; i < kBlock; ++i) sum[i] += SumOfTerm(term, root[i], epsilon);
    }
    for (int64_t i = 0; i < width; ++i) {
      weights[begin + i] = scale * (w[begin + i] - m[begin + i] * sum[i]);
    }
  }
}

PAGODA_EACH_VECTOR_WIDTH
void RowwiseAdamWeights(const MissedAdam::Term* terms, size_t count, float epsilon, float scale,
                        int64_t dim, const float* w, const float* m, float v, float* weights) {
  const float root = std::sqrt(v);
  float sum = 0.0f;
  for (size_t t = 0; t < count; ++t) sum += SumOfTerm(terms[t], root, epsilon);
  for (int64_t c = 0; c < dim; ++c) weights[c] = scale * (w[c] - m[c] * sum);
}

// to = a x + b y.
PAGODA_EACH_VECTOR_WIDTH
void Combine(int64_t dim, float a, const float* x, float b, const float* y, float* to) {
  for (int64_t c = 0; c < dim; ++c) to[c] = a * x[c] + b * y[c];
}

PAGODA_EACH_VECTOR_WIDTH
void ScaleRow(int64_t dim, float scale, const float* from, float* to) {
  for (int64_t c = 0; c < dim; ++c) to[c] = scale * from[c];
}

PAGODA_EACH_VECTOR_WIDTH
void FtrlRow(const RowUpdateSettings& s, bool group, int64_t dim, const float* slots,
             float* weights) {
  if (group) return GroupFtrlWeights(s, dim, slots, weights);
  FtrlWeights(s, dim, slots, weights);
}

PAGODA_EACH_VECTOR_WIDTH
void DecayAccumulators(const RowUpdateSettings& s, int64_t dim, float* slots) {
  DecayRowAccumulators(s, dim, slots);
}

float PowerOf(float base, Step exponent) {
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

}  // namespace

absl::Status CheckExactOptions(const TableOptions& options) {
  const SparseOptimizerOptions& o = options.optimizer;
  auto refuse = [&](const char* member, float value, const std::string& range) {
    return absl::InvalidArgumentError(absl::StrCat("table \"", options.name, "\": optimizer.",
                                                   member, " is ", value, ", but must be ", range,
                                                   " with exact = true"));
  };
  if (o.l2 > 0.0f && o.kind != Kind::kSgd && o.kind != Kind::kMomentum) {
    return refuse("l2", o.l2,
                  absl::StrCat("0 with ", SparseOptimizerName(o.kind),
                               " (sgd and momentum can; the others have weight_decay)"));
  }
  if (!IsAdam(o.kind)) return absl::OkStatus();
  if (o.beta1 > 0.0f && !(o.beta1 * o.beta1 < o.beta2)) {
    return refuse("beta1", o.beta1, "below the square root of beta2");
  }
  const MissedAdam::Size size = MissedAdam::SizeOf(o.beta1, o.beta2);
  if (size.window > kWindowMax) return refuse("beta1", o.beta1, "smaller");
  if (size.terms > kTermsMax) return refuse("beta2", o.beta2, "larger");
  return absl::OkStatus();
}

RowCatchUp::RowCatchUp(const TableOptions& options)
    : options_(options.optimizer),
      dim_(options.dim),
      decay_(Scales(options_.kind) ? double{options_.weight_decay} +
                                         (options_.kind == Kind::kSgd ? double{options_.l2} : 0.0)
                                   : 0.0),
      needs_rates_(decay_ > 0.0 || options_.kind == Kind::kMomentum || IsAdam(options_.kind) ||
                   IsFtrl(options_.kind)) {
  settings_ = MakeRowUpdateSettings(options_, options_.learning_rate, 1.0f);
  if (options_.kind == Kind::kMomentum) momentum_ = std::make_unique<MissedMomentum>();
  if (IsAdam(options_.kind)) {
    adam_ = std::make_unique<MissedAdam>(options_.beta1, options_.beta2);
  }
  if (decay_ > 0.0) log_decay_.push_back(0.0);
}

absl::Status RowCatchUp::CheckRate(float learning_rate) const {
  const double rate = learning_rate;
  const double lost = rate * (double{options_.weight_decay} + double{options_.l2});
  if (!(lost < 1.0)) {
    return absl::FailedPreconditionError(absl::StrCat("learning rate ", learning_rate,
                                                      " times weight decay and L2 is ", lost,
                                                      ": an exact table needs less than 1"));
  }
  if (adam_ != nullptr && lost > 1.0 - double{options_.beta1}) {
    return absl::FailedPreconditionError(
        absl::StrCat("learning rate ", learning_rate, " times weight decay is ", lost,
                     ": an exact table needs at most 1 - beta1 = ", 1.0 - double{options_.beta1}));
  }
  return absl::OkStatus();
}

void RowCatchUp::Advance(float learning_rate, uint64_t sequence) {
  ++step_;
  last_sequence_ = sequence;
  const float kept_rate = needs_rates_ ? learning_rate : 0.0f;
  const bool longer =
      !rates_.empty() && rates_.back().rate == kept_rate && rates_.back().count < UINT32_MAX;
  if (longer) {
    ++rates_.back().count;
  } else {
    rates_.push_back({1, kept_rate});
  }
  const double rate = learning_rate;
  const double log_decay = decay_ > 0.0 ? std::log1p(-rate * decay_) : 0.0;
  if (decay_ > 0.0) log_decay_.push_back(log_decay_.back() + log_decay);
  if (adam_ != nullptr) adam_->Advance(rate, log_decay);
  if (momentum_ != nullptr) {
    const double l2 = options_.l2;
    const double kept = options_.momentum;
    momentum_->Advance({1.0 - rate * (double{options_.weight_decay} + l2), -rate * kept, l2, kept});
  }
  if (options_.kind == Kind::kAdagradDecay) {
    settings_.periods = static_cast<float>(step_ / options_.decay_steps);
  }
  if (IsFtrl(options_.kind) && learning_rate > 0.0f) {
    settings_.learning_rate = learning_rate;
    last_rated_step_ = step_;
  }
}

double RowCatchUp::DecaySince(Step last_step) const {
  if (decay_ == 0.0) return 1.0;
  return std::exp(log_decay_.back() - log_decay_[static_cast<size_t>(last_step)]);
}

void RowCatchUp::ReadWeights(const float* row, Step last_step, float* weights) const {
  // A row may be newer than the step that is being finished.
  if (last_step >= step_) {
    std::memmove(weights, row, static_cast<size_t>(dim_) * sizeof(float));
    return;
  }
  const float* slots = row + dim_;
  if (momentum_ != nullptr) {
    const MissedMomentum::Map map = momentum_->Between(last_step);
    return Combine(dim_, static_cast<float>(map.ww), row, static_cast<float>(map.wv), slots,
                   weights);
  }
  if (IsFtrl(options_.kind)) {
    if (last_rated_step_ > last_step) {
      return FtrlRow(settings_, options_.kind == Kind::kGroupFtrl, dim_, slots, weights);
    }
    return ScaleRow(dim_, 1.0f, row, weights);
  }
  const auto scale = static_cast<float>(DecaySince(last_step));
  if (adam_ == nullptr) return ScaleRow(dim_, scale, row, weights);
  const std::span<const MissedAdam::Term> terms = adam_->Terms(last_step);
  if (options_.kind == Kind::kRowwiseAdam) {
    return RowwiseAdamWeights(terms.data(), terms.size(), options_.epsilon, scale, dim_, row, slots,
                              slots[dim_], weights);
  }
  AdamWeights(terms.data(), terms.size(), options_.epsilon, scale, dim_, row, slots, slots + dim_,
              weights);
}

void RowCatchUp::BringUp(float* row, Step last_step) const {
  float* slots = row + dim_;
  const Step missed = step_ - last_step;
  if (missed <= 0) return;
  if (momentum_ != nullptr) {
    const MissedMomentum::Map map = momentum_->Between(last_step);
    for (int64_t c = 0; c < dim_; ++c) {
      const float w = row[c];
      const float v = slots[c];
      row[c] = static_cast<float>(map.ww) * w + static_cast<float>(map.wv) * v;
      slots[c] = static_cast<float>(map.vw) * w + static_cast<float>(map.vv) * v;
    }
    return;
  }
  ReadWeights(row, last_step, row);
  if (options_.kind == Kind::kAdagradDecay) DecayAccumulators(settings_, dim_, slots);
  if (adam_ == nullptr) return;
  const int64_t seconds = options_.kind == Kind::kRowwiseAdam ? 1 : dim_;
  slots[dim_ + seconds] = static_cast<float>(step_);  // What NextAdamStep goes on from.
  ScaleRow(dim_, PowerOf(options_.beta1, missed), slots, slots);
  ScaleRow(seconds, PowerOf(options_.beta2, missed), slots + dim_, slots + dim_);
}

void RowCatchUp::AppendRates(uint64_t sequence, std::string* bytes) const {
  std::vector<Run> runs = rates_;
  if (last_sequence_ > sequence && !runs.empty() && --runs.back().count == 0) runs.pop_back();
  const uint64_t count = runs.size();
  bytes->append(reinterpret_cast<const char*>(&count), sizeof(count));
  bytes->append(reinterpret_cast<const char*>(runs.data()), runs.size() * sizeof(Run));
}

absl::Status RowCatchUp::Load(absl::string_view* bytes) {
  uint64_t count = 0;
  const auto broken = [] { return absl::DataLossError("the learning rates cannot be read"); };
  if (bytes->size() < sizeof(count)) return broken();
  std::memcpy(&count, bytes->data(), sizeof(count));
  bytes->remove_prefix(sizeof(count));
  if (count > bytes->size() / sizeof(Run)) return broken();
  for (uint64_t i = 0; i < count; ++i) {
    Run run;
    std::memcpy(&run, bytes->data() + i * sizeof(Run), sizeof(run));
    if (!std::isfinite(run.rate) || !CheckRate(run.rate).ok()) return broken();
    for (uint32_t n = 0; n < run.count; ++n) Advance(run.rate, 0);
  }
  bytes->remove_prefix(count * sizeof(Run));
  return absl::OkStatus();
}

}  // namespace pagoda
