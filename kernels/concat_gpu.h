// What concat.cu has; see dispatch.h.
#pragma once

#include "kernels/concat.h"

namespace pagoda {

absl::Status WriteColumnsGpu(Context& ctx, const Tensor& narrow, int64_t column,
                             const Tensor& wide);
absl::Status ReadColumnsGpu(Context& ctx, const Tensor& wide, int64_t column, float beta,
                            const Tensor& narrow);
absl::Status AddColumnsGpu(Context& ctx, const Tensor& narrow, int64_t column, const Tensor& wide);

}  // namespace pagoda
