// Bound by memory: a warp has a row. Forward reads it from memory once and from L1 or L2
// twice more, and writes it once (8 m bytes); backward reads two rows and adds to one (16 m).
#include "kernels/softmax_gpu.h"

#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Rows {
  const float* x;
  const float* y;
  const float* dy;
  const int32_t* targets;  // Null: no cross-entropy.
  const int32_t* counts;   // Null: all of a row.
  const float* weights;    // Null: ones.
  const float* dloss;
  float* loss;
  float* out;
  int64_t n, m;
};

// out = softmax of the first `count` of x, then zeros; log sum exp of them in every lane.
template <int kPack>
__device__ inline float SoftmaxRow(const float* x, int64_t count, int64_t m, float* out, int lane) {
  float greatest = -INFINITY;
  for (int64_t j = int64_t{lane} * kPack; j < m; j += int64_t{kWarp} * kPack) {
    const FloatPack<kPack> v = LoadPack<kPack>(x + j);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      greatest = j + k < count && v.v[k] > greatest ? v.v[k] : greatest;
    }
  }
  greatest = WarpMax(greatest);
  if (greatest == -INFINITY) greatest = 0.0f;
  float sum = 0.0f;
  for (int64_t j = int64_t{lane} * kPack; j < m; j += int64_t{kWarp} * kPack) {
    const FloatPack<kPack> v = LoadPack<kPack>(x + j);
    FloatPack<kPack> e;
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) {
      e.v[k] = j + k < count ? expf(v.v[k] - greatest) : 0.0f;
      sum += e.v[k];
    }
    // In place: a lane writes what it alone has read.
    StorePack(e, out + j);
  }
  sum = WarpSum(sum);
  const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
  for (int64_t j = int64_t{lane} * kPack; j < m; j += int64_t{kWarp} * kPack) {
    FloatPack<kPack> e = LoadPack<kPack>(out + j);
    GPU_UNROLL
    for (int k = 0; k < kPack; ++k) e.v[k] *= inverse;
    StorePack(e, out + j);
  }
  return greatest + logf(sum);
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) SoftmaxKernel(const Rows r) {
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const x = r.x + i * r.m;
    const int64_t count = r.counts == nullptr ? r.m : r.counts[i];
    const float log_sum = SoftmaxRow<kPack>(x, count, r.m, r.out + i * r.m, lane);
    if (r.targets == nullptr || lane != 0) return;
    const int32_t target = r.targets[i];
    const float weight = r.weights == nullptr ? 1.0f : r.weights[i];
    if (target == -1) {
      r.loss[i] = 0.0f;
    } else if (target < 0 || target >= r.m) {
      r.loss[i] = NAN;
    } else {
      r.loss[i] = weight * (log_sum - x[target]);
    }
  });
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) SoftmaxSlopeKernel(const Rows r) {
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const float* const y = r.y + i * r.m;
    const float* const dy = r.dy + i * r.m;
    float dot = 0.0f;
    for (int64_t j = int64_t{lane} * kPack; j < r.m; j += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> u = LoadPack<kPack>(y + j);
      const FloatPack<kPack> v = LoadPack<kPack>(dy + j);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) dot += u.v[k] * v.v[k];
    }
    dot = WarpSum(dot);
    for (int64_t j = int64_t{lane} * kPack; j < r.m; j += int64_t{kWarp} * kPack) {
      const FloatPack<kPack> u = LoadPack<kPack>(y + j);
      FloatPack<kPack> v = LoadPack<kPack>(dy + j);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) v.v[k] = u.v[k] * (v.v[k] - dot);
      AccumulatePack(1.0f, v, r.out + i * r.m + j);
    }
  });
}

template <int kPack>
__global__ void __launch_bounds__(kGpuThreads) CrossEntropySlopeKernel(const Rows r) {
  ForWarpRows(r.n, [&](int64_t i, int lane) {
    const int32_t target = r.targets[i];
    if (target < 0 || target >= r.m) return;
    const float scale = r.dloss[i] * (r.weights == nullptr ? 1.0f : r.weights[i]);
    for (int64_t j = int64_t{lane} * kPack; j < r.m; j += int64_t{kWarp} * kPack) {
      FloatPack<kPack> y = LoadPack<kPack>(r.y + i * r.m + j);
      GPU_UNROLL
      for (int k = 0; k < kPack; ++k) {
        y.v[k] = scale * (j + k == target ? y.v[k] - 1.0f : y.v[k]);
      }
      AccumulatePack(1.0f, y, r.out + i * r.m + j);
    }
  });
}

