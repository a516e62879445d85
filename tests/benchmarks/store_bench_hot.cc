// store_bench: rows that are in memory.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>

#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "tests/benchmarks/bare_table.h"
#include "tests/benchmarks/peers/flat_hash_map_table.h"
#include "tests/benchmarks/store_bench.h"

namespace pagoda {
namespace {

// A store of rows [0, settings.rows), all in memory and none of them to be flushed.
std::unique_ptr<EmbeddingStore> HotStore(const BenchSettings& settings, const std::string& name,
                                         Durability durability, ThreadPool* pool) {
  RemoveBenchPath(settings, name);
  auto store = OpenBenchStore(settings, name, durability, settings.memory_mb, pool);
  std::vector<FeatureId> ids(static_cast<size_t>(settings.batch));
  const std::vector<float> gradients = MakeGradients(settings);
  Step step = 0;
  for (int64_t at = 0; at < settings.rows; at += settings.batch) {
    const auto count = static_cast<size_t>(std::min(settings.batch, settings.rows - at));
    for (size_t i = 0; i < count; ++i) ids[i] = MixBits(static_cast<uint64_t>(at) + i);
    const StorePush push{0, std::span(ids).first(count),
                         std::span(gradients).first(count * static_cast<size_t>(settings.dim))};
    Require(store->Push({&push, 1}, ++step, 1.0f));
  }
  const std::string cut = BenchPath(settings, name + "-cut");
  std::filesystem::remove_all(cut);
  Require(store->Cut(cut).status());
  std::filesystem::remove_all(cut);
  return store;
}

struct HotBatches {
  explicit HotBatches(const BenchSettings& settings)
      : batches(MakeBatches(settings, kBenchBatches)),
        gradients(MakeGradients(settings)),
        weights(gradients.size()) {}

  const std::vector<FeatureId>& ids(uint64_t i) const { return batches[i % batches.size()]; }
  void Pull(EmbeddingStore* store, uint64_t i) {
    const StorePull pull{0, ids(i), weights.data()};
    Require(store->Pull({&pull, 1}));
  }
  void Push(EmbeddingStore* store, uint64_t i) {
    const StorePush push{0, ids(i), gradients};
    Require(store->Push({&push, 1}, ++step, 1.0f));
  }

