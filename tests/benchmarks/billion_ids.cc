// Creates and trains a table of very many ids under a memory budget, and prints what it
// costs: bytes a row, rates, latencies, write amplification, cuts, reopening.
//
//   billion_ids [--ids 1000000000] [--path DIR] [--memory-mb 12288] [--batch 65536]
//               [--zipf 1.05] [--train-batches 2000] [--keep]
//
// Rows: dim 8 in f16, row-wise Adagrad. Ids are hashes of 0, 1, 2, ..., so they come in
// no order; every id is pushed once (created), then batches of 16,384 Zipf ranks are
// pulled and pushed. Where the disk has too little room for the ids asked (75 bytes
// each) the largest power of ten that fits is taken, and said. A run that was stopped
// or killed goes on where the store is: creation is numbered by the store's sequence.
//
// The part "reopen" kills a child with -9 while it pushes, and times the opening.
// Bytes written are those the process had the kernel write (/proc/self/io). Cuts are
// removed when they have been timed: the files of an older cut would stay on the disk.
//
// Exits with 1 when a row takes more than 50 bytes on disk, or creation so long that 1e9
// ids would need more than 2.5 hours; both are for at least 1e7 ids.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
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

constexpr int64_t kDim = 8;
constexpr int64_t kTrainBatch = 16384;
constexpr int64_t kDiskBytesPerId = 75;

// What the run is held to, from so many ids on.
constexpr int64_t kIdsHeldToGoals = 10000000;
constexpr double kBytesPerRowMax = 50;
constexpr double kRowsPerSecondMin = 1e9 / (2.5 * 3600);

struct Settings {
  int64_t ids = 1000000000;
  std::string path = "/tmp/pagoda-billion-ids";
  int64_t memory_mb = 12288;
  int64_t batch = 65536;
  int64_t train_batches = 2000;
  double zipf = 1.05;
  bool keep = false;
  bool child = false;  // Pushes until it is killed.
};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "billion_ids: %s\n", status.ToString().c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads of the process; on a shared machine it says more than the time does.
double ProcessorSeconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

FeatureId IdOf(int64_t rank) {
  return MixBits(static_cast<uint64_t>(rank) + 1);
}

// A line "name: number" of a file of /proc; 0 when there is none.
double ProcNumber(const char* file, const std::string& name) {
  std::ifstream in(file);
  std::string key;
  double value = 0;
  while (in >> key) {
    if (key == name + ":" && in >> value) return value;
  }
  return 0;
}

double BytesWritten() {
  return ProcNumber("/proc/self/io", "write_bytes");
}

// Rank of a Zipf law over [0, ids), by inverting the integral of x^-s: ranks are whole
// parts, so the head is a little flatter than the law's.
int64_t ZipfRank(RandomKey key, uint64_t counter, double s, int64_t ids) {
  const double u = static_cast<double>(RandomBits(key, counter) >> 11) * 0x1p-53;
  const double n = static_cast<double>(ids);
  const double x =
      s == 1.0 ? std::pow(n + 1, u) : std::pow((std::pow(n + 1, 1 - s) - 1) * u + 1, 1 / (1 - s));
  return std::clamp<int64_t>(static_cast<int64_t>(x) - 1, 0, ids - 1);
}