using Kernel = void (*)(Rows);

absl::Status Launch(Context& ctx, const char* name, Kernel kernel, const Rows& rows) {
  if (rows.n == 0) return absl::OkStatus();
  return LaunchKernel(ctx, name, kernel, GpuBlocks(rows.n, kGpuThreads / kWarp), kGpuThreads, 0,
                      rows);
}

}  // namespace

absl::Status SoftmaxForwardGpu(Context& ctx, const Tensor& x, const Tensor& y) {
  Rows rows = {};
  rows.x = x.data<float>();
  rows.out = y.data<float>();
  rows.n = x.dim(0);
  rows.m = x.dim(1);
  const bool by_four = RowsMoveByFour(rows.m, {rows.x, rows.out});
  return Launch(ctx, "SoftmaxForward", by_four ? SoftmaxKernel<4> : SoftmaxKernel<1>, rows);
}

absl::Status MaskedSoftmaxForwardGpu(Context& ctx, const Tensor& x, const Tensor& counts,
                                     const Tensor& y) {
  Rows rows = {};
  rows.x = x.data<float>();
  rows.counts = counts.data<int32_t>();
  rows.out = y.data<float>();
  rows.n = x.dim(0);
  rows.m = x.dim(1);
  const bool by_four = RowsMoveByFour(rows.m, {rows.x, rows.out});
  return Launch(ctx, "MaskedSoftmaxForward", by_four ? SoftmaxKernel<4> : SoftmaxKernel<1>, rows);
}

absl::Status SoftmaxBackwardGpu(Context& ctx, const Tensor& y, const Tensor& dy, const Tensor& dx) {
  Rows rows = {};
  rows.y = y.data<float>();
  rows.dy = dy.data<float>();
  rows.out = dx.data<float>();
  rows.n = y.dim(0);
  rows.m = y.dim(1);
  const bool by_four = RowsMoveByFour(rows.m, {rows.y, rows.dy, rows.out});
  return Launch(ctx, "SoftmaxBackward", by_four ? SoftmaxSlopeKernel<4> : SoftmaxSlopeKernel<1>,
                rows);
}

absl::Status SoftmaxCrossEntropyForwardGpu(Context& ctx, const Tensor& x, const Tensor& targets,
                                           const Tensor& weights, const Tensor& loss,
                                           const Tensor& probabilities) {
  Rows rows = {};
  rows.x = x.data<float>();
  rows.targets = targets.data<int32_t>();
  rows.weights = weights.data<float>();
  rows.loss = loss.data<float>();
  rows.out = probabilities.data<float>();
  rows.n = x.dim(0);
  rows.m = x.dim(1);
  const bool by_four = RowsMoveByFour(rows.m, {rows.x, rows.out});
  return Launch(ctx, "SoftmaxCrossEntropyForward", by_four ? SoftmaxKernel<4> : SoftmaxKernel<1>,
                rows);
}

absl::Status SoftmaxCrossEntropyBackwardGpu(Context& ctx, const Tensor& probabilities,
                                            const Tensor& targets, const Tensor& weights,
                                            const Tensor& dloss, const Tensor& dx) {
  Rows rows = {};
  rows.y = probabilities.data<float>();
  rows.targets = targets.data<int32_t>();
  rows.weights = weights.data<float>();
  rows.dloss = dloss.data<float>();
  rows.out = dx.data<float>();
  rows.n = probabilities.dim(0);
  rows.m = probabilities.dim(1);
  const bool by_four = RowsMoveByFour(rows.m, {rows.y, rows.out});
  return Launch(ctx, "SoftmaxCrossEntropyBackward",
                by_four ? CrossEntropySlopeKernel<4> : CrossEntropySlopeKernel<1>, rows);
}

}  // namespace pagoda
