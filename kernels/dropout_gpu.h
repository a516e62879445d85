// What dropout.cu has; see dispatch.h.
#pragma once

#include "kernels/dropout.h"

namespace pagoda {

absl::Status DropoutGpu(Context& ctx, const Tensor& x, const DropoutArgs& args, float beta,
                        const Tensor& out);
absl::Status DropoutRowsGpu(Context& ctx, const Tensor& x, const Tensor& counters,
                            const DropoutArgs& args, float beta, const Tensor& out);

}  // namespace pagoda
