// `pagoda checkpoint`: cuts on disk.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/stored_rows.h"
#include "embedding_store/delta_file.h"
#include "embedding_store/embedding_store.h"
#include "embedding_store/file_system.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

uint64_t RowsOf(const proto::JobCut& manifest) {
  uint64_t rows = 0;
  for (const proto::JobCut::Server& server : manifest.servers()) rows += server.rows();
  return rows;
}

std::string TimeText(int64_t unix_seconds) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixSeconds(unix_seconds),
                          absl::LocalTimeZone());
}

// A server's part of a cut: its files' checksums, and that it is what the job's
// manifest names.
absl::Status VerifyServer(const proto::JobCut::Server& server) {
  absl::StatusOr<StoreCut> found = EmbeddingStore::VerifyCut(server.directory());
  PAGODA_RETURN_IF_ERROR_CONTEXT(found.status(), server.directory());
  if (found->sequence == server.sequence() && found->checksum == server.checksum()) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrFormat(
      "%s is not the cut that the job's manifest names: sequence %d, not %d; checksum %016x, not "
      "%016x",
      server.directory(), found->sequence, server.sequence(), found->checksum, server.checksum()));
}

void PrintDifference(const std::string& kind, const std::string& name,
                     const Difference& difference) {
  absl::PrintF("%s %s: %d values, max|a-b| %.9g, max|b| %.9g, ratio %.3e\n", kind, name,
               difference.compared, difference.largest, difference.magnitude, difference.Ratio());
}

// Prints the dense parameters' differences; returns the largest ratio.
absl::StatusOr<double> DiffDense(const JobCut& a, const JobCut& b) {
  double worst = 0;
  for (const proto::JobCut::Dense& dense : a.manifest.dense()) {
    const auto& others = b.manifest.dense();
    const auto other = std::find_if(others.begin(), others.end(), [&](const auto& candidate) {
      return candidate.name() == dense.name();
    });
    int64_t size = 1, other_size = 1;
    for (const int64_t axis : dense.shape()) size *= axis;
    if (other != others.end()) {
      for (const int64_t axis : other->shape()) other_size *= axis;
    }
    if (other == others.end() || size != other_size) {
      return absl::FailedPreconditionError(absl::StrCat("the dense parameter ", dense.name(),
                                                        " is in one cut only, or of another size"));
    }
    Difference difference;
    for (int64_t i = 0; i < size; ++i) {
      difference.Add(a.values[static_cast<size_t>(dense.offset() + i)],
                     b.values[static_cast<size_t>(other->offset() + i)]);
    }
    PrintDifference("dense", dense.name(), difference);
    worst = std::max(worst, difference.Ratio());
  }
  return worst;
}

absl::StatusOr<int> PrintRowsHash(const std::string& cut) {
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows, StoredRows::Open(cut));
  PAGODA_ASSIGN_OR_RETURN(const uint64_t hash, rows->ContentHash());
  absl::PrintF("rows %016x\n", hash);
  return 0;
}

// A server's cut, or a delta.
absl::StatusOr<int> VerifyOther(const CheckpointVerifyArguments& arguments) {
  FileSystem* fs = FileSystem::Real();
  PAGODA_ASSIGN_OR_RETURN(const std::string text, fs->ReadAll(arguments.cut + "/MANIFEST"));
  if (absl::StartsWith(text, "pagoda-delta ")) {
    PAGODA_ASSIGN_OR_RETURN(const Delta delta, ReadDelta(fs, arguments.cut, [](const DeltaRow&) {
                              return absl::OkStatus();
                            }));
    absl::PrintF("complete delta: %d rows stored, %d deleted, %d files; every checksum matches\n",
                 delta.manifest.stored, delta.manifest.deleted, delta.manifest.files.size());
    return 0;
  }
  PAGODA_ASSIGN_OR_RETURN(const StoreCut cut, EmbeddingStore::VerifyCut(arguments.cut));
  absl::PrintF("complete cut of one server: sequence %d, %d rows; every checksum matches\n",
               cut.sequence, cut.rows);
  return arguments.hash ? PrintRowsHash(arguments.cut) : 0;
}

}  // namespace

absl::StatusOr<int> RunCheckpointList(const std::string& output_dir) {
  if (!std::filesystem::is_directory(output_dir)) {
    return absl::NotFoundError(absl::StrCat("there is no directory ", output_dir));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<ListedCut> cuts, ListJobCuts(output_dir));
  int incomplete = 0, complete = 0;
  for (const ListedCut& cut : cuts) {
    if (absl::IsNotFound(cut.status)) {
      ++incomplete;
      continue;
    }
    if (!cut.status.ok()) {
      absl::PrintF("%s  damaged: %s\n", cut.directory, std::string(cut.status.message()));
      continue;
    }
    ++complete;
    absl::PrintF("%s  step %d  epoch %d  %s  %d servers  %d rows  %d dense values  %s\n",
                 cut.directory, cut.manifest.step(), cut.manifest.epoch(), cut.manifest.model(),
                 cut.manifest.servers_size(), RowsOf(cut.manifest), cut.manifest.num_elements(),
                 TimeText(cut.manifest.created_unix()));
  }
  if (incomplete > 0) {
    absl::PrintF("%d unfinished, left by a run that was killed; the next start removes them\n",
                 incomplete);
  }
  if (complete == 0) absl::PrintF("no complete cut in %s\n", output_dir);
  return 0;
}

absl::StatusOr<int> RunCheckpointVerify(const CheckpointVerifyArguments& arguments) {
  // A job's cut has a `manifest`; what servers and exports write, a `MANIFEST`.
  if (std::filesystem::exists(arguments.cut + "/MANIFEST")) return VerifyOther(arguments);
  PAGODA_ASSIGN_OR_RETURN(const JobCut cut, ReadJobCut(arguments.cut));
  for (const proto::JobCut::Server& server : cut.manifest.servers()) {
    PAGODA_RETURN_IF_ERROR(VerifyServer(server));
  }
  absl::PrintF("complete: step %d, %d servers, %d rows, %d dense values; every checksum matches\n",
               cut.manifest.step(), cut.manifest.servers_size(), RowsOf(cut.manifest),
               cut.manifest.num_elements());
  if (!arguments.hash) return 0;
  absl::PrintF("dense %016x\n", cut.manifest.dense_checksum());
  return PrintRowsHash(arguments.cut);
}

absl::StatusOr<int> RunCheckpointDiff(const std::string& cut, const std::string& other) {
  PAGODA_ASSIGN_OR_RETURN(const JobCut a, ReadJobCut(cut));
  PAGODA_ASSIGN_OR_RETURN(const JobCut b, ReadJobCut(other));
  PAGODA_ASSIGN_OR_RETURN(double worst, DiffDense(a, b));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows_a, StoredRows::Open(cut));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<StoredRows> rows_b, StoredRows::Open(other));
  PAGODA_ASSIGN_OR_RETURN(const auto differences, CompareRows(*rows_a, *rows_b));
  for (const auto& [table, difference] : differences) {
    PrintDifference("table", table, difference);
    worst = std::max(worst, difference.Ratio());
  }
  absl::PrintF("largest ratio %.3e\n", worst);
  return 0;
}

}  // namespace pagoda
