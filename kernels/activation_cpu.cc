#include "kernels/activation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/simd.h"

namespace pagoda {
namespace {

constexpr float kLeakySlope = 0.01f;  // As in activation.h.
constexpr float kSqrtHalf = 0.70710678118654752f;
constexpr float kInverseSqrtTwoPi = 0.39894228040143268f;

struct NamedActivation {
  const char* name;
  Activation activation;
};
constexpr std::array<NamedActivation, 7> kNames = {{{"none", Activation::kNone},
                                                    {"relu", Activation::kRelu},
                                                    {"sigmoid", Activation::kSigmoid},
                                                    {"tanh", Activation::kTanh},
                                                    {"gelu", Activation::kGelu},
                                                    {"silu", Activation::kSilu},
                                                    {"leaky_relu", Activation::kLeakyRelu}}};

// Levenshtein's edit distance.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

using ForwardLoop = void (*)(const float* x, int64_t n, float* y);
// dz[i] = dy[i] * f'(x[i]); x may be null where the derivative is a function of y.
using SlopeLoop = void (*)(const float* x, const float* y, const float* dy, int64_t n, float* dz);

#define PAGODA_IVDEP _Pragma("GCC ivdep")

void CopyLoop(const float* x, int64_t n, float* y) {
  if (x != y) std::copy(x, x + n, y);
}
PAGODA_SIMD_CLONES
void ReluLoop(const float* x, int64_t n, float* y) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? 0.0f : x[i];  // NaN stays NaN.
}
PAGODA_SIMD_CLONES
void SigmoidLoop(const float* x, int64_t n, float* y) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = VectorSigmoid(x[i]);
}
PAGODA_SIMD_CLONES
void TanhLoop(const float* x, int64_t n, float* y) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = VectorTanh(x[i]);
}
void GeluLoop(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = 0.5f * x[i] * std::erfc(-x[i] * kSqrtHalf);
}
PAGODA_SIMD_CLONES
void SiluLoop(const float* x, int64_t n, float* y) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * VectorSigmoid(x[i]);
}
PAGODA_SIMD_CLONES
void LeakyReluLoop(const float* x, int64_t n, float* y) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? kLeakySlope * x[i] : x[i];
}

void CopySlope(const float*, const float*, const float* dy, int64_t n, float* dz) {
  if (dy != dz) std::copy(dy, dy + n, dz);
}
PAGODA_SIMD_CLONES
void ReluSlope(const float*, const float* y, const float* dy, int64_t n, float* dz) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) dz[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}
PAGODA_SIMD_CLONES
void SigmoidSlope(const float*, const float* y, const float* dy, int64_t n, float* dz) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) dz[i] = dy[i] * (y[i] * (1.0f - y[i]));
}
PAGODA_SIMD_CLONES
void TanhSlope(const float*, const float* y, const float* dy, int64_t n, float* dz) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) dz[i] = dy[i] * (1.0f - y[i] * y[i]);
}
void GeluSlope(const float* x, const float*, const float* dy, int64_t n, float* dz) {
  for (int64_t i = 0; i < n; ++i) {
    const float cdf = 0.5f * std::erfc(-x[i] * kSqrtHalf);
    dz[i] = dy[i] * (cdf + x[i] * kInverseSqrtTwoPi * std::exp(-0.5f * x[i] * x[i]));
  }
}
PAGODA_SIMD_CLONES
void SiluSlope(const float* x, const float*, const float* dy, int64_t n, float* dz) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) {
    const float s = VectorSigmoid(x[i]);
    dz[i] = dy[i] * (s + x[i] * (s * (1.0f - s)));
  }
}
PAGODA_SIMD_CLONES
void LeakyReluSlope(const float*, const float* y, const float* dy, int64_t n, float* dz) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) dz[i] = y[i] < 0.0f ? kLeakySlope * dy[i] : dy[i];
}

PAGODA_SIMD_CLONES
void BlendLoop(const float* dz, float beta, int64_t n, float* dx) {
  PAGODA_IVDEP
  for (int64_t i = 0; i < n; ++i) dx[i] = beta * dx[i] + dz[i];
}

struct Loops {
  ForwardLoop forward;
  SlopeLoop slope;
};

Loops LoopsOf(Activation f) {
  switch (f) {
    case Activation::kNone: break;
    case Activation::kRelu: return {ReluLoop, ReluSlope};
    case Activation::kSigmoid: return {SigmoidLoop, SigmoidSlope};
    case Activation::kTanh: return {TanhLoop, TanhSlope};
    case Activation::kGelu: return {GeluLoop, GeluSlope};
    case Activation::kSilu: return {SiluLoop, SiluSlope};
    case Activation::kLeakyRelu: return {LeakyReluLoop, LeakyReluSlope};
  }
  return {CopyLoop, CopySlope};
}

bool NeedsInput(Activation f) {
  return f == Activation::kGelu || f == Activation::kSilu;
}

}  // namespace

absl::StatusOr<Activation> ParseActivation(const std::string& name) {
  const NamedActivation* nearest = nullptr;
  size_t least = 0;
  for (const NamedActivation& known : kNames) {
    if (name == known.name) return known.activation;
    const size_t distance = EditDistance(name, known.name);
    if (nearest == nullptr || distance < least) {
      nearest = &known;
      least = distance;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no activation is named \"", name, "\"; the nearest is \"", nearest->name,
                   "\" (there are none, relu, sigmoid, tanh, gelu, silu, leaky_relu)"));
}

absl::Status ActivationForward(Context& ctx, Activation f, const Tensor& x, const Tensor& y) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ActivationForward");
  if (!check.Present("x", x).Has("y", y, x.shape()).ok()) return check.status();
  const ForwardLoop loop = LoopsOf(f).forward;
  ForChunks(ctx, x.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    loop(x.data<float>() + begin, end - begin, y.data<float>() + begin);
  });
  return absl::OkStatus();
}

absl::Status ActivationBackward(Context& ctx, Activation f, const Tensor& x, const Tensor& y,
                                const Tensor& dy, float beta, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ActivationBackward");
  check.Present("y", y).Has("dy", dy, y.shape()).Has("dx", dx, y.shape());
  if (NeedsInput(f)) {
    check.Has("x", x, y.shape());
  } else {
    check.HasOrAbsent("x", x, y.shape());
  }
  if (!check.ok()) return check.status();
  const SlopeLoop loop = LoopsOf(f).slope;
  // A block of dz on the stack lets one set of loops serve both values of beta.
  constexpr int64_t kBlock = 512;
  ForChunks(ctx, y.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    const float* x_data = x.data<float>();
    float dz[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t count = std::min(kBlock, end - i);
      float* to = beta == 0.0f ? dx.data<float>() + i : dz;
      loop(x_data == nullptr ? nullptr : x_data + i, y.data<float>() + i, dy.data<float>() + i,
           count, to);
      if (beta != 0.0f) BlendLoop(dz, beta, count, dx.data<float>() + i);
    }
  });
  return absl::OkStatus();
}

}  // namespace pagoda
