// Typed, self-describing options: each key of a job file has a type, a default,
// a unit and a sentence, so that `pagoda config explain` and the error for a
// mistyped key come from one place.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/status_macros.h"

namespace pagoda {

using OptionValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>,
                                 std::vector<double>, std::vector<std::string>>;

struct OptionSpec {
  std::string key;            // "hidden"
  OptionValue default_value;  // Its alternative is the option's type.
  std::string unit;           // "rows", "seconds"; empty when none
  std::string help;           // One sentence.
};

// Values by key; a key that was not set reads as its default.
class ModelOptions {
 public:
  ModelOptions() = default;
  explicit ModelOptions(std::vector<OptionSpec> specs) : specs_(std::move(specs)) {}

  const std::vector<OptionSpec>& specs() const { return specs_; }

  //   NOT_FOUND         unknown key (names the nearest)
  //   INVALID_ARGUMENT  the value has another type (names both); an integer is
  //                     accepted where a double is expected, in lists too, and
  //                     an empty list of any type where a list is expected
  absl::Status Set(const std::string& key, OptionValue value);

  // REQUIRES: `key` is in specs() with type T.
  template <typename T>
  const T& Get(const std::string& key) const {
    const OptionValue* value = Find(key);
    PAGODA_CHECK(value != nullptr && std::holds_alternative<T>(*value));
    return std::get<T>(*value);
  }

 private:
  const OptionValue* Find(const std::string& key) const;

  std::vector<OptionSpec> specs_;
  std::map<std::string, OptionValue> values_;
};

// The candidate with the smallest edit distance to `word` (a swap of two
// neighbours counts 1), the first of equals, or "" when every distance is more
// than a third of the longer of the two.
std::string NearestName(const std::string& word, const std::vector<std::string>& candidates);
// The same as the end of an error: "; did you mean 'x'?", or "".
std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace pagoda
