// One flipped bit in any file of a store or of a cut: the same rows as before, or an
// error that names what is wrong, but never another row.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;
namespace stdfs = std::filesystem;

// Every bit of RocksDB's MANIFEST: a length in its last entry, which says what the newest
// run is, may make it look unfinished (log_marks.h tells). A bit of every byte of other
// files up to this; of longer ones so many bits.
constexpr uintmax_t kWholeFileMax = 128;
constexpr int kSamples = 40;

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = {MakeTable("a", 6, Kind::kAdagrad),
                                                   MakeTable("b", 3, Kind::kAdam)};
  return tables;
}

void PushMany(EmbeddingStore& store, StoreOracle* oracle, uint64_t first, uint64_t last) {
  for (uint64_t n = first; n <= last; ++n) {
    const TestPush push = RandomPush(Tables(), 9, n, 60, 400);
    oracle->Push(push);
    REQUIRE(Apply(store, push).ok());
  }
}

std::vector<std::string> FilesIn(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : stdfs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file() && entry.file_size() > 0) {
      files.push_back(stdfs::relative(entry.path(), directory).string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

void FlipBit(const std::string& path, uint64_t bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(bit / 8));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(bit / 8));
  file.put(static_cast<char>(byte ^ (1 << bit % 8)));
  REQUIRE(file.good());
}

// "" when the store at `path` holds the oracle's rows, or refuses in words.
std::string Judge(const std::string& path, const StoreOracle& oracle, bool read_only,
                  std::map<std::string, int>* outcomes) {
  StoreOptions options = MakeStore(path);
  options.memory_bytes = int64_t{16} << 20;
  options.read_only = read_only;
  auto store = EmbeddingStore::Open(options);
  if (!store.ok()) {
    ++(*outcomes)["refused"];
    return store.status().message().size() < 10 ? "an error without words" : "";
  }
  absl::Status read = (*store)->ContentHash().status();
  // Row by row, too: this way leads through filters and indexes.
  std::vector<std::vector<FeatureId>> ids(Tables().size());
  std::vector<std::vector<float>> expected(Tables().size());
  for (const auto& [key, row] : oracle.rows()) {
    ids[key.first].push_back(key.second);
    expected[key.first].insert(expected[key.first].end(), row.weights.begin(), row.weights.end());
  }
  for (uint32_t t = 0; t < ids.size() && read.ok(); ++t) {
    std::vector<float> weights(expected[t].size());
    const StorePull pull{t, ids[t], weights.data()};
    read = (*store)->Pull({&pull, 1});
    if (read.ok() && weights != expected[t]) return "a pulled row differs";
  }
  if (!read.ok()) {
    ++(*outcomes)["refused while reading"];
    return read.message().size() < 10 ? "an error without words" : "";
  }
  ++(*outcomes)["same rows"];
  return oracle.Compare(**store);
}

// Judge in a process of its own: RocksDB as Debian builds it has assertions, and a flipped
// bit at the end of a row file's index can meet one of them (embedding_store/README.md,
// "Limits"). That ends the process; it is counted, as "asserted".
std::string JudgeInChild(const std::string& path, const StoreOracle& oracle, bool read_only,
                         std::map<std::string, int>* outcomes) {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);
    std::map<std::string, int> outcome;
    std::string said = Judge(path, oracle, read_only, &outcome);
    said = outcome.empty() ? "!" + said : outcome.begin()->first + "!" + said;
    (void)!::write(pipe_ends[1], said.data(), said.size());
    ::_exit(0);
  }
  ::close(pipe_ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t n = 0; (n = ::read(pipe_ends[0], buffer, sizeof(buffer))) > 0;) {
    said.append(buffer, static_cast<size_t>(n));
  }
  ::close(pipe_ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) {
    ++(*outcomes)["asserted"];
    return "";
  }
  const size_t mark = said.find('!');
  if (status != 0 || mark == std::string::npos) return "the process died";
  ++(*outcomes)[said.substr(0, mark)];
  return said.substr(mark + 1);
}

