#include "deploy/job_stages.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "algorithms/nn/model_options.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kStage = "stage";
constexpr absl::string_view kStart = "start";

// [stage.NAME.REST]; REST is empty for [stage.NAME] itself.
struct StageSection {
  bool any = false;
  std::string name, rest;
};

StageSection ParseSection(absl::string_view section) {
  StageSection parsed;
  if (!absl::ConsumePrefix(&section, absl::StrCat(kStage, "."))) return parsed;
  const size_t dot = section.find('.');
  parsed.any = true;
  parsed.name = std::string(section.substr(0, dot));
  if (dot != absl::string_view::npos) parsed.rest = std::string(section.substr(dot + 1));
  return parsed;
}

std::string TextOf(const JobDocument& document, absl::string_view section, absl::string_view key) {
  for (const JobEntry& entry : document.entries) {
    if (entry.section != section || entry.key != key) continue;
    if (const auto* text = std::get_if<std::string>(&entry.value)) return *text;
  }
  return "";
}

// A section, with what lies in it: "features" and "features.age".
bool Within(absl::string_view section, absl::string_view whole) {
  return section == whole || absl::StartsWith(section, absl::StrCat(whole, "."));
}

// Makes one stage's document out of the whole.
class StageBuilder {
 public:
  StageBuilder(const JobDocument& whole, std::string name) : whole_(whole), name_(std::move(name)) {
    document_.path = whole.path;
  }

  JobDocument Build() {
    FindReplaced();
    for (const JobSection& section : whole_.sections) {
      if (section.name == kStage) continue;
      const StageSection stage = ParseSection(section.name);
      if (!stage.any && !Replaced(section.name)) AddSection(section.name, section.where, true);
      if (stage.any && stage.name == name_) AddSection(NameHere(stage), section.where, false);
    }
    for (const JobEntry& entry : whole_.entries) {
      if (!ParseSection(entry.section).any && !Replaced(entry.section)) {
        document_.entries.push_back(entry);
      }
    }
    for (const JobEntry& entry : whole_.entries) {
      const StageSection stage = ParseSection(entry.section);
      if (!stage.any || stage.name != name_) continue;
      JobEntry own = entry;
      own.section = NameHere(stage);
      Set(std::move(own));
    }
    return std::move(document_);
  }

 private:
  static std::string NameHere(const StageSection& stage) {
    return stage.rest.empty() ? std::string(kStart) : stage.rest;
  }

  // Sections of the job that do not count for the stage.
  void FindReplaced() {
    const std::string prefix = absl::StrCat(kStage, ".", name_, ".");
    for (const JobSection& section : whole_.sections) {
      if (Within(section.name, prefix + "features")) replaced_.insert("features");
    }
    const std::string model = TextOf(whole_, prefix + "model", "name");
    if (!model.empty() && model != TextOf(whole_, "model", "name")) replaced_.insert("model");
  }
  bool Replaced(const std::string& section) const {
    return std::any_of(replaced_.begin(), replaced_.end(),
                       [&](const std::string& whole) { return Within(section, whole); });
  }

  void AddSection(const std::string& name, const std::string& where, bool inherited) {
    for (JobSection& known : document_.sections) {
      if (known.name != name) continue;
      // Errors about what is missing point to the stage's own section.
      if (!inherited) known = {name, where, false};
      return;
    }
    document_.sections.push_back({name, where, inherited});
  }

  void Set(JobEntry own) {
    for (JobEntry& known : document_.entries) {
      if (known.section != own.section || known.key != own.key) continue;
      known = std::move(own);
      return;
    }
    document_.entries.push_back(std::move(own));
  }

  const JobDocument& whole_;
  const std::string name_;
  std::set<std::string> replaced_;
  JobDocument document_;
};

std::vector<std::string> StageNames(const JobDocument& document) {
  std::vector<std::string> names;
  for (const JobSection& section : document.sections) {
    const StageSection stage = ParseSection(section.name);
    if (!stage.any) continue;
    if (std::find(names.begin(), names.end(), stage.name) == names.end()) {
      names.push_back(stage.name);
    }
  }
  return names;
}

absl::Status CheckWhole(const JobDocument& document) {
  for (const JobSection& section : document.sections) {
    const StageSection stage = ParseSection(section.name);
    if (section.name == kStart) {
      return absl::InvalidArgumentError(absl::StrCat(
          section.where, ": a job with stages has no [start]: its keys belong in [stage.NAME]"));
    }
    const bool plain = std::all_of(stage.name.begin(), stage.name.end(), [](unsigned char c) {
      return absl::ascii_isalnum(c) || c == '-' || c == '_';
    });
    if (!stage.any || (plain && !stage.name.empty())) continue;
    return absl::InvalidArgumentError(absl::StrCat(section.where, ": the stage \"", stage.name,
                                                   "\": a name has letters, digits, '-' and '_'"));
  }
  for (const JobEntry& entry : document.entries) {
    if (entry.section == kStage) {
      return absl::InvalidArgumentError(
          absl::StrCat(entry.where, ": key '", entry.key, "' in [stage]: a stage is [stage.NAME]"));
    }
    const StageSection stage = ParseSection(entry.section);
    if (stage.rest != "job" || (entry.key != "name" && entry.key != "output")) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        entry.where, ": job.", entry.key, " belongs to the job around the stages, not to one"));
  }
  return absl::OkStatus();
}

