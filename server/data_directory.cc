#include "server/data_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

absl::Status IoError(absl::string_view what, const std::string& path, const std::error_code& ec) {
  const std::string message = absl::StrCat("cannot ", what, " ", path, ": ", ec.message());
  if (ec == std::errc::no_space_on_device) return absl::ResourceExhaustedError(message);
  return absl::FailedPreconditionError(message);
}

std::error_code LastError() {
  return std::error_code(errno, std::generic_category());
}

// Makes names in `directory` survive power loss.
absl::Status SyncDirectory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return IoError("open", directory, LastError());
  const bool ok = ::fsync(fd) == 0;
  const std::error_code ec = LastError();
  ::close(fd);
  return ok ? absl::OkStatus() : IoError("sync", directory, ec);
}

absl::Status Rename(const std::string& from, const std::string& to) {
  std::error_code ec;
  fs::rename(from, to, ec);
  if (ec) return IoError(absl::StrCat("rename ", from, " to"), to, ec);
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code ec;
  fs::remove_all(path, ec);
  if (ec) return IoError("delete", path, ec);
  return absl::OkStatus();
}

absl::Status CreateTree(const std::string& path) {
  std::error_code ec;
  fs::create_directories(path, ec);
  if (ec) return IoError("create", path, ec);
  return absl::OkStatus();
}

absl::Status WriteWholeFile(const std::string& path, const std::string& text) {
  const std::string partial = path + ".partial";
  const int fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return IoError("create", partial, LastError());
  const bool ok = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                  ::fsync(fd) == 0;
  const std::error_code ec = LastError();
  ::close(fd);
  if (!ok) return IoError("write", partial, ec);
  return Rename(partial, path);
}

}  // namespace

absl::StatusOr<DataDirectory> DataDirectory::Open(const std::string& root, bool read_only) {
  DataDirectory directory(root);
  if (read_only) {
    if (!fs::is_directory(root)) {
      return absl::FailedPreconditionError(absl::StrCat(root, " is not a directory"));
    }
    return directory;
  }
  PAGODA_RETURN_IF_ERROR(CreateTree(absl::StrCat(root, "/cuts")));
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(absl::StrCat(root, "/cuts"), ec)) {
    if (entry.path().filename().string().starts_with(".")) {
      PAGODA_RETURN_IF_ERROR(RemoveTree(entry.path().string()));
    }
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
  std::ifstream file(path);
  if (!file) return std::optional<ShardPlace>();
  std::string line;
  std::getline(file, line);
  ShardPlace place;
  if (std::sscanf(line.c_str(), "pagoda shard %u of %u", &place.shard, &place.num_shards) != 2 ||
      place.shard >= place.num_shards) {
    return absl::DataLossError(absl::StrCat(path, " does not say which shard this is"));
  }
  return std::optional<ShardPlace>(place);
}

absl::StatusOr<std::optional<ShardPlace>> DataDirectory::ReadCutPlace(
    const std::string& cut) const {
  return DataDirectory(CutPath(cut)).ReadShardPlace();
}

absl::Status DataDirectory::WriteShardPlace(const ShardPlace& place) const {
  PAGODA_RETURN_IF_ERROR(
      WriteWholeFile(absl::StrCat(root_, "/SHARD"),
                     absl::StrCat("pagoda shard ", place.shard, " of ", place.num_shards, "\n")));
  return SyncDirectory(root_);
}

absl::Status DataDirectory::MakeCut(
    const std::string& cut, const std::function<absl::Status(const std::string&)>& fill) const {
  PAGODA_RETURN_IF_ERROR(CheckName(cut));
  const std::string partial = absl::StrCat(root_, "/cuts/.partial-", cut);
  const std::string replaced = absl::StrCat(root_, "/cuts/.replaced-", cut);
  PAGODA_RETURN_IF_ERROR(RemoveTree(partial));
  PAGODA_RETURN_IF_ERROR(RemoveTree(replaced));
  absl::Status filled = fill(partial);
  if (filled.ok()) {
    auto place = ReadShardPlace();
    filled = place.status();
    if (filled.ok() && place->has_value()) filled = DataDirectory(partial).WriteShardPlace(**place);
  }
  if (!filled.ok()) {
    (void)RemoveTree(partial);
    return filled;
  }
  if (fs::exists(CutPath(cut))) PAGODA_RETURN_IF_ERROR(Rename(CutPath(cut), replaced));
  PAGODA_RETURN_IF_ERROR(Rename(partial, CutPath(cut)));
  PAGODA_RETURN_IF_ERROR(SyncDirectory(absl::StrCat(root_, "/cuts")));
  return RemoveTree(replaced);
}

absl::Status DataDirectory::DropCut(const std::string& cut) const {
  PAGODA_RETURN_IF_ERROR(CheckName(cut));
  if (!fs::exists(CutPath(cut))) return absl::OkStatus();
  const std::string dropped = absl::StrCat(root_, "/cuts/.dropped-", cut);
  PAGODA_RETURN_IF_ERROR(RemoveTree(dropped));
  PAGODA_RETURN_IF_ERROR(Rename(CutPath(cut), dropped));
  return RemoveTree(dropped);
}

}  // namespace pagoda
