// Bound by the latency of a hash table in device memory: 8 n bytes of ids, and for each a
// few random accesses of 4. The table holds, for each distinct id, its smallest place in the
// list; what wins a slot depends on timing, the smallest place does not. Places that are
// their id's first are then numbered by a sum over their flags, block by block.
#include "kernels/gpu_reduce.h"
#include "kernels/gpu_stream.h"
#include "kernels/unique_ids_gpu.h"

namespace pagoda {
namespace {

struct Lists {
  const int64_t* ids;
  int64_t* unique;
  int32_t* inverse;
  int32_t* count;
  int32_t* first;    // [slots] the smallest place of the slot's id; kNobody.
  int32_t* slot;     // [n]
  int32_t* number;   // [n] of a place that is its id's first.
  int32_t* offsets;  // [pieces] first places in a piece of kGpuThreads, then in all before.
  int32_t n;
  int32_t pieces;
  uint32_t mask;  // Slots - 1.
};

constexpr int32_t kNobody = 0x7fffffff;

// SplitMix64's finalizer, as base/random.h's.
__device__ inline uint32_t Hash(int64_t id) {
  uint64_t x = static_cast<uint64_t>(id) + 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>(x ^ (x >> 31));
}

__global__ void __launch_bounds__(kGpuThreads) ClearKernel(const Lists s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i <= s.mask; i += step) {
    s.first[i] = kNobody;
  }
}

__global__ void __launch_bounds__(kGpuThreads) InsertKernel(const Lists s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < s.n; i += step) {
    const int64_t id = s.ids[i];
    const int32_t place = static_cast<int32_t>(i);
    uint32_t at = Hash(id) & s.mask;
    for (;;) {
      const int32_t other = atomicCAS(&s.first[at], kNobody, place);
      if (other == kNobody) break;
      if (s.ids[other] == id) {  // Whoever is there has the slot's id.
        atomicMin(&s.first[at], place);
        break;
      }
      at = (at + 1) & s.mask;
    }
    s.slot[i] = static_cast<int32_t>(at);
  }
}

__device__ inline bool IsFirst(const Lists& s, int64_t i) {
  return i < s.n && s.first[s.slot[i]] == i;
}

__global__ void __launch_bounds__(kGpuThreads) CountKernel(const Lists s) {
  for (int32_t piece = static_cast<int32_t>(blockIdx.x); piece < s.pieces;
       piece += static_cast<int32_t>(gridDim.x)) {
    const int firsts = __syncthreads_count(IsFirst(s, int64_t{piece} * kGpuThreads + threadIdx.x));
    if (threadIdx.x == 0) s.offsets[piece] = firsts;
  }
}

// The sum of `value` over the threads in front of this one, and over all of the block.
struct BlockOffset {
  int32_t before;
  int32_t all;
};
__device__ inline BlockOffset SumBefore(int32_t value, int32_t* warp_sums) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t sum = value;
  for (unsigned lanes = 1; lanes < kWarp; lanes *= 2) {
    const int32_t other = __shfl_up_sync(kAllLanes, sum, lanes);
    if (lane >= lanes) sum += other;
  }
  if (lane == kWarp - 1) warp_sums[warp] = sum;
  __syncthreads();
  BlockOffset offset = {sum - value, 0};
  for (unsigned w = 0; w < kGpuThreads / kWarp; ++w) {
    if (w < warp) offset.before += warp_sums[w];
    offset.all += warp_sums[w];
  }
  __syncthreads();  // warp_sums may be written again.
  return offset;
}

// One block.
__global__ void __launch_bounds__(kGpuThreads) OffsetsKernel(const Lists s) {
  GPU_SHARED(int32_t, warp_sums, [kGpuThreads / kWarp]);
  int32_t before = 0;
  for (int32_t begin = 0; begin < s.pieces; begin += kGpuThreads) {
    const int32_t piece = begin + static_cast<int32_t>(threadIdx.x);
    const BlockOffset offset = SumBefore(piece < s.pieces ? s.offsets[piece] : 0, warp_sums);
    if (piece < s.pieces) s.offsets[piece] = before + offset.before;
    before += offset.all;
  }
  if (threadIdx.x == 0) s.count[0] = before;
}

__global__ void __launch_bounds__(kGpuThreads) NumberKernel(const Lists s) {
  GPU_SHARED(int32_t, warp_sums, [kGpuThreads / kWarp]);
  for (int32_t piece = static_cast<int32_t>(blockIdx.x); piece < s.pieces;
       piece += static_cast<int32_t>(gridDim.x)) {
    const int64_t i = int64_t{piece} * kGpuThreads + threadIdx.x;
    const bool is_first = IsFirst(s, i);
    const int32_t number = s.offsets[piece] + SumBefore(is_first ? 1 : 0, warp_sums).before;
    if (is_first) {
      s.number[i] = number;
      s.unique[number] = s.ids[i];
    }
  }
}

__global__ void __launch_bounds__(kGpuThreads) InverseKernel(const Lists s) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < s.n; i += step) {
    s.inverse[i] = s.number[s.first[s.slot[i]]];
  }
}

}  // namespace

absl::Status UniqueIdsGpu(Context& ctx, const Tensor& ids, const Tensor& unique,
                          const Tensor& inverse, const Tensor& count) {
  const int64_t n = ids.size();
  int64_t slots = 1;
  while (slots < 2 * n) slots *= 2;
  const int64_t pieces = (n + kGpuThreads - 1) / kGpuThreads;
  PAGODA_ASSIGN_OR_RETURN(const Tensor first, ctx.Empty({slots}, DType::kI32));
  PAGODA_ASSIGN_OR_RETURN(const Tensor slot, ctx.Empty({n}, DType::kI32));
  PAGODA_ASSIGN_OR_RETURN(const Tensor number, ctx.Empty({n}, DType::kI32));
  PAGODA_ASSIGN_OR_RETURN(const Tensor offsets, ctx.Empty({pieces}, DType::kI32));
  Lists s = {};
  s.ids = ids.data<int64_t>();
  s.unique = unique.data<int64_t>();
  s.inverse = inverse.data<int32_t>();
  s.count = count.data<int32_t>();
  s.first = first.data<int32_t>();
  s.slot = slot.data<int32_t>();
  s.number = number.data<int32_t>();
  s.offsets = offsets.data<int32_t>();
  s.n = static_cast<int32_t>(n);
  s.pieces = static_cast<int32_t>(pieces);
  s.mask = static_cast<uint32_t>(slots - 1);
  const auto launch = [&](void (*kernel)(Lists), unsigned blocks) {
    return LaunchKernel(ctx, "UniqueIds", kernel, blocks, kGpuThreads, 0, s);
  };
  const unsigned blocks = GpuBlocks(n, kGpuThreads);
  PAGODA_RETURN_IF_ERROR(launch(ClearKernel, GpuBlocks(slots, kGpuThreads)));
  PAGODA_RETURN_IF_ERROR(launch(InsertKernel, blocks));
  PAGODA_RETURN_IF_ERROR(launch(CountKernel, blocks));
  PAGODA_RETURN_IF_ERROR(launch(OffsetsKernel, 1));
  PAGODA_RETURN_IF_ERROR(launch(NumberKernel, blocks));
  return launch(InverseKernel, blocks);
}

}  // namespace pagoda
