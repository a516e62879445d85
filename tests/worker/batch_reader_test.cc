// The reader against a plain reimplementation: order, sharding, resuming, threads,
// compression, bad rows.
#include "worker/batch_reader.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/random.h"
#include "tests/worker/data_files.h"

namespace pagoda {
namespace {

using testing::DataDir;
using testing::Gzip;
using testing::Zstd;

// Row i of every generated file has this in its columns, so that a batch tells which
// rows it holds: id is the row's number over all files.
std::string RowText(int64_t i) {
  return absl::StrCat(i, ",", i % 7, ",", i % 2, ",g", i % 5);
}

std::string FileText(int64_t begin, int64_t end, bool header = true) {
  std::string text = header ? "id,x,y,g\n" : "";
  for (int64_t i = begin; i < end; ++i) text += RowText(i) + "\n";
  return text;
}

FeatureSchema IdSchema() {
  FeatureSchema schema;
  schema.features.resize(2);
  schema.features[0].name = "id";
  schema.features[0].kind = FeatureKind::kId;
  schema.features[1].name = "x";
  schema.features[1].kind = FeatureKind::kNumeric;
  schema.label = "y";
  schema.group = "g";
  return schema;
}

ReaderOptions OptionsFor(std::vector<std::string> files, int64_t batch_size) {
  ReaderOptions options;
  options.data.files = std::move(files);
  options.schema = IdSchema();
  options.batch_size = batch_size;
  return options;
}

std::unique_ptr<BatchReader> Open(const ReaderOptions& options, const ReaderPosition& start = {}) {
  absl::StatusOr<std::unique_ptr<BatchReader>> reader = BatchReader::Open(options, start);
  INFO(reader.status());
  REQUIRE(reader.ok());
  return std::move(*reader);
}

struct Seen {
  std::vector<int64_t> rows;
  uint64_t first_sample = 0;
  ReaderPosition after;
  friend bool operator==(const Seen& a, const Seen& b) {
    return a.rows == b.rows && a.first_sample == b.first_sample;
  }
};

std::vector<int64_t> RowsOf(const Batch& batch) {
  std::vector<int64_t> rows;
  REQUIRE(batch.sparse.size() == 1);
  REQUIRE(static_cast<int64_t>(batch.labels.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.weights.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.groups.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.origins.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.dense.size()) == batch.size);
  REQUIRE(static_cast<int64_t>(batch.sparse[0].offsets.size()) == batch.size + 1);
  for (size_t i = 0; i < static_cast<size_t>(batch.size); ++i) {
    const int64_t row = static_cast<int64_t>(batch.sparse[0].ids[i]);
    CHECK(batch.sparse[0].offsets[i + 1] == static_cast<int32_t>(i + 1));
    CHECK(batch.dense[i] == static_cast<float>(row % 7));
    CHECK(batch.labels[i] == static_cast<float>(row % 2));
    CHECK(batch.weights[i] == 1.0f);
    CHECK(batch.groups[i] == HashFeature("g", absl::StrCat("g", row % 5)));
    rows.push_back(row);
  }
  return rows;
}

std::vector<Seen> ReadAllBatches(BatchReader& reader) {
  std::vector<Seen> all;
  for (;;) {
    absl::StatusOr<std::optional<Batch>> batch = reader.Next();
    INFO(batch.status());
    REQUIRE(batch.ok());
    if (!batch->has_value()) return all;
    all.push_back(Seen{RowsOf(**batch), (*batch)->first_sample, reader.position()});
  }
}

std::vector<Seen> ReadAllBatches(const ReaderOptions& options, const ReaderPosition& start = {}) {
  return ReadAllBatches(*Open(options, start));
}

// The same order, the slow and obvious way. `files` holds the row numbers of each file.
std::vector<std::vector<int64_t>> Oracle(const std::vector<std::vector<int64_t>>& files,
                                         const ReaderOptions& options) {
  std::vector<std::vector<int64_t>> batches;
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    std::vector<int64_t> rows;
    for (size_t f = 0; f < files.size(); ++f) {
      for (size_t r = 0; r < files[f].size(); ++r) {
        const RandomKey key = RandomKey{options.data.split_seed}.Derive(f);
        const double point = static_cast<double>(RandomBits(key, r) >> 11) / 9007199254740992.0;
        if (point >= options.data.split_begin && point < options.data.split_end) {
          rows.push_back(files[f][r]);
        }
      }
    }
    const size_t window = static_cast<size_t>(options.data.shuffle_rows);
    for (size_t w = 0; window > 0 && w * window < rows.size(); ++w) {
      const size_t begin = w * window;
      const size_t size = std::min(window, rows.size() - begin);
      const RandomKey key =
          RandomKey{options.data.seed}.Derive(static_cast<uint64_t>(epoch)).Derive(w);
      for (size_t i = size; i > 1; --i) {
        std::swap(rows[begin + i - 1], rows[begin + RandomBelow(key, i, i)]);
      }
    }
    const size_t size = static_cast<size_t>(options.batch_size);
    for (size_t b = 0; b < rows.size(); b += size) {
      const size_t end = std::min(rows.size(), b + size);
      if (end - b < size && options.drop_last) break;
      batches.emplace_back(rows.begin() + static_cast<int64_t>(b),
                           rows.begin() + static_cast<int64_t>(end));
    }
  }
  return batches;
}

std::vector<int64_t> Range(int64_t begin, int64_t end) {
  std::vector<int64_t> rows;
  for (int64_t i = begin; i < end; ++i) rows.push_back(i);
  return rows;
}

// Three files of 50, 1 and 42 rows.
struct ThreeFiles {
  DataDir dir;
  std::vector<std::string> paths = {dir.Write("a.csv", FileText(0, 50)),
                                    dir.Write("b.csv.gz", Gzip(FileText(50, 51))),
                                    dir.Write("c.csv.zst", Zstd(FileText(51, 93)))};
  std::vector<std::vector<int64_t>> rows = {Range(0, 50), Range(50, 51), Range(51, 93)};
};

}  // namespace

