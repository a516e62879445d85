// On windows made by hand; the whole path is tested in batch_reader_test.cc.
#include "worker/batch_cutter.h"

#include <catch2/catch.hpp>
#include <string>

namespace pagoda {
namespace {

// Windows of the given sizes, epoch after epoch; a row's line is its number in the
// epoch, from 0.
class FakeWindows {
 public:
  explicit FakeWindows(std::vector<int64_t> sizes) : sizes_(std::move(sizes)) {}

  absl::StatusOr<std::shared_ptr<const Window>> Next() {
    if (fail_after_ == 0) return absl::DataLossError("a.gz: truncated");
    if (fail_after_ > 0) --fail_after_;
    auto window = std::make_shared<Window>();
    window->start = start_;
    const int64_t size = sizes_[static_cast<size_t>(start_.window)];
    for (int64_t i = 0; i < size; ++i) {
      window->rows.push_back(RawRow{"", 0, 0, start_.row + i, false});
    }
    window->last = start_.window + 1 == static_cast<int64_t>(sizes_.size());
    if (window->last) {
      start_ = WindowStart{start_.epoch + 1, 0, {}, 0};
    } else {
      start_ = WindowStart{start_.epoch, start_.window + 1, {}, start_.row + size};
    }
    window->next = start_;
    window->progress_end = 1.0;
    return window;
  }

  void Seek(const WindowStart& start) { start_ = start; }
  void FailAfter(int windows) { fail_after_ = windows; }

 private:
  std::vector<int64_t> sizes_;
  WindowStart start_;
  int fail_after_ = -1;
};

struct Cut {
  std::vector<int64_t> rows;
  uint64_t first_sample = 0;
  CutPosition after;
};

std::vector<Cut> CutAll(BatchCutter& cutter, absl::Status* error = nullptr) {
  std::vector<Cut> cuts;
  for (;;) {
    const auto batch = cutter.Next();
    if (!batch.ok()) {
      REQUIRE(error != nullptr);
      *error = batch.status();
      return cuts;
    }
    if (!batch->has_value()) return cuts;
    Cut cut;
    for (const RawRow& row : (*batch)->rows) cut.rows.push_back(row.line);
    cut.first_sample = (*batch)->first_sample;
    cut.after = (*batch)->after;
    cuts.push_back(std::move(cut));
  }
}

std::vector<Cut> CutAll(const CutterOptions& options, const std::vector<int64_t>& sizes,
                        const CutPosition& start = {}) {
  FakeWindows windows(sizes);
  windows.Seek(start.start);
  BatchCutter cutter(options, start, [&] { return windows.Next(); });
  return CutAll(cutter);
}

CutterOptions OptionsFor(int64_t batch_size, int rank = 0, int num_workers = 1) {
  CutterOptions options;
  options.batch_size = batch_size;
  options.rank = rank;
  options.num_workers = num_workers;
  return options;
}

}  // namespace

TEST_CASE("batches cross windows, but not epochs") {
  CutterOptions options = OptionsFor(4);
  options.epochs = 2;
  const std::vector<Cut> cuts = CutAll(options, {3, 1, 0, 5, 1});
  REQUIRE(cuts.size() == 6);
  CHECK(cuts[1].rows == std::vector<int64_t>{4, 5, 6, 7});
  CHECK(cuts[2].rows == std::vector<int64_t>{8, 9});
  CHECK(cuts[3].rows == std::vector<int64_t>{0, 1, 2, 3});
  CHECK(cuts[3].first_sample == 10);
  CHECK(cuts[2].after.start.epoch == 1);
  CHECK(cuts[5].after.start.epoch == 2);
  CHECK(cuts[5].after.global_sample == 20);
}

TEST_CASE("an epoch of whole batches has no empty one at its end") {
  // The last window may be empty: a full one before it could not know that it was last.
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{4, 4}, std::vector<int64_t>{4, 4, 0}}) {
    CutterOptions options = OptionsFor(4);
    options.epochs = 3;
    const std::vector<Cut> cuts = CutAll(options, sizes);
    REQUIRE(cuts.size() == 6);
    for (size_t i = 0; i < cuts.size(); ++i) {
      const std::vector<Cut> rest = CutAll(options, sizes, cuts[i].after);
      REQUIRE(rest.size() == cuts.size() - i - 1);
      for (size_t k = 0; k < rest.size(); ++k) CHECK(rest[k].rows == cuts[i + 1 + k].rows);
    }
  }
}