  std::vector<std::vector<FeatureId>> batches;
  std::vector<float> gradients, weights;
  Step step = 1000000;
};

template <typename Table>
void RaceTable(const BenchSettings& settings, EmbeddingStore* store, HotBatches* hot, Table* table,
               const char* name, double pull_goal, double push_goal) {
  for (int64_t i = 0; i < settings.rows; ++i) table->Insert(MixBits(static_cast<uint64_t>(i)));
  Race pull;
  pull.name = "hot pull";
  pull.limit_name = name;
  pull.goal = pull_goal;
  pull.ours = [&](uint64_t i) { hot->Pull(store, i); };
  pull.limit = [&](uint64_t i) { table->Pull(hot->ids(i), hot->weights.data()); };
  RunRace(settings, pull);
  Race push;
  push.name = "hot push, no log, Adagrad";
  push.limit_name = name;
  push.goal = push_goal;
  push.ours = [&](uint64_t i) { hot->Push(store, i); };
  push.limit = [&](uint64_t i) { table->PushAdagrad(hot->ids(i), hot->gradients.data(), 0.01f); };
  RunRace(settings, push);
}

// Bytes a second of appending to a new file in pieces of one record, page cache included.
double SequentialWriteRate(const std::string& path, size_t piece_bytes, double bytes) {
  const std::string piece(piece_bytes, '\1');
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return std::numeric_limits<double>::quiet_NaN();
  std::setbuf(file, nullptr);
  const double begin = Now();
  double written = 0;
  while (written < bytes)
    written += static_cast<double>(std::fwrite(piece.data(), 1, piece_bytes, file));
  const double seconds = Now() - begin;
  std::fclose(file);
  std::filesystem::remove(path);
  return written / seconds;
}

void Sustained(const BenchSettings& settings, EmbeddingStore* plain, EmbeddingStore* logged,
               HotBatches* hot) {
  const double record_bytes = static_cast<double>(settings.batch * (8 + 4 * settings.dim));
  const double disk =
      SequentialWriteRate(BenchPath(settings, "written"), static_cast<size_t>(record_bytes), 4e9);
  const auto rate = [&](EmbeddingStore* store, double seconds) {
    const double begin = Now();
    double rows = 0;
    for (uint64_t i = 0; Now() - begin < seconds; ++i) {
      hot->Push(store, i);
      rows += static_cast<double>(settings.batch);
    }
    return rows / (Now() - begin);
  };
  const double without = rate(plain, std::min(5.0, settings.sustained_seconds));
  const double with = rate(logged, settings.sustained_seconds);
  const double by_disk = 0.7 * disk / (record_bytes / static_cast<double>(settings.batch));
  BenchLine line;
  line.name = absl::StrFormat("push with log for %.0f s", settings.sustained_seconds);
  line.measured = absl::StrFormat("%.2f M rows/s", 1e-6 * with);
  line.limit = absl::StrFormat("no log %.2f; 0.7 of the disk's %.1f GB/s is %.2f", 1e-6 * without,
                               1e-9 * disk, 1e-6 * by_disk);
  line.share = line.share_min = line.share_max = with / without;
  line.goal = std::min(0.5, by_disk / without);
  PrintLine(line);
}

}  // namespace

void BenchHot(const BenchSettings& settings) {
  ThreadPool pool(settings.threads);
  auto store = HotStore(settings, "hot", Durability::kNone, &pool);
  HotBatches hot(settings);
  {
    BareTable bare(settings.rows, settings.dim, settings.dim, &pool);
    RaceTable(settings, store.get(), &hot, &bare, "bare table", 0.70, 0.60);
  }
  {
    FlatHashMapTable map(settings.rows, settings.dim, &pool);
    RaceTable(settings, store.get(), &hot, &map, "flat_hash_map", 0, 0);
  }
  store.reset();
  RemoveBenchPath(settings, "hot");
}

void BenchBurst(const BenchSettings& settings) {
  ThreadPool pool(settings.threads);
  auto plain = HotStore(settings, "plain", Durability::kNone, &pool);
  auto logged = HotStore(settings, "logged", Durability::kProcess, &pool);
  HotBatches hot(settings);
  Race race;
  race.name = "hot push, durability process, 1 GiB of log at most";
  race.limit_name = "no log";
  race.goal = 0.50;
  const int64_t batch_bytes = settings.batch * (8 + 4 * settings.dim) + 1024;
  race.round_batches_max =
      std::max<uint64_t>(1, static_cast<uint64_t>((int64_t{1} << 30) / 5 / batch_bytes));
  race.ours = [&](uint64_t i) { hot.Push(logged.get(), i); };
  race.limit = [&](uint64_t i) { hot.Push(plain.get(), i); };
  RunRace(settings, race);
  if (settings.sustained_seconds > 0) Sustained(settings, plain.get(), logged.get(), &hot);
  plain.reset();
  logged.reset();
  RemoveBenchPath(settings, "plain");
  RemoveBenchPath(settings, "logged");
}

void BenchExact(const BenchSettings& settings) {
  constexpr int kSteps = 1000;
  // A tenth of the rows: exact tables differ in arithmetic, not in memory.
  BenchSettings fewer = settings;
  fewer.rows = std::max(settings.batch, settings.rows / 10);
  ThreadPool pool(settings.threads);
  auto plain = HotStore(fewer, "plain", Durability::kNone, &pool);
  HotBatches hot(fewer);
  for (const auto kind : {SparseOptimizerKind::kMomentum, SparseOptimizerKind::kAdamW}) {
    RemoveBenchPath(fewer, "exact");
    StoreOptions options;
    options.path = BenchPath(fewer, "exact");
    options.memory_bytes = fewer.memory_mb << 20;
    options.durability = Durability::kNone;
    options.pool = &pool;
    auto store = EmbeddingStore::Open(options);
    Require(store.status());
    TableOptions table = BenchTable(fewer);
    table.optimizer.kind = kind;
    table.optimizer.weight_decay = 0.001f;
    table.optimizer.exact = true;
    Require((*store)->OpenTable(table).status());
    Step step = 0;
    std::vector<FeatureId> ids(static_cast<size_t>(fewer.batch));
    for (int64_t at = 0; at + fewer.batch <= fewer.rows; at += fewer.batch) {
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = MixBits(static_cast<uint64_t>(at) + i);
      const StorePush push{0, ids, hot.gradients};
      Require((*store)->Push({&push, 1}, ++step, 1.0f));
    }
    const StorePush nothing{0, {}, {}};
    for (int i = 0; i < kSteps; ++i) Require((*store)->Push({&nothing, 1}, ++step, 1.0f));
    const std::string name =
        absl::StrFormat("pull %d steps later, exact %s", kSteps, SparseOptimizerName(kind));
    Race race;
    race.name = name.c_str();
    race.limit_name = "hot pull";
    race.goal = 0.30;
    race.ours = [&](uint64_t i) { hot.Pull(store->get(), i); };
    race.limit = [&](uint64_t i) { hot.Pull(plain.get(), i); };
    RunRace(fewer, race);
  }
  plain.reset();
  RemoveBenchPath(fewer, "plain");
  RemoveBenchPath(fewer, "exact");
}

}  // namespace pagoda
