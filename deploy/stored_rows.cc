#include "deploy/stored_rows.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

// Rows compared at a time.
constexpr size_t kChunkRows = 8192;

// Adds to `differences` the rows of `a` against `b`'s; with `swapped`, a is the
// second side of the comparison.
absl::Status CompareOneWay(StoredRows& a, StoredRows& b, bool swapped,
                           std::map<std::string, Difference>& differences) {
  struct Chunk {
    std::vector<FeatureId> ids;
    std::vector<float> weights;
  };
  std::map<std::string, Chunk> chunks;
  absl::Status status;
  const auto compare = [&](const std::string& table, Chunk& chunk) {
    std::vector<float> others(chunk.weights.size());
    if (status.ok()) status = b.Pull(table, chunk.ids, others.data());
    Difference& difference = differences[table];
    for (size_t i = 0; i < others.size(); ++i) {
      difference.Add(swapped ? others[i] : chunk.weights[i],
                     swapped ? chunk.weights[i] : others[i]);
    }
    chunk = Chunk();
  };
  PAGODA_RETURN_IF_ERROR(a.Scan([&](const std::string& table, const StoredRow& row) {
    Chunk& chunk = chunks[table];
    chunk.ids.push_back(row.id);
    chunk.weights.insert(chunk.weights.end(), row.weights.begin(), row.weights.end());
    if (chunk.ids.size() == kChunkRows) compare(table, chunk);
  }));
  for (auto& [table, chunk] : chunks) compare(table, chunk);
  return status;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> StoreDirectories(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) {
    return absl::NotFoundError(absl::StrCat("there is no directory ", path));
  }
  if (fs::is_directory(fs::path(path) / "store")) return std::vector<std::string>{path + "/store"};
  const absl::StatusOr<proto::JobCut> manifest = ReadCutManifest(path);
  if (absl::IsNotFound(manifest.status())) return std::vector<std::string>{path};
  PAGODA_RETURN_IF_ERROR(manifest.status());
  std::vector<std::string> directories;
  for (const proto::JobCut::Server& server : manifest->servers()) {
    if (!fs::is_directory(server.directory())) {
      return absl::NotFoundError(absl::StrCat("the cut ", path, " has rows in ", server.directory(),
                                              " of server ", server.address(),
                                              ", which is not on this machine"));
    }
    directories.push_back(server.directory());
  }
  return directories;
}

absl::StatusOr<std::unique_ptr<StoredRows>> StoredRows::Open(const std::string& path) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> directories, StoreDirectories(path));
  std::unique_ptr<StoredRows> rows(new StoredRows);
  for (const std::string& directory : directories) {
    PAGODA_RETURN_IF_ERROR_CONTEXT(rows->AddShard(directory), directory);
  }
  return rows;
}

absl::Status StoredRows::AddShard(const std::string& directory) {
  StoreOptions options;
  options.path = directory;
  options.read_only = true;
  Shard shard;
  PAGODA_ASSIGN_OR_RETURN(shard.store, EmbeddingStore::Open(options));
  const std::vector<TableOptions> tables = shard.store->tables();
  for (size_t i = 0; i < tables.size(); ++i) {
    shard.tables[tables[i].name] = static_cast<uint32_t>(i);
  }
  shards_.push_back(std::move(shard));
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> StoredRows::TableOf(const Shard& shard, const std::string& table) const {
  const auto at = shard.tables.find(table);
  if (at != shard.tables.end()) return at->second;
  return absl::NotFoundError(absl::StrCat(
      "there is no table '", table,
      "'; tables: ", absl::StrJoin(shard.tables, ", ", [](std::string* out, const auto& entry) {
        out->append(entry.first);
      })));
}

StoredRows::Shard& StoredRows::ShardFor(FeatureId id) {
  return shards_[ShardOf(id, static_cast<uint32_t>(shards_.size()))];
}

absl::StatusOr<std::map<std::string, TableSummary>> StoredRows::Tables() {
  std::map<std::string, TableSummary> tables;
  for (Shard& shard : shards_) {
    PAGODA_ASSIGN_OR_RETURN(const std::vector<StoreTableStat> stats, shard.store->Stat());
    for (const StoreTableStat& stat : stats) {
      TableSummary& table = tables[stat.options.name];
      table.options = stat.options;
      table.rows += stat.rows;
      table.bytes_disk += stat.bytes_disk;
      table.row_bytes_disk = stat.row_bytes_disk;
      table.row_bytes_memory = stat.row_bytes_memory;
      table.refused += stat.refused;
      table.evicted += stat.evicted;
    }
  }
  return tables;
}

absl::StatusOr<StoredRow> StoredRows::Get(const std::string& table, FeatureId id) {
  // One server's directory holds only its own shard of the job's rows, and does not
  // say how many there are: look in every shard.
  absl::Status status = absl::NotFoundError("there are no rows here");
  for (Shard& shard : shards_) {
    PAGODA_ASSIGN_OR_RETURN(const uint32_t index, TableOf(shard, table));
    absl::StatusOr<StoredRow> row = shard.store->Get(index, id);
    if (row.ok()) return row;
    status = row.status();
    if (!absl::IsNotFound(status)) break;
  }
  return status;
}

absl::Status StoredRows::Pull(const std::string& table, const std::vector<FeatureId>& ids,
                              float* weights) {
  for (size_t s = 0; s < shards_.size(); ++s) {
    Shard& shard = shards_[s];
    PAGODA_ASSIGN_OR_RETURN(const uint32_t index, TableOf(shard, table));
    const int64_t dim = shard.store->tables()[index].dim;
    std::vector<FeatureId> mine;
    std::vector<size_t> places;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (&ShardFor(ids[i]) != &shard) continue;
      mine.push_back(ids[i]);
      places.push_back(i);
    }
    std::vector<float> rows(mine.size() * static_cast<size_t>(dim));
    const StorePull pull{index, mine, rows.data()};
    PAGODA_RETURN_IF_ERROR(shard.store->Pull({&pull, 1}));
    for (size_t i = 0; i < places.size(); ++i) {
      std::copy_n(rows.data() + i * static_cast<size_t>(dim), dim,
                  weights + places[i] * static_cast<size_t>(dim));
    }
  }
  return absl::OkStatus();
}

