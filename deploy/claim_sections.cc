#include "deploy/claim_sections.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "deploy/job_keys.h"

namespace pagoda {
namespace {

constexpr std::array<const char*, 5> kPrefixes = {"world", "arm", "prediction", "metric", "check"};

// A key that may be left out, and then holds nothing.
JobKey& AddOptional(JobKeys& keys, const std::string& key, std::optional<double>* field,
                    const std::string& help) {
  return keys
      .AddCustom({key, 0.0, "", help},
                 [field](const OptionValue& value) { *field = std::get<double>(value); })
      .Unset();
}

// The text of a key, kept to be parsed once the section is known.
struct LateTexts {
  std::string value, gap, level_of;
  std::vector<std::string> rows;
};

JobKeys KeysOfClaim(Claim& claim) {
  JobKeys keys("claim", "What is claimed.");
  keys.Add("title", &claim.title, "", "One sentence.").Required();
  keys.Add("source", &claim.source, "", "Paper and section.");
  keys.Add("seeds", &claim.seeds, "", "Seeds of the planted worlds.").Between(1, 100);
  keys.Add("control_seeds", &claim.control_seeds, "", "Seeds of control worlds.").Between(1, 100);
  return keys;
}

JobKeys KeysOfWorld(const std::string& section, ClaimWorld& world) {
  JobKeys keys(section, "A world.");
  keys.Add("generator", &world.generator, "", "World of `pagoda synth`.");
  keys.Add("directory", &world.directory, "", "Or a directory of files that are there.");
  keys.Add("options", &world.options, "", "More arguments of `pagoda synth`.");
  keys.Add("control", &world.control, "", "A null or violation world: control_seeds seeds.");
  keys.Add("reported", &world.reported, "", "Arms that run though no check needs them.");
  return keys;
}

JobKeys KeysOfArm(const std::string& section, ClaimArm& arm) {
  JobKeys keys(section, "An arm.");
  keys.Add("title", &arm.title, "", "For the reader.");
  keys.Add("job", &arm.job, "", "Job file.");
  keys.Add("column", &arm.column, "", "Or a column of the truth that is the score.");
  keys.Add("set", &arm.set, "", "Overrides of the job: section.key=value.");
  keys.Add("scored", &arm.scored, "", "false: only other arms use its cut.");
  return keys;
}

JobKeys KeysOfPrediction(const std::string& section, ClaimPrediction& prediction) {
  JobKeys keys(section, "A file to score.");
  keys.Add("input", &prediction.input, "", "File of the world.");
  keys.Add("cut", &prediction.cut, "", "Which cut.").OneOf({"best", "last"});
  keys.Add("labels", &prediction.labels, "", "The file's labels and targets are read.");
  keys.Add("set", &prediction.set, "", "Overrides of the job while predicting.");
  return keys;
}

JobKeys KeysOfMetric(const std::string& section, ClaimMetric& metric, LateTexts& late) {
  JobKeys keys(section, "A number.");
  keys.Add("kind", &metric.kind, "", "Which.")
      .OneOf({"auc", "gauc", "log_loss", "calibration", "mean", "effective_size", "best_valid",
              "last_valid", "best_step", "best_evaluation", "steps_to", "parameters"})
      .Required();
  keys.Add("prediction", &metric.prediction, "", "Scores of which [prediction.NAME].");
  keys.Add("score", &metric.score, "", "Column of the predictions or of the world's file.");
  keys.Add("target", &metric.target, "", "Column of labels or probabilities.");
  keys.Add("user", &metric.user, "", "gauc: column of users.");
  keys.Add("user_weight", &metric.user_weight, "", "gauc: what a user counts.")
      .OneOf({"one", "impressions", "clicks"});
  keys.Add("rows", &late.rows, "", "Conditions: column == value.");
  keys.Add("curve", &metric.curve, "", "Number of the evaluation lines.");
  keys.Add("smaller_is_better", &metric.smaller_is_better, "", "Of the curve.");
  AddOptional(keys, "level", &metric.level, "steps_to: the level.");
  keys.Add("level_of", &late.level_of, "", "steps_to: metric(arm) whose value is the level.");
  keys.Add("arms", &metric.arms, "", "Only these arms.");
  return keys;
}

JobKeys KeysOfCheck(const std::string& section, ClaimCheck& check, LateTexts& late) {
  JobKeys keys(section, "What must hold.");
  keys.Add("title", &check.title, "", "For the reader.");
  keys.Add("world", &check.world, "", "In which world.").Required();
  keys.Add("metric", &check.metric, "", "metric(arm) - metric(over), or metric(arm).");
  keys.Add("arm", &check.arm, "", "See metric.");
  keys.Add("over", &check.over, "", "See metric.");
  keys.Add("value", &late.value, "", "Or an expression.");
  AddOptional(keys, "margin", &check.margin,
              "The mean is at least this, and enough seeds are above 0.");
  keys.Add("positive_share", &check.positive_share, "", "What enough seeds are.").Between(0, 1);
  AddOptional(keys, "at_least", &check.at_least, "The mean is at least this.");
  AddOptional(keys, "at_most", &check.at_most, "The mean is at most this.");
  keys.Add("every_seed", &check.every_seed, "", "at_least, at_most: for each seed.");
  AddOptional(keys, "band", &check.band, "The mean is within this of 0.").AtLeast(0);
  AddOptional(keys, "gap_closure", &check.gap_closure, "Mean over the mean of gap, at least.");
  keys.Add("gap", &late.gap, "", "Expression: oracle minus baseline.");
  keys.Add("skip", &check.skip, "", "Not checked.");
  keys.Add("null_world", &check.null_world, "", "The same value there ...");
  keys.Add("null_band", &check.null_band, "", "... is within this of 0 in the mean.").AtLeast(0);
  return keys;
}

bool IsSeedCount(const JobEntry& entry) {
  return entry.section == "claim" && (entry.key == "seeds" || entry.key == "control_seeds");
}

// The entries of a section; with `fast`, those of its fast_ keys in the place of others.
// A fast run has its own numbers of seeds, whatever the full one has.
std::vector<JobEntry> EntriesOf(const JobDocument& document, const std::string& section,
                                bool fast) {
  std::vector<JobEntry> entries, overrides;
  for (const JobEntry& entry : document.entries) {
    if (entry.section != section) continue;
    JobEntry plain = entry;
    absl::string_view key = entry.key;
    if (absl::ConsumePrefix(&key, "fast_")) {
      plain.key = std::string(key);
      overrides.push_back(plain);
    } else if (!fast || !IsSeedCount(entry)) {
      entries.push_back(plain);
    }
  }
  for (const JobEntry& override : overrides) {
    const auto same = std::find_if(entries.begin(), entries.end(), [&](const JobEntry& entry) {
      return entry.key == override.key;
    });
    if (same == entries.end()) {
      if (fast) entries.push_back(override);
    } else if (fast) {
      *same = override;
    }
  }
  return entries;
}

absl::StatusOr<ClaimExpression> ParseAt(const std::string& where, const std::string& section,
                                        const std::string& key, const std::string& text) {
  absl::StatusOr<ClaimExpression> expression = ClaimExpression::Parse(text);
  PAGODA_RETURN_IF_ERROR_CONTEXT(expression.status(), absl::StrCat(where, ": ", section, ".", key));
  return expression;
}

absl::Status FillMetric(const std::string& section, const std::vector<JobEntry>& entries,
                        ClaimMetric& metric) {
  LateTexts late;
  PAGODA_RETURN_IF_ERROR(KeysOfMetric(section, metric, late).Fill(entries, metric.where));
  for (const std::string& text : late.rows) {
    absl::StatusOr<ClaimFilter> filter = ParseClaimFilter(text);
    PAGODA_RETURN_IF_ERROR_CONTEXT(filter.status(),
                                   absl::StrCat(metric.where, ": ", section, ".rows"));
    metric.rows.push_back(*std::move(filter));
  }
  if (late.level_of.empty()) return absl::OkStatus();
  PAGODA_ASSIGN_OR_RETURN(const ClaimExpression level,
                          ParseAt(metric.where, section, "level_of", late.level_of));
  if (!level.IsName()) {
    return absl::InvalidArgumentError(
        absl::StrCat(metric.where, ": ", section, ".level_of: expected one metric(arm)"));
  }
  metric.level_of = level.names()[0];
  return absl::OkStatus();
}

absl::Status FillCheck(const std::string& section, const std::vector<JobEntry>& entries,
                       ClaimCheck& check) {
  LateTexts late;
  PAGODA_RETURN_IF_ERROR(KeysOfCheck(section, check, late).Fill(entries, check.where));
  const bool simple = !check.metric.empty() && !check.arm.empty();
  if (simple == !late.value.empty() ||
      (!simple && !(check.metric + check.arm + check.over).empty())) {
    return absl::InvalidArgumentError(absl::StrCat(
        check.where, ": [", section, "] needs either metric and arm (and over), or value"));
  }
  if (simple) {
    late.value = absl::StrCat(check.metric, "(", check.arm, ")");
    if (!check.over.empty())
      absl::StrAppend(&late.value, " - ", check.metric, "(", check.over, ")");
  }
  PAGODA_ASSIGN_OR_RETURN(check.value, ParseAt(check.where, section, "value", late.value));
  if (!late.gap.empty()) {
    PAGODA_ASSIGN_OR_RETURN(check.gap, ParseAt(check.where, section, "gap", late.gap));
  }
  return absl::OkStatus();
}

template <typename Item>
Item& Add(const std::string& name, const std::string& where, std::vector<Item>* items) {
  Item& item = items->emplace_back();
  item.name = name;
  item.where = where;
  return item;
}

// Adds what the section PREFIX.NAME describes.
absl::Status FillNamed(const std::string& prefix, const std::string& name,
                       const JobSection& section, const std::vector<JobEntry>& entries,
                       Claim* claim) {
  if (prefix == "world") {
    ClaimWorld& world = Add(name, section.where, &claim->worlds);
    return KeysOfWorld(section.name, world).Fill(entries, section.where);
  }
  if (prefix == "arm") {
    ClaimArm& arm = Add(name, section.where, &claim->arms);
    return KeysOfArm(section.name, arm).Fill(entries, section.where);
  }
  if (prefix == "prediction") {
    ClaimPrediction& prediction = Add(name, section.where, &claim->predictions);
    return KeysOfPrediction(section.name, prediction).Fill(entries, section.where);
  }
  if (prefix == "metric") {
    ClaimMetric& metric = Add(name, section.where, &claim->metrics);
    return FillMetric(section.name, entries, metric);
  }
  ClaimCheck& check = Add(name, section.where, &claim->checks);
  return FillCheck(section.name, entries, check);
}

bool IsName(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_';
  });
}