// Flips bits in every file of copies of `origin`.
void FlipEverywhere(const ScratchDirectory& scratch, const std::string& origin,
                    const StoreOracle& oracle, bool read_only) {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed, origin);
  std::mt19937_64 random(seed);
  std::map<std::string, int> outcomes;
  for (const std::string& file : FilesIn(origin)) {
    const uintmax_t bytes = stdfs::file_size(origin + "/" + file);
    std::vector<uint64_t> bits;
    if (file.find("MANIFEST-") != std::string::npos) {
      for (uint64_t bit = 0; bit < 8 * bytes; ++bit) bits.push_back(bit);
    } else if (bytes <= kWholeFileMax) {
      for (uint64_t byte = 0; byte < bytes; ++byte) bits.push_back(8 * byte + random() % 8);
    } else {
      for (int i = 0; i < kSamples; ++i) bits.push_back(random() % (8 * bytes));
      // The end of a row file says how the rest is to be read.
      for (int i = 0; file.ends_with(".sst") && i < kSamples; ++i) {
        bits.push_back(8 * bytes - 1 - random() % (8 * 160));
      }
    }
    for (const uint64_t bit : bits) {
      CAPTURE(file, bytes, bit);
      const std::string copy = scratch / "copy";
      stdfs::remove_all(copy);
      stdfs::copy(origin, copy, stdfs::copy_options::recursive);
      FlipBit(copy + "/" + file, bit);
      REQUIRE(JudgeInChild(copy, oracle, read_only, &outcomes) == "");
    }
  }
  INFO("refused " << outcomes["refused"] << ", while reading " << outcomes["refused while reading"]
                  << ", same rows " << outcomes["same rows"] << ", asserted "
                  << outcomes["asserted"]);
  CHECK(outcomes["refused"] > 0);
  CHECK(outcomes["same rows"] > 0);
  CHECK(outcomes["asserted"] < 5);
}

TEST_CASE("a flipped bit in a store is never another row") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  // With rows in several runs and some in the log alone, as a kill leaves it.
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
    PushMany(*store, &oracle, 1, 10);
    REQUIRE(store->Cut(scratch / "cut-1").ok());
    PushMany(*store, &oracle, 11, 20);
    REQUIRE(store->Cut(scratch / "cut-2").ok());
    PushMany(*store, &oracle, 21, 25);
    stdfs::copy(scratch / "store", scratch / "killed", stdfs::copy_options::recursive);
  }
  FlipEverywhere(scratch, scratch / "killed", oracle, false);
}

TEST_CASE("a flipped bit in a store that was closed is never another row") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
    PushMany(*store, &oracle, 1, 10);
    REQUIRE(store->Cut(scratch / "cut-1").ok());
    PushMany(*store, &oracle, 11, 20);
  }
  FlipEverywhere(scratch, scratch / "store", oracle, true);
}

TEST_CASE("a flipped bit in a cut is never another row, and is always found") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  {
    auto store = OpenStore(MakeStore(scratch / "store"));
    for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
    PushMany(*store, &oracle, 1, 10);
    REQUIRE(store->Cut(scratch / "first").ok());
    PushMany(*store, &oracle, 11, 20);
    REQUIRE(store->Cut(scratch / "cut").ok());
  }
  FlipEverywhere(scratch, scratch / "cut", oracle, true);
  std::mt19937_64 random(3);
  for (const std::string& file : FilesIn(scratch / "cut")) {
    for (int i = 0; i < 30; ++i) {
      const uint64_t bit = random() % (8 * stdfs::file_size(scratch / ("cut/" + file)));
      CAPTURE(file, bit);
      FlipBit(scratch / ("cut/" + file), bit);
      const absl::Status status = EmbeddingStore::VerifyCut(scratch / "cut").status();
      FlipBit(scratch / ("cut/" + file), bit);
      CAPTURE(status);
      REQUIRE_FALSE(status.ok());
    }
  }
  CHECK(EmbeddingStore::VerifyCut(scratch / "cut").ok());
}

}  // namespace
}  // namespace pagoda
