#include "deploy/claim_file.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "deploy/claim_sections.h"
#include "deploy/job_file_toml.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "claim.toml";
constexpr int64_t kFastSeeds = 2;

template <typename Item>
const Item* Named(const std::vector<Item>& items, const std::string& name) {
  for (const Item& item : items) {
    if (item.name == name) return &item;
  }
  return nullptr;
}

template <typename Item>
std::vector<std::string> NamesOf(const std::vector<Item>& items) {
  std::vector<std::string> names;
  for (const Item& item : items) names.push_back(item.name);
  return names;
}

absl::Status Unknown(const std::string& where, const std::string& what, const std::string& name,
                     const std::vector<std::string>& known) {
  const std::string nearest = NearestName(name, known);
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": there is no ", what, " \"", name, "\"",
                   nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
}

absl::Status Refuse(const std::string& where, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", why));
}

absl::Status CheckWorld(const Claim& claim, const ClaimWorld& world) {
  for (const std::string& arm : world.reported) {
    if (claim.Arm(arm) == nullptr) return Unknown(world.where, "arm", arm, NamesOf(claim.arms));
  }
  if (world.generator.empty() == world.directory.empty()) {
    return Refuse(world.where,
                  absl::StrCat("[world.", world.name, "] needs either generator or directory"));
  }
  if (!world.directory.empty() && !world.options.empty()) {
    return Refuse(world.where,
                  absl::StrCat("[world.", world.name, "]: a directory takes no options"));
  }
  return absl::OkStatus();
}

absl::Status CheckArm(const Claim& claim, const ClaimArm& arm) {
  if (arm.job.empty() == arm.column.empty()) {
    return Refuse(arm.where, absl::StrCat("[arm.", arm.name, "] needs either job or column"));
  }
  if (arm.job.empty() && !arm.set.empty()) {
    return Refuse(arm.where, absl::StrCat("[arm.", arm.name, "]: a column takes no set"));
  }
  for (const std::string& cut : claim.CutsOf(arm)) {
    const ClaimArm* other = claim.Arm(cut);
    if (other == nullptr) return Unknown(arm.where, "arm", cut, NamesOf(claim.arms));
    if (other->job.empty()) {
      return Refuse(arm.where, absl::StrCat("arm \"", cut, "\" is not trained: it has no cut"));
    }
  }
  return absl::OkStatus();
}

// Arms must start from arms that need nothing of them.
absl::Status CheckCircles(const Claim& claim) {
  std::set<std::string> done;
  for (bool progress = true; progress;) {
    progress = false;
    for (const ClaimArm& arm : claim.arms) {
      const std::vector<std::string> cuts = claim.CutsOf(arm);
      const bool ready = std::all_of(cuts.begin(), cuts.end(),
                                     [&](const std::string& cut) { return done.count(cut) != 0; });
      if (ready && done.insert(arm.name).second) progress = true;
    }
  }
  for (const ClaimArm& arm : claim.arms) {
    if (done.count(arm.name) == 0) {
      return Refuse(arm.where,
                    absl::StrCat("arm \"", arm.name, "\" starts, by way of others, from itself"));
    }
  }
  return absl::OkStatus();
}

// What each kind needs beside `kind`.
absl::Status CheckMetricKeys(const ClaimMetric& metric) {
  const auto refuse = [&](absl::string_view why) {
    return Refuse(metric.where,
                  absl::StrCat("[metric.", metric.name, "], kind ", metric.kind, ", ", why));
  };
  const bool labelled = metric.kind == "auc" || metric.kind == "gauc" ||
                        metric.kind == "log_loss" || metric.kind == "calibration";
  if (labelled == metric.target.empty()) {
    return refuse(labelled ? "needs the key target" : "has no use for target");
  }
  if ((metric.kind == "gauc") == metric.user.empty()) {
    return refuse(metric.user.empty() ? "needs the key user" : "has no use for user");
  }
  if (metric.OfTraining() && !metric.rows.empty()) return refuse("has no use for rows");
  const bool has_level = metric.level.has_value() || metric.level_of.has_value();
  if (metric.kind == "steps_to" && metric.level.has_value() == metric.level_of.has_value()) {
    return refuse("needs either level or level_of");
  }
  if (metric.kind != "steps_to" && has_level) return refuse("has no use for a level");
  return absl::OkStatus();
}

