// Every loop here is bound by memory: 4 bytes per operand and element.
#include "kernels/elementwise.h"

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/simd.h"

// `out` may be the same memory as an input: element i is read before it is
// written, so the loops have no dependence, which the compiler cannot see.
#define PAGODA_IVDEP _Pragma("GCC ivdep")

namespace pagoda {
namespace {

PAGODA_SIMD_CLONES
void AxpByLoop(float alpha, const float* x, float beta, int64_t n, float* out) {
  if (beta == 0.0f) {
    PAGODA_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = alpha * x[i];
  } else if (alpha == 1.0f && beta == 1.0f) {
    PAGODA_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = x[i] + out[i];
  } else {
    PAGODA_IVDEP
    for (int64_t i = 0; i < n; ++i) out[i] = alpha * x[i] + beta * out[i];
  }
}
PAGODA_SIMD_CLONES
void AddLoop(const float* a, const float* b, int64_t n, float* out) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}
PAGODA_SIMD_CLONES
void MultiplyLoop(const float* a, const float* b, int64_t n, float* out) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * b[i];
}
PAGODA_SIMD_CLONES
void MultiplyAddLoop(const float* a, const float* b, int64_t n, float* out) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] += a[i] * b[i];
}
PAGODA_SIMD_CLONES
void ScaleLoop(const float* x, float s, int64_t n, float* out) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * s;
}
PAGODA_SIMD_CLONES
void FillLoop(float value, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}
PAGODA_SIMD_CLONES
float SumLoop(const float* x, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane];
  }
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += x[i];
  return AddLanes(lanes);
}
PAGODA_SIMD_CLONES
float DotLoop(const float* a, const float* b, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += a[i] * b[i];
  return AddLanes(lanes);
}
PAGODA_SIMD_CLONES
double SumDoubleLoop(const float* x, int64_t n) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(x[i + lane]);
  }
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += static_cast<double>(x[i]);
  double sum = 0.0;
  for (double lane : lanes) sum += lane;
  return sum;
}

float Blend(float beta, float old, float value) {
  return beta == 0.0f ? value : beta * old + value;
}

}  // namespace

absl::Status AxpBy(Context& ctx, float alpha, const Tensor& x, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "AxpBy");
  check.Present("x", x).Has("out", out, x.shape());
  if (!check.ok()) return check.status();
  ForChunks(ctx, x.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    AxpByLoop(alpha, x.data<float>() + begin, beta, end - begin, out.data<float>() + begin);
  });
  return absl::OkStatus();
}

namespace {

using BinaryLoop = void (*)(const float*, const float*, int64_t, float*);

absl::Status Binary(Context& ctx, const char* op, BinaryLoop loop, const Tensor& a, const Tensor& b,
                    const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, op);
  check.Present("a", a).Has("b", b, a.shape()).Has("out", out, a.shape());
  if (!check.ok()) return check.status();
  ForChunks(ctx, a.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    loop(a.data<float>() + begin, b.data<float>() + begin, end - begin, out.data<float>() + begin);
  });
  return absl::OkStatus();
}

}  // namespace

absl::Status Add(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return Binary(ctx, "Add", AddLoop, a, b, out);
}

absl::Status Multiply(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return Binary(ctx, "Multiply", MultiplyLoop, a, b, out);
}

absl::Status MultiplyAdd(Context& ctx, const Tensor& a, const Tensor& b, const Tensor& out) {
  return Binary(ctx, "MultiplyAdd", MultiplyAddLoop, a, b, out);
}

absl::Status Fill(Context& ctx, float value, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "Fill");
  check.Present("out", out);
  if (!check.ok()) return check.status();
  ForChunks(ctx, out.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    FillLoop(value, end - begin, out.data<float>() + begin);
  });
  return absl::OkStatus();
}

absl::Status AddRowVector(Context& ctx, const Tensor& x, const Tensor& v, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "AddRowVector");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("v", v, {d}).Has("out", out, {n, d}).ok()) return check.status();
  ForChunks(ctx, n, RowsPerChunk(d), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      AddLoop(x.data<float>() + i * d, v.data<float>(), d, out.data<float>() + i * d);
    }
  });
  return absl::OkStatus();
}

