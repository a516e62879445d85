// store_bench: what moves whole tables: bulk load, cut, restore.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "tests/benchmarks/peers/raw_rocksdb.h"
#include "tests/benchmarks/store_bench.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

// Key, header as it usually is, weights and accumulators.
size_t StoredBytes(const BenchSettings& settings) {
  return static_cast<size_t>(10 + 8 * settings.dim);
}

std::vector<fs::path> FilesUnder(const std::string& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

// So that what is read next comes from the disk (as far as the machine's host lets it).
void DropFromPageCache(const std::vector<fs::path>& files) {
  for (const fs::path& file : files) {
    const int fd = ::open(file.c_str(), O_RDONLY);
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

// Reads all files, and writes them to `to` one after another, synced. Returns seconds of
// each.
std::pair<double, double> CopyThrough(const std::vector<fs::path>& files, const std::string& to) {
  std::string buffer(size_t{4} << 20, '\0');
  const auto read_all = [&](int out) {
    for (const fs::path& file : files) {
      const int in = ::open(file.c_str(), O_RDONLY);
      for (ssize_t got = 1; in >= 0 && got > 0;) {
        got = ::read(in, buffer.data(), buffer.size());
        if (got > 0 && out >= 0 && ::write(out, buffer.data(), static_cast<size_t>(got)) != got) {
          Require(absl::UnavailableError("cannot write " + to));
        }
      }
      ::close(in);
    }
  };
  DropFromPageCache(files);
  const double begin = Now();
  read_all(-1);
  const double read = Now() - begin;
  const int out = ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const double write_begin = Now();
  read_all(out);
  ::fsync(out);
  const double copied = Now() - write_begin;
  ::close(out);
  fs::remove(to);
  return {read, copied};
}

struct CutTimes {
  double seconds = 0;
  double stall_ms = 0;  // The longest pull beside it.
  double usual_ms = 0;  // The longest of as many pulls before it.
};

// A cut while another thread pulls rows that are in memory.
CutTimes CutBesidePulls(const BenchSettings& settings, EmbeddingStore* store,
                        const std::string& directory) {
  const auto batches = MakeBatches(settings, kBenchBatches);
  std::atomic<bool> ready{false};
  std::atomic<int> phase{0};  // 0: before the cut, 1: while it is made, 2: over.
  double longest[2] = {0, 0};
  std::thread puller([&] {
    std::vector<float> weights(static_cast<size_t>(settings.batch * settings.dim));
    for (const std::vector<FeatureId>& ids : batches) {
      const StorePull pull{0, ids, weights.data()};  // Into memory.
      Require(store->Pull({&pull, 1}));
    }
    ready = true;
    for (uint64_t i = 0; phase < 2; ++i) {
      const StorePull pull{0, batches[i % batches.size()], weights.data()};
      const int at = phase;
      const double begin = Now();
      Require(store->Pull({&pull, 1}));
      longest[at] = std::max(longest[at], 1e3 * (Now() - begin));
    }
  });
  while (!ready) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  phase = 1;
  const double begin = Now();
  Require(store->Cut(directory).status());
  CutTimes times;
  times.seconds = Now() - begin;
  phase = 2;
  puller.join();
  times.stall_ms = longest[1];
  times.usual_ms = longest[0];
  return times;
}

}  // namespace

void BenchLoad(const BenchSettings& settings) {
  constexpr int kRounds = 3;
  ThreadPool pool(settings.threads);
  const auto rows = static_cast<double>(settings.rows);
  std::vector<double> rates, limits, ratios, processor_rates, processor_ratios;
  for (int round = 0; round < kRounds; ++round) {
    RemoveBenchPath(settings, "load");
    auto store = OpenBenchStore(settings, "load", Durability::kNone, settings.memory_mb, &pool);
    const double load_begin = ProcessorNow();
    rates.push_back(rows / FillStore(settings, store.get()));
    processor_rates.push_back(rows / (ProcessorNow() - load_begin));
    store.reset();
    RemoveBenchPath(settings, "load");
    const auto raw = RawRocksdb::Create(BenchPath(settings, "raw"), int64_t{64} << 20, &pool);
    const double begin = Now();
    const double processor_begin = ProcessorNow();
    raw->IngestSorted(settings.rows, StoredBytes(settings), BenchPath(settings, "raw"));
    limits.push_back(rows / (Now() - begin));
    processor_ratios.push_back(processor_rates.back() * (ProcessorNow() - processor_begin) / rows);
    RemoveBenchPath(settings, "raw");
    ratios.push_back(rates.back() / limits.back());
  }
  BenchLine line;
  line.name = absl::StrFormat("bulk load, rows in any order, synced; %.2f M a processor second",
                              1e-6 * Median(processor_rates));
  line.measured = absl::StrFormat("%.2f M rows/s", 1e-6 * Median(rates));
  line.limit = absl::StrFormat("SstFileWriter, sorted rows %.2f", 1e-6 * Median(limits));
  line.share = Median(ratios);
  line.share_min = *std::min_element(ratios.begin(), ratios.end());
  line.share_max = *std::max_element(ratios.begin(), ratios.end());
  line.processor_share = Median(processor_ratios);
  PrintLine(line);
  line.name = "bulk load beside 1.5 M rows/s";
  line.limit = "goal 1.50";
  line.share = line.share_min = line.share_max = Median(rates) / 1.5e6;
  line.processor_share = 0;
  line.goal = settings.rows >= 1000000 ? 1.0 : 0.0;  // A tiny run is all file creation.
  PrintLine(line);
}

void BenchCut(const BenchSettings& settings) {
  ThreadPool pool(settings.threads);
  RemoveBenchPath(settings, "cutting");
  auto store = OpenBenchStore(settings, "cutting", Durability::kProcess, settings.memory_mb, &pool);
  FillStore(settings, store.get());
  const auto batches = MakeBatches(settings, static_cast<size_t>(settings.rows / settings.batch));
  const std::vector<float> gradients = MakeGradients(settings);
  Step step = 0;
  const auto push_part = [&](double part) {
    const auto end =
        std::max<size_t>(1, static_cast<size_t>(part * static_cast<double>(batches.size())));
    for (size_t b = 0; b < end; ++b) {
      const StorePush push{0, batches[b], gradients};
      Require(store->Push({&push, 1}, ++step, 1.0f));
    }
  };
  std::string last;
  int number = 0;
  for (const double part : {0.0, 0.1, 1.0}) {
    if (part > 0) push_part(part);
    last = BenchPath(settings, absl::StrFormat("cut-%d", number++));
    fs::remove_all(last);
    const CutTimes times = CutBesidePulls(settings, store.get(), last);
    const std::string name =
        absl::StrFormat("cut, %.0f %% of rows changed since the last flush", 100 * part);
    // Goals are for a job that cuts as it trains: a flush has written most of what changed.
    if (part <= 0.1) {
      PrintAtMost(name, times.seconds, 2.0, "s");
      PrintAtMost("  the longest pull meanwhile", times.stall_ms, 100.0, "ms");
    } else {
      BenchLine line;
      line.name = name;
      line.measured = absl::StrFormat("%.2f s", times.seconds);
      line.limit =
          absl::StrFormat("longest pull %.0f ms, before %.0f", times.stall_ms, times.usual_ms);
      line.share = std::numeric_limits<double>::quiet_NaN();
      PrintLine(line);
    }
  }
  const std::vector<fs::path> files = FilesUnder(last);
  double bytes = 0;
  for (const fs::path& file : files) bytes += static_cast<double>(fs::file_size(file));
  std::vector<double> shares, rates;
  double read = 0, copied = 0;
  for (int round = 0; round < 3; ++round) {
    std::tie(read, copied) = CopyThrough(files, BenchPath(settings, "copied"));
    DropFromPageCache(files);
    const double begin = Now();
    Require(store->Restore(last, ""));
    Require(store->OpenTable(BenchTable(settings)).status());
    const double seconds = Now() - begin;
    rates.push_back(bytes / seconds);
    shares.push_back(read / seconds);
  }
  BenchLine line;
  line.name = "restore: every byte read from the disk and checked, files linked";
  line.measured = absl::StrFormat("%.2f GB/s", 1e-9 * Median(rates));
  line.limit = absl::StrFormat("reading them %.2f, copying them synced %.2f", 1e-9 * bytes / read,
                               1e-9 * bytes / copied);
  line.share = Median(shares);
  line.share_min = *std::min_element(shares.begin(), shares.end());
  line.share_max = *std::max_element(shares.begin(), shares.end());
  line.goal = 0.60;
  PrintLine(line);
  store.reset();
  RemoveBenchPath(settings, "cutting");
  for (int i = 0; i < number; ++i) RemoveBenchPath(settings, absl::StrFormat("cut-%d", i));
}

}  // namespace pagoda
