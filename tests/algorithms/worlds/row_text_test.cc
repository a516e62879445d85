#include "algorithms/worlds/row_text.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace pagoda {
namespace {

TEST_CASE("rows have commas between cells and bars in lists") {
  std::string text = "before\n";
  RowText row(&text);
  row.Integer(-7).List(std::vector<int64_t>{3, 5}).Number(0.25).Word("deep").End();
  row.List(std::vector<int32_t>{}).Word("").Number(-1e-9).End();
  CHECK(text == "before\n-7,3|5,0.250000,deep\n,,-0.000000\n");
}

TEST_CASE("shuffling keeps every line, and what stands before") {
  std::string text = "kept\n";
  const size_t begin = text.size();
  for (int i = 0; i < 100; ++i) absl::StrAppend(&text, i, "\n");
  std::string again = text;
  std::string other = text;
  ShuffleRows(RandomKey{1}, begin, &again);
  ShuffleRows(RandomKey{2}, begin, &other);
  CHECK(again != text);
  CHECK(again != other);
  CHECK(again.substr(0, begin) == "kept\n");
  std::vector<std::string> before = absl::StrSplit(text, '\n');
  std::vector<std::string> after = absl::StrSplit(again, '\n');
  std::sort(before.begin(), before.end());
  std::sort(after.begin(), after.end());
  CHECK(before == after);
  std::string twice = text;
  ShuffleRows(RandomKey{1}, begin, &twice);
  CHECK(twice == again);
  ShuffleRows(RandomKey{1}, twice.size(), &twice);  // No lines.
  CHECK(twice == again);
}

}  // namespace
}  // namespace pagoda
