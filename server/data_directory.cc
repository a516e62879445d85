#include "server/data_directory.h"

#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {

absl::StatusOr<DataDirectory> DataDirectory::Open(const std::string& root, bool read_only,
                                                  FileSystem* file_system) {
  DataDirectory directory(root, file_system);
  if (read_only) {
    if (!file_system->List(root).ok()) {
      return absl::FailedPreconditionError(absl::StrCat(root, " is not a directory"));
    }
    return directory;
  }
  const std::string cuts = absl::StrCat(root, "/cuts");
  PAGODA_RETURN_IF_ERROR(file_system->CreateDirectory(cuts));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> entries, file_system->List(cuts));
  for (const std::string& entry : entries) {
    if (!entry.starts_with(".")) continue;
    PAGODA_RETURN_IF_ERROR(file_system->RemoveDirectory(absl::StrCat(cuts, "/", entry)));
  }
  return directory;
}

absl::Status DataDirectory::CheckName(const std::string& name) {
  constexpr size_t kNameBytesMax = 128;
  bool legal = !name.empty() && name.size() <= kNameBytesMax && name[0] != '.';
  for (const char c : name) {
    legal = legal && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-');
  }
  if (legal) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "'", name.substr(0, kNameBytesMax),
      "' is no name for a cut: 1 to 128 letters, digits, '.', '_' or '-', no '.' in front"));
}

std::string DataDirectory::StorePath() const {
  return absl::StrCat(root_, "/store");
}
std::string DataDirectory::CutPath(const std::string& cut) const {
  return absl::StrCat(root_, "/cuts/", cut);
}
std::string DataDirectory::SetAsidePath(const std::string& name) const {
  return absl::StrCat(root_, "/set_aside/", name);
}

absl::StatusOr<std::optional<ShardPlace>> DataDirectory::ReadShardPlace() const {
  const std::string path = absl::StrCat(root_, "/SHARD");
  const absl::StatusOr<std::string> text = fs_->ReadAll(path);
  if (absl::IsNotFound(text.status())) return std::optional<ShardPlace>();
  PAGODA_RETURN_IF_ERROR(text.status());
  ShardPlace place;
  if (std::sscanf(text->c_str(), "pagoda shard %u of %u", &place.shard, &place.num_shards) != 2 ||
      place.shard >= place.num_shards) {
    return absl::DataLossError(absl::StrCat(path, " does not say which shard this is"));
  }
  return std::optional<ShardPlace>(place);
}

absl::StatusOr<std::optional<ShardPlace>> DataDirectory::ReadCutPlace(
    const std::string& cut) const {
  return DataDirectory(CutPath(cut), fs_).ReadShardPlace();
}

absl::Status DataDirectory::WriteShardPlace(const ShardPlace& place) const {
  return fs_->ReplaceFile(
      absl::StrCat(root_, "/SHARD"),
      absl::StrCat("pagoda shard ", place.shard, " of ", place.num_shards, "\n"));
}

absl::Status DataDirectory::MakeCut(
    const std::string& cut, const std::function<absl::Status(const std::string&)>& fill) const {
  PAGODA_RETURN_IF_ERROR(CheckName(cut));
  const std::string partial = absl::StrCat(root_, "/cuts/.partial-", cut);
  const std::string replaced = absl::StrCat(root_, "/cuts/.replaced-", cut);
  PAGODA_RETURN_IF_ERROR(fs_->RemoveDirectory(partial));
  PAGODA_RETURN_IF_ERROR(fs_->RemoveDirectory(replaced));
  absl::Status filled = fill(partial);
  if (filled.ok()) {
    auto place = ReadShardPlace();
    filled = place.status();
    if (filled.ok() && place->has_value())
      filled = DataDirectory(partial, fs_).WriteShardPlace(**place);
  }
  if (!filled.ok()) {
    (void)fs_->RemoveDirectory(partial);
    return filled;
  }
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(CutPath(cut)));
  if (exists) PAGODA_RETURN_IF_ERROR(fs_->Rename(CutPath(cut), replaced));
  PAGODA_RETURN_IF_ERROR(fs_->Rename(partial, CutPath(cut)));
  PAGODA_RETURN_IF_ERROR(fs_->SyncDirectory(absl::StrCat(root_, "/cuts")));
  return fs_->RemoveDirectory(replaced);
}

absl::Status DataDirectory::DropCut(const std::string& cut) const {
  PAGODA_RETURN_IF_ERROR(CheckName(cut));
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(CutPath(cut)));
  if (!exists) return absl::OkStatus();
  const std::string dropped = absl::StrCat(root_, "/cuts/.dropped-", cut);
  PAGODA_RETURN_IF_ERROR(fs_->RemoveDirectory(dropped));
  PAGODA_RETURN_IF_ERROR(fs_->Rename(CutPath(cut), dropped));
  return fs_->RemoveDirectory(dropped);
}

}  // namespace pagoda
