// Exact tables: short runs of every optimizer against dense ones, and refusals.
#include "embedding_store/row_catch_up.h"

#include <catch2/catch.hpp>
#include <functional>

#include "tests/embedding_store/exactness.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Catch::Contains;
using Kind = SparseOptimizerKind;

TEST_CASE("each exact optimizer reads as the dense one for 500 steps") {
  const std::vector<ExactCase> cases = ExactCases();
  const size_t i = GENERATE(range(size_t{0}, size_t{16}));
  REQUIRE(cases.size() == 16);
  const int64_t dim = i % 2 == 0 ? 16 : 5;
  ScratchDirectory scratch;
  const ExactError error = RunExactCase(cases[i], scratch / "store", dim, 500, 10, 21 + i);
  CAPTURE(cases[i].name, error.store, error.dense);
  CHECK(error.store <= 1e-5);
  CHECK(error.store <= 2 * error.dense + 1.2e-7);
}

TEST_CASE("what exact cannot do is refused in words") {
  const auto message = [](Kind kind, const std::function<void(SparseOptimizerOptions&)>& set) {
    TableOptions table = MakeTable("t", 4, kind);
    table.optimizer.exact = true;
    set(table.optimizer);
    const absl::Status status = CheckTableOptions(table);
    CHECK(absl::IsInvalidArgument(status));
    return std::string(status.message());
  };
  CHECK_THAT(message(Kind::kAdam, [](auto& o) { o.l2 = 0.1f; }),
             Contains("\"t\"") && Contains("l2") && Contains("weight_decay"));
  CHECK_THAT(message(Kind::kAdagrad, [](auto& o) { o.l2 = 0.1f; }), Contains("l2"));
  CHECK_THAT(message(Kind::kAdam, [](auto& o) { o.beta2 = 0.5f; }), Contains("beta1"));
  CHECK_THAT(message(Kind::kAdam, [](auto& o) { o.beta1 = 0.9999f; }), Contains("beta1"));

  ScratchDirectory scratch;
  auto store = OpenStore(MakeStore(scratch / "store"));
  std::vector<TableOptions> tables = {MakeTable("adam", 8, Kind::kAdam),
                                      MakeTable("momentum", 3, Kind::kMomentum)};
  for (TableOptions& table : tables) table.optimizer.exact = true;
  tables[0].optimizer.weight_decay = 0.9f;
  tables[1].optimizer.l2 = 20.0f;
  for (const TableOptions& table : tables) OpenTableOf(*store, table);
  const auto push = [&](uint32_t table, float factor) {
    const StorePush part{table, {}, {}};
    return store->Push({&part, 1}, 1, factor);
  };
  CHECK(push(0, 1.0f).ok());
  CHECK_THAT(std::string(push(0, 2.0f).message()), Contains("adam") && Contains("beta1"));
  CHECK_THAT(std::string(push(1, 1.0f).message()), Contains("momentum") && Contains("less than 1"));
  const StorePush twice[] = {{1, {}, {}}, {1, {}, {}}};
  CHECK_THAT(std::string(store->Push(twice, 1, 0.1f).message()), Contains("twice"));
}

}  // namespace
}  // namespace pagoda
