// Which ids a table gives a row to, and how it decides.
//
// Without admission every id that is pushed gets a row. With it an id that has no row is
// refused until it is admitted: it reads as its seeded initial value, and its gradient is
// dropped and counted.
//
//   frequency    admitted by the push in which it appears for the `count`-th time, as a
//                count-min sketch counts it (count_min_sketch.h: never too few). Counts
//                halve every `window_steps` steps of the job
//   probability  each push that lists it admits it with `probability`, drawn from the
//                table's seed and name, the id and the step
//
// An appearance is one push that lists the id: one step in `sync` mode, whatever the
// number of workers; pulls do not count. A row that is evicted has to be admitted anew;
// what was counted before its admission still counts until it has aged.
//
// Decisions of one push rest on the counts before it, and on the id and its bucket alone:
// they are the same for any number of shards and threads. They are written to the log
// (PushRecord::Table::refused), so that a replay takes them from there. Why:
// docs/decisions/0005-admission.md.
//
// Threads: TableAdmission as CountMinSketch; the rest pure functions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random.h"
#include "embedding_store/count_min_sketch.h"

namespace pagoda {

enum class AdmissionKind : uint8_t { kNone = 0, kFrequency = 1, kProbability = 2 };

struct AdmissionOptions {
  AdmissionKind kind = AdmissionKind::kNone;
  int64_t count = 2;               // frequency: appearances up to the row; in [2, 255].
  int64_t window_steps = 1000000;  // frequency: steps after which counts halve; >= 1.
  int64_t sketch_mib = 4;          // frequency: memory of the counters; in [1, 4096].
  double probability = 0.1;        // probability: in (0, 1].

  friend bool operator==(const AdmissionOptions&, const AdmissionOptions&) = default;
};

//   INVALID_ARGUMENT  unknown (names the known ones)
absl::StatusOr<AdmissionKind> ParseAdmissionKind(const std::string& name);
// "none", "frequency" or "probability".
const char* AdmissionKindName(AdmissionKind kind);

//   INVALID_ARGUMENT  a member is out of its range (names it and the range)
absl::Status CheckAdmissionOptions(const AdmissionOptions& options);

// Counters in each row of a bucket: 1 MiB has four.
inline uint32_t SketchWidthOf(const AdmissionOptions& options) {
  return static_cast<uint32_t>(options.sketch_mib * 4);
}
// Memory that a table's admission takes, in bytes.
int64_t AdmissionBytes(const AdmissionOptions& options);

class TableAdmission {
 public:
  // `key`: of the table's initial values; draws are taken from a stream of their own.
  // `holds_counts` false: of a store that takes no pushes, and so needs no counters.
  TableAdmission(const AdmissionOptions& options, RandomKey key, bool holds_counts);

  // Whether a push at `step` admits an id that has no row.   REQUIRES: holds_counts.
  bool Admits(uint64_t id, int64_t step) const;

  // Counts what push `sequence` refused; see CountMinSketch::Count.
  void CountRefused(std::span<const uint64_t> ids, int64_t step, uint64_t sequence);

  CountMinSketch* sketch() { return sketch_.get(); }  // Null: none is needed.

 private:
  uint32_t PeriodOf(int64_t step) const {
    return static_cast<uint32_t>(step / options_.window_steps);
  }

  const AdmissionOptions options_;
  const RandomKey draws_;
  std::unique_ptr<CountMinSketch> sketch_;
};

}  // namespace pagoda
