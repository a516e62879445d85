// How a running job shows itself: a bar that redraws on a terminal, a line per
// interval in a log.
//
//   step 1200  loss 0.31234  grad 0.52  samples/s 48211  done 12.3%  eta 1:05  AUC 0.90321
//   [====>-------------------]  12.3%  step 1200  48.2k samples/s  ETA 1:05  loss 0.3123  auc
//   0.9032
//
// The launcher reads the lines of the first worker back (ParseProgressLine) and
// draws the bar from them.
//
// Threads: one thread at a time.
#pragma once

#include <cstdio>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/ids.h"
#include "worker/trainer.h"

namespace pagoda {

struct ProgressPoint {
  Step step = 0;
  double loss = 0;
  double grad_norm = 0;
  double samples_per_second = 0;
  double fraction = 0;       // Of the job done, in [0, 1].
  double seconds_left = -1;  // < 0: not known yet.
  std::string metric;        // "AUC 0.90321", of the last evaluation; may be empty.
};

std::string FormatProgressLine(const ProgressPoint& point);
// The point in a line that FormatProgressLine made, or nullopt.
std::optional<ProgressPoint> ParseProgressLine(absl::string_view line);
// The bar, `columns` wide at most.
std::string FormatProgressBar(const ProgressPoint& point, int columns);

// "AUC 0.905123456  log-loss 0.301234567 ...": what the evaluation measured.
std::string FormatEvaluation(const EvaluationResult& result);
// "recall 0.1234" or "AUC 0.90321": its main figure, for progress.
std::string FormatMainMetric(const EvaluationResult& result);

// "1:05", "2:03:04"; "?" when negative.
std::string FormatDuration(double seconds);

class Progress {
 public:
  // Writes to `out`; a bar when `terminal`.
  Progress(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  // True when `file` is a terminal that can redraw a line.
  static bool IsTerminal(std::FILE* file);

  // One interval of training; the time left is reckoned from the calls.
  void Log(Step step, double loss, double grad_norm, double samples_per_second, double fraction);
  // A point whose time left is known already.
  void Show(const ProgressPoint& point);
  void Evaluation(Step step, const EvaluationResult& result);
  // Any line, above the bar.
  void Line(const std::string& text);
  // Leaves the bar's line, if there is one.
  void Finish();

 private:
  std::FILE* out_;
  bool terminal_;
  bool bar_shown_ = false;
  bool started_ = false;
  double start_seconds_ = 0;   // Of the monotonic clock, at the first Log.
  double start_fraction_ = 0;  // A resumed job does not start at 0.
  std::string metric_;
};

}  // namespace pagoda
