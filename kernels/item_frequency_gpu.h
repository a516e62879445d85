// What item_frequency.cu has; see dispatch.h.
#pragma once

#include "kernels/item_frequency.h"

namespace pagoda {

// A bucket out of range, which only the device can see, makes its log_q NaN and changes nothing.
absl::Status ItemFrequencyGpu(Context& ctx, const Tensor& buckets, float rate, bool update,
                              const ItemFrequencyState& state, const Tensor& log_q);

}  // namespace pagoda
