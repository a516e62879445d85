#include "deploy/trained_job.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "deploy/job_stages.h"
#include "worker/durable_file.h"
#include "worker/job_cut.h"

namespace pagoda {

absl::StatusOr<TrainedJob> OpenTrainedJob(const std::string& cut,
                                          const std::vector<std::string>& assignments) {
  PAGODA_ASSIGN_OR_RETURN(const proto::JobCut manifest, ReadCutManifest(cut));
  TrainedJob trained;
  PAGODA_ASSIGN_OR_RETURN(trained.job, LoadJob(absl::StrCat(cut, "/job.toml"), assignments));
  PAGODA_ASSIGN_OR_RETURN(trained.servers, EmbeddedServers::OpenCut(trained.job.server, manifest));
  PAGODA_ASSIGN_OR_RETURN(trained.model,
                          TrainedModel::Load(cut, trained.job.trainer, &trained.servers->client()));
  return trained;
}

absl::StatusOr<TestSet> InputOf(const JobConfig& job, const std::string& input) {
  const DataOptions& train = job.trainer.stages[0].data;
  const DataOptions& valid = job.trainer.evaluation.data;
  if (input == "train") return TestSet{train, job.trainer.schema};
  if (input == "valid" && !valid.files.empty()) return TestSet{valid, job.trainer.schema};
  if (input == "test" && job.test.has_value()) return *job.test;
  if (input == "valid" || input == "test") {
    return absl::NotFoundError(absl::StrCat("the job file of this cut has no [data.", input, "]"));
  }
  if (!std::filesystem::exists(input)) {
    return absl::NotFoundError(
        absl::StrCat("there is no file ", input, " (--input takes test, valid, train, or a file)"));
  }
  TestSet set = job.test.has_value() ? *job.test : TestSet{train, job.trainer.schema};
  set.data.files = {std::filesystem::absolute(input).string()};
  set.data.split_begin = 0.0;
  set.data.split_end = 1.0;
  return set;
}

}  // namespace pagoda
