#include "worker/input_file.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/random.h"
#include "base/status_macros.h"
#include "tests/worker/data_files.h"

namespace pagoda {
namespace {

using testing::DataDir;
using testing::Gzip;
using testing::Zstd;

// Compressible, but not to nothing; long enough for several buffers.
std::string SomeText(size_t size) {
  std::string text;
  const RandomKey key{5};
  for (uint64_t i = 0; text.size() < size; ++i) {
    text += std::to_string(RandomBits(key, i) % 100000) + ((i % 9 == 0) ? "\n" : ",");
  }
  text.resize(size);
  return text;
}

// Everything from `offset` on, in reads of `chunk` bytes.
absl::StatusOr<std::string> ReadFrom(const std::string& path, int64_t offset, size_t chunk) {
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<InputFile> file, InputFile::Open(path));
  if (offset > 0) PAGODA_RETURN_IF_ERROR(file->SkipTo(offset));
  std::string text, buffer(chunk, '\0');
  for (;;) {
    PAGODA_ASSIGN_OR_RETURN(const size_t n, file->Read(buffer.data(), chunk));
    if (n == 0) return text;
    text.append(buffer, 0, n);
  }
}

std::string OpenError(const std::string& path) {
  return std::string(InputFile::Open(path).status().message());
}

}  // namespace

TEST_CASE("plain, gzip and zstd files read as the same bytes, whatever their names") {
  const DataDir dir;
  for (const size_t size : {size_t{1}, size_t{2}, size_t{1000}, size_t{1500001}}) {
    const std::string text = SomeText(size);
    for (const std::string& path :
         {dir.Write("a.gz", text), dir.Write("b.zst", Gzip(text)), dir.Write("c", Zstd(text))}) {
      for (const size_t chunk : {size_t{1}, size_t{777}, size_t{1} << 20}) {
        if (chunk == 1 && size > 1000) continue;
        const auto read = ReadFrom(path, 0, chunk);
        INFO(read.status());
        REQUIRE(read.ok());
        CHECK(*read == text);
      }
    }
  }
}

TEST_CASE("streams after one another, padding and skippable frames read as one file") {
  const DataDir dir;
  const std::string padding(1000, '\0');
  const std::string skippable("\x53\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
  CHECK(*ReadFrom(dir.Write("a", Gzip("ab") + Gzip("") + Gzip("c\n")), 0, 7) == "abc\n");
  CHECK(*ReadFrom(dir.Write("b", Gzip("ab") + padding), 0, 7) == "ab");
  CHECK(*ReadFrom(dir.Write("c", Zstd("ab") + Zstd("") + Zstd("c\n")), 0, 7) == "abc\n");
  CHECK(*ReadFrom(dir.Write("d", skippable + Zstd("ab")), 0, 7) == "ab");
  CHECK(ReadFrom(dir.Write("e", Gzip("ab") + "garbage"), 0, 7).status().code() ==
        absl::StatusCode::kDataLoss);
}

TEST_CASE("a file cut anywhere is DATA_LOSS that names it, never a shorter file") {
  const DataDir dir;
  const std::string text = SomeText(300);
  for (const std::string& whole : {Gzip(text), Zstd(text)}) {
    for (size_t size = 5; size < whole.size(); ++size) {
      CAPTURE(size, whole.size());
      const std::string path = dir.Write("cut", whole.substr(0, size));
      const absl::Status status = ReadFrom(path, 0, 64).status();
      CHECK(status.code() == absl::StatusCode::kDataLoss);
      CHECK_THAT(std::string(status.message()),
                 Catch::StartsWith(path + ": the compressed file is "));
    }
  }
}

TEST_CASE("gzip's checksum finds every flipped byte that matters") {
  const DataDir dir;
  const std::string text = SomeText(400);
  const std::string whole = Gzip(text);
  int harmless = 0;
  for (size_t at = 10; at < whole.size(); ++at) {  // The header holds nothing but time.
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    const auto read = ReadFrom(dir.Write("damaged", damaged), 0, 4096);
    CAPTURE(at);
    if (read.ok()) {
      CHECK(*read == text);
      ++harmless;
    } else {
      CHECK(read.status().code() == absl::StatusCode::kDataLoss);
    }
  }
  CHECK(harmless <= 1);  // The last byte before the checksum may have unused bits.
}

TEST_CASE("skipping equals reading, for every kind") {
  const DataDir dir;
  const std::string text = SomeText(600000);
  for (const std::string& path :
       {dir.Write("a", text), dir.Write("b", Gzip(text)), dir.Write("c", Zstd(text))}) {
    for (const size_t offset : {size_t{1}, size_t{262144}, size_t{300007}, text.size()}) {
      const auto read = ReadFrom(path, static_cast<int64_t>(offset), 5000);
      REQUIRE(read.ok());
      CHECK(*read == text.substr(offset));
    }
    const absl::Status beyond =
        ReadFrom(path, static_cast<int64_t>(text.size()) + 1, 5000).status();
    CHECK(beyond.code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(std::string(beyond.message()), Catch::Contains("has it changed?"));
  }
}

TEST_CASE("disk_position ends at disk_size") {
  const DataDir dir;
  const std::string text = SomeText(100000);
  for (const std::string& bytes : {text, Gzip(text), Zstd(text)}) {
    const std::string path = dir.Write("a", bytes);
    const auto file = InputFile::Open(path);
    REQUIRE(file.ok());
    CHECK((*file)->disk_position() == 0);
    CHECK((*file)->path() == path);
    std::string buffer(1 << 20, '\0');
    while (*(*file)->Read(buffer.data(), buffer.size()) > 0) continue;
    CHECK((*file)->disk_position() == static_cast<int64_t>(bytes.size()));
    CHECK((*file)->disk_size() == static_cast<int64_t>(bytes.size()));
  }
}

TEST_CASE("what cannot be read is refused by name") {
  const DataDir dir;
  const std::string gone = dir.Path("gone.csv");
  CHECK(InputFile::Open(gone).status().code() == absl::StatusCode::kNotFound);
  CHECK(OpenError(gone) == gone + ": no such file");
  const std::string through = dir.Write("file", "x") + "/below";
  CHECK(OpenError(through) == through + ": no such file");
  const std::string empty = dir.Write("empty.csv", "");
  CHECK(OpenError(empty) == empty + ": the file is empty");
  CHECK(OpenError(dir.Path("")) == dir.Path("") + ": this is a directory, not a file");
  const std::string pipe = dir.Path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(OpenError(pipe) == pipe + ": not a regular file (pipes cannot be read a second time)");
  const std::pair<const char*, std::string> kinds[] = {{"bzip2", "BZh91AY"},
                                                       {"xz", std::string("\xfd"
                                                                          "7zXZ\0",
                                                                          6)},
                                                       {"zip", "PK\x03\x04...."},
                                                       {"Parquet", "PAR1...."}};
  for (const auto& [name, head] : kinds) {
    const std::string path = dir.Write("other", head);
    CHECK(OpenError(path) ==
          path + ": " + name + " files are not supported; plain text, .gz and .zst are");
  }
}

}  // namespace pagoda
