// What the reader says about bad rows, bad files and bad options, and that it keeps
// its count.
#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "tests/worker/reader_rows.h"
#include "worker/batch_reader.h"

namespace pagoda {
namespace {

using testing::DataDir;
using testing::FileText;
using testing::Gzip;
using testing::OptionsFor;
using testing::ReadAllBatches;
using testing::RowText;
using testing::Seen;

}  // namespace

TEST_CASE("a bad row fails with file, line and column, after the batches before it") {
  const DataDir dir;
  std::string text = FileText(0, 100);
  const size_t at = text.find(RowText(64));
  text.replace(at, RowText(64).size(), "64,nan,0,g4");
  const std::string path = dir.Write("a.csv", text);
  ReaderOptions options = OptionsFor({path}, 10);
  for (const int threads : {1, 2, 8}) {
    options.num_parse_threads = threads;
    const auto reader = testing::Open(options);
    for (int i = 0; i < 6; ++i) REQUIRE(reader->Next().ok());
    const absl::Status error = reader->Next().status();
    CHECK(error.code() == absl::StatusCode::kInvalidArgument);
    CHECK(error.message() == absl::StrCat(path, ":66:2: field 'x' is not finite: 'nan'"));
    CHECK(reader->Next().status() == error);
    CHECK(reader->position().global_sample == 60);
  }
}

TEST_CASE("skipped rows are counted, keep their place, and have a limit") {
  const DataDir dir;
  std::string text = "id,x,y,g\n";
  for (int64_t i = 0; i < 60; ++i) {
    text += i % 10 == 3 ? absl::StrCat(i, ",x4,0,g\n") : RowText(i) + "\n";
  }
  const std::string path = dir.Write("a.csv", text);
  ReaderOptions options = OptionsFor({path}, 20);
  options.data.on_bad_row = "skip";
  options.data.bad_rows_max = 6;
  const auto reader = testing::Open(options);
  const std::vector<Seen> got = ReadAllBatches(*reader);
  REQUIRE(got.size() == 3);
  CHECK(reader->bad_rows() == 6);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(got[i].rows.size() == 18);
    CHECK(got[i].first_sample == 20 * i);
    CHECK(got[i].after.bad_rows == static_cast<int64_t>(2 * (i + 1)));
  }
  // The count goes on where it stood.
  const auto resumed = testing::Open(options, got[1].after);
  CHECK(resumed->bad_rows() == 4);
  CHECK(ReadAllBatches(*resumed).size() == 1);
  CHECK(resumed->bad_rows() == 6);

  options.data.bad_rows_max = 5;
  const auto limited = testing::Open(options);
  REQUIRE(limited->Next().ok());
  REQUIRE(limited->Next().ok());
  CHECK(limited->Next().status().message() ==
        absl::StrCat(path,
                     ":55:2: field 'x' is not a number: 'x4' (and it is one more than "
                     "bad_rows_max = 5 bad rows)"));
}

TEST_CASE("a truncated gzip file is DATA_LOSS, after the batches before it") {
  const DataDir dir;
  const std::string whole = Gzip(FileText(0, 20000));
  const std::string path = dir.Write("a.csv.gz", whole.substr(0, whole.size() / 2));
  const auto reader = testing::Open(OptionsFor({path}, 1024));
  int64_t batches = 0;
  absl::Status error;
  for (;; ++batches) {
    const auto batch = reader->Next();
    if (!batch.ok()) {
      error = batch.status();
      break;
    }
    REQUIRE(batch->has_value());
  }
  CHECK(batches > 5);
  CHECK(error.code() == absl::StatusCode::kDataLoss);
  CHECK_THAT(std::string(error.message()),
             Catch::StartsWith(path + ": the compressed file is truncated"));
}

