// Every loop here is bound by memory: 4 bytes per operand and element.
#include "kernels/elementwise.h"

#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

// What the loops read and write; each uses some of it.
struct Operands {
  const float* a = nullptr;
  const float* b = nullptr;
  float alpha = 0.0f;
  float beta = 0.0f;
  float low = 0.0f;
  float high = 0.0f;
  int64_t d = 0;  // Columns of a row; `begin` and `end` are then rows.
  float* out = nullptr;
};

template <int kLanes>
PAGODA_INLINE void AxpByRange(const Operands& o, int64_t begin, int64_t end) {
  if (o.beta == 0.0f) {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) o.out[i] = o.alpha * o.a[i];
  } else if (o.alpha == 1.0f && o.beta == 1.0f) {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) o.out[i] = o.a[i] + o.out[i];
  } else {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) o.out[i] = o.alpha * o.a[i] + o.beta * o.out[i];
  }
}
PAGODA_VECTOR_VERSIONS(AxpByRange, Operands)

template <int kLanes>
PAGODA_INLINE void AddRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] = o.a[i] + o.b[i];
}
PAGODA_VECTOR_VERSIONS(AddRange, Operands)

template <int kLanes>
PAGODA_INLINE void MultiplyRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] = o.a[i] * o.b[i];
}
PAGODA_VECTOR_VERSIONS(MultiplyRange, Operands)

template <int kLanes>
PAGODA_INLINE void MultiplyAddRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] += o.a[i] * o.b[i];
}
PAGODA_VECTOR_VERSIONS(MultiplyAddRange, Operands)

template <int kLanes>
PAGODA_INLINE void DivideRange(const Operands& o, int64_t begin, int64_t end) {
  if (o.beta == 0.0f) {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) o.out[i] = o.alpha * o.a[i] / o.b[i];
  } else {
    PAGODA_IVDEP
    for (int64_t i = begin; i < end; ++i) {
      o.out[i] = o.beta * o.out[i] + o.alpha * o.a[i] / o.b[i];
    }
  }
}
PAGODA_VECTOR_VERSIONS(DivideRange, Operands)

template <int kLanes>
PAGODA_INLINE void ExpRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] = VectorExp(o.a[i]);
}
PAGODA_VECTOR_VERSIONS(ExpRange, Operands)

// Not vectorised: a call for each element.
void LogRange(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) o.out[i] = std::log(o.a[i]);
}

// out = alpha * a + beta.
template <int kLanes>
PAGODA_INLINE void AffineRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) o.out[i] = o.alpha * o.a[i] + o.beta;
}
PAGODA_VECTOR_VERSIONS(AffineRange, Operands)

template <int kLanes>
PAGODA_INLINE void ClipRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) {
    const float raised = o.a[i] < o.low ? o.low : o.a[i];
    o.out[i] = raised > o.high ? o.high : raised;
  }
}
PAGODA_VECTOR_VERSIONS(ClipRange, Operands)

// a is the input of Clip, b the slope of its output.
template <int kLanes>
PAGODA_INLINE void ClipSlopeRange(const Operands& o, int64_t begin, int64_t end) {
  PAGODA_IVDEP
  for (int64_t i = begin; i < end; ++i) {
    const float slope = o.a[i] >= o.low && o.a[i] <= o.high ? o.b[i] : 0.0f;
    o.out[i] = o.beta == 0.0f ? slope : o.beta * o.out[i] + slope;
  }
}
PAGODA_VECTOR_VERSIONS(ClipSlopeRange, Operands)

// out = beta * out + alpha.
template <int kLanes>
PAGODA_INLINE void FillRange(const Operands& o, int64_t begin, int64_t end) {
  if (o.beta == 0.0f) {
    for (int64_t i = begin; i < end; ++i) o.out[i] = o.alpha;
  } else {
    for (int64_t i = begin; i < end; ++i) o.out[i] = o.beta * o.out[i] + o.alpha;
  }
}
PAGODA_VECTOR_VERSIONS(FillRange, Operands)

template <int kLanes>
PAGODA_INLINE void AddVectorToRows(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = o.a + i * o.d;
    float* out = o.out + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) out[j] = a[j] + o.b[j];
  }
}
PAGODA_VECTOR_VERSIONS(AddVectorToRows, Operands)

template <int kLanes>
PAGODA_INLINE void ScaleEachRow(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = o.a + i * o.d;
    float* out = o.out + i * o.d;
    const float scale = o.b[i];
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) out[j] = a[j] * scale;
  }
}
PAGODA_VECTOR_VERSIONS(ScaleEachRow, Operands)

// out[j] += rows [begin, end) of a, in order.
template <int kLanes>
PAGODA_INLINE void AddRowsTo(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = o.a + i * o.d;
    PAGODA_IVDEP
    for (int64_t j = 0; j < o.d; ++j) o.out[j] += a[j];
  }
}
PAGODA_VECTOR_VERSIONS(AddRowsTo, Operands)

template <int kLanes>
PAGODA_INLINE void SumEachRow(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float sum = SumOf<kLanes>(o.a + i * o.d, o.d);
    o.out[i] = o.beta == 0.0f ? sum : o.beta * o.out[i] + sum;
  }
}
PAGODA_VECTOR_VERSIONS(SumEachRow, Operands)

