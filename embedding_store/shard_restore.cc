#include "embedding_store/shard_restore.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/cut_rows.h"
#include "embedding_store/rocks_tier.h"
#include "embedding_store/shard_checkpoint.h"
#include "embedding_store/table_registry.h"
#include "embedding_store/table_state_restore.h"

namespace pagoda {
namespace {

// Buckets [begin, end).
struct BucketRange {
  uint32_t begin = 0;
  uint32_t end = 0;
};

BucketRange BucketsOf(uint32_t shard, uint32_t num_shards) {
  // The first bucket b with b * num_shards / kNumBuckets >= s.
  const auto first = [&](uint64_t s) {
    return static_cast<uint32_t>((s * kNumBuckets + num_shards - 1) / num_shards);
  };
  return BucketRange{first(shard), first(uint64_t{shard} + 1)};
}

absl::Status CheckSources(const ShardSources& sources) {
  if (sources.cuts.empty()) return absl::InvalidArgumentError("there are no cuts to restore from");
  if (sources.num_shards > kNumBuckets || sources.shard >= sources.num_shards) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", sources.shard, " of ", sources.num_shards, " is out of range"));
  }
  return absl::OkStatus();
}

// A source whose files can be linked.
struct WholeSource {
  size_t index = 0;     // Into ShardSources::cuts.
  BucketRange buckets;  // That its rows are in.
  RocksMeta meta;
  uint64_t rows = 0;
};

// The buckets that a cut has rows in, when it has rows.
absl::StatusOr<std::optional<WholeSource>> LookInto(FileSystem* fs, const std::string& directory) {
  PAGODA_ASSIGN_OR_RETURN(const StoreCut cut, ReadShardCut(fs, directory, CutFiles::kAllButRows));
  RocksTierOptions options;
  options.directory = directory + "/rocksdb";
  options.read_only = true;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier> tier, RocksTier::Open(options));
  const std::unique_ptr<RocksTier::Cursor> cursor = tier->NewCursor();
  WholeSource source;
  source.rows = cut.rows;
  source.meta = tier->meta();
  PAGODA_RETURN_IF_ERROR(cursor->Seek(RowKey{0, 0, 0}));
  if (!cursor->valid()) return std::optional<WholeSource>();
  source.buckets.begin = cursor->key().bucket;
  PAGODA_RETURN_IF_ERROR(cursor->SeekToLast());
  source.buckets.end = cursor->key().bucket + 1;
  return std::optional<WholeSource>(std::move(source));
}

// The largest source with all its rows in `range`.
absl::StatusOr<std::optional<WholeSource>> FindWhole(FileSystem* fs, const ShardSources& sources,
                                                     const BucketRange& range) {
  std::optional<WholeSource> best;
  for (size_t i = 0; i < sources.cuts.size(); ++i) {
    PAGODA_ASSIGN_OR_RETURN(std::optional<WholeSource> source, LookInto(fs, sources.cuts[i]));
    if (!source || source->buckets.begin < range.begin || source->buckets.end > range.end) continue;
    if (best && best->rows >= source->rows) continue;
    source->index = i;
    best = std::move(source);
  }
  return best;
}

// Writes what `rows` has left behind what `state` has; then `add_states`.
absl::Status AddRows(CutRows* rows, const std::optional<WholeSource>& whole, uint64_t sequence,
                     const std::string& state,
                     const std::function<absl::Status(RocksTier::RunWriter*)>& add_states) {
  RocksTierOptions options;
  options.directory = state + "/rocksdb";
  options.run_directory = state + "/flush";
  options.create = !whole;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier> tier, RocksTier::Open(options));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier::RunWriter> run, tier->NewRun());
  RocksMeta meta;
  if (whole) meta.rows = whole->meta.rows;
  meta.rows.resize(rows->tables().size());
  meta.flushed_sequence = meta.highest_sequence = sequence;
  while (rows->valid()) {
    const RowKey& key = rows->key();
    if (whole && key.bucket >= whole->buckets.begin && key.bucket < whole->buckets.end) {
      return absl::FailedPreconditionError(absl::StrCat("two of the cuts hold rows of bucket ",
                                                        key.bucket, ", such as row ", key.id,
                                                        ": they are not shards of one job"));
    }
    PAGODA_RETURN_IF_ERROR(run->Add(key, rows->value()));
    ++meta.rows[key.table];
    PAGODA_RETURN_IF_ERROR(rows->Next());
  }
  PAGODA_RETURN_IF_ERROR(add_states(run.get()));
  return run->Commit(meta);
}

}  // namespace

absl::Status BuildShardState(FileSystem* file_system, const ShardSources& sources,
                             const std::string& state) {
  FileSystem* fs = file_system;
  PAGODA_RETURN_IF_ERROR(CheckSources(sources));
  const BucketRange range = BucketsOf(sources.shard, sources.num_shards);
  PAGODA_ASSIGN_OR_RETURN(const std::optional<WholeSource> whole, FindWhole(fs, sources, range));
  CutRows::Options options;
  options.file_system = fs;
  options.directories = sources.cuts;
  options.bucket_begin = range.begin;
  options.bucket_end = range.end;
  uint64_t sequence = 0;
  if (whole) {
    const std::string& directory = sources.cuts[whole->index];
    PAGODA_ASSIGN_OR_RETURN(const StoreCut cut, ReadShardCut(fs, directory, CutFiles::kAll));
    sequence = std::max({cut.sequence, whole->meta.flushed_sequence, whole->meta.highest_sequence});
    PAGODA_RETURN_IF_ERROR(CopyShardCut(fs, directory, state));
    // Its rows stay as they are, so its tables keep their indices.
    PAGODA_ASSIGN_OR_RETURN(options.tables, ReadTableRegistry(fs, directory + "/REGISTRY"));
    options.directories.erase(options.directories.begin() + static_cast<ptrdiff_t>(whole->index));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<CutRows> rows, CutRows::Open(options));
  for (const TableOptions& table : rows->tables()) {
    if (!table.optimizer.exact) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("table \"", table.name,
                     "\" is exact: exact tables cannot move to another number of shards yet"));
  }
  PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs, state + "/REGISTRY", rows->tables()));
  const auto add_states = [&](RocksTier::RunWriter* run) {
    return MoveTableStates(fs, sources, rows->tables(), range.begin, range.end, run);
  };
  PAGODA_RETURN_IF_ERROR(
      AddRows(rows.get(), whole, std::max(sequence, rows->sequence()), state, add_states));
  PAGODA_RETURN_IF_ERROR(fs->SyncDirectory(state + "/rocksdb"));
  return fs->SyncDirectory(state);
}

}  // namespace pagoda