TEST_CASE("what is wrong at opening is said in a sentence") {
  const DataDir dir;
  const std::string good = dir.Write("good.csv", FileText(0, 3));
  const auto message = [](const ReaderOptions& options, const ReaderPosition& start = {}) {
    return std::string(BatchReader::Open(options, start).status().message());
  };
  CHECK(message(OptionsFor({}, 1)) == "no data files are given");
  const std::string gone = dir.Path("gone.csv");
  CHECK(message(OptionsFor({gone}, 1)) == gone + ": no such file");
  CHECK(BatchReader::Open(OptionsFor({gone}, 1)).status().code() == absl::StatusCode::kNotFound);
  const std::string pattern = dir.Path("*.tsv");
  CHECK(message(OptionsFor({pattern}, 1)) == pattern + ": no file matches this pattern");
  const std::string empty = dir.Write("empty.csv", "");
  CHECK(message(OptionsFor({good, empty}, 1)) == empty + ": the file is empty");
  const std::string other = dir.Write("other.csv", "id,x,z,g\n1,1,1,g\n");
  CHECK(message(OptionsFor({good, other}, 1)) ==
        other + ": column 3 of the header is 'z', but 'y' in " + good);
  const std::string twice = dir.Write("twice.csv", "id,x,y,id\n1,1,1,1\n");
  CHECK(message(OptionsFor({twice}, 1)) == twice + ": column 'id' appears twice");

  ReaderOptions options = OptionsFor({good}, 1);
  options.schema.features[1].name = "xx";
  CHECK_THAT(message(options), Catch::StartsWith(good + ": there is no column 'xx', which feature "
                                                        "'xx' reads"));
  options.absent_columns_empty = true;
  CHECK(BatchReader::Open(options).ok());

  options = OptionsFor({good}, 0);
  CHECK(message(options) == "batch_size must be at least 1");
  options = OptionsFor({good}, 1);
  options.rank = 1;
  CHECK(message(options) == "rank 1 is not one of 1 workers");
  options = OptionsFor({good}, 1);
  options.data.split_begin = 0.9;
  options.data.split_end = 0.1;
  CHECK_THAT(message(options), Catch::StartsWith("split must be two numbers"));
  options = OptionsFor({good}, 1);
  options.data.on_bad_row = "ignore";
  CHECK(message(options) == "on_bad_row must be fail or skip, not 'ignore'");
  options = OptionsFor({good}, 1);
  options.data.format = "cvs";
  CHECK(message(options) ==
        "unknown data format 'cvs'; did you mean 'csv'? (csv, tsv, criteo, libsvm, libffm)");
  ReaderPosition elsewhere;
  elsewhere.window = 1;
  elsewhere.window_file = 7;
  CHECK_THAT(message(OptionsFor({good}, 1), elsewhere),
             Catch::StartsWith("the data position names file 7"));
}

TEST_CASE("data without rows is an error, not an endless wait") {
  const DataDir dir;
  const std::string path = dir.Write("a.csv", "id,x,y,g\n\n\r\n");
  ReaderOptions options = OptionsFor({path}, 4);
  options.epochs = 5;
  CHECK(testing::Open(options)->Next().status().message() == path + ": the data has no rows");
  const std::string one = dir.Write("b.csv", FileText(0, 1));
  options = OptionsFor({path, one}, 4);
  CHECK(ReadAllBatches(options).size() == 1);
  options.epochs = 0;
  CHECK(ReadAllBatches(options).empty());
}

TEST_CASE("prediction reads files without label, weight and group") {
  const DataDir dir;
  const std::string path = dir.Write("a.csv", "x,id\n1.5,7\n,8\n");
  ReaderOptions options = OptionsFor({path}, 4);
  options.schema.weight = "w";
  options.needs_labels = false;
  const auto reader = testing::Open(options);
  const auto next = reader->Next();
  REQUIRE(next.ok());
  const Batch& batch = **next;
  CHECK(batch.size == 2);
  CHECK(batch.labels == std::vector<float>{0.0f, 0.0f});
  CHECK(batch.weights == std::vector<float>{1.0f, 1.0f});
  CHECK(batch.groups.empty());
  CHECK(batch.dense == std::vector<float>{1.5f, 0.0f});
  CHECK(batch.sparse[0].ids == std::vector<FeatureId>{7, 8});
  CHECK(batch.origins[1].line == 3);
  options.needs_labels = true;
  CHECK_THAT(std::string(BatchReader::Open(options).status().message()),
             Catch::Contains("there is no column 'y', which the label reads"));
}

}  // namespace pagoda
