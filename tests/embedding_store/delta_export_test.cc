#include "embedding_store/delta_export.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>

#include "base/hash.h"
#include "embedding_store/cut_rows.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;
namespace stdfs = std::filesystem;
using Key = std::pair<std::string, FeatureId>;  // Table name, id.
using Rows = std::map<Key, std::string>;

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = {MakeTable("a", 4, Kind::kAdagrad),
                                                   MakeTable("b", 3, Kind::kSgd)};
  return tables;
}

// A store with a cut before, one after some pushes (with a table more), and one shard
// pair of the later state.
struct World {
  ScratchDirectory scratch;
  World() {
    auto store = OpenStore(MakeStore(scratch / "store"));
    for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
    for (uint64_t n = 1; n <= 20; ++n) Push(*store, n);
    REQUIRE(store->Cut(scratch / "old").ok());
    for (uint64_t n = 21; n <= 24; ++n) Push(*store, n);
    const std::vector<FeatureId> ids = {1, 2, 3};
    const std::vector<float> gradients(6, 1.0f);
    const StorePush push{OpenTableOf(*store, MakeTable("new", 2, Kind::kSgd)), ids, gradients};
    REQUIRE(store->Push({&push, 1}, 25, 1.0f).ok());
    REQUIRE(store->Cut(scratch / "new").ok());
    for (uint32_t shard = 0; shard < 2; ++shard) {
      auto part = OpenStore(MakeStore(scratch / ("part" + std::to_string(shard))));
      REQUIRE(part->RestoreShard({{scratch / "new"}, shard, 2}, "").ok());
      REQUIRE(part->Cut(scratch / ("new" + std::to_string(shard))).ok());
    }
  }
  static void Push(EmbeddingStore& store, uint64_t number) {
    REQUIRE(Apply(store, RandomPush(Tables(), 3, number, 80, 1500)).ok());
  }
};

Rows RowsOf(const std::vector<std::string>& cuts) {
  CutRows::Options options;
  options.directories = cuts;
  auto rows = CutRows::Open(options);
  REQUIRE(rows.ok());
  Rows all;
  while ((*rows)->valid()) {
    const RowKey& key = (*rows)->key();
    all[{(*rows)->tables()[key.table].name, key.id}] = std::string((*rows)->value());
    REQUIRE((*rows)->Next().ok());
  }
  return all;
}

// Applies the delta as a reader of it would; checks that rows come in key order.
void ApplyDelta(const std::string& directory, Rows* rows) {
  FileSystem* fs = FileSystem::Real();
  std::vector<std::tuple<RowKey, bool, std::string>> changes;
  const auto delta = ReadDelta(fs, directory, [&](const DeltaRow& row) {
    changes.emplace_back(RowKey::Of(row.table, row.id), row.deleted, std::string(row.value));
    return absl::OkStatus();
  });
  INFO(delta.status());
  REQUIRE(delta.ok());
  CHECK(delta->manifest.stored + delta->manifest.deleted == changes.size());
  const RowKey* last = nullptr;
  for (const auto& [key, deleted, value] : changes) {
    if (last != nullptr) REQUIRE(*last < key);
    last = &key;
    const Key name{delta->tables.at(key.table).name, key.id};
    if (deleted) {
      REQUIRE(rows->erase(name) == 1);
    } else {
      REQUIRE((*rows)[name] != value);
      (*rows)[name] = value;
    }
  }
}

TEST_CASE("a delta applied to the older cut's rows gives the newer cut's") {
  World world;
  const auto path = [&](const char* name) { return world.scratch / name; };
  const Rows old = RowsOf({path("old")}), now = RowsOf({path("new")});
  REQUIRE(old.size() > 500);
  REQUIRE(old != now);
  int number = 0;
  for (const int64_t file_bytes_max : {int64_t{1} << 26, int64_t{3000}, int64_t{1}}) {
    for (const bool sharded : {false, true}) {
      CAPTURE(file_bytes_max, sharded);
      DeltaExport forth;
      forth.since = {path("old")};
      forth.cut = sharded ? std::vector<std::string>{path("new1"), path("new0")}
                          : std::vector<std::string>{path("new")};
      forth.file_bytes_max = file_bytes_max;
      forth.directory = world.scratch / ("delta" + std::to_string(number++));
      const auto made = ExportDelta(forth);
      INFO(made.status());
      REQUIRE(made.ok());
      CHECK(made->manifest.deleted == 0);
      CHECK(made->manifest.stored < now.size());
      CHECK(made->files_found == 0);
      for (const DeltaManifest::File& file : made->manifest.files) {
        CHECK(file.bytes < file_bytes_max + 200);
      }
      Rows rows = old;
      ApplyDelta(forth.directory, &rows);
      CHECK(rows == now);

      // And back again: rows that did not exist then are deleted.
      DeltaExport back = forth;
      std::swap(back.since, back.cut);
      back.directory = world.scratch / ("delta" + std::to_string(number++));
      REQUIRE(ExportDelta(back).ok());
      ApplyDelta(back.directory, &rows);
      CHECK(rows == old);
    }
  }
}