TEST_CASE("drop_last leaves the short batch out, also of the count") {
  CutterOptions options = OptionsFor(4);
  options.epochs = 2;
  options.drop_last = true;
  const std::vector<Cut> cuts = CutAll(options, {6});
  REQUIRE(cuts.size() == 2);
  CHECK(cuts[1].rows == std::vector<int64_t>{0, 1, 2, 3});
  CHECK(cuts[1].first_sample == 4);
  CHECK(CutAll(options, {3}).empty());
}

TEST_CASE("more workers than rows leave some slices empty") {
  size_t total = 0;
  for (int rank = 0; rank < 5; ++rank) {
    const std::vector<Cut> cuts = CutAll(OptionsFor(8, rank, 5), {3});
    REQUIRE(cuts.size() == 1);
    CHECK(cuts[0].rows.size() <= 1);
    CHECK(cuts[0].first_sample == static_cast<uint64_t>(3 * rank / 5));
    total += cuts[0].rows.size();
  }
  CHECK(total == 3);
}

TEST_CASE("a slice may come with all rows of its global batch") {
  for (const int workers : {1, 2, 3, 7}) {
    for (int rank = 0; rank < workers; ++rank) {
      CAPTURE(workers, rank);
      CutterOptions options = OptionsFor(5, rank, workers);
      options.whole = true;
      FakeWindows windows({3, 1, 7});  // Batches of 5, 5 and 1 rows, across windows.
      BatchCutter cutter(options, {}, [&] { return windows.Next(); });
      int64_t first = 0;
      for (const int64_t size : {5, 5, 1}) {
        const auto batch = cutter.Next();
        REQUIRE(batch.ok());
        REQUIRE(batch->has_value());
        const RawBatch& raw = **batch;
        REQUIRE(raw.whole.size() == static_cast<size_t>(workers == 1 ? 0 : size));
        for (size_t i = 0; i < raw.whole.size(); ++i) {
          CHECK(raw.whole[i].line == first + static_cast<int64_t>(i));
        }
        for (size_t i = 0; workers > 1 && i < raw.rows.size(); ++i) {
          const auto place = static_cast<size_t>(raw.first_of_whole) + i;
          CHECK(raw.rows[i].line == raw.whole[place].line);
        }
        first += size;
      }
    }
  }
  CutterOptions options = OptionsFor(4, 1, 2);
  options.whole = true;
  options.share = BatchShare::kRoundRobin;
  FakeWindows windows({8});
  BatchCutter cutter(options, {}, [&] { return windows.Next(); });
  CHECK((**cutter.Next()).whole.empty());
}

TEST_CASE("an error comes after the batches before it, and stays") {
  FakeWindows windows({5, 5, 5});
  windows.FailAfter(2);
  BatchCutter cutter(OptionsFor(4), {}, [&] { return windows.Next(); });
  absl::Status error;
  CHECK(CutAll(cutter, &error).size() == 2);  // Rows 0-7; 8 and 9 do not fill a batch.
  CHECK(error.code() == absl::StatusCode::kDataLoss);
  CHECK(cutter.Next().status() == error);
}

TEST_CASE("a position beyond its window says that the data has changed") {
  FakeWindows windows({3});
  CutPosition start;
  start.row_in_window = 4;
  BatchCutter cutter(OptionsFor(4), start, [&] { return windows.Next(); });
  CHECK(cutter.Next().status().code() == absl::StatusCode::kFailedPrecondition);
}

}  // namespace pagoda