TEST_CASE("one worker reads the batches of the oracle") {
  const ThreeFiles files;
  for (const int64_t batch_size : {1, 7, 31, 93, 200}) {
    for (const int64_t shuffle : {0, 1, 13, 31, 93, 1000}) {
      for (const bool drop_last : {false, true}) {
        CAPTURE(batch_size, shuffle, drop_last);
        ReaderOptions options = OptionsFor(files.paths, batch_size);
        options.data.shuffle_rows = shuffle;
        options.drop_last = drop_last;
        options.epochs = 2;
        const auto expected = Oracle(files.rows, options);
        const std::vector<Seen> got = ReadAllBatches(options);
        REQUIRE(got.size() == expected.size());
        uint64_t first = 0;
        for (size_t i = 0; i < got.size(); ++i) {
          CHECK(got[i].rows == expected[i]);
          CHECK(got[i].first_sample == first);
          first += expected[i].size();
          CHECK(got[i].after.global_sample == first);
        }
      }
    }
  }
}

TEST_CASE("epochs and seeds shuffle differently, and every row comes once an epoch") {
  const ThreeFiles files;
  ReaderOptions options = OptionsFor(files.paths, 93);
  options.data.shuffle_rows = 93;
  options.epochs = 3;
  const std::vector<Seen> got = ReadAllBatches(options);
  REQUIRE(got.size() == 3);
  for (const Seen& epoch : got) {
    const std::set<int64_t> distinct(epoch.rows.begin(), epoch.rows.end());
    CHECK(distinct.size() == 93);
  }
  CHECK(got[0].rows != got[1].rows);
  CHECK(got[1].rows != got[2].rows);
  options.data.seed = 2;
  CHECK(ReadAllBatches(options)[0].rows != got[0].rows);
}

TEST_CASE("the workers' slices make up each global batch") {
  const ThreeFiles files;
  for (const int num_workers : {1, 2, 3}) {
    for (const int64_t batch_size : {1, 2, 10, 40}) {
      CAPTURE(num_workers, batch_size);
      ReaderOptions options = OptionsFor(files.paths, batch_size);
      options.data.shuffle_rows = 37;
      options.num_workers = num_workers;
      options.epochs = 2;
      const auto expected = Oracle(files.rows, options);
      std::vector<std::vector<int64_t>> joined(expected.size());
      std::vector<uint64_t> next(expected.size());
      for (int rank = 0; rank < num_workers; ++rank) {
        options.rank = rank;
        const std::vector<Seen> got = ReadAllBatches(options);
        REQUIRE(got.size() == expected.size());  // All workers step together.
        for (size_t i = 0; i < got.size(); ++i) {
          const int64_t n = static_cast<int64_t>(expected[i].size());
          CHECK(static_cast<int64_t>(got[i].rows.size()) ==
                n * (rank + 1) / num_workers - n * rank / num_workers);
          if (rank == 0) next[i] = got[i].first_sample;
          CHECK(got[i].first_sample == next[i]);
          next[i] += got[i].rows.size();
          joined[i].insert(joined[i].end(), got[i].rows.begin(), got[i].rows.end());
        }
      }
      CHECK(joined == expected);
    }
  }
}

