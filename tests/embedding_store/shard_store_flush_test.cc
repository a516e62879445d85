// Flushes, cuts and restores of the whole store: full disks, damaged files, a process
// that dies at any call, and a log that stays within its ceiling.
#include <sys/mount.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/embedding_store/faulty_file_system.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;
namespace stdfs = std::filesystem;

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = {MakeTable("a", 16, Kind::kAdagrad),
                                                   MakeTable("b", 3, Kind::kAdam)};
  return tables;
}

std::unique_ptr<EmbeddingStore> OpenWithTables(const StoreOptions& options) {
  auto store = OpenStore(options);
  for (const TableOptions& table : Tables()) OpenTableOf(*store, table);
  return store;
}

// Pushes number first..last of stream 1, to the oracle as well.
void PushMany(EmbeddingStore& store, StoreOracle* oracle, uint64_t first, uint64_t last,
              size_t rows = 200) {
  for (uint64_t n = first; n <= last; ++n) {
    const TestPush push = RandomPush(Tables(), 1, n, rows, 3000);
    if (oracle != nullptr) oracle->Push(push);
    const absl::Status status = Apply(store, push);
    INFO(status);
    REQUIRE(status.ok());
  }
}

// A log segment may be removed by the flusher while this looks.
uint64_t BytesIn(const std::string& directory) {
  uint64_t bytes = 0;
  for (const auto& entry : stdfs::directory_iterator(directory)) {
    std::error_code gone;
    const uint64_t size = entry.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

// Name, size and time of every file.
std::map<std::string, std::pair<uint64_t, stdfs::file_time_type>> Listing(
    const std::string& directory) {
  std::map<std::string, std::pair<uint64_t, stdfs::file_time_type>> listing;
  for (const auto& entry : stdfs::recursive_directory_iterator(directory)) {
    const uint64_t size = entry.is_regular_file() ? entry.file_size() : 0;
    listing[entry.path().string()] = {size, entry.last_write_time()};
  }
  return listing;
}

TEST_CASE("the log stays within its ceiling while pushes go on") {
  ScratchDirectory scratch;
  StoreOptions options = MakeStore(scratch / "store");
  options.log_bytes_max = int64_t{1} << 20;
  StoreOracle oracle(Tables());
  auto store = OpenWithTables(options);
  for (uint64_t n = 1; n <= 400; ++n) {
    PushMany(*store, &oracle, n, n);
    // One record may pass the ceiling before the next push waits.
    if (n % 20 == 0) {
      CHECK(BytesIn(scratch / "store/state-000001/log") < (uint64_t{1} << 20) + 40000);
    }
  }
  CHECK(oracle.Compare(*store) == "");
}

TEST_CASE("a full disk refuses pushes whole, and loses none") {
  ScratchDirectory scratch;
  FaultyFileSystem fs;
  StoreOptions options = MakeStore(scratch / "store");
  options.file_system = &fs;
  StoreOracle oracle(Tables());
  {
    auto store = OpenWithTables(options);
    PushMany(*store, &oracle, 1, 10);
    const uint64_t hash = HashOfStore(*store);
    for (int64_t space : {0, 1, 39, 100, 5000}) {
      CAPTURE(space);
      fs.SetSpace(space);
      // Large enough that no space tried here holds its record.
      uint64_t number = 1000;
      TestPush push;
      do {
        push = RandomPush(Tables(), 2, number++, 200, 6000);
      } while (push.parts[0].ids.size() < 100);
      const absl::Status status = Apply(*store, push);
      CHECK(absl::IsResourceExhausted(status));
      CHECK_THAT(std::string(status.message()), Contains(".log"));
      CHECK(HashOfStore(*store) == hash);
      CHECK(store->sequence() == 10);
      CHECK(
          absl::IsResourceExhausted(store->OpenTable(MakeTable("third", 2, Kind::kSgd)).status()));
      CHECK(store->tables().size() == 2);
    }
    fs.SetSpace(-1);
    PushMany(*store, &oracle, 11, 20);
    CHECK(oracle.Compare(*store) == "");
  }
  auto store = OpenStore(options);
  CHECK(store->sequence() == 20);
  CHECK(oracle.Compare(*store) == "");
}

// Unmounts at the end.
class SmallDisk {
 public:
  SmallDisk(std::string path, const char* size) : path_(std::move(path)) {
    stdfs::create_directories(path_);
    mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, size) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST_CASE("a real disk fills up under log and rows, and the store goes on after") {
  ScratchDirectory scratch;
  const SmallDisk disk(scratch / "disk", "size=12m");
  if (!disk.mounted()) {
    WARN("cannot mount a tmpfs here: not proven");
    return;
  }
  StoreOptions options = MakeStore(scratch / "disk/store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{2} << 20;
  StoreOracle oracle(Tables());
  {
    auto store = OpenWithTables(options);
    std::ofstream(scratch / "disk/ballast") << std::string(6 << 20, 'x');
    uint64_t n = 1;
    int refused = 0;
    for (; n <= 3000 && refused < 3; ++n) {
      const TestPush push = RandomPush(Tables(), 3, n, 400, 100000000);
      const absl::Status status = Apply(*store, push);
      if (status.ok()) {
        oracle.Push(push);
        continue;
      }
      INFO(status);
      REQUIRE(absl::IsResourceExhausted(status));
      ++refused;
      REQUIRE(store->sequence() == n - static_cast<uint64_t>(refused));
    }
    CHECK(refused == 3);
    CHECK(oracle.Compare(*store) == "");
    CHECK(absl::IsResourceExhausted(store->Cut(scratch / "disk/cut").status()));
    CHECK_FALSE(stdfs::exists(scratch / "disk/cut"));
    stdfs::remove_all(scratch / "disk/cut.partial");
    stdfs::remove(scratch / "disk/ballast");
    for (uint64_t more = n; more < n + 5; ++more) {
      const TestPush push = RandomPush(Tables(), 3, more, 400, 100000000);
      const absl::Status status = Apply(*store, push);
      INFO(status);
      REQUIRE(status.ok());
      oracle.Push(push);
    }
    CHECK(oracle.Compare(*store) == "");
  }
  auto store = OpenStore(options);
  CHECK(oracle.Compare(*store) == "");
}

TEST_CASE("a cut stays what it was while the store goes on") {
  ScratchDirectory scratch;
  auto store = OpenWithTables(MakeStore(scratch / "store"));
  StoreOracle oracle(Tables());
  REQUIRE(store->Cut(scratch / "empty").ok());
  PushMany(*store, &oracle, 1, 20);
  REQUIRE(store->Cut(scratch / "cut").ok());
  CHECK(absl::IsAlreadyExists(store->Cut(scratch / "cut").status()));
  const StoreOracle at_cut = oracle;
  PushMany(*store, &oracle, 21, 60);
  REQUIRE(store->Cut(scratch / "later").ok());
  CHECK(EmbeddingStore::VerifyCut(scratch / "cut").ok());
  StoreOptions options = MakeStore(scratch / "cut");
  options.read_only = true;
  const auto before = Listing(scratch / "cut");
  {
    auto reader = OpenStore(options);
    CHECK(at_cut.Compare(*reader) == "");
    CHECK(reader->sequence() == 20);
    for (const TableOptions& table : Tables()) OpenTableOf(*reader, table);
    CHECK(PullRows(*reader, 0, {1, 2, 3}).size() == 48);
    CHECK(OpenStore(options) != nullptr);  // Any number of readers.
  }
  CHECK(Listing(scratch / "cut") == before);
  REQUIRE(store->Restore(scratch / "empty", "").ok());
  CHECK(store->sequence() == 0);
  CHECK(store->Stat()->at(0).rows == 0);
  CHECK(StoreOracle(Tables()).Compare(*store) == "");
}

TEST_CASE("a store read while its log is needed is not changed by that") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  // As a kill leaves it: a copy taken while the store is open, before any flush.
  {
    auto store = OpenWithTables(MakeStore(scratch / "store"));
    PushMany(*store, &oracle, 1, 20);
    stdfs::copy(scratch / "store", scratch / "killed", stdfs::copy_options::recursive);
  }
  StoreOptions options = MakeStore(scratch / "killed");
  options.read_only = true;
  const auto before = Listing(scratch / "killed");
  {
    auto reader = OpenStore(options);
    CHECK(oracle.Compare(*reader) == "");
    CHECK(reader->sequence() == 20);
  }
  CHECK(Listing(scratch / "killed") == before);
  // With too little memory for what the log holds, in words.
  options.read_only = false;
  auto store = OpenStore(options);
  CHECK(oracle.Compare(*store) == "");
  CHECK(absl::IsFailedPrecondition(EmbeddingStore::Open(options).status()));
}

TEST_CASE("durability none forgets the log, and its sequence never runs backwards") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  StoreOptions options = MakeStore(scratch / "store");
  { PushMany(*OpenWithTables(options), &oracle, 1, 5); }
  options.durability = Durability::kNone;
  { PushMany(*OpenWithTables(options), &oracle, 6, 12); }
  CHECK(stdfs::is_empty(scratch / "store/state-000001/log"));
  options.durability = Durability::kProcess;
  {
    auto store = OpenWithTables(options);
    CHECK(store->sequence() == 12);
    PushMany(*store, &oracle, 13, 15);
    stdfs::copy(scratch / "store", scratch / "killed", stdfs::copy_options::recursive);
  }
  options.path = scratch / "killed";
  auto store = OpenStore(options);
  CHECK(store->sequence() == 15);
  CHECK(oracle.Compare(*store) == "");
}

TEST_CASE("a restore is done or not done, wherever the process dies") {
  const bool aside = GENERATE(true, false);
  const Durability durability = aside ? Durability::kProcess : Durability::kNone;
  ScratchDirectory scratch;
  StoreOracle at_cut(Tables());
  StoreOracle newer(Tables());
  {
    auto store = OpenWithTables(MakeStore(scratch / "origin"));
    PushMany(*store, &at_cut, 1, 10);
    newer = at_cut;
    REQUIRE(store->Cut(scratch / "cut").ok());
    PushMany(*store, &newer, 11, 15);
  }
  bool done = false;
  for (int64_t calls = 0; calls < 400 && !done; ++calls) {
    CAPTURE(aside, calls);
    const std::string path = scratch / ("store" + std::to_string(calls));
    const std::string aside_path = aside ? path + "-aside" : "";
    stdfs::copy(scratch / "origin", path, stdfs::copy_options::recursive);
    FaultyFileSystem fs;
    StoreOptions options = MakeStore(path);
    options.file_system = &fs;
    options.durability = durability;
    {
      auto store = OpenStore(options);
      fs.StopAfter(calls);
      done = store->Restore(scratch / "cut", aside_path).ok();
    }
    options.file_system = nullptr;
    auto store = OpenStore(options);
    const bool is_cut = at_cut.Compare(*store).empty();
    const std::string difference = newer.Compare(*store);
    CHECK((is_cut || difference.empty()));
    if (done) CHECK(is_cut);
    if (aside && is_cut) {
      auto old = OpenStore(MakeStore(aside_path));
      CHECK(newer.Compare(*old) == "");
    }
    store.reset();
    stdfs::remove_all(path);
  }
  CHECK(done);
  CHECK(EmbeddingStore::VerifyCut(scratch / "cut").ok());
}

TEST_CASE("a damaged cut restores nothing, and a refused restore leaves a working store") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  auto store = OpenWithTables(MakeStore(scratch / "store"));
  PushMany(*store, &oracle, 1, 10);
  REQUIRE(store->Cut(scratch / "cut").ok());
  PushMany(*store, &oracle, 11, 12);
  CHECK(absl::IsNotFound(store->Restore(scratch / "nothing", "")));
  stdfs::create_directories(scratch / "full/x");
  CHECK(absl::IsAlreadyExists(store->Restore(scratch / "cut", scratch / "full")));
  CHECK(oracle.Compare(*store) == "");
  stdfs::copy(scratch / "cut", scratch / "bad", stdfs::copy_options::recursive);
  {
    std::fstream registry(scratch / "bad/REGISTRY", std::ios::in | std::ios::out);
    registry.seekp(20);
    registry << "!";
  }
  const absl::Status damaged = store->Restore(scratch / "bad", "");
  CHECK(absl::IsDataLoss(damaged));
  CHECK_THAT(std::string(damaged.message()), Contains("bad/REGISTRY"));
  CHECK(oracle.Compare(*store) == "");
  PushMany(*store, &oracle, 13, 14);
  CHECK(oracle.Compare(*store) == "");
}

TEST_CASE("a restored store has the cut's tables, learning rates included") {
  ScratchDirectory scratch;
  auto store = OpenWithTables(MakeStore(scratch / "store"));
  PushMany(*store, nullptr, 1, 3);
  REQUIRE(store->Cut(scratch / "cut").ok());
  TableOptions changed = Tables()[0];
  changed.optimizer.learning_rate = 0.9f;
  OpenTableOf(*store, changed);
  CHECK(OpenTableOf(*store, MakeTable("c", 2, Kind::kSgd)) == 2);
  CHECK(store->tables().size() == 3);
  REQUIRE(store->Restore(scratch / "cut", "").ok());
  REQUIRE(store->tables().size() == 2);
  CHECK(store->tables()[0].optimizer.learning_rate == 0.1f);
  CHECK(OpenTableOf(*store, MakeTable("d", 2, Kind::kSgd)) == 2);
}

TEST_CASE("compacting drops older versions of rows and no row, on disk or in the log") {
  ScratchDirectory scratch;
  StoreOracle oracle(Tables());
  auto store = OpenWithTables(MakeStore(scratch / "store"));
  for (uint64_t n = 1; n <= 3; ++n) {
    PushMany(*store, &oracle, 20 * n, 20 * n + 19);
    REQUIRE(store->Cut(scratch / ("cut" + std::to_string(n))).ok());
  }
  PushMany(*store, &oracle, 80, 82);
  auto row_bytes = [&] {
    return store->Stat()->at(0).bytes_disk + store->Stat()->at(1).bytes_disk;
  };
  const uint64_t before = row_bytes();
  REQUIRE(store->Compact().ok());
  CHECK(row_bytes() < before);
  CHECK(oracle.Compare(*store) == "");
  PushMany(*store, &oracle, 83, 90);
  store.reset();
  store = OpenStore(MakeStore(scratch / "store"));
  CHECK(oracle.Compare(*store) == "");
  StoreOptions reader = MakeStore(scratch / "cut1");
  reader.read_only = true;
  CHECK(absl::IsFailedPrecondition(OpenStore(reader)->Compact()));
}

}  // namespace
}  // namespace pagoda
