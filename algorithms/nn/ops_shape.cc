#include <algorithm>

#include "algorithms/nn/op_node.h"
#include "algorithms/nn/ops.h"
#include "kernels/concat.h"
#include "kernels/elementwise.h"
#include "kernels/embedding_bag.h"
#include "kernels/pad_sequences.h"
#include "kernels/swap_axes.h"

namespace pagoda::nn {
namespace {

absl::Status CheckRange(int64_t begin, int64_t end, int64_t size, const char* what) {
  if (0 <= begin && begin <= end && end <= size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " [", begin, ", ", end, ") do not lie within ", size));
}

absl::Status CheckOffsets(const std::vector<int32_t>& offsets, int64_t rows) {
  if (!offsets.empty() && offsets.front() == 0 && offsets.back() == rows &&
      std::is_sorted(offsets.begin(), offsets.end())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the offsets do not ascend from 0 to the ", rows, " rows"));
}

// [n, d_0], [n, d_1], ... with one n; returns the sum of d.
absl::StatusOr<int64_t> ConcatWidth(const std::vector<Var>& parts) {
  int64_t width = 0;
  for (const Var& part : parts) {
    PAGODA_RETURN_IF_ERROR(CheckRank(part, 2));
    if (part.shape()[0] != parts[0].shape()[0]) {
      return absl::InvalidArgumentError(
          absl::StrCat("parts have different numbers of rows: ", ShapeString(parts[0].shape()),
                       " and ", ShapeString(part.shape())));
    }
    width += part.shape()[1];
  }
  return width;
}

// A sample of one feature for each of `rows`, without an id where the row is -1: a pooled sum of
// one row or none. The transpose lists each row's uses in the order of `rows`.
absl::StatusOr<EmbeddingBagIndex> IndexOfRows(Context& ctx, const std::vector<int32_t>& rows,
                                              int64_t num_rows) {
  std::vector<int32_t> inverse, offsets = {0}, uses;
  std::vector<int32_t> use_offsets(static_cast<size_t>(num_rows) + 1, 0);
  for (const int32_t row : rows) {
    if (row < -1 || row >= num_rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", row, " is neither -1 nor one of ", num_rows));
    }
    if (row >= 0) inverse.push_back(row);
    if (row >= 0) ++use_offsets[static_cast<size_t>(row) + 1];
    offsets.push_back(static_cast<int32_t>(inverse.size()));
  }
  for (size_t r = 1; r < use_offsets.size(); ++r) use_offsets[r] += use_offsets[r - 1];
  uses.resize(inverse.size());
  std::vector<int32_t> next = use_offsets;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0) continue;
    uses[static_cast<size_t>(next[static_cast<size_t>(rows[i])]++)] = static_cast<int32_t>(i);
  }
  const auto upload = [&ctx](const std::vector<int32_t>& values) {
    return ctx.Upload<int32_t>(values, {static_cast<int64_t>(values.size())});
  };
  EmbeddingBagIndex index;
  index.batch = static_cast<int64_t>(rows.size());
  index.num_features = 1;
  PAGODA_ASSIGN_OR_RETURN(index.inverse, upload(inverse));
  PAGODA_ASSIGN_OR_RETURN(index.offsets, upload(offsets));
  PAGODA_ASSIGN_OR_RETURN(index.columns, upload({0}));
  PAGODA_ASSIGN_OR_RETURN(index.pooling, upload({0}));
  PAGODA_ASSIGN_OR_RETURN(index.occurrence_offsets, upload(use_offsets));
  PAGODA_ASSIGN_OR_RETURN(index.occurrence_segments, upload(uses));
  return index;
}

// [n_0, ...], [n_1, ...] with the same sizes after the first; returns [sum of n, ...].
absl::StatusOr<Shape> ConcatRowsShape(const std::vector<Var>& parts) {
  Shape shape = parts[0].shape();
  if (shape.empty()) return CheckRank(parts[0], 1);
  shape[0] = 0;
  for (const Var& part : parts) {
    Shape same = part.shape();
    if (same.size() == shape.size()) same[0] = shape[0];
    if (same != shape) {
      return absl::InvalidArgumentError(
          absl::StrCat("parts have rows of different sizes: ", ShapeString(parts[0].shape()),
                       " and ", ShapeString(part.shape())));
    }
    shape[0] += part.shape()[0];
  }
  return shape;
}

}  // namespace

Var Constant(Tape& tape, const std::vector<float>& values) {
  if (!tape.status().ok()) return Var();
  absl::StatusOr<Tensor> tensor =
      tape.ctx().Upload<float>(values, {static_cast<int64_t>(values.size())});
  if (tensor.ok()) return tape.Leaf(*tensor, /*needs_grad=*/false);
  tape.Fail(WithContext(tensor.status(), "Constant"));
  return Var();
}

