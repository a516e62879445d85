#include <cblas.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <new>

#include "kernels/chunks.h"
#include "kernels/gemm.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

struct Conversion {
  const float* from;
  void* to;
};

// bf16 is the upper half of an f32: round to nearest, ties to even. A NaN keeps
// its upper bits and is made quiet, as rounding could carry it into infinity.
PAGODA_INLINE uint32_t RoundedUpperHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : rounded;
}

template <int kLanes>
PAGODA_INLINE void RoundToBf16(const Conversion& c, int64_t begin, int64_t end) {
  uint16_t* to = static_cast<uint16_t*>(c.to);
  for (int64_t i = begin; i < end; ++i) {
    to[i] = static_cast<uint16_t>(RoundedUpperHalf(c.from[i]) >> 16);
  }
}
PAGODA_VECTOR_VERSIONS(RoundToBf16, Conversion)

template <int kLanes>
PAGODA_INLINE void RoundToBf16InF32(const Conversion& c, int64_t begin, int64_t end) {
  float* to = static_cast<float*>(c.to);
  for (int64_t i = begin; i < end; ++i) {
    to[i] = std::bit_cast<float>(RoundedUpperHalf(c.from[i]) & 0xffff0000u);
  }
}
PAGODA_VECTOR_VERSIONS(RoundToBf16InF32, Conversion)

// c[j] = beta * c[j] + the sum of partials[p * stride + j] over p in order.
struct Partials {
  const float* partials;
  int64_t count;
  int64_t stride;
  float beta;
  float* c;
};
template <int kLanes>
PAGODA_INLINE void AddPartials(const Partials& args, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) {
    float sum = 0.0f;
    for (int64_t p = 0; p < args.count; ++p) sum += args.partials[p * args.stride + j];
    args.c[j] = args.beta == 0.0f ? sum : args.beta * args.c[j] + sum;
  }
}
PAGODA_VECTOR_VERSIONS(AddPartials, Partials)

void GemmF32(const GemmArgs& args) {
  // Threads are ours: a product runs on the thread that asks for it.
  static const bool single_threaded = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  (void)single_threaded;
  cblas_sgemm(CblasRowMajor, args.a_transposed ? CblasTrans : CblasNoTrans,
              args.b_transposed ? CblasTrans : CblasNoTrans, static_cast<int>(args.m),
              static_cast<int>(args.n), static_cast<int>(args.k), 1.0f,
              static_cast<const float*>(args.a), static_cast<int>(args.a_stride),
              static_cast<const float*>(args.b), static_cast<int>(args.b_stride), args.beta, args.c,
              static_cast<int>(args.c_stride));
}

// The sub-product for rows [row, row + rows), columns [column, column + columns)
// and terms [term, term + terms).
struct Tile {
  int64_t row, rows, column, columns, term, terms;
};

GemmArgs Part(GemmForm form, const GemmArgs& args, const Tile& tile) {
  const int64_t bytes = GemmElementBytes(form);
  const auto at = [&](const void* data, int64_t stride, bool transposed, int64_t i, int64_t j) {
    const int64_t offset = transposed ? j * stride + i : i * stride + j;
    return static_cast<const void*>(static_cast<const char*>(data) + offset * bytes);
  };
  GemmArgs part = args;
  part.m = tile.rows;
  part.n = tile.columns;
  part.k = tile.terms;
  part.a = at(args.a, args.a_stride, args.a_transposed, tile.row, tile.term);
  part.b = at(args.b, args.b_stride, args.b_transposed, tile.term, tile.column);
  part.c = args.c + tile.row * args.c_stride + tile.column;
  return part;
}

// How a product is cut. Chosen for at least kWanted pieces of work where the
// sizes allow, as that keeps 8 threads busy.
struct Cut {
  int64_t rows, columns, terms;
};

