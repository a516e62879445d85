#include "embedding_store/exact_steps.h"

#include <catch2/catch.hpp>
#include <random>

#include "embedding_store/row_catch_up.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;

TableOptions Exact(const std::string& name) {
  TableOptions table = MakeTable(name, 4, SparseOptimizerKind::kAdam);
  table.optimizer.exact = true;
  return table;
}

// The rates of `steps` steps, the `changed`-th at another rate.
std::string Rates(const TableOptions& table, int steps, int changed = -1) {
  RowCatchUp catch_up(table);
  for (int i = 0; i < steps; ++i) catch_up.Advance(i == changed ? 0.02f : 0.01f, 1);
  std::string bytes;
  catch_up.AppendRates(1, &bytes);
  return bytes;
}

StepsOfCut CutOf(const std::string& directory, std::vector<TableOptions> tables,
                 const std::vector<int>& steps, int changed = -1) {
  StepsOfCut cut;
  cut.directory = directory;
  for (uint32_t t = 0; t < tables.size(); ++t) {
    if (!tables[t].optimizer.exact) continue;
    AppendTableSteps({t, Rates(tables[t], steps[t], changed)}, &cut.bytes);
  }
  cut.tables = std::move(tables);
  return cut;
}

TEST_CASE("steps that are appended are split again, and merged by the tables' names") {
  const TableOptions a = Exact("a"), b = Exact("b");
  const TableOptions plain = MakeTable("plain", 2, SparseOptimizerKind::kSgd);
  CHECK(SplitTableSteps("")->empty());
  const StepsOfCut first = CutOf("first", {a, plain, b}, {3, 0, 5}, 1);
  const StepsOfCut second = CutOf("second", {b, a, plain}, {5, 3, 0}, 1);
  const auto split = SplitTableSteps(first.bytes);
  REQUIRE(split.ok());
  REQUIRE(split->size() == 2);
  CHECK((*split)[1].table == 2);
  CHECK((*split)[1].rates == Rates(b, 5, 1));

  const StepsOfCut both[] = {first, second};
  const auto merged = MergeTableSteps(both, {plain, b, a});
  REQUIRE(merged.ok());
  CHECK(*merged == CutOf("", {plain, b, a}, {0, 5, 3}, 1).bytes);
  // A cut that lists no such table says nothing; one that lists it and wrote nothing, 0.
  const StepsOfCut few[] = {first, CutOf("few", {plain}, {0})};
  CHECK(MergeTableSteps(few, {plain, b, a}).ok());
  CHECK(MergeTableSteps(std::span<const StepsOfCut>(), {plain, a})->empty());
  CHECK(MergeTableSteps(both, {plain})->empty());
}

TEST_CASE("cuts that disagree about steps are refused by name") {
  const TableOptions a = Exact("a");
  const StepsOfCut first = CutOf("first", {a}, {3});
  const StepsOfCut more[] = {first, CutOf("more", {a}, {4})};
  CHECK_THAT(std::string(MergeTableSteps(more, {a}).status().message()),
             Contains("\"a\" has taken 3 steps in first and 4 in more"));
  const StepsOfCut other[] = {first, CutOf("other", {a}, {3}, 2)};
  CHECK_THAT(std::string(MergeTableSteps(other, {a}).status().message()),
             Contains("3 in other, at other learning rates"));
  StepsOfCut unwritten{"unwritten", {a}, ""};
  const StepsOfCut none[] = {first, unwritten};
  CHECK_THAT(std::string(MergeTableSteps(none, {a}).status().message()),
             Contains("3 steps in first and 0 in unwritten"));
}

TEST_CASE("damaged steps are named, wherever they are cut off") {
  const StepsOfCut good = CutOf("cut", {Exact("a"), Exact("b")}, {3, 5}, 1);
  size_t whole = 0;
  for (size_t length = 0; length <= good.bytes.size(); ++length) {
    const auto split = SplitTableSteps(absl::string_view(good.bytes).substr(0, length));
    whole += split.ok();
    if (!split.ok()) CHECK(absl::IsDataLoss(split.status()));
  }
  CHECK(whole == 3);  // Nothing, one table, both.
  StepsOfCut stranger{"stranger", {MakeTable("plain", 2, SparseOptimizerKind::kSgd)}, good.bytes};
  const StepsOfCut cuts[] = {stranger};
  const absl::Status status = MergeTableSteps(cuts, {Exact("a")}).status();
  CHECK(absl::IsDataLoss(status));
  CHECK_THAT(std::string(status.message()), Contains("stranger") && Contains("not exact"));
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {  // Any bytes: an answer, never a crash.
    std::string bytes = good.bytes;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    (void)SplitTableSteps(bytes);
  }
}

}  // namespace
}  // namespace pagoda