// That `metric(arm)` can be measured.
absl::Status CheckName(const Claim& claim, const std::string& where, const MeasuredName& name) {
  const ClaimMetric* metric = claim.Metric(name.metric);
  if (metric == nullptr) return Unknown(where, "metric", name.metric, NamesOf(claim.metrics));
  const ClaimArm* arm = claim.Arm(name.arm);
  if (arm == nullptr) return Unknown(where, "arm", name.arm, NamesOf(claim.arms));
  if (metric->AppliesTo(*arm)) return absl::OkStatus();
  return Refuse(where, absl::StrCat(name.metric, "(", name.arm,
                                    ") is not measured: the arm is not among the metric's, is not "
                                    "scored, or is not trained"));
}

absl::Status CheckMetric(const Claim& claim, const ClaimMetric& metric) {
  PAGODA_RETURN_IF_ERROR(CheckMetricKeys(metric));
  if (claim.Prediction(metric.prediction) == nullptr) {
    return Unknown(metric.where, "prediction", metric.prediction, NamesOf(claim.predictions));
  }
  for (const std::string& arm : metric.arms) {
    if (claim.Arm(arm) == nullptr) return Unknown(metric.where, "arm", arm, NamesOf(claim.arms));
  }
  if (!metric.level_of.has_value()) return absl::OkStatus();
  PAGODA_RETURN_IF_ERROR(CheckName(claim, metric.where, *metric.level_of));
  const ClaimMetric* level = claim.Metric(metric.level_of->metric);
  if (level->kind != "best_valid" && level->kind != "last_valid") {
    return Refuse(metric.where, "level_of must name a metric of kind best_valid or last_valid");
  }
  return absl::OkStatus();
}

absl::Status CheckCheck(const Claim& claim, const ClaimCheck& check) {
  const auto refuse = [&](absl::string_view why) {
    return Refuse(check.where, absl::StrCat("[check.", check.name, "] ", why));
  };
  for (const std::string& world : {check.world, check.null_world}) {
    if (!world.empty() && claim.World(world) == nullptr) {
      return Unknown(check.where, "world", world, NamesOf(claim.worlds));
    }
  }
  if (check.value.names().empty()) return refuse("measures nothing");
  for (const MeasuredName& name : check.value.names()) {
    PAGODA_RETURN_IF_ERROR(CheckName(claim, check.where, name));
  }
  if (check.gap.has_value()) {
    for (const MeasuredName& name : check.gap->names()) {
      PAGODA_RETURN_IF_ERROR(CheckName(claim, check.where, name));
    }
  }
  if (check.gap.has_value() != check.gap_closure.has_value()) {
    return refuse("needs gap and gap_closure together");
  }
  if (!check.margin.has_value() && !check.at_least.has_value() && !check.at_most.has_value() &&
      !check.band.has_value() && !check.gap_closure.has_value()) {
    return refuse("needs margin, at_least, at_most, band or gap_closure");
  }
  if (check.every_seed && !check.at_least.has_value() && !check.at_most.has_value()) {
    return refuse("has every_seed, which needs at_least or at_most");
  }
  return absl::OkStatus();
}

