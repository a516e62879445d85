// Writers that own disjoint ids, and what a store must hold of them after a crash: for
// each writer the rows after its acknowledged pushes plus some prefix of those that were
// not acknowledged, bit for bit. A writer's pushes follow from seed, writer and number
// alone, so a run is known by its seed and the numbers acknowledged.
//
// Threads: PushOf and Send any; an oracle one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "embedding_store/embedding_store.h"

namespace pagoda {

inline constexpr uint32_t kWriters = 4;

// Push `number` (from 1) of a writer: step `number`, one part a table.
struct WriterPush {
  struct Part {
    std::vector<FeatureId> ids;
    std::vector<float> gradients;  // [ids.size(), dim]
  };
  std::vector<Part> parts;
  Step step = 0;
  float learning_rate_factor = 1.0f;
};

const std::vector<TableOptions>& OracleTables();
WriterPush PushOf(uint64_t seed, uint32_t writer, uint64_t number);
// Sends it with PushOnce: client `writer`, incarnation 1, sequence `number`.
absl::Status Send(EmbeddingStore& store, uint64_t seed, uint32_t writer, uint64_t number);

// The rows of one writer, in memory.
class WriterOracle {
 public:
  WriterOracle(uint64_t seed, uint32_t writer) : seed_(seed), writer_(writer) {}

  void AdvanceTo(uint64_t number);
  // DATA_LOSS  `rows` (by table and id) are not these, to the last bit; names one.
  absl::Status Compare(const std::map<std::pair<uint32_t, FeatureId>, StoredRow>& rows) const;

 private:
  struct Row {
    std::vector<float> values;  // Weights, then slots.
    Step last_step = 0;
  };
  const uint64_t seed_;
  const uint32_t writer_;
  uint64_t number_ = 0;
  std::map<std::pair<uint32_t, FeatureId>, Row> rows_;
};

class RunOracle {
 public:
  explicit RunOracle(uint64_t seed);

  using Numbers = std::array<uint64_t, kWriters>;

  // Holds the store against at least `low` and at most `high` pushes of each writer,
  // and never fewer than the last time.
  //   DATA_LOSS  pushes are missing or too many, or a row differs (says which)
  absl::Status Check(EmbeddingStore& store, const Numbers& low, const Numbers& high);

  uint64_t rows() const { return rows_; }  // Compared, in all.

 private:
  std::vector<WriterOracle> writers_;
  uint64_t rows_ = 0;
};

}  // namespace pagoda