absl::Status UnknownSection(const JobSection& section) {
  const std::string first = section.name.substr(0, section.name.find('.'));
  const std::string nearest =
      NearestName(first, {"claim", "world", "arm", "prediction", "metric", "check"});
  return absl::InvalidArgumentError(
      absl::StrCat(section.where, ": unknown section [", section.name, "]; a claim has [claim], ",
                   "[world.NAME], [arm.NAME], [prediction.NAME], [metric.NAME] and [check.NAME]",
                   nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?")));
}

}  // namespace

absl::StatusOr<ClaimFilter> ParseClaimFilter(const std::string& text) {
  const std::vector<std::string> words =
      absl::StrSplit(text, absl::MaxSplits(absl::ByAnyChar(" "), 2));
  static const std::vector<std::string> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  if (words.size() != 3 || words[0].empty() || words[2].empty() ||
      std::find(kOperators.begin(), kOperators.end(), words[1]) == kOperators.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\": expected COLUMN OPERATOR VALUE, the operator one of == != < <= > >="));
  }
  return ClaimFilter{words[0], words[1], words[2]};
}

absl::Status FillClaim(const JobDocument& document, bool fast, Claim* claim) {
  bool has_claim = false;
  for (const JobEntry& entry : document.entries) {
    if (!entry.section.empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(entry.where, ": key '", entry.key, "' stands before the first [section]"));
  }
  for (const JobSection& section : document.sections) {
    const std::vector<JobEntry> entries = EntriesOf(document, section.name, fast);
    if (section.name == "claim") {
      has_claim = true;
      PAGODA_RETURN_IF_ERROR(KeysOfClaim(*claim).Fill(entries, section.where));
      continue;
    }
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(section.name, absl::MaxSplits('.', 1));
    const bool known =
        std::find(kPrefixes.begin(), kPrefixes.end(), parts.first) != kPrefixes.end();
    if (known && parts.second.empty() && entries.empty()) continue;  // The parent of [arm.usd].
    if (!known || parts.second.empty()) return UnknownSection(section);
    if (!IsName(parts.second)) {
      return absl::InvalidArgumentError(absl::StrCat(section.where, ": [", section.name,
                                                     "]: a name has letters, digits and _ alone"));
    }
    PAGODA_RETURN_IF_ERROR(FillNamed(parts.first, parts.second, section, entries, claim));
  }
  if (has_claim) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(document.path, ": a claim file needs the section [claim]"));
}

}  // namespace pagoda
