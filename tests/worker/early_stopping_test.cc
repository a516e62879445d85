#include "worker/early_stopping.h"

#include <catch2/catch.hpp>
#include <cmath>

namespace pagoda {
namespace {

EvaluationResult WithAuc(double auc) {
  EvaluationResult result;
  result.samples = 10;
  result.auc = auc;
  result.log_loss = 1.0 - auc;
  return result;
}

TEST_CASE("the best is the highest, the first of equals; patience counts what follows") {
  auto stopping = EarlyStopping::Create("auc", 2);
  REQUIRE(stopping.ok());
  REQUIRE_FALSE(stopping->has_best());
  REQUIRE(stopping->Report(10, WithAuc(0.6)));
  stopping->SetBestCut("ten");
  REQUIRE_FALSE(stopping->Report(20, WithAuc(0.6)));
  REQUIRE_FALSE(stopping->exhausted());
  REQUIRE(stopping->Report(30, WithAuc(0.7)));
  REQUIRE_FALSE(stopping->Report(40, WithAuc(0.69)));
  REQUIRE_FALSE(stopping->Report(50, WithAuc(0.5)));
  REQUIRE(stopping->exhausted());
  REQUIRE(stopping->best_step() == 30);
  REQUIRE(stopping->best().auc == 0.7);
  REQUIRE(stopping->best().samples == 10);
}

TEST_CASE("every metric has its own better side") {
  EvaluationResult low, high;
  low.auc = low.gauc = low.recall = low.ndcg = 0.1;
  high.auc = high.gauc = high.recall = high.ndcg = 0.9;
  low.log_loss = 0.9;
  high.log_loss = 0.1;
  low.has_gauc = high.has_gauc = true;
  for (const std::string metric : {"auc", "gauc", "log_loss", "recall", "ndcg"}) {
    CAPTURE(metric);
    auto stopping = EarlyStopping::Create(metric, 1);
    REQUIRE(stopping.ok());
    REQUIRE(stopping->Report(1, low));
    REQUIRE(stopping->Report(2, high));
    REQUIRE_FALSE(stopping->Report(3, low));
  }
}

TEST_CASE("an undefined metric is never the best") {
  auto stopping = EarlyStopping::Create("auc", 2);
  REQUIRE(stopping.ok());
  REQUIRE_FALSE(stopping->Report(1, WithAuc(std::nan(""))));
  REQUIRE_FALSE(stopping->has_best());
  REQUIRE(stopping->Report(2, WithAuc(0.2)));
  REQUIRE_FALSE(stopping->Report(3, WithAuc(std::nan(""))));
  REQUIRE(stopping->best_step() == 2);
}

TEST_CASE("without patience it never stops") {
  auto stopping = EarlyStopping::Create("auc", 0);
  REQUIRE(stopping.ok());
  REQUIRE_FALSE(stopping->enabled());
  REQUIRE(stopping->Report(1, WithAuc(0.9)));
  for (int i = 2; i < 100; ++i) REQUIRE_FALSE(stopping->Report(i, WithAuc(0.1)));
  REQUIRE_FALSE(stopping->exhausted());
}

TEST_CASE("state goes through a cut; that of another metric is forgotten") {
  auto stopping = EarlyStopping::Create("auc", 2);
  REQUIRE(stopping.ok());
  stopping->Report(10, WithAuc(0.6));
  stopping->SetBestCut("ten");
  stopping->Report(20, WithAuc(0.5));
  auto restored = EarlyStopping::Create("auc", 2);
  restored->Load(stopping->Save());
  REQUIRE(restored->best_cut() == "ten");
  REQUIRE(restored->best().log_loss == stopping->best().log_loss);
  REQUIRE_FALSE(restored->exhausted());
  restored->Report(30, WithAuc(0.5));
  REQUIRE(restored->exhausted());
  auto other = EarlyStopping::Create("log_loss", 2);
  other->Load(stopping->Save());
  REQUIRE_FALSE(other->has_best());
}

TEST_CASE("an unknown metric names the nearest, a negative patience is refused") {
  const auto unknown = EarlyStopping::Create("logloss", 1);
  REQUIRE(absl::IsInvalidArgument(unknown.status()));
  REQUIRE_THAT(std::string(unknown.status().message()), Catch::Matchers::Contains("log_loss"));
  REQUIRE(absl::IsInvalidArgument(EarlyStopping::Create("auc", -1).status()));
}

}  // namespace
}  // namespace pagoda
