// The reader against a plain reimplementation: order, sharding, resuming, threads,
// compression. Errors: batch_reader_errors_test.cc.
#include "worker/batch_reader.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/random.h"
#include "tests/worker/reader_rows.h"

namespace pagoda {
namespace {

using testing::DataDir;
using testing::FileText;
using testing::Gzip;
using testing::OptionsFor;
using testing::ReadAllBatches;
using testing::RowText;
using testing::Seen;
using testing::Zstd;

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

TEST_CASE("random options: all workers together read the oracle's batches, from anywhere") {
  const DataDir dir;
  for (uint64_t round = 0; round < 120; ++round) {
    CAPTURE(round);
    const RandomKey key{round};
    uint64_t counter = 0;
    const auto below = [&](uint64_t bound) {
      return static_cast<int64_t>(RandomBelow(key, counter++, bound));
    };
    std::vector<std::string> paths;
    std::vector<std::vector<int64_t>> rows;
    int64_t next_row = 0;
    const int64_t num_files = 1 + below(4);
    for (int64_t f = 0; f < num_files; ++f) {
      const int64_t size = f == 0 ? 20 + below(60) : below(40);
      rows.push_back(Range(next_row, next_row + size));
      std::string text = "id,x,y,g\r\n";
      for (int64_t i = next_row; i < next_row + size; ++i) {
        text += RowText(i) + (below(2) == 0 ? "\n" : "\r\n") + (below(9) == 0 ? "\n" : "");
      }
      if (below(2) == 0) text.resize(text.find_last_not_of("\r\n") + 1);  // No line end.
      const int64_t kind = below(3);
      paths.push_back(dir.Write(absl::StrCat("f", f),
                                kind == 0 ? text : (kind == 1 ? Gzip(text) : Zstd(text))));
      next_row += size;
    }
    ReaderOptions options = OptionsFor(paths, 1 + below(40));
    options.data.shuffle_rows = below(3) == 0 ? 0 : 1 + below(80);
    options.data.seed = static_cast<uint64_t>(below(1000));
    options.data.split_begin = below(2) == 0 ? 0.0 : 0.3;
    options.data.split_end = below(2) == 0 ? 1.0 : 0.8;
    options.epochs = 1 + below(3);
    options.drop_last = below(2) == 0;
    options.num_workers = static_cast<int>(1 + below(4));
    options.round_robin_batches = below(3) == 0;
    options.num_parse_threads = static_cast<int>(1 + below(3));
    options.batches_ahead = 1 + below(5);
    const auto expected = Oracle(rows, options);
    std::map<uint64_t, int64_t> by_sample;  // Global sample -> row.
    for (options.rank = 0; options.rank < options.num_workers; ++options.rank) {
      const std::vector<Seen> got = ReadAllBatches(options);
      for (const Seen& seen : got) {
        uint64_t sample = seen.first_sample;
        for (const int64_t row : seen.rows) CHECK(by_sample.emplace(sample++, row).second);
      }
      if (got.empty()) continue;
      const size_t cut = static_cast<size_t>(below(got.size()));
      const std::vector<Seen> rest = ReadAllBatches(options, got[cut].after);
      CHECK(std::equal(rest.begin(), rest.end(), got.begin() + static_cast<int64_t>(cut) + 1,
                       got.end()));
    }
    std::vector<int64_t> joined, flat;
    for (const auto& [sample, row] : by_sample) joined.push_back(row);
    for (const auto& batch : expected) flat.insert(flat.end(), batch.begin(), batch.end());
    CHECK(joined == flat);
    CHECK((by_sample.empty() || by_sample.rbegin()->first + 1 == by_sample.size()));
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

TEST_CASE("every worker sees all of each global batch where that is asked for") {
  const ThreeFiles files;
  for (const int workers : {1, 2, 5}) {
    ReaderOptions options = OptionsFor(files.paths, 31);
    options.data.shuffle_rows = 50;
    options.whole_batches = true;
    const auto expected = Oracle(files.rows, options);
    options.num_workers = workers;
    for (options.rank = 0; options.rank < workers; ++options.rank) {
      CAPTURE(workers, options.rank);
      const std::unique_ptr<BatchReader> reader = testing::Open(options);
      for (const std::vector<int64_t>& rows : expected) {
        const std::optional<Batch> batch = *reader->Next();
        REQUIRE(batch.has_value());
        CHECK((batch->whole == nullptr) == (workers == 1));
        CHECK(testing::RowsOf(batch->Whole()) == rows);
        CHECK(batch->Whole().first_sample == batch->global_first_sample);
        const std::vector<int64_t> own = testing::RowsOf(*batch);
        const auto begin = static_cast<size_t>(batch->first_of_whole);
        for (size_t i = 0; i < own.size(); ++i) CHECK(own[i] == rows[begin + i]);
      }
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
  const auto reader = testing::Open(options);
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

TEST_CASE("a reader that nobody asks stops reading") {
  const DataDir dir;
  const std::string path = dir.Write("a.csv", FileText(0, 300000));
  ReaderOptions options = OptionsFor({path}, 100);
  options.batches_ahead = 2;
  const auto is_open = [&] {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code ignored;
      if (std::filesystem::read_symlink(entry.path(), ignored) == path) return true;
    }
    return false;
  };
  const auto reader = testing::Open(options);
  REQUIRE(reader->Next().ok());
  // Reading all of it takes a few hundredths of a second; the file would be closed.
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  CHECK(is_open());
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
      const auto reader = testing::Open(options);
      for (int i = 0; i < reads; ++i) REQUIRE(reader->Next().ok());
    }
  }
}

}  // namespace pagoda
