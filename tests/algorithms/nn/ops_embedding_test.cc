#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using Vars = std::vector<Var>;

// Three samples, two features (sum, mean), rows 0..3 of a span; row 2 is unused:
//   sample 0: {0, 1} {1}     sample 1: {} {3, 3, 0}     sample 2: {3} {}
const std::vector<int32_t> kInverse = {0, 1, 1, 3, 3, 0, 3};
const std::vector<int32_t> kOffsets = {0, 2, 3, 3, 6, 7, 7};
const std::vector<int32_t> kOccurrenceOffsets = {0, 2, 4, 4, 7};
const std::vector<int32_t> kOccurrences = {0, 3, 0, 1, 3, 3, 4};
const std::vector<int32_t> kPositions = {0, 5, 1, 2, 3, 4, 6};

Tensor UploadTo(Context& ctx, const std::vector<int32_t>& values) {
  auto tensor = ctx.Upload<int32_t>(values, {static_cast<int64_t>(values.size())});
  REQUIRE(tensor.ok());
  return *tensor;
}

EmbeddingBagIndex BagIndex(Context& ctx) {
  EmbeddingBagIndex index;
  index.batch = 3;
  index.num_features = 2;
  index.inverse = UploadTo(ctx, kInverse);
  index.offsets = UploadTo(ctx, kOffsets);
  index.columns = UploadTo(ctx, {0, 1});
  index.pooling = UploadTo(ctx, {0, 1});
  index.occurrence_offsets = UploadTo(ctx, kOccurrenceOffsets);
  index.occurrence_segments = UploadTo(ctx, kOccurrences);
  return index;
}

TEST_CASE("EmbeddingBag pools the rows of its span and has the gradients of differences") {
  TestDevice device;
  Tape tape(*device.ctx);
  // The span is rows 1..4 of six.
  const Var rows = tape.Leaf(device.Upload<float>({9, 1, 2, 3, 4, 9}, {6, 1}), true);
  const Var y = nn::EmbeddingBag(rows, {1, 4}, BagIndex(*device.ctx));
  const std::vector<float> value = ValueOf(device, y);
  REQUIRE(y.shape() == Shape{3, 2, 1});
  REQUIRE(value[0] == 3.0f);
  REQUIRE(value[1] == 2.0f);
  REQUIRE(value[2] == 0.0f);
  REQUIRE(value[3] == Approx(3.0));  // (4 + 4 + 1) / 3
  REQUIRE(value[4] == 4.0f);
  REQUIRE(value[5] == 0.0f);
  for (int64_t dim : {1, 5}) {
    for (int64_t num_rows : {4, 6}) {  // All rows, or some.
      GradientCheck({{num_rows, dim}}, [&](const Vars& x) {
        return nn::EmbeddingBag(x[0], {num_rows - 4, 4}, BagIndex(x[0].tape().ctx()));
      }).Run();
    }
  }
}

TEST_CASE("two lookups of one group of rows add their gradients") {
  GradientCheck({{6, 3}}, [](const Vars& x) {
    Context& ctx = x[0].tape().ctx();
    return nn::Multiply(nn::EmbeddingBag(x[0], {0, 4}, BagIndex(ctx)),
                        nn::EmbeddingBag(x[0], {2, 4}, BagIndex(ctx)));
  }).Run();
}

TEST_CASE("GatherRows gathers a sequence and has the gradients of differences") {
  for (int64_t first : {0, 2}) {
    GradientCheck({{4 + first, 3}}, [&](const Vars& x) {
      Context& ctx = x[0].tape().ctx();
      return nn::GatherRows(
          x[0], {first, 4},
          {UploadTo(ctx, kInverse), UploadTo(ctx, kOccurrenceOffsets), UploadTo(ctx, kPositions)});
    }).Run();
  }
}

TEST_CASE("SegmentPool pools ragged sequences, empty ones too") {
  const std::vector<int32_t> offsets = {0, 2, 2, 5};
  for (SegmentPooling pooling :
       {SegmentPooling::kSum, SegmentPooling::kMean, SegmentPooling::kSqrtN}) {
    GradientCheck({{5, 3}}, [&](const Vars& x) {
      return nn::SegmentPool(x[0], offsets, pooling);
    }).Run();
  }
  TestDevice device;
  Tape tape(*device.ctx);
  const Var x = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5}, {5, 1}), false);
  REQUIRE(ValueOf(device, nn::SegmentPool(x, offsets, SegmentPooling::kMean)) ==
          std::vector<float>{1.5f, 0.0f, 4.0f});
  const Var none = tape.Leaf(device.Upload<float>({}, {0, 2}), false);
  REQUIRE(ValueOf(device, nn::SegmentPool(none, {0}, SegmentPooling::kSum)).empty());
}

TEST_CASE("row operations refuse what does not fit, by name") {
  RequireOpRefused(
      {{5, 2}},
      [](const Vars& x) {
        return nn::EmbeddingBag(x[0], {2, 4}, BagIndex(x[0].tape().ctx()));
      },
      "rows [2, 6)");
  RequireOpRefused(
      {{5, 2}},
      [](const Vars& x) {
        return nn::SegmentPool(x[0], {0, 4}, SegmentPooling::kSum);
      },
      "offsets");
}

}  // namespace
}  // namespace pagoda
