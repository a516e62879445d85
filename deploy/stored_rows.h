// The rows that a path on this disk holds, opened for reading only: what `pagoda
// table` and `pagoda checkpoint` look at.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "embedding_store/embedding_store.h"

namespace pagoda {

// Statistics of one table over all shards.
struct TableSummary {
  TableOptions options;
  uint64_t rows = 0;
  uint64_t bytes_disk = 0;
  uint64_t row_bytes_disk = 0;  // As StoreTableStat's.
  uint64_t row_bytes_memory = 0;
  uint64_t refused = 0;  // As well; of all shards.
  uint64_t evicted = 0;
};

// The directories of the stores or cuts under `path`, in shard order: of a job's cut its
// servers', of a server's data directory its store; else `path` itself.
//   NOT_FOUND  no such directory, or the cut names directories that are not here
absl::StatusOr<std::vector<std::string>> StoreDirectories(const std::string& path);

class StoredRows {
 public:
  // `path`: a job's cut, a server's cut, or a stopped server's data directory.
  //   NOT_FOUND  none of these, or the cut names directories that are not here
  //   whatever EmbeddingStore::Open returns
  static absl::StatusOr<std::unique_ptr<StoredRows>> Open(const std::string& path);

  // Every table by name.
  absl::StatusOr<std::map<std::string, TableSummary>> Tables();
  //   NOT_FOUND  no such table (names those there are), or the row was never pushed
  absl::StatusOr<StoredRow> Get(const std::string& table, FeatureId id);
  // Weights [ids.size(), dim] of a table; an id without a row reads as its initial value.
  absl::Status Pull(const std::string& table, const std::vector<FeatureId>& ids, float* weights);
  // Every stored row, shard by shard.
  absl::Status Scan(const std::function<void(const std::string& table, const StoredRow&)>& visit);
  // The same until `visit` returns false.
  absl::Status ScanWhile(
      const std::function<bool(const std::string& table, const StoredRow&)>& visit);
  // The same for any number of shards.
  absl::StatusOr<uint64_t> ContentHash();

 private:
  struct Shard {
    std::unique_ptr<EmbeddingStore> store;
    std::map<std::string, uint32_t> tables;  // Index by name.
  };
  StoredRows() = default;
  absl::Status AddShard(const std::string& directory);
  absl::StatusOr<uint32_t> TableOf(const Shard& shard, const std::string& table) const;
  Shard& ShardFor(FeatureId id);

  std::vector<Shard> shards_;
};

// How far apart two sets of numbers are.
struct Difference {
  double largest = 0;    // max |a - b|
  double magnitude = 0;  // max |b|
  uint64_t compared = 0;
  void Add(double a, double b);
  // largest / magnitude; infinite when only the magnitude is 0.
  double Ratio() const;
};

// Weights of all rows that either side holds, by table of either side.
//   FAILED_PRECONDITION  a table is on one side only, or of another dimension
absl::StatusOr<std::map<std::string, Difference>> CompareRows(StoredRows& a, StoredRows& b);

}  // namespace pagoda
