// Throughput of the embedding store: pulls and pushes of rows that are in memory, of
// rows that are on disk, reopening after a kill, flushing, and a cut.
//
//   store_bench [--rows 4000000] [--batch 16384] [--dim 16] [--threads 1]
//               [--seconds 1] [--memory-mb 3072] [--durability process|none] [--path DIR]
//
// The hot path is raced against a bare table in memory (bare_table.h), the two in turn,
// and shown as a share of its speed; --durability none leaves the log out.
//
// Rates are medians of five repetitions, with the lowest and highest, and beside
// them the calling thread's processor time, which other load disturbs less.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "embedding_store/embedding_store.h"
#include "tests/benchmarks/bare_table.h"

namespace pagoda {
namespace {

struct Settings {
  int64_t rows = 4000000;
  int64_t batch = 16384;
  int64_t dim = 16;
  int threads = 1;
  double seconds = 1.0;
  int64_t memory_mb = 3072;
  std::string durability = "process";
  std::string path = "/tmp/pagoda-store-bench";
};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "store_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of this thread: with --threads 1 that is the work of the batches, without
// RocksDB's merging in the background.
double CpuNow() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Prints the time since construction.
class Stopwatch {
 public:
  void Print(const char* name) const {
    std::printf("%-34s %8.3f s       %8.3f s of processor\n", name, Now() - start_,
                CpuNow() - cpu_start_);
  }

