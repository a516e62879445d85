#include "embedding_store/shard_restore.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "base/hash.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;
namespace stdfs = std::filesystem;

constexpr uint64_t kIdRange = 4000;

TableOptions MakeExact(const std::string& name, int64_t dim, Kind kind) {
  TableOptions table = MakeTable(name, dim, kind);
  table.optimizer.exact = true;
  table.optimizer.weight_decay = 0.01f;
  return table;
}

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = {
      MakeTable("a", 8, Kind::kAdagrad), MakeTable("b", 3, Kind::kAdam),
      MakeTable("c", 5, Kind::kFtrl), MakeExact("d", 4, Kind::kAdam),
      MakeExact("e", 3, Kind::kMomentum)};
  return tables;
}

// A job's shards. Tables may stand in another order in each.
class Shards {
 public:
  Shards(const ScratchDirectory& scratch, const std::string& name, uint32_t count)
      : scratch_(scratch), name_(name) {
    for (uint32_t s = 0; s < count; ++s) stores_.push_back(OpenStore(MakeStore(PathOf(s))));
  }
  std::string PathOf(size_t shard) const {
    return scratch_ / (name_ + "-" + std::to_string(shard));
  }
  uint32_t count() const { return static_cast<uint32_t>(stores_.size()); }
  EmbeddingStore& store(size_t shard) { return *stores_[shard]; }

  void Reopen(size_t shard) {
    stores_[shard].reset();
    stores_[shard] = OpenStore(MakeStore(PathOf(shard)));
  }
  // As kill -9 would leave it: no last flush.
  void Kill(size_t shard) {
    const std::string copy = PathOf(shard) + "-killed";
    stdfs::copy(PathOf(shard), copy, stdfs::copy_options::recursive);
    stores_[shard].reset();
    stdfs::remove_all(PathOf(shard));
    stdfs::rename(copy, PathOf(shard));
    stores_[shard] = OpenStore(MakeStore(PathOf(shard)));
  }

  // `rotate` is the first table that shard 0 opens; shard 1 begins one later.
  void OpenTables(size_t rotate) {
    index_.assign(stores_.size(), {});
    for (size_t s = 0; s < stores_.size(); ++s) {
      for (size_t t = 0; t < Tables().size(); ++t) {
        const TableOptions& table = Tables()[(t + rotate + s) % Tables().size()];
        index_[s][table.name] = OpenTableOf(*stores_[s], table);
      }
    }
  }
  void Push(uint64_t number) {
    const TestPush whole = RandomPush(Tables(), 5, number, 150, kIdRange);
    for (uint32_t s = 0; s < count(); ++s) {
      TestPush mine;
      mine.step = whole.step;
      mine.learning_rate_factor = whole.learning_rate_factor;
      for (const TestPush::Part& part : whole.parts) {
        const auto dim = static_cast<size_t>(Tables()[part.table].dim);
        TestPush::Part split;
        split.table = index_[s].at(Tables()[part.table].name);
        for (size_t i = 0; i < part.ids.size(); ++i) {
          if (ShardOf(part.ids[i], count()) != s) continue;
          split.ids.push_back(part.ids[i]);
          split.gradients.insert(split.gradients.end(),
                                 part.gradients.begin() + static_cast<ptrdiff_t>(i * dim),
                                 part.gradients.begin() + static_cast<ptrdiff_t>((i + 1) * dim));
        }
        mine.parts.push_back(std::move(split));
      }
      const absl::Status status = Apply(*stores_[s], mine);
      INFO(status);
      REQUIRE(status.ok());
    }
  }
  std::vector<std::string> Cut(const std::string& cut) {
    std::vector<std::string> cuts;
    for (size_t s = 0; s < stores_.size(); ++s) {
      cuts.push_back(scratch_ / (name_ + "-" + cut + "-" + std::to_string(s)));
      REQUIRE(stores_[s]->Cut(cuts.back()).ok());
    }
    return cuts;
  }
  void RestoreFrom(const std::vector<std::string>& cuts) {
    for (uint32_t s = 0; s < count(); ++s) {
      const absl::Status status = stores_[s]->RestoreShard({cuts, s, count()}, "");
      INFO(status);
      REQUIRE(status.ok());
    }
  }
  // What every id of a table reads as.
  std::vector<float> Weights(const std::string& table) {
    std::vector<std::vector<FeatureId>> ids(stores_.size());
    for (uint64_t n = 0; n < kIdRange; ++n) {
      const FeatureId id = MixBits(n);  // As RandomPush makes them.
      ids[ShardOf(id, count())].push_back(id);
    }
    std::map<FeatureId, std::vector<float>> rows;
    for (size_t s = 0; s < stores_.size(); ++s) {
      const std::vector<float> pulled = PullRows(*stores_[s], index_[s].at(table), ids[s]);
      const size_t dim = ids[s].empty() ? 0 : pulled.size() / ids[s].size();
      for (size_t i = 0; i < ids[s].size(); ++i) {
        const auto row = pulled.begin() + static_cast<ptrdiff_t>(i * dim);
        rows[ids[s][i]].assign(row, row + static_cast<ptrdiff_t>(dim));
      }
    }
    std::vector<float> all;
    for (const auto& [id, row] : rows) all.insert(all.end(), row.begin(), row.end());
    return all;
  }
  uint64_t Hash() {
    uint64_t sum = 0;
    for (const auto& store : stores_) sum += HashOfStore(*store);
    return sum;
  }
  uint64_t Rows() {
    uint64_t rows = 0;
    for (const auto& store : stores_) {
      const auto stats = store->Stat();
      REQUIRE(stats.ok());
      for (const StoreTableStat& stat : *stats) rows += stat.rows;
    }
    return rows;
  }

