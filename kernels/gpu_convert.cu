// Bound by memory: 6 bytes an element; a thread has eight, read 16 bytes at a time and
// written as 16.
#include "kernels/gpu_convert.h"

#include "kernels/gpu_stream.h"
#include "kernels/gpu_vector.h"

namespace pagoda {
namespace {

__device__ inline unsigned BF16Bits(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits | 0x00400000u) >> 16;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

__global__ void __launch_bounds__(kGpuThreads)
    ToBF16Kernel(const float* from, uint16_t* to, int64_t n, int64_t eights) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (int64_t q = first; q < eights; q += step) {
    const FloatPack<4> low = LoadPack<4>(from + 8 * q);
    const FloatPack<4> high = LoadPack<4>(from + 8 * q + 4);
    uint4 out;
    out.x = BF16Bits(low.v[0]) | BF16Bits(low.v[1]) << 16;
    out.y = BF16Bits(low.v[2]) | BF16Bits(low.v[3]) << 16;
    out.z = BF16Bits(high.v[0]) | BF16Bits(high.v[1]) << 16;
    out.w = BF16Bits(high.v[2]) | BF16Bits(high.v[3]) << 16;
    reinterpret_cast<uint4*>(to)[q] = out;
  }
  for (int64_t i = 8 * eights + first; i < n; i += step) {
    to[i] = static_cast<uint16_t>(BF16Bits(from[i]));
  }
}

}  // namespace

absl::StatusOr<Tensor> ForProductOnGpu(Context& ctx, const Tensor& x) {
  if (ctx.compute_dtype() != DType::kBF16) return x;
  PAGODA_ASSIGN_OR_RETURN(Tensor copy, ctx.Empty(x.shape(), DType::kBF16));
  if (x.size() == 0) return copy;
  // A tensor's memory begins at a multiple of 256.
  const int64_t eights = RowsMoveByFour(4, {x.raw(), copy.raw()}) ? x.size() / 8 : 0;
  PAGODA_RETURN_IF_ERROR(LaunchKernel(
      ctx, "conversion to bf16", ToBF16Kernel, GpuBlocks(x.size(), kGpuThreads * int64_t{8}),
      kGpuThreads, 0, x.data<float>(), static_cast<uint16_t*>(copy.raw()), x.size(), eights));
  return copy;
}

}  // namespace pagoda
