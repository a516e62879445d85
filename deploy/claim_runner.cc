#include "deploy/claim_runner.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "deploy/process_group.h"
#include "deploy/stop_signal.h"
#include "worker/durable_file.h"
#include "worker/job_cut.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kPoll = absl::Milliseconds(20);
constexpr int kLogLinesShown = 8;
constexpr absl::string_view kBestCut = "best cut: ";
constexpr absl::string_view kParameters = "parameters ";

std::string DoneFile(const std::string& directory) {
  return directory + "/done";
}

bool IsDone(const std::string& directory) {
  std::error_code error;
  return fs::exists(DoneFile(directory), error);
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot remove ", path));
}

// The directory of a cut, from the path that a training printed: that may be relative to
// where it ran. In a job of stages the cut is below a folder of the stage's name.
std::string CutInModel(const PlannedRun& run, const std::string& printed) {
  const std::string model = run.ModelDirectory();
  const std::string mark = absl::StrCat(fs::path(run.directory).filename().string(), "/model/");
  const size_t at = printed.rfind(mark);
  if (at != std::string::npos) return absl::StrCat(model, "/", printed.substr(at + mark.size()));
  return CutDirectory(model, fs::path(printed).filename().string());
}

// The cuts that a finished training left.
absl::StatusOr<ArmCuts> CutsOfRun(const PlannedRun& run) {
  PAGODA_ASSIGN_OR_RETURN(const std::string log, ReadWholeFile(run.TrainLog()));
  std::string printed;
  for (absl::string_view line : absl::StrSplit(log, '\n')) {
    // The last one counts: a job of several stages names one a stage.
    if (absl::ConsumePrefix(&line, kBestCut)) printed = std::string(line);
  }
  if (printed.empty()) {
    return absl::InternalError(absl::StrCat(run.TrainLog(), " names no best cut"));
  }
  const std::string best = CutInModel(run, printed);
  PAGODA_ASSIGN_OR_RETURN(const ListedCut last,
                          NewestJobCut(fs::path(best).parent_path().parent_path().string()));
  return ArmCuts{best, last.directory};
}

class Runner {
 public:
  Runner(const Claim& claim, const ClaimRunOptions& options, const ClaimPlan& plan,
         const ClaimProgress& progress)
      : claim_(claim), options_(options), plan_(plan), progress_(progress) {}

  absl::Status Run() {
    PAGODA_RETURN_IF_ERROR(FindFinished());
    while (finished_ < tasks_.size()) {
      PAGODA_RETURN_IF_ERROR(StartReady());
      absl::SleepFor(kPoll);
      if (StopSignal::Requested()) {
        return absl::CancelledError(
            "stopped; what is finished is kept, and the same command goes on from there");
      }
      for (const EndedProcess& process : group_.Reap()) PAGODA_RETURN_IF_ERROR(Ended(process));
    }
    return absl::OkStatus();
  }

 private:
  enum class State { kWaiting, kRunning, kDone };

  // A world, or an arm in one: processes one after another.
  struct Task {
    std::string name;
    std::string directory;
    int world = 0;
    int run = -1;  // -1: the world itself.
    std::vector<size_t> after;
    State state = State::kWaiting;
    size_t step = 0;  // Of a run: 0 trains, k makes prediction k - 1.
    absl::Time began;
    ArmCuts cuts;
  };

