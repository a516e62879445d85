#include "worker/run_log.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

TEST_CASE("every step is shown, every n-th is logged") {
  TemporaryDirectory dir;
  std::vector<Step> steps, logged;
  double rate = 0.0;
  TrainObserver observer;
  observer.on_step = [&](Step step, double) { steps.push_back(step); };
  observer.on_log = [&](Step step, double, double, double samples_per_second, double) {
    logged.push_back(step);
    rate = samples_per_second;
  };
  const auto log = RunLog::Create(dir.path(), true, 3, observer);
  REQUIRE(log.ok());
  for (Step step = 1; step <= 7; ++step) {
    REQUIRE((*log)->OnStep({step, 0.5, 1.0, 1.0, 100, 0.1}).ok());
  }
  REQUIRE(steps.size() == 7);
  REQUIRE(logged == std::vector<Step>{3, 6});
  REQUIRE(rate > 0.0);
  REQUIRE(std::filesystem::exists(dir / "tensorboard"));
}

TEST_CASE("workers other than the first write no events, and an absent observer is legal") {
  TemporaryDirectory dir;
  const auto log = RunLog::Create(dir.path(), false, 1, {});
  REQUIRE(log.ok());
  REQUIRE((*log)->OnStep({1, 0.5, 1.0, 1.0, 100, 0.1}).ok());
  REQUIRE((*log)->OnEvaluation(1, {}).ok());
  (*log)->OnCut(1, "cut");
  REQUIRE_FALSE(std::filesystem::exists(dir / "tensorboard"));
}

TEST_CASE("evaluations of both kinds are written and shown") {
  TemporaryDirectory dir;
  int shown = 0;
  TrainObserver observer;
  observer.on_evaluation = [&](Step, const EvaluationResult&) { ++shown; };
  const auto log = RunLog::Create(dir.path(), true, 0, observer);
  REQUIRE(log.ok());
  EvaluationResult ranking, rating;
  ranking.retrieval = true;
  rating.has_gauc = true;
  REQUIRE((*log)->OnEvaluation(1, ranking).ok());
  REQUIRE((*log)->OnEvaluation(2, rating).ok());
  REQUIRE(shown == 2);
}

}  // namespace
}  // namespace pagoda
