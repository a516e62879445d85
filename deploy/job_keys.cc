#include "deploy/job_keys.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <type_traits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace pagoda {
namespace {

// 0.01f is shown and kept as 0.01, not as 0.0099999998.
double DecimalOf(float value) {
  double decimal = value;
  PAGODA_CHECK(absl::SimpleAtod(absl::StrFormat("%.7g", value), &decimal));
  return decimal;
}

OptionValue ToOption(bool value) {
  return value;
}
OptionValue ToOption(int value) {
  return int64_t{value};
}
OptionValue ToOption(int64_t value) {
  return value;
}
OptionValue ToOption(uint64_t value) {
  return static_cast<int64_t>(value);
}
OptionValue ToOption(float value) {
  return DecimalOf(value);
}
OptionValue ToOption(double value) {
  return value;
}
OptionValue ToOption(const std::string& value) {
  return value;
}
template <typename T>
OptionValue ToOption(const std::vector<T>& value) {
  return value;
}

template <typename Field>
void FromOption(const OptionValue& value, Field* field) {
  if constexpr (std::is_same_v<Field, int> || std::is_same_v<Field, uint64_t>) {
    *field = static_cast<Field>(std::get<int64_t>(value));
  } else if constexpr (std::is_same_v<Field, float>) {
    *field = static_cast<float>(std::get<double>(value));
  } else {
    *field = std::get<Field>(value);
  }
}

// Every number in `value`, a list or not.
std::vector<double> NumbersIn(const OptionValue& value) {
  if (const auto* v = std::get_if<int64_t>(&value)) return {static_cast<double>(*v)};
  if (const auto* v = std::get_if<double>(&value)) return {*v};
  if (const auto* v = std::get_if<std::vector<double>>(&value)) return *v;
  if (const auto* v = std::get_if<std::vector<int64_t>>(&value)) return {v->begin(), v->end()};
  return {};
}

constexpr double kHugeLimit = 1e15;

std::string ShortNumber(double number) {
  return absl::StrFormat("%.15g", number);
}

}  // namespace

JobKey& JobKey::AtLeast(double minimum) {
  minimum_ = minimum;
  return *this;
}
JobKey& JobKey::AtMost(double maximum) {
  maximum_ = maximum;
  return *this;
}
JobKey& JobKey::MoreThan(double limit) {
  minimum_ = limit;
  open_minimum_ = true;
  return *this;
}
JobKey& JobKey::OneOf(std::vector<std::string> choices) {
  choices_ = std::move(choices);
  return *this;
}
JobKey& JobKey::Check(std::function<absl::Status(const OptionValue&)> check) {
  check_ = std::move(check);
  return *this;
}
JobKey& JobKey::Required() {
  required_ = true;
  return *this;
}
JobKey& JobKey::Unset() {
  unset_ = true;
  return *this;
}

std::string JobKey::LimitText() const {
  if (!choices_.empty()) return absl::StrJoin(choices_, " | ");
  const std::string above =
      absl::StrCat(open_minimum_ ? "more than " : "at least ", ShortNumber(minimum_));
  // A maximum beyond any use only keeps arithmetic safe; it is no news to the reader.
  const bool has_minimum = std::isfinite(minimum_), has_maximum = maximum_ < kHugeLimit;
  if (has_minimum && has_maximum && !open_minimum_) {
    return absl::StrCat(ShortNumber(minimum_), " to ", ShortNumber(maximum_));
  }
  if (has_minimum && has_maximum) {
    return absl::StrCat(above, ", at most ", ShortNumber(maximum_));
  }
  if (has_minimum) return above;
  if (has_maximum) return absl::StrCat("at most ", ShortNumber(maximum_));
  return "";
}

absl::Status JobKey::CheckLimits(const OptionValue& value) const {
  for (const double number : NumbersIn(value)) {
    const bool low = open_minimum_ ? number <= minimum_ : number < minimum_;
    if (low || number > maximum_) {
      return absl::InvalidArgumentError(
          absl::StrCat(ShortNumber(number), " is out of range: ", LimitText()));
    }
    if (!std::isfinite(number)) {
      return absl::InvalidArgumentError(absl::StrCat(ShortNumber(number), " is not finite"));
    }
  }
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr || choices_.empty()) return absl::OkStatus();
  if (std::find(choices_.begin(), choices_.end(), *text) != choices_.end()) return absl::OkStatus();
  const std::string nearest = NearestName(*text, choices_);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", *text, "\" is not one of ", LimitText(),
                   nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
}

