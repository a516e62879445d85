#include "worker/feature_transform.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "algorithms/nn/joined_rows.h"
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
  transform.joins_ = schema.joins;
  transform.join_sparse_.resize(schema.joins.size());
  transform.join_dense_.resize(schema.joins.size());
  std::set<std::string> names;
  for (size_t i = 0; i < schema.features.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(transform.AddFeature(schema, i, slots, list_separator));
    if (!names.insert(schema.features[i].name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two features have the name '", schema.features[i].name, "'"));
    }
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
  transform.label_may_lack_ = schema.label_may_lack;
  transform.weight_name_ = schema.weight;
  transform.group_name_ = schema.group;
  transform.target_names_ = schema.targets;
  const auto all_there = [](const std::vector<int>& columns) {
    return !columns.empty() && *std::min_element(columns.begin(), columns.end()) >= 0;
  };
  transform.has_targets_ = all_there(slots.target);
  transform.has_slices_ = all_there(slots.slice);
  return transform;
}

absl::Status FeatureTransform::AddFeature(const FeatureSchema& schema, size_t index,
                                          const ColumnSlots& slots, char list_separator) {
  Feature feature{schema.features[index], slots.feature[index], schema.features[index].separator};
  const FeatureSpec& spec = feature.spec;
  if (list_separator != '\0' && IsListColumn(spec.column_name())) {
    feature.separator = std::string(1, list_separator);
  }
  PAGODA_RETURN_IF_ERROR(CheckSpec(spec, !feature.separator.empty()));
  if (!spec.join.empty()) {
    feature.join = schema.JoinIndex(spec.join);
    PAGODA_CHECK(feature.join >= 0);
    const auto join = static_cast<size_t>(feature.join);
    PAGODA_CHECK(joins_[join].rows != nullptr);
    feature.join_column = spec.sparse() ? join_sparse_[join]++ : join_dense_[join]++;
  }
  ++(spec.sparse() ? num_sparse_ : num_dense_);
  features_.push_back(std::move(feature));
  return absl::OkStatus();
}

Batch FeatureTransform::NewBatch(int64_t size) const {
  const size_t rows = static_cast<size_t>(size);
  Batch batch;
  for (const Feature& feature : features_) {
    if (!feature.spec.sparse()) continue;
    RaggedIds& column = batch.sparse.emplace_back();
    column.join = feature.join;
    if (feature.join >= 0) continue;
    column.ids.reserve(rows);
    column.offsets.reserve(rows + 1);
  }
  batch.joins.resize(joins_.size());
  for (BatchJoin& join : batch.joins) join.sample_row.reserve(rows);
  if (has_targets_) batch.targets.reserve(rows * target_names_.size());
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

bool FeatureTransform::ReadNumeric(const Feature& feature, const RowCells& cells,
                                   const Batch& batch, float* value, RowError* error) const {
  if (feature.join >= 0) {
    const auto join = static_cast<size_t>(feature.join);
    const int32_t row = batch.joins[join].sample_row.back();
    if (row >= 0) {
      const size_t at = static_cast<size_t>(row) * join_dense_[join] + feature.join_column;
      *value = joins_[join].rows->dense[at];
      return true;
    }
  }
  const CellText cell = CellOf(cells, feature.slot);
  double wide = 0.0;
  if (!ReadTransformed(cell, feature.spec, &wide, error)) return false;
  *value = static_cast<float>(wide);
  if (std::isfinite(*value)) return true;
  return Fail(cell,
              absl::StrCat(Role{"field", feature.spec.name}.Words(),
                           " is too large for a 32-bit float: ", Quoted(cell.text)),
              error);
}

// Until Finish, sample_row holds rows of the side files; -1: it has none.
bool FeatureTransform::AppendJoins(const RowCells& cells, Batch* batch, RowError* error) const {
  for (size_t j = 0; j < joins_.size(); ++j) {
    const int slot = slots_.join[j];
    int64_t row = -1;
    if (slot >= 0) {
      const CellText cell = CellOf(cells, slot);
      row = joins_[j].rows->Find(cell.text);
      if (row < 0 && !joins_[j].allow_missing) {
        return Fail(
            cell,
            absl::StrCat("join '", joins_[j].name, "' has no row with the key ", Quoted(cell.text)),
            error);
      }
    }
    batch->joins[j].sample_row.push_back(static_cast<int32_t>(row));
  }
  return true;
}

bool FeatureTransform::AppendTargets(const RowCells& cells, Batch* batch, RowError* error) const {
  if (!has_targets_) return true;
  for (size_t t = 0; t < target_names_.size(); ++t) {
    const CellText cell = CellOf(cells, slots_.target[t]);
    const Role role{"target", target_names_[t]};
    double value = 0.0;
    if (cell.text.empty()) {
      if (needs_labels_) return Fail(cell, absl::StrCat(role.Words(), " is empty"), error);
    } else if (!ReadNumber(cell, role, &value, error)) {
      return false;
    }
    const float narrow = static_cast<float>(value);
    if (!std::isfinite(narrow)) {
      return Fail(cell, absl::StrCat(role.Words(), " is too large: ", Quoted(cell.text)), error);
    }
    batch->targets.push_back(narrow);
  }
  return true;
}

bool FeatureTransform::AppendFeatures(const RowCells& cells, Batch* batch, RowError* error) const {
  size_t sparse = 0;
  for (const Feature& feature : features_) {
    if (feature.spec.sparse()) {
      RaggedIds& column = batch->sparse[sparse++];
      if (feature.join < 0 && !AppendIds(feature, cells, &column, error)) return false;
      continue;
    }
    float value = 0.0f;
    if (!ReadNumeric(feature, cells, *batch, &value, error)) return false;
    batch->dense.push_back(value);
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
  const bool may_lack = label_may_lack_ && value == double{kNoLabel};
  if (value != 0.0 && value != 1.0 && !may_lack) {
    return Fail(
        cell,
        absl::StrCat(role.Words(), " is neither 0 nor 1", label_may_lack_ ? " nor 2" : "", ": ",
                     Quoted(cell.text), " (label_threshold or label_positive would map it)"),
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
      !AppendJoins(cells, batch, error) || !AppendFeatures(cells, batch, error) ||
      !AppendTargets(cells, batch, error)) {
    const auto size = static_cast<size_t>(batch->size);
    // Offsets are written last, so they still say where the rows before end.
    for (RaggedIds& column : batch->sparse) {
      if (column.join < 0) column.ids.resize(static_cast<size_t>(column.offsets.back()));
    }
    for (BatchJoin& join : batch->joins) join.sample_row.resize(size);
    batch->dense.resize(size * num_dense_);
    batch->targets.resize(has_targets_ ? size * target_names_.size() : 0);
    return false;
  }
  for (RaggedIds& column : batch->sparse) {
    if (column.join < 0) column.offsets.push_back(static_cast<int32_t>(column.ids.size()));
  }
  if (has_slices_) {
    for (const int slot : slots_.slice) batch->slices.emplace_back(CellOf(cells, slot).text);
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

absl::Status FeatureTransform::Finish(Batch* batch) const {
  std::vector<std::vector<int32_t>> rows(joins_.size());  // Of the side files, distinct.
  for (size_t j = 0; j < joins_.size(); ++j) {
    absl::flat_hash_map<int32_t, int32_t> numbers;
    for (int32_t& row : batch->joins[j].sample_row) {
      const auto [it, is_new] = numbers.emplace(row, static_cast<int32_t>(rows[j].size()));
      if (is_new) rows[j].push_back(row);
      row = it->second;
    }
    batch->joins[j].num_rows = static_cast<int64_t>(rows[j].size());
  }
  size_t sparse = 0;
  for (const Feature& feature : features_) {
    if (!feature.spec.sparse()) continue;
    RaggedIds& column = batch->sparse[sparse++];
    if (feature.join < 0) continue;
    const auto join = static_cast<size_t>(feature.join);
    const JoinedRows::Ids& from = joins_[join].rows->sparse[feature.join_column];
    for (const int32_t row : rows[join]) {
      if (row >= 0) {
        const auto r = static_cast<size_t>(row);
        const int64_t begin = r == 0 ? 0 : from.ends[r - 1];
        column.ids.insert(column.ids.end(), from.ids.begin() + begin,
                          from.ids.begin() + from.ends[r]);
      }
      if (column.ids.size() > kIdsMax) {
        return absl::ResourceExhaustedError(
            absl::StrCat(Role{"field", feature.spec.name}.Words(),
                         ": the batch holds 2^31 ids; choose a smaller batch_size"));
      }
      column.offsets.push_back(static_cast<int32_t>(column.ids.size()));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
