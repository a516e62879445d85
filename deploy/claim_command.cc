// `pagoda claim`: whether a system does what its paper says, on generated worlds.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "deploy/claim_file.h"
#include "deploy/claim_plan.h"
#include "deploy/claim_report.h"
#include "deploy/claim_runner.h"
#include "deploy/claim_values.h"
#include "deploy/claim_verdict.h"
#include "deploy/commands.h"
#include "deploy/stop_signal.h"
#include "embedding_store/file_system.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

constexpr int kExitFail = 1;
constexpr int kExitError = 3;
constexpr int kExitPilot = 4;

void Say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

int ListAll(const std::string& directory) {
  for (const std::string& name : ListClaims(directory)) {
    const absl::StatusOr<Claim> claim = ReadClaim(ClaimPath(directory, name), /*fast=*/false);
    Say(claim.ok() ? absl::StrFormat("%-12s %016x  %s", name, claim->hash, claim->title)
                   : absl::StrFormat("%-12s cannot be read: %s", name, claim.status().message()));
  }
  return 0;
}

absl::StatusOr<ClaimRunOptions> OptionsFor(const ClaimArguments& arguments, const Claim& claim) {
  ClaimRunOptions options;
  std::error_code error;
  options.executable = fs::read_symlink("/proc/self/exe", error).string();
  if (error) return absl::ErrnoToStatus(error.value(), "cannot tell where this program is");
  const std::string output =
      arguments.output.empty() ? absl::StrCat("runs/claims/", claim.name, claim.fast ? "-fast" : "")
                               : arguments.output;
  options.output_dir = fs::absolute(output).lexically_normal().string();
  // One thread each; more than two would want more memory than a small machine has.
  options.parallel = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 2);
  if (arguments.pilot >= 0) {
    options.seeds = options.control_seeds = {arguments.pilot};
    return options;
  }
  const int64_t seeds = arguments.seeds > 0 ? arguments.seeds : claim.seeds;
  const int64_t controls = std::min(claim.control_seeds, seeds);
  for (int i = 0; i < seeds; ++i) options.seeds.push_back(ClaimSeed(claim, i));
  for (int i = 0; i < controls; ++i) options.control_seeds.push_back(ClaimSeed(claim, i));
  return options;
}

absl::Status WriteReports(const std::string& directory, const ClaimReport& report) {
  PAGODA_RETURN_IF_ERROR(
      ReplaceFileDurably(absl::StrCat(directory, "/report.md"), ReportAsMarkdown(report)));
  return ReplaceFileDurably(absl::StrCat(directory, "/report.json"), ReportAsJson(report));
}

absl::StatusOr<int> JudgeByRunning(const ClaimArguments& arguments) {
  if (arguments.name.empty()) {
    return absl::InvalidArgumentError("name a claim, or list them with --list");
  }
  PAGODA_ASSIGN_OR_RETURN(
      const Claim claim, ReadClaim(ClaimPath(arguments.directory, arguments.name), arguments.fast));
  PAGODA_ASSIGN_OR_RETURN(const ClaimRunOptions options, OptionsFor(arguments, claim));
  PAGODA_ASSIGN_OR_RETURN(const ClaimPlan plan, PlanClaim(claim, options));
  Say(absl::StrFormat("claim %s, hash %016x: %d worlds, %d runs, in %s", claim.name, claim.hash,
                      plan.worlds.size(), plan.runs.size(), options.output_dir));
  PAGODA_RETURN_IF_ERROR(MakeDirectories(options.output_dir));
  // Two runs in one directory would remove each other's unfinished worlds and runs.
  PAGODA_ASSIGN_OR_RETURN(
      const std::unique_ptr<FileLock> lock,
      FileSystem::Real()->Lock(absl::StrCat(options.output_dir, "/LOCK"), true));
  PAGODA_RETURN_IF_ERROR(RunClaimPlan(claim, options, plan, Say));
  PAGODA_ASSIGN_OR_RETURN(const ClaimValues values, MeasureClaim(claim, plan));
  const ClaimVerdict verdict = JudgeClaim(claim, values);
  const ClaimReport report{&claim, &options, &values, &verdict, arguments.pilot >= 0};
  PAGODA_RETURN_IF_ERROR(WriteReports(options.output_dir, report));
  Say(absl::StrCat("\n", ReportAsText(report)));
  if (report.pilot) return kExitPilot;
  return verdict.pass ? 0 : kExitFail;
}

}  // namespace

absl::StatusOr<int> RunClaim(const ClaimArguments& arguments) {
  InitLogging("claim", LogLevel::kWarning);
  if (arguments.list) return ListAll(arguments.directory);
  StopSignal::Install("\nstopping; finished runs are kept\n");
  const absl::StatusOr<int> code = JudgeByRunning(arguments);
  if (code.ok()) return *code;
  // 1 is the verdict FAIL: an error must differ from it.
  std::fflush(stdout);
  std::fprintf(stderr, "pagoda: error: %s\n", std::string(code.status().message()).c_str());
  return absl::IsCancelled(code.status()) ? kExitInterrupted : kExitError;
}

}  // namespace pagoda
