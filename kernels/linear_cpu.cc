// Forward: w is turned over once, then pieces of rows, one thread each: product,
// then bias and activation while the piece is in cache.
// Backward, pass 1, pieces of rows: dz = dy * f'(y), the piece's sum of dz for
// dbias, and dx = dz w. Pass 2: dw = dz^T x in tiles over the whole batch.
// A product whose rows are not whole vectors goes to scratch memory that is wider
// (GemmStride), and is copied out from there while it is in cache.
#include "kernels/linear.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/activation_math.h"
#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/gemm.h"
#include "kernels/linear_gpu.h"
#include "kernels/vector_math.h"

namespace pagoda {
namespace {

// A piece of y of 128 x 512 f32 is 256 KiB: it stays in L2 between the product
// and the epilogue. Narrow layers take more rows, to be worth a thread's while,
// and so does AMX, which is through with 128 rows before it has repaid the
// rearrangement of w that oneDNN makes for each piece.
constexpr int64_t kRowsPerPiece = 128;
constexpr int64_t kRowsPerLongPiece = 512;

int64_t LinearRows(GemmForm form, int64_t in, int64_t out) {
  const bool quick = form == GemmForm::kBF16 || in * out < 16384;
  return quick ? kRowsPerLongPiece : kRowsPerPiece;
}

absl::StatusOr<Tensor> EmptyInForm(Context& ctx, GemmForm form, int64_t count) {
  return ctx.Empty({count}, GemmElementBytes(form) == 2 ? DType::kBF16 : DType::kF32);
}

struct Epilogue {
  Activation activation;
  const float* bias;  // Null: zeros.
  int64_t d;
  const float* product;  // [rows, product_stride]; may be y itself.
  int64_t product_stride;
  float* y;  // [rows, d]
};
// y = f(product + bias) on the rows [begin, end).
template <int kLanes>
PAGODA_INLINE void BiasActivation(const Epilogue& e, int64_t begin, int64_t end) {
  const auto rows = [&]<Activation f>() __attribute__((always_inline)) {
    for (int64_t i = begin; i < end; ++i) {
      const float* z = e.product + i * e.product_stride;
      float* y = e.y + i * e.d;
      if (e.bias == nullptr) {
        PAGODA_IVDEP
        for (int64_t j = 0; j < e.d; ++j) y[j] = Activate<f>(z[j]);
      } else {
        PAGODA_IVDEP
        for (int64_t j = 0; j < e.d; ++j) y[j] = Activate<f>(z[j] + e.bias[j]);
      }
    }
  };
  switch (e.activation) {
    case Activation::kRelu: return rows.template operator()<Activation::kRelu>();
    case Activation::kSigmoid: return rows.template operator()<Activation::kSigmoid>();
    case Activation::kTanh: return rows.template operator()<Activation::kTanh>();
    default: return rows.template operator()<Activation::kNone>();
  }
}
PAGODA_VECTOR_VERSIONS(BiasActivation, Epilogue)

struct Prologue {
  Activation activation;
  int64_t d;
  const float* y;
  const float* dy;
  float* dz;      // Null when it is dy itself.
  float* dz_sum;  // [d], null when not wanted.
};
// dz = dy * f'(y) on the rows [begin, end), and dz_sum += each row in order.
template <int kLanes>
PAGODA_INLINE void SlopeAndSum(const Prologue& p, int64_t begin, int64_t end) {
  const auto rows = [&]<Activation f>() __attribute__((always_inline)) {
    for (int64_t i = begin; i < end; ++i) {
      const float* y = p.y + i * p.d;
      const float* dy = p.dy + i * p.d;
      float* dz = p.dz + i * p.d;
      if (p.dz == nullptr) {
        PAGODA_IVDEP
        for (int64_t j = 0; j < p.d; ++j) p.dz_sum[j] += dy[j];
      } else if (p.dz_sum == nullptr) {
        PAGODA_IVDEP
        for (int64_t j = 0; j < p.d; ++j) dz[j] = TimesSlope<f>(y[j], y[j], dy[j]);
      } else {
        PAGODA_IVDEP
        for (int64_t j = 0; j < p.d; ++j) {
          const float z = TimesSlope<f>(y[j], y[j], dy[j]);
          dz[j] = z;
          p.dz_sum[j] += z;
        }
      }
    }
  };
  switch (p.activation) {
    case Activation::kRelu: return rows.template operator()<Activation::kRelu>();
    case Activation::kSigmoid: return rows.template operator()<Activation::kSigmoid>();
    case Activation::kTanh: return rows.template operator()<Activation::kTanh>();
    default: return rows.template operator()<Activation::kNone>();
  }
}
PAGODA_VECTOR_VERSIONS(SlopeAndSum, Prologue)

// to [rows, d] = beta * to + from [rows, from_stride], on the rows [begin, end).
struct CopyOut {
  const float* from;
  int64_t from_stride;
  int64_t d;
  float beta;
  float* to;
};
template <int kLanes>
PAGODA_INLINE void CopyOutRows(const CopyOut& c, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* from = c.from + i * c.from_stride;
    float* to = c.to + i * c.d;
    if (c.beta == 0.0f) {
      for (int64_t j = 0; j < c.d; ++j) to[j] = from[j];
    } else {
      for (int64_t j = 0; j < c.d; ++j) to[j] = c.beta * to[j] + from[j];
    }
  }
}
PAGODA_VECTOR_VERSIONS(CopyOutRows, CopyOut)

bool Fusable(Activation activation) {
  return activation == Activation::kNone || activation == Activation::kRelu ||
         activation == Activation::kSigmoid || activation == Activation::kTanh;
}

constexpr const char* kNotFusable =
    "only none, relu, sigmoid and tanh can be fused into a dense layer";

// What all pieces of the forward pass share.
struct ForwardPass {
  GemmForm form;
  int64_t in, out;
  const float* x;
  const void* w_turned;  // [in, GemmStride(out)] in `form`.
  Activation activation;
  const float* bias;
  float* y;
};

// oneDNN takes another path for very few rows, which adds up in another order. A
// product never has fewer rows than this, so that a row's result does not depend
// on how many come with it: a row predicted alone scores as it did in its batch.
constexpr int64_t kRowsMin = 32;

void ForwardRows(const ForwardPass& pass, int64_t begin, int64_t end) {
  const int64_t rows = end - begin;
  const int64_t product_rows = std::max(rows, kRowsMin);
  const bool padded = rows < kRowsMin;
  const int64_t stride = GemmStride(pass.out);
  const bool x_copied = padded || pass.form != GemmForm::kF32;
  const bool y_copied = padded || stride != pass.out;
  const int64_t x_bytes =
      x_copied ? product_rows * pass.in * GemmElementBytes(pass.form) : int64_t{0};
  // A multiple of 64 bytes for x, so that the product after it is aligned too.
  const int64_t product_begin = (x_bytes + 63) / 64 * 64;
  const float* x = pass.x + begin * pass.in;
  float* y = pass.y + begin * pass.out;
  char* scratch = static_cast<char*>(
      ThreadScratch(product_begin + (y_copied ? product_rows * stride * 4 : int64_t{0})));
  if (x_copied) {
    ConvertForGemm(pass.form, x, rows * pass.in, scratch);
    const int64_t used = rows * pass.in * GemmElementBytes(pass.form);
    std::memset(scratch + used, 0, static_cast<size_t>(x_bytes - used));
  }
  GemmArgs gemm;
  gemm.m = product_rows;
  gemm.n = stride;
  gemm.k = pass.in;
  gemm.a = x_copied ? static_cast<const void*>(scratch) : x;
  gemm.a_stride = pass.in;
  gemm.b = pass.w_turned;
  gemm.b_stride = stride;
  gemm.c = y_copied ? reinterpret_cast<float*>(scratch + product_begin) : y;
  gemm.c_stride = stride;
  Gemm(pass.form, gemm);
  if (!y_copied && pass.bias == nullptr && pass.activation == Activation::kNone) return;
  RunBiasActivation({pass.activation, pass.bias, pass.out, gemm.c, stride, y}, 0, rows);
}

}  // namespace

