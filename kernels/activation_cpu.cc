// Memory-bound but for gelu, whose erf is the library's, element by element.
#include "kernels/activation.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/activation_gpu.h"
#include "kernels/activation_math.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"

namespace pagoda {
namespace {

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

struct Operands {
  Activation activation;
  const float* x;  // Null where the slope is a function of y.
  const float* y;
  const float* dy;
  float beta;
  float* out;
};

template <int kLanes>
PAGODA_INLINE void Forward(const Operands& o, int64_t begin, int64_t end) {
  WithActivation(
      o.activation, [&]<Activation f>() __attribute__((always_inline)) {
        PAGODA_IVDEP
        for (int64_t i = begin; i < end; ++i) o.out[i] = Activate<f>(o.x[i]);
      });
}
PAGODA_VECTOR_VERSIONS(Forward, Operands)

template <int kLanes>
PAGODA_INLINE void Backward(const Operands& o, int64_t begin, int64_t end) {
  WithActivation(
      o.activation, [&]<Activation f>() __attribute__((always_inline)) {
        const float* x = SlopeNeedsInput(f) ? o.x : o.y;  // Any that can be read.
        if (o.beta == 0.0f) {
          PAGODA_IVDEP
          for (int64_t i = begin; i < end; ++i) o.out[i] = TimesSlope<f>(x[i], o.y[i], o.dy[i]);
        } else {
          PAGODA_IVDEP
          for (int64_t i = begin; i < end; ++i) {
            o.out[i] = o.beta * o.out[i] + TimesSlope<f>(x[i], o.y[i], o.dy[i]);
          }
        }
      });
}
PAGODA_VECTOR_VERSIONS(Backward, Operands)

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
  PAGODA_ON_GPU(ctx, ActivationForwardGpu(ctx, f, x, y));
  const Operands operands{f, x.data<float>(), nullptr, nullptr, 0.0f, y.data<float>()};
  ForChunks(ctx, x.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { RunForward(operands, begin, end); });
  return absl::OkStatus();
}

absl::Status ActivationBackward(Context& ctx, Activation f, const Tensor& x, const Tensor& y,
                                const Tensor& dy, float beta, const Tensor& dx) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "ActivationBackward");
  check.Present("y", y).Has("dy", dy, y.shape()).Has("dx", dx, y.shape());
  if (SlopeNeedsInput(f)) {
    check.Has("x", x, y.shape());
  } else {
    check.HasOrAbsent("x", x, y.shape());
  }
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, ActivationBackwardGpu(ctx, f, x, y, dy, beta, dx));
  const Operands operands{f,    x.data<float>(), y.data<float>(), dy.data<float>(),
                          beta, dx.data<float>()};
  ForChunks(ctx, y.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { RunBackward(operands, begin, end); });
  return absl::OkStatus();
}

}  // namespace pagoda