 private:
  const ScratchDirectory& scratch_;
  const std::string name_;
  std::vector<std::unique_ptr<EmbeddingStore>> stores_;
  std::vector<std::map<std::string, uint32_t>> index_;
};

TEST_CASE("moving to another number of shards and 100 more pushes give the bits of staying") {
  struct Move {
    uint32_t from, to;
  };
  const Move move = GENERATE(Move{1, 3}, Move{4, 1}, Move{3, 5}, Move{2, 2}, Move{7, 2});
  CAPTURE(move.from, move.to);
  ScratchDirectory scratch;
  Shards stayed(scratch, "stayed", move.from), from(scratch, "from", move.from),
      to(scratch, "to", move.to);
  stayed.OpenTables(0);
  from.OpenTables(0);
  for (uint64_t n = 1; n <= 40; ++n) {
    stayed.Push(n);
    from.Push(n);
  }
  // What the new shards held before is replaced.
  to.OpenTables(1);
  to.Push(999);
  to.RestoreFrom(from.Cut("cut"));
  CHECK(to.Hash() == stayed.Hash());
  CHECK(to.Rows() == stayed.Rows());
  for (uint32_t s = 0; s < move.to; ++s) {
    CHECK(to.store(s).sequence() == 40);  // Every push of this test touches every shard.
    uint64_t strangers = 0;
    REQUIRE(to.store(s)
                .Scan([&](uint32_t, const StoredRow& row) {
                  strangers += ShardOf(row.id, move.to) != s;
                  return true;
                })
                .ok());
    CHECK(strangers == 0);
  }
  to.OpenTables(2);
  // Rows that no push has touched since are caught up by the steps that moved along.
  for (const char* table : {"a", "d", "e"}) CHECK(to.Weights(table) == stayed.Weights(table));
  for (uint64_t n = 41; n <= 140; ++n) {
    stayed.Push(n);
    to.Push(n);
    // The log of the new shards is replayed onto rows that carry old sequences.
    if (n == 77) to.Kill(0);
    if (n == 99) to.Reopen(move.to - 1);
    if (n == 77 || n == 99) to.OpenTables(2);
  }
  CHECK(to.Hash() == stayed.Hash());
  CHECK(to.Rows() == stayed.Rows());
  for (const char* table : {"a", "d", "e"}) CHECK(to.Weights(table) == stayed.Weights(table));
}

TEST_CASE("cuts in which an exact table has taken other steps do not go together") {
  ScratchDirectory scratch;
  Shards from(scratch, "from", 2), to(scratch, "to", 1);
  from.OpenTables(0);
  to.OpenTables(0);
  for (uint64_t n = 1; n <= 6; ++n) from.Push(n);
  TestPush lone;
  lone.step = 6;
  // Shard 1 opened its tables one later: "d", the fourth, is its third.
  lone.parts.push_back({2, {}, {}});
  REQUIRE(from.store(1).tables()[2].name == "d");
  REQUIRE(Apply(from.store(1), lone).ok());
  const auto cuts = from.Cut("cut");
  const absl::Status status = to.store(0).RestoreShard({cuts, 0, 1}, "");
  CHECK(absl::IsFailedPrecondition(status));
  CHECK_THAT(std::string(status.message()),
             Contains("exact table \"d\" has taken 6 steps in " + cuts[0]) &&
                 Contains("and 7 in " + cuts[1]));
}

TEST_CASE("shards that have pushed unequally go on above the highest sequence") {
  ScratchDirectory scratch;
  Shards from(scratch, "from", 2), stayed(scratch, "stayed", 2), to(scratch, "to", 1);
  for (Shards* shards : {&from, &stayed}) {
    shards->OpenTables(0);
    for (uint64_t n = 1; n <= 5; ++n) shards->Push(n);
    // Shard 1 alone counts on.
    for (int i = 0; i < 30; ++i) REQUIRE(Apply(shards->store(1), {{}, 5, 1.0f}).ok());
  }
  REQUIRE(from.store(0).sequence() == 5);
  REQUIRE(from.store(1).sequence() == 35);
  to.RestoreFrom(from.Cut("cut"));
  CHECK(to.store(0).sequence() == 35);
  to.OpenTables(0);
  for (uint64_t n = 6; n <= 20; ++n) {
    to.Push(n);
    stayed.Push(n);
  }
  to.Kill(0);
  CHECK(to.store(0).sequence() == 50);
  CHECK(to.Hash() == stayed.Hash());
}

