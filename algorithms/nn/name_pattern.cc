#include "algorithms/nn/name_pattern.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "algorithms/nn/model_options.h"
#include "algorithms/nn/parameters.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr absl::string_view kArrow = "->";

// Whether `pattern` stands for `name`; `stars` gets what each '*' stood for. The first
// '*' takes as little as it can.
bool Match(absl::string_view pattern, absl::string_view name, std::vector<std::string>* stars) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] != '*') {
    return !name.empty() && name[0] == pattern[0] &&
           Match(pattern.substr(1), name.substr(1), stars);
  }
  for (size_t taken = 0; taken <= name.size(); ++taken) {
    stars->emplace_back(name.substr(0, taken));
    if (Match(pattern.substr(1), name.substr(taken), stars)) return true;
    stars->pop_back();
  }
  return false;
}

size_t CountStars(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '*'));
}

absl::Status Bad(const std::string& text, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("the pattern \"", text, "\" ", why));
}

}  // namespace

absl::StatusOr<NamePattern> NamePattern::Parse(const std::string& text, bool may_rename) {
  NamePattern pattern;
  pattern.text_ = text;
  absl::string_view rest = absl::StripAsciiWhitespace(text);
  pattern.excludes_ = absl::ConsumePrefix(&rest, "!");
  if (absl::ConsumePrefix(&rest, "table:")) pattern.kind_ = NameKind::kTable;
  if (!pattern.kind_ && absl::ConsumePrefix(&rest, "dense:")) pattern.kind_ = NameKind::kDense;
  if (!pattern.kind_ && absl::ConsumePrefix(&rest, "group:")) pattern.kind_ = NameKind::kGroup;
  const size_t arrow = rest.find(kArrow);
  pattern.from_ = std::string(absl::StripAsciiWhitespace(rest.substr(0, arrow)));
  if (arrow != absl::string_view::npos) {
    pattern.to_ = std::string(absl::StripAsciiWhitespace(rest.substr(arrow + kArrow.size())));
    if (!may_rename) return Bad(text, "renames, which only 'load' does");
    if (pattern.excludes_) return Bad(text, "has both '!' and '->'");
    if (pattern.to_.empty()) return Bad(text, "has nothing behind '->'");
    if (CountStars(pattern.to_) > CountStars(pattern.from_)) {
      return Bad(text, "has more '*' behind '->' than before it");
    }
  }
  if (pattern.from_.empty()) return Bad(text, "names nothing");
  return pattern;
}

bool NamePattern::About(NameKind kind) const {
  return kind_.has_value() ? *kind_ == kind : kind != NameKind::kGroup;
}

std::optional<std::string> NamePattern::Map(absl::string_view name) const {
  std::vector<std::string> stars;
  if (!Match(from_, name, &stars)) return std::nullopt;
  if (to_.empty()) return std::string(name);
  std::string mapped;
  size_t star = 0;
  for (const char c : to_) {
    if (c == '*') {
      mapped += stars[star++];
    } else {
      mapped += c;
    }
  }
  return mapped;
}

namespace {

// Applies one pattern; whether it named anything.
bool Apply(const NamePattern& pattern, const Declaration& declaration, NameSelection* selection) {
  bool any = false;
  const auto visit = [&](NameKind kind, const std::string& name, std::vector<bool>& chosen,
                         size_t index) {
    if (!pattern.About(kind) || !pattern.Map(name).has_value()) return;
    chosen[index] = !pattern.excludes();
    any = true;
  };
  for (size_t i = 0; i < declaration.tables.size(); ++i) {
    visit(NameKind::kTable, declaration.tables[i].name, selection->tables, i);
  }
  for (size_t i = 0; i < declaration.dense.size(); ++i) {
    visit(NameKind::kDense, declaration.dense[i].name, selection->dense, i);
    visit(NameKind::kGroup, ParameterSet::GroupOf(declaration.dense[i]), selection->dense, i);
  }
  return any;
}

// `empty` gets the first pattern that names nothing.
absl::StatusOr<NameSelection> ApplyAll(const std::vector<std::string>& patterns,
                                       const Declaration& declaration, std::string* empty) {
  NameSelection selection;
  selection.tables.assign(declaration.tables.size(), false);
  selection.dense.assign(declaration.dense.size(), false);
  for (const std::string& text : patterns) {
    PAGODA_ASSIGN_OR_RETURN(const NamePattern pattern,
                            NamePattern::Parse(text, /*may_rename=*/false));
    if (!Apply(pattern, declaration, &selection) && empty->empty()) *empty = text;
  }
  return selection;
}

}  // namespace

absl::StatusOr<NameSelection> MatchNames(const std::vector<std::string>& patterns,
                                         const Declaration& declaration) {
  std::string empty;
  return ApplyAll(patterns, declaration, &empty);
}

absl::StatusOr<NameSelection> SelectNames(const std::vector<std::string>& patterns,
                                          const Declaration& declaration,
                                          const std::string& where) {
  std::string empty;
  absl::StatusOr<NameSelection> selection = ApplyAll(patterns, declaration, &empty);
  PAGODA_RETURN_IF_ERROR_CONTEXT(selection.status(), where);
  if (empty.empty()) return selection;
  std::vector<std::string> names;
  for (const TableDecl& table : declaration.tables) names.push_back(table.name);
  for (const DenseDecl& dense : declaration.dense) names.push_back(dense.name);
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": \"", empty, "\" names no table and no dense parameter of the model",
                   DidYouMean(empty, names)));
}

}  // namespace pagoda
