// `pagoda table load`: rows from files into a stopped server's table.

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/npy_rows.h"
#include "deploy/stored_rows.h"
#include "embedding_store/embedding_store.h"
#include "server/data_directory.h"

namespace pagoda {
namespace {

// The table's index among those stored.
absl::StatusOr<uint32_t> FindTable(const std::vector<TableOptions>& tables, const std::string& name,
                                   const std::string& path) {
  std::string names;
  for (size_t t = 0; t < tables.size(); ++t) {
    if (tables[t].name == name) return static_cast<uint32_t>(t);
    absl::StrAppend(&names, names.empty() ? "" : ", ", tables[t].name);
  }
  return absl::NotFoundError(absl::StrCat(path, " has no table '", name, "'; tables: ", names));
}

// Rows go to the servers by the order of the directories.
absl::Status CheckShard(const std::string& path, const ShardPlace& expected) {
  PAGODA_ASSIGN_OR_RETURN(const DataDirectory directory, DataDirectory::Open(path, true));
  PAGODA_ASSIGN_OR_RETURN(const std::optional<ShardPlace> place, directory.ReadShardPlace());
  if (!place || *place == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, " is shard ", place->shard, " of ", place->num_shards,
                   ", but is given as ", expected.shard, " of ", expected.num_shards,
                   ": name the directories of all of the job's servers in their order"));
}

}  // namespace

absl::StatusOr<int> RunTableLoad(const TableLoadArguments& arguments) {
  std::vector<std::string> directories;
  for (const std::string& path : arguments.paths) {
    PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> found, StoreDirectories(path));
    if (found.size() != 1 || !std::filesystem::exists(found[0] + "/CURRENT")) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " is not a server's data directory; a cut cannot be loaded into"));
    }
    directories.push_back(found[0]);
  }
  const auto num_shards = static_cast<uint32_t>(directories.size());
  const auto begin = std::chrono::steady_clock::now();
  BulkLoadResult all;
  for (uint32_t shard = 0; shard < num_shards; ++shard) {
    PAGODA_RETURN_IF_ERROR(CheckShard(arguments.paths[shard], {shard, num_shards}));
  }
  for (uint32_t shard = 0; shard < num_shards; ++shard) {
    StoreOptions options;
    options.evicts_by_policy = false;
    options.path = directories[shard];
    options.memory_bytes = arguments.memory_mb << 20;
    PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingStore> store,
                            EmbeddingStore::Open(options));
    const std::vector<TableOptions> tables = store->tables();
    PAGODA_ASSIGN_OR_RETURN(const uint32_t table, FindTable(tables, arguments.table, options.path));
    const TableOptions& t = tables[table];
    PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<NpyRows> rows,
                            NpyRows::Open({arguments.ids, arguments.weights, arguments.slots},
                                          t.dim, SlotDim(t.optimizer.kind, t.dim)));
    PAGODA_ASSIGN_OR_RETURN(
        const BulkLoadResult loaded,
        store->BulkLoad(table, arguments.step, [&] { return rows->Next(shard, num_shards); }));
    all.rows += loaded.rows;
    all.replaced += loaded.replaced;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  absl::PrintF("table %s: %d rows loaded in %.1f s, %d of them were stored before\n",
               arguments.table, all.rows, seconds, all.replaced);
  return 0;
}

}  // namespace pagoda
