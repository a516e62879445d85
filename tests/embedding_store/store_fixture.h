// What the store's tests share: scratch directories, ordinary tables, random pushes
// made from a seed, and an oracle that holds rows in a map and updates them with
// formulas written a second time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "embedding_store/embedding_store.h"

namespace pagoda {

// An empty directory, removed with all in it at the end.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

TableOptions MakeTable(const std::string& name, int64_t dim, SparseOptimizerKind kind);

StoreOptions MakeStore(const std::string& path);

// Opens or fails the test.
std::unique_ptr<EmbeddingStore> OpenStore(const StoreOptions& options);
uint32_t OpenTableOf(EmbeddingStore& store, const TableOptions& options);
uint64_t HashOfStore(EmbeddingStore& store);
std::vector<float> PullRows(EmbeddingStore& store, uint32_t table,
                            const std::vector<FeatureId>& ids);

// {updates, last step} of each row, pulled beside the weights.
std::vector<uint32_t> PullStatistics(EmbeddingStore& store, uint32_t table,
                                     const std::vector<FeatureId>& ids);

// One push as a test makes it.
struct TestPush {
  struct Part {
    uint32_t table = 0;
    std::vector<FeatureId> ids;
    std::vector<float> gradients;
  };
  std::vector<Part> parts;
  Step step = 0;
  float learning_rate_factor = 1.0f;
};
absl::Status Apply(EmbeddingStore& store, const TestPush& push);

// The `number`-th push of a stream: up to `rows_max` distinct ids below `id_range` in
// each table, a function of all arguments alone.
TestPush RandomPush(const std::vector<TableOptions>& tables, uint64_t seed, uint64_t number,
                    size_t rows_max, uint64_t id_range);

// Every row in a std::map; formulas in f32, in the documented order, not shared
// with base/row_update.h.
class StoreOracle {
 public:
  struct Row {
    std::vector<float> weights, slots;
    Step last_step = 0;
    uint32_t updates = 0;
  };
  using Key = std::pair<uint32_t, FeatureId>;

  explicit StoreOracle(std::vector<TableOptions> tables) : tables_(std::move(tables)) {}

  void Push(const TestPush& push);
  Row RowOf(uint32_t table, FeatureId id) const;  // Initial when never pushed.
  const std::map<Key, Row>& rows() const { return rows_; }

  // "" when the store holds exactly these rows, bit for bit; else what differs.
  std::string Compare(EmbeddingStore& store) const;

 private:
  std::vector<TableOptions> tables_;
  std::map<Key, Row> rows_;
};

// `x` as a 16-bit number of `precision`: the neighbour below plus `part` of the way (0.5:
// to nearest, ties to even), in double.
float OracleRound(RowPrecision precision, float x, double part);

// One step by the formulas, for one row. Only adagrad_decay looks at `step`.
void OracleUpdate(const SparseOptimizerOptions& options, float learning_rate, const float* gradient,
                  StoreOracle::Row* row, Step step = 0);

}  // namespace pagoda