absl::Status StoredRows::Scan(
    const std::function<void(const std::string& table, const StoredRow&)>& visit) {
  return ScanWhile([&](const std::string& table, const StoredRow& row) {
    visit(table, row);
    return true;
  });
}

absl::Status StoredRows::ScanWhile(
    const std::function<bool(const std::string& table, const StoredRow&)>& visit) {
  bool more = true;
  for (size_t s = 0; more && s < shards_.size(); ++s) {
    const std::vector<TableOptions> tables = shards_[s].store->tables();
    PAGODA_RETURN_IF_ERROR(shards_[s].store->Scan([&](uint32_t table, const StoredRow& row) {
      more = visit(tables[table].name, row);
      return more;
    }));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> StoredRows::ContentHash() {
  uint64_t sum = 0;
  for (Shard& shard : shards_) {
    PAGODA_ASSIGN_OR_RETURN(const uint64_t hash, shard.store->ContentHash());
    sum += hash;
  }
  return sum;
}

void Difference::Add(double a, double b) {
  // A NaN on either side is as far apart as can be.
  const double apart =
      std::isnan(a - b) ? std::numeric_limits<double>::infinity() : std::abs(a - b);
  largest = std::max(largest, apart);
  magnitude = std::max(magnitude, std::abs(b));
  ++compared;
}

double Difference::Ratio() const {
  if (largest == 0) return 0;
  return magnitude == 0 ? std::numeric_limits<double>::infinity() : largest / magnitude;
}

absl::StatusOr<std::map<std::string, Difference>> CompareRows(StoredRows& a, StoredRows& b) {
  PAGODA_ASSIGN_OR_RETURN(const auto tables_a, a.Tables());
  PAGODA_ASSIGN_OR_RETURN(const auto tables_b, b.Tables());
  std::map<std::string, Difference> differences;
  for (const auto* side : {&tables_a, &tables_b}) {
    for (const auto& [name, table] : *side) {
      const auto in_a = tables_a.find(name), in_b = tables_b.find(name);
      if (in_a == tables_a.end() || in_b == tables_b.end()) {
        return absl::FailedPreconditionError(
            absl::StrCat("the table '", name, "' is in one of the two cuts only"));
      }
      if (in_a->second.options.dim != in_b->second.options.dim) {
        return absl::FailedPreconditionError(
            absl::StrCat("the table '", name, "' has dimension ", in_a->second.options.dim,
                         " in one cut and ", in_b->second.options.dim, " in the other"));
      }
      differences[name];  // Also a table without rows is listed.
    }
  }
  PAGODA_RETURN_IF_ERROR(CompareOneWay(a, b, false, differences));
  PAGODA_RETURN_IF_ERROR(CompareOneWay(b, a, true, differences));
  return differences;
}

}  // namespace pagoda
