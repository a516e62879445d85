#include <dnnl.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <type_traits>

#include "kernels/chunks.h"
#include "kernels/gemm.h"
#include "kernels/vector_lanes.h"

// Declared here, as <omp.h> comes with the compiler's own OpenMP, which need not
// be oneDNN's.
extern "C" void omp_set_num_threads(int count);

namespace pagoda {
namespace {

template <GemmForm form>
using Element = std::conditional_t<form == GemmForm::kBF16, uint16_t, float>;

// `value` in `form`. bf16 is the upper half of an f32: round to nearest, ties to
// even. A NaN keeps its upper bits and is made quiet, as rounding could carry it
// into infinity.
template <GemmForm form>
PAGODA_INLINE Element<form> InForm(float value) {
  if constexpr (form == GemmForm::kF32) {
    return value;
  } else {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
    const uint32_t rounded = (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : nearest;
    if constexpr (form == GemmForm::kBF16) {
      return static_cast<uint16_t>(rounded >> 16);
    } else {
      return std::bit_cast<float>(rounded & 0xffff0000u);
    }
  }
}

// Calls body.template operator()<form>() with `form` known to the compiler.
template <typename Body>
PAGODA_INLINE void WithForm(GemmForm form, const Body& body) {
  switch (form) {
    case GemmForm::kF32: return body.template operator()<GemmForm::kF32>();
    case GemmForm::kRoundedF32: return body.template operator()<GemmForm::kRoundedF32>();
    case GemmForm::kBF16: return body.template operator()<GemmForm::kBF16>();
  }
}

struct Conversion {
  GemmForm form;
  const float* from;
  void* to;
};
template <int kLanes>
PAGODA_INLINE void ConvertRange(const Conversion& c, int64_t begin, int64_t end) {
  WithForm(
      c.form, [&]<GemmForm form>() __attribute__((always_inline)) {
        Element<form>* to = static_cast<Element<form>*>(c.to);
        for (int64_t i = begin; i < end; ++i) to[i] = InForm<form>(c.from[i]);
      });
}
PAGODA_VECTOR_VERSIONS(ConvertRange, Conversion)

// A matrix to turn over, in blocks of kBand x kBand that go through the stack, so
// that both sides are touched a cache line at a time.
struct Turn {
  GemmForm form;
  const float* from;
  int64_t rows;  // Of `from`.
  int64_t columns;
  void* to;
  int64_t to_stride;
};
constexpr int64_t kBand = 16;

template <GemmForm form>
PAGODA_INLINE void TurnBlock(const Turn& t, int64_t row, int64_t column) {
  const int64_t height = std::min(kBand, t.rows - row);
  const int64_t width = std::min(kBand, t.columns - column);
  alignas(64) float block[kBand][kBand];
  if (height == kBand && width == kBand) {
    for (int64_t i = 0; i < kBand; i += 4) {
      const float* from = t.from + (row + i) * t.columns + column;
      for (int64_t j = 0; j < kBand; j += 4) {
        TransposeFour(from + j, t.columns, &block[j][i], kBand);
      }
    }
  } else {
    for (int64_t i = 0; i < height; ++i) {
      const float* from = t.from + (row + i) * t.columns + column;
      for (int64_t j = 0; j < width; ++j) block[j][i] = from[j];
    }
  }
  for (int64_t j = 0; j < width; ++j) {
    Element<form>* to = static_cast<Element<form>*>(t.to) + (column + j) * t.to_stride + row;
    for (int64_t i = 0; i < height; ++i) to[i] = InForm<form>(block[j][i]);
  }
}

// The bands [begin, end) of kBand columns of `from`.
template <int kLanes>
PAGODA_INLINE void TurnBands(const Turn& t, int64_t begin, int64_t end) {
  WithForm(
      t.form, [&]<GemmForm form>() __attribute__((always_inline)) {
        for (int64_t band = begin; band < end; ++band) {
          for (int64_t row = 0; row < t.rows; row += kBand) TurnBlock<form>(t, row, band * kBand);
          const int64_t columns_end = std::min((band + 1) * kBand, t.columns);
          for (int64_t column = band * kBand; column < columns_end; ++column) {
            Element<form>* to = static_cast<Element<form>*>(t.to) + column * t.to_stride;
            for (int64_t i = t.rows; i < t.to_stride; ++i) to[i] = Element<form>{0};
          }
        }
      });
}
PAGODA_VECTOR_VERSIONS(TurnBands, Turn)

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

// oneDNN would start OpenMP threads of its own; see gemm.h.
void UseOneThread() {
  thread_local bool done = false;
  if (done) return;
  omp_set_num_threads(1);
  done = true;
}

// Terms of a sum over the batch (a transposed) that are taken at a time: oneDNN
// walks down the columns of a, and 512 rows of both operands still lie in L2
// (measured, 64 x 512 x 4096: 175 GFLOP/s against 150 in one call).
constexpr int64_t kTermsAtOnce = 512;

void GemmF32(const GemmArgs& args) {
  const char trans_a = args.a_transposed ? 'T' : 'N';
  const char trans_b = args.b_transposed ? 'T' : 'N';
  const int64_t step = args.a_transposed ? kTermsAtOnce : args.k;
  for (int64_t term = 0; term < args.k; term += step) {
    const float* a =
        static_cast<const float*>(args.a) + (args.a_transposed ? term * args.a_stride : term);
    const float* b =
        static_cast<const float*>(args.b) + (args.b_transposed ? term : term * args.b_stride);
    const dnnl_status_t status = dnnl_sgemm(
        trans_a, trans_b, args.m, args.n, std::min(step, args.k - term), 1.0f, a, args.a_stride, b,
        args.b_stride, term == 0 ? args.beta : 1.0f, args.c, args.c_stride);
    PAGODA_CHECK(status == dnnl_success);
  }
}

// A bf16 product of one shape, compiled by oneDNN.
struct Bf16Product {
  dnnl::matmul primitive;
  dnnl::memory a, b, c, scratchpad;
};

dnnl::memory::desc Matrix(int64_t rows, int64_t columns, dnnl::memory::data_type type,
                          int64_t stride, bool transposed) {
  return {{rows, columns},
          type,
          transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1}};
}

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

Bf16Product Compile(const GemmArgs& args) {
  using Type = dnnl::memory::data_type;
  const auto a = Matrix(args.m, args.k, Type::bf16, args.a_stride, args.a_transposed);
  const auto b = Matrix(args.k, args.n, Type::bf16, args.b_stride, args.b_transposed);
  const auto c = Matrix(args.m, args.n, Type::f32, args.c_stride, false);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (args.beta != 0.0f) {
    dnnl::post_ops old;
    old.append_sum(args.beta);
    attributes.set_post_ops(old);
  }
  const dnnl::engine& engine = CpuEngine();
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b, c), attributes, engine);
  return {dnnl::matmul(description), dnnl::memory(a, engine, nullptr),
          dnnl::memory(b, engine, nullptr), dnnl::memory(c, engine, nullptr),
          dnnl::memory(description.scratchpad_desc(), engine)};
}

