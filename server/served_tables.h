// The tables a server serves: the worker's specification, the store's options and
// indices. A table keeps its index here (the one workers use on the wire) for
// the life of the process, also when a rewind renumbers the store's tables.
//
// Threads: none of its own; the owner locks (readers share).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "embedding_store/embedding_store.h"
#include "proto/parameter_server.pb.h"
#include "server/parameter_service.h"

namespace pagoda {

//   INVALID_ARGUMENT  a name or number is out of range, or the optimizer is unknown
absl::StatusOr<TableOptions> TableOptionsFromSpec(const proto::TableSpec& spec);
proto::TableSpec SpecFromTableOptions(const TableOptions& options);

class ServedTables {
 public:
  static constexpr size_t kTablesMax = 4096;

  struct Entry {
    TableOptions options;
    uint32_t store_index = 0;
  };

  // Creates or compares the tables in the store; their indices, in order.
  //   INVALID_ARGUMENT     see TableOptionsFromSpec; a name appears twice
  //   FAILED_PRECONDITION  stored with other settings (says which)
  absl::StatusOr<std::vector<uint32_t>> Declare(std::span<const proto::TableSpec> specs,
                                                EmbeddingStore& store);

  // The same for a session that only reads: nothing is created or changed, and
  // only what the values of rows depend on is compared.
  //   NOT_FOUND            a table is not stored
  //   FAILED_PRECONDITION  stored with another dim, seed or initializer
  absl::StatusOr<std::vector<uint32_t>> Find(std::span<const proto::TableSpec> specs,
                                             const EmbeddingStore& store);

  // After the store has been rewound: asks it for its indices again.
  absl::Status Reopen(EmbeddingStore& store);

  // nullptr when there is none of that index.
  const Entry* Get(uint32_t table) const {
    return table < entries_.size() ? &entries_[table] : nullptr;
  }

  // Exact tables that take pushes: they take every step, with or without ids.
  std::vector<uint32_t> ExactTables() const;

  // Checks that tables are known, appear once, and hold at most `ids_max` ids in all.
  //   NOT_FOUND           there is no table of that index
  //   INVALID_ARGUMENT    a table appears twice
  //   RESOURCE_EXHAUSTED  more ids than the limit
  absl::Status CheckPull(std::span<const ServicePull> tables, int64_t ids_max) const;

  // The same for a push, and that gradients have n * dim values.
  //   FAILED_PRECONDITION  a table is frozen
  absl::Status CheckPush(std::span<const ServicePush> tables, int64_t ids_max) const;

  // "table 'user' (index 2)"
  std::string Describe(uint32_t table) const;

 private:
  uint32_t Remember(const TableOptions& options, uint32_t store_index);

  std::vector<Entry> entries_;
};

// Exact tables need sync mode, where steps are steps of the whole job (DESIGN ruling 8).
//   FAILED_PRECONDITION  names the table
absl::Status CheckExactMode(const std::string& mode, std::span<const proto::TableSpec> specs);

// Checks what a merge of several workers' pushes would hide from the store: ids
// are distinct, gradients finite, and ids belong to shard `shard` of `num_shards`.
//   INVALID_ARGUMENT  names table and id
absl::Status CheckPushRows(const ServicePush& push, const std::string& table, int64_t dim);
absl::Status CheckPushShard(const ServicePush& push, const std::string& table, uint32_t shard,
                            uint32_t num_shards);

}  // namespace pagoda
