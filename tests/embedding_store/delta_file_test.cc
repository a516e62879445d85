#include "embedding_store/delta_file.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <random>

#include "absl/strings/escaping.h"
#include "base/hash.h"
#include "embedding_store/table_registry.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;

constexpr DeltaEnds kEnds{0x1122334455667788, 0x99aabbccddeeff00};

struct Kept {
  uint32_t table;
  FeatureId id;
  bool deleted;
  std::string value;
  bool operator==(const Kept&) const = default;
};

std::vector<Kept> SomeRows() {
  return {{0, 42, false, "value"}, {3, ~FeatureId{0}, true, ""}, {1, 0, false, ""}};
}

std::string FileOf(const std::vector<Kept>& rows, uint32_t number, bool last) {
  DeltaFileBuilder builder(kEnds, number);
  for (const Kept& row : rows) builder.Add({row.table, row.id, row.deleted, row.value});
  CHECK(builder.rows() == rows.size());
  const int64_t before = builder.bytes();
  const std::string bytes = builder.Finish(last);
  CHECK(static_cast<int64_t>(bytes.size()) == before + 28);
  return bytes;
}

absl::StatusOr<DeltaFileInfo> Read(const std::string& bytes, std::vector<Kept>* rows) {
  return ReadDeltaFile(bytes, "file", [&](const DeltaRow& row) {
    rows->push_back({row.table, row.id, row.deleted, std::string(row.value)});
    return absl::OkStatus();
  });
}

TEST_CASE("rows of a delta file read back, none, some and many") {
  std::vector<Kept> many;
  for (FeatureId id = 0; id < 1001; ++id) many.push_back({7, id, id % 3 == 0, ""});
  for (const std::vector<Kept>& rows : {std::vector<Kept>(), SomeRows(), many}) {
    for (const bool last : {false, true}) {
      std::vector<Kept> read;
      const auto info = Read(FileOf(rows, 5, last), &read);
      INFO(info.status());
      REQUIRE(info.ok());
      CHECK(info->ends == kEnds);
      CHECK(info->number == 5);
      CHECK(info->rows == rows.size());
      CHECK(info->last == last);
      CHECK(read == rows);
    }
  }
}

TEST_CASE("the worked example of docs/formats.md is what is written") {
  const std::string value =
      absl::HexStringToBytes("0101000000000000000700000000000000000000bf0000003f0000803f00008040");
  DeltaFileBuilder builder({0x0102030405060708, 0x1112131415161718}, 1);
  builder.Add({0, 7, true, ""});
  builder.Add({0, 42, false, value});
  const std::string bytes = builder.Finish(/*last=*/true);
  CHECK(absl::BytesToHexString(bytes) ==
        "5041474f4441444c01000000010000000807060504030201"
        "1817161514131211f9c4bbc09cd6d3310200000000000000"
        "07000000000000000000000001000000000000002a000000"
        "000000002100000001010000000000000007000000000000"
        "00000000bf0000003f0000803f0000804003000000010000"
        "00020000000000000008000000fff037bd590c6bbb");
  DeltaManifest manifest;
  manifest.ends = {0x0102030405060708, 0x1112131415161718};
  manifest.stored = manifest.deleted = 1;
  manifest.files = {{static_cast<int64_t>(bytes.size()), HashBytes(bytes)}};
  CHECK(FormatDeltaManifest(manifest) ==
        "pagoda-delta 1\n"
        "since 0102030405060708\n"
        "cut 1112131415161718\n"
        "stored 1\n"
        "deleted 1\n"
        "files 1\n"
        "file delta-000001 141 d7865823f0098a9c\n"
        "checksum 78b43d82b61a3552\n");
}

TEST_CASE("every changed byte and every shorter file is refused before a row is seen") {
  const std::string good = FileOf(SomeRows(), 1, true);
  for (size_t i = 0; i < good.size(); ++i) {
    CAPTURE(i);
    std::string changed = good;
    changed[i] = static_cast<char>(changed[i] ^ 0x20);
    for (const std::string& bytes : {changed, good.substr(0, i)}) {
      std::vector<Kept> read;
      const absl::Status status = Read(bytes, &read).status();
      CHECK((absl::IsDataLoss(status) || absl::IsFailedPrecondition(status)));
      CHECK_THAT(std::string(status.message()), Contains("file"));
      CHECK(read.empty());
    }
  }
  std::vector<Kept> read;
  CHECK(absl::IsDataLoss(Read(good + "x", &read).status()));
}

