#include "deploy/job_config.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "algorithms/nn/name_pattern.h"
#include "worker/evaluation.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

class JobParser {
 public:
  explicit JobParser(JobDocument document) : document_(std::move(document)) {}

  absl::StatusOr<JobConfig> Parse() {
    config_.path = document_.path;
    stage_.name = "train";
    PAGODA_RETURN_IF_ERROR(CheckSections());
    MakePathsAbsolute();
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfJob(config_.trainer)));
    PAGODA_RETURN_IF_ERROR(ParseData());
    PAGODA_RETURN_IF_ERROR(ParseModel());
    PAGODA_RETURN_IF_ERROR(ParseTables());
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfDense(config_.trainer.dense)));
    PAGODA_RETURN_IF_ERROR(ParseGroups());
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfSchedule(config_.trainer.schedule)));
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfTrain(config_.trainer, stage_)));
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfEvaluation(config_.trainer.evaluation)));
    PAGODA_RETURN_IF_ERROR(ParseStart());
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfServer(config_.server)));
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfLaunch(config_.launch)));
    PAGODA_RETURN_IF_ERROR(CheckTogether());
    config_.trainer.stages = {std::move(stage_)};
    config_.effective_text = FormatJobDocument(document_);
    return std::move(config_);
  }

 private:
  // Where a section begins, for errors about what is not in it.
  std::string WhereOf(const std::string& section) const {
    for (const JobSection& known : document_.sections) {
      if (known.name == section) return known.where;
    }
    return document_.path;
  }

  bool Has(const std::string& section) const { return WhereOf(section) != document_.path; }

  std::vector<JobEntry> EntriesOf(const std::string& section) const {
    std::vector<JobEntry> entries;
    for (const JobEntry& entry : document_.entries) {
      if (entry.section == section) entries.push_back(entry);
    }
    return entries;
  }

  absl::Status Fill(const JobKeys& keys) const {
    return keys.Fill(EntriesOf(keys.section()), WhereOf(keys.section()));
  }

  // Names of [PREFIX.NAME] sections, in file order.
  std::vector<std::string> NamesUnder(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const JobSection& section : document_.sections) {
      absl::string_view name = section.name;
      if (!absl::ConsumePrefix(&name, absl::StrCat(prefix, "."))) continue;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.emplace_back(name);
    }
    return names;
  }

  absl::Status CheckSections() const {
    std::vector<std::string> known;
    for (const JobKeys& keys : DescribeJob(nullptr)) known.push_back(keys.section());
    known.push_back("features");
    known.push_back("table");
    known.push_back("group");
    known.push_back("join");
    for (const JobSection& section : document_.sections) {
      if (absl::StartsWith(section.name, "features.")) continue;
      if (absl::StartsWith(section.name, "table.")) continue;
      if (absl::StartsWith(section.name, "group.")) continue;
      if (absl::StartsWith(section.name, "join.")) continue;
      if (std::find(known.begin(), known.end(), section.name) != known.end()) continue;
      const std::string nearest = NearestName(section.name, known);
      return absl::InvalidArgumentError(
          absl::StrCat(section.where, ": unknown section [", section.name, "]",
                       nearest.empty() ? "" : absl::StrCat("; did you mean [", nearest, "]?")));
    }
    for (const JobEntry& entry : document_.entries) {
      const bool holds_sections = entry.section == "features" || entry.section == "table" ||
                                  entry.section == "group" || entry.section == "join";
      if (!entry.section.empty() && !holds_sections) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          entry.where, ": key '", entry.key, "' ",
          entry.section.empty()
              ? std::string("stands before the first [section]")
              : absl::StrCat("in [", entry.section, "] must be a table: ", entry.key, " = {...}")));
    }
    return absl::OkStatus();
  }

  void MakePathsAbsolute() {
    const fs::path job_directory = fs::absolute(document_.path).parent_path();
    const auto absolute = [&](const std::string& path, bool from_here) {
      const fs::path base = from_here ? fs::current_path() : job_directory;
      return (base / path).lexically_normal().string();
    };
    for (JobEntry& entry : document_.entries) {
      const bool data = entry.section == "data" || absl::StartsWith(entry.section, "data.") ||
                        absl::StartsWith(entry.section, "join.");
      const bool output = (entry.section == "job" && entry.key == "output") ||
                          (entry.section == "start" && entry.key == "from");
      if (!(data && entry.key == "files") && !output) continue;
      if (auto* path = std::get_if<std::string>(&entry.value); path != nullptr && !path->empty()) {
        *path = absolute(*path, output || entry.from_command_line);
      }
      if (auto* paths = std::get_if<std::vector<std::string>>(&entry.value); paths != nullptr) {
        for (std::string& path : *paths) path = absolute(path, entry.from_command_line);
      }
    }
  }

  // What [data.valid] and its like take over from [data].
  DataOptions Inherited() const {
    DataOptions data = stage_.data;
    data.split_begin = 0.0;
    data.split_end = 1.0;
    data.shuffle_rows = 0;
    return data;
  }

  absl::Status ParseData() {
    TrainerOptions& trainer = config_.trainer;
    if (trainer.output_dir.empty()) {
      trainer.output_dir = fs::absolute(fs::path("runs") / trainer.job).string();
    }
    stage_.data.seed = trainer.seed;
    JobKeys keys = KeysOfData("data", stage_.data);
    PAGODA_RETURN_IF_ERROR(Fill(keys));
    if (stage_.data.files.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(WhereOf("data"), ": [data] needs the key 'files' (list of texts)"));
    }
    if (Has("data.valid")) {
      trainer.evaluation.data = Inherited();
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfData("data.valid", trainer.evaluation.data)));
    }
    if (Has("data.items")) {
      trainer.evaluation.items = Inherited();
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfData("data.items", trainer.evaluation.items)));
    }
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfSchema(trainer.schema)));
    if (trainer.schema.label_has_threshold && !trainer.schema.label_positive.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          WhereOf("schema"), ": [schema] has both label_threshold and label_positive; keep one"));
    }
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfMetrics(trainer.evaluation, trainer.schema)));
    PAGODA_RETURN_IF_ERROR(ParseJoins());
    PAGODA_RETURN_IF_ERROR(ParseFeatures());
    if (Has("data.test")) {
      config_.test = TestSet{Inherited(), trainer.schema};
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfTest(*config_.test)));
    }
    return absl::OkStatus();
  }

  absl::Status ParseJoins() {
    for (const std::string& name : NamesUnder("join")) {
      JoinSpec join;
      join.name = name;
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfJoin(absl::StrCat("join.", name), join)));
      config_.trainer.schema.joins.push_back(std::move(join));
    }
    return absl::OkStatus();
  }

  absl::Status CheckJoin(const FeatureSpec& feature, const std::string& where) const {
    const FeatureSchema& schema = config_.trainer.schema;
    if (feature.join.empty() || schema.JoinIndex(feature.join) >= 0) return absl::OkStatus();
    std::vector<std::string> names;
    for (const JoinSpec& join : schema.joins) names.push_back(join.name);
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": [features.", feature.name, "] names join '", feature.join,
                     "'; the joins: ", names.empty() ? "none" : absl::StrJoin(names, ", ")));
  }

  absl::Status ParseFeatures() {
    for (const std::string& name : NamesUnder("features")) {
      const std::string section = absl::StrCat("features.", name);
      FeatureSpec feature;
      feature.name = name;
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfFeature(section, feature)));
      if (feature.kind == FeatureKind::kBucketised && feature.boundaries.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            WhereOf(section), ": [", section, "] is bucketised and needs the key 'boundaries'"));
      }
      PAGODA_RETURN_IF_ERROR(CheckJoin(feature, WhereOf(section)));
      config_.trainer.schema.features.push_back(std::move(feature));
    }
    if (!config_.trainer.schema.features.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(WhereOf("features"), ": [features] names no feature"));
  }

  absl::Status ParseModel() {
    // First the name alone, which decides what other keys there are.
    std::vector<JobEntry> name_only;
    for (const JobEntry& entry : EntriesOf("model")) {
      if (entry.key == "name") name_only.push_back(entry);
    }
    std::string& name = config_.trainer.model;
    PAGODA_RETURN_IF_ERROR(KeysOfModel(&name, nullptr, nullptr).Fill(name_only, WhereOf("model")));
    PAGODA_ASSIGN_OR_RETURN(const ModelInfo* model, FindModel(name));
    config_.trainer.model_options = ModelOptions(model->options);
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfModel(&name, model, &config_.trainer.model_options)));
    // The model's own checks, now, so that no process starts in vain.
    const std::unique_ptr<Model> instance = model->create(config_.trainer.model_options);
    PAGODA_RETURN_IF_ERROR_CONTEXT(instance->Declare(config_.trainer.schema, declaration_),
                                   WhereOf("model"));
    config_.trainer.schema.label_may_lack = instance->rows_without_label();
    if (config_.test) config_.test->schema.label_may_lack = instance->rows_without_label();
    return absl::OkStatus();
  }

  static proto::TableSpec::Optimizer ToProto(const SparseFields& fields) {
    proto::TableSpec::Optimizer optimizer;
    optimizer.set_kind(fields.kind);
    optimizer.set_learning_rate(fields.values.learning_rate);
    optimizer.set_initial_accumulator(fields.values.initial_accumulator);
    optimizer.set_epsilon(fields.values.epsilon);
    optimizer.set_beta1(fields.values.beta1);
    optimizer.set_beta2(fields.values.beta2);
    optimizer.set_l2(fields.values.l2);
    optimizer.set_ftrl_l1(fields.values.ftrl_l1);
    optimizer.set_ftrl_l2(fields.values.ftrl_l2);
    optimizer.set_ftrl_beta(fields.values.ftrl_beta);
    optimizer.set_ftrl_l21(fields.values.ftrl_l21);
    optimizer.set_momentum(fields.values.momentum);
    optimizer.set_weight_decay(fields.values.weight_decay);
    optimizer.set_accumulator_decay(fields.values.accumulator_decay);
    optimizer.set_decay_steps(fields.values.decay_steps);
    optimizer.set_clip_norm(fields.values.clip_norm);
    optimizer.set_clip_value(fields.values.clip_value);
    optimizer.set_exact(fields.values.exact);
    optimizer.set_schedule(fields.schedule);
    optimizer.set_warmup_steps(fields.values.schedule.warmup_steps);
    optimizer.set_total_steps(fields.values.schedule.total_steps);
    optimizer.set_min_factor(fields.values.schedule.min_factor);
    return optimizer;
  }

  absl::Status CheckTable(const std::string& name, const std::string& where) const {
    std::vector<std::string> names;
    for (const TableDecl& table : declaration_.tables) names.push_back(table.name);
    if (std::find(names.begin(), names.end(), name) != names.end()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(where, ": the model has no table '", name,
                                                   "'; its tables: ", absl::StrJoin(names, ", ")));
  }

  absl::Status ParseTables() {
    SparseFields fields;
    SparseOptions& sparse = config_.trainer.sparse;
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfSparse(fields, &sparse.init_stddev)));
    sparse.optimizer = ToProto(fields);
    sparse.precision = fields.precision;
    SetPolicySpecs(fields.policies, &sparse.policies);
    for (const std::string& name : NamesUnder("table")) {
      const std::string section = absl::StrCat("table.", name);
      const absl::Status known = CheckTable(name, WhereOf(section));
      if (!known.ok() && Drop(section)) continue;
      PAGODA_RETURN_IF_ERROR(known);
      SparseFields table = fields;
      // A table that the model gave an optimizer of its own keeps that kind.
      for (const TableDecl& declared : declaration_.tables) {
        if (declared.name == name && !declared.optimizer.empty()) table.kind = declared.optimizer;
      }
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfTable(section, table)));
      sparse.overrides.push_back({name, ToProto(table), table.frozen, table.precision, {}});
      SetPolicySpecs(table.policies, &sparse.overrides.back().policies);
    }
    return absl::OkStatus();
  }

  // Removes a section that a stage inherited, where it means nothing for the stage's model;
  // false for the stage's own.
  bool Drop(const std::string& section) {
    const auto is_it = [&](const JobSection& known) { return known.name == section; };
    const auto at = std::find_if(document_.sections.begin(), document_.sections.end(), is_it);
    if (at == document_.sections.end() || !at->inherited) return false;
    config_.dropped.push_back(section);
    document_.sections.erase(at);
    std::erase_if(document_.entries, [&](const JobEntry& e) { return e.section == section; });
    return true;
  }

  absl::Status ParseGroups() {
    for (const std::string& name : NamesUnder("group")) {
      const std::string section = absl::StrCat("group.", name);
      ParameterGroup group;
      group.name = name;
      PAGODA_RETURN_IF_ERROR(Fill(KeysOfGroup(section, group)));
      const absl::StatusOr<NameSelection> named =
          SelectNames(group.match, declaration_, absl::StrCat(WhereOf(section), ": match"));
      if (!named.ok() && Drop(section)) continue;
      PAGODA_RETURN_IF_ERROR(named.status());
      PAGODA_RETURN_IF_ERROR(CheckGroupOptimizer(group, *named, WhereOf(section)));
      config_.trainer.dense.groups.push_back(std::move(group));
    }
    return absl::OkStatus();
  }

  static absl::Status CheckGroupOptimizer(const ParameterGroup& group, const NameSelection& named,
                                          const std::string& where) {
    if (group.optimizer.empty()) return absl::OkStatus();
    const auto any = [](const std::vector<bool>& chosen) {
      return std::find(chosen.begin(), chosen.end(), true) != chosen.end();
    };
    if (any(named.dense)) {
      PAGODA_RETURN_IF_ERROR_CONTEXT(DenseOptimizer::ParseKind(group.optimizer).status(), where);
    }
    if (any(named.tables)) {
      PAGODA_RETURN_IF_ERROR_CONTEXT(ParseSparseOptimizer(group.optimizer).status(), where);
    }
    return absl::OkStatus();
  }

  absl::Status ParseStart() {
    StartOptions& start = config_.trainer.start;
    PAGODA_RETURN_IF_ERROR(Fill(KeysOfStart("start", start, stage_)));
    const absl::StatusOr<NameSelection> frozen =
        SelectNames(stage_.freeze, declaration_, absl::StrCat(WhereOf("start"), ": freeze"));
    PAGODA_RETURN_IF_ERROR(frozen.status());
    for (const std::string& text : start.load) {
      PAGODA_RETURN_IF_ERROR_CONTEXT(NamePattern::Parse(text, /*may_rename=*/true).status(),
                                     absl::StrCat(WhereOf("start"), ": load"));
    }
    if (!start.load.empty() && start.from.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(WhereOf("start"), ": 'load' without 'from': nothing to load from"));
    }
    return absl::OkStatus();
  }

  // A metric beside the usual must be one that [metrics] asks for.
  bool Measured(const std::string& metric) const {
    const EvaluationOptions& evaluation = config_.trainer.evaluation;
    const size_t at = metric.find_first_of("([@");
    if (at == std::string::npos) return true;
    const auto among = [](const auto& known, const auto& wanted) {
      return std::find(known.begin(), known.end(), wanted) != known.end();
    };
    const std::string what = metric.substr(at + 1);
    if (metric[at] == '@') {
      std::vector<std::string> ks;
      for (const int64_t k : evaluation.top_ks) ks.push_back(absl::StrCat(k));
      return among(ks, what);
    }
    if (metric[at] == '[') {
      return among(config_.trainer.schema.slices, what.substr(0, what.find('=')));
    }
    return among(evaluation.pairs, what.substr(0, what.find(')')));
  }

  // What no key can check alone.
  absl::Status CheckTogether() const {
    const TrainerOptions& trainer = config_.trainer;
    const bool evaluates = !trainer.evaluation.data.files.empty();
    if (trainer.evaluation.patience > 0 && !evaluates) {
      return absl::InvalidArgumentError(
          absl::StrCat(WhereOf("evaluation"),
                       ": evaluation.patience needs a [data.valid] section to evaluate on"));
    }
    if (trainer.evaluation.metric == "gauc" && trainer.schema.group.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(WhereOf("evaluation"), ": the metric gauc needs schema.group"));
    }
    if (!Measured(trainer.evaluation.metric)) {
      return absl::InvalidArgumentError(absl::StrCat(WhereOf("evaluation"), ": the metric '",
                                                     trainer.evaluation.metric,
                                                     "' is not among what [metrics] asks for"));
    }
    PAGODA_RETURN_IF_ERROR_CONTEXT(ParsePairs(trainer.evaluation.pairs, trainer.schema).status(),
                                   WhereOf("metrics"));
    for (const std::string& table : stage_.frozen_tables) {
      PAGODA_RETURN_IF_ERROR(CheckTable(table, WhereOf("train")));
    }
    const auto is_exact = [](const auto& change) { return change.optimizer.exact(); };
    const bool exact =
        trainer.sparse.optimizer.exact() ||
        std::any_of(trainer.sparse.overrides.begin(), trainer.sparse.overrides.end(), is_exact);
    if (exact && trainer.mode != "sync") {
      return absl::InvalidArgumentError(
          absl::StrCat(WhereOf("sparse"), ": exact = true needs train.mode = \"sync\", not \"",
                       trainer.mode, "\": only then is a step the same for every row"));
    }
    return absl::OkStatus();
  }

  JobDocument document_;
  JobConfig config_;
  StageOptions stage_;
  Declaration declaration_;
};

}  // namespace

absl::StatusOr<JobConfig> ParseJob(JobDocument document) {
  return JobParser(std::move(document)).Parse();
}

}  // namespace pagoda
