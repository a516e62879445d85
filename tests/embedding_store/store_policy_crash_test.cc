// Kill -9 while pushes are refused and rows evicted: afterwards the store has exactly the
// rows and counts that its pushes admitted, and of evicted rows all or nothing.
//
// The child is this program again, as in store_crash_test.cc.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "tests/embedding_store/admission_oracle.h"
#include "tests/embedding_store/shared_progress.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

// Shared with the child through a file that outlives it.
struct Progress {
  std::atomic<uint64_t> acknowledged;
  std::atomic<uint64_t> evictions;
  std::atomic<uint64_t> failed;
};

// Tables 0 and 1 admit; rows of table 2 are pushed to once and evicted, by its policy and
// by calls.
constexpr uint32_t kEvicted = 2;
constexpr size_t kEvictedPerPush = 200;

const std::vector<TableOptions>& Tables() {
  static const std::vector<TableOptions> tables = [] {
    std::vector<TableOptions> made = {MakeTable("a", 8, Kind::kAdagrad),
                                      MakeTable("b", 3, Kind::kSgd),
                                      MakeTable("c", 4, Kind::kAdagrad)};
    made[0].admission = {
        .kind = AdmissionKind::kFrequency, .count = 4, .window_steps = 200, .sketch_mib = 2};
    made[1].admission = {.kind = AdmissionKind::kProbability, .probability = 0.2};
    made[kEvicted].eviction.rule.rows_max = 1500;
    return made;
  }();
  return tables;
}

FeatureId OnceId(uint64_t push, size_t i) {
  return push * kEvictedPerPush + i;
}

TestPush PushNumber(uint64_t n) {
  TestPush push = RandomPush(Tables(), 31, n, 60, 300);
  TestPush::Part& once = push.parts[kEvicted];
  once.ids.clear();
  for (size_t i = 0; i < kEvictedPerPush; ++i) once.ids.push_back(OnceId(n, i));
  once.gradients.assign(kEvictedPerPush * 4, 0.001f * static_cast<float>(n % 1000 + 1));
  return push;
}

StoreOptions Options(const std::string& directory) {
  StoreOptions options = MakeStore(directory + "/store");
  options.memory_bytes = int64_t{16} << 20;
  options.log_bytes_max = int64_t{1} << 20;
  return options;
}

TEST_CASE("child that pushes and evicts", "[.]") {
  const std::string directory = std::getenv("PAGODA_CRASH_DIRECTORY");
  Progress* progress = *MapProgress<Progress>(directory + "/progress");
  auto store = EmbeddingStore::Open(Options(directory));
  const auto fail = [&](const absl::Status& status) {
    std::ofstream(directory + "/error") << status;
    progress->failed = 1;
  };
  if (!store.ok()) return fail(store.status());
  for (const TableOptions& table : Tables()) OpenTableOf(**store, table);
  // Each begins with a flush, beside pushes: counts that reach the disk are then newer than
  // the sequence it notes, and replay has to tell.
  std::thread evictor([&] {
    for (;; ++progress->evictions) {
      const auto evicted = (*store)->Evict(kEvicted, {.unused_steps = 10});
      if (!evicted.ok()) return fail(evicted.status());
    }
  });
  evictor.detach();  // Until the kill.
  for (uint64_t n = (*store)->sequence() + 1;; ++n) {
    const absl::Status status = Apply(**store, PushNumber(n));
    if (!status.ok()) return fail(status);
    progress->acknowledged = n;
  }
}

pid_t StartChild(const std::string& directory) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::setenv("PAGODA_CRASH_DIRECTORY", directory.c_str(), 1);
  const int null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, 1);
  ::dup2(null, 2);
  ::execl("/proc/self/exe", "store_policy_crash_test", "child that pushes and evicts", nullptr);
  ::_exit(127);
}

