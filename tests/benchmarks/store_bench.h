// What the sections of store_bench share: settings, clocks, and the race, in which two
// things take turns on the same ids, so that a machine that is now fast and now slow
// disturbs both alike.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "embedding_store/embedding_store.h"

namespace pagoda {

struct BenchSettings {
  int64_t rows = 4000000;
  int64_t batch = 16384;
  int64_t dim = 16;
  int threads = 1;
  double seconds = 2.0;      // Of one side of a race, all rounds together.
  int64_t memory_mb = 8000;  // Enough for all rows.
  double sustained_seconds = 0.0;
  std::string only;  // Names of sections, separated by commas; empty: all.
  std::string path = "/tmp/pagoda-store-bench";
};

// Ends the program with the message when something failed.
void Require(const absl::Status& status);
double Now();           // Seconds of a steady clock.
double ProcessorNow();  // Seconds of processor time of this process, all threads.

// One row of a table of results, for people and for the acceptance script:
//   name | measured | limit | share (lowest to highest) | goal
// `share` NaN: not known; `goal` 0: none.
struct BenchLine {
  std::string name;
  std::string measured, limit;
  double share = 0, share_min = 0, share_max = 0;
  double processor_share = 0;  // Of processor time instead of time; 0: not measured.
  double goal = 0;
};
void PrintLine(const BenchLine& line);
// The same where less is better: met when measured <= limit.
void PrintAtMost(const std::string& name, double measured, double limit, const char* unit);

// The middle of some rates, in millions of rows a second.
double Median(std::vector<double> values);

// Runs both in turn, `rounds` times each for settings.seconds / rounds, with rising batch
// numbers (the same for both), and prints the line with the median of the ratios. Each call
// does settings.batch rows. `round_batches_max` 0: no limit. An even number of rounds lets
// both go first equally often, which matters where the second finds what the first read in
// the processor's cache.
struct Race {
  const char* name = "";
  std::function<void(uint64_t batch)> ours, limit;
  const char* limit_name = "";
  double goal = 0;
  uint64_t round_batches_max = 0;
  int rounds = 5;
};
// Returns the median rates of both, rows a second.
struct RaceResult {
  double ours = 0, limit = 0;
};
RaceResult RunRace(const BenchSettings& settings, const Race& race);

// Distinct ids that are all below settings.rows (mixed): batches [0, count).
std::vector<std::vector<FeatureId>> MakeBatches(const BenchSettings& settings, size_t count);
inline constexpr size_t kBenchBatches = 64;

TableOptions BenchTable(const BenchSettings& settings);
std::unique_ptr<EmbeddingStore> OpenBenchStore(const BenchSettings& settings,
                                               const std::string& name, Durability durability,
                                               int64_t memory_mb, ThreadPool* pool);
std::string BenchPath(const BenchSettings& settings, const std::string& name);
void RemoveBenchPath(const BenchSettings& settings, const std::string& name);
// Loads ids MixBits(0 .. rows - 1) with weights made from them; returns seconds.
double FillStore(const BenchSettings& settings, EmbeddingStore* store);
std::vector<float> MakeGradients(const BenchSettings& settings);

// The sections. Each makes what it needs and removes it.
void BenchHot(const BenchSettings& settings);    // store_bench_hot.cc
void BenchBurst(const BenchSettings& settings);  // log on, and for minutes
void BenchExact(const BenchSettings& settings);  // rows brought up by 1,000 steps
void BenchCold(const BenchSettings& settings);   // store_bench_disk.cc
void BenchMixed(const BenchSettings& settings);  // Zipf, memory for a tenth
void BenchLoad(const BenchSettings& settings);   // store_bench_files.cc
void BenchCut(const BenchSettings& settings);    // and restoring it

}  // namespace pagoda
