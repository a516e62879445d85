#include "algorithms/nn/step_upload.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/copy_indexed_rows.h"

namespace pagoda {
namespace {

using IndexParts = std::array<const std::vector<int32_t>*, 6>;

IndexParts PartsOf(const LookupIndex& index) {
  return {&index.inverse,
          &index.offsets,
          &index.columns,
          &index.pooling,
          &index.occurrence_offsets,
          &index.occurrence_segments};
}

template <typename T>
int64_t Size(const std::vector<T>& values) {
  return static_cast<int64_t>(values.size());
}

}  // namespace

absl::StatusOr<std::vector<RowsCopy>> CopiesOfRows(const PreparedBatch& batch,
                                                   const std::vector<const float*>& host,
                                                   const RowColumns& columns, const Tensor& rows) {
  const RowGroup& group = batch.row_groups[static_cast<size_t>(columns.group)];
  if (columns.begin < 0 || columns.begin >= columns.end || columns.end > group.dim) {
    return absl::InvalidArgumentError(absl::StrCat("columns [", columns.begin, ", ", columns.end,
                                                   ") do not lie within rows of dimension ",
                                                   group.dim));
  }
  std::vector<RowsCopy> copies;
  for (const int table : group.tables) {
    const auto t = static_cast<size_t>(table);
    const int64_t num_rows = Size(batch.unique_ids[t]);
    if (num_rows == 0) continue;
    const int64_t first = batch.table_rows[t].first_row;
    copies.push_back(
        RowsToDevice(host[t] + columns.begin, group.dim, rows.Rows(first, first + num_rows)));
  }
  return copies;
}

int64_t IndexSize(const LookupIndex& index) {
  int64_t size = 0;
  for (const std::vector<int32_t>* part : PartsOf(index)) size += Size(*part);
  return size;
}

DeviceIndex SliceIndex(const LookupIndex& index, const Tensor& all) {
  DeviceIndex slices;
  const std::array<Tensor*, 6> places = {&slices.inverse,
                                         &slices.offsets,
                                         &slices.columns,
                                         &slices.pooling,
                                         &slices.occurrence_offsets,
                                         &slices.occurrence_segments};
  const IndexParts parts = PartsOf(index);
  int64_t next = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    *places[i] = all.Flat(next, {Size(*parts[i])});
    next += Size(*parts[i]);
  }
  return slices;
}

std::vector<RowsCopy> CopiesOfIndex(const LookupIndex& index, const Tensor& all) {
  std::vector<RowsCopy> copies;
  int64_t next = 0;
  for (const std::vector<int32_t>* part : PartsOf(index)) {
    if (!part->empty())
      copies.push_back(WholeToDevice(part->data(), all.Flat(next, {Size(*part)})));
    next += Size(*part);
  }
  return copies;
}

absl::StatusOr<StepUpload::Packed> StepUpload::Pack(CopyQueue& queue, const PreparedBatch& batch,
                                                    const std::vector<const float*>& rows,
                                                    const RowColumns& columns,
                                                    const RowPositions& positions) {
  const RowGroup& group = batch.row_groups[static_cast<size_t>(columns.group)];
  std::vector<float> values;
  std::vector<int32_t> places;
  for (const int table : group.tables) {
    const auto t = static_cast<size_t>(table);
    for (const int32_t row : positions[t]) {
      const float* const from = rows[t] + row * group.dim;
      values.insert(values.end(), from + columns.begin, from + columns.end);
      places.push_back(static_cast<int32_t>(batch.table_rows[t].first_row) + row);
    }
  }
  Packed packed;
  PAGODA_ASSIGN_OR_RETURN(packed.rows,
                          queue.Empty({Size(places), columns.end - columns.begin}, DType::kF32));
  PAGODA_ASSIGN_OR_RETURN(packed.index, queue.Empty({Size(places)}, DType::kI32));
  const std::array<RowsCopy, 2> copies = {WholeToDevice(values.data(), packed.rows),
                                          WholeToDevice(places.data(), packed.index)};
  PAGODA_RETURN_IF_ERROR(queue.ToDevice(copies));
  return packed;
}