  // Makes the tasks, and tells which of them need not run.
  absl::Status FindFinished() {
    for (size_t w = 0; w < plan_.worlds.size(); ++w) {
      const PlannedWorld& world = plan_.worlds[w];
      Task task;
      task.name = absl::StrCat("world ", world.world->name, " seed ", world.seed);
      task.directory = world.directory;
      task.world = static_cast<int>(w);
      task.state = IsDone(world.directory) ? State::kDone : State::kWaiting;
      if (!world.world->directory.empty()) {
        std::error_code error;
        if (!fs::is_directory(world.directory, error)) {
          return absl::NotFoundError(
              absl::StrCat(world.world->where, ": there is no directory ", world.directory));
        }
        task.state = State::kDone;
      }
      tasks_.push_back(std::move(task));
    }
    for (size_t r = 0; r < plan_.runs.size(); ++r) {
      const PlannedRun& run = plan_.runs[r];
      const PlannedWorld& world = plan_.worlds[static_cast<size_t>(run.world)];
      Task task;
      task.name = absl::StrCat(run.arm->name, " in ", world.world->name, " seed ", world.seed);
      task.directory = run.directory;
      task.world = run.world;
      task.run = static_cast<int>(r);
      task.after.push_back(static_cast<size_t>(run.world));
      for (const int other : run.starts_from) task.after.push_back(TaskOfRun(other));
      task.state = run.arm->job.empty() || IsDone(run.directory) ? State::kDone : State::kWaiting;
      tasks_.push_back(std::move(task));
    }
    WakeThoseNeeded();
    finished_ = static_cast<size_t>(std::count_if(
        tasks_.begin(), tasks_.end(), [](const Task& task) { return task.state == State::kDone; }));
    if (finished_ > 0) {
      progress_(absl::StrFormat("%d of %d are finished already", finished_, tasks_.size()));
    }
    return absl::OkStatus();
  }

  size_t TaskOfRun(int run) const { return plan_.worlds.size() + static_cast<size_t>(run); }

  // A finished run whose model is gone, and from which an unfinished one starts, runs
  // again. Later runs start from earlier ones, so one pass from the end finds all.
  void WakeThoseNeeded() {
    for (size_t r = plan_.runs.size(); r-- > 0;) {
      if (tasks_[TaskOfRun(static_cast<int>(r))].state == State::kDone) continue;
      for (const int other : plan_.runs[r].starts_from) {
        std::error_code error;
        const PlannedRun& source = plan_.runs[static_cast<size_t>(other)];
        if (!fs::exists(source.ModelDirectory(), error)) {
          tasks_[TaskOfRun(other)].state = State::kWaiting;
        }
      }
    }
  }

  absl::Status StartReady() {
    for (Task& task : tasks_) {
      if (group_.CountRunning("") >= options_.parallel) return absl::OkStatus();
      if (task.state != State::kWaiting) continue;
      const bool ready = std::all_of(task.after.begin(), task.after.end(), [&](size_t other) {
        return tasks_[other].state == State::kDone;
      });
      if (ready) PAGODA_RETURN_IF_ERROR(Begin(task));
    }
    return absl::OkStatus();
  }

  absl::Status Begin(Task& task) {
    PAGODA_RETURN_IF_ERROR(RemoveAll(task.directory));
    PAGODA_RETURN_IF_ERROR(MakeDirectories(task.directory));
    task.state = State::kRunning;
    task.began = absl::Now();
    return StartStep(task);
  }

  absl::Status StartStep(Task& task) {
    ProcessOptions process;
    process.name = absl::StrCat("task-", &task - tasks_.data());
    const PlannedWorld& world = plan_.worlds[static_cast<size_t>(task.world)];
    if (task.run < 0) {
      process.arguments = SynthWords(options_, world);
      // Beside the directory: `pagoda synth` may want an empty one.
      process.log_path = task.directory + ".log";
    } else {
      const PlannedRun& run = plan_.runs[static_cast<size_t>(task.run)];
      if (task.step == 0) {
        std::map<std::string, ArmCuts> cuts;
        for (const int other : run.starts_from) {
          const PlannedRun& source = plan_.runs[static_cast<size_t>(other)];
          PAGODA_ASSIGN_OR_RETURN(cuts[source.arm->name], CutsOfRun(source));
        }
        process.arguments = TrainWords(claim_, options_, world, run, cuts);
        process.log_path = run.TrainLog();
      } else {
        const ClaimPrediction& prediction = *run.predictions[task.step - 1];
        process.arguments = PredictWords(claim_, options_, world, run, prediction, task.cuts);
        process.log_path = absl::StrCat(run.directory, "/", prediction.name, ".log");
      }
    }
    return group_.Start(process);
  }

