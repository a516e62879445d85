#include "deploy/config_explain.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "deploy/job_sections.h"

namespace pagoda {
namespace {

std::string DefaultText(const JobKey& key) {
  if (key.required()) return "required";
  if (key.unset()) return "not set";
  return FormatTomlValue(key.spec().default_value);
}

// "integer, samples, at least 1"
std::string TypeText(const JobKey& key) {
  std::vector<std::string> parts = {OptionTypeName(key.spec().default_value)};
  if (!key.spec().unit.empty()) parts.push_back(key.spec().unit);
  if (const std::string limits = key.LimitText(); !limits.empty()) parts.push_back(limits);
  return absl::StrJoin(parts, ", ");
}

// What a section's page shows: [data.valid] and its like repeat no key of [data].
std::vector<JobKey> KeysToShow(const std::vector<JobKeys>& sections, const JobKeys& section) {
  if (!absl::StartsWith(section.section(), "data.")) return section.keys();
  std::vector<JobKey> own;
  for (const JobKeys& data : sections) {
    if (data.section() != "data") continue;
    std::copy_if(section.keys().begin(), section.keys().end(), std::back_inserter(own),
                 [&](const JobKey& key) {
                   return std::none_of(
                       data.keys().begin(), data.keys().end(),
                       [&](const JobKey& known) { return known.spec().key == key.spec().key; });
                 });
  }
  return own;
}

std::string PlainSection(const JobKeys& section, const std::vector<JobKey>& keys) {
  std::string text = absl::StrCat("[", section.section(), "]  ", section.help(), "\n");
  for (const JobKey& key : keys) {
    absl::StrAppendFormat(&text, "  %s = %s    (%s)\n      %s\n", key.spec().key, DefaultText(key),
                          TypeText(key), key.spec().help);
  }
  return text + "\n";
}

// The options of one model, without the key `name`.
JobKeys ModelKeys(const ModelInfo& model) {
  JobKeys keys("model", absl::StrCat("name = \"", model.name, "\": ", model.summary));
  for (const OptionSpec& spec : model.options) keys.AddOption(spec, nullptr);
  return keys;
}

std::string MarkdownTable(const std::vector<JobKey>& keys) {
  if (keys.empty()) return "";
  std::string text = "| key | default | type | |\n|---|---|---|---|\n";
  for (const JobKey& key : keys) {
    // A bar would end the cell.
    const std::string type = absl::StrReplaceAll(TypeText(key), {{" | ", " or "}});
    absl::StrAppendFormat(
        &text, "| `%s` | %s | %s | %s |\n", key.spec().key,
        key.required() || key.unset() ? DefaultText(key) : absl::StrCat("`", DefaultText(key), "`"),
        type, absl::StrReplaceAll(key.spec().help, {{"|", "\\|"}}));
  }
  return text + "\n";
}

constexpr const char* kMarkdownHead = R"(# The job file

One TOML file describes a job; every command reads the same one. A working example
stands beside each model: `algorithms/*/job.toml`. This page is the output of
`pagoda config explain --markdown`; a test checks that it is current.

- A key that is not listed here, a value of another type or out of range is an error
  that names file, line and key (and the nearest right name).
- Paths of data files are relative to the job file. `job.output` is relative to the
  current directory.
- `--set section.key=value` on the command line overrides any key, as in
  `--set train.batch_size=512 --set 'model.hidden=[64, 32]'`. The value is TOML; a bare word
  is text. Data paths given this way are relative to the current directory.
- A single value may stand for a list of one, an integer for a number.
- Features keep the order of the file. `sex = "categorical"` under `[features]` is short for
  `sex = { kind = "categorical" }`.
- `[stage.NAME]` sections make it several trainings, one after another: [stages.md](stages.md).

)";

}  // namespace

absl::StatusOr<std::string> ExplainConfig(const std::string& model) {
  const ModelInfo* only = nullptr;
  if (!model.empty()) {
    PAGODA_ASSIGN_OR_RETURN(only, FindModel(model));
  }
  std::string text;
  const std::vector<JobKeys> sections = DescribeJob(nullptr);
  for (const JobKeys& section : sections) {
    text += PlainSection(section, KeysToShow(sections, section));
    if (section.section() != "model") continue;
    for (const ModelInfo& info : AllModels()) {
      if (only != nullptr && only->name != info.name) continue;
      const JobKeys keys = ModelKeys(info);
      text += PlainSection(keys, keys.keys());
    }
  }
  return text;
}

std::string ExplainConfigMarkdown() {
  std::string text = kMarkdownHead;
  const std::vector<JobKeys> sections = DescribeJob(nullptr);
  for (const JobKeys& section : sections) {
    absl::StrAppend(&text, "## [", section.section(), "]\n\n", section.help(), "\n\n",
                    MarkdownTable(KeysToShow(sections, section)));
    if (section.section() != "model") continue;
    for (const ModelInfo& info : AllModels()) {
      absl::StrAppend(&text, "### name = \"", info.name, "\"\n\n", info.summary, "\n\n");
      text += MarkdownTable(ModelKeys(info).keys());
    }
  }
  // One newline at the end.
  text.erase(text.find_last_not_of('\n') + 2);
  return text;
}

}  // namespace pagoda
