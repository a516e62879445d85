// Speed of the CPU operators at the shapes of a Criteo-like model: batch 4096, 26
// features, dim 16, ids drawn from a Zipf law. The last argument is the number of
// threads. Bytes per second count each operand once; FLOP/s count a multiply-add
// as two. The label is a hash of the result's bits, so that a change of results
// does not pass unseen.
//
//   kernels_bench [--tiny] [google-benchmark flags]
//
// --tiny shrinks the shapes: it proves that the benchmark runs, nothing else.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "kernels/cross_layer.h"
#include "kernels/dot_interaction.h"
#include "kernels/dropout.h"
#include "kernels/embedding_bag.h"
#include "kernels/fm.h"
#include "kernels/linear.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_embedding.h"
#include "kernels/segment_sum.h"

namespace pagoda {
namespace {

bool g_tiny = false;

int64_t BatchSize() {
  return g_tiny ? 32 : 4096;
}

// A device with as many threads as the benchmark's last argument says.
class Bench {
 public:
  explicit Bench(int num_threads) : pool_(num_threads), ctx_(*Context::Create(Device{}, &pool_)) {}

  Context& ctx() { return *ctx_; }

  Tensor Random(Shape shape) {
    std::vector<float> values(static_cast<size_t>(NumElements(shape)));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = RandomUniform(RandomKey{++stream_}, i) - 0.5f;
    }
    return *ctx_->Upload(std::span<const float>(values), std::move(shape));
  }

  Tensor Indices(const std::vector<int32_t>& values) {
    return *ctx_->Upload(std::span<const int32_t>(values), {static_cast<int64_t>(values.size())});
  }

  // Runs `op` for the time asked, then labels the result's bits.
  template <typename Op>
  void Run(benchmark::State& state, const Tensor& result, const Op& op) {
    const absl::Status first = op();
    if (!first.ok()) {
      state.SkipWithError(first.ToString().c_str());
      return;
    }
    state.SetLabel(absl::StrFormat("%08x", HashOf(result)));
    for (auto _ : state) {
      if (!op().ok()) state.SkipWithError("failed after the first run");
    }
  }

 private:
  uint32_t HashOf(const Tensor& tensor) {
    std::string bytes(static_cast<size_t>(tensor.size() * SizeOf(tensor.dtype())), '\0');
    if (!ctx_->CopyToHost(tensor, bytes.data(), static_cast<int64_t>(bytes.size())).ok()) return 0;
    return static_cast<uint32_t>(HashBytes(bytes));
  }

