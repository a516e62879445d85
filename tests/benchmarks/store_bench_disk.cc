// store_bench: rows that are on disk, all of them or most.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "tests/benchmarks/peers/raw_rocksdb.h"
#include "tests/benchmarks/store_bench.h"

namespace pagoda {
namespace {

constexpr double kZipfExponent = 1.05;

// Ids of rows by popularity: the rank's number, mixed, is the id. Rejection-inversion
// (Hoermann, Derflinger 1996).
class ZipfIds {
 public:
  explicit ZipfIds(int64_t rows) : rows_(static_cast<double>(rows)) {
    h_begin_ = H(1.5) - 1.0;
    h_end_ = H(rows_ + 0.5);
  }
  FeatureId Draw(std::mt19937_64* random) {
    for (;;) {
      const double u = h_begin_ + uniform_(*random) * (h_end_ - h_begin_);
      const double x = std::pow(1.0 + u * (1.0 - kZipfExponent), 1.0 / (1.0 - kZipfExponent));
      const double k = std::clamp(std::round(x), 1.0, rows_);
      if (u >= H(k + 0.5) - std::pow(k, -kZipfExponent)) {
        return MixBits(static_cast<uint64_t>(k) - 1);
      }
    }
  }

 private:
  static double H(double x) {
    return (std::pow(x, 1.0 - kZipfExponent) - 1.0) / (1.0 - kZipfExponent);
  }
  const double rows_;
  double h_begin_ = 0, h_end_ = 0;
  std::uniform_real_distribution<double> uniform_;
};

std::string RocksdbOf(const std::string& store) {
  for (const auto& entry : std::filesystem::directory_iterator(store)) {
    if (absl::StartsWith(entry.path().filename().string(), "state-")) {
      return entry.path().string() + "/rocksdb";
    }
  }
  return store;
}

// What the store gives RocksDB's cache of its memory.
int64_t CacheBytes(int64_t memory_mb) {
  return (memory_mb << 20) / 8;
}

struct PullBuffer {
  explicit PullBuffer(const BenchSettings& settings)
      : weights(static_cast<size_t>(settings.batch * settings.dim)) {}
  void Pull(EmbeddingStore* store, std::span<const FeatureId> ids) {
    const StorePull pull{0, ids, weights.data()};
    Require(store->Pull({&pull, 1}));
  }
  std::vector<float> weights;
};

}  // namespace

void BenchCold(const BenchSettings& settings) {
  ThreadPool pool(settings.threads);
  RemoveBenchPath(settings, "cold");
  // Memory for all rows, so that none has to make room; and for an eighth.
  const int64_t bytes = settings.rows * (16 + 8 * settings.dim + 32);
  const int64_t memory_mb = std::max<int64_t>(64, (bytes >> 20) * 2);
  FillStore(settings, OpenBenchStore(settings, "cold", Durability::kNone, memory_mb, &pool).get());
  const auto batches = MakeBatches(settings, static_cast<size_t>(settings.rows / settings.batch));
  PullBuffer buffer(settings);
  for (const int64_t part : {1, 8}) {
    const int64_t memory = std::max<int64_t>(64, memory_mb / part);
    auto store = OpenBenchStore(settings, "cold", Durability::kNone, memory, &pool);
    const auto raw =
        RawRocksdb::OpenStore(RocksdbOf(BenchPath(settings, "cold")), CacheBytes(memory), &pool);
    if (part > 1) {
      // Memory is full of other rows before the clock starts.
      for (size_t b = batches.size() / 2; b < batches.size(); ++b) {
        buffer.Pull(store.get(), batches[b]);
      }
    }
    Race race;
    race.name = part == 1 ? "cold pull, memory empty" : "cold pull, memory full of other rows";
    race.limit_name = "MultiGet";
    race.goal = 0.90;
    race.rounds = 16;
    race.round_batches_max = std::max<uint64_t>(1, batches.size() / 2 / 16);
    race.ours = [&](uint64_t i) { buffer.Pull(store.get(), batches[i % batches.size()]); };
    race.limit = [&](uint64_t i) { raw->Read(batches[i % batches.size()]); };
    // A round would else be four to eight batches, most of them while both caches fill.
    BenchSettings longer = settings;
    longer.seconds *= 4;
    RunRace(longer, race);
  }
  {
    // The same rows updated in place by RocksDB alone.
    auto store = OpenBenchStore(settings, "cold", Durability::kNone, memory_mb, &pool);
    RemoveBenchPath(settings, "raw");
    const auto raw = RawRocksdb::Create(BenchPath(settings, "raw"), CacheBytes(memory_mb), &pool);
    const std::vector<float> gradients = MakeGradients(settings);
    Step step = 0;
    Race race;
    race.name = "push to rows on disk, no log";
    race.limit_name = "MultiGet + WriteBatch";
    race.round_batches_max = std::max<uint64_t>(1, batches.size() / 5);
    race.ours = [&](uint64_t i) {
      const StorePush push{0, batches[i % batches.size()], gradients};
      Require(store->Push({&push, 1}, ++step, 1.0f));
    };
    race.limit = [&](uint64_t i) {
      raw->PushAdagrad(batches[i % batches.size()], gradients.data(), settings.dim);
    };
    RunRace(settings, race);
  }
  RemoveBenchPath(settings, "raw");
  RemoveBenchPath(settings, "cold");
}

void BenchMixed(const BenchSettings& settings) {
  ThreadPool pool(settings.threads);
  RemoveBenchPath(settings, "mixed");
  // Three quarters are for rows: a row's bytes, and its part of the index.
  const int64_t row_bytes = (16 + 8 * settings.dim + 15) / 16 * 16 + 32;
  const int64_t memory_mb = std::max<int64_t>(16, (settings.rows / 10 * row_bytes * 4 / 3) >> 20);
  auto store = OpenBenchStore(settings, "mixed", Durability::kNone, memory_mb, &pool);
  FillStore(settings, store.get());
  PullBuffer buffer(settings);
  std::mt19937_64 random(1);
  ZipfIds zipf(settings.rows);
  const auto draw = [&] {
    std::vector<FeatureId> ids(static_cast<size_t>(settings.batch));
    for (FeatureId& id : ids) id = zipf.Draw(&random);
    return ids;
  };
  // Until memory holds what such pulls leave in it.
  for (int64_t i = 0; i < 4 * settings.rows / settings.batch / 10 + 10; ++i) {
    buffer.Pull(store.get(), draw());
  }
  const StoreTableStat before = (*store->Stat())[0];
  std::vector<double> rates;
  for (int round = 0; round < 5; ++round) {
    std::vector<std::vector<FeatureId>> fresh;
    for (int b = 0; b < 12; ++b) fresh.push_back(draw());
    const double begin = Now();
    for (const auto& ids : fresh) buffer.Pull(store.get(), ids);
    rates.push_back(static_cast<double>(fresh.size()) * static_cast<double>(settings.batch) /
                    (Now() - begin));
  }
  const StoreTableStat after = (*store->Stat())[0];
  const double hit = 1.0 - static_cast<double>(after.missed - before.missed) /
                               static_cast<double>(after.pulled - before.pulled);
  // The two rates alone, of the same store: Zipf draws out of the twentieth of the rows that
  // is drawn most, once they are in memory; and rows that are seldom drawn.
  ZipfIds popular(std::max<int64_t>(1, settings.rows / 20));
  std::vector<std::vector<FeatureId>> hits(
      20, std::vector<FeatureId>(static_cast<size_t>(settings.batch)));
  for (auto& ids : hits) {
    for (FeatureId& id : ids) id = popular.Draw(&random);
  }
  std::vector<double> hot, cold;
  for (int round = 0; round < 6; ++round) {
    double begin = Now();
    for (const auto& ids : hits) buffer.Pull(store.get(), ids);
    const auto rows = static_cast<double>(hits.size()) * static_cast<double>(settings.batch);
    if (round > 0) hot.push_back(rows / (Now() - begin));
  }
  for (int round = 0; round < 5; ++round) {
    std::vector<FeatureId> rare(static_cast<size_t>(settings.batch));
    for (size_t i = 0; i < rare.size(); ++i) {
      const auto rows = static_cast<uint64_t>(settings.rows);
      rare[i] = MixBits(rows - 1 - (static_cast<uint64_t>(round) * rare.size() + i) % rows);
    }
    const double begin = Now();
    buffer.Pull(store.get(), rare);
    cold.push_back(static_cast<double>(settings.batch) / (Now() - begin));
  }
  const double model = 1.0 / (hit / Median(hot) + (1.0 - hit) / Median(cold));
  BenchLine line;
  line.name = absl::StrFormat("Zipf(%.2f) pull, memory for a tenth: %.1f %% hits", kZipfExponent,
                              100 * hit);
  line.measured = absl::StrFormat("%.2f M rows/s", 1e-6 * Median(rates));
  line.limit = absl::StrFormat("model %.2f (hot %.2f, cold %.2f)", 1e-6 * model, 1e-6 * Median(hot),
                               1e-6 * Median(cold));
  line.share = line.share_min = line.share_max = Median(rates) / model;
  PrintLine(line);
  store.reset();
  RemoveBenchPath(settings, "mixed");
}

}  // namespace pagoda
