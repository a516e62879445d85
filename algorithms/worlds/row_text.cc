#include "algorithms/worlds/row_text.h"

#include <charconv>
#include <vector>

#include "algorithms/worlds/draws.h"

namespace pagoda {
namespace {

template <typename T>
void AppendInteger(T value, std::string* text) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  text->append(digits, static_cast<size_t>(end - digits));
}

}  // namespace

void RowText::StartCell() {
  if (!first_) text_.push_back(',');
  first_ = false;
}

RowText& RowText::Integer(int64_t value) {
  StartCell();
  AppendInteger(value, &text_);
  return *this;
}

RowText& RowText::Number(double value) {
  StartCell();
  char digits[400];  // The largest double has 309 digits before the point.
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::fixed, 6).ptr;
  text_.append(digits, static_cast<size_t>(end - digits));
  return *this;
}

RowText& RowText::Word(absl::string_view word) {
  StartCell();
  text_.append(word.data(), word.size());
  return *this;
}

template <typename T>
RowText& RowText::Joined(std::span<const T> values) {
  StartCell();
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text_.push_back('|');
    AppendInteger(values[i], &text_);
  }
  return *this;
}

RowText& RowText::List(std::span<const int32_t> values) {
  return Joined(values);
}
RowText& RowText::List(std::span<const int64_t> values) {
  return Joined(values);
}

void RowText::End() {
  text_.push_back('\n');
  first_ = true;
}

void ShuffleRows(RandomKey key, size_t begin, std::string* text) {
  std::vector<absl::string_view> lines;
  const std::string before = text->substr(begin);
  for (size_t at = 0; at < before.size();) {
    const size_t end = before.find('\n', at) + 1;
    lines.push_back(absl::string_view(before).substr(at, end - at));
    at = end;
  }
  Draws draws(key);
  text->resize(begin);
  for (size_t left = lines.size(); left > 0; --left) {
    const size_t chosen = static_cast<size_t>(draws.Below(static_cast<int64_t>(left)));
    text->append(lines[chosen].data(), lines[chosen].size());
    lines[chosen] = lines[left - 1];
  }
}

}  // namespace pagoda
