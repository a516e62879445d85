// What average_pool.cu has; see dispatch.h.
#pragma once

#include "kernels/average_pool.h"

namespace pagoda {

absl::Status AveragePoolForwardGpu(Context& ctx, const Tensor& x, const AveragePoolArgs& args,
                                   const Tensor& out);
absl::Status AveragePoolBackwardGpu(Context& ctx, const Tensor& dout, const AveragePoolArgs& args,
                                    float beta, const Tensor& dx);

}  // namespace pagoda
