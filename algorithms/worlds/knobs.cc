#include "algorithms/worlds/knobs.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "algorithms/nn/name_pattern.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

template <typename T>
std::vector<std::string> NamesOf(const std::vector<T>& things) {
  std::vector<std::string> names;
  for (const T& thing : things) names.push_back(thing.name);
  return names;
}

struct Assignment {
  std::string name;
  std::string value;
};

absl::StatusOr<std::vector<Assignment>> Split(const std::vector<std::string>& assignments) {
  std::vector<Assignment> split;
  for (const std::string& text : assignments) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not knob=value"));
    }
    split.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  return split;
}

absl::Status UnknownKnob(const std::vector<Knob>& knobs, const std::string& name) {
  std::vector<std::string> names = NamesOf(knobs);
  names.push_back("variant");
  return absl::InvalidArgumentError(
      absl::StrCat("unknown knob '", name, "'", DidYouMean(name, names)));
}

}  // namespace

absl::StatusOr<KnobValues> KnobValues::Make(uint64_t seed, const std::vector<Knob>& knobs,
                                            const std::vector<Variant>& variants,
                                            const std::vector<std::string>& assignments) {
  PAGODA_ASSIGN_OR_RETURN(const std::vector<Assignment> split, Split(assignments));
  KnobValues made;
  made.seed_ = seed;
  made.variant_ = variants.front().name;
  for (const Assignment& assignment : split) {
    if (assignment.name == "variant") made.variant_ = assignment.value;
  }
  for (const Knob& knob : knobs) made.values_[knob.name] = knob.value;
  bool found = false;
  for (const Variant& variant : variants) {
    if (variant.name != made.variant_) continue;
    found = true;
    for (const auto& [name, value] : variant.defaults) made.values_.at(name) = value;
  }
  if (!found) {
    const std::vector<std::string> names = NamesOf(variants);
    return absl::InvalidArgumentError(absl::StrCat("unknown variant '", made.variant_, "'",
                                                   DidYouMean(made.variant_, names), " (",
                                                   absl::StrJoin(names, ", "), ")"));
  }
  for (const Assignment& assignment : split) {
    if (assignment.name == "variant") continue;
    if (made.values_.count(assignment.name) == 0) return UnknownKnob(knobs, assignment.name);
    double value = 0.0;
    if (!absl::SimpleAtod(assignment.value, &value) || !std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("knob '", assignment.name, "': '", assignment.value, "' is not a number"));
    }
    PAGODA_RETURN_IF_ERROR(made.Set(knobs, assignment.name, value));
  }
  return made;
}

double KnobValues::Real(const std::string& name) const {
  const auto found = values_.find(name);
  PAGODA_CHECK(found != values_.end());
  return found->second;
}

absl::Status KnobValues::Set(const std::vector<Knob>& knobs, const std::string& name,
                             double value) {
  for (const Knob& knob : knobs) {
    if (knob.name != name) continue;
    if (value < knob.min || value > knob.max) {
      return absl::InvalidArgumentError(absl::StrCat(
          "knob '", name, "': ", value, " is not between ", knob.min, " and ", knob.max));
    }
    if (knob.whole && value != std::floor(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("knob '", name, "': ", value, " is not a whole number"));
    }
    values_[name] = value;
    return absl::OkStatus();
  }
  return UnknownKnob(knobs, name);
}

}  // namespace pagoda