TEST_CASE("between equal states a delta has no rows") {
  World world;
  DeltaExport options;
  options.since = {world.scratch / "new"};
  options.cut = {world.scratch / "new0", world.scratch / "new1"};
  options.directory = world.scratch / "delta";
  const auto made = ExportDelta(options);
  REQUIRE(made.ok());
  CHECK(made->manifest.stored == 0);
  CHECK(made->manifest.deleted == 0);
  CHECK(made->manifest.files.size() == 1);
}

TEST_CASE("an export that is interrupted anywhere goes on, to the same bytes") {
  World world;
  DeltaExport options;
  options.since = {world.scratch / "old"};
  options.cut = {world.scratch / "new"};
  options.file_bytes_max = 2500;
  options.directory = world.scratch / "whole";
  const auto whole = ExportDelta(options);
  REQUIRE(whole.ok());
  REQUIRE(whole->manifest.files.size() > 3);
  auto content = [](const std::string& directory) {
    std::map<std::string, std::string> files;
    for (const auto& entry : stdfs::directory_iterator(directory)) {
      files[entry.path().filename().string()] = *FileSystem::Real()->ReadAll(entry.path().string());
    }
    return files;
  };
  const auto expected = content(options.directory);
  bool done = false;
  int resumed = 0;
  for (int64_t calls = 0; calls < 200 && !done; calls += 3) {
    CAPTURE(calls);
    options.directory = world.scratch / ("broken" + std::to_string(calls));
    FaultyFileSystem fs;
    fs.StopAfter(calls);
    options.file_system = &fs;
    done = ExportDelta(options).ok();
    options.file_system = nullptr;
    const auto again = ExportDelta(options);
    INFO(again.status());
    REQUIRE(again.ok());
    resumed += again->files_found > 0 && !done;
    CHECK(FormatDeltaManifest(again->manifest) == FormatDeltaManifest(whole->manifest));
    auto made = content(options.directory);
    std::erase_if(made, [](const auto& file) { return file.first.ends_with(".tmp"); });
    CHECK(made == expected);
  }
  CHECK(done);
  CHECK(resumed > 3);
}

TEST_CASE("a directory with another delta, or a damaged one, is left alone") {
  World world;
  DeltaExport options;
  options.since = {world.scratch / "old"};
  options.cut = {world.scratch / "new"};
  options.directory = world.scratch / "delta";
  REQUIRE(ExportDelta(options).ok());
  std::swap(options.since, options.cut);
  const absl::Status other = ExportDelta(options).status();
  CHECK(absl::IsFailedPrecondition(other));
  CHECK_THAT(std::string(other.message()), Contains("delta/MANIFEST"));
  stdfs::remove(world.scratch / "delta/MANIFEST");
  const absl::Status unfinished = ExportDelta(options).status();
  CHECK(absl::IsFailedPrecondition(unfinished));
  CHECK_THAT(std::string(unfinished.message()), Contains("delta-000001"));
  std::swap(options.since, options.cut);
  stdfs::resize_file(world.scratch / "delta/delta-000001", 60);
  CHECK(absl::IsDataLoss(ExportDelta(options).status()));
  options.since = {world.scratch / "no-cut"};
  CHECK(absl::IsNotFound(ExportDelta(options).status()));
  options.file_bytes_max = 0;
  CHECK(absl::IsInvalidArgument(ExportDelta(options).status()));
}

}  // namespace
}  // namespace pagoda
