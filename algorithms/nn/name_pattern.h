// Patterns over the names of a model's tables and dense parameters: what a stage loads,
// freezes, and puts into a group (docs/stages.md).
//
//   deep.*             '*' stands for any characters, also none and also dots
//   table:movieId      only tables;  dense:deep.*  only dense parameters
//   group:tower        dense parameters of a group that the model declared
//   !head.*            takes names out that an earlier pattern took in
//   tower.* -> user.*  renames: each '*' on the right is what the '*' of the same place
//                      on the left stood for
//
// Threads: plain data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "algorithms/nn/declaration.h"

namespace pagoda {

enum class NameKind { kTable, kDense, kGroup };

class NamePattern {
 public:
  // `may_rename`: whether " -> " is allowed here.
  //   INVALID_ARGUMENT  empty, a rename that is not allowed, with '!', or with another
  //                     number of '*' on its right
  static absl::StatusOr<NamePattern> Parse(const std::string& text, bool may_rename);

  const std::string& text() const { return text_; }
  bool excludes() const { return excludes_; }
  // No '*': it stands for one name.
  bool literal() const { return from_.find('*') == std::string::npos; }
  // Whether it is about things of that kind: any but groups unless it says so.
  bool About(NameKind kind) const;
  // What `name` is called behind the arrow (without one: `name`); no value: no match.
  std::optional<std::string> Map(absl::string_view name) const;

 private:
  std::string text_, from_, to_;
  bool excludes_ = false;
  std::optional<NameKind> kind_;
};

// Which tables and dense parameters of a declaration patterns name.
struct NameSelection {
  std::vector<bool> tables;  // By index of Declaration::tables,
  std::vector<bool> dense;   // and of Declaration::dense.
};

// Later patterns count over earlier ones; one may name nothing.
//   INVALID_ARGUMENT  what NamePattern::Parse says
absl::StatusOr<NameSelection> MatchNames(const std::vector<std::string>& patterns,
                                         const Declaration& declaration);

// The same for patterns that must each name something. `where` begins the errors ("freeze").
//   INVALID_ARGUMENT  also a pattern that names nothing (with the nearest name)
absl::StatusOr<NameSelection> SelectNames(const std::vector<std::string>& patterns,
                                          const Declaration& declaration, const std::string& where);

}  // namespace pagoda
