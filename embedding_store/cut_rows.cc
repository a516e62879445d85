#include "embedding_store/cut_rows.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/rocks_tier.h"
#include "embedding_store/shard_checkpoint.h"
#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

constexpr RowKey kBehindAll{kNumBuckets, 0, 0};

// One cut's rows with keys as the whole numbers them.
class OneCut {
 public:
  absl::Status Open(FileSystem* fs, const std::string& directory,
                    std::vector<TableOptions>* tables) {
    directory_ = directory;
    PAGODA_ASSIGN_OR_RETURN(cut_, ReadShardCut(fs, directory, CutFiles::kAllButRows));
    PAGODA_ASSIGN_OR_RETURN(const std::vector<TableOptions> mine,
                            ReadTableRegistry(fs, directory + "/REGISTRY"));
    absl::StatusOr<std::vector<uint32_t>> indices = MergeTables(mine, tables);
    PAGODA_RETURN_IF_ERROR_CONTEXT(indices.status(), directory);
    index_ = *std::move(indices);
    for (uint32_t t = 0; t < index_.size(); ++t) order_.push_back(t);
    std::sort(order_.begin(), order_.end(),
              [&](uint32_t a, uint32_t b) { return index_[a] < index_[b]; });
    in_order_ = std::is_sorted(index_.begin(), index_.end());
    RocksTierOptions options;
    options.directory = directory + "/rocksdb";
    options.read_only = true;
    PAGODA_ASSIGN_OR_RETURN(tier_, RocksTier::Open(options));
    cursor_ = tier_->NewCursor();
    return absl::OkStatus();
  }

  const std::string& directory() const { return directory_; }
  uint64_t sequence() const { return cut_.sequence; }
  const RowKey& key() const { return key_; }  // kBehindAll behind the last row.
  absl::string_view value() const { return cursor_->value(); }

  absl::Status Seek(const RowKey& key) {
    if (order_.empty()) {
      key_ = kBehindAll;
      return absl::OkStatus();
    }
    place_ = 0;
    while (place_ < order_.size() && index_[order_[place_]] < key.table) ++place_;
    if (place_ == order_.size()) {
      place_ = 0;
      PAGODA_RETURN_IF_ERROR(cursor_->Seek(RowKey{key.bucket + 1, 0, 0}));
      return EnterBucket();
    }
    const uint32_t table = order_[place_];
    const FeatureId id = index_[table] == key.table ? key.id : 0;
    bucket_ = key.bucket;
    PAGODA_RETURN_IF_ERROR(cursor_->Seek(RowKey{key.bucket, table, id}));
    return Settle();
  }

  absl::Status Next() {
    PAGODA_RETURN_IF_ERROR(cursor_->Next());
    return Settle();
  }

 private:
  // The cursor stands on the first row of a bucket, or at the end.
  absl::Status EnterBucket() {
    place_ = 0;
    if (cursor_->valid()) {
      bucket_ = cursor_->key().bucket;
      if (!in_order_) PAGODA_RETURN_IF_ERROR(cursor_->Seek(RowKey{bucket_, order_[0], 0}));
    }
    return Settle();
  }

  // From where the cursor stands to the next row in the order of the whole. With
  // tables numbered in the same order as there that is the row it stands on; else
  // the tables of a bucket are visited in their new order, each by a seek.
  absl::Status Settle() {
    while (!in_order_) {
      const bool here = cursor_->valid() && cursor_->key().bucket == bucket_ &&
                        cursor_->key().table == order_[place_];
      if (here) break;
      if (++place_ < order_.size()) {
        PAGODA_RETURN_IF_ERROR(cursor_->Seek(RowKey{bucket_, order_[place_], 0}));
        continue;
      }
      PAGODA_RETURN_IF_ERROR(cursor_->Seek(RowKey{bucket_ + 1, 0, 0}));
      if (!cursor_->valid()) break;
      bucket_ = cursor_->key().bucket;
      place_ = 0;
      PAGODA_RETURN_IF_ERROR(cursor_->Seek(RowKey{bucket_, order_[0], 0}));
    }
    if (!cursor_->valid()) {
      key_ = kBehindAll;
      return absl::OkStatus();
    }
    key_ = cursor_->key();
    if (key_.table >= index_.size()) {
      return absl::DataLossError(absl::StrCat(directory_, " has a row of table ", key_.table,
                                              ", but its REGISTRY lists ", index_.size()));
    }
    key_.table = index_[key_.table];
    return absl::OkStatus();
  }

