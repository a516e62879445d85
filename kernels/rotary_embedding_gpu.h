// What rotary_embedding.cu has; see dispatch.h.
#pragma once

#include "kernels/rotary_embedding.h"

namespace pagoda {

absl::Status RotaryEmbeddingGpu(Context& ctx, const Tensor& x, const Tensor& positions,
                                const Tensor& turns, bool inverse, float beta, const Tensor& out);

}  // namespace pagoda
