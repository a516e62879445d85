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

// What looks a table up, each distinct, in lookup order: sparse features, then negatives.
struct TableUsers {
  std::vector<int> features, negatives;
  friend auto operator<=>(const TableUsers&, const TableUsers&) = default;
};

// Row numbers (within a table) of each value of its users.
struct NumberedFeatures {
  std::vector<FeatureId> unique_ids;
  std::map<int, std::vector<int32_t>> rows;           // Sparse feature -> [nnz of the feature].
  std::map<int, std::vector<int32_t>> negative_rows;  // Negatives -> [their number].
};

absl::Status CheckSize(const char* what, size_t found, int64_t wanted, bool may_be_empty) {
  if (static_cast<int64_t>(found) == wanted || (may_be_empty && found == 0)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a batch has ", found, " ", what, " where ", wanted, " are needed"));
}

// How many rows a feature has: samples, or those of its join.
int64_t RowsOf(const Batch& batch, const RaggedIds& values) {
  return values.join < 0 ? batch.size : batch.joins[static_cast<size_t>(values.join)].num_rows;
}

absl::Status CheckRagged(const Batch& batch, const FeatureSchema& schema, const RaggedIds& values,
                         const FeatureSpec& spec) {
  const int join = spec.join.empty() ? -1 : schema.JoinIndex(spec.join);
  if (values.join != join) {
    return absl::InvalidArgumentError(absl::StrCat("feature '", spec.name, "' is of join ", join,
                                                   " but its values are of join ", values.join));
  }
  const int64_t size = RowsOf(batch, values);
  bool ok = static_cast<int64_t>(values.offsets.size()) == size + 1 && values.offsets[0] == 0;
  for (int64_t i = 0; ok && i < size; ++i) {
    ok = values.offsets[static_cast<size_t>(i)] <= values.offsets[static_cast<size_t>(i) + 1];
  }
  if (ok && values.ids.size() == static_cast<size_t>(values.offsets.back())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "feature '", spec.name, "': the offsets of its values do not fit ", size,
      join < 0 ? " samples and " : " rows of its join and ", values.ids.size(), " values"));
}

absl::Status CheckJoins(const FeatureSchema& schema, const Batch& batch) {
  PAGODA_RETURN_IF_ERROR(
      CheckSize("joins", batch.joins.size(), static_cast<int64_t>(schema.joins.size()), false));
  for (size_t j = 0; j < batch.joins.size(); ++j) {
    const BatchJoin& join = batch.joins[j];
    PAGODA_RETURN_IF_ERROR(CheckSize("join rows", join.sample_row.size(), batch.size, false));
    for (const int32_t row : join.sample_row) {
      if (row >= 0 && row < join.num_rows) continue;
      return absl::InvalidArgumentError(absl::StrCat("a sample names row ", row, " of ",
                                                     join.num_rows, " of join '",
                                                     schema.joins[j].name, "'"));
    }
  }
  return absl::OkStatus();
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
  const auto num_targets = static_cast<int64_t>(schema.targets.size());
  PAGODA_RETURN_IF_ERROR(
      CheckSize("targets", batch.targets.size(), batch.size * num_targets, true));
  const auto num_slices = static_cast<int64_t>(schema.slices.size());
  PAGODA_RETURN_IF_ERROR(CheckSize("slices", batch.slices.size(), batch.size * num_slices, true));
  PAGODA_RETURN_IF_ERROR(CheckJoins(schema, batch));
  for (size_t k = 0; k < sparse.size(); ++k) {
    const FeatureSpec& spec = schema.features[static_cast<size_t>(sparse[k])];
    PAGODA_RETURN_IF_ERROR(CheckRagged(batch, schema, batch.sparse[k], spec));
  }
  return absl::OkStatus();
}

