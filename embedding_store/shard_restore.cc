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
#include "embedding_store/exact_steps.h"
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

// A cut as its files tell before its rows are read.
struct Source {
  size_t index = 0;                    // Into ShardSources::cuts.
  std::optional<BucketRange> buckets;  // That its rows are in; none: it has no rows.
  RocksMeta meta;
  uint64_t rows = 0;
  std::vector<TableOptions> tables;
};

absl::StatusOr<Source> LookInto(FileSystem* fs, const std::string& directory, size_t index) {
  PAGODA_ASSIGN_OR_RETURN(const StoreCut cut, ReadShardCut(fs, directory, CutFiles::kAllButRows));
  RocksTierOptions options;
  options.directory = directory + "/rocksdb";
  options.read_only = true;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier> tier, RocksTier::Open(options));
  Source source;
  source.index = index;
  source.rows = cut.rows;
  source.meta = tier->meta();
  PAGODA_ASSIGN_OR_RETURN(source.tables, ReadTableRegistry(fs, directory + "/REGISTRY"));
  const std::unique_ptr<RocksTier::Cursor> cursor = tier->NewCursor();
  PAGODA_RETURN_IF_ERROR(cursor->Seek(RowKey{0, 0, 0}));
  if (!cursor->valid()) return source;
  source.buckets.emplace();
  source.buckets->begin = cursor->key().bucket;
  PAGODA_RETURN_IF_ERROR(cursor->SeekToLast());
  source.buckets->end = cursor->key().bucket + 1;
  return source;
}

// The largest source with all its rows in `range`, whose files can be linked; or null.
const Source* FindWhole(const std::vector<Source>& sources, const BucketRange& range) {
  const Source* best = nullptr;
  for (const Source& source : sources) {
    if (!source.buckets || source.buckets->begin < range.begin || source.buckets->end > range.end) {
      continue;
    }
    if (best == nullptr || source.rows > best->rows) best = &source;
  }
  return best;
}

absl::StatusOr<std::string> StepsOf(const std::vector<Source>& sources,
                                    const std::vector<std::string>& cuts,
                                    const std::vector<TableOptions>& tables) {
  std::vector<StepsOfCut> steps;
  for (const Source& source : sources) {
    steps.push_back({cuts[source.index], source.tables,
                     source.meta.steps == nullptr ? std::string() : *source.meta.steps});
  }
  return MergeTableSteps(steps, tables);
}

// Writes what `rows` has left behind what `state` has; then `add_states`.
absl::Status AddRows(CutRows* rows, const Source* whole, uint64_t sequence, std::string steps,
                     const std::string& state,
                     const std::function<absl::Status(RocksTier::RunWriter*)>& add_states) {
  RocksTierOptions options;
  options.directory = state + "/rocksdb";
  options.run_directory = state + "/flush";
  options.create = whole == nullptr;
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier> tier, RocksTier::Open(options));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier::RunWriter> run, tier->NewRun());
  RocksMeta meta;
  if (whole != nullptr) meta.rows = whole->meta.rows;
  meta.rows.resize(rows->tables().size());
  meta.flushed_sequence = meta.highest_sequence = sequence;
  if (!steps.empty()) meta.steps = std::make_shared<const std::string>(std::move(steps));
  while (rows->valid()) {
    const RowKey& key = rows->key();
    if (whole != nullptr && key.bucket >= whole->buckets->begin &&
        key.bucket < whole->buckets->end) {
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
  std::vector<Source> cuts;
  for (size_t i = 0; i < sources.cuts.size(); ++i) {
    PAGODA_ASSIGN_OR_RETURN(cuts.emplace_back(), LookInto(fs, sources.cuts[i], i));
  }
  const Source* const whole = FindWhole(cuts, range);
  CutRows::Options options;
  options.file_system = fs;
  options.directories = sources.cuts;
  options.bucket_begin = range.begin;
  options.bucket_end = range.end;
  uint64_t sequence = 0;
  if (whole != nullptr) {
    const std::string& directory = sources.cuts[whole->index];
    PAGODA_ASSIGN_OR_RETURN(const StoreCut cut, ReadShardCut(fs, directory, CutFiles::kAll));
    sequence = std::max({cut.sequence, whole->meta.flushed_sequence, whole->meta.highest_sequence});
    PAGODA_RETURN_IF_ERROR(CopyShardCut(fs, directory, state));
    // Its rows stay as they are, so its tables keep their indices.
    options.tables = whole->tables;
    options.directories.erase(options.directories.begin() + static_cast<ptrdiff_t>(whole->index));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<CutRows> rows, CutRows::Open(options));
  PAGODA_ASSIGN_OR_RETURN(std::string steps, StepsOf(cuts, sources.cuts, rows->tables()));
  PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs, state + "/REGISTRY", rows->tables()));
  const auto add_states = [&](RocksTier::RunWriter* run) {
    return MoveTableStates(fs, sources, rows->tables(), range.begin, range.end, run);
  };
  PAGODA_RETURN_IF_ERROR(AddRows(rows.get(), whole, std::max(sequence, rows->sequence()),
                                 std::move(steps), state, add_states));
  PAGODA_RETURN_IF_ERROR(fs->SyncDirectory(state + "/rocksdb"));
  return fs->SyncDirectory(state);
}

}  // namespace pagoda
