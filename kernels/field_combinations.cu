// Bound by memory: 4 d bytes a row of `out`, order + 1 of them a combination; the fields come
// from memory once and then from L1. Forward gives a block's second index the combination, and a
// group of threads moves along the row; backward gives it the field, and goes through the
// combinations that have it, so that each element has one writer.
#include "kernels/field_combinations_gpu.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

struct Fields {
  const float* x;
  const int32_t* combinations;
  const float* dout;
  float* to;  // out, or dx.
  int64_t n, f, d, m;
  float beta;
  unsigned group;
};

template <int kOrder, int kPack>
__global__ void __launch_bounds__(kGpuThreads) CombineFieldsKernel(const Fields s) {
  const int64_t k = blockIdx.y;
  int64_t at[kOrder];
  GPU_UNROLL
  for (int p = 0; p < kOrder; ++p) at[p] = s.combinations[k * kOrder + p] * s.d;
  ForRowPacks<kPack>(s.n, s.d, s.group, [&](int64_t i, int64_t c) {
    const float* const fields = s.x + i * s.f * s.d + c;
    float* const out = s.to + (i * (kOrder + 1) * s.m + k) * s.d + c;
    FloatPack<kPack> field[kOrder];
    GPU_UNROLL
    for (int p = 0; p < kOrder; ++p) field[p] = LoadPack<kPack>(fields + at[p]);
    FloatPack<kPack> product = field[0];
    GPU_UNROLL
    for (int p = 1; p < kOrder; ++p) {
      GPU_UNROLL
      for (int e = 0; e < kPack; ++e) product.v[e] *= field[p].v[e];
    }
    StorePack(product, out + kOrder * s.m * s.d);
    GPU_UNROLL
    for (int q = 0; q < kOrder; ++q) {
      FloatPack<kPack> sum = {};
      GPU_UNROLL
      for (int p = 0; p < kOrder; ++p) {
        GPU_UNROLL
        for (int e = 0; e < kPack; ++e) sum.v[e] += FieldBase(kOrder, q, p) * field[p].v[e];
      }
      StorePack(sum, out + q * s.m * s.d);
    }
  });
}

// What combination k adds to the slope of its field at place `place`, columns [c, c + kPack).
template <int kOrder, int kPack>
__device__ inline void AddSlope(const Fields& s, int64_t i, int64_t k, int place, int64_t c,
                                FloatPack<kPack>* slope) {
  const float* const fields = s.x + i * s.f * s.d + c;
  const float* const dout = s.dout + (i * (kOrder + 1) * s.m + k) * s.d + c;
  FloatPack<kPack> product = LoadPack<kPack>(dout + kOrder * s.m * s.d);
  GPU_UNROLL
  for (int p = 0; p < kOrder; ++p) {
    if (p == place) continue;
    const FloatPack<kPack> other = LoadPack<kPack>(fields + s.combinations[k * kOrder + p] * s.d);
    GPU_UNROLL
    for (int e = 0; e < kPack; ++e) product.v[e] *= other.v[e];
  }
  GPU_UNROLL
  for (int q = 0; q < kOrder; ++q) {
    const FloatPack<kPack> dsum = LoadPack<kPack>(dout + q * s.m * s.d);
    const float sign = FieldBase(kOrder, q, place);
    GPU_UNROLL
    for (int e = 0; e < kPack; ++e) product.v[e] += sign * dsum.v[e];
  }
  GPU_UNROLL
  for (int e = 0; e < kPack; ++e) slope->v[e] += product.v[e];
}

template <int kOrder, int kPack>
__global__ void __launch_bounds__(kGpuThreads) FieldSlopesKernel(const Fields s) {
  const int64_t mine = blockIdx.y;
  ForRowPacks<kPack>(s.n, s.d, s.group, [&](int64_t i, int64_t c) {
    FloatPack<kPack> slope = {};
    for (int64_t k = 0; k < s.m; ++k) {
      int place = kOrder;
      GPU_UNROLL
      for (int p = 0; p < kOrder; ++p) {
        if (s.combinations[k * kOrder + p] == mine) place = p;
      }
      if (place != kOrder) AddSlope<kOrder, kPack>(s, i, k, place, c, &slope);
    }
    AccumulatePack(s.beta, slope, s.to + (i * s.f + mine) * s.d + c);
  });
}

using Kernel = void (*)(const Fields);

absl::Status Launch(Context& ctx, const char* name, const Kernel (&kernels)[2], Fields fields,
                    bool by_four, int64_t second) {
  if (fields.n == 0 || fields.d == 0 || second == 0) return absl::OkStatus();
  fields.group = RowGroup(fields.d / (by_four ? 4 : 1), kGpuThreads);
  const dim3 grid(GpuBlocks(fields.n, kGpuThreads / fields.group), static_cast<unsigned>(second));
  return LaunchKernel(ctx, name, kernels[by_four ? 1 : 0], grid, kGpuThreads, 0, fields);
}

// By order - 2, then for packs of one and of four.
constexpr Kernel kForward[3][2] = {{CombineFieldsKernel<2, 1>, CombineFieldsKernel<2, 4>},
                                   {CombineFieldsKernel<3, 1>, CombineFieldsKernel<3, 4>},
                                   {CombineFieldsKernel<4, 1>, CombineFieldsKernel<4, 4>}};
constexpr Kernel kBackward[3][2] = {{FieldSlopesKernel<2, 1>, FieldSlopesKernel<2, 4>},
                                    {FieldSlopesKernel<3, 1>, FieldSlopesKernel<3, 4>},
                                    {FieldSlopesKernel<4, 1>, FieldSlopesKernel<4, 4>}};

}  // namespace

absl::Status FieldCombinationsForwardGpu(Context& ctx, const Tensor& x, const Tensor& combinations,
                                         const Tensor& out) {
  const Fields fields = {x.data<float>(),
                         combinations.data<int32_t>(),
                         nullptr,
                         out.data<float>(),
                         x.dim(0),
                         x.dim(1),
                         x.dim(2),
                         combinations.dim(0),
                         0.0f,
                         1};
  return Launch(ctx, "FieldCombinationsForward", kForward[combinations.dim(1) - 2], fields,
                RowsMoveByFour(fields.d, {x.raw(), out.raw()}), fields.m);
}

absl::Status FieldCombinationsBackwardGpu(Context& ctx, const Tensor& x, const Tensor& combinations,
                                          const Tensor& dout, float beta, const Tensor& dx) {
  const Fields fields = {x.data<float>(),
                         combinations.data<int32_t>(),
                         dout.data<float>(),
                         dx.data<float>(),
                         x.dim(0),
                         x.dim(1),
                         x.dim(2),
                         combinations.dim(0),
                         beta,
                         1};
  return Launch(ctx, "FieldCombinationsBackward", kBackward[combinations.dim(1) - 2], fields,
                RowsMoveByFour(fields.d, {x.raw(), dout.raw(), dx.raw()}), fields.f);
}

}  // namespace pagoda
