// Rows, or columns [first_column, first_column + d) of them, copied from and to chosen
// places:
//
//    to[to_index[i], c] = from[from_index[i], first_column + c]      for i in [0, m)
//
// from [n, w] and to [k, d], f32; from_index and to_index i32 [m], each absent for "i
// itself". Indices are not checked: they come from the host, which knows the sizes.
//   REQUIRES: 0 <= from_index < n, 0 <= to_index < k; to_index names no row twice
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// With neither index, m is from's number of rows.
//   INVALID_ARGUMENT  an index is absent and the rows it stands for are fewer than m; or
//                     the columns are not all within from's
absl::Status CopyIndexedRows(Context& ctx, const Tensor& from, const Tensor& from_index,
                             const Tensor& to_index, const Tensor& to, int64_t first_column = 0);

}  // namespace pagoda
