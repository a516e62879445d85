// Pushes to a table many times the memory budget and holds what the process takes, against
// the same process with an empty store, to the budget:
//
//   budget_run DIRECTORY [--memory-mb 256] [--times 20] [--seconds 600] [--dim 32]
//              [--disk-mb 0] [--clients 5000]
//
// First every row is pushed once, until the table is `times` the budget in memory. Then for
// `seconds` random and Zipf ids are pushed by clients with windows, pulled by two threads
// beside it, and a cut is made every minute. Memory is RssAnon + RssShmem, 50 times a second.
// With --disk-mb the store has a disk budget, too; pushes that it refuses are waited for by
// evicting a quarter of the rows.
//
// Prints the peaks; exits with 0 when they are within the budgets (memory: and 10 %).
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "base/heap.h"
#include "base/random.h"
#include "base/thread_pool.h"
#include "embedding_store/embedding_store.h"
#include "tests/embedding_store/resource_watch.h"

namespace pagoda {
namespace {

namespace stdfs = std::filesystem;

constexpr int64_t kBatch = 8192;
constexpr double kAllowed = 1.10;

struct Settings {
  std::string directory;
  int64_t memory_mb = 256;
  int64_t times = 20;
  int64_t seconds = 600;
  int64_t dim = 32;
  int64_t disk_mb = 0;
  int64_t clients = 5000;  // More than the windows that are kept.
  bool empty = false;      // Only says what an empty store takes.
};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "budget_run: %s\n", status.ToString().c_str());
  std::exit(2);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct World {
  ThreadPool pool{2};
  std::unique_ptr<EmbeddingStore> store;
  uint32_t table = 0;
};

void Open(const Settings& settings, const std::string& name, World* world) {
  StoreOptions options;
  options.path = settings.directory + "/" + name;
  options.memory_bytes = settings.memory_mb << 20;
  options.disk_bytes_max = settings.disk_mb << 20;
  options.pool = &world->pool;
  auto store = EmbeddingStore::Open(options);
  Require(store.status());
  world->store = *std::move(store);
  TableOptions table;
  table.name = "ids";
  table.dim = settings.dim;
  table.seed = 1;
  table.optimizer.kind = SparseOptimizerKind::kAdagrad;
  auto index = world->store->OpenTable(table);
  Require(index.status());
  world->table = *index;
}

// Of a process of its own, so that it has what this one has at its start.
int64_t EmptyBytes(const Settings& settings) {
  int ends[2];
  if (::pipe(ends) != 0) std::exit(2);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], 1);
    const std::string memory = std::to_string(settings.memory_mb);
    ::execl("/proc/self/exe", "budget_run", settings.directory.c_str(), "--memory-mb",
            memory.c_str(), "--empty", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  char text[32] = {};
  const ssize_t got = ::read(ends[0], text, sizeof(text) - 1);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (got <= 0 || status != 0) {
    std::fprintf(stderr, "budget_run: the empty store failed\n");
    std::exit(2);
  }
  return std::atoll(text);
}

class Load {
 public:
  Load(const Settings& settings, World* world)
      : settings_(settings),
        world_(world),
        gradients_(static_cast<size_t>(kBatch * settings.dim), 0.01f) {}

  void Create(int64_t rows) {
    std::vector<FeatureId> ids;
    for (int64_t first = 0; first < rows; first += kBatch) {
      ids.clear();
      for (int64_t r = first; r < std::min(rows, first + kBatch); ++r) ids.push_back(IdOf(r));
      Push(ids, PushOrigin{});
    }
    rows_ = rows;
  }

  void Run(double until) {
    std::atomic<bool> stop{false};
    std::thread puller([&] { Pull(stop); });
    std::thread cutter([&] { Cut(stop); });
    for (uint64_t number = 1; Now() < until; ++number) {
      const uint64_t client = number % static_cast<uint64_t>(settings_.clients);
      Push(Batch(number), {client, 1, number / static_cast<uint64_t>(settings_.clients) + 1});
    }
    stop = true;
    puller.join();
    cutter.join();
  }

  int64_t pushed() const { return pushed_; }
  int64_t pulled() const { return pulled_; }
  int64_t refused() const { return refused_; }

 private:
  static FeatureId IdOf(int64_t rank) { return MixBits(static_cast<uint64_t>(rank) + 1); }

