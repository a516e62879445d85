// Products by cuBLAS. Bias and activation are one pass over y after it (8 bytes an element;
// none for a bias alone), and dz = dy * f'(y) one before the backward products (12). dbias
// comes with dw's product, or is a sum over dz's columns (4).
#include "kernels/linear_gpu.h"

#include "kernels/elementwise.h"
#include "kernels/gpu_column_sum.h"
#include "kernels/gpu_convert.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

template <Activation f>
__device__ inline float Value(float z) {
  if constexpr (f == Activation::kRelu) return z < 0.0f ? 0.0f : z;
  if constexpr (f == Activation::kSigmoid) return 1.0f / (1.0f + expf(-z));
  if constexpr (f == Activation::kTanh) return tanhf(z);
  return z;
}
template <Activation f>
__device__ inline float TimesSlope(float y, float dy) {
  if constexpr (f == Activation::kRelu) return y > 0.0f ? dy : 0.0f;
  if constexpr (f == Activation::kSigmoid) return dy * (y * (1.0f - y));
  if constexpr (f == Activation::kTanh) return dy * (1.0f - y * y);
  return dy;
}

// y [n, d] = f(y + bias), in place.
template <Activation f, int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    BiasActivationKernel(float* y, const float* bias, int64_t n, int64_t d, unsigned group) {
  ForRowPacks<kPack>(n, d, group, [&](int64_t i, int64_t c) {
    FloatPack<kPack> z = LoadPack<kPack>(y + i * d + c);
    FloatPack<kPack> b = {};
    if (bias != nullptr) b = LoadPack<kPack>(bias + c);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) z.v[k] = Value<f>(z.v[k] + b.v[k]);
    StorePack(z, y + i * d + c);
  });
}

template <Activation f, int kPack>
__global__ void __launch_bounds__(kGpuThreads)
    SlopeKernel(const float* y, const float* dy, float* dz, int64_t n) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kPack;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack; i < n; i += step) {
    const FloatPack<kPack> value = LoadPack<kPack>(y + i);
    FloatPack<kPack> gradient = LoadPack<kPack>(dy + i);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) gradient.v[k] = TimesSlope<f>(value.v[k], gradient.v[k]);
    StorePack(gradient, dz + i);
  }
}

// Calls body.operator()<f>() for the activations that can be fused.
template <typename Body>
absl::Status WithFused(Activation f, const Body& body) {
  switch (f) {
    case Activation::kRelu: return body.template operator()<Activation::kRelu>();
    case Activation::kSigmoid: return body.template operator()<Activation::kSigmoid>();
    case Activation::kTanh: return body.template operator()<Activation::kTanh>();
    default: return body.template operator()<Activation::kNone>();
  }
}

absl::Status BiasActivation(Context& ctx, Activation activation, const Tensor& bias,
                            const Tensor& y) {
  if (y.size() == 0 || (bias.absent() && activation == Activation::kNone)) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(y.dim(1), {y.raw(), bias.raw()});
  const unsigned group = RowGroup(y.dim(1) / (by_four ? 4 : 1), kGpuThreads);
  return WithFused(activation, [&]<Activation f>() {
    return LaunchKernel(ctx, "LinearForward",
                        by_four ? BiasActivationKernel<f, 4> : BiasActivationKernel<f, 1>,
                        GpuBlocks(y.dim(0), kGpuThreads / group), kGpuThreads, 0, y.data<float>(),
                        bias.data<float>(), y.dim(0), y.dim(1), group);
  });
}

absl::Status Slope(Context& ctx, Activation activation, const Tensor& y, const Tensor& dy,
                   const Tensor& dz) {
  if (y.size() == 0) return absl::OkStatus();
  const bool by_four = RowsMoveByFour(y.size(), {y.raw(), dy.raw(), dz.raw()});
  return WithFused(activation, [&]<Activation f>() {
    return LaunchKernel(ctx, "LinearBackward", by_four ? SlopeKernel<f, 4> : SlopeKernel<f, 1>,
                        GpuBlocks(y.size(), kGpuThreads * (by_four ? 4 : 1)), kGpuThreads, 0,
                        y.data<float>(), dy.data<float>(), dz.data<float>(), y.size());
  });
}

}  // namespace

