#include "embedding_store/store_directory.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "embedding_store/table_registry.h"

namespace pagoda {
namespace {

constexpr char kMagicWord[] = "pagoda-store ";
constexpr char kMagicLine[] = "pagoda-store 1";
constexpr char kStatePrefix[] = "state-";

std::string StateName(uint64_t number) {
  return absl::StrFormat("%s%06d", kStatePrefix, number);
}

bool IsOurs(absl::string_view entry) {
  return entry == "LOCK" || entry == "CURRENT" || entry == "CURRENT.tmp" || entry == "lost+found" ||
         absl::StartsWith(entry, kStatePrefix);
}

std::string FormatCurrent(const std::string& state, const std::string& old_state,
                          const std::string& set_aside) {
  std::string text = absl::StrCat(kMagicLine, "\nstate ", state, "\n");
  if (!old_state.empty()) {
    absl::StrAppend(&text, "set_aside ", old_state, " ", absl::CEscape(set_aside), "\n");
  }
  return WithChecksumLine(std::move(text));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreDirectory>> StoreDirectory::Open(FileSystem* file_system,
                                                                     const std::string& path,
                                                                     bool read_only) {
  std::unique_ptr<StoreDirectory> directory(new StoreDirectory(file_system, path));
  PAGODA_RETURN_IF_ERROR(read_only ? directory->OpenToRead() : directory->OpenToWrite());
  return directory;
}

std::string StoreDirectory::state_path() const {
  return is_cut() ? path_ : absl::StrCat(path_, "/", state_);
}

absl::Status StoreDirectory::OpenToRead() {
  PAGODA_ASSIGN_OR_RETURN(const bool cut, fs_->Exists(path_ + "/MANIFEST"));
  if (cut) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(path_ + "/CURRENT"));
  if (!exists) {
    return absl::NotFoundError(absl::StrCat(path_, " holds neither a store nor a cut"));
  }
  PAGODA_ASSIGN_OR_RETURN(lock_, fs_->Lock(path_ + "/LOCK", /*exclusive=*/false));
  return ReadCurrent();
}

absl::Status StoreDirectory::OpenToWrite() {
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(path_));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> entries, fs_->List(path_));
  bool current = false;
  bool first_state = false;
  for (const std::string& entry : entries) {
    if (entry == "MANIFEST") {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, " is a cut: open it read-only, or restore a store from it"));
    }
    current |= entry == "CURRENT";
    first_state |= absl::StartsWith(entry, kStatePrefix);
  }
  for (const std::string& entry : entries) {
    if (!current && !IsOurs(entry)) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, " holds files of something else, such as ", entry));
    }
  }
  PAGODA_ASSIGN_OR_RETURN(lock_, fs_->Lock(path_ + "/LOCK", /*exclusive=*/true));
  if (!current) return CreateFirstState(/*adopt=*/first_state);
  PAGODA_RETURN_IF_ERROR(ReadCurrent());
  FinishCommit();
  return absl::OkStatus();
}

absl::Status StoreDirectory::ReadCurrent() {
  const std::string file = path_ + "/CURRENT";
  PAGODA_ASSIGN_OR_RETURN(const std::string text, fs_->ReadAll(file));
  const std::string first(*absl::StrSplit(text, '\n').begin());
  if (absl::StartsWith(first, kMagicWord) && first != kMagicLine) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " has format \"", first, "\", this build reads \"", kMagicLine, "\""));
  }
  PAGODA_ASSIGN_OR_RETURN(const absl::string_view body, StripChecksumLine(text, file));
  for (absl::string_view line : absl::StrSplit(body, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
    if (words.size() == 2 && words[0] == "state") state_ = words[1];
    if (words.size() == 3 && words[0] == "set_aside") {
      old_state_ = words[1];
      if (!absl::CUnescape(words[2], &set_aside_)) old_state_.clear();
    }
  }
  if (!absl::StartsWith(state_, kStatePrefix)) {
    return absl::DataLossError(absl::StrCat(file, " names no state"));
  }
  PAGODA_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(state_path()));
  if (!exists) {
    return absl::DataLossError(absl::StrCat(file, " names ", state_, ", which is missing"));
  }
  return absl::OkStatus();
}

absl::Status StoreDirectory::WriteCurrent() {
  return fs_->ReplaceFile(path_ + "/CURRENT", FormatCurrent(state_, old_state_, set_aside_));
}

