#include "embedding_store/delta_export.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/cut_rows.h"
#include "embedding_store/shard_checkpoint.h"
#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

absl::StatusOr<uint64_t> IdentityOf(FileSystem* fs, const std::vector<std::string>& cuts) {
  std::vector<uint64_t> checksums;
  for (const std::string& cut : cuts) {
    PAGODA_ASSIGN_OR_RETURN(const StoreCut found, ReadShardCut(fs, cut, CutFiles::kAllButRows));
    checksums.push_back(found.checksum);
  }
  std::sort(checksums.begin(), checksums.end());
  return HashBytes(
      {reinterpret_cast<const char*>(checksums.data()), checksums.size() * sizeof(checksums[0])});
}

// One export, from what an earlier one left to the manifest.
class Exporter {
 public:
  Exporter(const DeltaExport& options, FileSystem* fs) : options_(options), fs_(fs) {}

  absl::StatusOr<DeltaOutcome> Run() {
    PAGODA_ASSIGN_OR_RETURN(manifest().ends.since, IdentityOf(fs_, options_.since));
    PAGODA_ASSIGN_OR_RETURN(manifest().ends.cut, IdentityOf(fs_, options_.cut));
    PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(options_.directory));
    PAGODA_ASSIGN_OR_RETURN(const bool complete, fs_->Exists(options_.directory + "/MANIFEST"));
    if (complete) return CheckComplete();
    PAGODA_RETURN_IF_ERROR(OpenCuts());
    PAGODA_RETURN_IF_ERROR(TakeFound());
    PAGODA_RETURN_IF_ERROR(
        WriteTableRegistry(fs_, options_.directory + "/REGISTRY", since_->tables()));
    if (!ended_) PAGODA_RETURN_IF_ERROR(WriteRest());
    PAGODA_RETURN_IF_ERROR(
        fs_->ReplaceFile(options_.directory + "/MANIFEST", FormatDeltaManifest(manifest())));
    return outcome_;
  }

 private:
  DeltaManifest& manifest() { return outcome_.manifest; }
  std::string PathOf(size_t number) const {
    return absl::StrCat(options_.directory, "/", DeltaFileName(static_cast<uint32_t>(number)));
  }
  absl::Status OtherDelta(const std::string& file) const {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " is of a delta between other cuts: choose an empty directory"));
  }

  absl::StatusOr<DeltaOutcome> CheckComplete() {
    PAGODA_ASSIGN_OR_RETURN(Delta delta, ReadDelta(fs_, options_.directory, [](const DeltaRow&) {
                              return absl::OkStatus();
                            }));
    if (delta.manifest.ends != manifest().ends) return OtherDelta(options_.directory + "/MANIFEST");
    outcome_.files_found = delta.manifest.files.size();
    manifest() = std::move(delta.manifest);
    return outcome_;
  }

  absl::Status OpenCuts() {
    CutRows::Options rows;
    rows.file_system = fs_;
    rows.directories = options_.cut;
    PAGODA_ASSIGN_OR_RETURN(cut_, CutRows::Open(rows));
    // The newer cut's settings count, and its tables come first.
    rows.tables = cut_->tables();
    rows.directories = options_.since;
    PAGODA_ASSIGN_OR_RETURN(since_, CutRows::Open(rows));
    return absl::OkStatus();
  }

  // Counts a row, also of a file that was found.
  void Count(const DeltaRow& row) { ++(row.deleted ? manifest().deleted : manifest().stored); }

  // Files of an export that was interrupted; both cuts move behind their last row.
  absl::Status TakeFound() {
    RowKey last;
    bool any = false;
    while (!ended_) {
      const std::string path = PathOf(manifest().files.size() + 1);
      const absl::StatusOr<std::string> bytes = fs_->ReadAll(path);
      if (absl::IsNotFound(bytes.status())) break;
      PAGODA_RETURN_IF_ERROR(bytes.status());
      PAGODA_ASSIGN_OR_RETURN(const DeltaFileInfo info,
                              ReadDeltaFile(*bytes, path, [&](const DeltaRow& row) {
                                Count(row);
                                last = RowKey::Of(row.table, row.id);
                                any = true;
                                return absl::OkStatus();
                              }));
      if (info.ends != manifest().ends) return OtherDelta(path);
      ended_ = info.last;
      NoteFile(*bytes);
      ++outcome_.files_found;
    }
    if (!any || ended_) return absl::OkStatus();
    for (CutRows* rows : {since_.get(), cut_.get()}) {
      PAGODA_RETURN_IF_ERROR(rows->Seek(last));
      if (rows->valid() && rows->key() == last) PAGODA_RETURN_IF_ERROR(rows->Next());
    }
    return absl::OkStatus();
  }

  void NoteFile(const std::string& bytes) {
    manifest().files.push_back({static_cast<int64_t>(bytes.size()), HashBytes(bytes)});
  }

  absl::Status WriteRest() {
    auto file = std::make_unique<DeltaFileBuilder>(manifest().ends, NextNumber());
    while (since_->valid() || cut_->valid()) {
      PAGODA_RETURN_IF_ERROR(Step(file.get()));
      if (file->rows() == 0 || file->bytes() < options_.file_bytes_max) continue;
      PAGODA_RETURN_IF_ERROR(WriteFile(file->Finish(/*last=*/false)));
      file = std::make_unique<DeltaFileBuilder>(manifest().ends, NextNumber());
    }
    return WriteFile(file->Finish(/*last=*/true));
  }
  uint32_t NextNumber() { return static_cast<uint32_t>(manifest().files.size() + 1); }

  // Takes the least key of both sides.
  absl::Status Step(DeltaFileBuilder* file) {
    const bool old = since_->valid() && (!cut_->valid() || since_->key() <= cut_->key());
    const bool now = cut_->valid() && (!since_->valid() || cut_->key() <= since_->key());
    const RowKey& key = now ? cut_->key() : since_->key();
    DeltaRow row{key.table, key.id, !now, now ? cut_->value() : absl::string_view()};
    if (!old || !now || since_->value() != cut_->value()) {
      Count(row);
      file->Add(row);
    }
    if (old) PAGODA_RETURN_IF_ERROR(since_->Next());
    if (now) PAGODA_RETURN_IF_ERROR(cut_->Next());
    return absl::OkStatus();
  }

  // Complete under its name, or not there.
  absl::Status WriteFile(const std::string& bytes) {
    const std::string path = PathOf(NextNumber());
    PAGODA_RETURN_IF_ERROR(fs_->ReplaceFile(path, bytes));
    NoteFile(bytes);
    return absl::OkStatus();
  }

  const DeltaExport& options_;
  FileSystem* const fs_;
  DeltaOutcome outcome_;
  std::unique_ptr<CutRows> since_, cut_;
  bool ended_ = false;  // The last file is there.
};

}  // namespace

absl::StatusOr<DeltaOutcome> ExportDelta(const DeltaExport& options) {
  if (options.file_bytes_max < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a delta's files cannot have at most ", options.file_bytes_max, " bytes"));
  }
  FileSystem* fs = options.file_system != nullptr ? options.file_system : FileSystem::Real();
  return Exporter(options, fs).Run();
}

}  // namespace pagoda
