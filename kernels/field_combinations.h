// Signed sums and products of fields, by combination: the fixed-base convolution of USM
// (arXiv 1812.01353, section 3; bases as in its published code). A combination k of `order`
// fields a_0 < a_1 < ... gives order + 1 rows, each laid out behind those of the same kind:
//
//    out[i, q * m + k, :]     = sum over p of K[q][p] x[i, a_p, :]     q in [0, order)
//    out[i, order * m + k, :] = product over p of x[i, a_p, :]
//    K2 = [[1, 1], [1, -1]];  K3 = J - 2 I, K4 = J - 2 I               (J: all ones)
//
// x [n, f, d]; combinations i32 [m, order], fields of a combination distinct and within [0, f)
// (trusted: FieldCombinations makes them); out [n, (order + 1) * m, d]. The bases are constants:
// K2 and K4 have orthogonal rows, K3 linearly independent ones.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

inline constexpr int kLeastFieldOrder = 2;
inline constexpr int kMostFieldOrder = 4;

// K[q][p] of the base of `order`.
constexpr float FieldBase(int order, int q, int p) {
  return q == p && (order != 2 || q == 1) ? -1.0f : 1.0f;
}

// The combinations of `order` of [0, num_fields), in lexical order, one after another.
std::vector<int32_t> FieldCombinations(int num_fields, int order);

//   INVALID_ARGUMENT  shapes disagree, combinations are not of 2 to 4 fields, or they or the
//                     fields are more than 65,535
absl::Status FieldCombinationsForward(Context& ctx, const Tensor& x, const Tensor& combinations,
                                      const Tensor& out);
// dx = beta * dx + the slope, summed over combinations in their order. With beta == 0, dx is not
// read.
absl::Status FieldCombinationsBackward(Context& ctx, const Tensor& x, const Tensor& combinations,
                                       const Tensor& dout, float beta, const Tensor& dx);

}  // namespace pagoda
