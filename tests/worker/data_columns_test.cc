#include "worker/data_columns.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/worker/data_files.h"
#include "worker/criteo_format.h"

namespace pagoda {
namespace {

using testing::DataDir;

FeatureSchema SchemaOf(const std::vector<std::string>& columns) {
  FeatureSchema schema;
  for (const std::string& column : columns) {
    schema.features.emplace_back();
    schema.features.back().name = column;
  }
  schema.label = "label";
  return schema;
}

std::string ErrorOf(const DataOptions& data, const std::vector<std::string>& files,
                    const std::vector<std::string>& columns = {},
                    const ColumnRequirements& requirements = {}) {
  return std::string(BindColumns(data, files, SchemaOf(columns), requirements).status().message());
}

}  // namespace

TEST_CASE("columns come from the header, whatever their order") {
  const DataDir dir;
  const std::string path = dir.Write("a.csv", "\xef\xbb\xbf b , \"a,1\",label\r\n2,1,0\n");
  DataOptions data;
  CHECK(*ReadColumnNames(data, {path}, true) == std::vector<std::string>{"b", "a,1", "label"});
  FeatureSchema schema = SchemaOf({"a,1", "b", "again"});
  schema.features[2].column = "b";  // Two features of one column.
  const auto columns = BindColumns(data, {path}, schema, {});
  INFO(columns.status());
  REQUIRE(columns.ok());
  RowCells cells;
  RowError error;
  REQUIRE(columns->parser->Parse("2,1,0", &cells, &error));
  const ColumnSlots& slots = columns->slots;
  CHECK(cells.text[static_cast<size_t>(slots.feature[0])] == "1");
  CHECK(cells.text[static_cast<size_t>(slots.feature[1])] == "2");
  CHECK(slots.feature[1] == slots.feature[2]);
  CHECK(cells.text[static_cast<size_t>(slots.label)] == "0");
  CHECK(slots.weight == -1);
  CHECK(slots.group == -1);
}

TEST_CASE("declared columns, with and without a header line") {
  const DataDir dir;
  const std::string bare = dir.Write("bare.csv", "1,2\n");
  const std::string headed = dir.Write("headed.csv", "x,y\n1,2\n");
  DataOptions data;
  data.header = false;
  CHECK(ErrorOf(data, {bare}) ==
        bare + ": header = false needs the names of the columns (columns = [...])");
  data.columns = {"a", "label"};
  CHECK(ErrorOf(data, {bare}, {"a"}) == "");
  CHECK_FALSE(LineOptionsOf(data).header);
  data.header = true;
  CHECK(ErrorOf(data, {headed}, {"a"}) == "");  // The names replace those of the header.
  CHECK(LineOptionsOf(data).header);
  data.columns = {"a", "b", "label"};
  CHECK(ErrorOf(data, {headed}) ==
        headed + ": the header has 2 columns, but columns = [...] names 3");
  data.header = false;
  data.columns = {"a", "a"};
  CHECK(ErrorOf(data, {bare}) == "columns: column 'a' appears twice");
}

TEST_CASE("headers are checked") {
  const DataDir dir;
  const std::string first = dir.Write("1.csv", "a,b,label\n");
  DataOptions data;
  const std::string fewer = dir.Write("2.csv", "a,b\n");
  CHECK(ErrorOf(data, {first, fewer}) == fewer + ": the header has 2 columns, but 3 in " + first);
  const std::string swapped = dir.Write("3.csv", "b,a,label\n");
  CHECK(ErrorOf(data, {first, swapped}) ==
        swapped + ": column 1 of the header is 'b', but 'a' in " + first);
  const std::string twice = dir.Write("4.csv", "a,a\n");
  CHECK(ErrorOf(data, {twice}) == twice + ": column 'a' appears twice");
  const std::string unnamed = dir.Write("5.csv", "a,,label\n");
  CHECK(ErrorOf(data, {unnamed}) == unnamed + ": column 2 has no name");
  const std::string open = dir.Write("6.csv", "a,\"b\n");
  CHECK_THAT(ErrorOf(data, {open}), Catch::StartsWith(open + ":header: 2: the quote"));
  const std::string blank = dir.Write("7.csv", "\n\n");
  CHECK(ErrorOf(data, {blank}) ==
        blank + ": the file has no header (nothing is left after 0 lines)");
}

TEST_CASE("an absent column is named with the nearest, and with who reads it") {
  const DataDir dir;
  const std::string path = dir.Write("a.csv", "age,label\n");
  DataOptions data;
  CHECK(ErrorOf(data, {path}, {"agee"}) ==
        path + ": there is no column 'agee', which feature 'agee' reads; did you mean 'age'?");
  CHECK(ErrorOf(data, {path}, {"qqqqqqqq"}) ==
        path + ": there is no column 'qqqqqqqq', which feature 'qqqqqqqq' reads");
  CHECK(ErrorOf(data, {path}, {"agee"}, {.needs_labels = true, .absent_columns_empty = true}) ==
        "");
  const std::string unlabelled = dir.Write("b.csv", "age\n");
  CHECK(ErrorOf(data, {unlabelled}, {"age"}) ==
        unlabelled + ": there is no column 'label', which the label reads");
  const auto columns = BindColumns(data, {unlabelled}, SchemaOf({"age", "sex"}),
                                   {.needs_labels = false, .absent_columns_empty = true});
  REQUIRE(columns.ok());
  CHECK(columns->slots.label == -1);
  CHECK(columns->slots.feature[0] >= 0);
  CHECK(columns->slots.feature[1] == -1);
  // A feature that reads the label's column needs it.
  CHECK(ErrorOf(data, {unlabelled}, {"label"}, {.needs_labels = false}) ==
        unlabelled + ": there is no column 'label', which feature 'label' reads");
}

TEST_CASE("criteo has 40 columns, or 39 without labels") {
  const std::vector<std::string> names = CriteoColumns(true);
  CHECK(names.size() == 40);
  CHECK(names[0] == "label");
  CHECK(names[1] == "I1");
  CHECK(names[13] == "I13");
  CHECK(names[14] == "C1");
  CHECK(names[39] == "C26");
  const DataDir dir;
  std::vector<std::string> cells(40, "1");
  const std::string labelled = dir.Write("train.txt", absl::StrJoin(cells, "\t") + "\n");
  cells.pop_back();
  const std::string unlabelled = dir.Write("test.txt", absl::StrJoin(cells, "\t") + "\n");
  DataOptions data;
  data.format = "criteo";  // data.header is true by default, and not for this format.
  CHECK(ReadColumnNames(data, {labelled}, true)->size() == 40);
  CHECK(ReadColumnNames(data, {labelled}, false)->size() == 40);
  CHECK(ReadColumnNames(data, {unlabelled}, true)->size() == 40);  // Its rows are then bad.
  CHECK(ReadColumnNames(data, {unlabelled}, false)->size() == 39);
  CHECK_FALSE(LineOptionsOf(data).header);
  data.columns = {"a"};
  CHECK(ErrorOf(data, {labelled}) ==
        "columns = [...] names 1 columns, but this criteo data has 40");
}

TEST_CASE("sparse formats name their columns themselves") {
  const DataDir dir;
  const std::string path = dir.Write("a.svm", "1 3:1\n");
  DataOptions data;
  data.format = "libsvm";
  CHECK(ErrorOf(data, {path}, {"features", "f3"}) == "");
  CHECK_THAT(ErrorOf(data, {path}, {"age"}), Catch::EndsWith("not 'age'"));
  data.columns = {"a"};
  CHECK(ErrorOf(data, {path}, {"features"}) ==
        "columns = [...] is for csv, tsv and criteo; libsvm names its columns itself");
  data.columns.clear();
  data.format = "libffm";
  CHECK(ErrorOf(data, {path}, {"field3"}) == "");
  CHECK(ErrorOf(data, {dir.Path("gone")}, {"field3"}) == dir.Path("gone") + ": no such file");
}

TEST_CASE("the delimiter is one byte") {
  const DataDir dir;
  const std::string path = dir.Write("a.csv", "a;label\n1;0\n");
  DataOptions data;
  data.delimiter = ";";
  CHECK(ErrorOf(data, {path}, {"a"}) == "");
  data.delimiter = "::";
  CHECK(ErrorOf(data, {path}) ==
        "delimiter must be one byte that is not a quote or a line end, not '::'");
  data.delimiter = "\"";
  CHECK_THAT(ErrorOf(data, {path}), Catch::StartsWith("delimiter must be one byte"));
  data.format = "criteo";
  data.delimiter = ",";
  CHECK(ErrorOf(data, {path}) == "delimiter is for csv and tsv; criteo has its own");
}

}  // namespace pagoda
