// Copies between a matrix and a range of columns of a wider matrix: the two
// halves of concat and slice.
//   INVALID_ARGUMENT  the columns do not lie within `wide`
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// wide [n, total], narrow [n, width]: wide[i, column + j] = narrow[i, j].
absl::Status WriteColumns(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide);
// narrow[i, j] = beta * narrow[i, j] + wide[i, column + j].
absl::Status ReadColumns(Context& ctx, const Tensor& wide, int64_t column, float beta,
                         const Tensor& narrow);
// wide[i, column + j] += narrow[i, j].
absl::Status AddColumns(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide);

}  // namespace pagoda