  ThreadPool pool_;
  std::unique_ptr<Context> ctx_;
  uint64_t stream_ = 0;
};

void CountBytes(benchmark::State& state, int64_t bytes) {
  state.SetBytesProcessed(state.iterations() * bytes);
}

void CountFlops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(
      flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

// One lookup of `features` single-valued features that fill the output, ids
// Zipf(1.05) of 20,000 each.
struct LookupShape {
  EmbeddingBagIndex index;
  int64_t num_unique = 0;
};

LookupShape MakeLookup(Bench& bench, int64_t features) {
  constexpr double kExponent = 1.05;
  constexpr int64_t kIds = 20000;
  std::vector<double> cumulative;
  double total = 0.0;
  for (int64_t i = 0; i < kIds; ++i) {
    cumulative.push_back(total += std::pow(static_cast<double>(i + 1), -kExponent));
  }
  const int64_t nnz = BatchSize() * features;
  std::vector<int32_t> row_of(static_cast<size_t>(kIds * features), -1);
  std::vector<int32_t> inverse, offsets = {0}, columns, pooling;
  std::vector<std::vector<int32_t>> occurrences;
  for (int64_t s = 0; s < nnz; ++s) {
    const double draw = total * RandomUniform(RandomKey{7}, static_cast<uint64_t>(s));
    const int64_t id =
        std::lower_bound(cumulative.begin(), cumulative.end(), draw) - cumulative.begin();
    int32_t& row = row_of[static_cast<size_t>(s % features * kIds + std::min(id, kIds - 1))];
    if (row < 0) {
      row = static_cast<int32_t>(occurrences.size());
      occurrences.emplace_back();
    }
    inverse.push_back(row);
    offsets.push_back(static_cast<int32_t>(s + 1));
    occurrences[static_cast<size_t>(row)].push_back(static_cast<int32_t>(s));
  }
  std::vector<int32_t> occurrence_offsets = {0}, occurrence_segments;
  for (const auto& segments : occurrences) {
    occurrence_segments.insert(occurrence_segments.end(), segments.begin(), segments.end());
    occurrence_offsets.push_back(static_cast<int32_t>(occurrence_segments.size()));
  }
  for (int64_t k = 0; k < features; ++k) {
    columns.push_back(static_cast<int32_t>(k));
    pooling.push_back(0);
  }
  return {{BatchSize(), features, bench.Indices(inverse), bench.Indices(offsets),
           bench.Indices(columns), bench.Indices(pooling), bench.Indices(occurrence_offsets),
           bench.Indices(occurrence_segments)},
          static_cast<int64_t>(occurrences.size())};
}

// Arguments: dim, threads.
void EmbeddingBag(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  const int64_t features = 26, dim = state.range(0);
  const LookupShape lookup = MakeLookup(bench, features);
  const Tensor rows = bench.Random({lookup.num_unique, dim});
  const Tensor out = bench.Random({BatchSize(), features, dim});
  bench.Run(state, backward ? rows : out, [&] {
    return backward ? EmbeddingBagBackward(bench.ctx(), out, lookup.index, 0.0f, rows)
                    : EmbeddingBagForward(bench.ctx(), rows, lookup.index, out);
  });
  // Forward gathers a row per occurrence; backward reads one and writes each row.
  const int64_t nnz = BatchSize() * features;
  CountBytes(state, 4 * dim * (backward ? nnz + lookup.num_unique : 2 * nnz));
}

void SegmentSum(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  const int64_t dim = state.range(0), num_segments = BatchSize() * 4;
  std::vector<int32_t> offsets = {0};
  for (int64_t s = 0; s < num_segments; ++s) {
    offsets.push_back(offsets.back() + static_cast<int32_t>(RandomBelow(RandomKey{3}, s, 9)));
  }
  const Tensor cuts = bench.Indices(offsets);
  const Tensor x = bench.Random({offsets.back(), dim});
  const Tensor out = bench.Random({num_segments, dim});
  bench.Run(state, backward ? x : out, [&] {
    return backward ? SegmentSumBackward(bench.ctx(), out, cuts, SegmentPooling::kMean, 0.0f, x)
                    : SegmentSumForward(bench.ctx(), x, cuts, SegmentPooling::kMean, 0.0f, out);
  });
  CountBytes(state, 4 * dim * (num_segments + offsets.back()));
}

void DotInteraction(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  const int64_t n = BatchSize(), f = 27, d = state.range(0), pairs = f * (f - 1) / 2;
  const Tensor x = bench.Random({n, f, d});
  const Tensor out = bench.Random({n, pairs});
  const Tensor dx = *bench.ctx().Zeros({n, f, d});
  bench.Run(state, backward ? dx : out, [&] {
    return backward ? DotInteractionBackward(bench.ctx(), x, out, 0.0f, dx)
                    : DotInteractionForward(bench.ctx(), x, out);
  });
  CountBytes(state, 4 * n * ((backward ? 2 : 1) * f * d + pairs));
  CountFlops(state, static_cast<double>((backward ? 4 : 2) * n * pairs * d));
}

void Fm(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  const int64_t n = BatchSize(), f = 26, d = state.range(0);
  const Tensor x = bench.Random({n, f, d});
  const Tensor out = bench.Random({n});
  const Tensor dx = *bench.ctx().Zeros({n, f, d});
  bench.Run(state, backward ? dx : out, [&] {
    return backward ? FmBackward(bench.ctx(), x, out, 0.0f, dx) : FmForward(bench.ctx(), x, out);
  });
  CountBytes(state, 4 * n * f * d * (backward ? 2 : 1));
}

void CrossV2(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  const Shape shape = {BatchSize(), state.range(0)};
  const Tensor x0 = bench.Random(shape), u = bench.Random(shape), x = bench.Random(shape);
  const Tensor y = bench.Random(shape);
  CrossV2Gradients gradients;
  gradients.dx0 = *bench.ctx().Zeros(shape);
  gradients.du = *bench.ctx().Zeros(shape);
  gradients.beta_du = 0.0f;  // dx is dy: the tape hands its memory on.
  bench.Run(state, backward ? gradients.du : y, [&] {
    return backward ? CrossV2Backward(bench.ctx(), x0, u, y, gradients)
                    : CrossV2Forward(bench.ctx(), x0, u, x, y);
  });
  CountBytes(state, 4 * NumElements(shape) * (backward ? 6 : 4));
}

// Rows of positions of sequences. Arguments: width, threads.
void RmsNorm(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  const int64_t n = BatchSize(), d = state.range(0);
  const Tensor x = bench.Random({n, d}), gamma = bench.Random({d}), y = bench.Random({n, d});
  const Tensor inv_rms = bench.Random({n}), dgamma = *bench.ctx().Zeros({d});
  const Tensor dx = *bench.ctx().Zeros({n, d});
  bench.Run(state, backward ? dx : y, [&] {
    return backward ? RmsNormBackward(bench.ctx(), x, gamma, inv_rms, y, dx, dgamma)
                    : RmsNormForward(bench.ctx(), x, gamma, 1e-5f, y, inv_rms);
  });
  CountBytes(state, 4 * n * d * (backward ? 4 : 2));
}

// Arguments: width, of heads of 32 columns; threads.
void Rotary(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(1)));
  constexpr int64_t kPositions = 50, kWidth = 32;
  const int64_t n = BatchSize(), d = state.range(0);
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < n; ++i) positions.push_back(static_cast<int32_t>(i % kPositions));
  const std::vector<float> turns = RotaryTurns(kPositions, kWidth, 10000.0);
  const Tensor table = *bench.ctx().Upload(std::span<const float>(turns), {kPositions, kWidth});
  const Tensor x = bench.Random({n, d}), y = bench.Random({n, d}), at = bench.Indices(positions);
  bench.Run(state, y, [&] {
    return RotaryEmbedding(bench.ctx(), x, at, table, /*inverse=*/backward, 0.0f, y);
  });
  CountBytes(state, 8 * n * d);
}

