#include "algorithms/nn/batch.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "base/hash.h"

namespace pagoda {
namespace {

// Numbers distinct ids 0, 1, 2, ... in the order of their first Add. Linear
// probing over 4-byte slots that point into the list of ids: for a table of a
// few thousand ids both fit the first-level cache.
class IdNumbering {
 public:
  // At most `num_adds` calls of Add will follow.
  IdNumbering(int64_t num_adds, std::vector<FeatureId>* ids) : ids_(*ids) {
    uint64_t num_slots = 16;
    while (num_slots < 2 * static_cast<uint64_t>(num_adds)) num_slots *= 2;
    slots_.assign(num_slots, kEmpty);
    mask_ = num_slots - 1;
    ids_.reserve(static_cast<size_t>(num_adds));
  }

  int32_t Add(FeatureId id) {
    uint64_t slot = MixBits(id) & mask_;
    while (slots_[slot] != kEmpty) {
      if (ids_[static_cast<size_t>(slots_[slot])] == id) return slots_[slot];
      slot = (slot + 1) & mask_;
    }
    const int32_t number = static_cast<int32_t>(ids_.size());
    slots_[slot] = number;
    ids_.push_back(id);
    return number;
  }

 private:
  static constexpr int32_t kEmpty = -1;
  std::vector<FeatureId>& ids_;
  std::vector<int32_t> slots_;
  uint64_t mask_ = 0;
};

// Row numbers (within a table) of each value of some features.
struct NumberedFeatures {
  std::vector<FeatureId> unique_ids;
  std::map<int, std::vector<int32_t>> rows;  // Sparse feature -> [nnz of the feature].
};

absl::Status CheckSize(const char* what, size_t found, int64_t wanted, bool may_be_empty) {
  if (static_cast<int64_t>(found) == wanted || (may_be_empty && found == 0)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a batch has ", found, " ", what, " where ", wanted, " are needed"));
}

absl::Status CheckRagged(const RaggedIds& values, int64_t size, const std::string& name) {
  bool ok = static_cast<int64_t>(values.offsets.size()) == size + 1 && values.offsets[0] == 0;
  for (int64_t i = 0; ok && i < size; ++i) {
    ok = values.offsets[static_cast<size_t>(i)] <= values.offsets[static_cast<size_t>(i) + 1];
  }
  if (ok && values.ids.size() == static_cast<size_t>(values.offsets.back())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("feature '", name,
                                                 "': the offsets of its values do not fit ", size,
                                                 " samples and ", values.ids.size(), " values"));
}

absl::Status CheckBatch(const FeatureSchema& schema, const Batch& batch) {
  if (batch.size < 0) return absl::InvalidArgumentError("a batch has a negative size");
  const std::vector<int> sparse = schema.SparseFeatures();
  PAGODA_RETURN_IF_ERROR(CheckSize("sparse features", batch.sparse.size(),
                                   static_cast<int64_t>(sparse.size()), false));
  const int64_t num_dense = static_cast<int64_t>(schema.DenseFeatures().size());
  PAGODA_RETURN_IF_ERROR(
      CheckSize("numeric values", batch.dense.size(), batch.size * num_dense, false));
  PAGODA_RETURN_IF_ERROR(CheckSize("labels", batch.labels.size(), batch.size, true));
  PAGODA_RETURN_IF_ERROR(CheckSize("weights", batch.weights.size(), batch.size, true));
  PAGODA_RETURN_IF_ERROR(CheckSize("groups", batch.groups.size(), batch.size, true));
  for (size_t k = 0; k < sparse.size(); ++k) {
    const FeatureSpec& spec = schema.features[static_cast<size_t>(sparse[k])];
    PAGODA_RETURN_IF_ERROR(CheckRagged(batch.sparse[k], batch.size, spec.name));
  }
  return absl::OkStatus();
}

// The features that look table `table` up, distinct, in lookup order.
std::vector<int> FeaturesOfTable(const Declaration& declaration, int table) {
  std::vector<int> features;
  for (const LookupDecl& lookup : declaration.lookups) {
    for (size_t k = 0; k < lookup.features.size(); ++k) {
      if (lookup.tables[k] != table) continue;
      if (std::find(features.begin(), features.end(), lookup.features[k]) == features.end()) {
        features.push_back(lookup.features[k]);
      }
    }
  }
  return features;
}

NumberedFeatures NumberIds(const Batch& batch, const std::vector<int>& features) {
  NumberedFeatures numbered;
  int64_t num_values = 0;
  for (int feature : features) {
    num_values += static_cast<int64_t>(batch.sparse[static_cast<size_t>(feature)].ids.size());
  }
  IdNumbering numbering(num_values, &numbered.unique_ids);
  for (int feature : features) {
    const std::vector<FeatureId>& ids = batch.sparse[static_cast<size_t>(feature)].ids;
    std::vector<int32_t>& rows = numbered.rows[feature];
    rows.resize(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) rows[i] = numbering.Add(ids[i]);
  }
  return numbered;
}

// Counting sort of the occurrences by row; stable, so segments ascend.
void Transpose(bool sequence, LookupIndex* index) {
  const size_t num_rows = static_cast<size_t>(index->num_rows);
  std::vector<int32_t>& offsets = index->occurrence_offsets;
  offsets.assign(num_rows + 2, 0);
  for (int32_t row : index->inverse) ++offsets[static_cast<size_t>(row) + 2];
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  // offsets[row + 1] is now the start of `row`, and moves to its end below.
  index->occurrence_segments.resize(index->inverse.size());
  const size_t num_segments = index->offsets.size() - 1;
  for (size_t segment = 0; segment < num_segments; ++segment) {
    for (int32_t p = index->offsets[segment]; p < index->offsets[segment + 1]; ++p) {
      const size_t row = static_cast<size_t>(index->inverse[static_cast<size_t>(p)]);
      index->occurrence_segments[static_cast<size_t>(offsets[row + 1]++)] =
          sequence ? p : static_cast<int32_t>(segment);
    }
  }
  offsets.pop_back();
}

// Sample-major inverse and offsets from the feature-major row numbers.
void Interleave(const Batch& batch, const LookupDecl& lookup,
                const std::vector<const int32_t*>& rows, const std::vector<int32_t>& first_rows,
                LookupIndex* index) {
  const size_t num_features = lookup.features.size();
  std::vector<const int32_t*> offsets(num_features);
  size_t nnz = 0;
  for (size_t k = 0; k < num_features; ++k) {
    const RaggedIds& values = batch.sparse[static_cast<size_t>(lookup.features[k])];
    offsets[k] = values.offsets.data();
    nnz += values.ids.size();
  }
  index->inverse.resize(nnz);
  index->offsets.resize(static_cast<size_t>(batch.size) * num_features + 1);
  int32_t* inverse = index->inverse.data();
  int32_t* segment_end = index->offsets.data();
  *segment_end++ = 0;
  int32_t count = 0;
  for (int64_t i = 0; i < batch.size; ++i) {
    for (size_t k = 0; k < num_features; ++k) {
      const int32_t end = offsets[k][i + 1];
      for (int32_t p = offsets[k][i]; p < end; ++p) inverse[count++] = first_rows[k] + rows[k][p];
      *segment_end++ = count;
    }
  }
}

LookupIndex IndexLookup(const FeatureSchema& schema, const PreparedBatch& prepared,
                        const LookupDecl& lookup,
                        const std::vector<const NumberedFeatures*>& numbered) {
  LookupIndex index;
  const size_t num_features = lookup.features.size();
  index.num_features = static_cast<int64_t>(num_features);
  int64_t begin = std::numeric_limits<int64_t>::max();
  int64_t end = 0;
  for (int table : lookup.tables) {
    const RowRange& range = prepared.table_rows[static_cast<size_t>(table)];
    const size_t num_ids = prepared.unique_ids[static_cast<size_t>(table)].size();
    index.group = range.group;
    begin = std::min(begin, range.first_row);
    end = std::max(end, range.first_row + static_cast<int64_t>(num_ids));
  }
  index.first_row = begin;
  index.num_rows = end - begin;
  const std::vector<int> sparse = schema.SparseFeatures();
  std::vector<const int32_t*> rows(num_features);
  std::vector<int32_t> first_rows(num_features);
  for (size_t k = 0; k < num_features; ++k) {
    const int feature = lookup.features[k];
    const size_t table = static_cast<size_t>(lookup.tables[k]);
    const FeatureSpec& spec =
        schema.features[static_cast<size_t>(sparse[static_cast<size_t>(feature)])];
    index.columns.push_back(static_cast<int32_t>(k));
    index.pooling.push_back(static_cast<int32_t>(spec.pooling));
    rows[k] = numbered[table]->rows.at(feature).data();
    first_rows[k] = static_cast<int32_t>(prepared.table_rows[table].first_row - begin);
  }
  Interleave(prepared.batch, lookup, rows, first_rows, &index);
  Transpose(lookup.sequence, &index);
  return index;
}

void LayOutRows(const Declaration& declaration, PreparedBatch* prepared) {
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    const int64_t dim = declaration.tables[t].dim;
    size_t g = 0;
    while (g < prepared->row_groups.size() && prepared->row_groups[g].dim != dim) ++g;
    if (g == prepared->row_groups.size()) prepared->row_groups.push_back({dim, 0, {}});
    RowGroup& group = prepared->row_groups[g];
    prepared->table_rows.push_back({static_cast<int>(g), group.num_rows});
    group.num_rows += static_cast<int64_t>(prepared->unique_ids[t].size());
    group.tables.push_back(static_cast<int>(t));
  }
}

// Every index of a lookup is 32 bits wide, and so are the row numbers of a group.
absl::Status CheckLimits(const Declaration& declaration, const Batch& batch) {
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max();
  int64_t num_values = 0;
  for (const LookupDecl& lookup : declaration.lookups) {
    const int64_t num_segments = batch.size * static_cast<int64_t>(lookup.features.size());
    if (num_segments >= kLimit) num_values = kLimit;
    for (int feature : lookup.features) {
      if (feature < 0 || feature >= static_cast<int>(batch.sparse.size())) {
        return absl::InvalidArgumentError(
            absl::StrCat("a lookup names sparse feature ", feature, " of ", batch.sparse.size()));
      }
      num_values += static_cast<int64_t>(batch.sparse[static_cast<size_t>(feature)].ids.size());
    }
  }
  if (num_values < kLimit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a batch of ", batch.size, " samples holds 2^31 or more values; use a smaller batch_size"));
}

}  // namespace

std::string Batch::OriginRange() const {
  if (origins.empty()) return absl::StrCat("a batch of ", size, " samples of unknown origin");
  std::map<int32_t, std::pair<int64_t, int64_t>> lines;  // Per file: first and last line.
  for (const SampleOrigin& origin : origins) {
    auto [it, inserted] = lines.try_emplace(origin.file, origin.line, origin.line);
    it->second.first = std::min(it->second.first, origin.line);
    it->second.second = std::max(it->second.second, origin.line);
  }
  constexpr size_t kFilesMax = 4;  // A message stays one line long.
  std::string text;
  size_t shown = 0;
  for (const auto& [file, range] : lines) {
    if (shown == kFilesMax) {
      absl::StrAppend(&text, " and ", lines.size() - shown, " more files");
      break;
    }
    const bool named = files != nullptr && file >= 0 && file < static_cast<int>(files->size());
    absl::StrAppend(&text, shown++ == 0 ? "" : ", ",
                    named ? (*files)[static_cast<size_t>(file)] : absl::StrCat("file ", file), ":",
                    range.first);
    if (range.second != range.first) absl::StrAppend(&text, "-", range.second);
  }
  return text;
}

absl::StatusOr<PreparedBatch> PrepareBatch(const FeatureSchema& schema,
                                           const Declaration& declaration, Batch batch) {
  PAGODA_RETURN_IF_ERROR(CheckBatch(schema, batch));
  PAGODA_RETURN_IF_ERROR(CheckLimits(declaration, batch));
  PreparedBatch prepared;
  prepared.batch = std::move(batch);
  prepared.num_dense = static_cast<int64_t>(schema.DenseFeatures().size());
  // Tables that the same features look up (an embedding and a wide weight)
  // have the same ids: they are numbered once.
  std::map<std::vector<int>, NumberedFeatures> by_features;
  std::vector<const NumberedFeatures*> numbered;
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    const std::vector<int> features = FeaturesOfTable(declaration, static_cast<int>(t));
    auto it = by_features.find(features);
    if (it == by_features.end()) {
      it = by_features.emplace(features, NumberIds(prepared.batch, features)).first;
    }
    numbered.push_back(&it->second);
    prepared.unique_ids.push_back(it->second.unique_ids);
  }
  LayOutRows(declaration, &prepared);
  for (const LookupDecl& lookup : declaration.lookups) {
    prepared.lookups.push_back(IndexLookup(schema, prepared, lookup, numbered));
  }
  return prepared;
}

}  // namespace pagoda