Cut ChooseCut(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kWanted = 8;
  // Below a tile of 128 x 256 packing the operands costs more than 10 % of the product.
  constexpr int64_t kRowsMax = 256, kRowsMin = 128;
  constexpr int64_t kColumnsMax = 1024, kColumnsMin = 256;
  constexpr int64_t kTermsMin = 512;
  Cut cut{kRowsMax, kColumnsMax, k};
  const auto tiles = [&] { return NumChunks(m, cut.rows) * NumChunks(n, cut.columns); };
  while (tiles() < kWanted && cut.columns > kColumnsMin) cut.columns /= 2;
  while (tiles() < kWanted && cut.rows > kRowsMin) cut.rows /= 2;
  if (tiles() < kWanted && k >= 2 * kTermsMin) {
    const int64_t pieces = std::min(NumChunks(kWanted, tiles()), k / kTermsMin);
    cut.terms = NumChunks(k, pieces);
  }
  return cut;
}

}  // namespace

GemmForm GemmFormFor(DType compute_dtype) {
  return compute_dtype == DType::kBF16 ? GemmForm::kRoundedF32 : GemmForm::kF32;
}

bool GemmFormAvailable(GemmForm form) {
  return form != GemmForm::kBF16;
}

void ConvertForGemm(GemmForm form, const float* from, int64_t count, void* to) {
  switch (form) {
    case GemmForm::kF32:
      if (count > 0) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
      return;
    case GemmForm::kRoundedF32: RunRoundToBf16InF32({from, to}, 0, count); return;
    case GemmForm::kBF16: RunRoundToBf16({from, to}, 0, count); return;
  }
}

void Gemm(GemmForm form, const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) {  // An empty sum; the libraries refuse strides of 0.
    for (int64_t i = 0; i < args.m; ++i) {
      RunAddPartials({nullptr, 0, 0, args.beta, args.c + i * args.c_stride}, 0, args.n);
    }
    return;
  }
  GemmF32(args);
}

absl::Status ParallelGemm(Context& ctx, GemmForm form, const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return absl::OkStatus();
  const Cut cut = ChooseCut(args.m, args.n, args.k);
  const int64_t row_tiles = NumChunks(args.m, cut.rows);
  const int64_t column_tiles = NumChunks(args.n, cut.columns);
  const int64_t pieces = cut.terms > 0 ? std::max<int64_t>(NumChunks(args.k, cut.terms), 1) : 1;
  const int64_t partial_size = args.m * args.n;
  Tensor partials;
  if (pieces > 1) {
    PAGODA_ASSIGN_OR_RETURN(partials, ctx.Empty({pieces, args.m, args.n}));
  }
  ctx.pool().ParallelFor(row_tiles * column_tiles * pieces, [&](int64_t index) {
    const int64_t piece = index % pieces;
    const int64_t row = index / pieces / column_tiles * cut.rows;
    const int64_t column = index / pieces % column_tiles * cut.columns;
    const int64_t term = piece * cut.terms;
    const Tile tile{row,    std::min(cut.rows, args.m - row),
                    column, std::min(cut.columns, args.n - column),
                    term,   std::min(cut.terms, args.k - term)};
    GemmArgs part = Part(form, args, tile);
    if (pieces > 1) {
      part.c = partials.data<float>() + piece * partial_size + row * args.n + column;
      part.c_stride = args.n;
      part.beta = 0.0f;
    }
    Gemm(form, part);
  });
  if (pieces > 1) {
    const float* partial = partials.data<float>();
    ForChunks(ctx, args.m, RowsPerChunk(args.n), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        RunAddPartials(
            {partial + i * args.n, pieces, partial_size, args.beta, args.c + i * args.c_stride}, 0,
            args.n);
      }
    });
  }
  return absl::OkStatus();
}

void* ThreadScratch(int slot, int64_t size_bytes) {
  constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kAlign); }
  };
  struct Block {
    std::unique_ptr<void, Free> bytes;
    int64_t size = 0;
  };
  thread_local Block blocks[2];
  PAGODA_CHECK(slot >= 0 && slot < 2);
  Block& block = blocks[slot];
  if (block.size < size_bytes || block.bytes == nullptr) {
    block.bytes.reset();
    block.bytes.reset(
        ::operator new(static_cast<size_t>(std::max<int64_t>(size_bytes, 1)), kAlign));
    block.size = size_bytes;
  }
  return block.bytes.get();
}

}  // namespace pagoda