TableUsers UsersOf(const Declaration& declaration, int table) {
  TableUsers users;
  const auto add = [](std::vector<int>& to, int user) {
    if (std::find(to.begin(), to.end(), user) == to.end()) to.push_back(user);
  };
  for (const LookupDecl& lookup : declaration.lookups) {
    if (lookup.negatives >= 0) {
      if (lookup.tables[0] == table) add(users.negatives, lookup.negatives);
      continue;
    }
    for (size_t k = 0; k < lookup.features.size(); ++k) {
      if (lookup.tables[k] == table) add(users.features, lookup.features[k]);
    }
  }
  return users;
}

NumberedFeatures NumberIds(const PreparedBatch& prepared, const TableUsers& users) {
  NumberedFeatures numbered;
  const auto features = [&](int feature) -> const std::vector<FeatureId>& {
    return prepared.batch.sparse[static_cast<size_t>(feature)].ids;
  };
  const auto negatives = [&](int index) -> const std::vector<FeatureId>& {
    return prepared.negatives[static_cast<size_t>(index)].ids;
  };
  size_t num_values = 0;
  for (const int feature : users.features) num_values += features(feature).size();
  for (const int index : users.negatives) num_values += negatives(index).size();
  IdNumbering numbering(static_cast<int64_t>(num_values), &numbered.unique_ids);
  const auto number = [&](const std::vector<FeatureId>& ids, std::vector<int32_t>& rows) {
    rows.resize(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) rows[i] = numbering.Add(ids[i]);
  };
  for (const int feature : users.features) number(features(feature), numbered.rows[feature]);
  for (const int index : users.negatives) number(negatives(index), numbered.negative_rows[index]);
  return numbered;
}

// `before`: the negatives of the declarations before this one.
absl::StatusOr<DrawnNegatives> ChooseNegatives(const NegativesDecl& decl, const Batch& batch,
                                               const std::vector<DrawnNegatives>& before) {
  DrawnNegatives chosen;
  chosen.places = decl.choose != nullptr ? decl.choose(batch, decl.key)
                                         : before[static_cast<size_t>(decl.same_as)].places;
  const Batch& whole = batch.Whole();
  const auto feature = static_cast<size_t>(decl.feature);
  const size_t size = feature < whole.sparse.size() ? whole.sparse[feature].ids.size() : 0;
  for (const int32_t place : chosen.places) {
    if (place < 0 || static_cast<size_t>(place) >= size) {
      return absl::InvalidArgumentError(absl::StrCat("the model chose place ", place, " among ",
                                                     size, " values of sparse feature ",
                                                     decl.feature, " in the global batch"));
    }
    chosen.ids.push_back(whole.sparse[feature].ids[static_cast<size_t>(place)]);
  }
  chosen.log_q.resize(chosen.ids.size());
  return chosen;
}

absl::StatusOr<DrawnNegatives> DrawNegatives(const NegativesDecl& decl, const Batch& batch,
                                             BatchUse use,
                                             const std::vector<DrawnNegatives>& before) {
  DrawnNegatives drawn;
  if (use == BatchUse::kScore || batch.size == 0) return drawn;
  if (decl.chosen()) return ChooseNegatives(decl, batch, before);
  if (decl.catalogue == nullptr) {
    return absl::FailedPreconditionError("negatives are drawn from a catalogue not yet loaded");
  }
  const bool per_sample = decl.scope == NegativeScope::kSample;
  const int64_t num_sets = per_sample ? batch.size : 1;
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max();
  if (decl.count > kLimit / num_sets) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", batch.size, " samples with ",
                                                   decl.count,
                                                   " negatives each holds 2^31 or more of them"));
  }
  const uint64_t first = per_sample ? batch.first_sample : batch.global_first_sample;
  for (int64_t set = 0; set < num_sets; ++set) {
    const RandomKey key = decl.key.Derive(first + static_cast<uint64_t>(set));
    for (int64_t n = 0; n < decl.count; ++n) {
      const FeatureId id = decl.catalogue->Draw(key, static_cast<uint64_t>(n));
      drawn.ids.push_back(id);
      drawn.log_q.push_back(decl.catalogue->LogQ(id));
    }
  }
  return drawn;
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

