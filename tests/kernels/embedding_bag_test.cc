#include "kernels/embedding_bag.h"

#include <algorithm>

#include "tests/kernels/operator_harness.h"

namespace pagoda {
namespace {

// Ragged ids of one table on the host, and what PrepareBatch would make of them.
struct HostIndex {
  int64_t batch = 0;
  int64_t num_features = 0;
  int64_t num_unique = 0;
  std::vector<int32_t> inverse, offsets = {0}, columns, pooling;
  std::vector<int32_t> occurrence_offsets = {0}, occurrence_segments;

  // Call when the rest is set.
  void Transpose() {
    std::vector<std::vector<int32_t>> rows(static_cast<size_t>(num_unique));
    for (size_t s = 0; s + 1 < offsets.size(); ++s) {
      for (int32_t i = offsets[s]; i < offsets[s + 1]; ++i) {
        rows[static_cast<size_t>(inverse[static_cast<size_t>(i)])].push_back(
            static_cast<int32_t>(s));
      }
    }
    for (const auto& row : rows) {
      occurrence_segments.insert(occurrence_segments.end(), row.begin(), row.end());
      occurrence_offsets.push_back(static_cast<int32_t>(occurrence_segments.size()));
    }
  }

  EmbeddingBagIndex Upload(TestDevice& device) const {
    const auto size = [](const std::vector<int32_t>& v) {
      return Shape{static_cast<int64_t>(v.size())};
    };
    return {.batch = batch,
            .num_features = num_features,
            .inverse = device.Upload(inverse, size(inverse)),
            .offsets = device.Upload(offsets, size(offsets)),
            .columns = device.Upload(columns, size(columns)),
            .pooling = device.Upload(pooling, size(pooling)),
            .occurrence_offsets = device.Upload(occurrence_offsets, size(occurrence_offsets)),
            .occurrence_segments = device.Upload(occurrence_segments, size(occurrence_segments))};
  }
};

// length(segment) values per segment, rows drawn at random among all but every
// seventh, which stays unused.
HostIndex MakeIndex(uint64_t seed, int64_t batch, std::vector<int32_t> columns,
                    std::vector<int32_t> pooling, int64_t num_unique,
                    const std::function<int64_t(int64_t)>& length) {
  HostIndex index;
  index.batch = batch;
  index.num_features = static_cast<int64_t>(columns.size());
  index.num_unique = num_unique;
  index.columns = std::move(columns);
  index.pooling = std::move(pooling);
  for (int64_t s = 0; s < batch * index.num_features; ++s) {
    for (int64_t k = length(s); k > 0; --k) {
      const uint64_t draw =
          RandomBelow(RandomKey{seed}, index.inverse.size(), static_cast<uint64_t>(num_unique));
      index.inverse.push_back(static_cast<int32_t>(draw % 7 == 6 ? draw - 1 : draw));
    }
    index.offsets.push_back(static_cast<int32_t>(index.inverse.size()));
  }
  index.Transpose();
  return index;
}

double Scale(int32_t pooling, int64_t count) {
  if (count == 0 || pooling == 0) return 1.0;
  return pooling == 1 ? 1.0 / static_cast<double>(count)
                      : 1.0 / std::sqrt(static_cast<double>(count));
}

// Adds the table's part of the output in double.
void OracleForward(const HostIndex& index, const std::vector<double>& rows, int64_t dim,
                   int64_t total, std::vector<Exact>& out) {
  for (int64_t s = 0; s < index.batch * index.num_features; ++s) {
    const size_t k = static_cast<size_t>(s % index.num_features);
    const int32_t begin = index.offsets[static_cast<size_t>(s)];
    const int32_t end = index.offsets[static_cast<size_t>(s) + 1];
    const double scale = Scale(index.pooling[k], end - begin);
    for (int64_t c = 0; c < dim; ++c) {
      Exact& to =
          out[static_cast<size_t>((s / index.num_features * total + index.columns[k]) * dim + c)];
      to = Exact{.roundings = 5.0};
      for (int32_t i = begin; i < end; ++i) {
        to.Add(scale * rows[static_cast<size_t>(index.inverse[static_cast<size_t>(i)] * dim + c)]);
      }
    }
  }
}

std::vector<Exact> OracleBackward(const HostIndex& index, const std::vector<float>& dout,
                                  int64_t dim, int64_t total, float beta,
                                  const std::vector<float>& old) {
  std::vector<Exact> drows(old.size(), Exact{.roundings = 6.0});
  for (size_t i = 0; i < old.size(); ++i) {
    if (beta != 0.0f) drows[i].Add(double{beta} * old[i]);
  }
  for (int64_t s = 0; s < index.batch * index.num_features; ++s) {
    const size_t k = static_cast<size_t>(s % index.num_features);
    const int32_t begin = index.offsets[static_cast<size_t>(s)];
    const int32_t end = index.offsets[static_cast<size_t>(s) + 1];
    for (int32_t i = begin; i < end; ++i) {
      for (int64_t c = 0; c < dim; ++c) {
        const int64_t from = (s / index.num_features * total + index.columns[k]) * dim + c;
        drows[static_cast<size_t>(index.inverse[static_cast<size_t>(i)] * dim + c)].Add(
            Scale(index.pooling[k], end - begin) * dout[static_cast<size_t>(from)]);
      }
    }
  }
  return drows;
}

// Two tables side by side, columns interleaved; one column belongs to neither.
struct Lookup {
  int64_t batch, dim;
  int64_t total = 4;
  HostIndex a, b;
  std::vector<float> rows_a, rows_b;
};

Lookup MakeLookup(int64_t batch, int64_t dim, const std::function<int64_t(int64_t)>& length) {
  Lookup lookup{.batch = batch, .dim = dim, .a = {}, .b = {}, .rows_a = {}, .rows_b = {}};
  lookup.a = MakeIndex(11, batch, {3, 0}, {1, 2}, 50, length);
  lookup.b = MakeIndex(12, batch, {2}, {0}, 9, [&](int64_t s) { return length(s + 1); });
  lookup.rows_a = RandomFloats(13, 50 * dim);
  lookup.rows_b = RandomFloats(14, 9 * dim);
  return lookup;
}

void CheckLookup(const Lookup& lookup) {
  const Shape out_shape = {lookup.batch, lookup.total, lookup.dim};
  const int64_t out_size = NumElements(out_shape);
  const std::vector<float> before = RandomFloats(15, out_size);

  const std::vector<float> out = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(before, out_shape);
    REQUIRE(EmbeddingBagForward(*device.ctx, device.Upload(lookup.rows_a, {50, lookup.dim}),
                                lookup.a.Upload(device), to)
                .ok());
    REQUIRE(EmbeddingBagForward(*device.ctx, device.Upload(lookup.rows_b, {9, lookup.dim}),
                                lookup.b.Upload(device), to)
                .ok());
    return device.Download(to);
  });
  std::vector<Exact> want(out.size());
  for (size_t i = 0; i < out.size(); ++i) want[i].Add(before[i]);  // Column 1 is not touched.
  OracleForward(lookup.a, ToDouble(lookup.rows_a), lookup.dim, lookup.total, want);
  OracleForward(lookup.b, ToDouble(lookup.rows_b), lookup.dim, lookup.total, want);
  RequireNear(out, want);

