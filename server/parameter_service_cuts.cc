// Cuts, rewinds and statistics.
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
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
  PAGODA_RETURN_IF_ERROR_CONTEXT(store_->Restore(directory_.CutPath(request.cut()), set_aside),
                                 absl::StrCat("rewinding to cut '", request.cut(), "'"));
  PAGODA_RETURN_IF_ERROR(served_.Reopen(*store_));
  proto::RestoreCutReply reply;
  reply.set_sequence(store_->sequence());
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
  }
  return reply;
}

}  // namespace pagoda
