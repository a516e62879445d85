// Cuts, rewinds, rows of other jobs, and statistics.
#include <filesystem>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/cut_weights.h"
#include "server/parameter_service_impl.h"

namespace pagoda {

absl::StatusOr<proto::PrepareCutReply> ParameterServiceImpl::PrepareCut(const std::string& cut) {
  // Exclusive: no push is admitted while the cut is taken.
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: it takes no cut"));
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(shutdown_);
    if (!in_flight_.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("cut '", cut, "': ", in_flight_.size(),
                       " pushes have not been acknowledged; a cut is taken between steps"));
    }
  }
  PAGODA_RETURN_IF_ERROR(CheckRestored());
  StoreCut made;
  PAGODA_RETURN_IF_ERROR_CONTEXT(
      directory_.MakeCut(cut,
                         [&](const std::string& directory) -> absl::Status {
                           PAGODA_ASSIGN_OR_RETURN(made, store_->Cut(directory));
                           return absl::OkStatus();
                         }),
      absl::StrCat("cut '", cut, "'"));
  proto::PrepareCutReply reply;
  reply.set_directory(directory_.CutPath(cut));
  reply.set_sequence(made.sequence);
  reply.set_rows(made.rows);
  reply.set_checksum(made.checksum);
  return reply;
}

absl::Status ParameterServiceImpl::DropCut(const std::string& cut) {
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: no cut can be dropped"));
  }
  return directory_.DropCut(cut);
}

// The cut that this server made of the shard it is to hold.
absl::Status ParameterServiceImpl::RestoreOwnCut(const std::string& cut,
                                                 const std::optional<ShardPlace>& place,
                                                 const std::string& set_aside) {
  PAGODA_ASSIGN_OR_RETURN(const std::optional<ShardPlace> held, directory_.ReadCutPlace(cut));
  if (held.has_value() && place.has_value() && *held != *place) {
    return absl::FailedPreconditionError(absl::StrCat(
        directory_.CutPath(cut), " holds shard ", held->shard, " of ", held->num_shards,
        "; the job asks for shard ", place->shard, " of ", place->num_shards));
  }
  return store_->Restore(directory_.CutPath(cut), set_aside);
}

// The shard's rows out of the cuts of another number of servers.
absl::Status ParameterServiceImpl::RestoreOthersCuts(const proto::RestoreCutRequest& request,
                                                     const std::optional<ShardPlace>& place,
                                                     const std::string& set_aside) {
  if (!place.has_value()) {
    return absl::FailedPreconditionError("no session has said which shard this server is to hold");
  }
  ShardSources sources;
  sources.shard = place->shard;
  sources.num_shards = place->num_shards;
  for (const std::string& directory : request.directories()) {
    std::error_code error;
    if (!std::filesystem::is_directory(directory, error)) {
      return absl::NotFoundError(absl::StrCat(
          "this server cannot read the directory ", directory, error ? ": " : "",
          error ? error.message() : "", "; another number of servers (", request.directories_size(),
          ") made the cut, so every server needs to read all their directories"));
    }
    sources.cuts.push_back(directory);
  }
  return store_->RestoreShard(sources, set_aside);
}

absl::Status ParameterServiceImpl::RestoreRows(const proto::RestoreCutRequest& request,
                                               const std::string& set_aside) {
  const std::optional<ShardPlace> place = next_place_.has_value() ? next_place_ : place_;
  PAGODA_RETURN_IF_ERROR(request.directories().empty()
                             ? RestoreOwnCut(request.cut(), place, set_aside)
                             : RestoreOthersCuts(request, place, set_aside));
  if (next_place_.has_value()) {
    // A crash before this line leaves rows that are not those of the recorded shard.
    // Nobody trains on them: every session on rows that exist begins with a restore.
    PAGODA_RETURN_IF_ERROR(directory_.WriteShardPlace(*place));
    place_ = place;
    next_place_.reset();
  }
  return absl::OkStatus();
}

absl::StatusOr<proto::RestoreCutReply> ParameterServiceImpl::RestoreCut(
    const proto::RestoreCutRequest& request) {
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  PAGODA_RETURN_IF_ERROR(DataDirectory::CheckName(request.cut()));
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: it cannot be rewound"));
  }
  std::string set_aside;
  if (!request.keep_newer().empty()) {
    PAGODA_RETURN_IF_ERROR(DataDirectory::CheckName(request.keep_newer()));
    set_aside = directory_.SetAsidePath(request.keep_newer());
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    PAGODA_RETURN_IF_ERROR(shutdown_);
    if (membership_.phase() == JobMembership::Phase::kRunning) {
      PAGODA_RETURN_IF_ERROR(membership_.CheckJob(request.job()));
    }
    if (membership_.phase() != JobMembership::Phase::kNone &&
        request.epoch() < membership_.epoch()) {
      return absl::FailedPreconditionError(absl::StrCat("a rewind of epoch ", request.epoch(),
                                                        ", but the job is at epoch ",
                                                        membership_.epoch()));
    }
    if (!in_flight_.empty() || !waiting_pulls_.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot rewind to cut '", request.cut(), "': ", in_flight_.size(),
                       " pushes and ", waiting_pulls_.size(), " pulls are under way"));
    }
  }
  PAGODA_RETURN_IF_ERROR_CONTEXT(RestoreRows(request, set_aside),
                                 absl::StrCat("rewinding to cut '", request.cut(), "'"));
  PAGODA_RETURN_IF_ERROR(served_.Reopen(*store_));
  proto::RestoreCutReply reply;
  reply.set_sequence(store_->sequence());
  return reply;
}

