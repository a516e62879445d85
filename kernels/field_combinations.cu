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
  int64_t sample, kinds, kind;  // Elements of a sample of x and of out, and of a kind of its rows.
  float beta;
  unsigned group;
};

// FieldBase, for the device.
template <int kOrder>
__device__ inline float Base(int q, int p) {
  return q == p && (kOrder != 2 || q == 1) ? -1.0f : 1.0f;
}

// kOthers: the fields that a field is combined with; the order is one more.
template <int kOthers, int kPack>
__global__ void __launch_bounds__(kGpuThreads) CombineFieldsKernel(const Fields s) {
  constexpr int kOrder = kOthers + 1;
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
        for (int e = 0; e < kPack; ++e) sum.v[e] += Base<kOrder>(q, p) * field[p].v[e];
      }
      StorePack(sum, out + q * s.m * s.d);
    }
  });
}

template <int kOthers, int kPack>
__global__ void __launch_bounds__(kGpuThreads, 4) FieldSlopesKernel(const Fields s) {
  constexpr int kOrder = kOthers + 1;
  const int mine = static_cast<int>(blockIdx.y);
  const int64_t rows = blockDim.x / s.group;
  const unsigned lane = threadIdx.x & (s.group - 1);
  // Not ForRowPacks: unrolled, the loop over combinations spills registers.
  for (int64_t i = int64_t{blockIdx.x} * rows + threadIdx.x / s.group; i < s.n;
       i += int64_t{gridDim.x} * rows) {
    for (int64_t c = int64_t{lane} * kPack; c < s.d; c += int64_t{s.group} * kPack) {
      const float* const fields = s.x + i * s.sample + c;
      const float* dout = s.dout + i * s.kinds + c;  // Of combination k.
      FloatPack<kPack> slope = {};
      for (int k = 0; k < s.m; ++k, dout += s.d) {
        const int32_t* const members = s.combinations + k * kOrder;
        bool among = false;
        GPU_UNROLL
        for (int p = 0; p < kOrder; ++p) among = among || members[p] == mine;
        if (!among) continue;
        FloatPack<kPack> product = LoadPack<kPack>(dout + kOrder * s.kind);
        GPU_UNROLL
        for (int p = 0; p < kOrder; ++p) {
          const bool other = members[p] != mine;
          const FloatPack<kPack> field = LoadPack<kPack>(fields + members[p] * s.d);
          const FloatPack<kPack> dsum = LoadPack<kPack>(dout + p * s.kind);
          // The sign of `mine` in sum p: J - 2 I is negative where mine is the p-th.
          const float sign =
              kOrder == 2 ? (p == 1 && members[1] == mine ? -1.0f : 1.0f) : (other ? 1.0f : -1.0f);
          GPU_UNROLL
          for (int e = 0; e < kPack; ++e) {
            product.v[e] *= other ? field.v[e] : 1.0f;
            slope.v[e] += sign * dsum.v[e];
          }
        }
        GPU_UNROLL
        for (int e = 0; e < kPack; ++e) slope.v[e] += product.v[e];
      }
      AccumulatePack(s.beta, slope, s.to + i * s.sample + mine * s.d + c);
    }
  }
}

Fields FieldsOf(const Tensor& x, const Tensor& combinations) {
  Fields fields = {};
  fields.x = x.data<float>();
  fields.combinations = combinations.data<int32_t>();
  fields.n = x.dim(0);
  fields.f = x.dim(1);
  fields.d = x.dim(2);
  fields.m = combinations.dim(0);
  fields.sample = fields.f * fields.d;
  fields.kind = fields.m * fields.d;
  fields.kinds = (combinations.dim(1) + 1) * fields.kind;
  return fields;
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
constexpr Kernel kForward[3][2] = {{CombineFieldsKernel<1, 1>, CombineFieldsKernel<1, 4>},
                                   {CombineFieldsKernel<2, 1>, CombineFieldsKernel<2, 4>},
                                   {CombineFieldsKernel<3, 1>, CombineFieldsKernel<3, 4>}};
constexpr Kernel kBackward[3][2] = {{FieldSlopesKernel<1, 1>, FieldSlopesKernel<1, 4>},
                                    {FieldSlopesKernel<2, 1>, FieldSlopesKernel<2, 4>},
                                    {FieldSlopesKernel<3, 1>, FieldSlopesKernel<3, 4>}};

}  // namespace

absl::Status FieldCombinationsForwardGpu(Context& ctx, const Tensor& x, const Tensor& combinations,
                                         const Tensor& out) {
  Fields fields = FieldsOf(x, combinations);
  fields.to = out.data<float>();
  return Launch(ctx, "FieldCombinationsForward", kForward[combinations.dim(1) - 2], fields,
                RowsMoveByFour(fields.d, {x.raw(), out.raw()}), fields.m);
}

absl::Status FieldCombinationsBackwardGpu(Context& ctx, const Tensor& x, const Tensor& combinations,
                                          const Tensor& dout, float beta, const Tensor& dx) {
  Fields fields = FieldsOf(x, combinations);
  fields.dout = dout.data<float>();
  fields.to = dx.data<float>();
  fields.beta = beta;
  return Launch(ctx, "FieldCombinationsBackward", kBackward[combinations.dim(1) - 2], fields,
                RowsMoveByFour(fields.d, {x.raw(), dout.raw(), dx.raw()}), fields.f);
}

}  // namespace pagoda