absl::Status LinearForwardGpu(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias,
                              Activation activation, const Tensor& y) {
  PAGODA_ASSIGN_OR_RETURN(const Tensor left, ForProductOnGpu(ctx, x));
  PAGODA_ASSIGN_OR_RETURN(const Tensor right, ForProductOnGpu(ctx, w));
  GpuStream::Product product;
  product.m = x.dim(0);
  product.n = w.dim(0);
  product.k = x.dim(1);
  product.a = left.raw();
  product.a_stride = x.dim(1);
  product.b = right.raw();
  product.b_stride = w.dim(1);
  product.b_transposed = true;
  product.operands = left.dtype();
  product.c = y.data<float>();
  product.c_stride = w.dim(0);
  // Not with ReLU: cublasLt does not say what its own makes of a NaN, which must stay one.
  if (activation == Activation::kNone && !bias.absent()) {
    product.bias = bias.data<float>();
    PAGODA_ASSIGN_OR_RETURN(const bool done, GpuStream::Of(ctx).MultiplyFused(product));
    if (done) return absl::OkStatus();
  }
  PAGODA_RETURN_IF_ERROR(GpuStream::Of(ctx).Multiply(product));
  return BiasActivation(ctx, activation, bias, y);
}

absl::Status LinearBackwardGpu(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y,
                               const Tensor& dy, Activation activation,
                               const LinearGradients& gradients) {
  const int64_t n = x.dim(0), in = x.dim(1), out = w.dim(0);
  Tensor dz = dy;
  if (activation != Activation::kNone) {
    if (!gradients.overwrite_dy) {
      PAGODA_ASSIGN_OR_RETURN(dz, ctx.Empty({n, out}));
    }
    PAGODA_RETURN_IF_ERROR(Slope(ctx, activation, y, dy, dz));
  }
  PAGODA_ASSIGN_OR_RETURN(const Tensor slope, ForProductOnGpu(ctx, dz));
  GpuStream::Product product;
  product.operands = slope.dtype();
  product.a = slope.raw();
  product.a_stride = out;
  if (!gradients.dx.absent()) {
    PAGODA_ASSIGN_OR_RETURN(const Tensor weights, ForProductOnGpu(ctx, w));
    product.m = n;
    product.n = in;
    product.k = out;
    product.b = weights.raw();
    product.b_stride = in;
    product.c = gradients.dx.data<float>();
    product.c_stride = in;
    product.beta = gradients.beta_dx;
    PAGODA_RETURN_IF_ERROR(GpuStream::Of(ctx).Multiply(product));
  }
  const auto sum_bias = [&]() -> absl::Status {
    if (gradients.dbias.absent()) return absl::OkStatus();
    return SumMatrixColumnsOnGpu(ctx, "LinearBackward", dz.data<float>(), n, out,
                                 gradients.beta_dbias, gradients.dbias.data<float>());
  };
  if (gradients.dw.absent()) return sum_bias();
  PAGODA_ASSIGN_OR_RETURN(const Tensor inputs, ForProductOnGpu(ctx, x));
  product.m = out;
  product.n = in;
  product.k = n;
  product.a_transposed = true;
  product.b = inputs.raw();
  product.b_stride = in;
  product.c = gradients.dw.data<float>();
  product.c_stride = in;
  product.beta = gradients.beta_dw;
  // In bf16 the product reads dz rounded, and dbias is of what was not.
  if (!gradients.dbias.absent() && slope.dtype() == DType::kF32) {
    PAGODA_ASSIGN_OR_RETURN(const Tensor sums, ctx.Empty({out}));
    product.a_sums = sums.data<float>();
    PAGODA_ASSIGN_OR_RETURN(const bool done, GpuStream::Of(ctx).MultiplyFused(product));
    if (done) return AxpBy(ctx, 1.0f, sums, gradients.beta_dbias, gradients.dbias);
  }
  PAGODA_RETURN_IF_ERROR(sum_bias());
  return GpuStream::Of(ctx).Multiply(product);
}

}  // namespace pagoda