  Task& TaskOf(const EndedProcess& process) {
    absl::string_view name = process.name;
    size_t index = 0;
    PAGODA_CHECK(absl::ConsumePrefix(&name, "task-") && absl::SimpleAtoi(name, &index));
    return tasks_[index];
  }

  absl::Status Ended(const EndedProcess& process) {
    Task& task = TaskOf(process);
    if (!process.succeeded()) {
      const std::vector<std::string> lines = LastLines(process.log_path, kLogLinesShown);
      return absl::InternalError(
          absl::StrCat(task.name, ": its process ", process.Describe(), "; see ", process.log_path,
                       lines.empty() ? "" : ":\n  ", absl::StrJoin(lines, "\n  ")));
    }
    if (task.run < 0) return Finish(task, "");
    const PlannedRun& run = plan_.runs[static_cast<size_t>(task.run)];
    if (task.step == 0) {
      PAGODA_ASSIGN_OR_RETURN(task.cuts, CutsOfRun(run));
    }
    if (task.step < run.predictions.size()) {
      ++task.step;
      return StartStep(task);
    }
    PAGODA_ASSIGN_OR_RETURN(const proto::JobCut cut, ReadCutManifest(task.cuts.best));
    return Finish(task, absl::StrCat(kParameters, cut.num_elements(), "\n"));
  }

  absl::Status Finish(Task& task, const std::string& text) {
    PAGODA_RETURN_IF_ERROR(ReplaceFileDurably(DoneFile(task.directory), text));
    task.state = State::kDone;
    ++finished_;
    progress_(absl::StrFormat("[%d/%d] %s: %.1f s", finished_, tasks_.size(), task.name,
                              absl::ToDoubleSeconds(absl::Now() - task.began)));
    if (task.run < 0) return absl::OkStatus();
    // Its own model, and those that it was the last to start from.
    PAGODA_RETURN_IF_ERROR(DropModelOf(task.run));
    for (const int other : plan_.runs[static_cast<size_t>(task.run)].starts_from) {
      PAGODA_RETURN_IF_ERROR(DropModelOf(other));
    }
    return absl::OkStatus();
  }

  absl::Status DropModelOf(int run) {
    for (size_t r = 0; r < plan_.runs.size(); ++r) {
      const std::vector<int>& sources = plan_.runs[r].starts_from;
      if (std::find(sources.begin(), sources.end(), run) == sources.end()) continue;
      if (tasks_[TaskOfRun(static_cast<int>(r))].state != State::kDone) return absl::OkStatus();
    }
    return RemoveAll(plan_.runs[static_cast<size_t>(run)].ModelDirectory());
  }

  const Claim& claim_;
  const ClaimRunOptions& options_;
  const ClaimPlan& plan_;
  const ClaimProgress& progress_;
  ProcessGroup group_;
  std::vector<Task> tasks_;
  size_t finished_ = 0;
};

}  // namespace

absl::Status RunClaimPlan(const Claim& claim, const ClaimRunOptions& options, const ClaimPlan& plan,
                          const ClaimProgress& progress) {
  return Runner(claim, options, plan, progress).Run();
}

absl::StatusOr<int64_t> ParametersOfRun(const PlannedRun& run) {
  PAGODA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(DoneFile(run.directory)));
  absl::string_view rest = text;
  int64_t parameters = 0;
  if (absl::ConsumePrefix(&rest, kParameters) &&
      absl::SimpleAtoi(absl::StripSuffix(rest, "\n"), &parameters)) {
    return parameters;
  }
  return absl::DataLossError(absl::StrCat(DoneFile(run.directory), " is damaged"));
}

}  // namespace pagoda