  // Half of the ids from all rows alike, half by a law that favours few.
  std::vector<FeatureId> Batch(uint64_t number) const {
    const RandomKey key = RandomKey{5}.Derive(number);
    std::vector<FeatureId> ids;
    for (uint64_t i = 0; i < static_cast<uint64_t>(kBatch); ++i) {
      const double u = static_cast<double>(RandomBits(key, i) >> 11) * 0x1p-53;
      const double rows = static_cast<double>(rows_);
      const double rank = i % 2 == 0 ? u * rows : std::exp(u * std::log(rows)) - 1;
      ids.push_back(IdOf(std::min(static_cast<int64_t>(rank), rows_ - 1)));
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  }

  void Push(const std::vector<FeatureId>& ids, const PushOrigin& origin) {
    const StorePush push{
        world_->table, ids, {gradients_.data(), ids.size() * static_cast<size_t>(settings_.dim)}};
    for (;;) {
      const auto step = static_cast<Step>(world_->store->sequence() + 1);
      const absl::Status status = origin.sequence == 0
                                      ? world_->store->Push({&push, 1}, step, 1.0f)
                                      : world_->store->PushOnce(origin, {&push, 1}, step, 1.0f);
      if (settings_.disk_mb > 0 && absl::IsResourceExhausted(status)) {
        if (refused_++ == 0) std::printf("first refusal: %s\n", status.ToString().c_str());
        EvictSome(step);
        continue;
      }
      Require(status);
      pushed_ += static_cast<int64_t>(ids.size());
      return;
    }
  }

  void EvictSome(Step now) {
    auto stats = world_->store->Stat();
    Require(stats.status());
    EvictionRule rule;
    rule.now = now;
    rule.rows_max = static_cast<int64_t>(stats->at(world_->table).rows * 3 / 4);
    Require(world_->store->Evict(world_->table, rule).status());
  }

  void Pull(const std::atomic<bool>& stop) {
    std::vector<float> weights(static_cast<size_t>(kBatch * settings_.dim));
    for (uint64_t number = uint64_t{1} << 40; !stop; ++number) {
      const std::vector<FeatureId> ids = Batch(number);
      const StorePull pull{world_->table, ids, weights.data()};
      Require(world_->store->Pull({&pull, 1}));
      pulled_ += static_cast<int64_t>(ids.size());
    }
  }

  // A cut's links would keep files that the disk budget counts as gone.
  void Cut(const std::atomic<bool>& stop) {
    const std::string path = settings_.directory + "/cut";
    for (int tick = 1; !stop; ++tick) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (settings_.disk_mb > 0 || tick % 600 != 0) continue;
      stdfs::remove_all(path);
      Require(world_->store->Cut(path).status());
    }
  }

  const Settings settings_;
  World* const world_;
  const std::vector<float> gradients_;
  int64_t rows_ = 1;
  int64_t pushed_ = 0;
  int64_t refused_ = 0;
  std::atomic<int64_t> pulled_{0};
};

Settings Parse(int argc, char** argv) {
  Settings settings;
  const std::map<std::string, int64_t*> numbers = {
      {"--memory-mb", &settings.memory_mb}, {"--times", &settings.times},
      {"--seconds", &settings.seconds},     {"--dim", &settings.dim},
      {"--disk-mb", &settings.disk_mb},     {"--clients", &settings.clients}};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--empty") {
      settings.empty = true;
    } else if (i + 1 < argc && numbers.contains(word)) {
      *numbers.at(word) = std::max<int64_t>(0, std::atoll(argv[++i]));
    } else if (settings.directory.empty() && word[0] != '-') {
      settings.directory = word;
    } else {
      std::fprintf(stderr, "budget_run: cannot understand %s\n", word.c_str());
      std::exit(2);
    }
  }
  if (settings.directory.empty() || settings.clients == 0) std::exit(2);
  return settings;
}

int Main(int argc, char** argv) {
  Settings settings = Parse(argc, argv);
  stdfs::create_directories(settings.directory);
  if (settings.empty) {
    World world;
    Open(settings, "empty", &world);
    std::printf("%ld", ResidentBytes());
    return 0;
  }
  const int64_t empty = EmptyBytes(settings);
  const double mib = 1 << 20;
  World world;
  Open(settings, "store", &world);
  const uint64_t row_bytes = world.store->Stat()->at(world.table).row_bytes_memory;
  const int64_t rows =
      settings.times * (settings.memory_mb << 20) / static_cast<int64_t>(row_bytes);
  const ResourceWatch watch(settings.directory + "/store", 20);
  Load load(settings, &world);
  double begin = Now();
  load.Create(rows);
  std::printf("%ld rows of %lu bytes, %ld times %ld MiB, pushed in %.0f s; peak %.1f MiB\n", rows,
              static_cast<unsigned long>(row_bytes), settings.times, settings.memory_mb,
              Now() - begin, static_cast<double>(watch.resident() - empty) / mib);
  std::fflush(stdout);
  begin = Now();
  load.Run(begin + static_cast<double>(settings.seconds));
  const double over =
      static_cast<double>(watch.resident() - empty) / static_cast<double>(settings.memory_mb << 20);
  std::printf("%.0f s: %ld rows pushed, %ld pulled, %ld pushes refused for want of disk\n",
              Now() - begin, load.pushed(), load.pulled(), load.refused());
  bool met = over <= kAllowed;
  if (settings.disk_mb > 0) {
    const double share =
        static_cast<double>(watch.disk()) / static_cast<double>(settings.disk_mb << 20);
    std::printf("disk: peak %.1f MiB of %ld MiB (%.1f %%)\n",
                static_cast<double>(watch.disk()) / mib, settings.disk_mb, 100 * share);
    if (share > 1) std::printf("disk, at its peak:\n%s", watch.disk_listing().c_str());
    met = met && share <= 1 && load.refused() > 0;
  }
  std::printf("memory: peak %.1f MiB above an empty store's %.1f, %.1f %% of %ld MiB (%+.1f %%)\n",
              static_cast<double>(watch.resident() - empty) / mib, static_cast<double>(empty) / mib,
              100 * over, settings.memory_mb, 100 * (over - 1));
  return met ? 0 : 1;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  pagoda::TuneHeap();
  return pagoda::Main(argc, argv);
}
