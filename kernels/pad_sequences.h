// Sequences of different lengths as a block of equal ones, and back: attention works on
// blocks.
//
//    padded[i, j, :] = beta * padded[i, j, :] + ragged[offsets[i] + j, :], or + 0 past the end
//    ragged[offsets[i] + j, :] = beta * ragged[offsets[i] + j, :] + padded[i, j, :]
//
// ragged [nnz, d], offsets i32 [n + 1] (trusted to ascend from 0 to nnz), padded
// [n, length, d]. What a sequence has beyond `length` is left out: it is in no block, and
// UnpadSequences adds nothing to it. Each is the other's gradient.
// With beta == 0 the output is not read.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

absl::Status PadSequences(Context& ctx, const Tensor& ragged, const Tensor& offsets, float beta,
                          const Tensor& padded);
absl::Status UnpadSequences(Context& ctx, const Tensor& padded, const Tensor& offsets, float beta,
                            const Tensor& ragged);

}  // namespace pagoda
