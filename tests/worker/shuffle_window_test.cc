#include "worker/shuffle_window.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/worker/data_files.h"

namespace pagoda {
namespace {

using testing::DataDir;

std::string Lines(int begin, int end) {
  std::string text;
  for (int i = begin; i < end; ++i) absl::StrAppend(&text, i, "\n");
  return text;
}

std::vector<int> Numbers(const Window& window) {
  std::vector<int> numbers;
  for (const RawRow& row : window.rows) numbers.push_back(std::stoi(std::string(row.view())));
  return numbers;
}

WindowOptions OptionsFor(int64_t rows, bool shuffle) {
  WindowOptions options;
  options.rows = rows;
  options.shuffle = shuffle;
  return options;
}

std::shared_ptr<const Window> Next(WindowReader& reader) {
  auto window = reader.Next();
  INFO(window.status());
  REQUIRE(window.ok());
  return *window;
}

}  // namespace

TEST_CASE("windows hold the rows of an epoch, each once, and epochs follow each other") {
  const DataDir dir;
  WindowReader reader({dir.Write("a", Lines(0, 25)), dir.Write("b", Lines(25, 40))},
                      OptionsFor(10, true));
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    int64_t row = 0;
    for (int64_t i = 0;; ++i) {
      const auto window = Next(reader);
      CHECK(window->start.epoch == epoch);
      CHECK(window->start.window == i);
      CHECK(window->start.row == row);
      std::vector<int> numbers = Numbers(*window);
      std::sort(numbers.begin(), numbers.end());
      for (const int number : numbers) CHECK(number == row++);
      for (const RawRow& r : window->rows) {
        const int number = std::stoi(std::string(r.view()));
        CHECK(r.file == (number < 25 ? 0 : 1));
        CHECK(r.line == (number < 25 ? number : number - 25) + 1);
      }
      if (window->last) {
        CHECK(window->progress_end == Approx(1.0));
        CHECK(window->next.epoch == epoch + 1);
        break;
      }
    }
    CHECK(row == 40);
  }
}

TEST_CASE("a window read again from its start is the same") {
  const DataDir dir;
  const std::vector<std::string> files = {dir.Write("a", Lines(0, 55))};
  WindowOptions options = OptionsFor(12, true);
  options.split_end = 0.7;
  WindowReader reader(files, options);
  for (int i = 0; i < 9; ++i) {
    const auto window = Next(reader);
    WindowReader again(files, options);
    REQUIRE(again.Seek(window->start).ok());
    const auto same = Next(again);
    CHECK(Numbers(*same) == Numbers(*window));
    CHECK(same->last == window->last);
    CHECK(same->next.place == window->next.place);
    CHECK(same->next.row == window->next.row);
  }
}

TEST_CASE("the permutation depends on seed, epoch and window, and moves rows evenly") {
  const DataDir dir;
  const std::string path = dir.Write("a", Lines(0, 8));
  // Where does row 0 go? 4000 epochs, 8 places: 500 each, standard deviation 21.
  std::vector<int> places(8, 0);
  // (A window of 8 would not know that it is the last one.)
  WindowReader reader({path}, OptionsFor(9, true));
  std::set<std::vector<int>> distinct;
  for (int epoch = 0; epoch < 4000; ++epoch) {
    const std::vector<int> numbers = Numbers(*Next(reader));
    REQUIRE(numbers.size() == 8);
    distinct.insert(numbers);
    ++places[static_cast<size_t>(std::find(numbers.begin(), numbers.end(), 0) - numbers.begin())];
  }
  for (const int count : places) CHECK(std::abs(count - 500) < 6 * 21);
  CHECK(distinct.size() > 3700);  // Of 40320 orders; 3807 expected.

  WindowOptions other = OptionsFor(9, true);
  other.seed = 2;
  WindowReader by_seed({path}, other);
  WindowReader first({path}, OptionsFor(9, true));
  CHECK(Numbers(*Next(by_seed)) != Numbers(*Next(first)));
}

TEST_CASE("split points are uniform, and independent of each other's file") {
  int below = 0, both = 0;
  for (int64_t row = 0; row < 20000; ++row) {
    const double a = SplitPoint(7, 0, row);
    const double b = SplitPoint(7, 1, row);
    CHECK((a >= 0.0 && a < 1.0));
    below += a < 0.9 ? 1 : 0;
    both += (a < 0.5 && b < 0.5) ? 1 : 0;
  }
  CHECK(std::abs(below - 18000) < 6 * 43);
  CHECK(std::abs(both - 5000) < 6 * 62);
  CHECK(SplitPoint(7, 0, 1) != SplitPoint(8, 0, 1));
  // Part of the meaning of a job file: a new release must not move rows between
  // training and test.
  CHECK(SplitPoint(7, 0, 0) == 0.67946095919414162);
}

TEST_CASE("an epoch without rows is an error unless other workers have them") {
  const DataDir dir;
  const std::string path = dir.Write("a", "\n\n");
  WindowReader reader({path}, OptionsFor(5, false));
  CHECK(reader.Next().status().message() == path + ": the data has no rows");
  WindowOptions options = OptionsFor(5, false);
  options.split_end = 1e-12;
  const std::string rows = dir.Write("b", Lines(0, 9));
  WindowReader split({path, rows}, options);
  CHECK(split.Next().status().message() ==
        path + " and 1 more: the data has no rows in this part of the split");
  options.lines.file_stride = 2;
  WindowReader strided({path, rows}, options);
  const auto window = Next(strided);
  CHECK(window->last);
  CHECK(window->rows.empty());
}

TEST_CASE("long and overlong rows share a window with short ones") {
  const DataDir dir;
  const std::string text = "a\n" + std::string(200000, 'b') + "\n" +
                           std::string(static_cast<size_t>(kLineBytesMax) + 1, 'c') + "\nd\n";
  WindowReader reader({dir.Write("a", text)}, OptionsFor(10, false));
  const auto window = Next(reader);
  REQUIRE(window->rows.size() == 4);
  CHECK(window->rows[1].view() == std::string(200000, 'b'));
  CHECK(window->rows[2].too_long);
  CHECK(window->rows[3].view() == "d");
  CHECK(window->last);
}

}  // namespace pagoda