// Replaces a stage's name in `from` by that stage's output.
absl::Status ResolveFrom(const std::vector<std::string>& names, JobStage* stage) {
  for (JobEntry& entry : stage->document.entries) {
    if (entry.section != kStart || entry.key != "from") continue;
    auto* from = std::get_if<std::string>(&entry.value);
    if (from == nullptr || from->empty() || absl::StrContains(*from, '/')) return absl::OkStatus();
    std::vector<std::string> above;
    for (const std::string& name : names) {
      if (name == stage->name) break;
      above.push_back(name);
    }
    if (std::find(above.begin(), above.end(), *from) == above.end()) {
      const std::string nearest = NearestName(*from, above);
      return absl::InvalidArgumentError(absl::StrCat(
          entry.where, ": from = \"", *from, "\": ",
          above.empty() ? "there is no stage" : "no stage of this name stands", " above stage '",
          stage->name, "'", nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"),
          " (a path has a '/' in it)"));
    }
    stage->from_stage = *from;
    *from = absl::StrCat(stage->base_output, "/", *from);
  }
  return absl::OkStatus();
}

// "NAME.STAGE", and the stage's folder of the output.
void SetJob(const std::string& name, JobStage* stage) {
  const auto set = [&](const std::string& key, const std::string& value) {
    for (JobEntry& entry : stage->document.entries) {
      if (entry.section == "job" && entry.key == key) {
        entry.value = value;
        return;
      }
    }
    stage->document.entries.push_back({"job", key, value, stage->document.path, false});
  };
  set("name", absl::StrCat(name, ".", stage->name));
  set("output", absl::StrCat(stage->base_output, "/", stage->name));
}

}  // namespace

absl::StatusOr<std::vector<JobStage>> SplitStages(const JobDocument& document) {
  std::vector<JobStage> stages;
  const std::vector<std::string> names = StageNames(document);
  if (names.empty()) return stages;
  PAGODA_RETURN_IF_ERROR(CheckWhole(document));
  const std::string name = TextOf(document, "job", "name");
  std::string output = TextOf(document, "job", "output");
  if (output.empty()) output = (fs::path("runs") / name).string();
  for (const std::string& stage : names) {
    JobStage built;
    built.name = stage;
    built.base_output = fs::absolute(output).lexically_normal().string();
    built.document = StageBuilder(document, stage).Build();
    // Without a name ParseJob says that it is missing.
    if (!name.empty()) SetJob(name, &built);
    PAGODA_RETURN_IF_ERROR(ResolveFrom(names, &built));
    stages.push_back(std::move(built));
  }
  return stages;
}

namespace {

// A [table.NAME] or [group.NAME] around the stages must mean something for one of them.
absl::Status CheckDropped(const JobDocument& document, const std::vector<JobConfig>& jobs) {
  if (jobs.empty()) return absl::OkStatus();
  for (const std::string& section : jobs[0].dropped) {
    const bool everywhere = std::all_of(jobs.begin(), jobs.end(), [&](const JobConfig& job) {
      return std::find(job.dropped.begin(), job.dropped.end(), section) != job.dropped.end();
    });
    if (!everywhere) continue;
    for (const JobSection& known : document.sections) {
      if (known.name != section) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(known.where, ": [", section, "] names nothing in the model of any stage"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<JobConfig>> LoadJobs(const std::string& path,
                                                const std::vector<std::string>& assignments) {
  PAGODA_ASSIGN_OR_RETURN(JobDocument document, ReadJobFile(path));
  for (const std::string& assignment : assignments) {
    PAGODA_RETURN_IF_ERROR(ApplyOverride(assignment, document));
  }
  PAGODA_ASSIGN_OR_RETURN(std::vector<JobStage> stages, SplitStages(document));
  std::vector<JobConfig> jobs;
  for (JobStage& stage : stages) {
    absl::StatusOr<JobConfig> job = ParseJob(std::move(stage.document));
    PAGODA_RETURN_IF_ERROR_CONTEXT(job.status(), absl::StrCat("stage '", stage.name, "'"));
    job->trainer.start.stage = stage.name;
    job->trainer.start.from_stage = stage.from_stage;
    job->base_output = stage.base_output;
    jobs.push_back(*std::move(job));
  }
  PAGODA_RETURN_IF_ERROR(CheckDropped(document, jobs));
  if (!jobs.empty()) return jobs;
  PAGODA_ASSIGN_OR_RETURN(jobs.emplace_back(), ParseJob(std::move(document)));
  jobs[0].base_output = jobs[0].trainer.output_dir;
  return jobs;
}

absl::StatusOr<JobConfig> LoadJob(const std::string& path,
                                  const std::vector<std::string>& assignments,
                                  const std::string& stage) {
  PAGODA_ASSIGN_OR_RETURN(std::vector<JobConfig> jobs, LoadJobs(path, assignments));
  std::vector<std::string> names;
  for (JobConfig& job : jobs) {
    if (job.trainer.start.stage == stage) return std::move(job);
    names.push_back(job.trainer.start.stage);
  }
  const bool staged = !names[0].empty();
  if (!staged) {
    return absl::InvalidArgumentError(
        absl::StrCat("--stage ", stage, ": the job file ", path, " has no stages"));
  }
  const std::string listed = absl::StrJoin(names, ", ");
  return absl::InvalidArgumentError(
      stage.empty() ? absl::StrCat(path, " has stages: choose one with --stage: ", listed)
                    : absl::StrCat("--stage ", stage, ": ", path, " has the stages ", listed));
}

}  // namespace pagoda
