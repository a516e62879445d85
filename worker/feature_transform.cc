#include "worker/feature_transform.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "worker/libsvm_format.h"
#include "worker/number_text.h"

namespace pagoda {
namespace {

// Offsets into a batch's ids have 31 bits.
constexpr size_t kIdsMax = (size_t{1} << 31) - 1;

// A cell, and where it stands.
struct CellText {
  absl::string_view text;
  int32_t column = 0;
};

CellText CellOf(const RowCells& cells, int slot) {
  if (slot < 0) return CellText();
  return CellText{cells.text[static_cast<size_t>(slot)], cells.column[static_cast<size_t>(slot)]};
}

bool Fail(const CellText& cell, std::string message, RowError* error) {
  error->column = std::max(cell.column, 1);
  error->message = std::move(message);
  return false;
}

// What a cell is for, put into words only when it is bad.
struct Role {
  const char* kind;  // "field", "label", "weight"
  const std::string& name;

  std::string Words() const { return absl::StrCat(kind, " '", name, "'"); }
};

bool FailNumber(const CellText& cell, const Role& role, NumberError why, RowError* error) {
  const bool blanks = !cell.text.empty() && (cell.text.front() == ' ' || cell.text.back() == ' ');
  const char* words = why == NumberError::kNotFinite  ? " is not finite: "
                      : why == NumberError::kTooLarge ? " is too large: "
                                                      : " is not a number: ";
  return Fail(cell,
              absl::StrCat(role.Words(), words, Quoted(cell.text),
                           blanks ? " (trim = true drops the blanks)" : ""),
              error);
}

// "field 'age' is not a number: 'x4'".
bool ReadNumber(const CellText& cell, const Role& role, double* value, RowError* error) {
  const NumberError why = ParseNumber(cell.text, value);
  return why == NumberError::kNone || FailNumber(cell, role, why, error);
}

double Transformed(const NumericTransform& transform, double x) {
  if (transform.log) x = std::copysign(std::log1p(std::fabs(x)), x);
  return (x - transform.mean) / transform.stddev;
}

// A feature's number, transformed; an empty cell is missing_value.
bool ReadTransformed(const CellText& cell, const FeatureSpec& spec, double* value,
                     RowError* error) {
  double raw = spec.transform.missing_value;
  const Role role{"field", spec.name};
  if (!cell.text.empty() && !ReadNumber(cell, role, &raw, error)) return false;
  *value = Transformed(spec.transform, raw);
  return true;
}

// The id of one value. false: bad.
bool ReadId(const CellText& cell, const FeatureSpec& spec, FeatureId* id, RowError* error) {
  if (spec.kind == FeatureKind::kCategorical) {
    *id = HashFeature(spec.name, cell.text);
    if (spec.num_buckets > 0) *id %= static_cast<uint64_t>(spec.num_buckets);
    return true;
  }
  if (spec.kind == FeatureKind::kId) {
    if (ParseId(cell.text, id)) return true;
    return Fail(cell,
                absl::StrCat(Role{"field", spec.name}.Words(),
                             " is not an unsigned 64-bit integer: ", Quoted(cell.text)),
                error);
  }
  double value = 0.0;
  if (!ReadTransformed(cell, spec, &value, error)) return false;
  const auto& bounds = spec.boundaries;
  *id = static_cast<FeatureId>(std::upper_bound(bounds.begin(), bounds.end(), value) -
                               bounds.begin());
  return true;
}

absl::Status CheckSpec(const FeatureSpec& spec, bool has_separator) {
  const auto refuse = [&](const char* why) {
    return absl::InvalidArgumentError(absl::StrCat("feature '", spec.name, "': ", why));
  };
  if (spec.name.empty()) return absl::InvalidArgumentError("a feature has no name");
  if (!spec.sparse() && has_separator) return refuse("a numeric feature holds one value");
  if (!spec.sparse() && spec.last != 0) return refuse("a numeric feature is not a sequence");
  if (spec.last < 0) return refuse("last must not be negative");
  if (spec.last > 0 && !has_separator) return refuse("last needs a separator");
  if (spec.num_buckets < 0) return refuse("num_buckets must not be negative");
  if (spec.num_buckets > 0 && spec.kind != FeatureKind::kCategorical) {
    return refuse("num_buckets is for categorical features");
  }
  if (!std::isfinite(spec.transform.mean) || !std::isfinite(spec.transform.stddev) ||
      spec.transform.stddev <= 0.0 || !std::isfinite(spec.transform.missing_value)) {
    return refuse("mean, stddev and missing_value must be finite, and stddev positive");
  }
  if (spec.kind != FeatureKind::kBucketised) return absl::OkStatus();
  if (spec.boundaries.empty()) return refuse("a bucketised feature needs boundaries");
  for (size_t i = 0; i < spec.boundaries.size(); ++i) {
    if (!std::isfinite(spec.boundaries[i]) ||
        (i > 0 && spec.boundaries[i] <= spec.boundaries[i - 1])) {
      return refuse("boundaries must be finite and ascending");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FeatureTransform> FeatureTransform::Create(const FeatureSchema& schema,
                                                          const ColumnSlots& slots,
                                                          bool needs_labels, char list_separator) {
  FeatureTransform transform;
  std::set<std::string> names;
  for (size_t i = 0; i < schema.features.size(); ++i) {
    Feature feature{schema.features[i], slots.feature[i], schema.features[i].separator};
    if (list_separator != '\0' && IsListColumn(feature.spec.column_name())) {
      feature.separator = std::string(1, list_separator);
    }
    PAGODA_RETURN_IF_ERROR(CheckSpec(feature.spec, !feature.separator.empty()));
    if (!names.insert(feature.spec.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two features have the name '", feature.spec.name, "'"));
    }
    if (feature.spec.sparse()) {
      ++transform.num_sparse_;
    } else {
      ++transform.num_dense_;
    }
    transform.features_.push_back(std::move(feature));
  }
  if (schema.label_has_threshold && !schema.label_positive.empty()) {
    return absl::InvalidArgumentError("give label_threshold or label_positive, not both");
  }
  if (!std::isfinite(schema.label_threshold)) {
    return absl::InvalidArgumentError("label_threshold must be finite");
  }
  transform.slots_ = slots;
  transform.needs_labels_ = needs_labels;
  transform.label_name_ = schema.label;
  transform.label_has_threshold_ = schema.label_has_threshold;
  transform.label_threshold_ = schema.label_threshold;
  transform.label_positive_ = schema.label_positive;
  transform.weight_name_ = schema.weight;
  transform.group_name_ = schema.group;
  return transform;
}

Batch FeatureTransform::NewBatch(int64_t size) const {
  const size_t rows = static_cast<size_t>(size);
  Batch batch;
  batch.sparse.resize(num_sparse_);
  for (RaggedIds& column : batch.sparse) {
    column.ids.reserve(rows);
    column.offsets.reserve(rows + 1);
  }
  batch.dense.reserve(rows * num_dense_);
  batch.labels.reserve(rows);
  batch.weights.reserve(rows);
  if (slots_.group >= 0) batch.groups.reserve(rows);
  batch.origins.reserve(rows);
  return batch;
}

bool FeatureTransform::AppendIds(const Feature& feature, const RowCells& cells, RaggedIds* out,
                                 RowError* error) const {
  if (feature.slot < 0) return true;
  CellText cell = CellOf(cells, feature.slot);
  const bool no_id = cell.text.empty() && feature.spec.kind == FeatureKind::kId;
  FeatureId id = 0;
  if (feature.separator.empty()) {
    if (no_id) return true;
    if (!ReadId(cell, feature.spec, &id, error)) return false;
    out->ids.push_back(id);
    return true;
  }
  const size_t begin = out->ids.size();
  absl::string_view rest = cell.text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(feature.separator), rest.size());
    cell.text = rest.substr(0, end);
    rest.remove_prefix(std::min(rest.size(), end + feature.separator.size()));
    if (cell.text.empty()) continue;
    if (!ReadId(cell, feature.spec, &id, error)) return false;
    out->ids.push_back(id);
  }
  if (out->ids.size() > kIdsMax) {
    return Fail(cell,
                absl::StrCat(Role{"field", feature.spec.name}.Words(),
                             ": the batch holds 2^31 ids; choose a smaller batch_size"),
                error);
  }
  const size_t last = static_cast<size_t>(feature.spec.last);
  if (last > 0 && out->ids.size() - begin > last) {
    const auto first = out->ids.begin() + static_cast<int64_t>(begin);
    out->ids.erase(first, out->ids.end() - static_cast<int64_t>(last));
  }
  return true;
}

bool FeatureTransform::AppendFeatures(const RowCells& cells, Batch* batch, RowError* error) const {
  size_t sparse = 0;
  for (const Feature& feature : features_) {
    if (feature.spec.sparse()) {
      if (!AppendIds(feature, cells, &batch->sparse[sparse], error)) return false;
      ++sparse;
      continue;
    }
    const CellText cell = CellOf(cells, feature.slot);
    double value = 0.0;
    if (!ReadTransformed(cell, feature.spec, &value, error)) return false;
    const float narrow = static_cast<float>(value);
    if (!std::isfinite(narrow)) {
      return Fail(cell,
                  absl::StrCat(Role{"field", feature.spec.name}.Words(),
                               " is too large for a 32-bit float: ", Quoted(cell.text)),
                  error);
    }
    batch->dense.push_back(narrow);
  }
  return true;
}

bool FeatureTransform::ReadLabel(const RowCells& cells, float* label, RowError* error) const {
  *label = 0.0f;
  if (slots_.label < 0) return true;
  const CellText cell = CellOf(cells, slots_.label);
  const Role role{"label", label_name_};
  if (cell.text.empty()) {
    if (!needs_labels_) return true;
    return Fail(cell, absl::StrCat(role.Words(), " is empty"), error);
  }
  if (!label_positive_.empty()) {
    *label = cell.text == label_positive_ ? 1.0f : 0.0f;
    return true;
  }
  double value = 0.0;
  if (cell.text.size() == 1 && (cell.text[0] == '0' || cell.text[0] == '1')) {
    value = cell.text[0] - '0';
  } else if (!ReadNumber(cell, role, &value, error)) {
    return false;
  }
  if (label_has_threshold_) {
    *label = value >= label_threshold_ ? 1.0f : 0.0f;
    return true;
  }
  if (value != 0.0 && value != 1.0) {
    return Fail(cell,
                absl::StrCat(role.Words(), " is neither 0 nor 1: ", Quoted(cell.text),
                             " (label_threshold or label_positive would map it)"),
                error);
  }
  *label = static_cast<float>(value);
  return true;
}

bool FeatureTransform::ReadWeight(const RowCells& cells, float* weight, RowError* error) const {
  *weight = 1.0f;
  if (slots_.weight < 0) return true;
  const CellText cell = CellOf(cells, slots_.weight);
  double value = 0.0;
  const Role role{"weight", weight_name_};
  if (!ReadNumber(cell, role, &value, error)) return false;
  *weight = static_cast<float>(value);
  if (value >= 0.0 && std::isfinite(*weight)) return true;
  return Fail(cell,
              absl::StrCat(role.Words(),
                           value < 0.0 ? " is negative: " : " is too large: ", Quoted(cell.text)),
              error);
}

bool FeatureTransform::AppendRow(const RowCells& cells, const SampleOrigin& origin, Batch* batch,
                                 RowError* error) const {
  float label = 0.0f, weight = 1.0f;
  if (!ReadLabel(cells, &label, error) || !ReadWeight(cells, &weight, error) ||
      !AppendFeatures(cells, batch, error)) {
    // Offsets are written last, so they still say where the rows before end.
    for (RaggedIds& column : batch->sparse) {
      column.ids.resize(static_cast<size_t>(column.offsets.back()));
    }
    batch->dense.resize(static_cast<size_t>(batch->size) * num_dense_);
    return false;
  }
  for (RaggedIds& column : batch->sparse) {
    column.offsets.push_back(static_cast<int32_t>(column.ids.size()));
  }
  batch->labels.push_back(label);
  batch->weights.push_back(weight);
  if (slots_.group >= 0) {
    batch->groups.push_back(HashFeature(group_name_, CellOf(cells, slots_.group).text));
  }
  batch->origins.push_back(origin);
  ++batch->size;
  return true;
}

}  // namespace pagoda