template <int kLanes>
PAGODA_INLINE void DotEachRow(const Operands& o, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float dot = DotOf<kLanes>(o.a + i * o.d, o.b + i * o.d, o.d);
    o.out[i] = o.beta == 0.0f ? dot : o.beta * o.out[i] + dot;
  }
}
PAGODA_VECTOR_VERSIONS(DotEachRow, Operands)

struct DoubleSum {
  const float* x;
  double* sum;
};
template <int kLanes>
PAGODA_INLINE void SumInDouble(const DoubleSum& o, int64_t begin, int64_t end) {
  *o.sum = DoubleSumOf<kLanes, false>(o.x + begin, end - begin);
}
PAGODA_VECTOR_VERSIONS(SumInDouble, DoubleSum)

using Loop = void (*)(const Operands&, int64_t begin, int64_t end);

absl::Status RunElements(Context& ctx, Loop loop, const Operands& operands, int64_t count) {
  ForChunks(ctx, count, kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { loop(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status RunRows(Context& ctx, Loop loop, const Operands& operands, int64_t rows) {
  ForChunks(ctx, rows, RowsPerChunk(operands.d),
            [&](int64_t, int64_t begin, int64_t end) { loop(operands, begin, end); });
  return absl::OkStatus();
}

using BinaryOnGpu = absl::Status (*)(Context&, const Tensor&, const Tensor&, const Tensor&);

absl::Status Binary(Context& ctx, const char* op, Loop loop, [[maybe_unused]] BinaryOnGpu on_gpu,
                    const Tensor& a, const Tensor& b, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, op);
  check.Present("a", a).Has("b", b, a.shape()).Has("out", out, a.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, on_gpu(ctx, a, b, out));
  return RunElements(
      ctx, loop, {.a = a.data<float>(), .b = b.data<float>(), .out = out.data<float>()}, a.size());
}

using UnaryOnGpu = absl::Status (*)(Context&, const Tensor&, const Tensor&);

absl::Status Unary(Context& ctx, const char* op, Loop loop, [[maybe_unused]] UnaryOnGpu on_gpu,
                   const Tensor& x, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, op);
  if (!check.Present("x", x).Has("out", out, x.shape()).ok()) return check.status();
  PAGODA_ON_GPU(ctx, on_gpu(ctx, x, out));
  return RunElements(ctx, loop, {.a = x.data<float>(), .out = out.data<float>()}, x.size());
}

}  // namespace

absl::Status AxpBy(Context& ctx, float alpha, const Tensor& x, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "AxpBy");
  if (!check.Present("x", x).Has("out", out, x.shape()).ok()) return check.status();
  PAGODA_ON_GPU(ctx, AxpByGpu(ctx, alpha, x, beta, out));
  return RunElements(ctx, RunAxpByRange,
                     {.a = x.data<float>(), .alpha = alpha, .beta = beta, .out = out.data<float>()},
                     x.size());
}

absl::Status Add(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return Binary(ctx, "Add", RunAddRange, PAGODA_GPU_TWIN(AddGpu), a, b, out);
}

absl::Status Multiply(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return Binary(ctx, "Multiply", RunMultiplyRange, PAGODA_GPU_TWIN(MultiplyGpu), a, b, out);
}

absl::Status MultiplyAdd(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return Binary(ctx, "MultiplyAdd", RunMultiplyAddRange, PAGODA_GPU_TWIN(MultiplyAddGpu), a, b,
                out);
}

absl::Status Divide(Context& ctx, float alpha, const Tensor& a, const Tensor& b, float beta,
                    const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "Divide");
  check.Present("a", a).Has("b", b, a.shape()).Has("out", out, a.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, DivideGpu(ctx, alpha, a, b, beta, out));
  return RunElements(ctx, RunDivideRange,
                     {.a = a.data<float>(),
                      .b = b.data<float>(),
                      .alpha = alpha,
                      .beta = beta,
                      .out = out.data<float>()},
                     a.size());
}

absl::Status Exp(Context& ctx, const Tensor& x, const Tensor& out) {
  return Unary(ctx, "Exp", RunExpRange, PAGODA_GPU_TWIN(ExpGpu), x, out);
}

absl::Status Log(Context& ctx, const Tensor& x, const Tensor& out) {
  return Unary(ctx, "Log", LogRange, PAGODA_GPU_TWIN(LogGpu), x, out);
}

absl::Status Affine(Context& ctx, float scale, const Tensor& x, float shift, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "Affine");
  if (!check.Present("x", x).Has("out", out, x.shape()).ok()) return check.status();
  PAGODA_ON_GPU(ctx, AffineGpu(ctx, scale, x, shift, out));
  return RunElements(
      ctx, RunAffineRange,
      {.a = x.data<float>(), .alpha = scale, .beta = shift, .out = out.data<float>()}, x.size());
}

