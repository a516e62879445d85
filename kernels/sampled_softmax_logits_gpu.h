// What sampled_softmax_logits.cu has; see dispatch.h.
#pragma once

#include "kernels/sampled_softmax_logits.h"

namespace pagoda {

absl::Status SampledSoftmaxLogitsForwardGpu(Context& ctx, const Tensor& positives,
                                            const Tensor& negatives, const SampledCandidateIds& ids,
                                            const SampledLogQ& log_q, float temperature,
                                            const Tensor& out);
absl::Status SampledSoftmaxLogitsBackwardGpu(Context& ctx, const Tensor& dout,
                                             const SampledCandidateIds& ids, float temperature,
                                             float beta, const Tensor& dpositives,
                                             const Tensor& dnegatives);

}  // namespace pagoda