// The values that a feature brings to a pooled lookup: its own, or those of each sample's
// join row.
int64_t NumPooledValues(const Batch& batch, const RaggedIds& values) {
  if (values.join < 0) return static_cast<int64_t>(values.ids.size());
  int64_t count = 0;
  for (const int32_t row : batch.joins[static_cast<size_t>(values.join)].sample_row) {
    const auto r = static_cast<size_t>(row);
    count += values.offsets[r + 1] - values.offsets[r];
  }
  return count;
}

// One feature of a lookup, as Interleave reads it.
struct FeatureRows {
  const int32_t* rows = nullptr;        // [nnz] numbers within the table.
  const int32_t* offsets = nullptr;     // [rows of the feature + 1]
  const int32_t* sample_row = nullptr;  // Null: row i of the feature is segment row i.
  int32_t first_row = 0;                // Of the table within the lookup.
};

// Sample-major inverse and offsets from the feature-major row numbers; `num_rows` segments
// of each feature.
void Interleave(const std::vector<FeatureRows>& features, int64_t num_rows, size_t nnz,
                LookupIndex* index) {
  index->inverse.resize(nnz);
  index->offsets.resize(static_cast<size_t>(num_rows) * features.size() + 1);
  int32_t* inverse = index->inverse.data();
  int32_t* segment_end = index->offsets.data();
  *segment_end++ = 0;
  int32_t count = 0;
  for (int64_t i = 0; i < num_rows; ++i) {
    for (const FeatureRows& feature : features) {
      const int64_t row = feature.sample_row == nullptr ? i : feature.sample_row[i];
      const int32_t end = feature.offsets[row + 1];
      for (int32_t p = feature.offsets[row]; p < end; ++p) {
        inverse[count++] = feature.first_row + feature.rows[p];
      }
      *segment_end++ = count;
    }
  }
}

// The lookup's place among the rows of its group.
LookupIndex PlaceLookup(const PreparedBatch& prepared, const LookupDecl& lookup) {
  LookupIndex index;
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
  return index;
}

LookupIndex IndexNegatives(const PreparedBatch& prepared, const Declaration& declaration,
                           const LookupDecl& lookup, const NumberedFeatures& numbered) {
  LookupIndex index = PlaceLookup(prepared, lookup);
  const NegativesDecl& decl = declaration.negatives[static_cast<size_t>(lookup.negatives)];
  index.num_features = 1;
  index.columns = {0};
  index.pooling = {static_cast<int32_t>(Pooling::kSum)};
  index.inverse = numbered.negative_rows.at(lookup.negatives);
  const auto count = static_cast<int32_t>(index.inverse.size());
  index.offsets = {0};
  while (index.offsets.back() < count) {
    index.offsets.push_back(index.offsets.back() + static_cast<int32_t>(decl.count));
  }
  Transpose(true, &index);
  return index;
}

