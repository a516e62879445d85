// What normalisation over rows has in common on the CPU. (rms_norm_cpu.cc, layer_norm_cpu.cc)
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/tensor.h"

namespace pagoda {

// Calls body(begin, end) for few rows of [begin, end) at a time, so that its second loop over
// them finds x and dy in cache.
template <typename Body>
void ForFewRows(int64_t begin, int64_t end, const Body& body) {
  for (int64_t i = begin; i < end; i += 8) body(i, std::min(end, i + 8));
}

// total [d] += the chunks' sums, in chunk order: chunk c's are at sums + c * stride. Absent:
// not wanted.
inline void AddChunkSums(const float* sums, int64_t num_chunks, int64_t stride,
                         const Tensor& total) {
  if (total.absent()) return;
  const int64_t d = total.size();
  for (int64_t j = 0; j < d; ++j) {
    float sum = 0.0f;
    for (int64_t c = 0; c < num_chunks; ++c) sum += sums[c * stride + j];
    total.data<float>()[j] += sum;
  }
}

}  // namespace pagoda
