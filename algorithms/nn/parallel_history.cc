#include "algorithms/nn/parallel_history.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/next_item.h"
#include "algorithms/nn/ops.h"
#include "base/status_macros.h"

namespace pagoda::nn {

absl::StatusOr<int> FindSequence(const FeatureSchema& schema, const std::string& name,
                                 const std::string& option) {
  PAGODA_ASSIGN_OR_RETURN(const int position, FindHistory(schema, name, option));
  const std::vector<int> sparse = schema.SparseFeatures();
  const FeatureSpec& spec =
      schema.features[static_cast<size_t>(sparse[static_cast<size_t>(position)])];
  if (spec.join.empty()) return position;
  return absl::InvalidArgumentError(
      absl::StrCat("model option '", option, "' names '", name,
                   "', which is of a join; here it must be a column of the samples"));
}

absl::StatusOr<ParallelHistory> ParallelHistory::Declare(Declaration& declaration,
                                                         const FeatureSchema& schema,
                                                         const std::vector<std::string>& names,
                                                         const Options& options) {
  ParallelHistory history;
  history.dim_ = options.dim;
  history.names_ = names;
  const std::vector<int> sparse = schema.SparseFeatures();
  for (const std::string& name : names) {
    PAGODA_ASSIGN_OR_RETURN(const int position, FindSequence(schema, name, options.option));
    const auto feature = static_cast<size_t>(sparse[static_cast<size_t>(position)]);
    const TableHandle table =
        declaration.AddTable({.name = schema.features[feature].table_name(), .dim = options.dim});
    history.positions_.push_back(position);
    history.lookups_.push_back(
        declaration.AddLookup({.features = {position}, .tables = {table.index}, .sequence = true}));
  }
  return history;
}

const std::vector<int32_t>& ParallelHistory::Offsets(const Batch& batch) const {
  PAGODA_CHECK(!empty());
  return batch.sparse[static_cast<size_t>(positions_[0])].offsets;
}

absl::Status ParallelHistory::CheckParallel(const Batch& batch, int position,
                                            const std::string& name) const {
  const std::vector<int32_t>& first = Offsets(batch);
  const std::vector<int32_t>& other = batch.sparse[static_cast<size_t>(position)].offsets;
  if (first == other) return absl::OkStatus();
  size_t i = 0;
  while (i + 1 < first.size() && i + 1 < other.size() && first[i + 1] == other[i + 1]) ++i;
  return absl::InvalidArgumentError(
      absl::StrCat("sample ", i, " of ", batch.OriginRange(), " has ", first[i + 1] - first[i],
                   " values in '", names_[0], "' and ", other[i + 1] - other[i], " in '", name,
                   "'; the fields of a history must have one length"));
}

absl::StatusOr<Var> ParallelHistory::Rows(ForwardInput& input) const {
  std::vector<Var> fields;
  for (size_t i = 0; i < lookups_.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(CheckParallel(input.host().batch, positions_[i], names_[i]));
    fields.push_back(input.LookupSequence(lookups_[i]).values);
  }
  return fields.size() == 1 ? fields[0] : Concat(fields);
}

std::vector<int32_t> EventStream::Lengths() const {
  std::vector<int32_t> lengths;
  lengths.reserve(offsets.size());
  for (size_t i = 0; i + 1 < offsets.size(); ++i) lengths.push_back(offsets[i + 1] - offsets[i]);
  return lengths;
}

int64_t EventStream::Longest() const {
  int32_t longest = 1;
  for (const int32_t length : Lengths()) longest = std::max(longest, length);
  return longest;
}

EventStream SelectEvents(const std::vector<int32_t>& offsets,
                         const std::function<bool(int32_t)>& keep, int64_t last) {
  EventStream stream;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const size_t begin = stream.rows.size();
    for (int32_t p = offsets[i + 1] - 1; p >= offsets[i]; --p) {
      if (static_cast<int64_t>(stream.rows.size() - begin) == last) break;
      if (keep(p)) stream.rows.push_back(p);
    }
    std::reverse(stream.rows.begin() + static_cast<std::ptrdiff_t>(begin), stream.rows.end());
    stream.offsets.push_back(static_cast<int32_t>(stream.rows.size()));
  }
  return stream;
}

}  // namespace pagoda::nn
