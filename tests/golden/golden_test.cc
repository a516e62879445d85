// Today's build reads what earlier versions wrote (README.md).
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

#include "embedding_store/embedding_store.h"
#include "embedding_store/file_system.h"
#include "tests/embedding_store/store_fixture.h"
#include "tests/golden/golden_content.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

namespace stdfs = std::filesystem;

// Every vN folder.
std::vector<std::string> Folders() {
  std::set<std::string> folders;
  for (const auto& entry : stdfs::directory_iterator(PAGODA_GOLDEN_DIR)) {
    if (entry.is_directory()) folders.insert(entry.path().string());
  }
  return {folders.begin(), folders.end()};
}

std::string TextOf(const std::string& path) {
  const auto text = FileSystem::Real()->ReadAll(path);
  INFO(text.status());
  REQUIRE(text.ok());
  REQUIRE(!text->empty());
  return *text;
}

// A copy that may be changed: git keeps no empty directories, and golden files stay.
std::unique_ptr<EmbeddingStore> OpenCopy(const std::string& from, const std::string& to,
                                         bool read_only) {
  stdfs::copy(from, to, stdfs::copy_options::recursive);
  StoreOptions options = MakeStore(to);
  options.read_only = read_only;
  return OpenStore(options);
}

TEST_CASE("there are golden files") {
  CHECK(!Folders().empty());
}

TEST_CASE("a killed store of every version opens, replays its log and goes on") {
  for (const std::string& folder : Folders()) {
    CAPTURE(folder);
    ScratchDirectory scratch;
    const std::string expected = TextOf(folder + "/store_rows.txt");
    {
      auto store = OpenCopy(folder + "/store", scratch / "store", false);
      CHECK(RowsText(*store) == expected);
      CHECK(store->sequence() == 4);
      // A row that is there can be pushed to, and the store closed and opened.
      const std::vector<FeatureId> ids = {42};
      const std::vector<float> gradients(static_cast<size_t>(store->tables()[0].dim), 1.0f);
      const StorePush push{0, ids, gradients};
      REQUIRE(store->Push({&push, 1}, 105, 1.0f).ok());
      CHECK(RowsText(*store) != expected);
    }
    CHECK(OpenStore(MakeStore(scratch / "store"))->sequence() == 5);
  }
}

TEST_CASE("a cut of every version verifies, opens and restores") {
  for (const std::string& folder : Folders()) {
    CAPTURE(folder);
    ScratchDirectory scratch;
    const std::string expected = TextOf(folder + "/cut_rows.txt");
    const auto verified = EmbeddingStore::VerifyCut(folder + "/cut");
    INFO(verified.status());
    REQUIRE(verified.ok());
    CHECK(verified->sequence == 2);
    CHECK(RowsText(*OpenCopy(folder + "/cut", scratch / "cut", true)) == expected);
    auto whole = OpenStore(MakeStore(scratch / "whole"));
    REQUIRE(whole->Restore(scratch / "cut", "").ok());
    CHECK(RowsText(*whole) == expected);
    uint64_t sum = 0;
    for (uint32_t shard = 0; shard < 2; ++shard) {
      auto part = OpenStore(MakeStore(scratch / ("part" + std::to_string(shard))));
      REQUIRE(part->RestoreShard({{scratch / "cut"}, shard, 2}, "").ok());
      sum += HashOfStore(*part);
    }
    CHECK(sum == HashOfStore(*whole));
  }
}

TEST_CASE("a delta of every version reads back") {
  for (const std::string& folder : Folders()) {
    CAPTURE(folder);
    const auto text = DeltaText(folder + "/delta");
    INFO(text.status());
    REQUIRE(text.ok());
    CHECK(*text == TextOf(folder + "/delta_rows.txt"));
  }
}

TEST_CASE("a job's cut of every version reads back") {
  for (const std::string& folder : Folders()) {
    CAPTURE(folder);
    const auto cut = ReadJobCut(folder + "/job_cut");
    INFO(cut.status());
    REQUIRE(cut.ok());
    CHECK(cut->manifest.job() == "golden");
    CHECK(cut->manifest.cut() == "step-000000040.epoch2");
    CHECK(cut->manifest.step() == 40);
    CHECK(cut->manifest.seed() == 7);
    REQUIRE(cut->manifest.servers_size() == 1);
    CHECK(cut->manifest.servers(0).checksum() == 0x0123456789abcdef);
    CHECK(cut->manifest.servers(0).rows() == 99);
    CHECK(cut->manifest.positions(0).global_sample() == 10240);
    CHECK(cut->values == std::vector<float>{1.5f, -2.0f, 0.1f});
    CHECK(cut->slots == std::vector<std::vector<float>>{{4.0f, 5.0f}, {6.0f, 7.0f}});
    CHECK(cut->job_text == "[job]\nname = \"golden\"\n");
  }
}

}  // namespace
}  // namespace pagoda
