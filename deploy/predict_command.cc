// `pagoda evaluate` and `pagoda predict`: what a cut makes of data.

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/progress.h"
#include "deploy/trained_job.h"

namespace pagoda {
namespace {

// A CSV file that appears under its name only when it is whole.
class ScoreFile {
 public:
  explicit ScoreFile(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {}
  ~ScoreFile() {
    if (file_ == nullptr) return;
    std::fclose(file_);
    std::remove(partial_.c_str());
  }

  absl::Status Open() {
    file_ = std::fopen(partial_.c_str(), "w");
    return file_ == nullptr ? Error("cannot write ") : absl::OkStatus();
  }

  absl::Status Write(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), file_) == text.size()) return absl::OkStatus();
    return Error("cannot write ");
  }

  absl::Status Finish() {
    std::FILE* file = file_;
    file_ = nullptr;
    const bool closed = std::fclose(file) == 0;
    if (closed && std::rename(partial_.c_str(), path_.c_str()) == 0) return absl::OkStatus();
    const absl::Status status = Error("cannot finish ");
    std::remove(partial_.c_str());
    return status;
  }

 private:
  absl::Status Error(const std::string& what) const {
    return absl::ErrnoToStatus(errno, what + path_);
  }

  std::string path_, partial_;
  std::FILE* file_ = nullptr;
};

struct Columns {
  bool label = false, weight = false, group = false;
  bool header_written = false;
};

// Named outputs are known from the first batch on.
std::string Header(const Columns& columns, const BatchScores& made) {
  std::string text = absl::StrCat("score", columns.label ? ",label" : "",
                                  columns.weight ? ",weight" : "", columns.group ? ",group" : "");
  for (const ModelStep::Output& output : made.outputs) absl::StrAppend(&text, ",", output.name);
  return text + "\n";
}

std::string Lines(Columns& columns, const Batch& batch, const BatchScores& made) {
  std::string text;
  if (!std::exchange(columns.header_written, true)) text = Header(columns, made);
  for (size_t i = 0; i < made.scores.size(); ++i) {
    // Nine digits tell any two floats apart.
    absl::StrAppendFormat(&text, "%.9g", made.scores[i]);
    if (columns.label) absl::StrAppendFormat(&text, ",%.9g", batch.labels[i]);
    if (columns.weight) absl::StrAppendFormat(&text, ",%.9g", batch.weights[i]);
    if (columns.group) absl::StrAppend(&text, ",", batch.groups[i]);
    for (const ModelStep::Output& output : made.outputs) {
      absl::StrAppendFormat(&text, ",%.9g", output.values[i]);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

absl::StatusOr<int> RunEvaluate(const EvaluateArguments& arguments) {
  InitLogging("evaluate", LogLevel::kWarning);
  PAGODA_ASSIGN_OR_RETURN(const TrainedJob trained,
                          OpenTrainedJob(arguments.cut, arguments.assignments));
  PAGODA_ASSIGN_OR_RETURN(const TestSet input, InputOf(trained.job, arguments.input));
  EvaluationOptions options = trained.job.trainer.evaluation;
  options.data = input.data;
  options.batch_size = trained.model->evaluation_batch_size();
  PAGODA_ASSIGN_OR_RETURN(const EvaluationResult result,
                          trained.model->Evaluate(options, input.schema));
  absl::PrintF("%s: %s\n", arguments.input, FormatEvaluation(result));
  return 0;
}

absl::StatusOr<int> RunPredict(const PredictArguments& arguments) {
  InitLogging("predict", LogLevel::kWarning);
  PAGODA_ASSIGN_OR_RETURN(const TrainedJob trained,
                          OpenTrainedJob(arguments.cut, arguments.assignments));
  PAGODA_ASSIGN_OR_RETURN(const TestSet input, InputOf(trained.job, arguments.input));
  ScoreOptions options;
  options.data = input.data;
  options.data.on_bad_row = "fail";  // A row without a score would shift all that follow.
  options.schema = input.schema;
  options.schema.slices.clear();
  options.batch_size = trained.model->evaluation_batch_size();
  options.needs_labels = arguments.labels;
  options.shows_targets = arguments.labels;
  Columns columns;
  columns.label = arguments.labels;
  columns.weight = arguments.labels && !input.schema.weight.empty();
  columns.group = arguments.labels && !input.schema.group.empty();
  if (!arguments.labels) {
    // What the scores do not need may be absent from the file.
    options.schema.weight.clear();
    options.schema.group.clear();
    options.schema.targets.clear();
  }
  ScoreFile file(arguments.output);
  PAGODA_RETURN_IF_ERROR(file.Open());
  int64_t rows = 0;
  PAGODA_RETURN_IF_ERROR(
      trained.model->Score(options, [&](const Batch& batch, const BatchScores* made) {
        rows += batch.size;
        return made == nullptr ? absl::OkStatus() : file.Write(Lines(columns, batch, *made));
      }));
  PAGODA_RETURN_IF_ERROR(file.Finish());
  absl::PrintF("wrote %d scores to %s\n", rows, arguments.output);
  return 0;
}

}  // namespace pagoda