 private:
  double start_ = Now();
  double cpu_start_ = CpuNow();
};

// Runs `batch_of(i)` for about `seconds` in five repetitions and prints rows/s.
void Measure(const char* name, const Settings& settings, double seconds,
             const std::function<void(uint64_t)>& batch_of) {
  constexpr int kRepetitions = 5;
  std::vector<double> rates;
  uint64_t i = 0;
  const double cpu_start = CpuNow();
  int64_t all_rows = 0;
  for (int r = 0; r < kRepetitions; ++r) {
    int64_t rows = 0;
    const double start = Now();
    double taken = 0;
    do {
      batch_of(i++);
      rows += settings.batch;
      taken = Now() - start;
    } while (taken < seconds / kRepetitions);
    all_rows += rows;
    rates.push_back(static_cast<double>(rows) / taken / 1e6);
  }
  const double cpu_ns = (CpuNow() - cpu_start) * 1e9 / static_cast<double>(all_rows);
  std::sort(rates.begin(), rates.end());
  std::printf("%-34s %8.3f Mrows/s %8.1f ns a row of processor (%.3f to %.3f)\n", name,
              rates[kRepetitions / 2], cpu_ns, rates.front(), rates.back());
}

// Runs both in turn, five times, and prints rows/s of each and the median of the ratios.
void Race(const char* name, const Settings& settings, const std::function<void(uint64_t)>& ours,
          const std::function<void(uint64_t)>& bare) {
  constexpr int kRounds = 5;
  std::vector<double> rates, bare_rates, ratios;
  uint64_t i = 0;
  const auto rate = [&](const std::function<void(uint64_t)>& batch_of) {
    const double start = Now();
    double rows = 0;
    do {
      batch_of(i++);
      rows += static_cast<double>(settings.batch);
    } while (Now() - start < settings.seconds / kRounds);
    return 1e-6 * rows / (Now() - start);
  };
  for (int round = 0; round < kRounds; ++round) {
    rates.push_back(rate(ours));
    bare_rates.push_back(rate(bare));
    ratios.push_back(rates.back() / bare_rates.back());
  }
  for (std::vector<double>* values : {&rates, &bare_rates, &ratios}) {
    std::sort(values->begin(), values->end());
  }
  std::printf("%-34s %8.3f Mrows/s, bare table %8.3f: %.0f %% (%.0f to %.0f)\n", name, rates[2],
              bare_rates[2], 100 * ratios[2], 100 * ratios.front(), 100 * ratios.back());
}

// Distinct ids: a random starting point and an odd stride through [0, rows).
void FillIds(uint64_t batch, int64_t rows, std::vector<FeatureId>* ids) {
  const auto n = static_cast<uint64_t>(rows);
  const uint64_t start = MixBits(batch) % n;
  const uint64_t stride = (MixBits(batch ^ 77) % n) | 1;
  uint64_t at = start;
  for (FeatureId& id : *ids) {
    id = MixBits(at % n);
    at += stride;
  }
  std::sort(ids->begin(), ids->end());
  const auto end = std::unique(ids->begin(), ids->end());
  // Repeats (a stride that shares a factor with n) become ids nobody else has.
  for (auto it = end; it != ids->end(); ++it) *it = ~MixBits(batch * 100003 + (it - end));
}

StoreOptions MakeOptions(const Settings& settings, ThreadPool* pool) {
  StoreOptions options;
  options.path = settings.path;
  options.memory_bytes = settings.memory_mb << 20;
  options.log_bytes_max = int64_t{4} << 30;
  options.pool = pool;
  options.durability = settings.durability == "none" ? Durability::kNone : Durability::kProcess;
  return options;
}

TableOptions MakeTable(const Settings& settings) {
  TableOptions table;
  table.name = "table";
  table.dim = settings.dim;
  table.optimizer.kind = SparseOptimizerKind::kAdagrad;
  return table;
}

std::unique_ptr<EmbeddingStore> OpenStore(const StoreOptions& options) {
  auto store = EmbeddingStore::Open(options);
  Require(store.status());
  return *std::move(store);
}

// Opens a copy of the store at options.path, which is as a kill would leave it, and
// prints what replaying its log takes.
void MeasureReplay(const char* what, StoreOptions options, int64_t memory_bytes) {
  const std::string killed = options.path + "-killed";
  std::filesystem::remove_all(killed);
  std::filesystem::copy(options.path, killed, std::filesystem::copy_options::recursive);
  double megabytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(killed)) {
    if (file.path().extension() == ".log" && file.path().parent_path().filename() == "log") {
      megabytes += static_cast<double>(file.file_size()) / (1 << 20);
    }
  }
  options.path = killed;
  options.memory_bytes = memory_bytes;
  const double begin = Now();
  auto store = OpenStore(options);
  const double seconds = Now() - begin;
  std::printf("%-34s %8.3f s for %.0f MiB of log, %.0f MiB/s\n", what, seconds, megabytes,
              megabytes / seconds);
  store.reset();
  std::filesystem::remove_all(killed);
}

void Run(const Settings& settings) {
  std::filesystem::remove_all(settings.path);
  ThreadPool pool(settings.threads);
  StoreOptions options = MakeOptions(settings, &pool);
  auto store = OpenStore(options);
  Require(store->OpenTable(MakeTable(settings)).status());

  const auto batch = static_cast<size_t>(settings.batch);
  std::vector<FeatureId> ids(batch);
  std::vector<float> values(batch * static_cast<size_t>(settings.dim));
  std::vector<float> gradients(values.size());
  for (size_t i = 0; i < gradients.size(); ++i) {
    gradients[i] = RandomUniform(RandomKey{1}, i) - 0.5f;
  }
  Step step = 0;
  auto push_ids = [&] {
    const StorePush push{0, ids, gradients};
    Require(store->Push({&push, 1}, ++step, 1.0f));
  };
  auto pull_ids = [&] {
    const StorePull pull{0, ids, values.data()};
    Require(store->Pull({&pull, 1}));
  };

  const Stopwatch fill;
  for (int64_t at = 0; at < settings.rows; at += settings.batch) {
    for (size_t i = 0; i < batch; ++i) {
      ids[i] = MixBits(static_cast<uint64_t>(at) + i);
    }
    push_ids();
  }
  fill.Print("push of all rows, new to the store");

  std::vector<std::vector<FeatureId>> batches(64, std::vector<FeatureId>(batch));
  for (uint64_t b = 0; b < batches.size(); ++b) FillIds(b, settings.rows, &batches[b]);
  Measure("pull, rows in memory, uniform", settings, settings.seconds, [&](uint64_t i) {
    ids.swap(batches[i % batches.size()]);
    pull_ids();
    ids.swap(batches[i % batches.size()]);
  });
  Measure("push adagrad, log on, uniform", settings, settings.seconds, [&](uint64_t i) {
    ids.swap(batches[i % batches.size()]);
    push_ids();
    ids.swap(batches[i % batches.size()]);
  });
  {
    BareTable bare(settings.rows, settings.dim, settings.dim, &pool);
    for (int64_t i = 0; i < settings.rows; ++i) bare.Insert(MixBits(static_cast<uint64_t>(i)));
    // Ids that are all there: FillIds adds others where its stride repeats.
    for (uint64_t b = 0; b < batches.size(); ++b) {
      const uint64_t start = MixBits(b) % static_cast<uint64_t>(settings.rows);
      const uint64_t stride = static_cast<uint64_t>(settings.rows) / batch;
      for (size_t k = 0; k < batch; ++k) {
        batches[b][k] = MixBits((start + k * stride) % static_cast<uint64_t>(settings.rows));
      }
    }
    const auto batch_number = [&](uint64_t i) -> std::vector<FeatureId>& {
      return batches[i % batches.size()];
    };
    Race(
        "hot pull", settings,
        [&](uint64_t i) {
          ids.swap(batch_number(i));
          pull_ids();
          ids.swap(batch_number(i));
        },
        [&](uint64_t i) { bare.Pull(batch_number(i), values.data()); });
    Race(
        "hot push, adagrad", settings,
        [&](uint64_t i) {
          ids.swap(batch_number(i));
          push_ids();
          ids.swap(batch_number(i));
        },
        [&](uint64_t i) { bare.PushAdagrad(batch_number(i), gradients.data(), 0.01f); });
  }
  const Stopwatch first_cut;
  const auto cut = store->Cut(settings.path + "-cut");
  Require(cut.status());
  first_cut.Print("cut, after those pushes");
  const Stopwatch second_cut;
  const auto again = store->Cut(settings.path + "-cut2");
  Require(again.status());
  second_cut.Print("cut, nothing new");

  const int64_t less_memory = std::max(int64_t{64} << 20, options.memory_bytes / 16);
  for (size_t i = 0; i < 4 * batches.size(); ++i) {
    ids = batches[i % batches.size()];
    push_ids();
  }
  MeasureReplay("open after a kill", options, options.memory_bytes);
  MeasureReplay("open after a kill, 1/16 of memory", options, less_memory);
  const Stopwatch reopen;
  store.reset();
  options.memory_bytes = less_memory;
  store = OpenStore(options);
  reopen.Print("close and open");
  Measure("pull, 1/16 of the memory", settings, settings.seconds, [&](uint64_t i) {
    FillIds(i + 1000, settings.rows, &ids);
    pull_ids();
  });
  Measure("push, 1/16 of the memory", settings, settings.seconds, [&](uint64_t i) {
    FillIds(i + 5000, settings.rows, &ids);
    push_ids();
  });
  store.reset();
  store = OpenStore(options);
  const Stopwatch hashing;
  const auto hash = store->ContentHash();
  Require(hash.status());
  hashing.Print("content hash, scanning all");
  store.reset();
  uint64_t disk = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(settings.path)) {
    if (file.is_regular_file()) disk += file.file_size();
  }
  std::printf("%-34s %8.1f bytes a row\n", "disk",
              static_cast<double>(disk) / static_cast<double>(settings.rows));
  std::filesystem::remove_all(settings.path);
  std::filesystem::remove_all(settings.path + "-cut");
  std::filesystem::remove_all(settings.path + "-cut2");
}

bool Parse(int argc, char** argv, Settings* settings) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--rows") {
      settings->rows = std::atoll(value);
    } else if (name == "--batch") {
      settings->batch = std::atoll(value);
    } else if (name == "--dim") {
      settings->dim = std::atoll(value);
    } else if (name == "--threads") {
      settings->threads = std::atoi(value);
    } else if (name == "--seconds") {
      settings->seconds = std::atof(value);
    } else if (name == "--memory-mb") {
      settings->memory_mb = std::atoll(value);
    } else if (name == "--durability") {
      settings->durability = value;
    } else if (name == "--path") {
      settings->path = value;
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && settings->batch > 0 && settings->rows >= settings->batch &&
         settings->threads > 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  // Large buffers are reused instead of being mapped afresh for each batch.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2000000000);
  mallopt(M_TOP_PAD, 64 << 20);
  pagoda::Settings settings;
  if (!pagoda::Parse(argc, argv, &settings)) {
    std::fprintf(stderr, "store_bench: see the comment at the top of store_bench.cc\n");
    return 2;
  }
  pagoda::Run(settings);
  return 0;
}
