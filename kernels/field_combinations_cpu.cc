// Bound by memory: a sample's fields stay in the cache; its (order + 1) rows a combination are
// written, or read backward, once.
#include "kernels/field_combinations.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/field_combinations_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

struct Fields {
  const float* x;               // [n, f, d]
  const int32_t* combinations;  // [m, order]
  const float* dout;            // [n, (order + 1) m, d]; of backward alone.
  float* to;                    // out, or dx.
  int64_t f, d, m;
  float beta = 0.0f;
};

template <int kOrder>
PAGODA_INLINE void CombineSample(const Fields& s, int64_t i) {
  const float* x = s.x + i * s.f * s.d;
  float* out = s.to + i * (kOrder + 1) * s.m * s.d;
  for (int64_t k = 0; k < s.m; ++k) {
    const float* field[kOrder];
    for (int p = 0; p < kOrder; ++p) field[p] = x + s.combinations[k * kOrder + p] * s.d;
    for (int q = 0; q < kOrder; ++q) {
      float* to = out + (q * s.m + k) * s.d;
      for (int64_t c = 0; c < s.d; ++c) {
        float sum = 0.0f;
        for (int p = 0; p < kOrder; ++p) sum += FieldBase(kOrder, q, p) * field[p][c];
        to[c] = sum;
      }
    }
    float* to = out + (kOrder * s.m + k) * s.d;
    for (int64_t c = 0; c < s.d; ++c) {
      float product = field[0][c];
      for (int p = 1; p < kOrder; ++p) product *= field[p][c];
      to[c] = product;
    }
  }
}

// Adds to dx of sample i.
template <int kOrder>
PAGODA_INLINE void SlopesOfSample(const Fields& s, int64_t i) {
  const float* x = s.x + i * s.f * s.d;
  const float* dout = s.dout + i * (kOrder + 1) * s.m * s.d;
  float* dx = s.to + i * s.f * s.d;
  for (int64_t k = 0; k < s.m; ++k) {
    const int32_t* fields = s.combinations + k * kOrder;
    const float* dproduct = dout + (kOrder * s.m + k) * s.d;
    for (int p = 0; p < kOrder; ++p) {
      float* to = dx + fields[p] * s.d;
      for (int64_t c = 0; c < s.d; ++c) {
        float slope = dproduct[c];
        for (int o = 0; o < kOrder; ++o) slope *= o == p ? 1.0f : x[fields[o] * s.d + c];
        for (int q = 0; q < kOrder; ++q) {
          slope += FieldBase(kOrder, q, p) * dout[(q * s.m + k) * s.d + c];
        }
        to[c] += slope;
      }
    }
  }
}

template <int kLanes, int kOrder, bool kForward>
PAGODA_INLINE void SamplesOf(const Fields& s, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    if constexpr (kForward) {
      CombineSample<kOrder>(s, i);
    } else {
      float* dx = s.to + i * s.f * s.d;
      for (int64_t c = 0; c < s.f * s.d; ++c) dx[c] = s.beta == 0.0f ? 0.0f : s.beta * dx[c];
      SlopesOfSample<kOrder>(s, i);
    }
  }
}

#define PAGODA_FIELD_LOOP(name, order, forward)                          \
  template <int kLanes>                                                  \
  PAGODA_INLINE void name(const Fields& s, int64_t begin, int64_t end) { \
    SamplesOf<kLanes, order, forward>(s, begin, end);                    \
  }                                                                      \
  PAGODA_VECTOR_VERSIONS(name, Fields)
PAGODA_FIELD_LOOP(Combine2, 2, true)
PAGODA_FIELD_LOOP(Combine3, 3, true)
PAGODA_FIELD_LOOP(Combine4, 4, true)
PAGODA_FIELD_LOOP(Slopes2, 2, false)
PAGODA_FIELD_LOOP(Slopes3, 3, false)
PAGODA_FIELD_LOOP(Slopes4, 4, false)
#undef PAGODA_FIELD_LOOP

using Loop = void (*)(const Fields&, int64_t begin, int64_t end);
// By order - 2.
constexpr Loop kForward[] = {RunCombine2, RunCombine3, RunCombine4};
constexpr Loop kBackward[] = {RunSlopes2, RunSlopes3, RunSlopes4};

ArgumentCheck Check(Context& ctx, const char* op, const Tensor& x, const Tensor& combinations,
                    const Tensor& out) {
  ArgumentCheck check(ctx, op);
  check.Rank("x", x, 3).Rank("combinations", combinations, 2, DType::kI32);
  if (!check.ok()) return check;
  const int64_t m = combinations.dim(0), order = combinations.dim(1);
  check
      .That(order >= kLeastFieldOrder && order <= kMostFieldOrder, "combinations must be of 2 to 4")
      .That(m <= 65535 && x.dim(1) <= 65535, "combinations or fields are more than 65,535")
      .Has("out", out, {x.dim(0), (order + 1) * m, x.dim(2)});
  return check;
}

void Run(Context& ctx, const Loop (&loops)[3], const Fields& fields, int64_t n, int64_t order) {
  ForChunks(ctx, n, RowsPerChunk((order + 1) * fields.m * fields.d),
            [&](int64_t, int64_t begin, int64_t end) { loops[order - 2](fields, begin, end); });
}

}  // namespace

std::vector<int32_t> FieldCombinations(int num_fields, int order) {
  std::vector<int32_t> all;
  std::vector<int32_t> now(static_cast<size_t>(order));
  for (int p = 0; p < order; ++p) now[static_cast<size_t>(p)] = p;
  while (order > 0 && order <= num_fields) {
    all.insert(all.end(), now.begin(), now.end());
    int p = order - 1;  // The last place that can still move on.
    while (p >= 0 && now[static_cast<size_t>(p)] == num_fields - order + p) --p;
    if (p < 0) break;
    int32_t next = now[static_cast<size_t>(p)];
    for (; p < order; ++p) now[static_cast<size_t>(p)] = ++next;
  }
  return all;
}

absl::Status FieldCombinationsForward(Context& ctx, const Tensor& x, const Tensor& combinations,
                                      const Tensor& out) {
  KernelScope scope(ctx);
  const ArgumentCheck check = Check(ctx, "FieldCombinationsForward", x, combinations, out);
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, FieldCombinationsForwardGpu(ctx, x, combinations, out));
  Run(ctx, kForward,
      {x.data<float>(), combinations.data<int32_t>(), nullptr, out.data<float>(), x.dim(1),
       x.dim(2), combinations.dim(0)},
      x.dim(0), combinations.dim(1));
  return absl::OkStatus();
}

absl::Status FieldCombinationsBackward(Context& ctx, const Tensor& x, const Tensor& combinations,
                                       const Tensor& dout, float beta, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check = Check(ctx, "FieldCombinationsBackward", x, combinations, dout);
  if (!check.ok() || !check.Has("dx", dx, x.shape()).ok()) return check.status();
  PAGODA_ON_GPU(ctx, FieldCombinationsBackwardGpu(ctx, x, combinations, dout, beta, dx));
  Run(ctx, kBackward,
      {x.data<float>(), combinations.data<int32_t>(), dout.data<float>(), dx.data<float>(),
       x.dim(1), x.dim(2), combinations.dim(0), beta},
      x.dim(0), combinations.dim(1));
  return absl::OkStatus();
}

}  // namespace pagoda
