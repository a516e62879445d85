// cuBLAS; operands are converted first where the compute type is bf16.
#include "kernels/matmul_gpu.h"

#include "kernels/gpu_convert.h"
#include "kernels/gpu_stream.h"

namespace pagoda {

absl::Status MatMulGpu(Context& ctx, const Tensor& a, const Tensor& b, const MatMulArgs& args,
                       const Tensor& out) {
  PAGODA_ASSIGN_OR_RETURN(const Tensor left, ForProductOnGpu(ctx, a));
  PAGODA_ASSIGN_OR_RETURN(const Tensor right, ForProductOnGpu(ctx, b));
  GpuStream::Product product;
  product.m = out.dim(0);
  product.n = out.dim(1);
  product.k = a.dim(args.trans_a ? 0 : 1);
  product.a = left.raw();
  product.a_stride = a.dim(1);
  product.a_transposed = args.trans_a;
  product.b = right.raw();
  product.b_stride = b.dim(1);
  product.b_transposed = args.trans_b;
  product.operands = left.dtype();
  product.c = out.data<float>();
  product.c_stride = out.dim(1);
  product.beta = args.beta;
  return GpuStream::Of(ctx).Multiply(product);
}

}  // namespace pagoda
