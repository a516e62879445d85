#include "worker/row_parser.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "base/random.h"

namespace pagoda {
namespace {

// Every cell of a line, through a parser that wants all of them.
struct Result {
  bool ok = false;
  std::vector<std::string> cells;
  RowError error;
};

Result ParseAll(const DelimitedOptions& options, int num_columns, absl::string_view line) {
  std::vector<int> columns;
  for (int i = 0; i < num_columns; ++i) columns.push_back(i);
  const auto parser = MakeDelimitedParser(options, num_columns, columns);
  RowCells cells;
  Result result;
  result.ok = parser->Parse(line, &cells, &result.error);
  for (size_t i = 0; result.ok && i < cells.text.size(); ++i) {
    result.cells.emplace_back(cells.text[i]);
    CHECK(cells.column[i] == static_cast<int32_t>(i) + 1);
  }
  return result;
}

using Cells = std::vector<std::string>;

DelimitedOptions Csv() {
  return DelimitedOptions();
}

}  // namespace

TEST_CASE("cells between delimiters, quoted or not") {
  const struct {
    const char* line;
    Cells cells;
  } kCases[] = {
      {"a,b,c", {"a", "b", "c"}},
      {",,", {"", "", ""}},
      {"a, b ,c", {"a", " b ", "c"}},
      {"\"a,1\",b,c", {"a,1", "b", "c"}},
      {"\"say \"\"hi\"\"\",\"\",\"\"\"\"", {"say \"hi\"", "", "\""}},
      {"5\" disk,b\"b,c\"", {"5\" disk", "b\"b", "c\""}},
      {"a,\"b\",\"c\"", {"a", "b", "c"}},
      {"0123456789abcdef,0123456789abcde,0123456789abcdef0",
       {"0123456789abcdef", "0123456789abcde", "0123456789abcdef0"}},
  };
  for (const auto& c : kCases) {
    CAPTURE(c.line);
    const Result result = ParseAll(Csv(), 3, c.line);
    INFO(result.error.message);
    REQUIRE(result.ok);
    CHECK(result.cells == c.cells);
  }
  CHECK(ParseAll(Csv(), 1, "").cells == Cells{""});
  CHECK(ParseAll(Csv(), 1, absl::string_view()).cells == Cells{""});
}

TEST_CASE("trim and missing") {
  DelimitedOptions options;
  options.trim = true;
  options.missing = "?";
  CHECK(ParseAll(options, 4, " a ,\t?,b ?, ").cells == Cells{"a", "", "b ?", ""});
  // Quotes protect blanks, not the missing text.
  CHECK(ParseAll(options, 4, " \" a \" ,\"?\",b,c").cells == Cells{" a ", "", "b", "c"});
  options.trim = false;
  CHECK(ParseAll(options, 3, " ?,?,a").cells == Cells{" ?", "", "a"});
  DelimitedOptions tabs;
  tabs.delimiter = '\t';
  tabs.trim = true;
  CHECK(ParseAll(tabs, 4, "\t \"x\"\t\t y").cells == Cells{"", "x", "", "y"});
}

TEST_CASE("without quotes a quote is a character") {
  DelimitedOptions options;
  options.quotes = false;
  options.delimiter = '\t';
  CHECK(ParseAll(options, 2, "\"a\tb\"").cells == Cells{"\"a", "b\""});
}

TEST_CASE("bad rows say what and where") {
  Result result = ParseAll(Csv(), 3, "a,b");
  CHECK_FALSE(result.ok);
  CHECK(result.error.column == 2);
  CHECK(result.error.message == "the row has 2 columns; 3 are expected");
  result = ParseAll(Csv(), 1, "a,b,c,d");
  CHECK_FALSE(result.ok);
  CHECK(result.error.message == "the row has 4 columns; 1 is expected");
  CHECK_FALSE(ParseAll(Csv(), 2, "\"a\",b,\"c\"").ok);
  result = ParseAll(Csv(), 3, "a,\"b,c");
  CHECK_FALSE(result.ok);
  CHECK(result.error.column == 2);
  CHECK(result.error.message ==
        "the quote that opens this cell is not closed on its line (a row must be one line)");
  CHECK_FALSE(ParseAll(Csv(), 3, "a,b,\"").ok);
  CHECK_FALSE(ParseAll(Csv(), 3, "a,b,\"c\"\"").ok);
  result = ParseAll(Csv(), 3, "\"a\"x,b,c");
  CHECK_FALSE(result.ok);
  CHECK(result.error.column == 1);
  CHECK(result.error.message == "text follows the closing quote: 'x,b,c'");
}

TEST_CASE("slots take the columns they ask for") {
  const auto parser = MakeDelimitedParser(Csv(), 4, {3, -1, 0, 0});
  RowCells cells;
  RowError error;
  for (const char* line : {"a,b,c,d", "\"a\",b,c,\"d\""}) {
    REQUIRE(parser->Parse(line, &cells, &error));
    CHECK(cells.text[0] == "d");
    CHECK(cells.text[1] == "");
    CHECK(cells.text[2] == "a");
    CHECK(cells.text[3] == "a");
    CHECK(cells.column == std::vector<int32_t>{4, 0, 1, 1});
  }
}

TEST_CASE("what a writer quotes, the parser reads back") {
  const RandomKey key{23};
  uint64_t counter = 0;
  const auto below = [&](uint64_t bound) { return RandomBelow(key, counter++, bound); };
  for (int round = 0; round < 3000; ++round) {
    const int num_columns = 1 + static_cast<int>(below(6));
    Cells cells;
    std::string line;
    for (int c = 0; c < num_columns; ++c) {
      std::string cell;
      const uint64_t size = below(3) == 0 ? below(40) : below(4);
      for (uint64_t i = 0; i < size; ++i) cell += "ab ,\"\t\xc3"[below(7)];
      bool quote = cell.find_first_of(",\"") != std::string::npos || below(4) == 0;
      std::string text = cell;
      if (quote) {
        text = "\"";
        for (const char ch : cell) text += ch == '"' ? std::string("\"\"") : std::string(1, ch);
        text += '"';
      }
      absl::StrAppend(&line, c > 0 ? "," : "", text);
      cells.push_back(cell);
    }
    CAPTURE(line);
    const Result result = ParseAll(Csv(), num_columns, line);
    REQUIRE(result.ok);
    CHECK(result.cells == cells);
    const auto split = SplitCells(line, Csv());
    REQUIRE(split.ok());
    CHECK(*split == cells);
  }
}

TEST_CASE("headers split like rows") {
  DelimitedOptions options;
  options.trim = true;
  CHECK(*SplitCells("a, \"b,1\" ,c", options) == Cells{"a", "b,1", "c"});
  CHECK(*SplitCells("", options) == Cells{""});
  CHECK(SplitCells("a,\"b", options).status().message() ==
        "2: the quote that opens this cell is not closed on its line (a row must be one line)");
}

TEST_CASE("cells in messages are short and printable") {
  CHECK(Quoted("x4") == "'x4'");
  CHECK(Quoted(std::string("a\0\n", 3)) == "'a\\x00\\n'");
  CHECK(Quoted(std::string(50, 'x')) == "'" + std::string(40, 'x') + "...'");
}

}  // namespace pagoda
