#include "kernels/segment_sum.h"

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

std::vector<int32_t> OffsetsOf(int64_t num_segments,
                               const std::function<int64_t(int64_t)>& length) {
  std::vector<int32_t> offsets = {0};
  for (int64_t s = 0; s < num_segments; ++s) {
    offsets.push_back(offsets.back() + static_cast<int32_t>(length(s)));
  }
  return offsets;
}

double Scale(SegmentPooling pooling, int32_t count) {
  if (pooling == SegmentPooling::kSum || count == 0) return 1.0;
  return pooling == SegmentPooling::kMean ? 1.0 / count : 1.0 / std::sqrt(double{1.0} * count);
}

void CheckSegments(const std::vector<int32_t>& offsets, int64_t d, SegmentPooling pooling) {
  const int64_t num_segments = static_cast<int64_t>(offsets.size()) - 1;
  const int64_t n = offsets.back();
  const std::vector<float> x = RandomFloats(1, n * d);
  const std::vector<float> old_out = RandomFloats(2, num_segments * d);
  for (const float beta : {0.0f, 1.0f, -0.5f}) {
    CAPTURE(beta);
    const std::vector<float> out = RunEverywhere([&](TestDevice& device) {
      const Tensor to = device.Upload(old_out, {num_segments, d});
      REQUIRE(SegmentSumForward(*device.ctx, device.Upload(x, {n, d}),
                                device.Upload(offsets, {num_segments + 1}), pooling, beta, to)
                  .ok());
      return device.Download(to);
    });
    std::vector<Exact> want(out.size(), Exact{.roundings = 6.0});
    for (size_t s = 0; s + 1 < offsets.size(); ++s) {
      for (size_t c = 0; c < static_cast<size_t>(d); ++c) {
        Exact& to = want[s * static_cast<size_t>(d) + c];
        if (beta != 0.0f) to.Add(double{beta} * old_out[s * static_cast<size_t>(d) + c]);
        for (int32_t i = offsets[s]; i < offsets[s + 1]; ++i) {
          to.Add(Scale(pooling, offsets[s + 1] - offsets[s]) *
                 x[static_cast<size_t>(i) * static_cast<size_t>(d) + c]);
        }
      }
    }
    RequireNear(out, want);
  }

  const float beta = 0.5f;
  const std::vector<float> dx = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(x, {n, d});
    REQUIRE(SegmentSumBackward(*device.ctx, device.Upload(old_out, {num_segments, d}),
                               device.Upload(offsets, {num_segments + 1}), pooling, beta, to)
                .ok());
    return device.Download(to);
  });
  std::vector<Exact> want(dx.size(), Exact{.roundings = 5.0});
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (size_t i = static_cast<size_t>(offsets[s]) * static_cast<size_t>(d);
         i < static_cast<size_t>(offsets[s + 1]) * static_cast<size_t>(d); ++i) {
      want[i].Add(double{beta} * x[i]);
      want[i].Add(Scale(pooling, offsets[s + 1] - offsets[s]) *
                  old_out[s * static_cast<size_t>(d) + i % static_cast<size_t>(d)]);
    }
  }
  RequireNear(dx, want);
}

TEST_CASE("Segments around the length from which a GPU gives them a block of threads") {
  for (const int64_t d : {1, 4, 130}) {
    CheckSegments({0, 255, 511, 768, 768, 2000}, d, SegmentPooling::kSum);  // 255, 256, 257, ...
  }
}

TEST_CASE("segment sum pools every row size") {
  const int64_t d = GENERATE(1, 3, 8, 13, 16, 32, 33, 64, 65);
  const SegmentPooling pooling =
      GENERATE(SegmentPooling::kSum, SegmentPooling::kMean, SegmentPooling::kSqrtN);
  CAPTURE(d, static_cast<int>(pooling));
  CheckSegments(OffsetsOf(1, [](int64_t) { return 1; }), d, pooling);
  CheckSegments(OffsetsOf(203, [](int64_t s) { return (s * 7) % 5; }), d, pooling);
}

TEST_CASE("segment sum accepts nothing, empty segments at both ends, and one long segment") {
  const SegmentPooling pooling = SegmentPooling::kMean;
  CheckSegments({0}, 16, pooling);
  CheckSegments({0, 0, 0}, 16, pooling);
  CheckSegments({0, 0, 5, 5}, 3, pooling);
  CheckSegments({0, 3}, 0, pooling);
  CheckSegments(OffsetsOf(30, [](int64_t s) { return s == 11 ? 20011 : s % 3; }), 16, pooling);
  CheckSegments(OffsetsOf(9001, [](int64_t s) { return s % 2; }), 5, pooling);
}

TEST_CASE("segment sum backward is the slope of forward") {
  const std::vector<int32_t> offsets = {0, 2, 2, 5, 6};
  const SegmentPooling pooling = GENERATE(SegmentPooling::kSum, SegmentPooling::kSqrtN);
  const std::vector<float> weights = RandomFloats(3, 4 * 3);
  TestDevice device;
  const Tensor dx = device.Upload(std::vector<float>(18), {6, 3});
  REQUIRE(SegmentSumBackward(*device.ctx, device.Upload(weights, {4, 3}),
                             device.Upload(offsets, {5}), pooling, 0.0f, dx)
              .ok());
  RequireSlopes(ToDouble(RandomFloats(4, 18)), device.Download(dx),
                [&](const std::vector<double>& x) {
                  double loss = 0.0;
                  for (size_t s = 0; s < 4; ++s) {
                    for (int32_t i = offsets[s]; i < offsets[s + 1]; ++i) {
                      for (size_t c = 0; c < 3; ++c) {
                        loss += weights[s * 3 + c] * Scale(pooling, offsets[s + 1] - offsets[s]) *
                                x[static_cast<size_t>(i) * 3 + c];
                      }
                    }
                  }
                  return loss;
                });
}

TEST_CASE("segment sum refuses operands that do not fit") {
  TestDevice device;
  const Tensor x = device.Upload(std::vector<float>(12), {4, 3});
  const Tensor out = device.Upload(std::vector<float>(6), {2, 3});
  const Tensor offsets = device.Upload(std::vector<int32_t>{0, 1, 4}, {3});
  const auto forward = [&](const Tensor& from, const Tensor& cuts, const Tensor& to) {
    return SegmentSumForward(*device.ctx, from, cuts, SegmentPooling::kSum, 0.0f, to);
  };
  RequireInvalid(forward(x, Tensor(), out), "offsets is absent");
  RequireInvalid(forward(x, offsets, out.Reshape({3, 2})), "out has shape [3, 2]");
  RequireInvalid(forward(x, offsets.Rows(0, 2), out), "offsets has shape [2], expected [3]");
  RequireInvalid(forward(x.Reshape({12}), offsets, out), "x has shape [12]");
  if (GpuUnderTest()) return;  // There the host does not see values.
  RequireInvalid(forward(x.Rows(0, 3), offsets, out), "offsets do not run");
  RequireInvalid(
      SegmentSumBackward(*device.ctx, out, offsets, SegmentPooling::kSum, 0.0f, x.Rows(0, 2)),
      "offsets do not run");
}

}  // namespace
}  // namespace pagoda