// This thread's product for the shape of `args`, kept for the next call.
Bf16Product& ProductFor(const GemmArgs& args) {
  using Key = std::array<int64_t, 9>;
  // Bounds the memory of a job whose batches never have the same size twice.
  constexpr size_t kProductsMax = 256;
  thread_local std::map<Key, Bf16Product> products;
  const Key key = {args.m,
                   args.n,
                   args.k,
                   args.a_stride,
                   args.b_stride,
                   args.c_stride,
                   args.a_transposed,
                   args.b_transposed,
                   std::bit_cast<int32_t>(args.beta)};
  const auto found = products.find(key);
  if (found != products.end()) return found->second;
  if (products.size() >= kProductsMax) products.clear();
  return products.emplace(key, Compile(args)).first->second;
}

void GemmBF16(const GemmArgs& args) {
  thread_local dnnl::stream stream(CpuEngine());
  Bf16Product& product = ProductFor(args);
  product.a.set_data_handle(const_cast<void*>(args.a));
  product.b.set_data_handle(const_cast<void*>(args.b));
  product.c.set_data_handle(args.c);
  product.primitive.execute(stream, {{DNNL_ARG_SRC, product.a},
                                     {DNNL_ARG_WEIGHTS, product.b},
                                     {DNNL_ARG_DST, product.c},
                                     {DNNL_ARG_SCRATCHPAD, product.scratchpad}});
  stream.wait();
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

Cut ChooseCut(GemmForm form, int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kWanted = 8;
  constexpr int64_t kColumns = 1024;  // 64 x 1024 sums of f32 lie in L2.
  // Fewer rows would share too little of b; AMX has done with them sooner.
  const int64_t rows_max = form == GemmForm::kBF16 ? 256 : 128;
  Cut cut{rows_max, kColumns, k};
  const auto tiles = [&] { return NumChunks(m, cut.rows) * NumChunks(n, cut.columns); };
  if (tiles() < kWanted && form != GemmForm::kBF16) cut.rows = rows_max / 2;
  if (tiles() < kWanted && k >= 2 * kTermsAtOnce) {
    const int64_t pieces = std::min(NumChunks(kWanted, tiles()), k / kTermsAtOnce);
    cut.terms = NumChunks(k, pieces);
  }
  return cut;
}

}  // namespace

