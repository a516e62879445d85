// Rows of a generated file, as text: cells between commas, lists between bars.
//
//   RowText row(&text);
//   row.Integer(user).List(items).Number(probability).End();     // "7,3|5,0.250000\n"
//
// Threads: one per RowText.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/strings/string_view.h"
#include "base/random.h"

namespace pagoda {

class RowText {
 public:
  // Appends to `text`, which must outlive it.
  explicit RowText(std::string* text) : text_(*text) {}

  RowText& Integer(int64_t value);
  RowText& Number(double value);  // Six decimals; finite.
  RowText& Word(absl::string_view word);
  RowText& List(std::span<const int32_t> values);
  RowText& List(std::span<const int64_t> values);
  void End();

 private:
  void StartCell();
  template <typename T>
  RowText& Joined(std::span<const T> values);

  std::string& text_;
  bool first_ = true;  // Of a row's cells.
};

// Permutes the lines of `text` from byte `begin` on. REQUIRES: it ends with a line end.
void ShuffleRows(RandomKey key, size_t begin, std::string* text);

}  // namespace pagoda
