// `pagoda config explain`: the keys of a job file in words, from the declarations
// that parse it (job_sections.h).
//
// Threads: pure functions.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace pagoda {

// For a terminal: every section with its keys, types, units, defaults and limits.
// `model` empty: [model] shows every model's keys; else that model's alone.
//   NOT_FOUND  no such model (names the nearest)
absl::StatusOr<std::string> ExplainConfig(const std::string& model);

// The same for all models as Markdown: docs/job_file.md.
std::string ExplainConfigMarkdown();

}  // namespace pagoda