  const std::vector<float> dout = RandomFloats(16, out_size);
  for (const float beta : {0.0f, 1.0f, 0.5f}) {
    CAPTURE(beta);
    const std::vector<float> drows = RunEverywhere([&](TestDevice& device) {
      const Tensor from = device.Upload(dout, out_shape);
      const Tensor a = device.Upload(lookup.rows_a, {50, lookup.dim});
      const Tensor b = device.Upload(lookup.rows_b, {9, lookup.dim});
      REQUIRE(EmbeddingBagBackward(*device.ctx, from, lookup.a.Upload(device), beta, a).ok());
      REQUIRE(EmbeddingBagBackward(*device.ctx, from, lookup.b.Upload(device), beta, b).ok());
      std::vector<float> both = device.Download(a);
      const std::vector<float> second = device.Download(b);
      both.insert(both.end(), second.begin(), second.end());
      return both;
    });
    std::vector<Exact> gradient =
        OracleBackward(lookup.a, dout, lookup.dim, lookup.total, beta, lookup.rows_a);
    const std::vector<Exact> second =
        OracleBackward(lookup.b, dout, lookup.dim, lookup.total, beta, lookup.rows_b);
    gradient.insert(gradient.end(), second.begin(), second.end());
    RequireNear(drows, gradient);
  }
}

