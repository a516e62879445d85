// Kill -9 at random moments of pushing, flushing and cutting: after each, the store
// holds every acknowledged push and at most the one that was in flight, bit for bit,
// and every cut that can be seen is whole. The same check must fail without the log.
//
// The child is this program again, started with the hidden test "child that pushes",
// so that no thread or lock is inherited.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/thread_pool.h"
#include "tests/embedding_store/shared_progress.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

// Shared with the child through a file that outlives it.
struct Progress {
  std::atomic<uint64_t> acknowledged;
  std::atomic<uint64_t> cuts;
  std::atomic<uint64_t> failed;
};

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = [] {
    std::vector<TableOptions> made = {MakeTable("a", 32, Kind::kAdagrad),
                                      MakeTable("b", 5, Kind::kAdam),
                                      MakeTable("c", 1, Kind::kFtrl)};
    made[1].precision = RowPrecision::kF16;
    return made;
  }();
  return tables;
}

TestPush PushNumber(uint64_t n) {
  return RandomPush(Tables(), 11, n, 300, 20000);
}

// A ceiling of the log so low that flushes run all the time.
StoreOptions Options(const std::string& directory, Durability durability) {
  StoreOptions options = MakeStore(directory + "/store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{1} << 20;
  options.durability = durability;
  return options;
}

TEST_CASE("child that pushes", "[.]") {
  const std::string directory = std::getenv("PAGODA_CRASH_DIRECTORY");
  const bool logged = std::getenv("PAGODA_CRASH_LOGGED") != nullptr;
  Progress* progress = *MapProgress<Progress>(directory + "/progress");
  ThreadPool pool(2);
  StoreOptions options = Options(directory, logged ? Durability::kProcess : Durability::kNone);
  options.pool = &pool;
  auto store = EmbeddingStore::Open(options);
  if (!store.ok()) {
    std::ofstream(directory + "/error") << store.status();
    progress->failed = 1;
    return;
  }
  for (const TableOptions& table : Tables()) OpenTableOf(**store, table);
  for (uint64_t n = (*store)->sequence() + 1;; ++n) {
    const TestPush push = PushNumber(n);
    const absl::Status status = Apply(**store, push);
    if (!status.ok()) {
      std::ofstream(directory + "/error") << status;
      progress->failed = 1;
      return;
    }
    progress->acknowledged = n;
    if (n % 40 != 0) continue;
    const std::string cut = directory + "/cut-" + std::to_string(n);
    std::filesystem::remove_all(cut);
    if ((*store)->Cut(cut).ok()) progress->cuts = n;
  }
}

pid_t StartChild(const std::string& directory, bool logged) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::setenv("PAGODA_CRASH_DIRECTORY", directory.c_str(), 1);
  if (logged) ::setenv("PAGODA_CRASH_LOGGED", "1", 1);
  const int null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, 1);
  ::dup2(null, 2);
  ::execl("/proc/self/exe", "store_crash_test", "child that pushes", nullptr);
  ::_exit(127);
}

// Lets a child run for a while once it makes progress, and kills it.
void RunAndKill(const std::string& directory, bool logged, Progress* progress, int milliseconds) {
  const uint64_t before = progress->acknowledged;
  const pid_t child = StartChild(directory, logged);
  REQUIRE(child > 0);
  for (int i = 0; i < 3000 && progress->acknowledged == before && !progress->failed; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (progress->failed != 0) {
    std::ifstream error(directory + "/error");
    FAIL("the child failed: " << error.rdbuf());
  }
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(progress->acknowledged > before);
}

// Every cut that has its final name is whole and is the state of its push.
void CheckCuts(const std::string& directory, uint64_t acknowledged, uint64_t* checked_through) {
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("cut-") || name.ends_with(".partial")) continue;
    const auto cut = EmbeddingStore::VerifyCut(entry.path().string());
    INFO(name << " " << cut.status());
    REQUIRE(cut.ok());
    REQUIRE(cut->sequence <= acknowledged + 1);
    if (cut->sequence <= *checked_through) continue;
    *checked_through = cut->sequence;
    StoreOptions options = Options(directory, Durability::kProcess);
    options.path = entry.path().string();
    options.read_only = true;
    StoreOracle oracle(Tables());
    for (uint64_t n = 1; n <= cut->sequence; ++n) oracle.Push(PushNumber(n));
    auto reader = OpenStore(options);
    REQUIRE(oracle.Compare(*reader) == "");
  }
}

TEST_CASE("no acknowledged push is lost by kill -9") {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed);
  std::mt19937 random(seed);
  ScratchDirectory scratch;
  Progress* progress = *MapProgress<Progress>(scratch / "progress");
  StoreOracle oracle(Tables());
  uint64_t applied = 0;
  uint64_t cut_checked = 0;
  constexpr int kKills = 25;
  for (int kill = 0; kill < kKills; ++kill) {
    CAPTURE(kill);
    RunAndKill(scratch.path(), true, progress, static_cast<int>(random() % 120));
    const uint64_t acknowledged = progress->acknowledged;
    // Opened only to read, every other time, so that the next child finds the log as
    // the kill left it.
    StoreOptions options = Options(scratch.path(), Durability::kProcess);
    options.read_only = kill % 2 == 0;
    auto store = OpenStore(options);
    const uint64_t sequence = store->sequence();
    REQUIRE(sequence >= acknowledged);
    REQUIRE(sequence <= acknowledged + 1);
    while (applied < sequence) oracle.Push(PushNumber(++applied));
    REQUIRE(oracle.Compare(*store) == "");
    store.reset();
    if (kill % 5 == 4) CheckCuts(scratch.path(), acknowledged, &cut_checked);
  }
  CHECK(cut_checked > 0);
  ::munmap(progress, sizeof(Progress));
}

TEST_CASE("the same check sees the loss when there is no log") {
  ScratchDirectory scratch;
  Progress* progress = *MapProgress<Progress>(scratch / "progress");
  bool lost = false;
  for (int kill = 0; kill < 5 && !lost; ++kill) {
    RunAndKill(scratch.path(), false, progress, 50);
    auto store = OpenStore(Options(scratch.path(), Durability::kProcess));
    lost = store->sequence() < progress->acknowledged;
    progress->acknowledged = store->sequence();
  }
  CHECK(lost);
  ::munmap(progress, sizeof(Progress));
}

}  // namespace
}  // namespace pagoda