TEST_CASE("round robin hands whole batches to the workers in turn") {
  const ThreeFiles files;
  ReaderOptions options = OptionsFor(files.paths, 10);
  options.round_robin_batches = true;
  options.num_workers = 3;
  options.epochs = 2;
  const auto expected = Oracle(files.rows, options);
  std::map<uint64_t, std::vector<int64_t>> joined;
  for (options.rank = 0; options.rank < 3; ++options.rank) {
    const std::vector<Seen> got = ReadAllBatches(options);
    for (size_t i = 0; i < got.size(); ++i) {
      CHECK(joined.emplace(got[i].first_sample, got[i].rows).second);
      // Resuming keeps the turns.
      const std::vector<Seen> rest = ReadAllBatches(options, got[i].after);
      CHECK(std::equal(rest.begin(), rest.end(), got.begin() + static_cast<int64_t>(i) + 1,
                       got.end()));
    }
  }
  std::vector<std::vector<int64_t>> in_order;
  for (const auto& [first, rows] : joined) in_order.push_back(rows);
  CHECK(in_order == expected);
}

TEST_CASE("files sharding gives each worker its own files") {
  const ThreeFiles files;
  ReaderOptions options = OptionsFor(files.paths, 9);
  options.data.sharding = "files";
  options.data.shuffle_rows = 20;
  options.num_workers = 2;
  std::multiset<int64_t> all;
  for (options.rank = 0; options.rank < 2; ++options.rank) {
    const std::vector<Seen> got = ReadAllBatches(options);
    const size_t own = options.rank == 0 ? 4 : 5;  // 9 * (r + 1) / 2 - 9 * r / 2
    for (size_t i = 0; i < got.size(); ++i) {
      if (i + 1 < got.size()) CHECK(got[i].rows.size() == own);
      CHECK(got[i].first_sample == 9 * i + (options.rank == 0 ? 0 : 4));
      all.insert(got[i].rows.begin(), got[i].rows.end());
      const std::vector<Seen> rest = ReadAllBatches(options, got[i].after);
      CHECK(std::equal(rest.begin(), rest.end(), got.begin() + static_cast<int64_t>(i) + 1,
                       got.end()));
    }
  }
  const std::vector<int64_t> each = Range(0, 93);
  CHECK(all == std::multiset<int64_t>(each.begin(), each.end()));

  options.rank = 0;
  options.num_workers = 4;
  CHECK(BatchReader::Open(options).status().message() ==
        "sharding = files needs at least one file for each of the 4 workers, but there are 3");
}

TEST_CASE("a reader resumes at every batch boundary") {
  const ThreeFiles files;
  for (const int64_t shuffle : {0, 1, 31, 40, 500}) {
    for (const int64_t batch_size : {8, 31, 93}) {
      ReaderOptions options = OptionsFor(files.paths, batch_size);
      options.data.shuffle_rows = shuffle;
      options.data.split_end = 0.8;
      options.epochs = 3;
      const std::vector<Seen> whole = ReadAllBatches(options);
      for (size_t i = 0; i < whole.size(); ++i) {
        CAPTURE(shuffle, batch_size, i);
        const std::vector<Seen> rest = ReadAllBatches(options, whole[i].after);
        REQUIRE(rest.size() == whole.size() - i - 1);
        for (size_t k = 0; k < rest.size(); ++k) {
          CHECK(rest[k] == whole[i + 1 + k]);
          CHECK(rest[k].after.global_sample == whole[i + 1 + k].after.global_sample);
        }
      }
    }
  }
}

TEST_CASE("a position is good for another number of workers") {
  const ThreeFiles files;
  ReaderOptions options = OptionsFor(files.paths, 10);
  options.data.shuffle_rows = 37;
  const auto expected = Oracle(files.rows, options);
  options.num_workers = 2;
  options.rank = 1;
  const std::vector<Seen> two = ReadAllBatches(options);
  options.num_workers = 1;
  options.rank = 0;
  const std::vector<Seen> rest = ReadAllBatches(options, two[3].after);
  REQUIRE(rest.size() == expected.size() - 4);
  for (size_t i = 0; i < rest.size(); ++i) CHECK(rest[i].rows == expected[i + 4]);
}

TEST_CASE("threads and batches ahead change nothing") {
  const ThreeFiles files;
  ReaderOptions options = OptionsFor(files.paths, 6);
  options.data.shuffle_rows = 29;
  options.epochs = 4;
  const std::vector<Seen> expected = ReadAllBatches(options);
  for (const int threads : {1, 2, 8}) {
    for (const int64_t ahead : {1, 3, 64}) {
      CAPTURE(threads, ahead);
      options.num_parse_threads = threads;
      options.batches_ahead = ahead;
      CHECK(ReadAllBatches(options) == expected);
    }
  }
}

