#include "deploy/training_run.h"

#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "deploy/output_directory.h"
#include "deploy/progress.h"
#include "deploy/stop_signal.h"
#include "worker/hand_over.h"
#include "worker/trainer.h"

namespace pagoda {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

absl::StatusOr<File> OpenTrace(const TrainingRun& run) {
  File file(nullptr, std::fclose);
  if (run.trace_path.empty() || run.allreduce->rank() != 0) return file;
  file.reset(std::fopen(run.trace_path.c_str(), "w"));
  if (file == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write the trace ", run.trace_path));
  }
  return file;
}

// The trainer of this process, while it runs, for the signal handler.
class StopTrainerOnSignal {
 public:
  explicit StopTrainerOnSignal(Trainer* trainer) {
    StopSignal::SetCallback([](void* context) { static_cast<Trainer*>(context)->RequestStop(); },
                            trainer);
  }
  ~StopTrainerOnSignal() { StopSignal::SetCallback(nullptr, nullptr); }
};

TrainObserver Observe(Progress& progress, std::FILE* trace, bool first) {
  TrainObserver observer;
  observer.on_log = [&progress](Step step, double loss, double grad_norm, double samples_per_second,
                                double fraction) {
    progress.Log(step, loss, grad_norm, samples_per_second, fraction);
  };
  observer.on_evaluation = [&progress](Step step, const EvaluationResult& result) {
    progress.Evaluation(step, result);
  };
  if (first) {
    observer.on_line = [&progress](const std::string& line) { progress.Line(line); };
    observer.on_cut = [&progress](Step step, const std::string& cut) {
      progress.Line(absl::StrCat("cut at step ", step, ": ", ShortPath(cut)));
    };
  }
  if (trace != nullptr) {
    observer.on_step = [trace](Step step, double loss) {
      absl::FPrintF(trace, "%d %a\n", step, loss);
      std::fflush(trace);
    };
  }
  return observer;
}

void ShowResult(const TrainingRun& run, const TrainResult& result, Progress& progress) {
  const double rate =
      result.seconds > 0 ? static_cast<double>(result.samples) / result.seconds : 0.0;
  progress.Line(absl::StrFormat("%s at step %d: %d samples in %s (%.0f samples/s), last loss %.6g",
                                result.interrupted ? "stopped" : "finished", result.steps,
                                result.samples, FormatDuration(result.seconds), rate,
                                result.last_loss));
  if (result.row_cache.lookups > 0) {
    progress.Line(absl::StrFormat(
        "rows on the GPU: %.1f %% of %d lookups (%d taken in, %d given up, %d too old)",
        100.0 * static_cast<double>(result.row_cache.hits) /
            static_cast<double>(result.row_cache.lookups),
        result.row_cache.lookups, result.row_cache.admitted, result.row_cache.evicted,
        result.row_cache.aged));
  }
  if (result.nonfinite_steps > 0) {
    progress.Line(absl::StrCat("steps left out, not finite: ", result.nonfinite_steps));
  }
  if (run.allreduce->rank() != 0) return;
  std::vector<std::string> tables;
  for (const TableUse& table : result.tables) {
    tables.push_back(absl::StrCat(table.name, " ", table.pushed, table.frozen ? " (frozen)" : ""));
  }
  progress.Line(absl::StrCat("row gradients pushed: ", absl::StrJoin(tables, ", ")));
  if (result.best.samples > 0) {
    progress.Line(absl::StrCat("best evaluation, at step ", result.best_step, ": ",
                               FormatEvaluation(result.best)));
  }
  if (result.interrupted) {
    progress.Line(absl::StrCat("cut: ", ShortPath(result.final_cut)));
    if (!run.resume_command.empty()) {
      progress.Line(absl::StrCat("resume with: ", run.resume_command));
    }
    return;
  }
  progress.Line(absl::StrCat("best cut: ", ShortPath(result.final_cut)));
  progress.Line(absl::StrCat("TensorBoard: tensorboard --logdir ",
                             ShellQuote(ShortPath(run.job->trainer.output_dir))));
}

}  // namespace

absl::StatusOr<int> RunTraining(const TrainingRun& run) {
  PAGODA_ASSIGN_OR_RETURN(const File trace, OpenTrace(run));
  TrainerOptions options = run.job->trainer;
  options.job_text = run.job->effective_text;
  options.keep_newer = run.keep_newer;
  options.start.pause = run.hand_over_pause;
  const bool first = run.allreduce->rank() == 0;
  if (first) PAGODA_RETURN_IF_ERROR(ForgetFinished(options.output_dir));
  Progress progress(stdout, Progress::IsTerminal(stdout));
  PAGODA_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                          Trainer::Create(options, run.client, run.allreduce,
                                          Observe(progress, trace.get(), first), run.resume_cut));
  if (!run.resume_cut.empty() && first) {
    progress.Line(absl::StrCat("resuming from ", ShortPath(run.resume_cut)));
  }
  absl::StatusOr<TrainResult> result = absl::UnknownError("not run");
  {
    const StopTrainerOnSignal stop(trainer.get());
    result = trainer->Run();
  }
  progress.Finish();
  PAGODA_RETURN_IF_ERROR(result.status());
  ShowResult(run, *result, progress);
  if (first && !result->interrupted) {
    PAGODA_RETURN_IF_ERROR(WriteFinished(options.output_dir, result->final_cut));
  }
  return result->interrupted ? kExitInterrupted : 0;
}

}  // namespace pagoda
