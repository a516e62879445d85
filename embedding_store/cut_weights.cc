#include "embedding_store/cut_weights.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/exact_steps.h"
#include "embedding_store/rocks_tier.h"
#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

// Rows given out at a time: few calls, and little memory beside the cuts' readers.
constexpr size_t kRowsAtOnce = 4096;

// The first bucket of a shard: the least b with b * num_shards / kNumBuckets >= shard.
uint32_t FirstBucket(uint64_t shard, uint64_t num_shards) {
  return static_cast<uint32_t>((shard * kNumBuckets + num_shards - 1) / num_shards);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CutWeights>> CutWeights::Open(const Options& options) {
  if (options.directories.empty()) {
    return absl::InvalidArgumentError("there are no cuts to take rows from");
  }
  if (options.num_shards > kNumBuckets || options.shard >= options.num_shards) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", options.shard, " of ", options.num_shards, " is out of range"));
  }
  std::unique_ptr<CutWeights> weights(new CutWeights());
  CutRows::Options rows;
  rows.file_system = options.file_system;
  rows.directories = options.directories;
  rows.bucket_begin = FirstBucket(options.shard, options.num_shards);
  rows.bucket_end = FirstBucket(uint64_t{options.shard} + 1, options.num_shards);
  PAGODA_ASSIGN_OR_RETURN(weights->rows_, CutRows::Open(rows));
  const std::vector<TableOptions>& tables = weights->rows_->tables();
  while (weights->index_ < tables.size() && tables[weights->index_].name != options.table) {
    ++weights->index_;
  }
  if (weights->index_ == tables.size()) {
    return absl::NotFoundError(
        absl::StrCat(options.directories[0], " has no table \"", options.table, "\""));
  }
  weights->shape_ = ShapeOf(weights->table());
  weights->row_.resize(weights->shape_.row_bytes() / sizeof(RowHeader) + 2);
  weights->floats_.resize(static_cast<size_t>(weights->shape_.num_floats()));
  if (weights->table().optimizer.exact) PAGODA_RETURN_IF_ERROR(weights->FindSteps(options));
  return weights;
}

absl::Status CutWeights::FindSteps(const Options& options) {
  FileSystem* fs = options.file_system != nullptr ? options.file_system : FileSystem::Real();
  std::vector<StepsOfCut> cuts;
  for (const std::string& directory : options.directories) {
    RocksTierOptions tier;
    tier.directory = directory + "/rocksdb";
    tier.read_only = true;
    PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<RocksTier> rocks, RocksTier::Open(tier));
    const RocksMeta meta = rocks->meta();
    StepsOfCut& cut = cuts.emplace_back();
    cut.directory = directory;
    PAGODA_ASSIGN_OR_RETURN(cut.tables, ReadTableRegistry(fs, directory + "/REGISTRY"));
    if (meta.steps != nullptr) cut.bytes = *meta.steps;
  }
  PAGODA_ASSIGN_OR_RETURN(const std::string bytes, MergeTableSteps(cuts, rows_->tables()));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<TableSteps> steps, SplitTableSteps(bytes));
  catch_up_ = std::make_unique<RowCatchUp>(table());
  for (const TableSteps& of_table : steps) {
    absl::string_view rates = of_table.rates;
    if (of_table.table == index_) PAGODA_RETURN_IF_ERROR(catch_up_->Load(&rates));
  }
  return absl::OkStatus();
}

absl::Status CutWeights::SkipOthers() {
  while (rows_->valid() && rows_->key().table != index_) {
    const RowKey& key = rows_->key();
    const uint32_t bucket = key.table < index_ ? key.bucket : key.bucket + 1;
    PAGODA_RETURN_IF_ERROR(rows_->Seek(RowKey{bucket, index_, 0}));
  }
  return absl::OkStatus();
}

absl::StatusOr<RowsToLoad> CutWeights::Next() {
  const auto dim = static_cast<size_t>(shape_.dim);
  ids_.clear();
  weights_.clear();
  char* row = reinterpret_cast<char*>(row_.data());
  PAGODA_RETURN_IF_ERROR(SkipOthers());
  while (rows_->valid() && ids_.size() < kRowsAtOnce) {
    const RowKey key = rows_->key();
    const char* wrong = DecodeRowValue(shape_, rows_->value(), row);
    if (wrong != nullptr) {
      return absl::DataLossError(
          absl::StrCat("table \"", table().name, "\", row ", key.id, ": ", wrong));
    }
    LoadRow(shape_, row, floats_.data());
    ids_.push_back(key.id);
    weights_.resize(ids_.size() * dim);
    float* weights = weights_.data() + (ids_.size() - 1) * dim;
    if (catch_up_ != nullptr) {
      catch_up_->ReadWeights(floats_.data(), HeaderOf(row)->last_step, weights);
    } else {
      std::copy_n(floats_.begin(), dim, weights);
    }
    PAGODA_RETURN_IF_ERROR(rows_->Next());
    PAGODA_RETURN_IF_ERROR(SkipOthers());
  }
  RowsToLoad rows;
  rows.ids = ids_;
  rows.weights = weights_;
  return rows;
}

}  // namespace pagoda