absl::Status Clip(Context& ctx, const Tensor& x, float low, float high, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "Clip");
  check.Present("x", x).Has("out", out, x.shape()).That(low <= high, "low must not be above high");
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, ClipGpu(ctx, x, low, high, out));
  return RunElements(ctx, RunClipRange,
                     {.a = x.data<float>(), .low = low, .high = high, .out = out.data<float>()},
                     x.size());
}

absl::Status ClipBackward(Context& ctx, const Tensor& x, float low, float high, const Tensor& dy,
                          float beta, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ClipBackward");
  check.Present("x", x).Has("dy", dy, x.shape()).Has("dx", dx, x.shape());
  if (!check.That(low <= high, "low must not be above high").ok()) return check.status();
  PAGODA_ON_GPU(ctx, ClipBackwardGpu(ctx, x, low, high, dy, beta, dx));
  return RunElements(ctx, RunClipSlopeRange,
                     {.a = x.data<float>(),
                      .b = dy.data<float>(),
                      .beta = beta,
                      .low = low,
                      .high = high,
                      .out = dx.data<float>()},
                     x.size());
}

absl::Status Fill(Context& ctx, float value, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "Fill");
  if (!check.Present("out", out).ok()) return check.status();
  PAGODA_ON_GPU(ctx, FillGpu(ctx, value, out));
  return RunElements(ctx, RunFillRange, {.alpha = value, .out = out.data<float>()}, out.size());
}

absl::Status AddRowVector(Context& ctx, const Tensor& x, const Tensor& v, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "AddRowVector");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("v", v, {d}).Has("out", out, {n, d}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, AddRowVectorGpu(ctx, x, v, out));
  return RunRows(ctx, RunAddVectorToRows,
                 {.a = x.data<float>(), .b = v.data<float>(), .d = d, .out = out.data<float>()}, n);
}

absl::Status ScaleRows(Context& ctx, const Tensor& x, const Tensor& s, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ScaleRows");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("s", s, {n}).Has("out", out, {n, d}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, ScaleRowsGpu(ctx, x, s, out));
  return RunRows(ctx, RunScaleEachRow,
                 {.a = x.data<float>(), .b = s.data<float>(), .d = d, .out = out.data<float>()}, n);
}

absl::Status SumRows(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SumRows");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("out", out, {d}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, SumRowsGpu(ctx, x, beta, out));
  const int64_t num_chunks = NumChunks(n, kReduceRows);
  PAGODA_ASSIGN_OR_RETURN(Tensor partials, ctx.Zeros({num_chunks + 1, d}));
  float* total = partials.data<float>();  // Row 0; the chunks' sums follow.
  ForChunks(ctx, n, kReduceRows, [&](int64_t index, int64_t begin, int64_t end) {
    RunAddRowsTo({.a = x.data<float>(), .d = d, .out = total + (index + 1) * d}, begin, end);
  });
  RunAddRowsTo({.a = total, .d = d, .out = total}, 1, num_chunks + 1);
  RunAxpByRange({.a = total, .alpha = 1.0f, .beta = beta, .out = out.data<float>()}, 0, d);
  return absl::OkStatus();
}

absl::Status SumColumns(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SumColumns");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("out", out, {n}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, SumColumnsGpu(ctx, x, beta, out));
  return RunRows(ctx, RunSumEachRow,
                 {.a = x.data<float>(), .beta = beta, .d = d, .out = out.data<float>()}, n);
}

absl::Status DotRows(Context& ctx, const Tensor& a, const Tensor& b, float beta,
                     const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "DotRows");
  if (!check.Rank("a", a, 2).ok()) return check.status();
  const int64_t n = a.dim(0), d = a.dim(1);
  if (!check.Has("b", b, {n, d}).Has("out", out, {n}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, DotRowsGpu(ctx, a, b, beta, out));
  return RunRows(
      ctx, RunDotEachRow,
      {.a = a.data<float>(), .b = b.data<float>(), .beta = beta, .d = d, .out = out.data<float>()},
      n);
}

absl::Status SumAll(Context& ctx, const Tensor& x, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SumAll");
  if (!check.Present("x", x).Has("out", out, {}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, SumAllGpu(ctx, x, out));
  std::vector<double> partials(static_cast<size_t>(NumChunks(x.size(), kChunkElements)), 0.0);
  ForChunks(ctx, x.size(), kChunkElements, [&](int64_t index, int64_t begin, int64_t end) {
    RunSumInDouble({x.data<float>(), &partials[static_cast<size_t>(index)]}, begin, end);
  });
  double sum = 0.0;
  for (double partial : partials) sum += partial;
  *out.data<float>() = static_cast<float>(sum);
  return absl::OkStatus();
}

absl::Status BroadcastScalar(Context& ctx, float alpha, const Tensor& s, float beta,
                             const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "BroadcastScalar");
  if (!check.Present("out", out).Has("s", s, {}).ok()) return check.status();
  PAGODA_ON_GPU(ctx, BroadcastScalarGpu(ctx, alpha, s, beta, out));
  const float value = alpha * *s.data<float>();
  return RunElements(ctx, RunFillRange, {.alpha = value, .beta = beta, .out = out.data<float>()},
                     out.size());
}

}  // namespace pagoda
