#include "worker/criteo_format.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "tests/worker/data_files.h"
#include "worker/batch_reader.h"

namespace pagoda {
namespace {

FeatureSchema CriteoSchema() {
  FeatureSchema schema;
  schema.label = "label";
  for (const std::string& column : CriteoColumns(false)) {
    schema.features.emplace_back();
    schema.features.back().name = column;
    schema.features.back().kind =
        column[0] == 'I' ? FeatureKind::kNumeric : FeatureKind::kCategorical;
  }
  return schema;
}

// Two rows of the published sample, and one whose cells are all empty.
constexpr char kLog[] =
    "0\t1\t1\t5\t0\t1382\t4\t15\t2\t181\t1\t2\t\t2\t68fd1e64\t80e26c9b\tfb936136\t7b4723c4\t25c83c9"
    "8\t"
    "7e0ccccf\tde7995b8\t1f89b562\ta73ee510\ta8cd5504\tb2cb9c98\t37c9c164\t2824a5f6\t1adce6ef\t8ba8"
    "b39a\t"
    "891b62e7\te5ba7672\tf54016b9\t21ddcdc9\tb1252a9d\t07b5194c\t\t3a171ecb\tc5c50484\te8b83407\t97"
    "27dd16\n"
    "1\t-1\t\t\t\t\t\t\t\t\t\t\t\t3\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\tabc\"\n"
    "0\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\n";

}  // namespace

TEST_CASE("a criteo log reads as 13 numbers and 26 hashed categories") {
  const testing::DataDir dir;
  ReaderOptions options;
  options.data.files = {dir.Write("log.gz", testing::Gzip(kLog))};
  options.data.format = "criteo";
  options.schema = CriteoSchema();
  options.batch_size = 10;
  auto reader = BatchReader::Open(options);
  INFO(reader.status());
  REQUIRE(reader.ok());
  const auto next = (*reader)->Next();
  INFO(next.status());
  REQUIRE(next.ok());
  const Batch& batch = **next;
  REQUIRE(batch.size == 3);
  CHECK(batch.labels == std::vector<float>{0.0f, 1.0f, 0.0f});
  REQUIRE(batch.dense.size() == 39);
  CHECK(batch.dense[4] == 1382.0f);
  CHECK(batch.dense[11] == 0.0f);  // I12 is empty.
  CHECK(batch.dense[13] == -1.0f);
  CHECK(batch.dense[25] == 3.0f);
  REQUIRE(batch.sparse.size() == 26);
  CHECK(batch.sparse[0].ids[0] == HashFeature("C1", "68fd1e64"));
  CHECK(batch.sparse[21].ids[0] == HashFeature("C22", ""));
  CHECK(batch.sparse[25].ids[1] == HashFeature("C26", "abc\""));  // No quotes in this format.
  CHECK(batch.sparse[25].offsets == std::vector<int32_t>{0, 1, 2, 3});
  CHECK(batch.origins[2].line == 3);
}

TEST_CASE("a criteo file without labels is for prediction only") {
  const testing::DataDir dir;
  const std::string log(kLog, sizeof(kLog) - 1);
  const std::string path = dir.Write("test.txt", log.substr(2, log.find('\n') - 1));
  ReaderOptions options;
  options.data.files = {path};
  options.data.format = "criteo";
  options.schema = CriteoSchema();
  options.batch_size = 10;
  auto reader = BatchReader::Open(options);
  REQUIRE(reader.ok());
  CHECK((*reader)->Next().status().message() ==
        absl::StrCat(path, ":1:39: the row has 39 columns; 40 are expected"));
  options.needs_labels = false;
  reader = BatchReader::Open(options);
  REQUIRE(reader.ok());
  const auto next = (*reader)->Next();
  INFO(next.status());
  REQUIRE(next.ok());
  CHECK((*next)->size == 1);
  CHECK((*next)->sparse[0].ids[0] == HashFeature("C1", "68fd1e64"));
}

}  // namespace pagoda