absl::Status LinearForward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias,
                           Activation activation, const Tensor& y) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "LinearForward");
  check.That(Fusable(activation), kNotFusable).Rank("x", x, 2).Rank("w", w, 2);
  if (!check.ok()) return check.status();
  const int64_t n = x.dim(0), in = x.dim(1), out = w.dim(0);
  check.Has("w", w, {out, in}).HasOrAbsent("bias", bias, {out}).Has("y", y, {n, out});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, LinearForwardGpu(ctx, x, w, bias, activation, y));

  const GemmForm form = GemmFormFor(ctx.compute_dtype());
  PAGODA_ASSIGN_OR_RETURN(const Tensor w_turned, EmptyInForm(ctx, form, in * GemmStride(out)));
  TransposeForGemm(ctx, form, w.data<float>(), out, in, w_turned.raw());
  const ForwardPass pass{
      form,           in, out, x.data<float>(), w_turned.raw(), activation, bias.data<float>(),
      y.data<float>()};
  ForChunks(ctx, n, LinearRows(form, in, out),
            [&](int64_t, int64_t begin, int64_t end) { ForwardRows(pass, begin, end); });
  return absl::OkStatus();
}

namespace {

// Everything both passes of the backward step use.
struct Backward {
  GemmForm form;
  int64_t n, in, out;
  Tensor dz;        // f32 [n, out] when the activation changes dy; may be dy's memory
  Tensor dz_form;   // dz in `form`, unless that is f32
  Tensor x_form;    // x likewise
  Tensor w_form;    // [out, GemmStride(in)] in `form`, unless that is w itself
  Tensor bias_sum;  // [pieces, out]
};

// Row `row` of a [*, width] operand: of `converted` where there is one.
const void* RowOf(GemmForm form, const Tensor& plain, const Tensor& converted, int64_t row,
                  int64_t width) {
  if (converted.absent()) return plain.data<float>() + row * width;
  return static_cast<const char*>(converted.raw()) + row * width * GemmElementBytes(form);
}

absl::Status AllocateBackward(Context& ctx, Activation activation, const Tensor& dy,
                              const LinearGradients& gradients, int64_t num_pieces, Backward* b) {
  if (activation != Activation::kNone && gradients.overwrite_dy) {
    b->dz = dy;
  } else if (activation != Activation::kNone) {
    PAGODA_ASSIGN_OR_RETURN(b->dz, ctx.Empty({b->n, b->out}));
  }
  if (!gradients.dbias.absent()) {
    PAGODA_ASSIGN_OR_RETURN(b->bias_sum, ctx.Zeros({num_pieces, b->out}));
  }
  const bool w_as_is = b->form == GemmForm::kF32 && GemmStride(b->in) == b->in;
  if (!gradients.dx.absent() && !w_as_is) {
    PAGODA_ASSIGN_OR_RETURN(b->w_form, EmptyInForm(ctx, b->form, b->out * GemmStride(b->in)));
  }
  if (b->form == GemmForm::kF32) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(b->dz_form, EmptyInForm(ctx, b->form, b->n * b->out));
  if (!gradients.dw.absent()) {
    PAGODA_ASSIGN_OR_RETURN(b->x_form, EmptyInForm(ctx, b->form, b->n * b->in));
  }
  return absl::OkStatus();
}

// Pass 1 for rows [begin, end).
void BackwardRows(const Tensor& x, const Tensor& w, const Tensor& y, const Tensor& dy,
                  Activation activation, const LinearGradients& gradients, const Backward& b,
                  int64_t index, int64_t begin, int64_t end) {
  const int64_t rows = end - begin;
  const float* dz = dy.data<float>() + begin * b.out;
  Prologue prologue{activation, b.out, y.data<float>() + begin * b.out, dz, nullptr, nullptr};
  if (!b.dz.absent()) dz = prologue.dz = b.dz.data<float>() + begin * b.out;
  if (!b.bias_sum.absent()) prologue.dz_sum = b.bias_sum.data<float>() + index * b.out;
  if (prologue.dz != nullptr || prologue.dz_sum != nullptr) RunSlopeAndSum(prologue, 0, rows);
  const int64_t bytes = GemmElementBytes(b.form);
  if (!b.dz_form.absent()) {
    ConvertForGemm(b.form, dz, rows * b.out,
                   static_cast<char*>(b.dz_form.raw()) + begin * b.out * bytes);
  }
  if (!b.x_form.absent()) {
    ConvertForGemm(b.form, x.data<float>() + begin * b.in, rows * b.in,
                   static_cast<char*>(b.x_form.raw()) + begin * b.in * bytes);
  }
  if (gradients.dx.absent()) return;
  GemmArgs gemm;
  const int64_t stride = GemmStride(b.in);
  const bool widened = stride != b.in;
  float* dx = gradients.dx.data<float>() + begin * b.in;
  gemm.m = rows;
  gemm.n = stride;
  gemm.k = b.out;
  gemm.a = RowOf(b.form, b.dz.absent() ? dy : b.dz, b.dz_form, begin, b.out);
  gemm.a_stride = b.out;
  gemm.b = RowOf(b.form, w, b.w_form, 0, stride);
  gemm.b_stride = stride;
  gemm.c = widened ? static_cast<float*>(ThreadScratch(rows * stride * 4)) : dx;
  gemm.c_stride = stride;
  gemm.beta = widened ? 0.0f : gradients.beta_dx;
  Gemm(b.form, gemm);
  if (widened) RunCopyOutRows({gemm.c, stride, b.in, gradients.beta_dx, dx}, 0, rows);
}

void FinishBias(const Backward& b, int64_t num_pieces, const LinearGradients& gradients) {
  const float* sums = b.bias_sum.data<float>();
  float* dbias = gradients.dbias.data<float>();
  for (int64_t j = 0; j < b.out; ++j) {
    float sum = 0.0f;
    for (int64_t p = 0; p < num_pieces; ++p) sum += sums[p * b.out + j];
    dbias[j] = gradients.beta_dbias == 0.0f ? sum : gradients.beta_dbias * dbias[j] + sum;
  }
}

}  // namespace

