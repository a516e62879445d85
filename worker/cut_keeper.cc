#include "worker/cut_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/worker_agreement.h"

namespace pagoda {
namespace {

uint64_t HashFloats(const std::vector<float>& values, uint64_t seed) {
  return HashBytes({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)},
                   seed);
}

}  // namespace

uint64_t DenseHash(const JobCut& cut) {
  uint64_t hash = HashFloats(cut.values, 0);
  for (const std::vector<float>& slot : cut.slots) hash = HashFloats(slot, hash);
  return hash;
}

absl::Status CutKeeper::DropGarbage() {
  if (allreduce_->rank() != 0) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ListedCut> cuts, ListJobCuts(options_.output_dir));
  for (const ListedCut& cut : cuts) {
    if (!absl::IsNotFound(cut.status)) continue;
    PAGODA_LOG_INFO("dropping the unfinished cut {}", cut.directory);
    PAGODA_RETURN_IF_ERROR(Drop(cut.directory));
  }
  return absl::OkStatus();
}

absl::Status CutKeeper::Drop(const std::string& directory) {
  return DropJobCut(directory, [this](const std::string& name) {
    const absl::Status dropped = client_->DropCut(name);
    return absl::IsNotFound(dropped) ? absl::OkStatus() : dropped;
  });
}

absl::StatusOr<std::string> CutKeeper::Make(JobCut cut, const std::string& best_cut) {
  PAGODA_RETURN_IF_ERROR(
      CheckSameEverywhere(*allreduce_, DenseHash(cut), "their dense parameters"));
  const std::string name = cut.manifest.cut();
  absl::Status made;
  if (allreduce_->rank() == 0) {
    made = MakeOnFirstWorker(std::move(cut)).status();
    if (made.ok()) made = DropOld(name, best_cut);
  }
  PAGODA_RETURN_IF_ERROR(AgreeOnStatus(*allreduce_, made, absl::StrCat("make the cut ", name)));
  return CutDirectory(options_.output_dir, name);
}

absl::StatusOr<std::string> CutKeeper::MakeOnFirstWorker(JobCut cut) {
  const std::string& name = cut.manifest.cut();
  PAGODA_ASSIGN_OR_RETURN(const std::string directory, BeginJobCut(options_.output_dir, name));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ServerCut> servers, client_->PrepareCut(name));
  for (const ServerCut& server : servers) {
    proto::JobCut::Server* written = cut.manifest.add_servers();
    written->set_address(server.server);
    written->set_directory(server.directory);
    written->set_sequence(server.sequence);
    written->set_rows(server.rows);
    written->set_checksum(server.checksum);
  }
  PAGODA_RETURN_IF_ERROR(WriteJobCut(directory, std::move(cut)));
  return directory;
}

absl::Status CutKeeper::DropOld(const std::string& newest, const std::string& best_cut) {
  PAGODA_ASSIGN_OR_RETURN(std::vector<ListedCut> cuts, ListJobCuts(options_.output_dir));
  std::erase_if(cuts, [&](const ListedCut& cut) {
    return !cut.status.ok() || cut.name == newest || cut.name == best_cut;
  });
  const auto others_kept = static_cast<size_t>(std::max<int64_t>(0, options_.cuts_kept - 1));
  for (size_t i = 0; i + others_kept < cuts.size(); ++i) {
    PAGODA_RETURN_IF_ERROR(Drop(cuts[i].directory));
  }
  return absl::OkStatus();
}

absl::Status CutKeeper::Restore(const proto::JobCut& cut, const std::string& keep_newer) {
  absl::Status restored;
  if (allreduce_->rank() == 0) {
    CutRestore restore{cut.cut(), options_.epoch, keep_newer, {}};
    if (cut.servers_size() != client_->num_servers()) {
      for (const proto::JobCut::Server& server : cut.servers()) {
        restore.directories.push_back(server.directory());
      }
    }
    restored = client_->RestoreCut(restore);
  }
  return AgreeOnStatus(*allreduce_, restored, absl::StrCat("rewind the servers to ", cut.cut()));
}

}  // namespace pagoda
