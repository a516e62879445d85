// The long runs: every exact optimizer against dense ones for 10,000 steps, and the speed
// of pulls after a long absence. Prints its figures; tests/acceptance/16_exactness.sh.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <ctime>
#include <memory>
#include <random>
#include <vector>

#include "base/hash.h"
#include "tests/embedding_store/exactness.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

TEST_CASE("each exact optimizer reads as the dense one for 10,000 steps") {
  std::printf("%-36s %12s %12s\n", "optimizer", "store", "dense f32");
  for (const ExactCase& exact : ExactCases()) {
    ScratchDirectory scratch;
    const ExactError error = RunExactCase(exact, scratch / "store", 8, 10000, 100, 1);
    std::printf("%-36s %12.2e %12.2e\n", exact.name.c_str(), error.store, error.dense);
    CAPTURE(exact.name, error.store, error.dense);
    CHECK(error.store <= 1e-5);
    CHECK(error.store <= 2 * error.dense);
  }
}

constexpr size_t kRows = 1000000;
constexpr size_t kBatch = 16384;

// A table of rows that were all pushed to once.
struct PulledStore {
  ScratchDirectory scratch;
  std::unique_ptr<EmbeddingStore> store;
  Step step = 0;

  // `age`: steps that the table has taken before.
  PulledStore(TableOptions table, bool exact, int age, const std::vector<FeatureId>& ids) {
    table.optimizer.exact = exact;
    StoreOptions options = MakeStore(scratch / "store");
    options.memory_bytes = int64_t{2} << 30;
    options.durability = Durability::kNone;
    store = OpenStore(options);
    OpenTableOf(*store, table);
    TakeSteps(age);
    const std::vector<float> gradients(ids.size() * 16, 0.5f);
    const StorePush all{0, ids, gradients};
    REQUIRE(store->Push({&all, 1}, ++step, 1.0f).ok());
  }

  void TakeSteps(int count) {
    const StorePush nothing{0, {}, {}};
    for (int i = 0; i < count; ++i) REQUIRE(store->Push({&nothing, 1}, ++step, 1.0f).ok());
  }

  // CPU seconds, which other processes disturb less than the clock.
  double PullAll(const std::vector<FeatureId>& ids) {
    std::vector<float> weights(kBatch * 16);
    const std::clock_t begin = std::clock();
    for (size_t at = 0; at < ids.size(); at += kBatch) {
      const size_t count = std::min(kBatch, ids.size() - at);
      const StorePull pull{0, {ids.data() + at, count}, weights.data()};
      REQUIRE(store->Pull({&pull, 1}).ok());
    }
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  }
};

TEST_CASE("a pull after 1,000 steps keeps 30 % of the hot speed") {
  const Kind kinds[] = {Kind::kSgd,  Kind::kMomentum,    Kind::kAdagrad,
                        Kind::kAdam, Kind::kRowwiseAdam, Kind::kGroupFtrl};
  std::vector<FeatureId> ids;
  for (size_t i = 0; i < kRows; ++i) ids.push_back(MixBits(i));
  std::vector<FeatureId> shuffled = ids;
  std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(3));
  std::printf(
      "million rows per CPU second, dim 16: a table that is not exact; exact, rows just "
      "touched; exact, 1,000 steps later\n");
  for (const Kind kind : kinds) {
    TableOptions table = MakeTable("t", 16, kind);
    if (!IsFtrl(kind)) table.optimizer.weight_decay = 0.001f;
    PulledStore plain(table, false, 0, ids);
    for (const int age : {0, 4000}) {
      PulledStore exact(table, true, age, ids);
      double best[3] = {1e9, 1e9, 1e9};
      for (int pass = 0; pass < 5; ++pass) best[1] = std::min(best[1], exact.PullAll(shuffled));
      exact.TakeSteps(1000);
      for (int pass = 0; pass < 5; ++pass) {
        best[0] = std::min(best[0], plain.PullAll(shuffled));
        best[2] = std::min(best[2], exact.PullAll(shuffled));
      }
      const double millions = static_cast<double>(kRows) / 1e6;
      std::printf("%-13s touched at step %-5d %6.2f %6.2f %6.2f: %3.0f %% of not exact, %3.0f %%\n",
                  SparseOptimizerName(kind), age + 1, millions / best[0], millions / best[1],
                  millions / best[2], 100 * best[0] / best[2], 100 * best[1] / best[2]);
      CAPTURE(SparseOptimizerName(kind), age, best[0], best[1], best[2]);
      CHECK(best[1] >= 0.3 * best[2]);
    }
  }
}

}  // namespace
}  // namespace pagoda