// The distinct ids of one Zipf batch.
std::vector<FeatureId> ZipfBatch(const Settings& settings, uint64_t number) {
  const RandomKey key = RandomKey{7}.Derive(number);
  std::vector<FeatureId> ids;
  for (int64_t i = 0; i < kTrainBatch; ++i) {
    ids.push_back(IdOf(ZipfRank(key, static_cast<uint64_t>(i), settings.zipf, settings.ids)));
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// Of a number as the row format writes it.
double VarintBytes(uint64_t number) {
  double bytes = 1;
  for (; number >= 128; number >>= 7) ++bytes;
  return bytes;
}

double Percentile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

class Run {
 public:
  explicit Run(const Settings& settings) : settings_(settings), pool_(2) {
    gradients_.resize(static_cast<size_t>(std::max(settings.batch, kTrainBatch) * kDim));
    for (size_t i = 0; i < gradients_.size(); ++i) {
      gradients_[i] = RandomUniform(RandomKey{3}, i) - 0.5f;
    }
  }

  void Open() {
    StoreOptions options;
    options.path = settings_.path + "/store";
    options.memory_bytes = settings_.memory_mb << 20;
    options.log_bytes_max = int64_t{4} << 30;
    options.pool = &pool_;
    const double begin = Now();
    auto store = EmbeddingStore::Open(options);
    Require(store.status());
    store_ = *std::move(store);
    TableOptions table;
    table.name = "ids";
    table.dim = kDim;
    table.seed = 1;
    table.precision = RowPrecision::kF16;
    table.optimizer.kind = SparseOptimizerKind::kRowwiseAdagrad;
    auto index = store_->OpenTable(table);
    Require(index.status());
    table_ = *index;
    open_seconds_ = Now() - begin;
  }
  void Close() { store_.reset(); }
  double open_seconds() const { return open_seconds_; }

  void Push(const std::vector<FeatureId>& ids) {
    const StorePush push{table_, ids, {gradients_.data(), ids.size() * kDim}};
    Require(store_->Push({&push, 1}, static_cast<Step>(store_->sequence() + 1), 1.0f));
  }

  int64_t num_batches() const { return (settings_.ids + settings_.batch - 1) / settings_.batch; }

  void Create() {
    const auto first = static_cast<int64_t>(store_->sequence());
    if (first >= num_batches()) return;
    if (first > 0) std::printf("creation goes on at batch %ld of %ld\n", first, num_batches());
    const double begin = Now(), written = BytesWritten(), processor = ProcessorSeconds();
    double last = begin;
    std::vector<FeatureId> ids;
    for (int64_t b = first; b < num_batches(); ++b) {
      ids.clear();
      const int64_t end = std::min(settings_.ids, (b + 1) * settings_.batch);
      for (int64_t rank = b * settings_.batch; rank < end; ++rank) ids.push_back(IdOf(rank));
      Push(ids);
      if (Now() - last > 30) {
        last = Now();
        std::printf("  %ld of %ld ids, %.0f rows/s, %.1f GB on disk\n", end, settings_.ids,
                    static_cast<double>(end - first * settings_.batch) / (last - begin),
                    1e-9 * static_cast<double>(DirectoryBytes(settings_.path)));
        std::fflush(stdout);
      }
    }
    const double rows = static_cast<double>(settings_.ids - first * settings_.batch);
    const double seconds = Now() - begin;
    created_per_second_ = rows / seconds;
    std::printf("| creation | %.2f M rows/s, %.0f s; %.1f us of processor time a row |\n",
                1e-6 * rows / seconds, seconds, 1e6 * (ProcessorSeconds() - processor) / rows);
    written_per_row_ = (BytesWritten() - written) / rows;
  }

  void Cut(const std::string& name) {
    const std::string path = settings_.path + "/" + name;
    std::filesystem::remove_all(path);
    const double begin = Now();
    auto cut = store_->Cut(path);
    Require(cut.status());
    std::printf("| cut (%s) | %.1f s, %lu rows |\n", name.c_str(), Now() - begin, cut->rows);
    std::filesystem::remove_all(path);
  }

  void Sizes() {
    auto stats = store_->Stat();
    Require(stats.status());
    const StoreTableStat& stat = stats->at(table_);
    bytes_per_row_ = static_cast<double>(stat.bytes_disk) / static_cast<double>(stat.rows);
    constexpr double kVersion = 1, kWeights = 2 * kDim, kAccumulator = 4, kUpdates = 1;
    constexpr double kRocksSequence = 8, kFilter = 1.25;
    const double numbers = 2 * VarintBytes(store_->sequence() / 2) + kUpdates;
    const double rest =
        bytes_per_row_ - kVersion - kWeights - kAccumulator - numbers - kRocksSequence - kFilter;
    std::printf("| rows | %lu |\n", stat.rows);
    std::printf(
        "| bytes a row on disk | %.1f: weights %.0f, accumulator %.0f, version %.0f, sequence, "
        "step "
        "and count %.0f, RocksDB's sequence and type %.0f, filter %.2f; the rest, %.1f, is the key "
        "less what it shares with the one before, lengths, index, and rows not yet merged |\n",
        bytes_per_row_, kWeights, kAccumulator, kVersion, numbers, kRocksSequence, kFilter, rest);
    if (written_per_row_ > 0) {
      std::printf(
          "| bytes written while creating | %.0f a row: %.1f times what it takes, the log "
          "(%ld) included |\n",
          written_per_row_, written_per_row_ / bytes_per_row_, 8 + 4 * kDim);
    }
  }

  // Whether the goals are met, as far as they were measured.
  bool Meets() const {
    if (settings_.ids < kIdsHeldToGoals) return true;
    return bytes_per_row_ <= kBytesPerRowMax &&
           (created_per_second_ == 0 || created_per_second_ >= kRowsPerSecondMin);
  }

  void Train() {
    std::vector<double> pulls, pushes;
    std::vector<float> weights(static_cast<size_t>(kTrainBatch * kDim));
    double rows = 0;
    const double written = BytesWritten();
    // The first quarter fills the memory tier with what is hot, and is not counted.
    const int64_t warm = settings_.train_batches / 4;
    for (int64_t b = 0; b < warm + settings_.train_batches; ++b) {
      const std::vector<FeatureId> ids = ZipfBatch(settings_, static_cast<uint64_t>(b));
      const StorePull pull{table_, ids, weights.data()};
      const double begin = Now();
      Require(store_->Pull({&pull, 1}));
      const double pulled = Now();
      Push(ids);
      if (b < warm) continue;
      pulls.push_back(pulled - begin);
      pushes.push_back(Now() - pulled);
      rows += static_cast<double>(ids.size());
    }
    const auto report = [&](const char* name, const std::vector<double>& seconds) {
      double sum = 0;
      for (const double s : seconds) sum += s;
      std::printf(
          "| %s, Zipf(%.2f) batches of 16,384 ranks | %.2f M rows/s; a batch p50 %.1f ms, "
          "p99 %.1f ms |\n",
          name, settings_.zipf, 1e-6 * rows / sum, 1e3 * Percentile(seconds, 0.5),
          1e3 * Percentile(seconds, 0.99));
    };
    report("pull", pulls);
    report("push", pushes);
    const double per_row = (BytesWritten() - written) / rows;
    std::printf("| bytes written a pushed row | %.0f: %.1f times what it takes |\n", per_row,
                per_row / bytes_per_row_);
  }

 private:
  const Settings settings_;
  ThreadPool pool_;
  std::vector<float> gradients_;
  std::unique_ptr<EmbeddingStore> store_;
  uint32_t table_ = 0;
  double open_seconds_ = 0;
  double created_per_second_ = 0;  // 0: all were there.
  double written_per_row_ = 0;
  double bytes_per_row_ = 0;
};

// Pushes in a child for some seconds, kills it, and opens the store again.
void KillAndReopen(const Settings& settings, char** argv, Run& run) {
  run.Close();
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<char*> words;
    for (char** word = argv; *word != nullptr; ++word) words.push_back(*word);
    static char flag[] = "--child";
    words.push_back(flag);
    words.push_back(nullptr);
    ::execv("/proc/self/exe", words.data());
    ::_exit(127);
  }
  const std::string ready = settings.path + "/child-pushes";
  for (int i = 0; i < 6000 && !std::filesystem::exists(ready); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  std::this_thread::sleep_for(std::chrono::seconds(5));
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  std::filesystem::remove(ready);
  if (!WIFSIGNALED(status)) {
    std::fprintf(stderr, "billion_ids: the child ended by itself\n");
    std::exit(1);
  }
  const auto log = static_cast<double>(DirectoryBytes(settings.path + "/store/state-000001/log"));
  run.Open();
  std::printf("| reopen after kill -9 | %.1f s, %.0f MB of log |\n", run.open_seconds(),
              1e-6 * log);
}

void PushUntilKilled(const Settings& settings) {
  Run run(settings);
  run.Open();
  std::ofstream(settings.path + "/child-pushes") << "now\n";
  for (uint64_t b = 1000000;; ++b) run.Push(ZipfBatch(settings, b));
}

Settings Parse(int argc, char** argv) {
  Settings settings;
  const std::map<std::string, int64_t*> numbers = {{"--ids", &settings.ids},
                                                   {"--memory-mb", &settings.memory_mb},
                                                   {"--batch", &settings.batch},
                                                   {"--train-batches", &settings.train_batches}};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--keep") {
      settings.keep = true;
    } else if (word == "--child") {
      settings.child = true;
    } else if (i + 1 < argc && numbers.contains(word)) {
      *numbers.at(word) = std::max<int64_t>(1, std::atoll(argv[++i]));
    } else if (i + 1 < argc && word == "--path") {
      settings.path = argv[++i];
    } else if (i + 1 < argc && word == "--zipf") {
      settings.zipf = std::atof(argv[++i]);
    } else {
      std::fprintf(stderr, "billion_ids: cannot understand %s\n", word.c_str());
      std::exit(2);
    }
  }
  return settings;
}

