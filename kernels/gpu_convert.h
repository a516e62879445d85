// Between f32 and bf16 on the GPU. Rounds to nearest, ties to even; a NaN stays one.
#pragma once

#include "kernels/context.h"

namespace pagoda {

// A copy of x in the context's compute type: x itself for f32.
absl::StatusOr<Tensor> ForProductOnGpu(Context& ctx, const Tensor& x);

}  // namespace pagoda
