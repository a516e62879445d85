#include "deploy/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace pagoda {
namespace {

double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// "48.2k", "1.2M"
std::string ShortCount(double value) {
  if (value >= 1e6) return absl::StrFormat("%.1fM", value / 1e6);
  if (value >= 1e4) return absl::StrFormat("%.1fk", value / 1e3);
  return absl::StrFormat("%.0f", value);
}

std::optional<double> ParseDuration(const std::string& text) {
  if (text == "?") return -1.0;
  double seconds = 0;
  for (const absl::string_view part : absl::StrSplit(text, ':')) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(part, &value)) return std::nullopt;
    seconds = 60 * seconds + static_cast<double>(value);
  }
  return seconds;
}

int TerminalColumns(std::FILE* file) {
  winsize size = {};
  if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string FormatDuration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const int64_t total = static_cast<int64_t>(seconds + 0.5);
  const int64_t hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  if (hours > 0) return absl::StrFormat("%d:%02d:%02d", hours, minutes, rest);
  return absl::StrFormat("%d:%02d", minutes, rest);
}

std::string FormatProgressLine(const ProgressPoint& point) {
  return absl::StrFormat("step %d  loss %.6g  grad %.4g  samples/s %.0f  done %.1f%%  eta %s%s%s",
                         point.step, point.loss, point.grad_norm, point.samples_per_second,
                         100 * point.fraction, FormatDuration(point.seconds_left),
                         point.metric.empty() ? "" : "  ", point.metric);
}

std::optional<ProgressPoint> ParseProgressLine(absl::string_view line) {
  // Words alternate between names and values; the metric is the rest.
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  static constexpr const char* kNames[] = {"step", "loss", "grad", "samples/s", "done", "eta"};
  if (words.size() < 12) return std::nullopt;
  for (size_t i = 0; i < 6; ++i) {
    if (words[2 * i] != kNames[i]) return std::nullopt;
  }
  ProgressPoint point;
  std::string percent = words[9];
  if (percent.empty() || percent.back() != '%') return std::nullopt;
  percent.pop_back();
  const std::optional<double> left = ParseDuration(words[11]);
  if (!absl::SimpleAtoi(words[1], &point.step) || !absl::SimpleAtod(words[3], &point.loss) ||
      !absl::SimpleAtod(words[5], &point.grad_norm) ||
      !absl::SimpleAtod(words[7], &point.samples_per_second) ||
      !absl::SimpleAtod(percent, &point.fraction) || !left.has_value()) {
    return std::nullopt;
  }
  point.fraction /= 100;
  point.seconds_left = *left;
  if (words.size() >= 14) point.metric = absl::StrCat(words[12], " ", words[13]);
  return point;
}

std::string FormatProgressBar(const ProgressPoint& point, int columns) {
  const std::string text = absl::StrFormat(
      "%5.1f%%  step %d  %s samples/s  ETA %s  loss %.4f%s%s", 100 * point.fraction, point.step,
      ShortCount(point.samples_per_second), FormatDuration(point.seconds_left), point.loss,
      point.metric.empty() ? "" : "  ", point.metric);
  const int room = std::min(30, columns - 5 - static_cast<int>(text.size()));
  if (room < 4) return text.substr(0, static_cast<size_t>(std::max(0, columns - 1)));
  const double fraction = std::clamp(point.fraction, 0.0, 1.0);
  const int filled = static_cast<int>(fraction * room);
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < room) bar += '>';
  bar.resize(static_cast<size_t>(room), '-');
  return absl::StrCat("[", bar, "] ", text);
}

static std::string FormatMore(const EvaluationResult& result) {
  std::string text;
  for (const NamedMetric& more : result.more) {
    absl::StrAppendFormat(&text, "  %s %.9f", more.name, more.value);
  }
  return text;
}

std::string FormatEvaluation(const EvaluationResult& result) {
  if (result.retrieval) {
    return absl::StrFormat("recall %.9f  NDCG %.9f  hit rate %.9f  samples %d%s", result.recall,
                           result.ndcg, result.hit_rate, result.samples, FormatMore(result));
  }
  std::string text = absl::StrFormat("AUC %.9f", result.auc);
  if (result.has_gauc) absl::StrAppendFormat(&text, "  GAUC %.9f", result.gauc);
  absl::StrAppendFormat(
      &text, "  log-loss %.9f  normalised entropy %.6f  calibration %.6f  samples %d",
      result.log_loss, result.normalized_entropy, result.calibration, result.samples);
  return text + FormatMore(result);
}

std::string FormatMainMetric(const EvaluationResult& result) {
  return result.retrieval ? absl::StrFormat("recall %.5f", result.recall)
                          : absl::StrFormat("AUC %.5f", result.auc);
}

bool Progress::IsTerminal(std::FILE* file) {
  const char* kind = std::getenv("TERM");
  return isatty(fileno(file)) != 0 && kind != nullptr && std::string(kind) != "dumb";
}

void Progress::Log(Step step, double loss, double grad_norm, double samples_per_second,
                   double fraction) {
  const double now = MonotonicSeconds();
  if (!started_) {
    started_ = true;
    start_seconds_ = now;
    start_fraction_ = fraction;
  }
  ProgressPoint point{step, loss, grad_norm, samples_per_second, fraction, -1, metric_};
  if (fraction > start_fraction_) {
    point.seconds_left = (now - start_seconds_) * (1.0 - fraction) / (fraction - start_fraction_);
  }
  Show(point);
}

void Progress::Show(const ProgressPoint& point) {
  if (!terminal_) {
    std::fprintf(out_, "%s\n", FormatProgressLine(point).c_str());
  } else {
    // To the line's start; clear what a longer bar left.
    std::fprintf(out_, "\r\x1b[K%s", FormatProgressBar(point, TerminalColumns(out_)).c_str());
    bar_shown_ = true;
  }
  std::fflush(out_);
}

void Progress::Evaluation(Step step, const EvaluationResult& result) {
  metric_ = FormatMainMetric(result);
  Line(absl::StrCat("evaluation at step ", step, ": ", FormatEvaluation(result)));
}

void Progress::Line(const std::string& text) {
  std::fprintf(out_, "%s%s\n", bar_shown_ ? "\r\x1b[K" : "", text.c_str());
  bar_shown_ = false;
  std::fflush(out_);
}

void Progress::Finish() {
  if (bar_shown_) std::fprintf(out_, "\n");
  bar_shown_ = false;
  std::fflush(out_);
}

}  // namespace pagoda