absl::Status ScaleRows(Context& ctx, const Tensor& x, const Tensor& s, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ScaleRows");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("s", s, {n}).Has("out", out, {n, d}).ok()) return check.status();
  ForChunks(ctx, n, RowsPerChunk(d), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ScaleLoop(x.data<float>() + i * d, s.data<float>()[i], d, out.data<float>() + i * d);
    }
  });
  return absl::OkStatus();
}

absl::Status SumRows(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SumRows");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("out", out, {d}).ok()) return check.status();
  const int64_t num_chunks = NumChunks(n, kReduceRows);
  PAGODA_ASSIGN_OR_RETURN(Tensor partials, ctx.Zeros({num_chunks, d}));
  ForChunks(ctx, n, kReduceRows, [&](int64_t index, int64_t begin, int64_t end) {
    float* partial = partials.data<float>() + index * d;
    for (int64_t i = begin; i < end; ++i) {
      AddLoop(partial, x.data<float>() + i * d, d, partial);
    }
  });
  // The first partial is the running sum of the others, then of old values.
  float* sum = partials.data<float>();
  for (int64_t c = 1; c < num_chunks; ++c) AddLoop(sum, sum + c * d, d, sum);
  if (num_chunks == 0) {
    AxpByLoop(beta, out.data<float>(), 0.0f, beta == 0.0f ? 0 : d, out.data<float>());
    if (beta == 0.0f) FillLoop(0.0f, d, out.data<float>());
  } else {
    AxpByLoop(1.0f, sum, beta, d, out.data<float>());
  }
  return absl::OkStatus();
}

absl::Status SumColumns(Context& ctx, const Tensor& x, float beta, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SumColumns");
  if (!check.Rank("x", x, 2).ok()) return check.status();
  const int64_t n = x.dim(0), d = x.dim(1);
  if (!check.Has("out", out, {n}).ok()) return check.status();
  ForChunks(ctx, n, RowsPerChunk(d), [&](int64_t, int64_t begin, int64_t end) {
    float* to = out.data<float>();
    for (int64_t i = begin; i < end; ++i) {
      to[i] = Blend(beta, to[i], SumLoop(x.data<float>() + i * d, d));
    }
  });
  return absl::OkStatus();
}

absl::Status DotRows(Context& ctx, const Tensor& a, const Tensor& b, float beta,
                     const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "DotRows");
  if (!check.Rank("a", a, 2).ok()) return check.status();
  const int64_t n = a.dim(0), d = a.dim(1);
  if (!check.Has("b", b, {n, d}).Has("out", out, {n}).ok()) return check.status();
  ForChunks(ctx, n, RowsPerChunk(d), [&](int64_t, int64_t begin, int64_t end) {
    float* to = out.data<float>();
    for (int64_t i = begin; i < end; ++i) {
      const float dot = DotLoop(a.data<float>() + i * d, b.data<float>() + i * d, d);
      to[i] = Blend(beta, to[i], dot);
    }
  });
  return absl::OkStatus();
}

absl::Status SumAll(Context& ctx, const Tensor& x, const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "SumAll");
  if (!check.Present("x", x).Has("out", out, {}).ok()) return check.status();
  std::vector<double> partials(static_cast<size_t>(NumChunks(x.size(), kChunkElements)), 0.0);
  ForChunks(ctx, x.size(), kChunkElements, [&](int64_t index, int64_t begin, int64_t end) {
    partials[static_cast<size_t>(index)] = SumDoubleLoop(x.data<float>() + begin, end - begin);
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
  const float value = alpha * *s.data<float>();
  ForChunks(ctx, out.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    float* to = out.data<float>();
    for (int64_t i = begin; i < end; ++i) to[i] = Blend(beta, to[i], value);
  });
  return absl::OkStatus();
}

}  // namespace pagoda
