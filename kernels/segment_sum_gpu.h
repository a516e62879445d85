// What segment_sum.cu has; see dispatch.h.
#pragma once

#include "kernels/segment_sum.h"

namespace pagoda {

absl::Status SegmentSumForwardGpu(Context& ctx, const Tensor& x, const Tensor& offsets,
                                  SegmentPooling pooling, float beta, const Tensor& out);
absl::Status SegmentSumBackwardGpu(Context& ctx, const Tensor& dout, const Tensor& offsets,
                                   SegmentPooling pooling, float beta, const Tensor& dx);

}  // namespace pagoda
