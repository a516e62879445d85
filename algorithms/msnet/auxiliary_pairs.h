// Which events MSNet's auxiliary loss asks about in a batch, and against which others: a plan
// made on the host, of places alone.
//
// An event j of the limited stream of sample i is asked about with what its user did before:
// "was it this item, or one of R others?" The others are limited events of other users in the
// global batch, of j's category and not of j's item; when the batch has none such, of any
// category; when none again, that comparison is left out.
//
// Draws are keyed by the sample's global index and look at the global batch alone, so that
// whichever worker has a sample asks the same about it.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/nn/parallel_history.h"
#include "base/ids.h"
#include "base/random.h"

namespace pagoda {

// Limited events of some samples, on the host.
struct LimitedEvents {
  const nn::EventStream* stream = nullptr;
  const std::vector<FeatureId>* items = nullptr;       // [all events of the samples]
  const std::vector<FeatureId>* categories = nullptr;  // [all events of the samples]
  std::vector<FeatureId> users;                        // [samples]
};

struct AuxiliaryInput {
  LimitedEvents own;  // Of this worker's samples: asked about.
  const nn::EventStream* deep = nullptr;
  LimitedEvents pool;         // Of the global batch's samples: compared with.
  uint64_t first_sample = 0;  // Global index of the first own sample.
};

struct AuxiliarySettings {
  int64_t events = 4;     // Asked about per sample, at most.
  int64_t negatives = 4;  // R.
  int64_t window = 10;    // Of each stream, the last so many events before j tell of the user.
  RandomKey key;
};

// Terms t are the events asked about, sample by sample, ascending within one. Places in the
// limited (deep) stream are positions in its `rows`.
struct AuxiliaryPairs {
  std::vector<int32_t> terms;                  // [terms] place of j in the own limited stream.
  std::vector<int32_t> earlier_limited;        // Places in the limited stream, before j ...
  std::vector<int32_t> limited_offsets = {0};  // [terms + 1]
  std::vector<int32_t> earlier_deep;           // ... and in the deep stream.
  std::vector<int32_t> deep_offsets = {0};     // [terms + 1]
  // Comparisons, up to R of each term, ascending by term.
  std::vector<int32_t> other_term;
  std::vector<int32_t> others;  // Among all events of the pool's samples.
};

// An event is asked about only when something comes before it in its sample's streams; of more
// than settings.events such, that many drawn without replacement.
AuxiliaryPairs DrawAuxiliaryPairs(const AuxiliaryInput& input, const AuxiliarySettings& settings);

}  // namespace pagoda