TEST_CASE("records that a wrong writer made, with right checksums, are refused") {
  // The checksum over everything is made right again after each change.
  std::string good = FileOf(SomeRows(), 1, true);
  for (size_t at = 40; at + 8 < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] + 1);
    const uint64_t checksum = HashBytes(absl::string_view(bytes).substr(0, bytes.size() - 8));
    std::memcpy(bytes.data() + bytes.size() - 8, &checksum, 8);
    std::vector<Kept> read;
    const auto info = Read(bytes, &read);  // Another row, or an error; never out of bounds.
    if (!info.ok()) CHECK(absl::IsDataLoss(info.status()));
  }
}

TEST_CASE("a manifest reads back, and another version is refused as such") {
  DeltaManifest manifest;
  manifest.ends = kEnds;
  manifest.stored = 12;
  manifest.deleted = 1;
  manifest.files = {{100, 7}, {28, ~uint64_t{0}}};
  const std::string text = FormatDeltaManifest(manifest);
  const auto read = ParseDeltaManifest(text, "MANIFEST");
  INFO(read.status());
  REQUIRE(read.ok());
  CHECK(read->ends == kEnds);
  CHECK(read->stored == 12);
  CHECK(read->deleted == 1);
  REQUIRE(read->files.size() == 2);
  CHECK(read->files[0].bytes == 100);
  CHECK(read->files[1].checksum == ~uint64_t{0});
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] ^= 1;
    CHECK_FALSE(ParseDeltaManifest(changed, "MANIFEST").ok());
  }
  const absl::Status version =
      ParseDeltaManifest(WithChecksumLine("pagoda-delta 2\n"), "MANIFEST").status();
  CHECK(absl::IsFailedPrecondition(version));
  for (const char* body : {"pagoda-delta 1\n",
                           "pagoda-delta 1\nsince 1\ncut 2\nstored 1\n"
                           "deleted 0\nfiles 3\nfile delta-000001 1 1\n"}) {
    CHECK(absl::IsDataLoss(ParseDeltaManifest(WithChecksumLine(body), "MANIFEST").status()));
  }
}

TEST_CASE("a delta with a missing, altered or foreign file is refused by name") {
  ScratchDirectory scratch;
  FileSystem* fs = FileSystem::Real();
  const std::string first = FileOf(SomeRows(), 1, false), second = FileOf({}, 2, true);
  DeltaManifest manifest;
  manifest.ends = kEnds;
  auto list = [&](const std::vector<std::string>& files) {
    manifest.files.clear();
    for (size_t i = 0; i < files.size(); ++i) {
      manifest.files.push_back({static_cast<int64_t>(files[i].size()), HashBytes(files[i])});
      REQUIRE(
          fs->ReplaceFile(scratch / DeltaFileName(static_cast<uint32_t>(i + 1)), files[i]).ok());
    }
    REQUIRE(fs->ReplaceFile(scratch / "MANIFEST", FormatDeltaManifest(manifest)).ok());
  };
  size_t seen = 0;
  auto read = [&] {
    return ReadDelta(fs, scratch.path(),
                     [&](const DeltaRow&) {
                       ++seen;
                       return absl::OkStatus();
                     })
        .status();
  };
  CHECK(absl::IsNotFound(read()));
  list({first, second});
  REQUIRE(WriteTableRegistry(fs, scratch / "REGISTRY", {}).ok());
  CHECK(read().ok());
  CHECK(seen == 3);
  list({first, first});
  CHECK_THAT(std::string(read().message()), Contains("delta-000002"));
  list({first, second});
  REQUIRE(fs->ReplaceFile(scratch / "delta-000001", second).ok());
  CHECK(absl::IsDataLoss(read()));
  REQUIRE(fs->Remove(scratch / "delta-000001").ok());
  const absl::Status missing = read();
  CHECK(absl::IsDataLoss(missing));
  CHECK_THAT(std::string(missing.message()), Contains("delta-000001 is missing"));
}

}  // namespace
}  // namespace pagoda
