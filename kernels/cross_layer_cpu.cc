// Cross layers on the host. Contract: cross_layer.h.
//
// v2 is element-wise and memory-bound: forward moves 4 operands, backward up to 9,
// of 4 * n * d bytes. v1 needs a dot product per row first; the row is then in
// cache. dw and db are sums over rows: each piece of rows sums its own, and the
// pieces are added in order.
// Gradients may share memory (x0 is x in a first layer), so each one is read,
// added to and written before the next.
#include "kernels/cross_layer.h"

#include <algorithm>
#include <vector>

#include "kernels/check.h"
#include "kernels/chunks.h"
#include "kernels/cross_layer_gpu.h"
#include "kernels/dispatch.h"
#include "kernels/vector_lanes.h"

namespace pagoda {
namespace {

// A gradient to write, or none.
struct Target {
  float* data = nullptr;
  float beta = 1.0f;
};

Target TargetOf(const Tensor& tensor, float beta) {
  return {tensor.data<float>(), beta};
}

struct CrossV1Args {
  const float* x0;  // [n, d]
  const float* x;   // [n, d]
  const float* w;   // [d]
  const float* b;   // [d]
  float* y;         // [n, d]; the gradient in backward
  float* xw;        // [n]
  Target dx0;       // [n, d]
  Target dx;        // [n, d]
  Target dw;        // [d] partial sum of the piece
  Target db;        // [d] partial sum of the piece
  int64_t d;
};

// <p, q> of d elements; one sum per lane, then across lanes.
template <int kLanes>
PAGODA_INLINE float Dot(const float* p, const float* q, int64_t d) {
  float total = 0.0f;
  Lanes<kLanes> sum = {};
  int64_t c = 0;
  for (; c + kLanes <= d; c += kLanes) sum += *At<kLanes>(p + c) * *At<kLanes>(q + c);
  for (; c < d; ++c) total += p[c] * q[c];
  return total + SumOfLanes<kLanes>(sum);
}

template <int kWidth>
PAGODA_INLINE void AddTo(const Target& to, int64_t i, const Lanes<kWidth>& value) {
  if (to.data != nullptr) Accumulate<kWidth>(to.beta, value, to.data + i);
}

template <int kLanes>
PAGODA_INLINE void CrossV1ForwardRows(const CrossV1Args& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const float* x0 = a.x0 + i * a.d;
    const float* x = a.x + i * a.d;
    float* y = a.y + i * a.d;
    const float xw = Dot<kLanes>(x, a.w, a.d);
    a.xw[i] = xw;
    ForEachColumnBlock<kLanes>(
        0, a.d, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
          constexpr int kWidth = decltype(lanes)::value;
          *At<kWidth>(y + c) = *At<kWidth>(x0 + c) * xw + *At<kWidth>(a.b + c) + *At<kWidth>(x + c);
        });
  }
}
PAGODA_VECTOR_VERSIONS(CrossV1ForwardRows, CrossV1Args)

template <int kLanes>
PAGODA_INLINE void CrossV1BackwardRows(const CrossV1Args& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = i * a.d;
    const float dxw = Dot<kLanes>(a.y + row, a.x0 + row, a.d);
    const float xw = a.xw[i];
    ForEachColumnBlock<kLanes>(
        0, a.d, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
          constexpr int kWidth = decltype(lanes)::value;
          const Lanes<kWidth> dy = *At<kWidth>(a.y + row + c);
          AddTo<kWidth>(a.dw, c, *At<kWidth>(a.x + row + c) * dxw);
          AddTo<kWidth>(a.db, c, dy);
          AddTo<kWidth>(a.dx0, row + c, dy * xw);
          AddTo<kWidth>(a.dx, row + c, dy + *At<kWidth>(a.w + c) * dxw);
        });
  }
}
PAGODA_VECTOR_VERSIONS(CrossV1BackwardRows, CrossV1Args)

struct CrossV2Args {
  const float* x0;
  const float* u;
  const float* x;  // Forward only.
  float* y;        // The gradient in backward.
  Target dx0;
  Target du;
  Target dx;
};

template <int kLanes>
PAGODA_INLINE void CrossV2ForwardRange(const CrossV2Args& a, int64_t begin, int64_t end) {
  ForEachColumnBlock<kLanes>(
      begin, end, [&](auto lanes, int64_t i) __attribute__((always_inline)) {
        constexpr int kWidth = decltype(lanes)::value;
        *At<kWidth>(a.y + i) = *At<kWidth>(a.x0 + i) * *At<kWidth>(a.u + i) + *At<kWidth>(a.x + i);
      });
}
PAGODA_VECTOR_VERSIONS(CrossV2ForwardRange, CrossV2Args)

template <int kLanes>
PAGODA_INLINE void CrossV2BackwardRange(const CrossV2Args& a, int64_t begin, int64_t end) {
  ForEachColumnBlock<kLanes>(
      begin, end, [&](auto lanes, int64_t i) __attribute__((always_inline)) {
        constexpr int kWidth = decltype(lanes)::value;
        const Lanes<kWidth> dy = *At<kWidth>(a.y + i);
        AddTo<kWidth>(a.dx0, i, dy * *At<kWidth>(a.u + i));
        AddTo<kWidth>(a.du, i, dy * *At<kWidth>(a.x0 + i));
        AddTo<kWidth>(a.dx, i, dy);
      });
}
PAGODA_VECTOR_VERSIONS(CrossV2BackwardRange, CrossV2Args)