TEST_CASE("plain, gzip and zstd files give the same batches") {
  const DataDir dir;
  const std::string text = FileText(0, 5000);
  const std::string two_members = Gzip(text.substr(0, 1000)) + Gzip(text.substr(1000));
  std::vector<std::vector<Seen>> all;
  // The names say nothing: the first bytes do.
  for (const std::string& path : {dir.Write("1", text), dir.Write("2", Gzip(text)),
                                  dir.Write("3", Zstd(text)), dir.Write("4", two_members),
                                  dir.Write("5", Zstd(text.substr(0, 7)) + Zstd(text.substr(7)))}) {
    ReaderOptions options = OptionsFor({path}, 700);
    options.data.shuffle_rows = 1500;
    all.push_back(ReadAllBatches(options));
    const std::vector<Seen> rest = ReadAllBatches(options, all.back()[4].after);
    CHECK(std::equal(rest.begin(), rest.end(), all.back().begin() + 5, all.back().end()));
  }
  for (const std::vector<Seen>& other : all) CHECK(other == all[0]);
}

TEST_CASE("a split is disjoint and complete, and the same with any sharding") {
  const ThreeFiles files;
  std::multiset<int64_t> all;
  const std::vector<std::pair<double, double>> parts = {{0.0, 0.3}, {0.3, 0.9}, {0.9, 1.0}};
  for (const auto& [begin, end] : parts) {
    ReaderOptions options = OptionsFor(files.paths, 5);
    options.data.split_begin = begin;
    options.data.split_end = end;
    options.data.shuffle_rows = 11;
    const auto expected = Oracle(files.rows, options);
    std::set<int64_t> part;
    const std::vector<Seen> got = ReadAllBatches(options);
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      CHECK(got[i].rows == expected[i]);
      part.insert(got[i].rows.begin(), got[i].rows.end());
    }
    std::set<int64_t> by_files;
    options.data.sharding = "files";
    options.num_workers = 2;
    for (options.rank = 0; options.rank < 2; ++options.rank) {
      for (const Seen& seen : ReadAllBatches(options)) {
        by_files.insert(seen.rows.begin(), seen.rows.end());
      }
    }
    CHECK(by_files == part);
    all.insert(part.begin(), part.end());
  }
  const std::vector<int64_t> each = Range(0, 93);
  CHECK(all == std::multiset<int64_t>(each.begin(), each.end()));
}

TEST_CASE("progress grows to 1") {
  const ThreeFiles files;
  ReaderOptions options = OptionsFor(files.paths, 10);
  options.data.shuffle_rows = 30;
  options.epochs = 2;
  const auto reader = Open(options);
  double before = reader->progress();
  CHECK(before == 0.0);
  for (;;) {
    const auto batch = reader->Next();
    REQUIRE(batch.ok());
    if (!batch->has_value()) break;
    CHECK(reader->progress() > before);
    before = reader->progress();
  }
  CHECK(before == Approx(1.0));
}

TEST_CASE("destroying a reader at any moment does not hang") {
  const ThreeFiles files;
  for (int reads = 0; reads < 12; ++reads) {
    for (const int threads : {1, 4}) {
      ReaderOptions options = OptionsFor(files.paths, 3);
      options.data.shuffle_rows = 20;
      options.num_parse_threads = threads;
      options.batches_ahead = 2;
      options.epochs = 1000000;
      const auto reader = Open(options);
      for (int i = 0; i < reads; ++i) REQUIRE(reader->Next().ok());
    }
  }
}

TEST_CASE("a bad row fails with file, line and column, after the batches before it") {
  const DataDir dir;
  std::string text = FileText(0, 100);
  const size_t at = text.find(RowText(64));
  text.replace(at, RowText(64).size(), "64,nan,0,g4");
  const std::string path = dir.Write("a.csv", text);
  ReaderOptions options = OptionsFor({path}, 10);
  for (const int threads : {1, 2, 8}) {
    options.num_parse_threads = threads;
    const auto reader = Open(options);
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
  const auto reader = Open(options);
  const std::vector<Seen> got = ReadAllBatches(*reader);
  REQUIRE(got.size() == 3);
  CHECK(reader->bad_rows() == 6);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(got[i].rows.size() == 18);
    CHECK(got[i].first_sample == 20 * i);
    CHECK(got[i].after.bad_rows == static_cast<int64_t>(2 * (i + 1)));
  }
  // The count goes on where it stood.
  const auto resumed = Open(options, got[1].after);
  CHECK(resumed->bad_rows() == 4);
  CHECK(ReadAllBatches(*resumed).size() == 1);
  CHECK(resumed->bad_rows() == 6);

  options.data.bad_rows_max = 5;
  const auto limited = Open(options);
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
  const auto reader = Open(OptionsFor({path}, 1024));
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
  CHECK(Open(options)->Next().status().message() == path + ": the data has no rows");
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
  const auto reader = Open(options);
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
