#include "deploy/claim_plan.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "deploy/job_file_toml.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<uint64_t> HashOfFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  HashStream hash;
  std::vector<char> buffer(1 << 20);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), file.gcount() > 0) {
    hash.Update({buffer.data(), static_cast<size_t>(file.gcount())});
  }
  return hash.Digest();
}

std::string Hex(uint64_t value) {
  return absl::StrCat(absl::Hex(value, absl::kZeroPad16));
}

// Hashes texts so that no two lists of texts look alike.
std::string KeyOf(const std::vector<std::string>& texts) {
  HashStream hash;
  for (const std::string& text : texts) {
    hash.Update(absl::StrCat(text.size(), ":"));
    hash.Update(text);
  }
  return Hex(hash.Digest());
}

// What a world must give: metrics of arms, and arms alone.
struct Needs {
  std::set<MeasuredName> names;
  std::set<std::string> arms;
};

void AddArm(const Claim& claim, const std::string& name, Needs* needs) {
  if (!needs->arms.insert(name).second) return;
  for (const std::string& cut : claim.CutsOf(*claim.Arm(name))) AddArm(claim, cut, needs);
}

void AddName(const Claim& claim, const MeasuredName& name, Needs* needs) {
  if (!needs->names.insert(name).second) return;
  AddArm(claim, name.arm, needs);
  const ClaimMetric* metric = claim.Metric(name.metric);
  if (metric->level_of.has_value()) AddName(claim, *metric->level_of, needs);
}

// What every check needs of a world, and what is only reported: in a full run each
// metric of each arm of a world that is no control.
Needs NeedsOf(const Claim& claim, const ClaimWorld& world) {
  Needs needs;
  for (const ClaimCheck& check : claim.checks) {
    if (check.world != world.name && check.null_world != world.name) continue;
    for (const MeasuredName& name : check.value.names()) AddName(claim, name, &needs);
    if (check.world != world.name || !check.gap.has_value()) continue;
    for (const MeasuredName& name : check.gap->names()) AddName(claim, name, &needs);
  }
  for (const std::string& arm : world.reported) AddArm(claim, arm, &needs);
  if (world.control || claim.fast) return needs;
  for (const std::string& arm : std::set<std::string>(needs.arms)) {
    for (const ClaimMetric& metric : claim.metrics) {
      if (metric.AppliesTo(*claim.Arm(arm))) AddName(claim, {metric.name, arm}, &needs);
    }
  }
  return needs;
}

// Arms in an order in which each comes after those it starts from.
std::vector<const ClaimArm*> InOrder(const Claim& claim, const std::set<std::string>& arms) {
  std::vector<const ClaimArm*> order;
  std::set<std::string> done;
  while (order.size() < arms.size()) {
    for (const ClaimArm& arm : claim.arms) {
      if (arms.count(arm.name) == 0 || done.count(arm.name) != 0) continue;
      const std::vector<std::string> cuts = claim.CutsOf(arm);
      const bool ready = std::all_of(cuts.begin(), cuts.end(),
                                     [&](const std::string& cut) { return done.count(cut) != 0; });
      if (!ready) continue;
      order.push_back(&arm);
      done.insert(arm.name);
    }
  }
  return order;
}

class Planner {
 public:
  Planner(const Claim& claim, const ClaimRunOptions& options) : claim_(claim), options_(options) {}

  absl::StatusOr<ClaimPlan> Plan() {
    PAGODA_ASSIGN_OR_RETURN(const uint64_t executable, HashOfFile(options_.executable));
    executable_key_ = Hex(executable);
    for (const ClaimArm& arm : claim_.arms) {
      if (arm.job.empty()) continue;
      PAGODA_ASSIGN_OR_RETURN(job_texts_[arm.name], ReadWholeFile(arm.job));
    }
    // Seed by seed: an interrupted claim has whole seeds to show.
    const size_t seeds = std::max(options_.seeds.size(), options_.control_seeds.size());
    for (size_t i = 0; i < seeds; ++i) {
      for (const ClaimWorld& world : claim_.worlds) {
        const std::vector<int64_t>& own = world.control ? options_.control_seeds : options_.seeds;
        if (i < own.size()) AddWorld(world, static_cast<int>(i), own[i]);
      }
    }
    return std::move(plan_);
  }

 private:
  void AddWorld(const ClaimWorld& world, int seed_index, int64_t seed) {
    const Needs needs = NeedsOf(claim_, world);
    if (needs.arms.empty()) return;
    PlannedWorld planned{&world, seed_index, seed, "", ""};
    std::vector<std::string> key = {executable_key_, world.generator, world.directory,
                                    absl::StrCat(seed)};
    key.insert(key.end(), world.options.begin(), world.options.end());
    planned.key = KeyOf(key);
    planned.directory =
        world.directory.empty()
            ? absl::StrCat(options_.output_dir, "/worlds/", world.name, "-", seed, "-", planned.key)
            : absl::StrReplaceAll(world.directory, {{"{seed}", absl::StrCat(seed)}});
    plan_.worlds.push_back(planned);
    std::map<std::string, int> runs;
    for (const ClaimArm* arm : InOrder(claim_, needs.arms)) {
      AddRun(*arm, needs, runs);
      runs[arm->name] = static_cast<int>(plan_.runs.size()) - 1;
    }
  }

