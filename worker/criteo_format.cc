#include "worker/criteo_format.h"

#include "absl/strings/str_cat.h"

namespace pagoda {

std::vector<std::string> CriteoColumns(bool with_label) {
  std::vector<std::string> columns;
  if (with_label) columns.push_back("label");
  for (int i = 1; i <= kCriteoIntegers; ++i) columns.push_back(absl::StrCat("I", i));
  for (int i = 1; i <= kCriteoCategories; ++i) columns.push_back(absl::StrCat("C", i));
  return columns;
}

}  // namespace pagoda
