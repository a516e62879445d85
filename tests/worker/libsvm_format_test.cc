#include "worker/libsvm_format.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

struct Result {
  bool ok = false;
  std::vector<std::string> cells;
  std::vector<int32_t> columns;
  RowError error;
};

Result Parse(bool fields, const std::vector<std::string>& slots, absl::string_view line) {
  auto parser = fields ? MakeLibffmParser(slots) : MakeLibsvmParser(slots);
  INFO(parser.status());
  REQUIRE(parser.ok());
  RowCells cells;
  Result result;
  result.ok = (*parser)->Parse(line, &cells, &result.error);
  for (const absl::string_view text : cells.text) result.cells.emplace_back(text);
  result.columns = cells.column;
  return result;
}

using Cells = std::vector<std::string>;

}  // namespace

TEST_CASE("libsvm: the list of present indices, and values by index") {
  const std::vector<std::string> slots = {"label", "features", "f3", "f7", "qid"};
  Result result = Parse(false, slots, "1 qid:9 3:0.5 4:0 5:-1e-3 12:1 # a comment 7:1");
  REQUIRE(result.ok);
  CHECK(result.cells == Cells{"1", "3 5 12", "0.5", "", "9"});
  CHECK(result.columns == std::vector<int32_t>{1, 2, 3, 0, 2});
  result = Parse(false, slots, "  -1\t7:0  ");
  REQUIRE(result.ok);
  CHECK(result.cells == Cells{"-1", "", "", "0", ""});
  CHECK(Parse(false, slots, "0").cells == Cells{"0", "", "", "", ""});
  CHECK(Parse(false, {"features", ""}, "0 1:1 1:1").cells == Cells{"1 1", ""});
}

TEST_CASE("libffm: one list per field, gathered from anywhere in the row") {
  const std::vector<std::string> slots = {"field2", "label", "field0", "field9"};
  const Result result = Parse(true, slots, "1 0:10:1 2:20:1 0:11:0.5 2:21:0 1:30:1");
  REQUIRE(result.ok);
  CHECK(result.cells == Cells{"20", "1", "10 11", ""});
  CHECK(result.columns == std::vector<int32_t>{3, 1, 2, 0});
}

TEST_CASE("entries of another form are bad, at their place") {
  const struct {
    bool fields;
    const char* line;
    int64_t column;
    const char* message;
  } kCases[] = {
      {false, "3:1 4:1", 1, "the row does not begin with a label"},
      {false, "# nothing", 1, "the row does not begin with a label"},
      {false, "1 3:1 x", 3, "'x' is not of the form index:value"},
      {false, "1 3", 2, "'3' is not of the form index:value"},
      {false, "1 a:1", 2,
       "'a:1' is not of the form index:value (an unsigned integer and a finite number)"},
      {false, "1 3:nan", 2,
       "'3:nan' is not of the form index:value (an unsigned integer and a finite number)"},
      {false, "1 3:1 -4:1", 3,
       "'-4:1' is not of the form index:value (an unsigned integer and a finite number)"},
      {false, "1 5:1 5:2", 3, "index 5 is given twice"},
      {true, "1 0:3", 2, "'0:3' is not of the form field:index:value"},
      {true, "1 0:1:1 0:x:1", 3,
       "'0:x:1' is not of the form field:index:value (two unsigned integers and a finite number)"},
      {true, "1 0:1:inf", 2,
       "'0:1:inf' is not of the form field:index:value (two unsigned integers and a finite "
       "number)"},
  };
  for (const auto& c : kCases) {
    CAPTURE(c.line);
    const Result result = Parse(c.fields, {c.fields ? "field0" : "f5"}, c.line);
    CHECK_FALSE(result.ok);
    CHECK(result.error.column == c.column);
    CHECK(result.error.message == c.message);
  }
}

TEST_CASE("columns that the formats do not have are refused") {
  CHECK(MakeLibsvmParser({"age"}).status().message() ==
        "libsvm data has the columns label, qid, features and f0, f1, ...; not 'age'");
  CHECK(MakeLibffmParser({"features"}).status().message() ==
        "libffm data has the columns label and field0, field1, ...; not 'features'");
  CHECK_FALSE(MakeLibsvmParser({"f01"}).ok());  // f1 has one name.
  CHECK_FALSE(MakeLibsvmParser({"f"}).ok());
  CHECK(IsListColumn("features"));
  CHECK(IsListColumn("field12"));
  CHECK_FALSE(IsListColumn("f12"));
  CHECK_FALSE(IsListColumn("fieldx"));
}

}  // namespace pagoda
