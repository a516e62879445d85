#include <string>

#include "absl/strings/str_cat.h"
#include "deploy/commands.h"
#include "deploy/git_describe.h"
#include "proto/version.h"

namespace pagoda {

std::string VersionText() {
  const std::string commit = kGitDescribe;
  return absl::StrCat("pagoda ", kPagodaVersion, commit.empty() ? "" : " (", commit,
                      commit.empty() ? "" : ")");
}

}  // namespace pagoda
