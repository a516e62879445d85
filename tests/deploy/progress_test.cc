#include "deploy/progress.h"

#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>

using namespace pagoda;

namespace {

// What `show` prints to a Progress.
template <typename Show>
std::string Printed(bool terminal, Show show) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  {
    Progress progress(out, terminal);
    show(progress);
  }
  std::fclose(out);
  const std::string result(text, size);
  std::free(text);
  return result;
}

EvaluationResult Evaluated(double auc) {
  EvaluationResult result;
  result.samples = 100;
  result.auc = auc;
  result.log_loss = 0.25;
  return result;
}

}  // namespace

TEST_CASE("a progress line reads back") {
  ProgressPoint point{1200, 0.31234, 0.5, 48211, 0.123, 65, "AUC 0.90321"};
  const std::string line = FormatProgressLine(point);
  CHECK(line ==
        "step 1200  loss 0.31234  grad 0.5  samples/s 48211  done 12.3%  eta 1:05  AUC 0.90321");
  const auto back = ParseProgressLine(line);
  REQUIRE(back.has_value());
  CHECK(back->step == 1200);
  CHECK(back->loss == 0.31234);
  CHECK(back->grad_norm == 0.5);
  CHECK(back->samples_per_second == 48211);
  CHECK(back->fraction == Approx(0.123));
  CHECK(back->seconds_left == 65);
  CHECK(back->metric == "AUC 0.90321");
  point.metric.clear();
  point.seconds_left = -1;
  const auto unknown = ParseProgressLine(FormatProgressLine(point));
  REQUIRE(unknown.has_value());
  CHECK(unknown->seconds_left == -1);
  CHECK(unknown->metric.empty());
}

TEST_CASE("other lines are not progress") {
  for (const char* line : {"", "step", "cut at step 5: runs/x", "evaluation at step 3: AUC 0.5",
                           "step x  loss 1  grad 1  samples/s 1  done 1%  eta 1:00",
                           "step 1  loss 1  grad 1  samples/s 1  done 1  eta 1:00",
                           "step 1  loss 1  grad 1  samples/s 1  done 1%  eta soon",
                           "step 1  loss 1  grad 1  samples/s 1  done 1%"}) {
    INFO(line);
    CHECK_FALSE(ParseProgressLine(line).has_value());
  }
}

TEST_CASE("durations") {
  CHECK(FormatDuration(0) == "0:00");
  CHECK(FormatDuration(59.6) == "1:00");
  CHECK(FormatDuration(65) == "1:05");
  CHECK(FormatDuration(3723) == "1:02:03");
  CHECK(FormatDuration(-1) == "?");
  CHECK(FormatDuration(1e300) == "?");
}

TEST_CASE("the bar fits its columns and shows the share done") {
  const ProgressPoint point{1200, 0.31234, 0.5, 48211, 0.5, 65, "AUC 0.90321"};
  for (int columns : {0, 1, 20, 79, 80, 120, 500}) {
    INFO(columns);
    CHECK(static_cast<int>(FormatProgressBar(point, columns).size()) <= std::max(0, columns - 1));
  }
  const std::string bar = FormatProgressBar(point, 200);
  CHECK(bar.find("[===============>--------------]") == 0);
  CHECK(bar.find(" 50.0%  step 1200  48.2k samples/s  ETA 1:05  loss 0.3123  AUC 0.90321") !=
        std::string::npos);
  ProgressPoint done = point;
  done.fraction = 1.0;
  CHECK(FormatProgressBar(done, 200).find("[==============================]") == 0);
  done.fraction = 7.0;  // A wrong estimate must not run out of the bar.
  CHECK(FormatProgressBar(done, 200).find("[==============================]") == 0);
}

TEST_CASE("in a log each interval is a line; the last metric rides along") {
  const std::string text = Printed(false, [](Progress& progress) {
    progress.Log(10, 0.5, 1, 1000, 0.1);
    progress.Evaluation(10, Evaluated(0.75));
    progress.Log(20, 0.25, 1, 1000, 0.2);
    progress.Finish();
  });
  CHECK(text.find("step 10  loss 0.5  grad 1  samples/s 1000  done 10.0%  eta ?\n") == 0);
  CHECK(text.find("evaluation at step 10: AUC 0.750000000  log-loss 0.250000000") !=
        std::string::npos);
  CHECK(text.find("done 20.0%  eta 0:00  AUC 0.75000\n") != std::string::npos);
  CHECK(text.find('\r') == std::string::npos);
}

TEST_CASE("on a terminal the bar redraws, and lines stand above it") {
  const std::string text = Printed(true, [](Progress& progress) {
    progress.Log(10, 0.5, 1, 1000, 0.1);
    progress.Line("a line");
    progress.Log(20, 0.25, 1, 1000, 0.2);
    progress.Finish();
  });
  CHECK(text.find("\r\x1b[K[") == 0);
  CHECK(text.find("\r\x1b[Ka line\n\r\x1b[K[") != std::string::npos);
  CHECK(text.back() == '\n');
}

TEST_CASE("evaluations print what was measured") {
  EvaluationResult result = Evaluated(0.912345678);
  CHECK(FormatEvaluation(result).find("GAUC") == std::string::npos);
  result.has_gauc = true;
  result.gauc = 0.625;
  CHECK(FormatEvaluation(result).find("AUC 0.912345678  GAUC 0.625000000  log-loss 0.25") == 0);
  result.retrieval = true;
  result.recall = 0.125;
  CHECK(FormatEvaluation(result).find("recall 0.125000000") == 0);
  CHECK(FormatMainMetric(result) == "recall 0.12500");
}
