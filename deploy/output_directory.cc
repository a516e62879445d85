#include "deploy/output_directory.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/log.h"
#include "worker/durable_file.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

// Cuts on their way out.
constexpr const char* kRemovedCuts = "cuts.removed";

bool IsServerDirectory(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return entry.is_directory() && absl::StartsWith(name, "server-") &&
         fs::is_directory(entry.path() / "store");
}

// What is of no use without a cut.
bool IsLeftover(const fs::directory_entry& entry) {
  return IsServerDirectory(entry) || entry.path().filename() == kRemovedCuts;
}

// Everything a run writes, and nothing else.
bool IsOurs(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return IsLeftover(entry) || name == "cuts" || name == "logs" || name == "job.toml" ||
         name == "tensorboard" || name == "epoch" || name == "finished";
}

absl::Status Remove(const std::string& output_dir, bool (*chosen)(const fs::directory_entry&)) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(output_dir, error)) {
    if (chosen(entry)) paths.push_back(entry.path());
  }
  for (const fs::path& path : paths) {
    fs::remove_all(path, error);
    if (error) {
      return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot remove ", path.string()));
    }
  }
  return absl::OkStatus();
}

// Removes an earlier run. Killed at any moment, it leaves a run with all of its cuts or with
// none: they go first, by one rename.
absl::Status RemoveRun(const std::string& output_dir) {
  const fs::path cuts = fs::path(output_dir) / "cuts";
  const fs::path removed = fs::path(output_dir) / kRemovedCuts;
  std::error_code error;
  fs::remove(fs::path(output_dir) / "finished", error);
  if (!error) fs::remove_all(removed, error);
  if (!error && fs::exists(cuts, error)) fs::rename(cuts, removed, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot remove ", cuts.string()));
  }
  return Remove(output_dir, IsOurs);
}

absl::StatusOr<std::string> CutToResume(const JobConfig& config, const StartArguments& start) {
  if (!start.resume_cut.empty()) {
    return fs::absolute(start.resume_cut).lexically_normal().string();
  }
  const absl::StatusOr<ListedCut> newest = NewestJobCut(config.trainer.output_dir);
  if (newest.ok()) return newest->directory;
  if (!absl::IsNotFound(newest.status())) return newest.status();
  return absl::NotFoundError(absl::StrCat("there is no complete cut to resume in ",
                                          config.trainer.output_dir, "; start without --resume"));
}

}  // namespace

std::string ServerDirectory(const std::string& output_dir, int server) {
  return absl::StrCat(output_dir, "/server-", server);
}

std::string LogPath(const std::string& output_dir, const std::string& process) {
  return absl::StrCat(output_dir, "/logs/", process, ".log");
}

absl::StatusOr<std::string> ResumeCut(const JobConfig& config, const StartArguments& start) {
  if (!start.resume) return std::string();
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, CutToResume(config, start));
  PAGODA_RETURN_IF_ERROR(ReadCutManifest(cut).status());
  return cut;
}

absl::StatusOr<std::string> PrepareOutput(const JobConfig& config, const StartArguments& start) {
  const std::string& output = config.trainer.output_dir;
  PAGODA_RETURN_IF_ERROR(MakeDirectories(output));
  PAGODA_ASSIGN_OR_RETURN(const std::string cut, ResumeCut(config, start));
  if (start.resume) {
    // Everything stays; the servers rewind.
  } else if (start.overwrite) {
    PAGODA_RETURN_IF_ERROR(RemoveRun(output));
  } else if (const auto newest = NewestJobCut(output); newest.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(output, " holds an earlier run (", newest->name,
                     "): go on with --resume, start over with --overwrite, or choose another "
                     "place with --set job.output=DIR"));
  } else {
    // A run that ended before its first cut left rows and no dense parameters.
    PAGODA_RETURN_IF_ERROR(Remove(output, IsLeftover));
  }
  PAGODA_RETURN_IF_ERROR(
      ReplaceFileDurably(absl::StrCat(output, "/job.toml"), config.effective_text));
  return cut;
}

std::string ShortPath(const std::string& path) {
  std::error_code error;
  const std::string here = fs::current_path(error).string();
  if (!error && absl::StartsWith(path, here + "/")) return path.substr(here.size() + 1);
  return path;
}

std::string ShellQuote(const std::string& word) {
  bool plain = !word.empty();
  for (const char c : word) {
    plain = plain && (absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                      absl::StrContains("-_./=:,+@%", c));
  }
  return plain ? word : absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string ResumeCommand(const std::string& command, const JobArguments& job,
                          const std::string& options) {
  std::string text =
      absl::StrCat(ShellQuote(job.program), " ", command, " ", ShellQuote(job.job_path));
  for (const std::string& assignment : job.assignments) {
    absl::StrAppend(&text, " --set ", ShellQuote(assignment));
  }
  if (!job.stage.empty()) absl::StrAppend(&text, " --stage ", job.stage);
  if (!job.from_stage.empty()) absl::StrAppend(&text, " --from-stage ", job.from_stage);
  return absl::StrCat(text, options.empty() ? "" : " ", options, " --resume");
}

}  // namespace pagoda
