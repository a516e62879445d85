// The logits of a sampled softmax: a sample's own item and m candidates drawn for it.
//    s[i, j]       = kHitScore where negative_ids[.] == positive_ids[i], else negatives[i, j]
//    out[i, 0]     = positives[i] / temperature - positive_log_q[i]
//    out[i, 1 + j] = s[i, j] / temperature - negative_log_q[.]
// where [.] is [j] when the candidates are one list for all samples, and [i, j] otherwise. A
// candidate that is the sample's own item is a hit: no negative, and without a gradient. Sources:
// Yi et al. 2019 (RecSys, eq. 3) for log_q; GPSD's published code for the hits and the order.
//
// positives [n], negatives [n, m], out [n, 1 + m]; positive_ids i64 [n]; negative_ids i64 [m] or
// [n, m]; positive_log_q [n]; negative_log_q as negative_ids; both log_q absent for zeros.
#pragma once

#include "absl/status/status.h"
#include "kernels/context.h"
#include "kernels/tensor.h"

namespace pagoda {

// Before the division by the temperature.
inline constexpr float kHitScore = -1e6f;

struct SampledCandidateIds {
  Tensor positive;  // i64 [n]
  Tensor negative;  // i64 [m] or [n, m]
};
struct SampledLogQ {
  Tensor positive;  // [n]
  Tensor negative;  // [m] or [n, m], as the ids
};

//   INVALID_ARGUMENT  shapes disagree, temperature <= 0, or one log_q is absent and one is not
absl::Status SampledSoftmaxLogitsForward(Context& ctx, const Tensor& positives,
                                         const Tensor& negatives, const SampledCandidateIds& ids,
                                         const SampledLogQ& log_q, float temperature,
                                         const Tensor& out);
// d = beta * d + dout / temperature, and + 0 for a hit. An absent gradient is not wanted.
absl::Status SampledSoftmaxLogitsBackward(Context& ctx, const Tensor& dout,
                                          const SampledCandidateIds& ids, float temperature,
                                          float beta, const Tensor& dpositives,
                                          const Tensor& dnegatives);

}  // namespace pagoda
