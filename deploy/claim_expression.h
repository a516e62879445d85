// Sums over measured values, as a claim's checks state them:
//
//   gauc(usd) - gauc(base)
//   (auc_train(wd100) - auc(wd100)) - 0.5 * (auc_train(usm) - auc(usm))
//
//   expression = term  { ("+" | "-") term }
//   term       = factor { ("*" | "/") factor }
//   factor     = number | "-" factor | "(" expression ")" | NAME "(" ARM ")"
//              | ("min" | "max") "(" expression { "," expression } ")"
//              | "abs" "(" expression ")"
// NAME is a metric, ARM an arm; both of letters, digits, "_".
//
// Threads: immutable once parsed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// metric(arm), as read.
struct MeasuredName {
  std::string metric;
  std::string arm;

  friend auto operator<=>(const MeasuredName&, const MeasuredName&) = default;
};

class ClaimExpression {
 public:
  //   INVALID_ARGUMENT  not of the form above; names what stands where
  static absl::StatusOr<ClaimExpression> Parse(absl::string_view text);

  // Every metric(arm) in it, in order, each once.
  const std::vector<MeasuredName>& names() const { return names_; }

  // Whether it is one metric(arm) and nothing else.
  bool IsName() const;

  // The value, where `lookup` gives the value of a name. NaN stays NaN, and so does what
  // is divided by zero.
  double Evaluate(const std::function<double(const MeasuredName&)>& lookup) const;

  const std::string& text() const { return text_; }

 private:
  friend class ClaimExpressionParser;
  struct Node;

  std::string text_;
  std::vector<MeasuredName> names_;
  std::shared_ptr<const Node> root_;
};

}  // namespace pagoda
