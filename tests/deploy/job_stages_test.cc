#include "deploy/job_stages.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/worker/temporary_directory.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

constexpr const char* kJob = R"([job]
name = "movies"
output = "/out"

[data]
files = "train.csv"

[schema]
label = "click"

[features]
user = "id"
movie = "id"

[model]
name = "dnn"
embedding_dim = 4

[table.user]
learning_rate = 0.5

[group.deep]
match = "deep.*"
learning_rate = 0.1

[train]
batch_size = 64
epochs = 2

[stage.pretrain]

[stage.pretrain.model]
name = "fm"

[stage.pretrain.features]
movie = "id"

[stage.pretrain.train]
epochs = 7

[stage.finetune]
from = "pretrain"
cut = "last"
load = ["movie", "a.* -> b.*", "!x"]
freeze = "movie"

[stage.finetune.model]
embedding_dim = 8

[stage.finetune.data]
files = "labels.csv"

[stage.finetune.data.valid]
files = "valid.csv"
)";

std::string Replaced(const std::string& from, const std::string& to) {
  std::string text = kJob;
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

absl::StatusOr<std::vector<JobConfig>> Load(const std::string& text,
                                            const std::vector<std::string>& assignments = {}) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "job.toml") << text;
  return LoadJobs(directory / "job.toml", assignments);
}

std::string Error(const std::string& text, const std::vector<std::string>& assignments = {}) {
  const auto jobs = Load(text, assignments);
  return jobs.ok() ? "(none)" : std::string(jobs.status().message());
}

TEST_CASE("a stage is the job around it with the stage's own keys put in") {
  const auto jobs = Load(kJob);
  INFO(jobs.status());
  REQUIRE(jobs.ok());
  REQUIRE(jobs->size() == 2);
  const TrainerOptions& pretrain = (*jobs)[0].trainer;
  const TrainerOptions& finetune = (*jobs)[1].trainer;
  CHECK(pretrain.job == "movies.pretrain");
  CHECK(pretrain.output_dir == "/out/pretrain");
  CHECK((*jobs)[0].base_output == "/out");
  CHECK(pretrain.start.stage == "pretrain");
  CHECK(pretrain.start.from.empty());
  CHECK(pretrain.batch_size == 64);
  CHECK(pretrain.stages[0].epochs == 7);
  CHECK(finetune.stages[0].epochs == 2);
  CHECK(finetune.start.from == "/out/pretrain");
  CHECK(finetune.start.from_stage == "pretrain");
  CHECK(finetune.start.cut == "last");
  CHECK(finetune.start.load == std::vector<std::string>{"movie", "a.* -> b.*", "!x"});
  CHECK(finetune.stages[0].freeze == std::vector<std::string>{"movie"});
  CHECK_THAT(finetune.stages[0].data.files[0], Catch::Matchers::EndsWith("/labels.csv"));
  CHECK_THAT(finetune.evaluation.data.files[0], Catch::Matchers::EndsWith("/valid.csv"));
  CHECK(pretrain.evaluation.data.files.empty());
}

TEST_CASE("features and another model replace the job's, and what they lack is left out") {
  const auto jobs = Load(kJob);
  REQUIRE(jobs.ok());
  const TrainerOptions& pretrain = (*jobs)[0].trainer;
  const TrainerOptions& finetune = (*jobs)[1].trainer;
  REQUIRE(pretrain.schema.features.size() == 1);
  CHECK(pretrain.schema.features[0].name == "movie");
  CHECK(finetune.schema.features.size() == 2);
  CHECK(pretrain.model == "fm");
  CHECK(finetune.model == "dnn");
  CHECK(finetune.model_options.Get<int64_t>("embedding_dim") == 8);
  // pretrain has neither the table nor the layers that these sections name.
  CHECK(pretrain.sparse.overrides.empty());
  CHECK(pretrain.dense.groups.empty());
  CHECK(finetune.sparse.overrides.size() == 1);
  REQUIRE(finetune.dense.groups.size() == 1);
  CHECK(finetune.dense.groups[0].learning_rate == 0.1);
  // A stage's own sections must mean something.
  CHECK_THAT(Error(std::string(kJob) + "[stage.pretrain.table.user]\nlearning_rate = 1.0\n"),
             Contains("no table 'user'"));
}

