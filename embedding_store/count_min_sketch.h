// How often ids that have no row were pushed lately: a count-min sketch in parts, one for
// each bucket, so that the counts move with their bucket when rows move between servers,
// and what is said of an id depends on the ids of its own bucket alone.
//
//   bucket   kDepth rows of `width` one-byte counters; an id has one in each row
//   page     kBucketsPerPage buckets: what is written, and what a sequence guards
//
// Count raises an id's counters that are lowest (conservative update), all from the state
// before the call, so that the order of the ids does not matter. Every new period halves
// all counters, rounding down, as often as periods have begun: an estimate is never below
// the count that one counter of the id alone, halved alike, would hold.
//
// Threads: one at a time; const calls may share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/ids.h"

namespace pagoda {

class CountMinSketch {
 public:
  static constexpr uint32_t kDepth = 4;
  static constexpr uint32_t kBucketsPerPage = 64;
  static constexpr uint32_t kPages = kNumBuckets / kBucketsPerPage;
  static constexpr uint32_t kCountMax = 255;  // Counters stop there.

  // REQUIRES: width in [1, 2^20].
  explicit CountMinSketch(uint32_t width);

  uint32_t width() const { return width_; }
  static int64_t BytesOf(uint32_t width) { return int64_t{kNumBuckets} * kDepth * width; }
  int64_t bytes() const { return BytesOf(width_); }
  static uint32_t PageOf(FeatureId id);

  // Appearances of `id` as counted, in `period`; a period before the last one counted in
  // reads as that one.
  uint32_t Estimate(FeatureId id, uint32_t period) const;

  // One more appearance of each of `ids`, which are distinct, in push `sequence`. Pages
  // that were loaded with that push in them stay as they are, so that counting again what
  // is on disk changes nothing.
  void Count(std::span<const FeatureId> ids, uint32_t period, uint64_t sequence);

  // Pages counted in since they were last taken, rising. `MarkChanged` gives one back.
  std::vector<uint32_t> TakeChanged();
  void MarkChanged(uint32_t page);

  uint64_t PageSequence(uint32_t page) const { return pages_[page].sequence; }

  // A page's bytes (docs/formats.md), and their opposite.
  //   DATA_LOSS            they are not a page of this width
  //   FAILED_PRECONDITION  another format version
  std::string EncodePage(uint32_t page) const;
  absl::Status DecodePage(uint32_t page, absl::string_view bytes);

  // Takes in the counters of `other`, of the same width, for the buckets [begin, end):
  // where both have some the higher stay. The sequences of `other` do not count here.
  void Merge(const CountMinSketch& other, uint32_t begin, uint32_t end);

 private:
  struct Page {
    uint64_t sequence = 0;         // Of the last push counted.
    uint64_t loaded_sequence = 0;  // The same, as it was loaded.
    uint32_t period = 0;           // That the counters are of.
    bool changed = false;
  };

  // Where the counters of `id` are, [kDepth].
  void Places(FeatureId id, size_t* places) const;
  void AgePage(uint32_t page, uint32_t period);
  size_t page_bytes() const { return size_t{kBucketsPerPage} * kDepth * width_; }

  const uint32_t width_;
  std::unique_ptr<uint8_t[]> counters_;  // [kNumBuckets, kDepth, width_]
  std::vector<Page> pages_;
};

}  // namespace pagoda
