#include "worker/line_source.h"

#include <catch2/catch.hpp>

#include "base/random.h"
#include "tests/worker/data_files.h"

namespace pagoda {
namespace {

using testing::DataDir;
using testing::Gzip;

struct Row {
  std::string text;
  int32_t file = 0;
  int64_t line = 0;
  int64_t row = 0;
  bool too_long = false;
  LinePosition after;

  friend bool operator==(const Row&, const Row&) = default;
};

std::vector<Row> Rest(LineSource& source) {
  std::vector<Row> rows;
  Line line;
  for (;;) {
    const absl::StatusOr<bool> more = source.Next(&line);
    INFO(more.status());
    REQUIRE(more.ok());
    if (!*more) return rows;
    rows.push_back(Row{std::string(line.text), line.file, line.line, line.row, line.too_long,
                       source.position()});
  }
}

std::vector<Row> RowsOf(const std::vector<std::string>& files, const LineOptions& options = {}) {
  LineSource source(files, options);
  return Rest(source);
}

std::vector<std::string> Texts(const std::vector<Row>& rows) {
  std::vector<std::string> texts;
  for (const Row& row : rows) texts.push_back(row.text);
  return texts;
}

}  // namespace

TEST_CASE("lines end with LF or CRLF, the last one with nothing, and blank ones are no rows") {
  const DataDir dir;
  const std::string path = dir.Write("a", "one\r\n\n two\n\r\n   \nthree\r\nfour");
  const std::vector<Row> rows = RowsOf({path});
  CHECK(Texts(rows) == std::vector<std::string>{"one", " two", "three", "four"});
  CHECK(rows[0].line == 1);
  CHECK(rows[1].line == 3);
  CHECK(rows[2].line == 6);
  CHECK(rows[3].line == 7);
  for (int64_t i = 0; i < 4; ++i) CHECK(rows[static_cast<size_t>(i)].row == i);
  LineOptions strict;
  strict.spaces_are_blank = false;
  CHECK(RowsOf({path}, strict).size() == 5);
  CHECK(Texts(RowsOf({dir.Write("b", "x\n")})) == std::vector<std::string>{"x"});
  CHECK(Texts(RowsOf({dir.Write("c", "x\r\r\n\ty")})) == std::vector<std::string>{"x\r", "\ty"});
  CHECK(RowsOf({dir.Write("d", "\n\n\n")}).empty());
}

TEST_CASE("a byte order mark is dropped, UTF-16 is refused") {
  const DataDir dir;
  CHECK(Texts(RowsOf({dir.Write("a", "\xef\xbb\xbfx\ny")})) == std::vector<std::string>{"x", "y"});
  CHECK(RowsOf({dir.Write("b", "\xef\xbb\xbf")}).empty());
  const std::string wide = dir.Write("c", std::string("\xff\xfex\0\n\0", 6));
  LineSource source({wide}, {});
  Line line;
  CHECK(source.Next(&line).status().message() ==
        wide + ": the file is UTF-16; convert it to UTF-8");
}

TEST_CASE("skipped lines and the header are no rows, but count as lines") {
  const DataDir dir;
  LineOptions options;
  options.skip_lines = 2;
  options.header = true;
  const std::string path = dir.Write("a", "# about\n\n\n  \nname\nx\n");
  const std::vector<Row> rows = RowsOf({path}, options);
  REQUIRE(Texts(rows) == std::vector<std::string>{"x"});
  CHECK(rows[0].line == 6);
  CHECK(rows[0].row == 0);
  CHECK(*FirstLine(path, options) == "name");
  CHECK(RowsOf({dir.Write("b", "only one line")}, options).empty());
  CHECK(*FirstLine(dir.Path("b"), options) == "");
  CHECK(FirstLine(dir.Path("none"), options).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("reading continues at every position, over several files") {
  const DataDir dir;
  std::string longer;
  for (int i = 0; i < 30; ++i) longer += std::string(static_cast<size_t>(i), 'x') + "\r\n\n";
  const std::vector<std::string> files = {
      dir.Write("a", "\xef\xbb\xbfh\none\ntwo\n\n"), dir.Write("b", "h\n\n"),
      dir.Write("c", Gzip("h\n" + longer)), dir.Write("d", "h\nlast")};
  for (const int64_t stride : {1, 2}) {
    LineOptions options;
    options.header = true;
    options.file_stride = stride;
    options.first_file = stride - 1;
    const std::vector<Row> whole = RowsOf(files, options);
    LineSource source(files, options);
    REQUIRE(source.Seek(source.start()).ok());
    CHECK(Rest(source) == whole);
    for (size_t i = 0; i < whole.size(); ++i) {
      CAPTURE(stride, i);
      REQUIRE(source.Seek(whole[i].after).ok());
      CHECK(Rest(source) ==
            std::vector<Row>(whole.begin() + static_cast<int64_t>(i) + 1, whole.end()));
      CHECK(source.disk_position() == source.disk_size());
    }
    REQUIRE(source.Seek(source.position()).ok());  // The very end.
    CHECK(Rest(source).empty());
  }
}

TEST_CASE("a position in a file that the source does not have is refused") {
  const DataDir dir;
  LineSource source({dir.Write("a", "x"), dir.Write("b", "x")}, {});
  CHECK(source.Seek({3, 0, 0, 0}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(source.Seek({-1, 0, 0, 0}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(source.Seek({0, -1, 0, 0}).code() == absl::StatusCode::kInvalidArgument);
  LineOptions second;
  second.first_file = 1;
  second.file_stride = 2;
  LineSource strided({dir.Path("a"), dir.Path("b")}, second);
  CHECK(strided.Seek({0, 0, 0, 0}).code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(source.Seek({0, 100, 1, 1}).ok());
  Line line;
  CHECK(source.Next(&line).status().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("lines of any length cross the buffer's ends whole") {
  const DataDir dir;
  const RandomKey key{3};
  std::string text;
  std::vector<std::string> expected;
  for (uint64_t i = 0; i < 400; ++i) {
    const uint64_t size = RandomBelow(key, i, i % 50 == 0 ? 700000 : 3000);
    expected.push_back("r" + std::string(size, static_cast<char>('a' + i % 26)));
    text += expected.back() + (i % 3 == 0 ? "\r\n" : "\n");
  }
  for (const std::string& path : {dir.Write("a", text), dir.Write("b", Gzip(text))}) {
    CHECK(Texts(RowsOf({path})) == expected);
  }
}

TEST_CASE("a line that is too long is one bad row, and the next is whole") {
  const DataDir dir;
  const size_t max = static_cast<size_t>(kLineBytesMax);
  const std::string text = "a\n" + std::string(max, 'b') + "\n" + std::string(max + 1, 'c') + "\n" +
                           std::string(5 * max, 'd') + "\r\ne\n" + std::string(2 * max, 'f');
  const std::vector<Row> rows = RowsOf({dir.Write("a", text)});
  REQUIRE(rows.size() == 6);
  CHECK_FALSE(rows[1].too_long);
  CHECK(rows[1].text.size() == max);
  CHECK(rows[2].too_long);
  CHECK(rows[2].text == std::string(64, 'c'));
  CHECK(rows[3].too_long);
  CHECK(rows[3].line == 4);
  CHECK(rows[4].text == "e");
  CHECK_FALSE(rows[4].too_long);
  CHECK(rows[5].too_long);
  CHECK(rows[5].after.line == 6);
  LineSource source({dir.Path("a")}, {});
  REQUIRE(source.Seek(rows[3].after).ok());
  CHECK(Texts(Rest(source))[0] == "e");
}

}  // namespace pagoda