TEST_CASE("the text beside a stage's cuts is a job file of its own") {
  const auto jobs = Load(kJob);
  REQUIRE(jobs.ok());
  for (const JobConfig& job : *jobs) {
    INFO(job.effective_text);
    const auto again = Load(job.effective_text);
    INFO(again.status());
    REQUIRE(again.ok());
    REQUIRE(again->size() == 1);
    const JobConfig& back = (*again)[0];
    CHECK(back.trainer.job == job.trainer.job);
    CHECK(back.trainer.start.from == job.trainer.start.from);
    CHECK(back.trainer.stages[0].freeze == job.trainer.stages[0].freeze);
  }
}

TEST_CASE("--set changes what stages have in common, or one of them") {
  const auto jobs =
      Load(kJob, {"train.batch_size=32", "stage.finetune.train.epochs=9", "job.output=/there",
                  "stage.finetune.freeze=[]", "stage.pretrain.features.user=\"id\""});
  INFO(jobs.status());
  REQUIRE(jobs.ok());
  CHECK((*jobs)[0].trainer.batch_size == 32);
  CHECK((*jobs)[1].trainer.batch_size == 32);
  CHECK((*jobs)[0].trainer.stages[0].epochs == 7);
  CHECK((*jobs)[1].trainer.stages[0].epochs == 9);
  CHECK((*jobs)[1].trainer.start.from == "/there/pretrain");
  CHECK((*jobs)[1].trainer.stages[0].freeze.empty());
  CHECK((*jobs)[0].trainer.schema.features.size() == 2);
}

TEST_CASE("a job without stages is one job, and may start from another one too") {
  const std::string text = kJob;
  const std::string plain = text.substr(0, text.find("[stage.pretrain]"));
  const auto jobs = Load(plain + "[start]\nfrom = \"runs/other\"\nfreeze = [\"user\"]\n");
  INFO(jobs.status());
  REQUIRE(jobs.ok());
  REQUIRE(jobs->size() == 1);
  CHECK((*jobs)[0].trainer.start.stage.empty());
  CHECK((*jobs)[0].trainer.start.from == (std::filesystem::current_path() / "runs/other").string());
  CHECK((*jobs)[0].base_output == "/out");
}

TEST_CASE("what is wrong with stages is said with file and line") {
  CHECK_THAT(Error(Replaced("from = \"pretrain\"", "from = \"pretrian\"")),
             Contains("job.toml:") && Contains("did you mean 'pretrain'"));
  CHECK_THAT(Error(Replaced("[stage.pretrain]\n", "[stage.pretrain]\nfrom = \"finetune\"\n")),
             Contains("there is no stage above stage 'pretrain'"));
  CHECK_THAT(Error(Replaced("from = \"pretrain\"", "")), Contains("'load' without 'from'"));
  CHECK_THAT(Error(Replaced("freeze = \"movie\"", "freeze = \"movies\"")),
             Contains("\"movies\" names no table") && Contains("'movie'"));
  CHECK_THAT(Error(Replaced("\"!x\"", "\"!x -> y\"")), Contains("both '!' and '->'"));
  CHECK_THAT(Error(Replaced("[stage.finetune]\n", "[stage.finetune]\nepochs = 3\n")),
             Contains("unknown key 'epochs'"));
  CHECK_THAT(Error(Replaced("[stage.finetune.data]", "[stage.finetune.dtaa]")),
             Contains("stage 'finetune'") && Contains("unknown section"));
  CHECK_THAT(Error(std::string(kJob) + "[stage.finetune.job]\noutput = \"x\"\n"),
             Contains("belongs to the job around"));
  CHECK_THAT(Error(std::string(kJob) + "[start]\nfreeze = \"movie\"\n"),
             Contains("has no [start]"));
  CHECK_THAT(Error(std::string(kJob) + "[stage.\"a/b\"]\n"), Contains("letters, digits"));
  CHECK_THAT(Error(Replaced("match = \"deep.*\"", "match = \"dep.*\"")),
             Contains("[group.deep] names nothing in the model of any stage"));
}

TEST_CASE("one stage is loaded by its name") {
  const TemporaryDirectory directory;
  const std::string path = directory / "job.toml";
  std::ofstream(path) << kJob;
  CHECK(LoadJob(path, {}, "finetune")->trainer.job == "movies.finetune");
  CHECK_THAT(std::string(LoadJob(path, {}).status().message()),
             Contains("--stage: pretrain, finetune"));
  CHECK_THAT(std::string(LoadJob(path, {}, "x").status().message()),
             Contains("has the stages pretrain, finetune"));
}

}  // namespace
}  // namespace pagoda