absl::Status LinearBackward(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& y,
                            const Tensor& dy, Activation activation,
                            const LinearGradients& gradients) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "LinearBackward");
  check.That(Fusable(activation), kNotFusable).Rank("x", x, 2).Rank("w", w, 2);
  if (!check.ok()) return check.status();
  Backward b;
  b.form = GemmFormFor(ctx.compute_dtype());
  b.n = x.dim(0);
  b.in = x.dim(1);
  b.out = w.dim(0);
  check.Has("w", w, {b.out, b.in}).Has("y", y, {b.n, b.out}).Has("dy", dy, {b.n, b.out});
  check.HasOrAbsent("dx", gradients.dx, {b.n, b.in}).HasOrAbsent("dw", gradients.dw, {b.out, b.in});
  check.HasOrAbsent("dbias", gradients.dbias, {b.out});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, LinearBackwardGpu(ctx, x, w, y, dy, activation, gradients));

  const int64_t chunk = LinearRows(b.form, b.in, b.out);
  const int64_t num_pieces = NumChunks(b.n, chunk);
  PAGODA_RETURN_IF_ERROR(AllocateBackward(ctx, activation, dy, gradients, num_pieces, &b));
  if (!b.w_form.absent()) {
    WidenForGemm(ctx, b.form, w.data<float>(), b.out, b.in, b.w_form.raw());
  }
  ForChunks(ctx, b.n, chunk, [&](int64_t index, int64_t begin, int64_t end) {
    BackwardRows(x, w, y, dy, activation, gradients, b, index, begin, end);
  });
  if (!gradients.dbias.absent()) FinishBias(b, num_pieces, gradients);
  if (gradients.dw.absent()) return absl::OkStatus();
  GemmArgs gemm;
  gemm.m = b.out;
  gemm.n = b.in;
  gemm.k = b.n;
  gemm.a = RowOf(b.form, b.dz.absent() ? dy : b.dz, b.dz_form, 0, b.out);
  gemm.a_stride = b.out;
  gemm.a_transposed = true;
  gemm.b = RowOf(b.form, x, b.x_form, 0, b.in);
  gemm.b_stride = b.in;
  gemm.c = gradients.dw.data<float>();
  gemm.c_stride = b.in;
  gemm.beta = gradients.beta_dw;
  return ParallelGemm(ctx, b.form, gemm);
}

}  // namespace pagoda
