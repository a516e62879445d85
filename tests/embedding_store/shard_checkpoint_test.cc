#include "embedding_store/shard_checkpoint.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "embedding_store/table_registry.h"
#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
namespace stdfs = std::filesystem;

std::unique_ptr<RocksTier> TierWithRows(const ScratchDirectory& scratch) {
  RocksTierOptions options;
  options.directory = scratch / "rocksdb";
  options.run_directory = scratch / "flush";
  options.create = true;
  auto tier = RocksTier::Open(options);
  REQUIRE(tier.ok());
  auto run = (*tier)->NewRun();
  REQUIRE(run.ok());
  REQUIRE((*run)->Add(RowKey::Of(0, 1), "value").ok());
  REQUIRE((*run)->Commit({5, 5, {1}}).ok());
  return *std::move(tier);
}

CutContents Contents() {
  return {5, 1, {MakeTable("t", 4, SparseOptimizerKind::kAdagrad)}};
}

TEST_CASE("a cut reads back, and every changed, short or missing file is named") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  auto tier = TierWithRows(scratch);
  const auto cut = WriteShardCut(fs, tier.get(), Contents(), scratch / "cut");
  INFO(cut.status());
  REQUIRE(cut.ok());
  CHECK(cut->sequence == 5);
  CHECK(cut->rows == 1);
  CHECK(absl::IsAlreadyExists(WriteShardCut(fs, tier.get(), Contents(), scratch / "cut").status()));
  const auto read = ReadShardCut(fs, scratch / "cut", CutFiles::kAll);
  REQUIRE(read.ok());
  CHECK(read->checksum == cut->checksum);
  CHECK(absl::IsNotFound(ReadShardCut(fs, scratch / "no-cut", CutFiles::kAll).status()));

  int files = 0;
  for (const auto& entry : stdfs::recursive_directory_iterator(scratch / "cut")) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().string();
    CAPTURE(path);
    ++files;
    // A copy, so that the link's other end stays good.
    const std::string bytes = *fs->ReadAll(path);
    auto status_with = [&](const std::string& content) {
      stdfs::remove(path);
      std::ofstream(path, std::ios::binary) << content;
      return ReadShardCut(fs, scratch / "cut", CutFiles::kAll).status();
    };
    std::string changed = bytes;
    changed[changed.size() / 2] ^= 1;
    for (const absl::Status& status : {status_with(changed), status_with(bytes + "x"),
                                       status_with(bytes.substr(0, bytes.size() - 1))}) {
      CHECK((absl::IsDataLoss(status) || absl::IsFailedPrecondition(status)));
      CHECK_THAT(std::string(status.message()), Contains(path));
    }
    CHECK(status_with(bytes).ok());
    stdfs::remove(path);
    const absl::Status missing = ReadShardCut(fs, scratch / "cut", CutFiles::kAll).status();
    const bool manifest =
        entry.path().filename() == "MANIFEST" && entry.path().parent_path().filename() == "cut";
    CHECK(missing.code() == (manifest ? absl::StatusCode::kNotFound : absl::StatusCode::kDataLoss));
    std::ofstream(path, std::ios::binary) << bytes;
  }
  CHECK(files >= 5);
}

TEST_CASE("another manifest version is refused as such") {
  ScratchDirectory scratch;
  stdfs::create_directories(scratch / "cut");
  std::ofstream(scratch / "cut/MANIFEST") << WithChecksumLine("pagoda-cut 7\n");
  const absl::Status status =
      ReadShardCut(FileSystem::Real(), scratch / "cut", CutFiles::kAllButRows).status();
  CHECK(absl::IsFailedPrecondition(status));
  CHECK_THAT(std::string(status.message()), Contains("pagoda-cut 7"));
}

TEST_CASE("a cut is complete or absent, wherever the process dies or power is lost") {
  ScratchDirectory scratch;
  auto tier = TierWithRows(scratch);
  bool done = false;
  for (int64_t calls = 0; calls < 60 && !done; ++calls) {
    CAPTURE(calls);
    const std::string directory = scratch / ("cut-" + std::to_string(calls));
    FaultyFileSystem fs;
    fs.StopAfter(calls);
    done = WriteShardCut(&fs, tier.get(), Contents(), directory).ok();
    fs.LosePower();
    const absl::Status read = ReadShardCut(FileSystem::Real(), directory, CutFiles::kAll).status();
    CAPTURE(read);
    REQUIRE((read.ok() || absl::IsNotFound(read)));
    if (done) REQUIRE(read.ok());
    // What was left does not stand in the way of a second try.
    if (!read.ok()) {
      REQUIRE(WriteShardCut(FileSystem::Real(), tier.get(), Contents(), directory).ok());
    }
  }
  CHECK(done);
}

TEST_CASE("a copied cut shares row files and nothing that changes") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  auto tier = TierWithRows(scratch);
  REQUIRE(WriteShardCut(fs, tier.get(), Contents(), scratch / "cut").ok());
  tier.reset();
  stdfs::create_directories(scratch / "state");
  REQUIRE(CopyShardCut(fs, scratch / "cut", scratch / "state").ok());
  for (const auto& entry : stdfs::recursive_directory_iterator(scratch / "state")) {
    if (!entry.is_regular_file()) continue;
    CAPTURE(entry.path().string());
    const bool rows = entry.path().extension() == ".sst";
    CHECK((stdfs::hard_link_count(entry.path()) > 1) == rows);
  }
  RocksTierOptions options;
  options.directory = scratch / "state/rocksdb";
  options.run_directory = scratch / "state/flush";
  auto copy = RocksTier::Open(options);
  REQUIRE(copy.ok());
  auto run = (*copy)->NewRun();
  REQUIRE(run.ok());
  REQUIRE((*run)->Add(RowKey::Of(0, 2), "other").ok());
  REQUIRE((*run)->Commit({9, 9, {2}}).ok());
  CHECK(ReadShardCut(fs, scratch / "cut", CutFiles::kAll).ok());
}

TEST_CASE("a second cut shares the first one's row files; it adds what was pushed since") {
  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  OpenTableOf(*store, MakeTable("t", 16, SparseOptimizerKind::kAdagrad));
  std::vector<FeatureId> ids(20000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
  const std::vector<float> gradients(ids.size() * 16, 1.0f);
  const StorePush all{0, ids, gradients};
  REQUIRE(store->Push({&all, 1}, 1, 1.0f).ok());
  REQUIRE(store->Cut(scratch / "first").ok());
  const StorePush few{0, std::span(ids).first(10), std::span(gradients).first(160)};
  REQUIRE(store->Push({&few, 1}, 2, 1.0f).ok());
  REQUIRE(store->Cut(scratch / "second").ok());
  uint64_t shared = 0, written = 0;
  for (const auto& entry : stdfs::directory_iterator(scratch / "second/rocksdb")) {
    const stdfs::path other = scratch / ("first/rocksdb/" + entry.path().filename().string());
    const bool same = stdfs::exists(other) && stdfs::equivalent(entry.path(), other);
    (same ? shared : written) += entry.file_size();
  }
  CHECK(shared > ids.size() * (16 + 16) * sizeof(float));
  CHECK(written < 64 * 1024);  // RocksDB's own lists, and ten rows.
  CHECK(ReadShardCut(FileSystem::Real(), scratch / "first", CutFiles::kAll).ok());
  CHECK(ReadShardCut(FileSystem::Real(), scratch / "second", CutFiles::kAll).ok());
}

}  // namespace
}  // namespace pagoda
