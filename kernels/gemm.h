// Matrix products for the operators of this folder: the door to oneDNN, and the
// way a product is cut up for the thread pool.
//
// Operands are in one of three forms, chosen once per operator call from the
// context's compute type and the CPU. Sums are f32 in all of them.
//   kF32         f32, as they are
//   kRoundedF32  f32 that hold bf16 values. A product of two bf16 is exact in
//                f32, so this is what bf16 means on a CPU without AMX, where it
//                is several times faster than bf16 instructions or their emulation.
//   kBF16        bf16, on AMX
//
// oneDNN and not OpenBLAS: it generates code for the features the CPU reports,
// while Debian 12's OpenBLAS 0.3.21 knows CPUs by model number and falls back to
// SSE code on later ones (measured on such a CPU, one thread, 4096 x 512 x 512:
// 32 GFLOP/s against 190).
//
// oneDNN asks OpenMP how many threads to use; here a product always runs on the
// thread that asks for it (omp_set_num_threads(1), a setting of each thread),
// and the pool runs several products at a time.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/context.h"

namespace pagoda {

enum class GemmForm : uint8_t { kF32, kRoundedF32, kBF16 };

// The form for operands of a context with this compute type, on this CPU.
GemmForm GemmFormFor(DType compute_dtype);

// Whether Gemm can run on operands in this form: all CPUs can with f32, and with
// bf16 those with AVX-512, fast or not.
bool GemmFormAvailable(GemmForm form);

// Bytes of one operand element.
constexpr int64_t GemmElementBytes(GemmForm form) {
  return form == GemmForm::kBF16 ? 2 : 4;
}

// Writes `count` values in `form` to `to`, rounded to nearest even. kF32: a copy.
void ConvertForGemm(GemmForm form, const float* from, int64_t count, void* to);

// The distance between the rows of a b or c of `columns` columns that a product is
// fastest with: whole vectors of 16. A product that is that wide, the rest of b zeros,
// saves oneDNN its code for odd ends (measured, 4096 x 429 x 429: 179 GFLOP/s against
// 163). Narrow matrices stay as they are.
constexpr int64_t GemmStride(int64_t columns) {
  return columns < 64 ? columns : (columns + 15) / 16 * 16;
}

// c = a * b + beta * c with a [m, k], b [k, n], c [m, n], row-major. A stride is
// the distance between rows as stored, in elements: a transposed a is stored
// [k, m], a transposed b [n, k]. With beta == 0 c is not read. Sizes may be 0.
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t a_stride = 0;
  bool a_transposed = false;
  const void* b = nullptr;
  int64_t b_stride = 0;
  bool b_transposed = false;
  float* c = nullptr;
  int64_t c_stride = 0;
  float beta = 0.0f;
};

// On the calling thread alone. Threads: any, at once.
void Gemm(GemmForm form, const GemmArgs& args);

// Writes the transpose of `from` [rows, columns] in `form` to `to`, its rows
// GemmStride(rows) apart and zeros in between, on ctx's pool. A product is 10 % faster
// when b is not transposed, so a b that many pieces of a share is worth turning over
// once.
void TransposeForGemm(Context& ctx, GemmForm form, const float* from, int64_t rows, int64_t columns,
                      void* to);

// The same without turning it over: rows GemmStride(columns) apart.
void WidenForGemm(Context& ctx, GemmForm form, const float* from, int64_t rows, int64_t columns,
                  void* to);

// On ctx's pool: c in tiles, and a long sum over few tiles in pieces of k added
// in order. Tiles and pieces depend on the sizes alone, so the result has the
// same bits for any number of threads.
//   RESOURCE_EXHAUSTED  no memory for partial sums
absl::Status ParallelGemm(Context& ctx, GemmForm form, const GemmArgs& args);

// Memory of the calling thread, at least `size_bytes`, 64-byte aligned; valid
// until the thread asks again.
void* ThreadScratch(int64_t size_bytes);

}  // namespace pagoda
