// Keys of a job file that know everything about themselves: name, type, unit,
// default, range, sentence, and the field they fill. Parsing, its errors and
// `pagoda config explain` all read the same declarations (job_config.cc).
//
//   JobKeys keys("train", "The training loop.");
//   keys.Add("batch_size", &options.batch_size, "samples", "Global samples per step.").AtLeast(1);
//   PAGODA_RETURN_IF_ERROR(keys.Fill(entries_of_train));
//
// A key's type is its field's type, and its default is what the field holds when
// the key is added. The fields must outlive the JobKeys.
//
// Threads: none of this is shared between threads.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithms/nn/model_options.h"
#include "deploy/job_file_toml.h"

namespace pagoda {

class JobKey {
 public:
  // Limits of a number, or of each number of a list; both ends are allowed.
  JobKey& AtLeast(double minimum);
  JobKey& AtMost(double maximum);
  JobKey& Between(double minimum, double maximum) { return AtLeast(minimum).AtMost(maximum); }
  JobKey& MoreThan(double limit);
  // The texts that are allowed.
  JobKey& OneOf(std::vector<std::string> choices);
  // A check of the key's own, after type and limits. The status needs no context.
  JobKey& Check(std::function<absl::Status(const OptionValue&)> check);
  // The key must be given: its default is shown as "required".
  JobKey& Required();
  // The key has no default: left out differs from any value. Shown as "not set".
  JobKey& Unset();

  const OptionSpec& spec() const { return spec_; }
  bool required() const { return required_; }
  bool unset() const { return unset_; }
  // "1 to 65536", "at least 1", "csv | tsv"; empty when anything goes.
  std::string LimitText() const;

 private:
  friend class JobKeys;
  absl::Status CheckLimits(const OptionValue& value) const;

  OptionSpec spec_;
  double minimum_ = -std::numeric_limits<double>::infinity();
  double maximum_ = std::numeric_limits<double>::infinity();
  bool open_minimum_ = false;
  bool required_ = false;
  bool unset_ = false;
  std::vector<std::string> choices_;
  std::function<absl::Status(const OptionValue&)> check_;
  std::function<void(const OptionValue&)> store_;
};

// The keys of one section.
class JobKeys {
 public:
  // `section` as in the file, "train" or "table.NAME"; `help` is one sentence.
  JobKeys(std::string section, std::string help)
      : section_(std::move(section)), help_(std::move(help)) {}

  // Field: bool, int, int64_t, uint64_t, float, double, std::string, or a vector of
  // int64_t, double or std::string. The reference is good until the next Add.
  template <typename Field>
  JobKey& Add(const std::string& key, Field* field, const std::string& unit,
              const std::string& help);
  // A key without a plain field: `store` is called with a value of default_value's type.
  JobKey& AddCustom(OptionSpec spec, std::function<void(const OptionValue&)> store);
  // A key whose spec comes from elsewhere (a model's options).
  JobKey& AddOption(const OptionSpec& spec, ModelOptions* options);

  // Stores every entry into its field.
  //   INVALID_ARGUMENT  an unknown key (names the nearest), a wrong type, a value out
  //                     of range, a key given twice, or a required key left out
  //                     ("job.toml:12: ..."; `where` locates the last)
  absl::Status Fill(const std::vector<JobEntry>& entries, const std::string& where) const;

  const std::string& section() const { return section_; }
  const std::string& help() const { return help_; }
  const std::vector<JobKey>& keys() const { return keys_; }

 private:
  absl::Status Store(const JobKey& key, const JobEntry& entry) const;

  std::string section_;
  std::string help_;
  std::vector<JobKey> keys_;
};

// `value` as the type of `type`: integers pass as numbers, one value as a list of
// one, an empty list as any list.
//   INVALID_ARGUMENT  it cannot ("expected an integer, found text")
absl::StatusOr<OptionValue> ConvertOption(const OptionValue& value, const OptionValue& type);

}  // namespace pagoda
