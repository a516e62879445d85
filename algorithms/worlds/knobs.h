// The settings of a generated world: a seed, a variant, and numbers with a default and
// a range each. docs/worlds.md lists them.
//
// Threads: none of it changes once made.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pagoda {

struct Knob {
  std::string name;
  double value = 0.0;  // Default.
  double min = 0.0;
  double max = 0.0;
  bool whole = false;
  std::string meaning;
};

// A variant of a world is other defaults.
struct Variant {
  std::string name;
  std::map<std::string, double> defaults;
};

class KnobValues {
 public:
  // Defaults of `variant`, then `assignments`, "name=value" each, the last of equals
  // holding; "variant=..." among them chooses the variant, wherever it stands.
  //   INVALID_ARGUMENT  no "="; an unknown knob or variant (names the nearest); not a
  //                     number; a fraction where a whole number is due; out of range
  static absl::StatusOr<KnobValues> Make(uint64_t seed, const std::vector<Knob>& knobs,
                                         const std::vector<Variant>& variants,
                                         const std::vector<std::string>& assignments);

  uint64_t seed() const { return seed_; }
  const std::string& variant() const { return variant_; }
  // REQUIRES: the world has that knob.
  double Real(const std::string& name) const;
  int64_t Whole(const std::string& name) const { return static_cast<int64_t>(Real(name)); }
  const std::map<std::string, double>& all() const { return values_; }

  // Sets one knob. Same errors as Make.
  absl::Status Set(const std::vector<Knob>& knobs, const std::string& name, double value);

 private:
  uint64_t seed_ = 0;
  std::string variant_;
  std::map<std::string, double> values_;
};

}  // namespace pagoda
