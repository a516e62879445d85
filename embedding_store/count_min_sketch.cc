#include "embedding_store/count_min_sketch.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr char kPageVersion = 1;
constexpr size_t kPageHeaderBytes = 1 + 8 + 4;

// Two hashes beside the one that chooses the bucket give four places.
constexpr uint64_t kPlaceSalts[] = {0x8f1bbcdc5a827999ULL, 0xca62c1d66ed9eba1ULL};

uint8_t Halved(uint8_t counter, uint32_t times) {
  return times >= 8 ? uint8_t{0} : static_cast<uint8_t>(counter >> times);
}

}  // namespace

CountMinSketch::CountMinSketch(uint32_t width)
    : width_(width),
      counters_(std::make_unique<uint8_t[]>(static_cast<size_t>(BytesOf(width)))),
      pages_(kPages) {
  PAGODA_CHECK(width >= 1 && width <= (1u << 20));
}

uint32_t CountMinSketch::PageOf(FeatureId id) {
  return BucketOf(id) / kBucketsPerPage;
}

void CountMinSketch::Places(FeatureId id, size_t* places) const {
  const size_t bucket = size_t{BucketOf(id)} * kDepth * width_;
  for (uint32_t row = 0; row < kDepth; ++row) {
    const uint64_t hash = MixBits(id ^ kPlaceSalts[row / 2]);
    const uint64_t half = row % 2 == 0 ? hash >> 32 : hash & 0xffffffff;
    places[row] = bucket + size_t{row} * width_ + static_cast<size_t>((half * width_) >> 32);
  }
}

uint32_t CountMinSketch::Estimate(FeatureId id, uint32_t period) const {
  const Page& page = pages_[PageOf(id)];
  size_t places[kDepth];
  Places(id, places);
  uint8_t least = kCountMax;
  for (const size_t place : places) least = std::min(least, counters_[place]);
  return Halved(least, period > page.period ? period - page.period : 0);
}

void CountMinSketch::AgePage(uint32_t page, uint32_t period) {
  const uint32_t times = period > pages_[page].period ? period - pages_[page].period : 0;
  if (times == 0) return;
  pages_[page].period = period;
  uint8_t* counters = counters_.get() + page * page_bytes();
  for (size_t i = 0; i < page_bytes(); ++i) counters[i] = Halved(counters[i], times);
}

void CountMinSketch::Count(std::span<const FeatureId> ids, uint32_t period, uint64_t sequence) {
  std::vector<uint8_t> raised(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint32_t page = PageOf(ids[i]);
    if (sequence <= pages_[page].loaded_sequence) continue;
    AgePage(page, period);
    const uint32_t count = Estimate(ids[i], period);
    raised[i] = static_cast<uint8_t>(std::min(count + 1, kCountMax));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    Page& page = pages_[PageOf(ids[i])];
    if (sequence <= page.loaded_sequence) continue;
    size_t places[kDepth];
    Places(ids[i], places);
    for (const size_t place : places) counters_[place] = std::max(counters_[place], raised[i]);
    page.sequence = sequence;
    page.changed = true;
  }
}

std::vector<uint32_t> CountMinSketch::TakeChanged() {
  std::vector<uint32_t> changed;
  for (uint32_t page = 0; page < kPages; ++page) {
    if (!pages_[page].changed) continue;
    pages_[page].changed = false;
    changed.push_back(page);
  }
  return changed;
}

void CountMinSketch::MarkChanged(uint32_t page) {
  pages_[page].changed = true;
}

std::string CountMinSketch::EncodePage(uint32_t page) const {
  std::string bytes(1, kPageVersion);
  bytes.append(reinterpret_cast<const char*>(&pages_[page].sequence), sizeof(uint64_t));
  bytes.append(reinterpret_cast<const char*>(&pages_[page].period), sizeof(uint32_t));
  bytes.append(reinterpret_cast<const char*>(counters_.get() + page * page_bytes()), page_bytes());
  return bytes;
}

absl::Status CountMinSketch::DecodePage(uint32_t page, absl::string_view bytes) {
  if (!bytes.empty() && bytes[0] != kPageVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("admission counters have format version ", static_cast<int>(bytes[0]),
                     ", this build reads ", static_cast<int>(kPageVersion)));
  }
  if (page >= kPages || bytes.size() != kPageHeaderBytes + page_bytes()) {
    return absl::DataLossError(absl::StrCat("page ", page, " of the admission counters has ",
                                            bytes.size(), " bytes instead of ",
                                            kPageHeaderBytes + page_bytes()));
  }
  Page& loaded = pages_[page];
  std::memcpy(&loaded.sequence, bytes.data() + 1, sizeof(uint64_t));
  std::memcpy(&loaded.period, bytes.data() + 9, sizeof(uint32_t));
  loaded.loaded_sequence = loaded.sequence;
  loaded.changed = false;
  std::memcpy(counters_.get() + page * page_bytes(), bytes.data() + kPageHeaderBytes, page_bytes());
  return absl::OkStatus();
}

void CountMinSketch::Merge(const CountMinSketch& other, uint32_t begin, uint32_t end) {
  PAGODA_CHECK(other.width_ == width_);
  const size_t bucket_bytes = size_t{kDepth} * width_;
  for (uint32_t bucket = begin; bucket < end; ++bucket) {
    const uint32_t page = bucket / kBucketsPerPage;
    const uint8_t* from = other.counters_.get() + bucket * bucket_bytes;
    if (std::all_of(from, from + bucket_bytes, [](uint8_t c) { return c == 0; })) continue;
    const uint32_t period = other.pages_[page].period;
    AgePage(page, period);
    const uint32_t times = pages_[page].period - period;
    uint8_t* to = counters_.get() + bucket * bucket_bytes;
    for (size_t i = 0; i < bucket_bytes; ++i) to[i] = std::max(to[i], Halved(from[i], times));
    pages_[page].changed = true;
  }
}

}  // namespace pagoda
