#include "algorithms/nn/model_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace pagoda {
namespace {

const char* TypeName(const OptionValue& value) {
  static constexpr const char* kNames[] = {
      "a boolean",          "an integer",        "a number",         "a string",
      "a list of integers", "a list of numbers", "a list of strings"};
  return kNames[value.index()];
}

bool IsEmptyList(const OptionValue& value) {
  const auto* integers = std::get_if<std::vector<int64_t>>(&value);
  const auto* numbers = std::get_if<std::vector<double>>(&value);
  const auto* strings = std::get_if<std::vector<std::string>>(&value);
  return (integers != nullptr && integers->empty()) || (numbers != nullptr && numbers->empty()) ||
         (strings != nullptr && strings->empty());
}

// Turns `value` into the alternative of `wanted` where that loses nothing.
bool Convert(const OptionValue& wanted, OptionValue* value) {
  if (value->index() == wanted.index()) return true;
  if (std::holds_alternative<double>(wanted) && std::holds_alternative<int64_t>(*value)) {
    *value = static_cast<double>(std::get<int64_t>(*value));
    return true;
  }
  if (std::holds_alternative<std::vector<double>>(wanted) &&
      std::holds_alternative<std::vector<int64_t>>(*value)) {
    const auto& integers = std::get<std::vector<int64_t>>(*value);
    *value = std::vector<double>(integers.begin(), integers.end());
    return true;
  }
  // An empty list in a job file has no element to tell its type.
  const bool wants_list = wanted.index() >= OptionValue(std::vector<int64_t>{}).index();
  if (!wants_list || !IsEmptyList(*value)) return false;
  if (std::holds_alternative<std::vector<int64_t>>(wanted)) *value = std::vector<int64_t>{};
  if (std::holds_alternative<std::vector<double>>(wanted)) *value = std::vector<double>{};
  if (std::holds_alternative<std::vector<std::string>>(wanted)) *value = std::vector<std::string>{};
  return true;
}

// Optimal string alignment: insert, delete, replace, or swap two neighbours.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

absl::Status ModelOptions::Set(const std::string& key, OptionValue value) {
  for (const OptionSpec& spec : specs_) {
    if (spec.key != key) continue;
    if (!Convert(spec.default_value, &value)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", key, "' must be ", TypeName(spec.default_value), ", not ", TypeName(value)));
    }
    values_[key] = std::move(value);
    return absl::OkStatus();
  }
  std::vector<std::string> keys;
  for (const OptionSpec& spec : specs_) keys.push_back(spec.key);
  return absl::NotFoundError(absl::StrCat("unknown key '", key, "'", DidYouMean(key, keys)));
}

const OptionValue* ModelOptions::Find(const std::string& key) const {
  const auto it = values_.find(key);
  if (it != values_.end()) return &it->second;
  for (const OptionSpec& spec : specs_) {
    if (spec.key == key) return &spec.default_value;
  }
  return nullptr;
}

std::string NearestName(const std::string& word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t best = 0;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (3 * distance > std::max(word.size(), candidate.size())) continue;
    if (!nearest.empty() && distance >= best) continue;
    nearest = candidate;
    best = distance;
  }
  return nearest;
}

std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string nearest = NearestName(word, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?");
}

}  // namespace pagoda
