#include "embedding_store/cut_weights.h"

#include <catch2/catch.hpp>
#include <map>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;
using Kind = SparseOptimizerKind;
using Weights = std::map<FeatureId, std::vector<float>>;

// Pushes a few times to the ids that `shard` of `num_shards` owns, and makes a cut.
struct Source {
  std::string cut;
  Weights weights;  // As a pull reads them just before the cut.
};
Source MakeSource(const ScratchDirectory& scratch, const std::string& name,
                  const std::vector<TableOptions>& tables, const std::string& wanted, uint64_t ids,
                  uint32_t shard, uint32_t num_shards) {
  auto store = OpenStore(MakeStore(scratch / ("store-" + name)));
  std::vector<uint32_t> indices;
  for (const TableOptions& table : tables) indices.push_back(OpenTableOf(*store, table));
  for (Step step = 1; step <= 4; ++step) {
    TestPush push;
    push.step = step;
    for (size_t t = 0; t < tables.size(); ++t) {
      TestPush::Part part;
      part.table = indices[t];
      for (FeatureId id = 0; id < ids; ++id) {
        // Rows of different ages.
        if (ShardOf(id, num_shards) != shard || (step > 1 && id % 3 != 0)) continue;
        part.ids.push_back(id);
        for (int64_t d = 0; d < tables[t].dim; ++d) {
          part.gradients.push_back(0.01f * static_cast<float>((id + 7 * d + step) % 11) - 0.05f);
        }
      }
      push.parts.push_back(std::move(part));
    }
    REQUIRE(Apply(*store, push).ok());
  }
  Source source{scratch / name, {}};
  for (size_t t = 0; t < tables.size(); ++t) {
    if (tables[t].name != wanted) continue;
    for (FeatureId id = 0; id < ids; ++id) {
      if (ShardOf(id, num_shards) == shard) source.weights[id] = PullRows(*store, indices[t], {id});
    }
  }
  REQUIRE(store->Cut(source.cut).ok());
  return source;
}

absl::StatusOr<Weights> ReadAll(const CutWeights::Options& options) {
  auto weights = CutWeights::Open(options);
  if (!weights.ok()) return weights.status();
  const auto dim = static_cast<size_t>((*weights)->table().dim);
  Weights rows;
  for (;;) {
    const auto some = (*weights)->Next();
    if (!some.ok()) return some.status();
    REQUIRE(some->slots.empty());
    REQUIRE(some->weights.size() == some->ids.size() * dim);
    if (some->ids.empty()) return rows;
    for (size_t i = 0; i < some->ids.size(); ++i) {
      const float* row = some->weights.data() + i * dim;
      REQUIRE(rows.emplace(some->ids[i], std::vector<float>(row, row + dim)).second);
    }
  }
}

// Every optimizer with slots of another width, and exact ones, whose rows are behind.
TEST_CASE("each shard gets its rows' weights as a pull read them, from any number of cuts") {
  const Kind kind = GENERATE(Kind::kSgd, Kind::kAdagrad, Kind::kAdamW, Kind::kFtrl);
  const bool exact = GENERATE(false, true);
  const uint64_t ids = GENERATE(0, 1, 10001);  // More than Next gives out at once.
  CAPTURE(SparseOptimizerName(kind), exact, ids);
  TableOptions wanted = MakeTable("wanted", 3, kind);
  wanted.optimizer.exact = exact;
  if (kind == Kind::kAdamW) wanted.optimizer.weight_decay = 0.1f;
  const std::vector<TableOptions> tables = {MakeTable("before", 2, Kind::kAdam), wanted,
                                            MakeTable("behind", 1, Kind::kSgd)};
  ScratchDirectory scratch;
  Weights expected;
  CutWeights::Options options;
  options.table = "wanted";
  for (uint32_t shard = 0; shard < 2; ++shard) {
    const Source source =
        MakeSource(scratch, std::to_string(shard), tables, "wanted", ids, shard, 2);
    expected.insert(source.weights.begin(), source.weights.end());
    options.directories.push_back(source.cut);
  }
  for (const uint32_t num_shards : {1, 2, 3}) {
    CAPTURE(num_shards);
    Weights read;
    for (uint32_t shard = 0; shard < num_shards; ++shard) {
      options.shard = shard;
      options.num_shards = num_shards;
      const auto part = ReadAll(options);
      INFO(part.status());
      REQUIRE(part.ok());
      for (const auto& [id, row] : *part) {
        REQUIRE(ShardOf(id, num_shards) == shard);
        REQUIRE(read.emplace(id, row).second);
      }
    }
    REQUIRE(read == expected);
  }
}

TEST_CASE("weights of 16 bits come as the f32 numbers they stand for") {
  TableOptions table = MakeTable("t", 5, Kind::kAdagrad);
  table.precision = GENERATE(RowPrecision::kF16, RowPrecision::kBF16, RowPrecision::kInt8);
  ScratchDirectory scratch;
  const Source source = MakeSource(scratch, "cut", {table}, "t", 100, 0, 1);
  const auto read = ReadAll({nullptr, {source.cut}, "t", 0, 1});
  REQUIRE(read.ok());
  if (table.precision != RowPrecision::kInt8) {
    REQUIRE(*read == source.weights);
    return;
  }
  // On disk there are 8 bits: as a store reads them that is opened on the cut.
  StoreOptions options = MakeStore(source.cut);
  options.read_only = true;
  auto store = OpenStore(options);
  for (const auto& [id, row] : *read) REQUIRE(store->Get(0, id)->weights == row);
}

TEST_CASE("what is not there is refused by name") {
  ScratchDirectory scratch;
  const Source source = MakeSource(scratch, "cut", {MakeTable("t", 2, Kind::kSgd)}, "t", 10, 0, 1);
  const auto message = [](const CutWeights::Options& options) {
    return std::string(CutWeights::Open(options).status().message());
  };
  CHECK_THAT(message({nullptr, {source.cut}, "other", 0, 1}), Contains("no table \"other\""));
  CHECK_THAT(message({nullptr, {scratch / "no"}, "t", 0, 1}), Contains(scratch / "no"));
  CHECK_THAT(message({nullptr, {}, "t", 0, 1}), Contains("no cuts"));
  CHECK_THAT(message({nullptr, {source.cut}, "t", 2, 2}), Contains("shard 2 of 2"));
  CHECK_THAT(message({nullptr, {source.cut, source.cut}, "t", 0, 1}), Contains("both hold row"));
}

}  // namespace
}  // namespace pagoda
