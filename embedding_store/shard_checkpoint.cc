#include "embedding_store/shard_checkpoint.h"

#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/status_macros.h"

#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

constexpr char kMagicWord[] = "pagoda-cut ";
constexpr char kMagicLine[] = "pagoda-cut 1";
constexpr char kRocksFolder[] = "rocksdb";

struct CutFile {
  std::string name;  // Relative to the cut.
  int64_t bytes = 0;
  uint64_t checksum = 0;
};
struct CutManifest {
  StoreCut cut;
  std::vector<CutFile> files;
};

absl::StatusOr<CutFile> DescribeFile(FileSystem* fs, const std::string& root,
                                     const std::string& name,
                                     const std::map<std::string, uint64_t>& known) {
  CutFile file;
  file.name = name;
  const std::string path = absl::StrCat(root, "/", name);
  PAGODA_ASSIGN_OR_RETURN(std::unique_ptr<ReadFile> opened, fs->OpenRead(path));
  file.bytes = opened->size();
  const auto found = known.find(name.substr(name.rfind('/') + 1));
  if (found != known.end()) {
    file.checksum = found->second;
    return file;
  }
  PAGODA_ASSIGN_OR_RETURN(file.checksum, fs->FileChecksum(path));
  return file;
}

std::string FormatManifest(const CutManifest& manifest) {
  std::string text = absl::StrCat(kMagicLine, "\nsequence ", manifest.cut.sequence, "\nrows ",
                                  manifest.cut.rows, "\nfiles ", manifest.files.size(), "\n");
  for (const CutFile& file : manifest.files) {
    absl::StrAppendFormat(&text, "file %s %d %016x\n", file.name, file.bytes, file.checksum);
  }
  return WithChecksumLine(std::move(text));
}

absl::StatusOr<CutManifest> ParseManifest(absl::string_view text, const std::string& source) {
  const absl::string_view first = text.substr(0, text.find('\n'));
  if (absl::StartsWith(first, kMagicWord) && first != kMagicLine) {
    return absl::FailedPreconditionError(
        absl::StrCat(source, " has format \"", first, "\", this build reads \"", kMagicLine, "\""));
  }
  PAGODA_ASSIGN_OR_RETURN(const absl::string_view body, StripChecksumLine(text, source));
  CutManifest manifest;
  manifest.cut.checksum = HashBytes(text);
  size_t files = 0;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(body, '\n', absl::SkipEmpty())) {
    ++line_number;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    bool good = words.size() >= 2;
    if (good && words[0] == "sequence") {
      good = absl::SimpleAtoi(words[1], &manifest.cut.sequence);
    } else if (good && words[0] == "rows") {
      good = absl::SimpleAtoi(words[1], &manifest.cut.rows);
    } else if (good && words[0] == "files") {
      good = absl::SimpleAtoi(words[1], &files);
    } else if (good && words[0] == "file") {
      CutFile file;
      file.name = std::string(words[1]);
      good = words.size() == 4 && absl::SimpleAtoi(words[2], &file.bytes) &&
             absl::SimpleHexAtoi(words[3], &file.checksum);
      manifest.files.push_back(std::move(file));
    } else {
      good = line_number == 1;
    }
    if (!good) {
      return absl::DataLossError(absl::StrCat(source, ":", line_number, ": cannot be read"));
    }
  }
  if (files != manifest.files.size()) {
    return absl::DataLossError(
        absl::StrCat(source, ": lists ", manifest.files.size(), " files instead of ", files));
  }
  return manifest;
}

absl::StatusOr<CutManifest> ReadManifest(FileSystem* fs, const std::string& directory) {
  const std::string path = directory + "/MANIFEST";
  const absl::StatusOr<std::string> text = fs->ReadAll(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(directory, " is not a cut: it has no MANIFEST"));
  }
  PAGODA_RETURN_IF_ERROR(text.status());
  return ParseManifest(*text, path);
}

bool IsRowFile(const CutFile& file) {
  return absl::EndsWith(file.name, ".sst");
}

