// `pagoda config explain` and the version.

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/config_explain.h"
#include "proto/version.h"

namespace pagoda {

absl::StatusOr<int> RunConfigExplain(const std::string& model, bool markdown) {
  std::string text = ExplainConfigMarkdown();
  if (!markdown) {
    PAGODA_ASSIGN_OR_RETURN(text, ExplainConfig(model));
  }
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace pagoda
