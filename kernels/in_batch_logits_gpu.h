// What in_batch_logits.cu has; see dispatch.h.
#pragma once

#include "kernels/in_batch_logits.h"

namespace pagoda {

absl::Status InBatchLogitsForwardGpu(Context& ctx, const Tensor& scores, const Tensor& items,
                                     const Tensor& log_q, float temperature, const Tensor& out);
absl::Status InBatchLogitsBackwardGpu(Context& ctx, const Tensor& dout, const Tensor& items,
                                      float temperature, float beta, const Tensor& dscores);

}  // namespace pagoda
