// From an operator's checked arguments to its GPU kernel, in builds that have one.
//
//   absl::Status Add(Context& ctx, ...) {
//     ... checks ...
//     PAGODA_ON_GPU(ctx, AddGpu(ctx, a, b, out));
//     ... the CPU's way ...
//
// The twins' arguments are checked and present; sizes may be 0.
#pragma once

#include "kernels/context.h"

#if defined(PAGODA_GPU)
#define PAGODA_ON_GPU(ctx, call) \
  if ((ctx).on_gpu()) return (call)
#define PAGODA_GPU_TWIN(function) (function)
#else
#define PAGODA_ON_GPU(ctx, call) static_cast<void>(0)
#define PAGODA_GPU_TWIN(function) nullptr
#endif
