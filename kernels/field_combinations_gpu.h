// What field_combinations.cu has; see dispatch.h.
#pragma once

#include "kernels/field_combinations.h"

namespace pagoda {

absl::Status FieldCombinationsForwardGpu(Context& ctx, const Tensor& x, const Tensor& combinations,
                                         const Tensor& out);
absl::Status FieldCombinationsBackwardGpu(Context& ctx, const Tensor& x, const Tensor& combinations,
                                          const Tensor& dout, float beta, const Tensor& dx);

}  // namespace pagoda
