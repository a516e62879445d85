#include "embedding_store/cut_rows.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <tuple>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;
using Seen = std::tuple<uint32_t, std::string, FeatureId>;  // Bucket, table, id.

TableOptions Table(const std::string& name) {
  return MakeTable(name, 2, Kind::kAdagrad);
}

// A cut of a store with these tables in this order, each with the ids of `ids` that
// `mine` takes.
void MakeCut(const ScratchDirectory& scratch, const std::string& name,
             const std::vector<std::string>& tables, uint64_t ids,
             const std::function<bool(FeatureId)>& mine) {
  auto store = OpenStore(MakeStore(scratch / ("store-" + name)));
  TestPush push;
  for (const std::string& table : tables) {
    TestPush::Part part;
    part.table = OpenTableOf(*store, Table(table));
    for (FeatureId id = 0; id < ids; ++id) {
      if (mine(id)) part.ids.push_back(id);
    }
    part.gradients.assign(part.ids.size() * 2, 1.0f);
    push.parts.push_back(std::move(part));
  }
  push.step = 1;
  REQUIRE(Apply(*store, push).ok());
  REQUIRE(store->Cut(scratch / name).ok());
}

std::vector<Seen> Walk(CutRows& rows) {
  std::vector<Seen> seen;
  RowKey last;
  while (rows.valid()) {
    if (!seen.empty()) REQUIRE(last < rows.key());
    last = rows.key();
    seen.emplace_back(last.bucket, rows.tables().at(last.table).name, last.id);
    REQUIRE_FALSE(rows.value().empty());
    REQUIRE(rows.Next().ok());
  }
  return seen;
}

TEST_CASE("several cuts with tables in any order are one sorted sequence") {
  ScratchDirectory scratch;
  MakeCut(scratch, "even", {"a", "b", "c"}, 500, [](FeatureId id) { return id % 2 == 0; });
  MakeCut(scratch, "odd", {"c", "a", "d"}, 500, [](FeatureId id) { return id % 2 == 1; });
  std::set<Seen> expected;
  for (FeatureId id = 0; id < 500; ++id) {
    for (const char* table : {"a", id % 2 == 0 ? "b" : "d", "c"}) {
      expected.insert({BucketOf(id), table, id});
    }
  }
  CutRows::Options options;
  options.directories = {scratch / "even", scratch / "odd"};
  for (const bool swapped : {false, true}) {
    CAPTURE(swapped);
    if (swapped) std::swap(options.directories[0], options.directories[1]);
    auto rows = CutRows::Open(options);
    INFO(rows.status());
    REQUIRE(rows.ok());
    CHECK((*rows)->tables().size() == 4);
    CHECK((*rows)->tables()[0].name == (swapped ? "c" : "a"));
    CHECK((*rows)->sequence() == 1);
    const std::vector<Seen> seen = Walk(**rows);
    CHECK(std::set<Seen>(seen.begin(), seen.end()) == expected);
    CHECK(seen.size() == expected.size());
    // Seeking to any row, and just behind it, finds what walking found.
    REQUIRE((*rows)->Seek(RowKey{0, 0, 0}).ok());
    std::vector<RowKey> keys;
    while ((*rows)->valid()) {
      keys.push_back((*rows)->key());
      REQUIRE((*rows)->Next().ok());
    }
    for (size_t i = 0; i < keys.size(); i += 7) {
      REQUIRE((*rows)->Seek(keys[i]).ok());
      CHECK((*rows)->key() == keys[i]);
      REQUIRE((*rows)->Seek(RowKey{keys[i].bucket, keys[i].table, keys[i].id + 1}).ok());
      CHECK((*rows)->valid() == (i + 1 < keys.size()));
      if (i + 1 < keys.size()) CHECK((*rows)->key() == keys[i + 1]);
    }
    REQUIRE((*rows)->Seek(RowKey{kNumBuckets, 0, 0}).ok());
    CHECK_FALSE((*rows)->valid());
  }
  options.bucket_begin = 10000;
  options.bucket_end = 30000;
  auto part = CutRows::Open(options);
  REQUIRE(part.ok());
  std::erase_if(expected, [](const Seen& row) {
    return std::get<0>(row) < 10000 || std::get<0>(row) >= 30000;
  });
  const std::vector<Seen> seen = Walk(**part);
  CHECK(std::set<Seen>(seen.begin(), seen.end()) == expected);
  CHECK(!seen.empty());
}

TEST_CASE("cuts without rows or tables, and no cut at all, are empty") {
  ScratchDirectory scratch;
  MakeCut(scratch, "none", {}, 0, [](FeatureId) { return true; });
  MakeCut(scratch, "rowless", {"a"}, 0, [](FeatureId) { return true; });
  CutRows::Options options;
  for (const auto& directories :
       {std::vector<std::string>{}, {scratch / "none"}, {scratch / "rowless", scratch / "none"}}) {
    options.directories = directories;
    auto rows = CutRows::Open(options);
    REQUIRE(rows.ok());
    CHECK_FALSE((*rows)->valid());
    CHECK((*rows)->Seek(RowKey{5, 0, 0}).ok());
    CHECK_FALSE((*rows)->valid());
  }
}

TEST_CASE("a row of two cuts, tables that disagree, and damage are refused by name") {
  ScratchDirectory scratch;
  const auto all = [](FeatureId) { return true; };
  MakeCut(scratch, "one", {"a"}, 40, all);
  MakeCut(scratch, "same", {"a"}, 40, all);
  CutRows::Options options;
  options.directories = {scratch / "one", scratch / "same"};
  const absl::Status twice = CutRows::Open(options).status();
  CHECK(absl::IsFailedPrecondition(twice));
  CHECK_THAT(std::string(twice.message()), Contains("/one and ") && Contains("table \"a\""));

  options.directories = {scratch / "one"};
  options.tables = {MakeTable("a", 3, Kind::kAdagrad)};
  const absl::Status dim = CutRows::Open(options).status();
  CHECK(absl::IsFailedPrecondition(dim));
  CHECK_THAT(std::string(dim.message()), Contains("/one: ") && Contains("dim"));
  options.tables.clear();
  options.directories = {scratch / "nothing"};
  CHECK(absl::IsNotFound(CutRows::Open(options).status()));

  // A changed byte in a row's block is found when the block is read.
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(scratch / "one/rocksdb")) {
    if (entry.path().extension() == ".sst") file = entry.path().string();
  }
  std::string bytes = *FileSystem::Real()->ReadAll(file);
  bytes[100] ^= 1;
  std::filesystem::remove(file);
  std::ofstream(file, std::ios::binary) << bytes;
  options.directories = {scratch / "one"};
  auto damaged = CutRows::Open(options);
  absl::Status status = damaged.status();
  while (status.ok() && (*damaged)->valid()) status = (*damaged)->Next();
  CHECK(absl::IsDataLoss(status));
}

}  // namespace
}  // namespace pagoda
