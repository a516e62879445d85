// What copy_indexed_rows.cu has; see dispatch.h.
#pragma once

#include "kernels/copy_indexed_rows.h"

namespace pagoda {

absl::Status CopyIndexedRowsGpu(Context& ctx, const Tensor& from, const Tensor& from_index,
                                const Tensor& to_index, const Tensor& to, int64_t first_column);

}  // namespace pagoda