template <typename Item>
absl::Status CheckTwice(const std::vector<Item>& items, const std::string& what) {
  std::set<std::string> seen;
  for (const Item& item : items) {
    if (!seen.insert(item.name).second) {
      return Refuse(item.where, absl::StrCat(what, " \"", item.name, "\" is there twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTogether(const Claim& claim) {
  PAGODA_RETURN_IF_ERROR(CheckTwice(claim.worlds, "world"));
  PAGODA_RETURN_IF_ERROR(CheckTwice(claim.arms, "arm"));
  PAGODA_RETURN_IF_ERROR(CheckTwice(claim.predictions, "prediction"));
  PAGODA_RETURN_IF_ERROR(CheckTwice(claim.metrics, "metric"));
  PAGODA_RETURN_IF_ERROR(CheckTwice(claim.checks, "check"));
  for (const ClaimWorld& world : claim.worlds) PAGODA_RETURN_IF_ERROR(CheckWorld(claim, world));
  for (const ClaimArm& arm : claim.arms) PAGODA_RETURN_IF_ERROR(CheckArm(claim, arm));
  PAGODA_RETURN_IF_ERROR(CheckCircles(claim));
  for (const ClaimMetric& metric : claim.metrics)
    PAGODA_RETURN_IF_ERROR(CheckMetric(claim, metric));
  for (const ClaimCheck& check : claim.checks) PAGODA_RETURN_IF_ERROR(CheckCheck(claim, check));
  if (claim.checks.empty()) return Refuse(claim.path, "a claim needs a [check.NAME]");
  return absl::OkStatus();
}

absl::StatusOr<Claim> FromDocument(const JobDocument& document, bool fast) {
  Claim claim;
  claim.path = document.path;
  claim.fast = fast;
  if (fast) claim.seeds = claim.control_seeds = kFastSeeds;
  PAGODA_RETURN_IF_ERROR(FillClaim(document, fast, &claim));
  std::erase_if(claim.checks, [](const ClaimCheck& check) { return check.skip; });
  if (claim.Prediction("test") == nullptr) {
    ClaimPrediction& test = claim.predictions.emplace_back();
    test.name = "test";
    test.where = document.path;
  }
  PAGODA_RETURN_IF_ERROR(CheckTogether(claim));
  return claim;
}

// XXH3 of the claim file, then of each job file that an arm names, in the order of arms.
absl::StatusOr<uint64_t> HashOfFiles(const Claim& claim) {
  HashStream hash;
  PAGODA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(claim.path));
  hash.Update(text);
  std::set<std::string> seen;
  for (const ClaimArm& arm : claim.arms) {
    if (arm.job.empty() || !seen.insert(arm.job).second) continue;
    const absl::StatusOr<std::string> job = ReadWholeFile(arm.job);
    PAGODA_RETURN_IF_ERROR_CONTEXT(job.status(),
                                   absl::StrCat(arm.where, ": arm.", arm.name, ".job"));
    hash.Update(*job);
  }
  return hash.Digest();
}

}  // namespace

bool ClaimMetric::OfTraining() const {
  return kind == "best_valid" || kind == "last_valid" || kind == "best_step" ||
         kind == "best_evaluation" || kind == "steps_to" || kind == "parameters";
}

bool ClaimMetric::AppliesTo(const ClaimArm& arm) const {
  if (OfTraining() && arm.job.empty()) return false;
  if (!OfTraining() && !arm.scored) return false;
  return arms.empty() || std::find(arms.begin(), arms.end(), arm.name) != arms.end();
}

const ClaimWorld* Claim::World(const std::string& wanted) const {
  return Named(worlds, wanted);
}
const ClaimArm* Claim::Arm(const std::string& wanted) const {
  return Named(arms, wanted);
}
const ClaimMetric* Claim::Metric(const std::string& wanted) const {
  return Named(metrics, wanted);
}
const ClaimPrediction* Claim::Prediction(const std::string& wanted) const {
  return Named(predictions, wanted);
}

std::vector<std::string> Claim::CutsOf(const ClaimArm& arm) const {
  std::vector<std::string> cuts;
  for (const std::string& assignment : arm.set) {
    for (const std::string& mark : {std::string("{cut:"), std::string("{last_cut:")}) {
      for (size_t at = assignment.find(mark); at != std::string::npos;
           at = assignment.find(mark, at + 1)) {
        const size_t begin = at + mark.size();
        const std::string cut = assignment.substr(begin, assignment.find('}', begin) - begin);
        if (std::find(cuts.begin(), cuts.end(), cut) == cuts.end()) cuts.push_back(cut);
      }
    }
  }
  return cuts;
}

absl::StatusOr<Claim> ReadClaim(const std::string& path, bool fast) {
  PAGODA_ASSIGN_OR_RETURN(const JobDocument document, ReadJobFile(path));
  // Mistakes of either kind of run are found in both.
  PAGODA_RETURN_IF_ERROR(FromDocument(document, !fast).status());
  PAGODA_ASSIGN_OR_RETURN(Claim claim, FromDocument(document, fast));
  const fs::path directory = fs::absolute(path).parent_path();
  claim.name = fs::path(path).filename() == kFileName ? directory.filename().string()
                                                      : fs::path(path).stem().string();
  for (ClaimArm& arm : claim.arms) {
    if (!arm.job.empty()) arm.job = (directory / arm.job).lexically_normal().string();
  }
  for (ClaimWorld& world : claim.worlds) {
    if (world.directory.empty()) continue;
    world.directory = (directory / world.directory).lexically_normal().string();
  }
  PAGODA_ASSIGN_OR_RETURN(claim.hash, HashOfFiles(claim));
  return claim;
}

int64_t ClaimSeed(const Claim& claim, int index) {
  // A fast run shows nothing of the worlds that a full one is judged on.
  const std::string text = absl::StrCat(claim.hash, claim.fast ? "/fast/" : "/", index);
  return static_cast<int64_t>(HashBytes(text) >> 33);
}

std::string ClaimPath(const std::string& directory, const std::string& name) {
  if (absl::EndsWith(name, ".toml")) return name;
  return (fs::path(directory) / name / kFileName).string();
}

std::vector<std::string> ListClaims(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (fs::is_regular_file(entry.path() / kFileName, error)) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace pagoda
