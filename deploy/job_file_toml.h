// The text of a job file as plain data, before it means anything: the one door to
// toml++. Meaning, types and ranges of keys: job_config.h.
//
//   [data.valid]            ->  section "data.valid", declared at "job.toml:7"
//   split = [0.9, 1]        ->  entry {"data.valid", "split", list of numbers, "job.toml:8"}
//   [features]
//   age = { kind = "id" }   ->  section "features", section "features.age",
//                               entry {"features.age", "kind", text, "job.toml:10"}
//   sex = "categorical"     ->  the same as sex = { kind = "categorical" }; also under
//                               [stage.NAME.features]
//
// Threads: pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/nn/model_options.h"

namespace pagoda {

struct JobEntry {
  std::string section;  // "" at the top of the file.
  std::string key;
  // Lists are of one type; integers beside decimals become decimals. An empty
  // list is a std::vector<int64_t> of no elements, whatever the key's type.
  OptionValue value;
  std::string where;               // "job.toml:12", or "--set train.epochs"
  bool from_command_line = false;  // Relative paths: to the current directory.
};

struct JobSection {
  std::string name;
  std::string where;
  bool inherited = false;  // By a stage, from the job around it.
};

struct JobDocument {
  std::string path;
  std::vector<JobSection> sections;  // In file order, parents before children.
  std::vector<JobEntry> entries;     // In file order.
};

// "text", "integer", "list of numbers", ...: the type's name in messages.
std::string OptionTypeName(const OptionValue& value);

// `value` as it would stand in a job file: "text", 12, 0.5, [1, 2].
std::string FormatTomlValue(const OptionValue& value);

// Parses `text`; `path` is only for messages and JobDocument::path.
//   INVALID_ARGUMENT  not TOML, or a value no key can have (a date, a list of
//                     lists, a list of mixed types); names file and line
absl::StatusOr<JobDocument> ParseJobText(const std::string& path, const std::string& text);

// Reads and parses a file.   NOT_FOUND  it cannot be opened; or as ParseJobText.
absl::StatusOr<JobDocument> ReadJobFile(const std::string& path);

// Applies one "section.key=value" of the command line: replaces the entry, or adds
// it (and its section). The value is TOML; what is not TOML is taken as text.
//   INVALID_ARGUMENT  no "=", or no "." before it
absl::Status ApplyOverride(const std::string& assignment, JobDocument& document);

// The document as TOML text that parses to the same sections and entries.
std::string FormatJobDocument(const JobDocument& document);

}  // namespace pagoda
