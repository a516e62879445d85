// What unique_ids.cu has; see dispatch.h.
#pragma once

#include "kernels/unique_ids.h"

namespace pagoda {

absl::Status UniqueIdsGpu(Context& ctx, const Tensor& ids, const Tensor& unique,
                          const Tensor& inverse, const Tensor& count);

}  // namespace pagoda