TEST_CASE("embedding bag pools every row size, with single, empty and many-valued segments") {
  const int64_t dim = GENERATE(1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 32, 33, 64, 100);
  const int64_t batch = GENERATE(1, 7, 131);
  CAPTURE(dim, batch);
  CheckLookup(MakeLookup(batch, dim, [](int64_t s) { return s % 4; }));
  CheckLookup(MakeLookup(batch, dim, [](int64_t) { return int64_t{1}; }));
}

TEST_CASE("embedding bag accepts an empty batch, and a batch of empty segments") {
  CheckLookup(MakeLookup(0, 16, [](int64_t) { return int64_t{1}; }));
  CheckLookup(MakeLookup(5, 16, [](int64_t) { return int64_t{0}; }));
  CheckLookup(MakeLookup(5, 0, [](int64_t) { return int64_t{1}; }));
}

TEST_CASE("embedding bag spreads a very long segment and a very frequent row") {
  CheckLookup(MakeLookup(300, 16, [](int64_t s) { return s == 77 ? 10001 : s % 2; }));
  // With one table row, row 0 has all occurrences.
  Lookup lookup = MakeLookup(9000, 3, [](int64_t) { return int64_t{1}; });
  for (HostIndex* index : {&lookup.a, &lookup.b}) {
    std::fill(index->inverse.begin(), index->inverse.end(), 0);
    index->occurrence_offsets = {0};
    index->occurrence_segments.clear();
    index->Transpose();
  }
  CheckLookup(lookup);
}

TEST_CASE("embedding bag whose features fill the output in order") {
  const int64_t dim = GENERATE(3, 16);
  const int32_t pooling = GENERATE(0, 1);
  const int64_t batch = 301, total = 3;
  const HostIndex index = MakeIndex(51, batch, {0, 1, 2}, {0, pooling, 0}, 40,
                                    [](int64_t s) { return s % 5 == 0 ? 2 : 1; });
  const std::vector<float> rows = RandomFloats(52, 40 * dim);
  const std::vector<float> dout = RandomFloats(53, batch * total * dim);
  const std::vector<float> drows = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(rows, {40, dim});
    REQUIRE(EmbeddingBagBackward(*device.ctx, device.Upload(dout, {batch, total, dim}),
                                 index.Upload(device), 1.0f, to)
                .ok());
    return device.Download(to);
  });
  RequireNear(drows, OracleBackward(index, dout, dim, total, 1.0f, rows));
}

TEST_CASE("embedding bag backward is the slope of forward") {
  const int64_t dim = 5;
  const Lookup lookup = MakeLookup(11, dim, [](int64_t s) { return s % 3; });
  const std::vector<float> weights = RandomFloats(21, 11 * lookup.total * dim);
  TestDevice device;
  const Tensor drows = device.Upload(std::vector<float>(50 * dim), {50, dim});
  REQUIRE(EmbeddingBagBackward(*device.ctx, device.Upload(weights, {11, lookup.total, dim}),
                               lookup.a.Upload(device), 0.0f, drows)
              .ok());
  RequireSlopes(ToDouble(lookup.rows_a), device.Download(drows),
                [&](const std::vector<double>& rows) {
                  std::vector<Exact> out(weights.size());
                  OracleForward(lookup.a, rows, dim, lookup.total, out);
                  double loss = 0.0;
                  for (size_t i = 0; i < out.size(); ++i) loss += weights[i] * out[i].value;
                  return loss;
                });
}

