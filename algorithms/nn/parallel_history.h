// A history that is told by several sequence features of one length: value j of each is a field
// of event j (items, categories, brands, ...). Its rows are looked up together, and its events
// are parted and picked on the host.
//
//   Declare:  history_ = ParallelHistory::Declare(declaration, schema, names, {dim, "history"});
//   Forward:  Var events = *history_.Rows(input);       // [events, history_.width()]
//             EventStream some = SelectEvents(history_.Offsets(batch), keep, 50);
//             Var block = nn::PadSequences(nn::SelectRows(events, some.rows), some.offsets, ...);
//
// Threads: immutable after Declare.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/model.h"

namespace pagoda::nn {

class ParallelHistory {
 public:
  struct Options {
    int64_t dim = 0;     // Of every feature's rows; the table is FeatureSpec::table_name().
    std::string option;  // The model's option that lists the names, for errors.
  };
  // No name: a history without fields, which has no events.
  //   INVALID_ARGUMENT  a name is not a sequence feature, or is one of a join (names both)
  static absl::StatusOr<ParallelHistory> Declare(Declaration& declaration,
                                                 const FeatureSchema& schema,
                                                 const std::vector<std::string>& names,
                                                 const Options& options);

  bool empty() const { return positions_.empty(); }
  int64_t width() const { return dim_ * static_cast<int64_t>(positions_.size()); }

  // The rows of all events of the batch, sample by sample, oldest first; columns in the order
  // of the names. [events, width()]
  //   INVALID_ARGUMENT  a sample has another number of values in one of the features than in
  //                     the first (names it and the sample)
  absl::StatusOr<Var> Rows(ForwardInput& input) const;
  // Sample i has events [offsets[i], offsets[i + 1]). REQUIRES: not empty().
  const std::vector<int32_t>& Offsets(const Batch& batch) const;
  // What Rows checks, for one more feature that has no rows: `position` in Batch::sparse.
  // REQUIRES: not empty().
  absl::Status CheckParallel(const Batch& batch, int position, const std::string& name) const;

 private:
  int64_t dim_ = 0;
  std::vector<int> positions_;  // In Batch::sparse.
  std::vector<std::string> names_;
  std::vector<LookupHandle> lookups_;
};

// Position in Batch::sparse of the sequence feature `name`.
//   INVALID_ARGUMENT  it is not one, or is one of a join; names it and the option
absl::StatusOr<int> FindSequence(const FeatureSchema& schema, const std::string& name,
                                 const std::string& option);

// Some events of a batch, in their order.
struct EventStream {
  std::vector<int32_t> rows;           // Places among all events, ascending.
  std::vector<int32_t> offsets = {0};  // [samples + 1] into rows.

  std::vector<int32_t> Lengths() const;  // [samples]
  int64_t Longest() const;               // Of Lengths; at least 1, so that a block has a shape.
};
// Of each sample the last `last` events that `keep` (a place among all events) accepts.
EventStream SelectEvents(const std::vector<int32_t>& offsets,
                         const std::function<bool(int32_t)>& keep, int64_t last);

}  // namespace pagoda::nn