// The mask is its own gradient. Arguments: width, threads.
void DropoutOfRows(benchmark::State& state, bool) {
  Bench bench(static_cast<int>(state.range(1)));
  const int64_t n = BatchSize(), d = state.range(0);
  std::vector<int64_t> counters;
  for (int64_t i = 0; i < n; ++i) counters.push_back((n - i) * 65536 * d);
  const Tensor firsts = *bench.ctx().Upload(std::span<const int64_t>(counters), {n});
  const Tensor x = bench.Random({n, d}), y = bench.Random({n, d});
  bench.Run(state, y, [&] {
    return DropoutRows(bench.ctx(), x, firsts, {0.2f, RandomKey{1}, 0}, 0.0f, y);
  });
  CountBytes(state, 8 * n * d);
}

// Arguments: in, out, bf16, threads.
void Linear(benchmark::State& state, bool backward) {
  Bench bench(static_cast<int>(state.range(3)));
  const int64_t n = BatchSize(), in = state.range(0), out = state.range(1);
  bench.ctx().set_compute_dtype(state.range(2) != 0 ? DType::kBF16 : DType::kF32);
  const Tensor x = bench.Random({n, in}), w = bench.Random({out, in}), b = bench.Random({out});
  const Tensor y = bench.Random({n, out}), dy = bench.Random({n, out});
  LinearGradients gradients;
  gradients.dx = bench.Random({n, in});
  gradients.dw = bench.Random({out, in});
  gradients.dbias = bench.Random({out});
  bench.Run(state, backward ? gradients.dw : y, [&] {
    return backward ? LinearBackward(bench.ctx(), x, w, y, dy, Activation::kRelu, gradients)
                    : LinearForward(bench.ctx(), x, w, b, Activation::kRelu, y);
  });
  CountFlops(state, static_cast<double>((backward ? 4 : 2) * n * in * out));
}

void Register() {
  const auto add = [](const std::string& name, void (*body)(benchmark::State&, bool),
                      const std::vector<std::vector<int64_t>>& arguments) {
    for (const bool backward : {false, true}) {
      const std::string full = name + (backward ? "/backward" : "/forward");
      auto* bench = benchmark::RegisterBenchmark(
          full.c_str(), [body, backward](benchmark::State& state) { body(state, backward); });
      bench->Unit(benchmark::kMicrosecond)->UseRealTime();
      for (const auto& argument : arguments) bench->Args(argument);
    }
  };
  add("embedding_bag", EmbeddingBag, {{8, 1}, {16, 1}, {16, 2}, {17, 1}, {64, 1}, {64, 2}});
  add("segment_sum", SegmentSum, {{16, 1}, {16, 2}, {64, 2}});
  add("dot_interaction", DotInteraction, {{16, 1}, {16, 2}, {64, 2}});
  add("fm", Fm, {{16, 1}, {16, 2}});
  add("cross_v2", CrossV2, {{429, 1}, {429, 2}});
  add("rms_norm", RmsNorm, {{64, 1}, {256, 1}, {256, 2}});
  add("rotary_embedding", Rotary, {{64, 1}, {256, 1}, {256, 2}});
  add("dropout_rows", DropoutOfRows, {{64, 1}, {256, 1}, {256, 2}});
  add("linear", Linear,
      {{429, 512, 0, 1},
       {429, 512, 0, 2},
       {429, 512, 1, 1},
       {429, 512, 1, 2},
       {512, 256, 0, 2},
       {512, 256, 1, 2},
       {13, 512, 0, 2},
       {13, 512, 1, 2},
       {256, 1, 0, 2},
       {256, 1, 1, 2}});
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  std::vector<char*> args;
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tiny") == 0) {
      pagoda::g_tiny = true;
    } else {
      args.push_back(argv[i]);
    }
  }
  int count = static_cast<int>(args.size());
  pagoda::Register();
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