  void AddRun(const ClaimArm& arm, const Needs& needs, const std::map<std::string, int>& runs) {
    const PlannedWorld& world = plan_.worlds.back();
    PlannedRun run;
    run.world = static_cast<int>(plan_.worlds.size()) - 1;
    run.arm = &arm;
    std::vector<std::string> key = {world.key, job_texts_[arm.name]};
    for (const std::string& assignment : arm.set) key.push_back(assignment);
    for (const ClaimMetric& metric : claim_.metrics) {
      if (needs.names.count({metric.name, arm.name}) != 0) run.metrics.push_back(&metric);
    }
    for (const ClaimPrediction& prediction : claim_.predictions) {
      const bool used =
          std::any_of(run.metrics.begin(), run.metrics.end(), [&](const ClaimMetric* metric) {
            return !metric->OfTraining() && metric->prediction == prediction.name;
          });
      if (!used) continue;
      run.predictions.push_back(&prediction);
      key.insert(key.end(), {"prediction", prediction.name, prediction.input, prediction.cut});
      if (prediction.labels) key.push_back("--labels");
      key.insert(key.end(), prediction.set.begin(), prediction.set.end());
    }
    for (const std::string& cut : claim_.CutsOf(arm)) {
      run.starts_from.push_back(runs.at(cut));
      key.push_back(plan_.runs[static_cast<size_t>(runs.at(cut))].key);
    }
    run.key = KeyOf(key);
    if (!arm.job.empty()) {
      run.directory = absl::StrCat(options_.output_dir, "/runs/", arm.name, "-", world.world->name,
                                   "-", world.seed, "-", run.key);
    }
    plan_.runs.push_back(std::move(run));
  }

  const Claim& claim_;
  const ClaimRunOptions& options_;
  std::string executable_key_;
  std::map<std::string, std::string> job_texts_;
  ClaimPlan plan_;
};

void AddSet(const std::string& assignment, std::vector<std::string>* arguments) {
  arguments->push_back("--set");
  arguments->push_back(assignment);
}

// The text with {world}, {claim}, {seed}, {cut:ARM} and {last_cut:ARM} replaced.
std::string Expand(const Claim& claim, const PlannedWorld& world,
                   const std::map<std::string, ArmCuts>& cuts, const std::string& text) {
  std::vector<std::pair<std::string, std::string>> values = {
      {"{world}", world.directory},
      {"{claim}", fs::absolute(claim.path).parent_path().string()},
      {"{seed}", absl::StrCat(world.seed)}};
  for (const auto& [arm, cut] : cuts) {
    values.emplace_back(absl::StrCat("{cut:", arm, "}"), cut.best);
    values.emplace_back(absl::StrCat("{last_cut:", arm, "}"), cut.last);
  }
  return absl::StrReplaceAll(text, values);
}

}  // namespace

absl::StatusOr<ClaimPlan> PlanClaim(const Claim& claim, const ClaimRunOptions& options) {
  return Planner(claim, options).Plan();
}

std::vector<std::string> SynthWords(const ClaimRunOptions& options, const PlannedWorld& world) {
  std::vector<std::string> arguments = {
      options.executable,       "synth",    world.world->generator, "--seed",
      absl::StrCat(world.seed), "--output", world.directory};
  arguments.insert(arguments.end(), world.world->options.begin(), world.world->options.end());
  return arguments;
}

std::vector<std::string> TrainWords(const Claim& claim, const ClaimRunOptions& options,
                                    const PlannedWorld& world, const PlannedRun& run,
                                    const std::map<std::string, ArmCuts>& cuts) {
  std::vector<std::string> arguments = {options.executable, "train", run.arm->job};
  AddSet(absl::StrCat("job.output=", FormatTomlValue(run.ModelDirectory())), &arguments);
  AddSet(absl::StrCat("job.seed=", world.seed), &arguments);
  AddSet("train.threads=1", &arguments);
  AddSet("server.threads=1", &arguments);
  AddSet("server.durability=none", &arguments);
  for (const auto& [section, file] : std::vector<std::pair<std::string, std::string>>{
           {"data", "train.csv"}, {"data.valid", "valid.csv"}, {"data.test", "test.csv"}}) {
    const std::string path = absl::StrCat(world.directory, "/", file);
    std::error_code error;
    if (!fs::exists(path, error)) continue;
    AddSet(absl::StrCat(section, ".files=", FormatTomlValue(std::vector<std::string>{path})),
           &arguments);
  }
  for (const std::string& assignment : run.arm->set) {
    AddSet(Expand(claim, world, cuts, assignment), &arguments);
  }
  return arguments;
}

std::vector<std::string> PredictWords(const Claim& claim, const ClaimRunOptions& options,
                                      const PlannedWorld& world, const PlannedRun& run,
                                      const ClaimPrediction& prediction, const ArmCuts& cuts) {
  std::vector<std::string> arguments = {options.executable,
                                        "predict",
                                        "--cut",
                                        prediction.cut == "last" ? cuts.last : cuts.best,
                                        "--input",
                                        absl::StrCat(world.directory, "/", prediction.input),
                                        "--output",
                                        run.Scores(prediction)};
  if (prediction.labels) arguments.push_back("--labels");
  for (const std::string& assignment : prediction.set) {
    AddSet(Expand(claim, world, {}, assignment), &arguments);
  }
  return arguments;
}

}  // namespace pagoda