  std::string directory_;
  StoreCut cut_;
  std::vector<uint32_t> index_;  // Of the whole, by the cut's own.
  std::vector<uint32_t> order_;  // The cut's tables in the order of the whole.
  bool in_order_ = true;         // order_ is 0, 1, 2, ...
  std::unique_ptr<RocksTier> tier_;
  std::unique_ptr<RocksTier::Cursor> cursor_;  // Before tier_ in destruction.
  uint32_t bucket_ = 0;                        // Not in_order_: where the cursor stands,
  size_t place_ = 0;                           // and in which table: order_[place_].
  RowKey key_ = kBehindAll;
};

class CutRowsImpl final : public CutRows {
 public:
  absl::Status Start(const Options& options) {
    FileSystem* fs = options.file_system != nullptr ? options.file_system : FileSystem::Real();
    begin_ = RowKey{options.bucket_begin, 0, 0};
    end_ = RowKey{options.bucket_end, 0, 0};
    tables_ = options.tables;
    for (const std::string& directory : options.directories) {
      cuts_.push_back(std::make_unique<OneCut>());
      PAGODA_RETURN_IF_ERROR(cuts_.back()->Open(fs, directory, &tables_));
      sequence_ = std::max(sequence_, cuts_.back()->sequence());
    }
    if (tables_.size() > kTablesMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the cuts have ", tables_.size(), " tables, more than ", kTablesMax));
    }
    return Seek(begin_);
  }

  const std::vector<TableOptions>& tables() const override { return tables_; }
  uint64_t sequence() const override { return sequence_; }
  bool valid() const override { return !cuts_.empty() && cuts_[current_]->key() < end_; }
  const RowKey& key() const override { return cuts_[current_]->key(); }
  absl::string_view value() const override { return cuts_[current_]->value(); }

  absl::Status Next() override {
    PAGODA_RETURN_IF_ERROR(cuts_[current_]->Next());
    // Shards own ranges of keys, so that the next row is nearly always of the same cut.
    return cuts_[current_]->key() < others_ ? absl::OkStatus() : Choose();
  }

  absl::Status Seek(const RowKey& key) override {
    for (const auto& cut : cuts_) PAGODA_RETURN_IF_ERROR(cut->Seek(std::max(key, begin_)));
    return Choose();
  }

 private:
  // The cut with the least key becomes the current one.
  absl::Status Choose() {
    size_t least = 0;
    for (size_t i = 1; i < cuts_.size(); ++i) {
      if (cuts_[i]->key() < cuts_[least]->key()) least = i;
    }
    current_ = least;
    others_ = kBehindAll;
    for (size_t i = 0; i < cuts_.size(); ++i) {
      if (i == least || !(cuts_[i]->key() < end_)) continue;
      if (cuts_[i]->key() == cuts_[least]->key()) {
        return absl::FailedPreconditionError(absl::StrCat(
            cuts_[least]->directory(), " and ", cuts_[i]->directory(), " both hold row ",
            cuts_[i]->key().id, " of table \"", tables_[cuts_[i]->key().table].name,
            "\": they are not shards of one job"));
      }
      others_ = std::min(others_, cuts_[i]->key());
    }
    return absl::OkStatus();
  }

  std::vector<TableOptions> tables_;
  std::vector<std::unique_ptr<OneCut>> cuts_;
  uint64_t sequence_ = 0;
  RowKey begin_, end_;
  size_t current_ = 0;
  RowKey others_ = kBehindAll;  // The least key of the other cuts.
};

}  // namespace

absl::StatusOr<std::vector<uint32_t>> MergeTables(const std::vector<TableOptions>& more,
                                                  std::vector<TableOptions>* tables) {
  std::vector<uint32_t> indices;
  for (const TableOptions& table : more) {
    size_t index = 0;
    while (index < tables->size() && (*tables)[index].name != table.name) ++index;
    if (index == tables->size()) {
      tables->push_back(table);
    } else {
      PAGODA_RETURN_IF_ERROR(CheckSameTable((*tables)[index], table));
      (*tables)[index].slots_grown |= table.slots_grown;
    }
    indices.push_back(static_cast<uint32_t>(index));
  }
  return indices;
}

absl::StatusOr<std::unique_ptr<CutRows>> CutRows::Open(const Options& options) {
  auto rows = std::make_unique<CutRowsImpl>();
  PAGODA_RETURN_IF_ERROR(rows->Start(options));
  return std::unique_ptr<CutRows>(std::move(rows));
}

}  // namespace pagoda
