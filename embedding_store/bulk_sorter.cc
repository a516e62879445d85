#include "embedding_store/bulk_sorter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/prefetch.h"

namespace pagoda {
namespace {

constexpr int kRangeShift = 8;  // Of the bucket's 16 bits.

// Rows are visited in another order than they lie in; the next ones are fetched ahead.
constexpr size_t kVisitAhead = 8;

FeatureId IdAt(const char* row) {
  FeatureId id = 0;
  std::memcpy(&id, row, sizeof(id));
  return id;
}

}  // namespace

BulkSorter::BulkSorter(const Options& options)
    : options_(options),
      row_bytes_(sizeof(FeatureId) + options.row_floats * sizeof(float)),
      buffer_rows_(
          std::max<size_t>(1, static_cast<size_t>(options.memory_bytes) / kRanges / row_bytes_)),
      buffers_(std::make_unique_for_overwrite<char[]>(kRanges * buffer_rows_ * row_bytes_)) {}

BulkSorter::~BulkSorter() {
  for (size_t r = 0; r < kRanges; ++r) {
    if (ranges_[r].file == nullptr) continue;
    ranges_[r].file.reset();
    // What is left over is removed when the store is opened.
    (void)options_.file_system->Remove(FileOf(r));
  }
}

std::string BulkSorter::FileOf(size_t range) const {
  return absl::StrCat(options_.directory, "/load-", range);
}

absl::StatusOr<float*> BulkSorter::Add(FeatureId id) {
  const size_t r = BucketOf(id) >> kRangeShift;
  Range& range = ranges_[r];
  if (range.buffered == buffer_rows_) PAGODA_RETURN_IF_ERROR(Spill(r));
  char* row = BufferOf(r) + range.buffered++ * row_bytes_;
  std::memcpy(row, &id, sizeof(id));
  ++rows_;
  return reinterpret_cast<float*>(row + sizeof(id));
}

absl::Status BulkSorter::Spill(size_t range) {
  Range& spilled = ranges_[range];
  if (spilled.file == nullptr) {
    PAGODA_ASSIGN_OR_RETURN(spilled.file, options_.file_system->Create(FileOf(range)));
  }
  const absl::string_view bytes(BufferOf(range), spilled.buffered * row_bytes_);
  PAGODA_RETURN_IF_ERROR(spilled.file->Append({&bytes, 1}));
  spilled.spilled += spilled.buffered;
  spilled.buffered = 0;
  return absl::OkStatus();
}

absl::Status BulkSorter::SortRange(size_t range, Sorted* sorted) const {
  const Range& from = ranges_[range];
  sorted->bytes.clear();
  sorted->rows = BufferOf(range);
  if (from.file != nullptr) {
    PAGODA_ASSIGN_OR_RETURN(sorted->bytes, options_.file_system->ReadAll(FileOf(range)));
    if (sorted->bytes.size() != from.spilled * row_bytes_) {
      return absl::DataLossError(absl::StrCat(FileOf(range), " has ", sorted->bytes.size(),
                                              " bytes, ", from.spilled * row_bytes_,
                                              " were written"));
    }
    sorted->bytes.append(BufferOf(range), from.buffered * row_bytes_);
    sorted->rows = sorted->bytes.data();
  }
  sorted->places.resize(from.spilled + from.buffered);
  for (size_t i = 0; i < sorted->places.size(); ++i) {
    const FeatureId id = IdAt(sorted->rows + i * row_bytes_);
    sorted->places[i] = {BucketOf(id), static_cast<uint32_t>(i), id};
  }
  std::sort(sorted->places.begin(), sorted->places.end(), [](const Place& a, const Place& b) {
    return a.bucket != b.bucket ? a.bucket < b.bucket : a.id < b.id;
  });
  return absl::OkStatus();
}

size_t BulkSorter::RangesAtOnce() const {
  uint64_t largest = 1;
  for (const Range& range : ranges_) {
    if (range.file != nullptr) largest = std::max(largest, range.spilled + range.buffered);
  }
  const uint64_t bytes = largest * (row_bytes_ + sizeof(Place));
  return std::clamp<size_t>(static_cast<uint64_t>(options_.memory_bytes) / bytes, 1, kRangesAtOnce);
}

absl::Status BulkSorter::Sort(const RunParts& run, const Visit& visit) {
  std::vector<Sorted> sorted(RangesAtOnce());
  for (size_t first = 0; first < kRanges; first += sorted.size()) {
    const size_t count = std::min(sorted.size(), kRanges - first);
    run(count, [&](size_t i) { sorted[i].status = SortRange(first + i, &sorted[i]); });
    for (size_t i = 0; i < count; ++i) {
      PAGODA_RETURN_IF_ERROR(sorted[i].status);
      const std::vector<Place>& places = sorted[i].places;
      const auto row_of = [&](size_t k) { return sorted[i].rows + places[k].index * row_bytes_; };
      for (size_t k = 0; k < places.size(); ++k) {
        if (k + kVisitAhead < places.size()) PrefetchLines(row_of(k + kVisitAhead), row_bytes_);
        PAGODA_RETURN_IF_ERROR(
            visit(places[k].id, reinterpret_cast<const float*>(row_of(k) + sizeof(FeatureId))));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
