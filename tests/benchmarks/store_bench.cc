// Throughput of the embedding store, each figure beside a limit measured in the same run.
//
//   store_bench [--rows 4000000] [--batch 16384] [--dim 16] [--threads 1] [--seconds 2]
//               [--memory-mb 8000] [--sustained-seconds 0] [--path DIR]
//               [--only hot,burst,exact,cold,mixed,load,cut]
//
//   hot     pull and push of rows in memory, beside a bare table (bare_table.h) and an
//           absl::flat_hash_map with prefetch
//   burst   push with the log, beside push without; for minutes with --sustained-seconds
//   exact   pull of rows of an exact table after 1,000 steps without them
//   cold    pull of rows on disk, beside RocksDB's MultiGet (peers/raw_rocksdb.h)
//   mixed   Zipf(1.05) pulls with memory for a tenth of the rows, beside what hit rate and
//           the two rates alone predict
//   load    bulk load, beside RocksDB's SstFileWriter fed with sorted rows
//   cut     a cut beside pulls, and restoring it, beside reading and writing its bytes
//
// Rates are medians of rounds in turn (store_bench.h); ratios say more than rates.
#include "tests/benchmarks/store_bench.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace pagoda {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "store_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double ProcessorNow() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void PrintLine(const BenchLine& line) {
  std::string share = "-";
  std::string goal = "-";
  if (!std::isnan(line.share)) {
    share = absl::StrFormat("%.0f %%", 100 * line.share);
    if (line.share_min < line.share_max) {
      absl::StrAppendFormat(&share, " (%.0f to %.0f)", 100 * line.share_min, 100 * line.share_max);
    }
    if (line.processor_share > 0) {
      absl::StrAppendFormat(&share, "; of processor time %.0f %%", 100 * line.processor_share);
    }
  }
  if (line.goal > 0) {
    goal =
        absl::StrFormat("%.0f %% %s", 100 * line.goal, line.share >= line.goal ? "met" : "MISSED");
  }
  std::printf("| %s | %s | %s | %s | %s |\n", line.name.c_str(), line.measured.c_str(),
              line.limit.c_str(), share.c_str(), goal.c_str());
  std::fflush(stdout);
}