template <typename Field>
JobKey& JobKeys::Add(const std::string& key, Field* field, const std::string& unit,
                     const std::string& help) {
  JobKey& added = AddCustom({key, ToOption(*field), unit, help},
                            [field](const OptionValue& value) { FromOption(value, field); });
  // Unsigned and narrow fields hold less than the file's 64-bit integers.
  if constexpr (std::is_same_v<Field, uint64_t>) added.AtLeast(0);
  if constexpr (std::is_same_v<Field, int>) added.Between(0, std::numeric_limits<int>::max());
  return added;
}
template JobKey& JobKeys::Add(const std::string&, bool*, const std::string&, const std::string&);
template JobKey& JobKeys::Add(const std::string&, int*, const std::string&, const std::string&);
template JobKey& JobKeys::Add(const std::string&, int64_t*, const std::string&, const std::string&);
template JobKey& JobKeys::Add(const std::string&, uint64_t*, const std::string&,
                              const std::string&);
template JobKey& JobKeys::Add(const std::string&, float*, const std::string&, const std::string&);
template JobKey& JobKeys::Add(const std::string&, double*, const std::string&, const std::string&);
template JobKey& JobKeys::Add(const std::string&, std::string*, const std::string&,
                              const std::string&);
template JobKey& JobKeys::Add(const std::string&, std::vector<int64_t>*, const std::string&,
                              const std::string&);
template JobKey& JobKeys::Add(const std::string&, std::vector<double>*, const std::string&,
                              const std::string&);
template JobKey& JobKeys::Add(const std::string&, std::vector<std::string>*, const std::string&,
                              const std::string&);

JobKey& JobKeys::AddCustom(OptionSpec spec, std::function<void(const OptionValue&)> store) {
  JobKey key;
  key.spec_ = std::move(spec);
  key.store_ = std::move(store);
  keys_.push_back(std::move(key));
  return keys_.back();
}

JobKey& JobKeys::AddOption(const OptionSpec& spec, ModelOptions* options) {
  return AddCustom(spec, [options, key = spec.key](const OptionValue& value) {
    // The type has been checked against the same spec.
    PAGODA_CHECK(options->Set(key, value).ok());
  });
}

absl::Status JobKeys::Store(const JobKey& key, const JobEntry& entry) const {
  const std::string context = absl::StrCat(entry.where, ": ", section_, ".", entry.key);
  absl::StatusOr<OptionValue> value = ConvertOption(entry.value, key.spec_.default_value);
  PAGODA_RETURN_IF_ERROR_CONTEXT(value.status(), context);
  PAGODA_RETURN_IF_ERROR_CONTEXT(key.CheckLimits(*value), context);
  if (key.check_ != nullptr) PAGODA_RETURN_IF_ERROR_CONTEXT(key.check_(*value), context);
  key.store_(*value);
  return absl::OkStatus();
}

absl::Status JobKeys::Fill(const std::vector<JobEntry>& entries, const std::string& where) const {
  std::set<std::string> given;
  for (const JobEntry& entry : entries) {
    const auto key = std::find_if(keys_.begin(), keys_.end(), [&](const JobKey& candidate) {
      return candidate.spec_.key == entry.key;
    });
    if (key == keys_.end()) {
      std::vector<std::string> names;
      for (const JobKey& known : keys_) names.push_back(known.spec_.key);
      const std::string nearest = NearestName(entry.key, names);
      return absl::InvalidArgumentError(
          absl::StrCat(entry.where, ": unknown key '", entry.key, "' in [", section_, "]",
                       nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"), ""));
    }
    if (!given.insert(entry.key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(entry.where, ": ", section_, ".", entry.key, " is given twice"));
    }
    PAGODA_RETURN_IF_ERROR(Store(*key, entry));
  }
  for (const JobKey& key : keys_) {
    if (!key.required_ || given.count(key.spec_.key) != 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(where, ": [", section_, "] needs the key '",
                                                   key.spec_.key, "' (",
                                                   OptionTypeName(key.spec_.default_value), ")"));
  }
  return absl::OkStatus();
}

absl::StatusOr<OptionValue> ConvertOption(const OptionValue& value, const OptionValue& type) {
  if (value.index() == type.index()) return value;
  const auto* integer = std::get_if<int64_t>(&value);
  const auto* integers = std::get_if<std::vector<int64_t>>(&value);
  const auto* number = std::get_if<double>(&value);
  const auto* text = std::get_if<std::string>(&value);
  if (std::holds_alternative<double>(type) && integer != nullptr) {
    return OptionValue(static_cast<double>(*integer));
  }
  if (std::holds_alternative<std::vector<double>>(type)) {
    if (integers != nullptr) {
      return OptionValue(std::vector<double>(integers->begin(), integers->end()));
    }
    if (integer != nullptr) return OptionValue(std::vector<double>{double(*integer)});
    if (number != nullptr) return OptionValue(std::vector<double>{*number});
  }
  if (std::holds_alternative<std::vector<int64_t>>(type) && integer != nullptr) {
    return OptionValue(std::vector<int64_t>{*integer});
  }
  if (std::holds_alternative<std::vector<std::string>>(type)) {
    if (text != nullptr) return OptionValue(std::vector<std::string>{*text});
    if (integers != nullptr && integers->empty()) return OptionValue(std::vector<std::string>());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("expected ", OptionTypeName(type), ", found ", OptionTypeName(value)));
}

}  // namespace pagoda
