// The weights of one table's rows out of the cuts of another job's shards, as
// EmbeddingStore::BulkLoad takes them: how a stage hands its rows to the next.
//
//   CutWeights::Options from{nullptr, {"a/server-0/cuts/x", "a/server-1/cuts/x"}, "movie", 0, 4};
//   PAGODA_ASSIGN_OR_RETURN(const auto weights, CutWeights::Open(from));
//   store->BulkLoad(table, 0, [&] { return weights->Next(); });
//
// Rows come in key order (cut_rows.h), only those of this shard's range of buckets, and as
// a pull would read them: f32, and rows of exact tables brought up to the cut's step. Slots,
// step and update counts stay behind: an optimizer begins anew.
//
// Memory: about 10 MiB for each cut, and a part of the rows. Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "embedding_store/bulk_load.h"
#include "embedding_store/cut_rows.h"
#include "embedding_store/file_system.h"
#include "embedding_store/row_catch_up.h"
#include "embedding_store/row_format.h"

namespace pagoda {

class CutWeights {
 public:
  struct Options {
    FileSystem* file_system = nullptr;     // nullptr: the real one.
    std::vector<std::string> directories;  // The cut directories of all shards, in any order.
    std::string table;                     // As the cuts name it.
    uint32_t shard = 0;                    // Takes the ids with ShardOf(id, num_shards) == shard.
    uint32_t num_shards = 1;
  };
  //   INVALID_ARGUMENT  no directories, or shard >= num_shards
  //   NOT_FOUND         a directory is not a cut, or no cut has such a table (named)
  //   CutRows::Open's and MergeTableSteps' errors
  static absl::StatusOr<std::unique_ptr<CutWeights>> Open(const Options& options);

  const TableOptions& table() const { return rows_->tables()[index_]; }

  // The next rows, without slots; no ids at the end. Good until the next call.
  //   DATA_LOSS  a block or a row is damaged (names the row)
  absl::StatusOr<RowsToLoad> Next();

 private:
  CutWeights() = default;
  absl::Status FindSteps(const Options& options);
  // To the next row of the table, if there is one.
  absl::Status SkipOthers();

  std::unique_ptr<CutRows> rows_;
  uint32_t index_ = 0;  // Of the table in rows_->tables().
  RowShape shape_;
  std::unique_ptr<RowCatchUp> catch_up_;  // Of an exact table.
  std::vector<RowHeader> row_;            // Room for one row; aligned.
  std::vector<float> floats_;             // Of one row.
  std::vector<FeatureId> ids_;            // What Next returned.
  std::vector<float> weights_;
};

}  // namespace pagoda
