// What pad_sequences.cu has; see dispatch.h.
#pragma once

#include "kernels/pad_sequences.h"

namespace pagoda {

absl::Status PadSequencesGpu(Context& ctx, const Tensor& ragged, const Tensor& offsets, float beta,
                             const Tensor& padded);
absl::Status UnpadSequencesGpu(Context& ctx, const Tensor& padded, const Tensor& offsets,
                               float beta, const Tensor& ragged);

}  // namespace pagoda
