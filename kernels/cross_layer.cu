// v2 is a map over 4 operands, backward over up to 9. v1 gives a warp to each row, for its
// dot product, and then reads the row again from L1; dw and db are sums over columns.
#include "kernels/cross_layer_gpu.h"

#include "kernels/gpu_column_sum.h"
#include "kernels/gpu_map.h"
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct CrossV2Value {
  __device__ float operator()(const float (&in)[3]) const { return in[0] * in[1] + in[2]; }
};

struct Target {
  float* data;  // Null: not wanted.
  float beta;
};

// Null gradients are passed over; each is complete before the next, as two may be one.
struct CrossV2Arguments {
  const float* x0;
  const float* u;
  const float* dy;
  Target dx0, du, dx;
  int64_t n;
};

template <int kPack>
__device__ inline void AddTo(const Target& to, int64_t i, const FloatPack<kPack>& value) {
  if (to.data != nullptr) AccumulatePack(to.beta, value, to.data + i);
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) CrossV2BackwardKernel(const CrossV2Arguments a) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x * kPack;
  for (int64_t i = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kPack; i < a.n; i += step) {
    const FloatPack<kPack> dy = LoadPack<kPack>(a.dy + i);
    const FloatPack<kPack> u = LoadPack<kPack>(a.u + i);
    const FloatPack<kPack> x0 = LoadPack<kPack>(a.x0 + i);
    FloatPack<kPack> of_x0, of_u;
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      of_x0.v[k] = dy.v[k] * u.v[k];
      of_u.v[k] = dy.v[k] * x0.v[k];
    }
    AddTo(a.dx0, i, of_x0);
    AddTo(a.du, i, of_u);
    AddTo(a.dx, i, dy);
  }
}

struct CrossV1Arguments {
  const float* x0;
  const float* x;
  const float* w;
  const float* b;   // Forward.
  const float* dy;  // Backward.
  float* y;         // Forward.
  float* xw;
  float* dxw;  // [n], backward: <dy, x0>.
  Target dx0, dx;
  int64_t n, d;
};

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) CrossV1ForwardKernel(const CrossV1Arguments a) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t step = int64_t{gridDim.x} * (blockDim.x / kWarp);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp; i < a.n;
       i += step) {
    const int64_t row = i * a.d;
    const float xw = RowDot<kPack>(a.x + row, a.w, a.d, lane);
    if (lane == 0) a.xw[i] = xw;
    for (int64_t c = int64_t{lane} * kPack; c < a.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> x0 = LoadPack<kPack>(a.x0 + row + c);
      const FloatPack<kPack> x = LoadPack<kPack>(a.x + row + c);
      const FloatPack<kPack> b = LoadPack<kPack>(a.b + c);
      FloatPack<kPack> y;
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) y.v[k] = x0.v[k] * xw + b.v[k] + x.v[k];
      StorePack(y, a.y + row + c);
    }
  }
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) CrossV1BackwardKernel(const CrossV1Arguments a) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int64_t step = int64_t{gridDim.x} * (blockDim.x / kWarp);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp; i < a.n;
       i += step) {
    const int64_t row = i * a.d;
    const float dxw = RowDot<kPack>(a.dy + row, a.x0 + row, a.d, lane);
    if (lane == 0) a.dxw[i] = dxw;
    const float xw = a.xw[i];
    for (int64_t c = int64_t{lane} * kPack; c < a.d; c += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> dy = LoadPack<kPack>(a.dy + row + c);
      const FloatPack<kPack> w = LoadPack<kPack>(a.w + c);
      FloatPack<kPack> of_x0, of_x;
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        of_x0.v[k] = dy.v[k] * xw;
        of_x.v[k] = dy.v[k] + w.v[k] * dxw;
      }
      AddTo(a.dx0, row + c, of_x0);
      AddTo(a.dx, row + c, of_x);
    }
  }
}

// Of dw and db.
struct ParameterTerms {
  const float* x;
  const float* dxw;
  const float* dy;
  int64_t d;
  template <int kPack>
  __device__ void operator()(int64_t i, int64_t j, float (&values)[2][kPack]) const {
    const FloatPack<kPack> in = LoadPack<kPack>(x + i * d + j);
    const FloatPack<kPack> slope = LoadPack<kPack>(dy + i * d + j);
    const float factor = dxw[i];
    GPU_UNROLL
    for (int c = 0; c < kPack; ++c) {
      values[0][c] = in.v[c] * factor;
      values[1][c] = slope.v[c];
    }
  }
};
struct AddParameters {
  Target dw, db;
  __device__ void operator()(int64_t j, const float (&sums)[2]) const {
    if (dw.data != nullptr) {
      dw.data[j] = dw.beta == 0.0f ? sums[0] : dw.beta * dw.data[j] + sums[0];
    }
    if (db.data != nullptr) {
      db.data[j] = db.beta == 0.0f ? sums[1] : db.beta * db.data[j] + sums[1];
    }
  }
};

}  // namespace

