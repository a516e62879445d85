#include "worker/file_glob.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

bool Exists(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0;
}

absl::StatusOr<std::vector<std::string>> ExpandOne(const std::string& pattern) {
  if (pattern.empty()) return absl::InvalidArgumentError("data files: a path is empty");
  if (Exists(pattern)) return std::vector<std::string>{pattern};
  if (pattern.find_first_of("*?[") == std::string::npos) {
    return absl::NotFoundError(pattern + ": no such file");
  }
  glob_t found = {};
  const int code = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> files(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  if (code == GLOB_NOSPACE) return absl::ResourceExhaustedError(pattern + ": out of memory");
  if (files.empty()) return absl::NotFoundError(pattern + ": no file matches this pattern");
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ExpandFiles(const std::vector<std::string>& patterns) {
  if (patterns.empty()) return absl::InvalidArgumentError("no data files are given");
  std::vector<std::string> files;
  std::set<std::string> seen;
  for (const std::string& pattern : patterns) {
    PAGODA_ASSIGN_OR_RETURN(std::vector<std::string> expanded, ExpandOne(pattern));
    for (std::string& file : expanded) {
      if (!seen.insert(file).second) {
        return absl::InvalidArgumentError(
            absl::StrCat(file, ": the file is listed twice (again by '", pattern, "')"));
      }
      files.push_back(std::move(file));
    }
  }
  return files;
}

}  // namespace pagoda