Var Reshape(const Var& x, const Shape& shape) {
  return RunOp("Reshape", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    if (NumElements(shape) != x.value().size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeString(x.shape()), " does not fit ", ShapeString(shape)));
    }
    return tape.Node(x.value().Reshape(shape), {x},
                     [x](const Tensor& dy) { return x.tape().TakeGrad(x, dy.Reshape(x.shape())); });
  });
}

Var Flatten(const Var& x) {
  if (!x.valid() || x.value().rank() == 2) return x;
  const Shape& shape = x.shape();
  const int64_t rows = shape.empty() ? 1 : shape[0];
  int64_t columns = 1;
  for (size_t axis = 1; axis < shape.size(); ++axis) columns *= shape[axis];
  return Reshape(x, {rows, columns});
}

Var Concat(const std::vector<Var>& parts) {
  if (parts.empty()) return Var();
  for (const Var& part : parts) {
    if (OperandTape("Concat", {parts[0], part}) == nullptr) return Var();
  }
  if (parts.size() == 1) return parts[0];
  return RunOp("Concat", {parts[0]}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(const int64_t width, ConcatWidth(parts));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({parts[0].shape()[0], width}));
    int64_t column = 0;
    for (const Var& part : parts) {
      PAGODA_RETURN_IF_ERROR(WriteColumns(tape.ctx(), part.value(), column, y));
      column += part.shape()[1];
    }
    return tape.Node(y, parts, [parts](const Tensor& dy) -> absl::Status {
      int64_t first = 0;
      for (const Var& part : parts) {
        PAGODA_RETURN_IF_ERROR(AddGradient(part, [&](const Tensor& dx, float beta) {
          return ReadColumns(part.tape().ctx(), dy, first, beta, dx);
        }));
        first += part.shape()[1];
      }
      return absl::OkStatus();
    });
  });
}

Var ConcatRows(const std::vector<Var>& parts) {
  if (parts.empty()) return Var();
  for (const Var& part : parts) {
    if (OperandTape("ConcatRows", {parts[0], part}) == nullptr) return Var();
  }
  if (parts.size() == 1) return parts[0];
  return RunOp("ConcatRows", {parts[0]}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_ASSIGN_OR_RETURN(const Shape shape, ConcatRowsShape(parts));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(shape));
    int64_t row = 0;
    for (const Var& part : parts) {
      const int64_t end = row + part.shape()[0];
      PAGODA_RETURN_IF_ERROR(AxpBy(tape.ctx(), 1.0f, part.value(), 0.0f, y.Rows(row, end)));
      row = end;
    }
    return tape.Node(y, parts, [parts](const Tensor& dy) -> absl::Status {
      int64_t first = 0;
      for (const Var& part : parts) {
        const int64_t last = first + part.shape()[0];
        PAGODA_RETURN_IF_ERROR(AddGradient(part, [&](const Tensor& dx, float beta) {
          return AxpBy(part.tape().ctx(), 1.0f, dy.Rows(first, last), beta, dx);
        }));
        first = last;
      }
      return absl::OkStatus();
    });
  });
}

Var SliceColumns(const Var& x, int64_t begin, int64_t end) {
  return RunOp("SliceColumns", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 2));
    PAGODA_RETURN_IF_ERROR(CheckRange(begin, end, x.shape()[1], "columns"));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({x.shape()[0], end - begin}));
    PAGODA_RETURN_IF_ERROR(ReadColumns(tape.ctx(), x.value(), begin, 0.0f, y));
    return tape.Node(y, {x}, [x, begin](const Tensor& dy) -> absl::Status {
      PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
      return AddColumns(x.tape().ctx(), dy, begin, dx);
    });
  });
}

Var SliceRows(const Var& x, int64_t begin, int64_t end) {
  return RunOp("SliceRows", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    if (x.shape().empty()) return CheckRank(x, 1);
    PAGODA_RETURN_IF_ERROR(CheckRange(begin, end, x.shape()[0], "rows"));
    return tape.Node(x.value().Rows(begin, end), {x},
                     [x, begin, end](const Tensor& dy) -> absl::Status {
                       PAGODA_ASSIGN_OR_RETURN(const Tensor dx, x.tape().GradOf(x));
                       return AddInto(x.tape().ctx(), dy, dx.Rows(begin, end));
                     });
  });
}

