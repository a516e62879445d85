// What a step reads of its batch (rows, indices, labels), on its way to the device while
// the step before it is computed.
//
// Threads: the context's, one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/batch.h"
#include "kernels/context.h"
#include "kernels/copy_queue.h"
#include "kernels/tensor.h"

namespace pagoda {

// Columns [begin, end) of the rows of a row group.
struct RowColumns {
  int group = 0;
  int64_t begin = 0;
  int64_t end = 0;
  friend bool operator==(const RowColumns&, const RowColumns&) = default;
};

// Per table, positions in its unique_ids.
using RowPositions = std::vector<std::vector<int32_t>>;

// Where a table's rows of one group go: from `host`, of the group's dimension, to `rows`.
// Used for all of a batch's tables.
absl::StatusOr<std::vector<RowsCopy>> CopiesOfRows(const PreparedBatch& batch,
                                                   const std::vector<const float*>& host,
                                                   const RowColumns& columns, const Tensor& rows);

// A lookup's indices on a device, i32.
struct DeviceIndex {
  Tensor inverse, offsets, columns, pooling, occurrence_offsets, occurrence_segments;
};
// They lie one behind the other in one array of so many elements.
int64_t IndexSize(const LookupIndex& index);
DeviceIndex SliceIndex(const LookupIndex& index, const Tensor& all);
std::vector<RowsCopy> CopiesOfIndex(const LookupIndex& index, const Tensor& all);

class StepUpload {
 public:
  // Starts. `rows`: the unique rows of each table, as StepInput's; they and the batch may
  // change on return. `columns`: what the step will ask for, as far as that is known.
  // `only`: per table, positions in unique_ids, ascending; other rows are left as they are
  // (StepInput::complete_rows knows them). Null: all rows.
  //   RESOURCE_EXHAUSTED  the device is full: the step has to do without
  static absl::StatusOr<std::unique_ptr<StepUpload>> Start(CopyQueue& queue,
                                                           const PreparedBatch& batch,
                                                           const std::vector<const float*>& rows,
                                                           std::vector<RowColumns> columns,
                                                           const RowPositions* only = nullptr);

  // What was copied is there for ctx's work from now on.
  absl::Status Publish(Context& ctx, CopyQueue& queue);

  // Rows that have changed on the host since Start: per table, positions in unique_ids.
  // They take their places before what ctx is given from then on. After Publish.
  absl::Status Refresh(Context& ctx, CopyQueue& queue, const PreparedBatch& batch,
                       const std::vector<const float*>& rows, const RowPositions& changed);

  // After Publish. Absent: was not copied.
  Tensor Rows(const RowColumns& columns) const;
  const Tensor& index(size_t lookup) const { return indices_[lookup]; }
  const Tensor& dense() const { return dense_; }
  const Tensor& labels() const { return labels_; }
  const Tensor& weights() const { return weights_; }
  const Tensor& targets() const { return targets_; }

 private:
  // Rows one behind the other, and where in rows_ they go.
  struct Packed {
    Tensor rows;   // [count, width]
    Tensor index;  // [count]
  };
  static absl::StatusOr<Packed> Pack(CopyQueue& queue, const PreparedBatch& batch,
                                     const std::vector<const float*>& rows,
                                     const RowColumns& columns, const RowPositions& positions);

  std::vector<RowColumns> columns_;
  std::vector<Tensor> rows_;     // As columns_.
  std::vector<Packed> packed_;   // As columns_, until Publish; empty when all rows were copied.
  std::vector<Tensor> indices_;  // Per lookup.
  Tensor dense_, labels_, weights_, targets_;
};

}  // namespace pagoda
