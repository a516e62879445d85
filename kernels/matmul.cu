// cuBLAS; operands are converted first where the compute type is bf16.
#include "kernels/matmul_gpu.h"

#include "kernels/gpu_convert.h"
#include "kernels/gpu_stream.h"

namespace pagoda {

namespace {

// The last two axes of a and out; `batches` of them.
absl::Status Multiply(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                      const Tensor& out, int64_t batches) {
  PAGODA_ASSIGN_OR_RETURN(const Tensor left, ForProductOnGpu(ctx, a));
  PAGODA_ASSIGN_OR_RETURN(const Tensor right, ForProductOnGpu(ctx, b));
  const int row = out.rank() - 2, column = out.rank() - 1;
  GpuStream::Product product;
  product.m = out.dim(row);
  product.n = out.dim(column);
  product.k = a.dim(args.trans_a ? row : column);
  product.a = left.raw();
  product.a_stride = a.dim(column);
  product.a_transposed = args.trans_a;
  product.b = right.raw();
  product.b_stride = b.dim(column);
  product.b_transposed = args.trans_b;
  product.operands = left.dtype();
  product.c = out.data<float>();
  product.c_stride = out.dim(column);
  product.beta = args.beta;
  product.batches = batches;
  return GpuStream::Of(ctx).Multiply(product);
}

}  // namespace

absl::Status MatMulGpu(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                       const Tensor& out) {
  return Multiply(ctx, a, b, args, out, 1);
}

absl::Status BatchMatMulGpu(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                            const Tensor& out) {
  return Multiply(ctx, a, b, args, out, out.dim(0));
}

}  // namespace pagoda