Var SelectRows(const Var& x, const std::vector<int32_t>& rows) {
  return RunOp("SelectRows", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    if (x.shape().empty()) return CheckRank(x, 1);
    const int64_t num_rows = x.shape()[0], num_selected = static_cast<int64_t>(rows.size());
    Shape shape = x.shape();
    shape[0] = num_selected;
    int64_t width = 1;
    for (size_t axis = 1; axis < shape.size(); ++axis) width *= shape[axis];
    PAGODA_ASSIGN_OR_RETURN(const EmbeddingBagIndex index, IndexOfRows(tape.ctx(), rows, num_rows));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty(shape));
    PAGODA_RETURN_IF_ERROR(EmbeddingBagForward(tape.ctx(), x.value().Reshape({num_rows, width}),
                                               index, y.Reshape({num_selected, 1, width})));
    return tape.Node(y, {x}, [x, index, num_rows, num_selected, width](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return EmbeddingBagBackward(x.tape().ctx(), dy.Reshape({num_selected, 1, width}), index,
                                    beta, dx.Reshape({num_rows, width}));
      });
    });
  });
}

Var BroadcastRow(const Var& v, int64_t num_rows) {
  return RunOp("BroadcastRow", {v}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(v, 1));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Zeros({num_rows, v.shape()[0]}));
    PAGODA_RETURN_IF_ERROR(pagoda::AddRowVector(tape.ctx(), y, v.value(), y));
    return tape.Node(y, {v}, [v](const Tensor& dy) {
      return AddGradient(
          v, [&](const Tensor& dv, float beta) { return SumRows(v.tape().ctx(), dy, beta, dv); });
    });
  });
}

Var SwapAxes(const Var& x) {
  return RunOp("SwapAxes", {x}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(x, 4));
    const Shape& s = x.shape();
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({s[0], s[2], s[1], s[3]}));
    PAGODA_RETURN_IF_ERROR(pagoda::SwapAxes(tape.ctx(), x.value(), 0.0f, y));
    return tape.Node(y, {x}, [x](const Tensor& dy) {
      return AddGradient(x, [&](const Tensor& dx, float beta) {
        return pagoda::SwapAxes(x.tape().ctx(), dy, beta, dx);
      });
    });
  });
}

Var PadSequences(const Var& ragged, const std::vector<int32_t>& offsets, int64_t length) {
  return RunOp("PadSequences", {ragged}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(ragged, 2));
    PAGODA_RETURN_IF_ERROR(CheckOffsets(offsets, ragged.shape()[0]));
    const int64_t num_offsets = static_cast<int64_t>(offsets.size());
    PAGODA_ASSIGN_OR_RETURN(const Tensor ends, tape.ctx().Upload<int32_t>(offsets, {num_offsets}));
    return PadSequences(ragged, ends, length);
  });
}

Var PadSequences(const Var& ragged, const Tensor& offsets, int64_t length) {
  return RunOp("PadSequences", {ragged}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(ragged, 2));
    const int64_t n = offsets.size() - 1;
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({n, length, ragged.shape()[1]}));
    PAGODA_RETURN_IF_ERROR(pagoda::PadSequences(tape.ctx(), ragged.value(), offsets, 0.0f, y));
    return tape.Node(y, {ragged}, [ragged, offsets](const Tensor& dy) {
      return AddGradient(ragged, [&](const Tensor& dx, float beta) {
        return pagoda::UnpadSequences(ragged.tape().ctx(), dy, offsets, beta, dx);
      });
    });
  });
}

Var UnpadSequences(const Var& padded, const std::vector<int32_t>& offsets) {
  return RunOp("UnpadSequences", {padded}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(padded, 3));
    PAGODA_RETURN_IF_ERROR(CheckOffsets(offsets, offsets.empty() ? 0 : offsets.back()));
    const int64_t num_offsets = static_cast<int64_t>(offsets.size());
    PAGODA_ASSIGN_OR_RETURN(const Tensor ends, tape.ctx().Upload<int32_t>(offsets, {num_offsets}));
    return UnpadSequences(padded, ends, offsets.back());
  });
}

Var UnpadSequences(const Var& padded, const Tensor& offsets, int64_t num_rows) {
  return RunOp("UnpadSequences", {padded}, [&](Tape& tape) -> absl::StatusOr<Var> {
    PAGODA_RETURN_IF_ERROR(CheckRank(padded, 3));
    PAGODA_ASSIGN_OR_RETURN(Tensor y, tape.ctx().Empty({num_rows, padded.shape()[2]}));
    PAGODA_RETURN_IF_ERROR(pagoda::UnpadSequences(tape.ctx(), padded.value(), offsets, 0.0f, y));
    return tape.Node(y, {padded}, [padded, offsets](const Tensor& dy) {
      return AddGradient(padded, [&](const Tensor& dx, float beta) {
        return pagoda::PadSequences(padded.tape().ctx(), dy, offsets, beta, dx);
      });
    });
  });
}

}  // namespace pagoda::nn
