#include <algorithm>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/dispatch.h"
#include "kernels/gemm.h"
#include "kernels/matmul.h"
#include "kernels/matmul_gpu.h"

namespace pagoda {
namespace {

// `x` in `form`: its own memory for kF32, else a converted copy kept in *copy.
absl::StatusOr<const void*> Convert(Context& ctx, GemmForm form, const Tensor& x, Tensor* copy) {
  if (form == GemmForm::kF32) return x.raw();
  const int64_t bytes = GemmElementBytes(form);
  PAGODA_ASSIGN_OR_RETURN(*copy, ctx.Empty({x.size()}, bytes == 2 ? DType::kBF16 : DType::kF32));
  char* to = static_cast<char*>(copy->raw());
  ForChunks(ctx, x.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    ConvertForGemm(form, x.data<float>() + begin, end - begin, to + begin * bytes);
  });
  return copy->raw();
}

}  // namespace

absl::Status MatMul(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                    const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "MatMul");
  check.Rank("a", a, 2).Rank("b", b, 2);
  if (!check.ok()) return check.status();
  const int64_t m = a.dim(args.trans_a ? 1 : 0);
  const int64_t k = a.dim(args.trans_a ? 0 : 1);
  const int64_t n = b.dim(args.trans_b ? 0 : 1);
  check.Has("b", b, args.trans_b ? Shape{n, k} : Shape{k, n}).Has("out", out, {m, n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, MatMulGpu(ctx, a, b, args, out));

  const GemmForm form = GemmFormFor(ctx.compute_dtype());
  Tensor a_copy, b_copy;
  GemmArgs gemm;
  gemm.m = m;
  gemm.n = n;
  gemm.k = k;
  PAGODA_ASSIGN_OR_RETURN(gemm.a, Convert(ctx, form, a, &a_copy));
  PAGODA_ASSIGN_OR_RETURN(gemm.b, Convert(ctx, form, b, &b_copy));
  gemm.a_stride = a.dim(1);
  gemm.a_transposed = args.trans_a;
  gemm.b_stride = b.dim(1);
  gemm.b_transposed = args.trans_b;
  gemm.c = out.data<float>();
  gemm.c_stride = n;
  gemm.beta = args.beta;
  return ParallelGemm(ctx, form, gemm);
}

absl::Status BatchMatMul(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                         const Tensor& out) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "BatchMatMul");
  check.Rank("a", a, 3).Rank("b", b, 3);
  if (!check.ok()) return check.status();
  const int64_t s = a.dim(0);
  const int64_t m = a.dim(args.trans_a ? 2 : 1);
  const int64_t k = a.dim(args.trans_a ? 1 : 2);
  const int64_t n = b.dim(args.trans_b ? 1 : 2);
  check.Has("b", b, args.trans_b ? Shape{s, n, k} : Shape{s, k, n}).Has("out", out, {s, m, n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, BatchMatMulGpu(ctx, a, b, args, out));

  const GemmForm form = GemmFormFor(ctx.compute_dtype());
  const int64_t bytes = GemmElementBytes(form);
  Tensor a_copy, b_copy;
  PAGODA_ASSIGN_OR_RETURN(const void* const all_a, Convert(ctx, form, a, &a_copy));
  PAGODA_ASSIGN_OR_RETURN(const void* const all_b, Convert(ctx, form, b, &b_copy));
  constexpr int64_t kProductsWorthAThread = int64_t{1} << 18;
  const int64_t chunk =
      std::clamp<int64_t>(kProductsWorthAThread / std::max<int64_t>(m * n * k, 1), 1, 4096);
  ForChunks(ctx, s, chunk, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      GemmArgs gemm;
      gemm.m = m;
      gemm.n = n;
      gemm.k = k;
      gemm.a = static_cast<const char*>(all_a) + i * m * k * bytes;
      gemm.b = static_cast<const char*>(all_b) + i * k * n * bytes;
      gemm.a_stride = a.dim(2);
      gemm.a_transposed = args.trans_a;
      gemm.b_stride = b.dim(2);
      gemm.b_transposed = args.trans_b;
      gemm.c = out.data<float>() + i * m * n;
      gemm.c_stride = n;
      gemm.beta = args.beta;
      Gemm(form, gemm);
    }
  });
  return absl::OkStatus();
}

}  // namespace pagoda
