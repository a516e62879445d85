#include <numeric>

#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"

namespace pagoda::nn {
namespace {

absl::Status CheckSpan(const Var& rows, RowSpan span) {
  PAGODA_RETURN_IF_ERROR(CheckRank(rows, 2));
  if (span.first_row >= 0 && span.num_rows >= 0 &&
      span.first_row + span.num_rows <= rows.shape()[0]) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("rows [", span.first_row, ", ",
                                                 span.first_row + span.num_rows,
                                                 ") do not lie within ", rows.shape()[0]));
}

Tensor Part(const Tensor& rows, RowSpan span) {
  return rows.Rows(span.first_row, span.first_row + span.num_rows);
}

// Calls write(part of the gradient, beta). A lookup of some of the rows cannot
// be the one that first fills the gradient of all.
template <typename Write>
absl::Status AddRowGradient(const Var& rows, RowSpan span, Write&& write) {
  if (span.num_rows == rows.shape()[0]) return AddGradient(rows, write);
  PAGODA_ASSIGN_OR_RETURN(const Tensor grad, rows.tape().GradOf(rows));
  return write(Part(grad, span), 1.0f);
}

}  // namespace

Var EmbeddingBag(const Var& rows, RowSpan span, const EmbeddingBagIndex& index) {
  return RunOp("EmbeddingBag", {rows}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckSpan(rows, span));
    PAGODA_ASSIGN_OR_RETURN(Tensor y,
                            tape.ctx().Empty({index.batch, index.num_features, rows.shape()[1]}));
    PAGODA_RETURN_IF_ERROR(EmbeddingBagForward(tape.ctx(), Part(rows.value(), span), index, y));
    return tape.Node(y, {rows}, [rows, span, index](const Tensor& dy) {
      return AddRowGradient(rows, span, [&](const Tensor& drows, float beta) {
        return EmbeddingBagBackward(rows.tape().ctx(), dy, index, beta, drows);
      });
    });
  });
}

Var GatherRows(const Var& rows, RowSpan span, const RowGather& index) {
  return RunOp("GatherRows", {rows}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckSpan(rows, span));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({index.inverse.size(), rows.shape()[1]}));
    PAGODA_RETURN_IF_ERROR(
        pagoda::GatherRows(tape.ctx(), Part(rows.value(), span), index.inverse, y));
    return tape.Node(y, {rows}, [rows, span, index](const Tensor& dy) {
      return AddRowGradient(rows, span, [&](const Tensor& drows, float beta) {
        return GatherRowsBackward(rows.tape().ctx(), dy, index.occurrence_offsets,
                                  index.occurrences, beta, drows);
      });
    });
  });
}

Var SegmentPool(const Var& values, const std::vector<int32_t>& offsets, SegmentPooling pooling) {
  return RunOp("SegmentPool", {values}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(values, 2));
    if (offsets.empty() || offsets.front() != 0 || offsets.back() != values.shape()[0]) {
      return absl::InvalidArgumentError(
          absl::StrCat("the offsets do not cover values of shape ", ShapeString(values.shape())));
    }
    const int64_t num_offsets = static_cast<int64_t>(offsets.size());
    PAGODA_ASSIGN_OR_RETURN(const Tensor ends, tape.ctx().Upload<int32_t>(offsets, {num_offsets}));
    return SegmentPool(values, ends, pooling);
  });
}

Var SegmentPool(const Var& values, const Tensor& offsets, SegmentPooling pooling) {
  return RunOp("SegmentPool", {values}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(values, 2));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({offsets.size() - 1, values.shape()[1]}));
    PAGODA_RETURN_IF_ERROR(
        SegmentSumForward(tape.ctx(), values.value(), offsets, pooling, 0.0f, y));
    return tape.Node(y, {values}, [values, offsets, pooling](const Tensor& dy) {
      return AddGradient(values, [&](const Tensor& dx, float beta) {
        return SegmentSumBackward(values.tape().ctx(), dy, offsets, pooling, beta, dx);
      });
    });
  });
}

absl::StatusOr<RowGather> MakeRowGather(Context& ctx, const std::vector<int32_t>& rows,
                                        int64_t num_rows) {
  std::vector<int32_t> ends(static_cast<size_t>(num_rows) + 1, 0);
  for (const int32_t row : rows) {
    if (row < 0 || row >= num_rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", row, " is not one of the ", num_rows, " rows"));
    }
    ++ends[static_cast<size_t>(row) + 1];
  }
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<int32_t> next(ends.begin(), ends.end() - 1), occurrences(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    occurrences[static_cast<size_t>(next[static_cast<size_t>(rows[i])]++)] =
        static_cast<int32_t>(i);
  }
  const int64_t count = static_cast<int64_t>(rows.size());
  RowGather gather;
  PAGODA_ASSIGN_OR_RETURN(gather.inverse, ctx.Upload<int32_t>(rows, {count}));
  PAGODA_ASSIGN_OR_RETURN(gather.occurrence_offsets, ctx.Upload<int32_t>(ends, {num_rows + 1}));
  PAGODA_ASSIGN_OR_RETURN(gather.occurrences, ctx.Upload<int32_t>(occurrences, {count}));
  return gather;
}

}  // namespace pagoda::nn
