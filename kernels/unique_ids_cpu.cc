// One thread: bound by the latency of the hash table, which is made for this call.
#include "kernels/unique_ids.h"

#include <bit>
#include <vector>

#include "base/random.h"
#include "kernels/check.h"
#include "kernels/dispatch.h"
#include "kernels/unique_ids_gpu.h"

namespace pagoda {

absl::Status UniqueIds(Context& ctx, const Tensor& ids, const Tensor& unique, const Tensor& inverse,
                       const Tensor& count) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "UniqueIds");
  if (!check.Rank("ids", ids, 1, DType::kI64).ok()) return check.status();
  check.Has("unique", unique, ids.shape(), DType::kI64)
      .Has("inverse", inverse, ids.shape(), DType::kI32)
      .Has("count", count, {1}, DType::kI32)
      .That(ids.size() < int64_t{1} << 30, "more than 2^30 ids");
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, UniqueIdsGpu(ctx, ids, unique, inverse, count));
  const auto n = static_cast<size_t>(ids.size());
  const int64_t* const values = ids.data<int64_t>();
  int64_t* const distinct = unique.data<int64_t>();
  // Numbers of distinct ids by hash; -1: nobody's.
  std::vector<int32_t> table(std::bit_ceil(2 * n + 1), -1);
  const size_t mask = table.size() - 1;
  int32_t found = 0;
  for (size_t i = 0; i < n; ++i) {
    size_t slot = RandomBits(RandomKey{0}, static_cast<uint64_t>(values[i])) & mask;
    while (table[slot] >= 0 && distinct[table[slot]] != values[i]) slot = (slot + 1) & mask;
    if (table[slot] < 0) {
      table[slot] = found;
      distinct[found++] = values[i];
    }
    inverse.data<int32_t>()[i] = table[slot];
  }
  count.data<int32_t>()[0] = found;
  return absl::OkStatus();
}

}  // namespace pagoda
