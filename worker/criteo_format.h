// The Criteo click log: label, 13 integers and 26 hashed categories, tab-separated,
// without header or quotes. A cell may be empty.
//
//   label \t I1 ... I13 \t C1 ... C26      training
//           I1 ... I13 \t C1 ... C26       the challenge's test file: no label
#pragma once

#include <string>
#include <vector>

namespace pagoda {

inline constexpr int kCriteoIntegers = 13;
inline constexpr int kCriteoCategories = 26;

// "label", "I1" .. "I13", "C1" .. "C26"; the first only when `with_label`.
std::vector<std::string> CriteoColumns(bool with_label);

}  // namespace pagoda