absl::Status CrossV1ForwardGpu(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                               const Tensor& b, const Tensor& y, const Tensor& xw) {
  CrossV1Arguments a = {};
  a.x0 = x0.data<float>();
  a.x = x.data<float>();
  a.w = w.data<float>();
  a.b = b.data<float>();
  a.y = y.data<float>();
  a.xw = xw.data<float>();
  a.n = x0.dim(0);
  a.d = x0.dim(1);
  if (a.n == 0) return absl::OkStatus();
  const auto kernel = RowsMoveByFour(a.d, {a.x0, a.x, a.w, a.b, a.y}) ? CrossV1ForwardKernel<4>
                                                                      : CrossV1ForwardKernel<1>;
  return LaunchKernel(ctx, "CrossV1Forward", kernel, GpuBlocks(a.n, kGpuThreads / kWarp),
                      kGpuThreads, 0, a);
}

absl::Status CrossV1BackwardGpu(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                                const Tensor& xw, const Tensor& dy,
                                const CrossV1Gradients& gradients) {
  PAGODA_ASSIGN_OR_RETURN(const Tensor dxw, ctx.Empty({x0.dim(0)}));
  CrossV1Arguments a = {};
  a.x0 = x0.data<float>();
  a.x = x.data<float>();
  a.w = w.data<float>();
  a.xw = xw.data<float>();
  a.dy = dy.data<float>();
  a.dxw = dxw.data<float>();
  a.dx0 = {gradients.dx0.data<float>(), gradients.beta_dx0};
  a.dx = {gradients.dx.data<float>(), gradients.beta_dx};
  a.n = x0.dim(0);
  a.d = x0.dim(1);
  if (a.n > 0) {
    const bool by_four = RowsMoveByFour(a.d, {a.x0, a.w, a.dy, a.dx0.data, a.dx.data});
    PAGODA_RETURN_IF_ERROR(LaunchKernel(
        ctx, "CrossV1Backward", by_four ? CrossV1BackwardKernel<4> : CrossV1BackwardKernel<1>,
        GpuBlocks(a.n, kGpuThreads / kWarp), kGpuThreads, 0, a));
  }
  const AddParameters add = {{gradients.dw.data<float>(), gradients.beta_dw},
                             {gradients.db.data<float>(), gradients.beta_db}};
  if (add.dw.data == nullptr && add.db.data == nullptr) return absl::OkStatus();
  return SumColumnsOnGpu<2, float>(ctx, "CrossV1Backward", a.n, a.d,
                                   RowsMoveByFour(a.d, {a.x, a.dy}),
                                   ParameterTerms{a.x, a.dxw, a.dy, a.d}, add);
}

absl::Status CrossV2ForwardGpu(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& x,
                               const Tensor& y) {
  return MapOnGpu<3>(ctx, "CrossV2Forward", {x0.data<float>(), u.data<float>(), x.data<float>()},
                     x0.size(), 0.0f, y.data<float>(), CrossV2Value());
}

absl::Status CrossV2BackwardGpu(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& dy,
                                const CrossV2Gradients& gradients) {
  const CrossV2Arguments a = {x0.data<float>(),
                              u.data<float>(),
                              dy.data<float>(),
                              {gradients.dx0.data<float>(), gradients.beta_dx0},
                              {gradients.du.data<float>(), gradients.beta_du},
                              {gradients.dx.data<float>(), gradients.beta_dx},
                              x0.size()};
  if (a.n == 0) return absl::OkStatus();
  // The whole matrix as one row.
  const bool by_four = RowsMoveByFour(a.n, {a.x0, a.u, a.dy, a.dx0.data, a.du.data, a.dx.data});
  return LaunchKernel(ctx, "CrossV2Backward",
                      by_four ? CrossV2BackwardKernel<4> : CrossV2BackwardKernel<1>,
                      GpuBlocks(a.n, kGpuThreads * (by_four ? 4 : 1)), kGpuThreads, 0, a);
}

}  // namespace pagoda