void PrintAtMost(const std::string& name, double measured, double limit, const char* unit) {
  std::printf("| %s | %.3g %s | - | - | at most %g %s %s |\n", name.c_str(), measured, unit, limit,
              unit, measured <= limit ? "met" : "MISSED");
  std::fflush(stdout);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

RaceResult RunRace(const BenchSettings& settings, const Race& race) {
  struct Turn {
    double rate = 0, processor_rate = 0;
  };
  std::vector<double> rates, limits, ratios, processor_ratios;
  uint64_t next = 0;
  const auto run = [&](const std::function<void(uint64_t)>& batch_of) {
    const double start = Now();
    const double processor_start = ProcessorNow();
    double rows = 0;
    uint64_t i = next;
    uint64_t done = 0;
    do {
      batch_of(i++);
      rows += static_cast<double>(settings.batch);
    } while (Now() - start < settings.seconds / race.rounds && ++done != race.round_batches_max);
    const Turn turn = {rows / (Now() - start), rows / (ProcessorNow() - processor_start)};
    next = std::max(next, i);
    return turn;
  };
  for (int round = 0; round < race.rounds; ++round) {
    // Who goes first meets whatever the ids' rows left behind; take turns in that, too.
    const bool ours_first = round % 2 == 0;
    const uint64_t begin = next;
    Turn ours = run(ours_first ? race.ours : race.limit);
    const uint64_t end = next;
    next = begin;
    Turn limit = run(ours_first ? race.limit : race.ours);
    next = std::max(next, end);
    if (!ours_first) std::swap(ours, limit);
    rates.push_back(ours.rate);
    limits.push_back(limit.rate);
    ratios.push_back(ours.rate / limit.rate);
    processor_ratios.push_back(ours.processor_rate / limit.processor_rate);
  }
  BenchLine line;
  line.name = race.name;
  line.measured = absl::StrFormat("%.2f M rows/s", 1e-6 * Median(rates));
  line.limit = absl::StrFormat("%s %.2f", race.limit_name, 1e-6 * Median(limits));
  line.share = Median(ratios);
  line.share_min = *std::min_element(ratios.begin(), ratios.end());
  line.share_max = *std::max_element(ratios.begin(), ratios.end());
  line.processor_share = Median(processor_ratios);
  line.goal = race.goal;
  PrintLine(line);
  return {Median(rates), Median(limits)};
}

std::vector<std::vector<FeatureId>> MakeBatches(const BenchSettings& settings, size_t count) {
  const auto rows = static_cast<uint64_t>(settings.rows);
  const auto batch = static_cast<uint64_t>(settings.batch);
  std::vector<std::vector<FeatureId>> batches(count, std::vector<FeatureId>(batch));
  // As long as they last no two batches share an id.
  const uint64_t stride = rows / batch;
  for (uint64_t b = 0; b < count; ++b) {
    const uint64_t start = b < stride ? b : MixBits(b) % rows;
    for (uint64_t k = 0; k < batch; ++k) batches[b][k] = MixBits((start + k * stride) % rows);
    // In no order that memory knows.
    std::sort(batches[b].begin(), batches[b].end(),
              [&](FeatureId x, FeatureId y) { return MixBits(x ^ b) < MixBits(y ^ b); });
  }
  return batches;
}

TableOptions BenchTable(const BenchSettings& settings) {
  TableOptions table;
  table.name = "table";
  table.dim = settings.dim;
  table.optimizer.kind = SparseOptimizerKind::kAdagrad;
  return table;
}

std::string BenchPath(const BenchSettings& settings, const std::string& name) {
  return absl::StrCat(settings.path, "-", name);
}

void RemoveBenchPath(const BenchSettings& settings, const std::string& name) {
  std::filesystem::remove_all(BenchPath(settings, name));
}

std::unique_ptr<EmbeddingStore> OpenBenchStore(const BenchSettings& settings,
                                               const std::string& name, Durability durability,
                                               int64_t memory_mb, ThreadPool* pool) {
  StoreOptions options;
  options.path = BenchPath(settings, name);
  options.memory_bytes = memory_mb << 20;
  options.log_bytes_max = int64_t{4} << 30;
  options.flush_age_seconds = 3600;
  options.pool = pool;
  options.durability = durability;
  auto store = EmbeddingStore::Open(options);
  Require(store.status());
  Require((*store)->OpenTable(BenchTable(settings)).status());
  return *std::move(store);
}

double FillStore(const BenchSettings& settings, EmbeddingStore* store) {
  const auto batch = static_cast<size_t>(settings.batch);
  std::vector<FeatureId> ids;
  std::vector<float> weights(batch * static_cast<size_t>(settings.dim));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = RandomUniform(RandomKey{1}, i) - 0.5f;
  uint64_t at = 0;
  const double begin = Now();
  Require(store
              ->BulkLoad(0, 0,
                         [&]() -> absl::StatusOr<RowsToLoad> {
                           ids.clear();
                           while (ids.size() < batch && at < static_cast<uint64_t>(settings.rows)) {
                             ids.push_back(MixBits(at++));
                           }
                           RowsToLoad rows;
                           rows.ids = ids;
                           rows.weights = std::span(weights).first(
                               ids.size() * static_cast<size_t>(settings.dim));
                           return rows;
                         })
              .status());
  return Now() - begin;
}

std::vector<float> MakeGradients(const BenchSettings& settings) {
  std::vector<float> gradients(static_cast<size_t>(settings.batch * settings.dim));
  for (size_t i = 0; i < gradients.size(); ++i) {
    gradients[i] = RandomUniform(RandomKey{2}, i) - 0.5f;
  }
  return gradients;
}

namespace {

bool Parse(int argc, char** argv, BenchSettings* settings) {
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
    } else if (name == "--sustained-seconds") {
      settings->sustained_seconds = std::atof(value);
    } else if (name == "--memory-mb") {
      settings->memory_mb = std::atoll(value);
    } else if (name == "--only") {
      settings->only = value;
    } else if (name == "--path") {
      settings->path = value;
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && settings->batch > 0 && settings->rows >= settings->batch &&
         settings->dim > 0 && settings->threads > 0;
}

bool Run(const BenchSettings& settings) {
  const std::vector<std::pair<std::string, void (*)(const BenchSettings&)>> sections = {
      {"hot", BenchHot},     {"burst", BenchBurst}, {"exact", BenchExact}, {"cold", BenchCold},
      {"mixed", BenchMixed}, {"load", BenchLoad},   {"cut", BenchCut}};
  std::vector<std::string> wanted;
  if (!settings.only.empty()) wanted = absl::StrSplit(settings.only, ',');
  for (const std::string& name : wanted) {
    const auto is_it = [&](const auto& section) { return section.first == name; };
    if (std::none_of(sections.begin(), sections.end(), is_it)) return false;
  }
  std::printf("%lld rows of dim %lld, batches of %lld, %d thread%s\n\n",
              static_cast<long long>(settings.rows), static_cast<long long>(settings.dim),
              static_cast<long long>(settings.batch), settings.threads,
              settings.threads == 1 ? "" : "s");
  std::printf("| | measured | limit in the same run | share (lowest to highest) | goal |\n");
  std::printf("|---|---|---|---|---|\n");
  for (const auto& [name, section] : sections) {
    const bool chosen = std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    if (wanted.empty() || chosen) section(settings);
  }
  return true;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  // Large buffers are reused instead of being mapped afresh for each batch.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 2000000000);
  mallopt(M_TOP_PAD, 64 << 20);
  pagoda::BenchSettings settings;
  if (!pagoda::Parse(argc, argv, &settings) || !pagoda::Run(settings)) {
    std::fprintf(stderr, "store_bench: see the comment at the top of store_bench.cc\n");
    return 2;
  }
  return 0;
}
