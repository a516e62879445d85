// What elementwise.cu has; see dispatch.h.
#pragma once

#include "kernels/elementwise.h"

namespace pagoda {

absl::Status AxpByGpu(Context& ctx, float alpha, const Tensor& x, float beta, const Tensor& out);
absl::Status AddGpu(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out);
absl::Status MultiplyGpu(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out);
absl::Status MultiplyAddGpu(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out);
absl::Status DivideGpu(Context& ctx, float alpha, const Tensor& a, const Tensor& b, float beta,
                       const Tensor& out);
absl::Status ExpGpu(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status LogGpu(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status AffineGpu(Context& ctx, float scale, const Tensor& x, float shift, const Tensor& out);
absl::Status ClipGpu(Context& ctx, const Tensor& x, float low, float high, const Tensor& out);
absl::Status ClipBackwardGpu(Context& ctx, const Tensor& x, float low, float high, const Tensor& dy,
                             float beta, const Tensor& dx);
absl::Status FillGpu(Context& ctx, float value, const Tensor& out);
absl::Status AddRowVectorGpu(Context& ctx, const Tensor& x, const Tensor& v, const Tensor& out);
absl::Status ScaleRowsGpu(Context& ctx, const Tensor& x, const Tensor& s, const Tensor& out);
absl::Status SumRowsGpu(Context& ctx, const Tensor& x, float beta, const Tensor& out);
absl::Status SumColumnsGpu(Context& ctx, const Tensor& x, float beta, const Tensor& out);
absl::Status DotRowsGpu(Context& ctx, const Tensor& a, const Tensor& b, float beta,
                        const Tensor& out);
absl::Status SumAllGpu(Context& ctx, const Tensor& x, const Tensor& out);
absl::Status BroadcastScalarGpu(Context& ctx, float alpha, const Tensor& s, float beta,
                                const Tensor& out);

}  // namespace pagoda