TEST_CASE("gather copies rows, and its backward adds them up in order") {
  const int64_t dim = GENERATE(0, 1, 5, 8, 16, 32, 64, 67);
  const int64_t nnz = GENERATE(0, 1, 5003);
  CAPTURE(dim, nnz);
  // One feature, one value per segment: segments are positions.
  const HostIndex index = MakeIndex(31, nnz, {0}, {0}, 101, [](int64_t) { return int64_t{1}; });
  const std::vector<float> rows = RandomFloats(32, 101 * dim);
  const std::vector<float> out = RunEverywhere([&](TestDevice& device) {
    const Tensor to = device.Upload(std::vector<float>(static_cast<size_t>(nnz * dim)), {nnz, dim});
    REQUIRE(
        GatherRows(*device.ctx, device.Upload(rows, {101, dim}), index.Upload(device).inverse, to)
            .ok());
    return device.Download(to);
  });
  for (int64_t i = 0; i < nnz * dim; ++i) {
    const int32_t row = index.inverse[static_cast<size_t>(i / dim)];
    REQUIRE(out[static_cast<size_t>(i)] == rows[static_cast<size_t>(row * dim + i % dim)]);
  }

  const std::vector<float> dout = RandomFloats(33, nnz * dim);
  for (const float beta : {0.0f, 1.0f}) {
    const std::vector<float> drows = RunEverywhere([&](TestDevice& device) {
      const EmbeddingBagIndex on_device = index.Upload(device);
      const Tensor to = device.Upload(rows, {101, dim});
      REQUIRE(GatherRowsBackward(*device.ctx, device.Upload(dout, {nnz, dim}),
                                 on_device.occurrence_offsets, on_device.occurrence_segments, beta,
                                 to)
                  .ok());
      return device.Download(to);
    });
    RequireNear(drows, OracleBackward(index, dout, dim, 1, beta, rows));
  }
}

TEST_CASE("embedding bag refuses operands that do not fit, before the first write") {
  TestDevice device;
  const Lookup lookup = MakeLookup(3, 4, [](int64_t) { return int64_t{1}; });
  const Tensor rows = device.Upload(lookup.rows_a, {50, 4});
  const std::vector<float> before = RandomFloats(41, 3 * 4 * 4);
  const Tensor out = device.Upload(before, {3, 4, 4});
  const EmbeddingBagIndex good = lookup.a.Upload(device);
  const auto forward = [&](const Tensor& from, const EmbeddingBagIndex& index, const Tensor& to) {
    return EmbeddingBagForward(*device.ctx, from, index, to);
  };
  RequireInvalid(forward(Tensor(), good, out), "rows is absent");
  RequireInvalid(forward(rows.Reshape({40, 5}), good, out), "rows has shape [40, 5]");
  RequireInvalid(forward(rows, good, out.Reshape({3, 16})), "out has shape [3, 16]");
  RequireInvalid(forward(rows, good, out.Reshape({4, 3, 4})), "batch");
  EmbeddingBagIndex bad = good;
  bad.offsets = good.offsets.Rows(0, 6);
  RequireInvalid(forward(rows, bad, out), "offsets has shape [6], expected [7]");
  bad = good;
  if (!GpuUnderTest()) {  // There the host does not see values.
    bad.inverse = good.inverse.Rows(0, 5);
    RequireInvalid(forward(rows, bad, out), "offsets do not run from 0");
    bad = good;
    bad.columns = device.Upload(std::vector<int32_t>{0, 4}, {2});
    RequireInvalid(forward(rows, bad, out), "columns");
    bad.columns = device.Upload(std::vector<int32_t>{-1, 0}, {2});
    RequireInvalid(forward(rows, bad, out), "columns");
    bad = good;
    bad.pooling = device.Upload(std::vector<int32_t>{3, 0}, {2});
    RequireInvalid(forward(rows, bad, out), "pooling");
  }
  bad = good;
  bad.inverse = device.Upload(std::vector<float>(6), {6});
  RequireInvalid(forward(rows, bad, out), "inverse has type f32");
  REQUIRE(SameBits(device.Download(out), before));

  bad = good;
  bad.occurrence_offsets = good.occurrence_offsets.Rows(0, 50);
  RequireInvalid(EmbeddingBagBackward(*device.ctx, out, bad, 0.0f, rows), "occurrence_offsets");
  bad = good;
  bad.occurrence_segments = Tensor();
  RequireInvalid(EmbeddingBagBackward(*device.ctx, out, bad, 0.0f, rows), "occurrence_segments");
  REQUIRE(SameBits(device.Download(rows), lookup.rows_a));

  const Tensor gathered = device.Upload(std::vector<float>(24), {6, 4});
  RequireInvalid(GatherRows(*device.ctx, rows, good.inverse, gathered.Reshape({4, 6})), "out");
  RequireInvalid(GatherRows(*device.ctx, rows, good.offsets, gathered), "out");
  RequireInvalid(GatherRowsBackward(*device.ctx, gathered, good.offsets, good.inverse, 0.0f, rows),
                 "occurrence_offsets");
}

}  // namespace
}  // namespace pagoda