TEST_CASE("a source that moves as a whole is linked, not written again") {
  ScratchDirectory scratch;
  Shards from(scratch, "from", 4), to(scratch, "to", 1);
  from.OpenTables(0);
  for (uint64_t n = 1; n <= 20; ++n) from.Push(n);
  const auto cuts = from.Cut("cut");
  to.RestoreFrom(cuts);
  size_t linked = 0;
  for (const std::string& cut : cuts) {
    for (const auto& entry : stdfs::directory_iterator(cut + "/rocksdb")) {
      if (entry.path().extension() != ".sst") continue;
      // The source's own store holds one link, the cut another.
      linked += stdfs::hard_link_count(entry.path()) > 2;
    }
    CHECK(EmbeddingStore::VerifyCut(cut).ok());
  }
  CHECK(linked >= 1);
  CHECK(to.Hash() == from.Hash());
}

TEST_CASE("what cannot be restored is refused by name, and the store stays as it was") {
  ScratchDirectory scratch;
  Shards from(scratch, "from", 2), to(scratch, "to", 1);
  from.OpenTables(0);
  to.OpenTables(0);
  for (uint64_t n = 1; n <= 10; ++n) from.Push(n);
  to.Push(1);
  const uint64_t before = to.Hash();
  const auto cuts = from.Cut("cut");
  auto restore = [&](const ShardSources& sources) {
    const absl::Status status = to.store(0).RestoreShard(sources, "");
    CHECK(to.Hash() == before);
    return status;
  };
  CHECK(absl::IsInvalidArgument(restore({{}, 0, 1})));
  CHECK(absl::IsInvalidArgument(restore({cuts, 1, 1})));
  CHECK(absl::IsNotFound(restore({{cuts[0], scratch / "gone"}, 0, 1})));
  const absl::Status twice = restore({{cuts[0], cuts[0]}, 0, 1});
  CHECK(absl::IsFailedPrecondition(twice));
  CHECK_THAT(std::string(twice.message()), Contains("not shards of one job"));

  auto other = OpenStore(MakeStore(scratch / "other"));
  TableOptions wider = Tables()[1];
  wider.dim = 4;
  OpenTableOf(*other, wider);
  REQUIRE(other->Cut(scratch / "other-cut").ok());
  const absl::Status dim = restore({{cuts[0], scratch / "other-cut"}, 0, 1});
  CHECK(absl::IsFailedPrecondition(dim));
  CHECK_THAT(std::string(dim.message()), Contains("other-cut") && Contains("\"b\""));

  stdfs::resize_file(cuts[1] + "/REGISTRY", 10);
  const absl::Status damaged = restore({cuts, 0, 1});
  CHECK(absl::IsDataLoss(damaged));
  CHECK_THAT(std::string(damaged.message()), Contains(cuts[1] + "/REGISTRY"));
  to.RestoreFrom({cuts[0]});
  CHECK(to.Hash() == HashOfStore(from.store(0)));
}

TEST_CASE("a move is done or not done, wherever the process dies") {
  ScratchDirectory scratch;
  Shards from(scratch, "from", 2);
  from.OpenTables(0);
  for (uint64_t n = 1; n <= 8; ++n) from.Push(n);
  const auto cuts = from.Cut("cut");
  const uint64_t moved = from.Hash();
  uint64_t stayed = 0;
  {
    Shards old(scratch, "old", 1);
    old.OpenTables(0);
    old.Push(100);
    stayed = old.Hash();
  }
  bool done = false;
  int unmoved = 0;
  for (int64_t calls = 0; calls < 100 && !done; ++calls) {
    CAPTURE(calls);
    const std::string path = scratch / ("store" + std::to_string(calls));
    stdfs::copy(scratch / "old-0", path, stdfs::copy_options::recursive);
    FaultyFileSystem fs;
    StoreOptions options = MakeStore(path);
    options.file_system = &fs;
    {
      auto store = OpenStore(options);
      fs.StopAfter(calls);
      done = store->RestoreShard({cuts, 0, 1}, "").ok();
    }
    options.file_system = nullptr;
    auto store = OpenStore(options);
    const uint64_t hash = HashOfStore(*store);
    CHECK((hash == moved || hash == stayed));
    if (done) CHECK(hash == moved);
    unmoved += hash == stayed;
    store.reset();
    stdfs::remove_all(path);
  }
  CHECK(done);
  CHECK(unmoved > 5);
  for (const std::string& cut : cuts) CHECK(EmbeddingStore::VerifyCut(cut).ok());
}

}  // namespace
}  // namespace pagoda