absl::Status ParameterServiceImpl::CheckImport(const proto::ImportRowsRequest& request) {
  if (options_.read_only_cut) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.data_dir, " is served read-only: it takes no rows"));
  }
  PAGODA_RETURN_IF_ERROR(CheckRestored());
  if (!place_.has_value()) {
    return absl::FailedPreconditionError("no session has said which shard this server is to hold");
  }
  std::lock_guard<std::mutex> lock(mutex_);
  PAGODA_RETURN_IF_ERROR(shutdown_);
  PAGODA_RETURN_IF_ERROR(membership_.CheckJob(request.job()));
  if (request.epoch() < membership_.epoch()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "rows for epoch ", request.epoch(), ", but the job is at epoch ", membership_.epoch()));
  }
  if (!in_flight_.empty() || !waiting_pulls_.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot take rows of another job: ", in_flight_.size(), " pushes and ",
                     waiting_pulls_.size(), " pulls are under way"));
  }
  for (const proto::ImportRowsRequest::Table& table : request.tables()) {
    if (served_.Get(table.table()) != nullptr) continue;
    return absl::NotFoundError(absl::StrCat("there is no table of index ", table.table()));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ParameterServiceImpl::ImportTable(
    const proto::ImportRowsRequest& request, const proto::ImportRowsRequest::Table& table) {
  CutWeights::Options source;
  source.table = table.source();
  source.shard = place_->shard;
  source.num_shards = place_->num_shards;
  for (const std::string& directory : request.directories()) {
    std::error_code error;
    if (!std::filesystem::is_directory(directory, error)) {
      return absl::NotFoundError(absl::StrCat("this server cannot read the directory ", directory,
                                              error ? ": " : "", error ? error.message() : ""));
    }
    source.directories.push_back(directory);
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<CutWeights> weights, CutWeights::Open(source));
  const ServedTables::Entry& entry = *served_.Get(table.table());
  if (weights->table().dim != entry.options.dim) {
    return absl::FailedPreconditionError(
        absl::StrCat("table '", table.source(), "' of the cut has rows of ", weights->table().dim,
                     " weights, table '", entry.options.name, "' of ", entry.options.dim));
  }
  PAGODA_ASSIGN_OR_RETURN(
      const BulkLoadResult loaded,
      store_->BulkLoad(entry.store_index, /*step=*/0, [&] { return weights->Next(); }));
  PAGODA_LOG_INFO("took {} rows of table '{}' from table '{}' of a cut", loaded.rows,
                  entry.options.name, table.source());
  return loaded.rows;
}

absl::StatusOr<proto::ImportRowsReply> ParameterServiceImpl::ImportRows(
    const proto::ImportRowsRequest& request) {
  std::unique_lock<std::shared_mutex> store_lock(store_mutex_);
  PAGODA_RETURN_IF_ERROR(CheckImport(request));
  proto::ImportRowsReply reply;
  for (const proto::ImportRowsRequest::Table& table : request.tables()) {
    const absl::StatusOr<uint64_t> rows = ImportTable(request, table);
    PAGODA_RETURN_IF_ERROR_CONTEXT(rows.status(),
                                   absl::StrCat("taking rows of table '", table.source(), "'"));
    reply.add_rows(*rows);
  }
  return reply;
}

absl::StatusOr<proto::TableStatReply> ParameterServiceImpl::TableStats() {
  std::shared_lock<std::shared_mutex> store_lock(store_mutex_);
  PAGODA_ASSIGN_OR_RETURN(const std::vector<StoreTableStat> stats, store_->Stat());
  proto::TableStatReply reply;
  for (const StoreTableStat& stat : stats) {
    proto::TableStat& table = *reply.add_tables();
    *table.mutable_spec() = SpecFromTableOptions(stat.options);
    table.set_rows(stat.rows);
    table.set_bytes_memory(stat.bytes_memory);
    table.set_bytes_disk(stat.bytes_disk);
    table.set_refused(stat.refused);
    table.set_evicted(stat.evicted);
    table.set_pushed(stat.pushed);
  }
  return reply;
}

}  // namespace pagoda