// into[c] = beta * into[c] + the partial sums of all pieces, in piece order.
void AddPartials(const std::vector<float>& partials, int64_t d, float beta, const Tensor& into) {
  if (into.absent()) return;
  float* to = into.data<float>();
  for (int64_t c = 0; c < d; ++c) to[c] = beta == 0.0f ? 0.0f : beta * to[c];
  const int64_t num_pieces = static_cast<int64_t>(partials.size()) / std::max<int64_t>(d, 1);
  for (int64_t piece = 0; piece < num_pieces; ++piece) {
    for (int64_t c = 0; c < d; ++c) to[c] += partials[static_cast<size_t>(piece * d + c)];
  }
}

}  // namespace

absl::Status CrossV1Forward(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                            const Tensor& b, const Tensor& y, const Tensor& xw) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "CrossV1Forward");
  if (!check.Rank("x0", x0, 2).ok()) return check.status();
  const int64_t n = x0.dim(0);
  const int64_t d = x0.dim(1);
  check.Has("x", x, {n, d})
      .Has("w", w, {d})
      .Has("b", b, {d})
      .Has("y", y, {n, d})
      .Has("xw", xw, {n});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, CrossV1ForwardGpu(ctx, x0, x, w, b, y, xw));
  CrossV1Args args = {};
  args.x0 = x0.data<float>();
  args.x = x.data<float>();
  args.w = w.data<float>();
  args.b = b.data<float>();
  args.y = y.data<float>();
  args.xw = xw.data<float>();
  args.d = d;
  ForChunks(ctx, n, RowsPerChunk(d),
            [&](int64_t, int64_t begin, int64_t end) { RunCrossV1ForwardRows(args, begin, end); });
  return absl::OkStatus();
}

absl::Status CrossV1Backward(Context& ctx, const Tensor& x0, const Tensor& x, const Tensor& w,
                             const Tensor& xw, const Tensor& dy,
                             const CrossV1Gradients& gradients) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "CrossV1Backward");
  if (!check.Rank("x0", x0, 2).ok()) return check.status();
  const int64_t n = x0.dim(0);
  const int64_t d = x0.dim(1);
  check.Has("x", x, {n, d}).Has("w", w, {d}).Has("xw", xw, {n}).Has("dy", dy, {n, d});
  check.HasOrAbsent("dx0", gradients.dx0, {n, d}).HasOrAbsent("dx", gradients.dx, {n, d});
  check.HasOrAbsent("dw", gradients.dw, {d}).HasOrAbsent("db", gradients.db, {d});
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, CrossV1BackwardGpu(ctx, x0, x, w, xw, dy, gradients));
  CrossV1Args args = {};
  args.x0 = x0.data<float>();
  args.x = x.data<float>();
  args.w = w.data<float>();
  args.y = dy.data<float>();
  args.xw = xw.data<float>();
  args.dx0 = TargetOf(gradients.dx0, gradients.beta_dx0);
  args.dx = TargetOf(gradients.dx, gradients.beta_dx);
  args.d = d;
  const int64_t rows = std::min(RowsPerChunk(d), kReduceRows);
  const size_t partial_size = static_cast<size_t>(NumChunks(n, rows) * d);
  std::vector<float> dw(gradients.dw.absent() ? 0 : partial_size);
  std::vector<float> db(gradients.db.absent() ? 0 : partial_size);
  ForChunks(ctx, n, rows, [&](int64_t piece, int64_t begin, int64_t end) {
    CrossV1Args mine = args;
    mine.dw.data = dw.empty() ? nullptr : dw.data() + piece * d;
    mine.db.data = db.empty() ? nullptr : db.data() + piece * d;
    RunCrossV1BackwardRows(mine, begin, end);
  });
  AddPartials(dw, d, gradients.beta_dw, gradients.dw);
  AddPartials(db, d, gradients.beta_db, gradients.db);
  return absl::OkStatus();
}

absl::Status CrossV2Forward(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& x,
                            const Tensor& y) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "CrossV2Forward");
  if (!check.Rank("x0", x0, 2).ok()) return check.status();
  check.Has("u", u, x0.shape()).Has("x", x, x0.shape()).Has("y", y, x0.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, CrossV2ForwardGpu(ctx, x0, u, x, y));
  CrossV2Args args = {};
  args.x0 = x0.data<float>();
  args.u = u.data<float>();
  args.x = x.data<float>();
  args.y = y.data<float>();
  ForChunks(ctx, x0.size(), kChunkElements,
            [&](int64_t, int64_t begin, int64_t end) { RunCrossV2ForwardRange(args, begin, end); });
  return absl::OkStatus();
}

absl::Status CrossV2Backward(Context& ctx, const Tensor& x0, const Tensor& u, const Tensor& dy,
                             const CrossV2Gradients& gradients) {
  KernelScope scope(ctx);
  ArgumentCheck check(ctx, "CrossV2Backward");
  if (!check.Rank("x0", x0, 2).ok()) return check.status();
  check.Has("u", u, x0.shape()).Has("dy", dy, x0.shape());
  check.HasOrAbsent("dx0", gradients.dx0, x0.shape()).HasOrAbsent("du", gradients.du, x0.shape());
  check.HasOrAbsent("dx", gradients.dx, x0.shape());
  if (!check.ok()) return check.status();
  PAGODA_ON_GPU(ctx, CrossV2BackwardGpu(ctx, x0, u, dy, gradients));
  CrossV2Args args = {};
  args.x0 = x0.data<float>();
  args.u = u.data<float>();
  args.y = dy.data<float>();
  args.dx0 = TargetOf(gradients.dx0, gradients.beta_dx0);
  args.du = TargetOf(gradients.du, gradients.beta_du);
  args.dx = TargetOf(gradients.dx, gradients.beta_dx);
  ForChunks(ctx, x0.size(), kChunkElements, [&](int64_t, int64_t begin, int64_t end) {
    RunCrossV2BackwardRange(args, begin, end);
  });
  return absl::OkStatus();
}

}  // namespace pagoda