LookupIndex IndexLookup(const FeatureSchema& schema, const PreparedBatch& prepared,
                        const LookupDecl& lookup,
                        const std::vector<const NumberedFeatures*>& numbered) {
  LookupIndex index = PlaceLookup(prepared, lookup);
  const Batch& batch = prepared.batch;
  const std::vector<int> sparse = schema.SparseFeatures();
  index.num_features = static_cast<int64_t>(lookup.features.size());
  std::vector<FeatureRows> features;
  int64_t num_rows = batch.size;
  int64_t nnz = 0;
  for (size_t k = 0; k < lookup.features.size(); ++k) {
    const auto feature = static_cast<size_t>(lookup.features[k]);
    const size_t table = static_cast<size_t>(lookup.tables[k]);
    const FeatureSpec& spec = schema.features[static_cast<size_t>(sparse[feature])];
    index.columns.push_back(static_cast<int32_t>(k));
    index.pooling.push_back(static_cast<int32_t>(spec.pooling));
    const RaggedIds& values = batch.sparse[feature];
    FeatureRows rows;
    rows.rows = numbered[table]->rows.at(lookup.features[k]).data();
    rows.offsets = values.offsets.data();
    rows.first_row = static_cast<int32_t>(prepared.table_rows[table].first_row - index.first_row);
    if (lookup.sequence) {
      num_rows = RowsOf(batch, values);
      nnz += static_cast<int64_t>(values.ids.size());
    } else {
      if (values.join >= 0) {
        rows.sample_row = batch.joins[static_cast<size_t>(values.join)].sample_row.data();
      }
      nnz += NumPooledValues(batch, values);
    }
    features.push_back(rows);
  }
  Interleave(features, num_rows, static_cast<size_t>(nnz), &index);
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
      const RaggedIds& values = batch.sparse[static_cast<size_t>(feature)];
      num_values += lookup.sequence ? static_cast<int64_t>(values.ids.size())
                                    : NumPooledValues(batch, values);
    }
  }
  if (num_values < kLimit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a batch of ", batch.size, " samples holds 2^31 or more values; use a smaller batch_size"));
}

}  // namespace

absl::Span<const FeatureId> Batch::IdsOf(int feature, int64_t sample) const {
  const RaggedIds& values = sparse[static_cast<size_t>(feature)];
  auto row = static_cast<size_t>(sample);
  if (values.join >= 0) {
    row = static_cast<size_t>(joins[static_cast<size_t>(values.join)].sample_row[row]);
  }
  const auto begin = static_cast<size_t>(values.offsets[row]);
  return absl::MakeConstSpan(values.ids)
      .subspan(begin, static_cast<size_t>(values.offsets[row + 1]) - begin);
}

Batch EmptyBatch(const FeatureSchema& schema) {
  Batch batch;
  for (const int feature : schema.SparseFeatures()) {
    const std::string& join = schema.features[static_cast<size_t>(feature)].join;
    batch.sparse.emplace_back().join = join.empty() ? -1 : schema.JoinIndex(join);
  }
  batch.joins.resize(schema.joins.size());
  return batch;
}

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
                                           const Declaration& declaration, Batch batch,
                                           BatchUse use) {
  PAGODA_RETURN_IF_ERROR(CheckBatch(schema, batch));
  PAGODA_RETURN_IF_ERROR(CheckLimits(declaration, batch));
  PreparedBatch prepared;
  prepared.batch = std::move(batch);
  prepared.num_dense = static_cast<int64_t>(schema.DenseFeatures().size());
  prepared.num_targets = static_cast<int64_t>(schema.targets.size());
  for (const NegativesDecl& decl : declaration.negatives) {
    PAGODA_ASSIGN_OR_RETURN(DrawnNegatives drawn,
                            DrawNegatives(decl, prepared.batch, use, prepared.negatives));
    prepared.negatives.push_back(std::move(drawn));
  }
  // Tables that the same features look up (an embedding and a wide weight)
  // have the same ids: they are numbered once.
  std::map<TableUsers, NumberedFeatures> by_users;
  std::vector<const NumberedFeatures*> numbered;
  for (size_t t = 0; t < declaration.tables.size(); ++t) {
    const TableUsers users = UsersOf(declaration, static_cast<int>(t));
    auto it = by_users.find(users);
    if (it == by_users.end()) it = by_users.emplace(users, NumberIds(prepared, users)).first;
    numbered.push_back(&it->second);
    prepared.unique_ids.push_back(it->second.unique_ids);
  }
  LayOutRows(declaration, &prepared);
  for (const LookupDecl& lookup : declaration.lookups) {
    prepared.lookups.push_back(
        lookup.negatives >= 0 ? IndexNegatives(prepared, declaration, lookup,
                                               *numbered[static_cast<size_t>(lookup.tables[0])])
                              : IndexLookup(schema, prepared, lookup, numbered));
  }
  return prepared;
}

}  // namespace pagoda
