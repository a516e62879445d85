// What embedding_bag.cu has; see dispatch.h.
#pragma once

#include "kernels/embedding_bag.h"

namespace pagoda {

absl::Status EmbeddingBagForwardGpu(Context& ctx, const Tensor& rows,
                                    const EmbeddingBagIndex& index, const Tensor& out);
absl::Status EmbeddingBagBackwardGpu(Context& ctx, const Tensor& dout,
                                     const EmbeddingBagIndex& index, float beta,
                                     const Tensor& drows);
absl::Status GatherRowsGpu(Context& ctx, const Tensor& rows, const Tensor& inverse,
                           const Tensor& out);
absl::Status GatherRowsBackwardGpu(Context& ctx, const Tensor& dout,
                                   const Tensor& occurrence_offsets, const Tensor& occurrences,
                                   float beta, const Tensor& drows);

}  // namespace pagoda