absl::Status StoreDirectory::CreateFirstState(bool adopt) {
  // A crash between creating the state and naming it leaves the state alone; it is
  // taken over rather than wiped, so that a lost CURRENT never costs rows.
  state_ = StateName(1);
  if (adopt) {
    PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> entries, fs_->List(path_));
    int states = 0;
    for (const std::string& entry : entries) {
      if (!absl::StartsWith(entry, kStatePrefix)) continue;
      state_ = entry;
      ++states;
    }
    if (states != 1) {
      return absl::DataLossError(
          absl::StrCat(path_, "/CURRENT is missing, and there are ", states, " states"));
    }
  }
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(state_path()));
  PAGODA_ASSIGN_OR_RETURN(const bool registry, fs_->Exists(registry_path()));
  if (!registry) PAGODA_RETURN_IF_ERROR(WriteTableRegistry(fs_, registry_path(), {}));
  PAGODA_RETURN_IF_ERROR(fs_->SyncDirectory(path_));
  PAGODA_RETURN_IF_ERROR(fs_->SyncDirectory(ParentDirectory(path_)));
  is_new_ = true;
  return WriteCurrent();
}

absl::StatusOr<std::string> StoreDirectory::PrepareState() {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(absl::string_view(state_).substr(sizeof(kStatePrefix) - 1), &number)) {
    return absl::DataLossError(absl::StrCat(path_, "/CURRENT names ", state_));
  }
  prepared_ = StateName(number + 1);
  const std::string path = absl::StrCat(path_, "/", prepared_);
  PAGODA_RETURN_IF_ERROR(fs_->RemoveDirectory(path));
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(path));
  return path;
}

absl::Status StoreDirectory::CheckSetAside(const std::string& set_aside) {
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(set_aside));
  PAGODA_ASSIGN_OR_RETURN(const std::vector<std::string> entries, fs_->List(set_aside));
  if (!entries.empty()) {
    return absl::AlreadyExistsError(absl::StrCat(set_aside, " exists and is not empty"));
  }
  // Moving the state later must be a rename, so find out now.
  const std::string probe = absl::StrCat(path_, "/", prepared_, "/probe");
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(probe));
  PAGODA_RETURN_IF_ERROR_CONTEXT(fs_->Rename(probe, set_aside + "/probe"),
                                 "newer state must be set aside on the store's file system");
  return fs_->RemoveDirectory(set_aside + "/probe");
}

absl::Status StoreDirectory::CommitState(const std::string& set_aside) {
  PAGODA_CHECK(!prepared_.empty());
  if (!set_aside.empty()) PAGODA_RETURN_IF_ERROR(CheckSetAside(set_aside));
  PAGODA_RETURN_IF_ERROR(fs_->SyncDirectory(path_));
  const std::string live = state_;
  old_state_ = set_aside.empty() ? "" : state_;
  set_aside_ = set_aside.empty() ? "" : std::filesystem::absolute(set_aside).string();
  state_ = prepared_;
  const absl::Status written = WriteCurrent();
  if (!written.ok()) {
    state_ = live;
    old_state_.clear();
    set_aside_.clear();
    return written;
  }
  prepared_.clear();
  FinishCommit();
  return absl::OkStatus();
}

void StoreDirectory::FinishCommit() {
  const absl::Status moved = MoveOldState();
  if (!moved.ok()) {
    PAGODA_LOG_WARNING("{}: could not set {} aside yet ({}); it stays until the next opening",
                       path_, old_state_, std::string(moved.message()));
  }
  const absl::StatusOr<std::vector<std::string>> entries = fs_->List(path_);
  if (!entries.ok()) return;
  for (const std::string& entry : *entries) {
    if (!absl::StartsWith(entry, kStatePrefix) || entry == state_ || entry == old_state_) continue;
    PAGODA_LOG_INFO("{}: removing {}, which is not in use", path_, entry);
    const absl::Status removed = fs_->RemoveDirectory(absl::StrCat(path_, "/", entry));
    if (!removed.ok()) PAGODA_LOG_WARNING("{}", std::string(removed.message()));
  }
}

absl::Status StoreDirectory::MoveOldState() {
  if (old_state_.empty()) return absl::OkStatus();
  const std::string from = absl::StrCat(path_, "/", old_state_);
  PAGODA_ASSIGN_OR_RETURN(const bool waiting, fs_->Exists(from));
  PAGODA_RETURN_IF_ERROR(fs_->CreateDirectory(set_aside_));
  if (waiting) {
    PAGODA_RETURN_IF_ERROR(fs_->Rename(from, absl::StrCat(set_aside_, "/", old_state_)));
  }
  PAGODA_RETURN_IF_ERROR(
      fs_->ReplaceFile(set_aside_ + "/CURRENT", FormatCurrent(old_state_, "", "")));
  PAGODA_RETURN_IF_ERROR(fs_->SyncDirectory(ParentDirectory(set_aside_)));
  const std::string moved = std::exchange(old_state_, "");
  const absl::Status written = WriteCurrent();
  if (!written.ok()) old_state_ = moved;
  return written;
}

}  // namespace pagoda