// As many ids as the disk has room for.
void FitDisk(Settings* settings) {
  std::filesystem::create_directories(settings->path);
  const double room = static_cast<double>(std::filesystem::space(settings->path).available) +
                      static_cast<double>(DirectoryBytes(settings->path));
  if (static_cast<double>(settings->ids) * kDiskBytesPerId <= room) return;
  int64_t fits = 1;
  while (static_cast<double>(10 * fits) * kDiskBytesPerId <= room) fits *= 10;
  std::printf("%ld ids need %.1f GB and the disk has %.1f GB free: %ld ids instead\n",
              settings->ids, 1e-9 * static_cast<double>(settings->ids) * kDiskBytesPerId,
              1e-9 * room, fits);
  settings->ids = fits;
}

int Main(int argc, char** argv) {
  Settings settings = Parse(argc, argv);
  if (settings.child) PushUntilKilled(settings);
  FitDisk(&settings);
  std::printf("%ld ids, dim 8 in f16, row-wise Adagrad, %ld MiB of memory\n\n| | |\n|---|---|\n",
              settings.ids, settings.memory_mb);
  std::fflush(stdout);
  bool met = false;
  {
    const ResourceWatch peak(settings.path, 1000);
    Run run(settings);
    run.Open();
    run.Create();
    run.Cut("cut-created");
    run.Sizes();
    run.Train();
    run.Cut("cut-trained");
    met = run.Meets();
    KillAndReopen(settings, argv, run);
    std::printf("| peak on disk, a cut included | %.1f GB |\n",
                1e-9 * static_cast<double>(peak.disk()));
    std::printf("| peak of memory (RssAnon + RssShmem) | %.2f GB |\n",
                1e-9 * static_cast<double>(peak.resident()));
  }
  if (!settings.keep) std::filesystem::remove_all(settings.path);
  return met ? 0 : 1;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  pagoda::TuneHeap();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // It is watched for hours.
  return pagoda::Main(argc, argv);
}