GemmForm GemmFormFor(DType compute_dtype) {
  if (compute_dtype != DType::kBF16) return GemmForm::kF32;
  static const bool amx = dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
  return amx ? GemmForm::kBF16 : GemmForm::kRoundedF32;
}

bool GemmFormAvailable(GemmForm form) {
  const int avx512 = static_cast<int>(dnnl::cpu_isa::avx512_core);
  const bool has_avx512 = (static_cast<int>(dnnl::get_effective_cpu_isa()) & avx512) == avx512;
  return form != GemmForm::kBF16 || has_avx512;
}

void ConvertForGemm(GemmForm form, const float* from, int64_t count, void* to) {
  RunConvertRange({form, from, to}, 0, count);
}

void Gemm(GemmForm form, const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (args.k == 0) {  // An empty sum; the libraries refuse strides of 0.
    for (int64_t i = 0; i < args.m; ++i) {
      RunAddPartials({nullptr, 0, 0, args.beta, args.c + i * args.c_stride}, 0, args.n);
    }
    return;
  }
  UseOneThread();
  if (form == GemmForm::kBF16) {
    GemmBF16(args);
  } else {
    GemmF32(args);
  }
}

void TransposeForGemm(Context& ctx, GemmForm form, const float* from, int64_t rows, int64_t columns,
                      void* to) {
  const Turn turn{form, from, rows, columns, to, GemmStride(rows)};
  const int64_t bands_per_chunk = std::max<int64_t>(RowsPerChunk(rows) / kBand, 1);
  ForChunks(ctx, NumChunks(columns, kBand), bands_per_chunk,
            [&](int64_t, int64_t begin, int64_t end) { RunTurnBands(turn, begin, end); });
}

void WidenForGemm(Context& ctx, GemmForm form, const float* from, int64_t rows, int64_t columns,
                  void* to) {
  const int64_t bytes = GemmElementBytes(form);
  const int64_t stride = GemmStride(columns);
  ForChunks(ctx, rows, RowsPerChunk(columns), [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* row = static_cast<char*>(to) + i * stride * bytes;
      RunConvertRange({form, from + i * columns, row}, 0, columns);
      std::memset(row + columns * bytes, 0, static_cast<size_t>((stride - columns) * bytes));
    }
  });
}

absl::Status ParallelGemm(Context& ctx, GemmForm form, const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return absl::OkStatus();
  const Cut cut = ChooseCut(form, args.m, args.n, args.k);
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

void* ThreadScratch(int64_t size_bytes) {
  constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kAlign); }
  };
  thread_local std::unique_ptr<void, Free> block;
  thread_local int64_t block_bytes = 0;
  if (block == nullptr || block_bytes < size_bytes) {
    block.reset();
    block_bytes = std::max<int64_t>(size_bytes, 1);
    block.reset(::operator new(static_cast<size_t>(block_bytes), kAlign));
  }
  return block.get();
}

}  // namespace pagoda