absl::Status CheckFile(FileSystem* fs, const std::string& directory, const CutFile& file,
                       bool content) {
  const std::string path = absl::StrCat(directory, "/", file.name);
  const absl::StatusOr<std::unique_ptr<ReadFile>> opened = fs->OpenRead(path);
  if (absl::IsNotFound(opened.status())) {
    return absl::DataLossError(absl::StrCat("cut file ", path, " is missing"));
  }
  PAGODA_RETURN_IF_ERROR(opened.status());
  if ((*opened)->size() != file.bytes) {
    return absl::DataLossError(absl::StrCat("cut file ", path, " has ", (*opened)->size(),
                                            " bytes instead of ", file.bytes));
  }
  if (!content) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const uint64_t checksum, fs->FileChecksum(path));
  if (checksum == file.checksum) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("cut file ", path, " is altered: its checksum is wrong"));
}

}  // namespace

absl::StatusOr<StoreCut> WriteShardCut(FileSystem* file_system, RocksTier* rocks,
                                       const CutContents& contents, const std::string& directory) {
  FileSystem* fs = file_system;
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs->Exists(directory));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(directory, " exists"));
  const std::string partial = directory + ".partial";
  PAGODA_RETURN_IF_ERROR(fs->RemoveDirectory(partial));
  PAGODA_RETURN_IF_ERROR(fs->CreateDirectory(partial));
  PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs, partial + "/REGISTRY", contents.tables));

  const std::string rocks_folder = absl::StrCat(partial, "/", kRocksFolder);
  using Checksums = std::map<std::string, uint64_t>;
  PAGODA_ASSIGN_OR_RETURN(const Checksums known, rocks->Checkpoint(rocks_folder));
  CutManifest manifest;
  manifest.cut.sequence = contents.sequence;
  manifest.cut.rows = contents.rows;
  PAGODA_ASSIGN_OR_RETURN(CutFile registry, DescribeFile(fs, partial, "REGISTRY", {}));
  manifest.files.push_back(std::move(registry));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs->List(rocks_folder));
  for (const std::string& name : names) {
    PAGODA_ASSIGN_OR_RETURN(
        CutFile file, DescribeFile(fs, partial, absl::StrCat(kRocksFolder, "/", name), known));
    manifest.files.push_back(std::move(file));
  }
  const std::string text = FormatManifest(manifest);
  manifest.cut.checksum = HashBytes(text);
  PAGODA_RETURN_IF_ERROR(fs->SyncDirectory(rocks_folder));
  PAGODA_RETURN_IF_ERROR(fs->ReplaceFile(partial + "/MANIFEST", text));
  PAGODA_RETURN_IF_ERROR(fs->Rename(partial, directory));
  PAGODA_RETURN_IF_ERROR(fs->SyncDirectory(ParentDirectory(directory)));
  return manifest.cut;
}

absl::StatusOr<StoreCut> ReadShardCut(FileSystem* file_system, const std::string& directory,
                                      CutFiles files, const RunParts& run) {
  PAGODA_ASSIGN_OR_RETURN(const CutManifest manifest, ReadManifest(file_system, directory));
  std::vector<absl::Status> checked(manifest.files.size());
  const auto check = [&](size_t i) {
    const bool content = files == CutFiles::kAll || !IsRowFile(manifest.files[i]);
    checked[i] = CheckFile(file_system, directory, manifest.files[i], content);
  };
  if (run) {
    run(checked.size(), check);
  } else {
    for (size_t i = 0; i < checked.size(); ++i) check(i);
  }
  for (const absl::Status& status : checked) PAGODA_RETURN_IF_ERROR(status);
  return manifest.cut;
}

absl::Status CopyShardCut(FileSystem* file_system, const std::string& directory,
                          const std::string& state) {
  FileSystem* fs = file_system;
  PAGODA_ASSIGN_OR_RETURN(const CutManifest manifest, ReadManifest(fs, directory));
  PAGODA_RETURN_IF_ERROR(fs->CreateDirectory(absl::StrCat(state, "/", kRocksFolder)));
  for (const CutFile& file : manifest.files) {
    const std::string from = absl::StrCat(directory, "/", file.name);
    const std::string to = absl::StrCat(state, "/", file.name);
    // Row files never change once written; everything else RocksDB or we may alter.
    PAGODA_RETURN_IF_ERROR(IsRowFile(file) ? fs->LinkOrCopy(from, to) : fs->CopyFile(from, to));
  }
  PAGODA_RETURN_IF_ERROR(fs->SyncDirectory(absl::StrCat(state, "/", kRocksFolder)));
  return fs->SyncDirectory(state);
}

}  // namespace pagoda
