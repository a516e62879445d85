// What matmul.cu has; see dispatch.h.
#pragma once

#include "kernels/matmul.h"

namespace pagoda {

absl::Status MatMulGpu(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                       const Tensor& out);

absl::Status BatchMatMulGpu(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                            const Tensor& out);

}  // namespace pagoda
