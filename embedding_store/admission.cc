#include "embedding_store/admission.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr const char* kKindNames[] = {"none", "frequency", "probability"};
constexpr uint64_t kAdmissionStream = 0x61646d6974;  // Of the table's key.

absl::Status OutOfRange(const char* member, double value, const char* range) {
  return absl::InvalidArgumentError(
      absl::StrCat("admission.", member, " is ", value, ", but must be ", range));
}

}  // namespace

absl::StatusOr<AdmissionKind> ParseAdmissionKind(const std::string& name) {
  for (size_t i = 0; i < std::size(kKindNames); ++i) {
    if (name == kKindNames[i]) return static_cast<AdmissionKind>(i);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown kind of admission \"", name,
                                                 "\"; known: none, frequency, probability"));
}

const char* AdmissionKindName(AdmissionKind kind) {
  const auto i = static_cast<size_t>(kind);
  return i < std::size(kKindNames) ? kKindNames[i] : "unknown";
}

absl::Status CheckAdmissionOptions(const AdmissionOptions& options) {
  if (static_cast<size_t>(options.kind) >= std::size(kKindNames)) {
    return OutOfRange("kind", static_cast<double>(options.kind), "a known kind");
  }
  if (options.count < 2 || options.count > int64_t{CountMinSketch::kCountMax}) {
    return OutOfRange("count", static_cast<double>(options.count), "in [2, 255]");
  }
  if (options.window_steps < 1) {
    return OutOfRange("window_steps", static_cast<double>(options.window_steps), ">= 1");
  }
  if (options.sketch_mib < 1 || options.sketch_mib > 4096) {
    return OutOfRange("sketch_mib", static_cast<double>(options.sketch_mib), "in [1, 4096]");
  }
  if (!(options.probability > 0.0 && options.probability <= 1.0)) {
    return OutOfRange("probability", options.probability, "in (0, 1]");
  }
  return absl::OkStatus();
}

int64_t AdmissionBytes(const AdmissionOptions& options) {
  if (options.kind != AdmissionKind::kFrequency) return 0;
  return CountMinSketch::BytesOf(SketchWidthOf(options));
}

TableAdmission::TableAdmission(const AdmissionOptions& options, RandomKey key, bool holds_counts)
    : options_(options), draws_(key.Derive(kAdmissionStream)) {
  if (options.kind == AdmissionKind::kFrequency && holds_counts) {
    sketch_ = std::make_unique<CountMinSketch>(SketchWidthOf(options));
  }
}

bool TableAdmission::Admits(uint64_t id, int64_t step) const {
  if (options_.kind == AdmissionKind::kProbability) {
    const uint64_t bits = RandomBits(draws_.Derive(id), static_cast<uint64_t>(step));
    return static_cast<double>(bits >> 11) * 0x1p-53 < options_.probability;
  }
  return sketch_->Estimate(id, PeriodOf(step)) + 1 >= options_.count;
}

void TableAdmission::CountRefused(std::span<const uint64_t> ids, int64_t step, uint64_t sequence) {
  if (sketch_ != nullptr) sketch_->Count(ids, PeriodOf(step), sequence);
}

}  // namespace pagoda