absl::StatusOr<std::unique_ptr<StepUpload>> StepUpload::Start(CopyQueue& queue,
                                                              const PreparedBatch& batch,
                                                              const std::vector<const float*>& rows,
                                                              std::vector<RowColumns> columns,
                                                              const RowPositions* only) {
  auto upload = std::make_unique<StepUpload>();
  upload->columns_ = std::move(columns);
  std::vector<RowsCopy> copies;
  for (const RowColumns& part : upload->columns_) {
    const int64_t num_rows = batch.row_groups[static_cast<size_t>(part.group)].num_rows;
    PAGODA_ASSIGN_OR_RETURN(Tensor tensor,
                            queue.Empty({num_rows, part.end - part.begin}, DType::kF32));
    PAGODA_ASSIGN_OR_RETURN(const std::vector<RowsCopy> whole,
                            CopiesOfRows(batch, rows, part, tensor));
    if (only == nullptr) {
      copies.insert(copies.end(), whole.begin(), whole.end());
    } else {
      PAGODA_ASSIGN_OR_RETURN(Packed packed, Pack(queue, batch, rows, part, *only));
      upload->packed_.push_back(std::move(packed));
    }
    upload->rows_.push_back(std::move(tensor));
  }
  for (const LookupIndex& index : batch.lookups) {
    PAGODA_ASSIGN_OR_RETURN(Tensor all, queue.Empty({IndexSize(index)}, DType::kI32));
    const std::vector<RowsCopy> more = CopiesOfIndex(index, all);
    copies.insert(copies.end(), more.begin(), more.end());
    upload->indices_.push_back(std::move(all));
  }
  const auto add = [&](const std::vector<float>& values, Tensor* to) -> absl::Status {
    if (values.empty()) return absl::OkStatus();
    PAGODA_ASSIGN_OR_RETURN(*to, queue.Empty({Size(values)}, DType::kF32));
    copies.push_back(WholeToDevice(values.data(), *to));
    return absl::OkStatus();
  };
  PAGODA_RETURN_IF_ERROR(add(batch.batch.dense, &upload->dense_));
  PAGODA_RETURN_IF_ERROR(add(batch.batch.labels, &upload->labels_));
  PAGODA_RETURN_IF_ERROR(add(batch.batch.weights, &upload->weights_));
  PAGODA_RETURN_IF_ERROR(add(batch.batch.targets, &upload->targets_));
  PAGODA_RETURN_IF_ERROR(queue.ToDevice(copies));
  return upload;
}

absl::Status StepUpload::Publish(Context& ctx, CopyQueue& queue) {
  PAGODA_RETURN_IF_ERROR(queue.Publish());
  const std::vector<Packed> arrived = std::exchange(packed_, {});
  for (size_t i = 0; i < arrived.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(
        CopyIndexedRows(ctx, arrived[i].rows, Tensor(), arrived[i].index, rows_[i]));
  }
  return absl::OkStatus();
}

absl::Status StepUpload::Refresh(Context& ctx, CopyQueue& queue, const PreparedBatch& batch,
                                 const std::vector<const float*>& rows,
                                 const RowPositions& changed) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    PAGODA_ASSIGN_OR_RETURN(const Packed packed, Pack(queue, batch, rows, columns_[i], changed));
    PAGODA_RETURN_IF_ERROR(queue.Publish());
    PAGODA_RETURN_IF_ERROR(CopyIndexedRows(ctx, packed.rows, Tensor(), packed.index, rows_[i]));
  }
  return absl::OkStatus();
}

Tensor StepUpload::Rows(const RowColumns& columns) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i] == columns) return rows_[i];
  }
  return Tensor();
}

}  // namespace pagoda