// Lets a child run for a while once it makes progress, also with an eviction when asked, and
// kills it.
void RunAndKill(const std::string& directory, Progress* progress, bool after_eviction,
                int milliseconds) {
  const uint64_t before = progress->acknowledged;
  const uint64_t evictions = progress->evictions;
  const pid_t child = StartChild(directory);
  REQUIRE(child > 0);
  const auto made_progress = [&] {
    return progress->acknowledged > before && (!after_eviction || progress->evictions > evictions);
  };
  for (int i = 0; i < 3000 && !made_progress() && !progress->failed; ++i) {
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
  REQUIRE(progress->acknowledged > before);
}

// The stream so far, by exact counts; rows of tables 0 and 1 alone.
struct Oracle {
  StoreOracle rows{Tables()};
  AdmissionOracle admission{Tables()};
  uint64_t number = 0;

  void AdvanceTo(uint64_t end) {
    while (number < end) {
      TestPush push = PushNumber(++number);
      push.parts.pop_back();
      rows.Push(admission.Filter(push));
    }
  }
};

// What the rows of table 2 must be where they are: pushed to once, from the start.
StoredRow OnceRow(uint64_t push, size_t i) {
  StoreOracle oracle(Tables());
  TestPush whole = PushNumber(push);
  TestPush one;
  one.step = whole.step;
  one.learning_rate_factor = whole.learning_rate_factor;
  const auto& part = whole.parts[kEvicted];
  one.parts.push_back(
      {kEvicted, {part.ids[i]}, {part.gradients.begin(), part.gradients.begin() + 4}});
  oracle.Push(one);
  const StoreOracle::Row row = oracle.RowOf(kEvicted, part.ids[i]);
  StoredRow stored;
  stored.weights = row.weights;
  stored.slots = row.slots;
  stored.last_step = row.last_step;
  return stored;
}

void CheckStore(EmbeddingStore& store, const Oracle& oracle) {
  std::map<StoreOracle::Key, StoredRow> admitted;
  uint64_t once = 0, wrong = 0;
  REQUIRE(store
              .Scan([&](uint32_t table, const StoredRow& row) {
                if (table != kEvicted) {
                  admitted[{table, row.id}] = row;
                  return true;
                }
                ++once;
                const uint64_t push = row.id / kEvictedPerPush;
                wrong += push < 1 || push > oracle.number;
                // One in eight, for time's sake.
                if (wrong > 0 || row.id % 8 != 0) return true;
                const StoredRow want = OnceRow(push, row.id % kEvictedPerPush);
                wrong += want.weights != row.weights || want.slots != row.slots ||
                         want.last_step != row.last_step;
                return true;
              })
              .ok());
  CHECK(wrong == 0);
  uint64_t expected = 0;
  for (const auto& [key, row] : oracle.rows.rows()) {
    if (key.first == kEvicted) continue;
    ++expected;
    const auto found = admitted.find(key);
    REQUIRE(found != admitted.end());
    REQUIRE(found->second.weights == row.weights);
    REQUIRE(found->second.slots == row.slots);
  }
  CHECK(admitted.size() == expected);
  const auto stats = store.Stat();
  REQUIRE(stats.ok());
  for (uint32_t t = 0; t < 2; ++t) CHECK((*stats)[t].refused == oracle.admission.refused(t));
  // No row went missing uncounted, and none was counted that is there.
  CHECK((*stats)[kEvicted].rows == once);
  CHECK((*stats)[kEvicted].rows + (*stats)[kEvicted].evicted == oracle.number * kEvictedPerPush);
}

TEST_CASE("kills while rows are refused and evicted leave exact rows and counts") {
  const auto seed = static_cast<uint32_t>(std::random_device{}());
  CAPTURE(seed);
  std::mt19937 random(seed);
  ScratchDirectory scratch;
  Progress* progress = *MapProgress<Progress>(scratch / "progress");
  Oracle oracle;
  constexpr int kKills = 25;
  for (int kill = 0; kill < kKills; ++kill) {
    CAPTURE(kill);
    RunAndKill(scratch.path(), progress, kill % 5 == 4, static_cast<int>(random() % 300));
    StoreOptions options = Options(scratch.path());
    options.read_only = kill % 2 == 0;
    options.evicts_by_policy = false;
    auto store = OpenStore(options);
    REQUIRE(store->sequence() >= progress->acknowledged);
    REQUIRE(store->sequence() <= progress->acknowledged + 1);
    oracle.AdvanceTo(store->sequence());
    CheckStore(*store, oracle);
  }
  CHECK(progress->evictions > 0);
  CHECK(oracle.admission.refused(0) > 0);
  ::munmap(progress, sizeof(Progress));
}

}  // namespace
}  // namespace pagoda
