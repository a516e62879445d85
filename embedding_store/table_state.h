// What a store keeps of a table beside its rows, in parts that are written with each flush
// (docs/formats.md): part 0 are these counters, the parts from 1 on the pages of the
// admission's sketch (count_min_sketch.h).
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pagoda {

inline constexpr uint32_t kCountersPart = 0;
inline constexpr uint32_t kFirstSketchPart = 1;

// Since the table was created.
struct TableCounters {
  uint64_t sequence = 0;     // Of the last push that `refused` counts.
  uint64_t newest_step = 0;  // That the table was pushed at.
  uint64_t refused = 0;      // Gradients dropped because their id was not admitted.
  uint64_t evicted = 0;      // Rows.

  friend bool operator==(const TableCounters&, const TableCounters&) = default;
};

std::string EncodeTableCounters(const TableCounters& counters);
//   DATA_LOSS            they are not counters
//   FAILED_PRECONDITION  another format version
absl::Status DecodeTableCounters(absl::string_view bytes, TableCounters* counters);

}  // namespace pagoda
