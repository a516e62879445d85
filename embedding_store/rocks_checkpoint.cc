// Not rocksdb::Checkpoint: it asks for write-ahead logs, of which there are none here, and
// RocksDB 7.8 may then wait for ever for a signal that it forgets to give (its pull request
// 14069, "Fix a missing CV signal in FindObsoleteFiles()"): a cut would hang, and every push.
#include "embedding_store/rocks_checkpoint.h"

#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "embedding_store/rocks_options.h"

namespace pagoda {
namespace {

// RocksDB lists files as "/000012.sst".
std::string BareName(const std::string& listed) {
  const size_t begin = listed.find_first_not_of('/');
  return begin == std::string::npos ? "" : listed.substr(begin);
}

absl::Status CopyBeginning(FileSystem* fs, const std::string& from, int64_t bytes,
                           const std::string& to) {
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<ReadFile> source, fs->OpenRead(from));
  PAGODA_ASSIGN_OR_RETURN(const std::string content, source->ReadAt(0, bytes));
  if (static_cast<int64_t>(content.size()) != bytes) {
    return absl::DataLossError(
        absl::StrCat(from, " has ", content.size(), " bytes instead of at least ", bytes));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<AppendFile> copy, fs->Create(to));
  const absl::string_view piece = content;
  PAGODA_RETURN_IF_ERROR(copy->Append({&piece, 1}));
  return copy->Sync();
}

// REQUIRES: no file is removed meanwhile.
absl::Status LinkFiles(rocksdb::DB* db, FileSystem* fs, const std::string& directory) {
  std::vector<std::string> names;
  uint64_t manifest_bytes = 0;
  PAGODA_RETURN_IF_ERROR(FromRocks(
      db->GetLiveFiles(names, &manifest_bytes, /*flush_memtable=*/false), "listing its files"));
  PAGODA_RETURN_IF_ERROR(fs->CreateDirectory(directory));
  for (const std::string& listed : names) {
    const std::string name = BareName(listed);
    const std::string from = absl::StrCat(db->GetName(), "/", name);
    const std::string to = absl::StrCat(directory, "/", name);
    if (absl::EndsWith(name, ".sst")) {
      PAGODA_RETURN_IF_ERROR(fs->LinkOrCopy(from, to));
    } else if (absl::StartsWith(name, "MANIFEST-")) {
      // It grows: what it has beyond tells of files that are not listed here. And CURRENT may
      // name the next one by now.
      PAGODA_RETURN_IF_ERROR(CopyBeginning(fs, from, static_cast<int64_t>(manifest_bytes), to));
      PAGODA_RETURN_IF_ERROR(
          fs->ReplaceFile(absl::StrCat(directory, "/CURRENT"), absl::StrCat(name, "\n")));
    } else if (name != "CURRENT") {
      PAGODA_RETURN_IF_ERROR(fs->CopyFile(from, to));
    }
  }
  return fs->SyncDirectory(directory);
}

}  // namespace

absl::StatusOr<std::map<std::string, uint64_t>> CheckpointRocks(rocksdb::DB* db, FileSystem* fs,
                                                                const std::string& directory) {
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs->Exists(directory));
  if (exists) return absl::AlreadyExistsError(absl::StrCat(directory, " exists"));
  PAGODA_RETURN_IF_ERROR(FromRocks(db->DisableFileDeletions(), "keeping its files"));
  // Files of before and after, because a merge may finish in between.
  std::vector<rocksdb::LiveFileMetaData> files, later;
  db->GetLiveFilesMetaData(&files);
  const absl::Status linked = LinkFiles(db, fs, directory);
  db->GetLiveFilesMetaData(&later);
  const absl::Status let_go =
      FromRocks(db->EnableFileDeletions(/*force=*/false), "removing files again");
  PAGODA_RETURN_IF_ERROR(linked);
  PAGODA_RETURN_IF_ERROR(let_go);
  files.insert(files.end(), later.begin(), later.end());
  std::map<std::string, uint64_t> checksums;
  for (const rocksdb::LiveFileMetaData& file : files) {
    if (file.file_checksum_func_name != kRocksChecksumName ||
        file.file_checksum.size() != sizeof(uint64_t)) {
      continue;
    }
    uint64_t checksum = 0;
    std::memcpy(&checksum, file.file_checksum.data(), sizeof(checksum));
    checksums[BareName(file.name)] = checksum;
  }
  return checksums;
}

}  // namespace pagoda
