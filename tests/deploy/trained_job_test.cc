#include "deploy/trained_job.h"

#include <catch2/catch.hpp>

#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

namespace {

JobConfig Job(bool test, bool valid) {
  JobConfig job;
  StageOptions stage;
  stage.data.files = {"/train.csv"};
  stage.data.missing = "train";
  stage.data.split_end = 0.9;
  job.trainer.stages = {stage};
  job.trainer.schema.label_positive = "yes";
  if (valid) job.trainer.evaluation.data.files = {"/valid.csv"};
  if (test) {
    job.test = TestSet{stage.data, job.trainer.schema};
    job.test->data.files = {"/test.csv"};
    job.test->data.missing = "test";
    job.test->schema.label_positive = "yes.";
  }
  return job;
}

}  // namespace

TEST_CASE("the job's own sets go by their names") {
  const JobConfig job = Job(true, true);
  CHECK(InputOf(job, "train")->data.files == std::vector<std::string>{"/train.csv"});
  CHECK(InputOf(job, "train")->data.split_end == 0.9);
  CHECK(InputOf(job, "valid")->data.files == std::vector<std::string>{"/valid.csv"});
  CHECK(InputOf(job, "test")->data.files == std::vector<std::string>{"/test.csv"});
  CHECK(InputOf(job, "test")->schema.label_positive == "yes.");
  CHECK(InputOf(job, "valid")->schema.label_positive == "yes");
}

TEST_CASE("a set that the job does not have is named") {
  const JobConfig job = Job(false, false);
  CHECK(absl::IsNotFound(InputOf(job, "test").status()));
  CHECK(absl::IsNotFound(InputOf(job, "valid").status()));
  const absl::Status missing = InputOf(job, "/no/such/file.csv").status();
  CHECK(absl::IsNotFound(missing));
  CHECK(std::string(missing.message()).find("/no/such/file.csv") != std::string::npos);
}

TEST_CASE("a file is read as the test data is, and whole") {
  ScratchDirectory scratch;
  const std::string file = scratch.Write("new.csv", "1,2\n");
  const absl::StatusOr<TestSet> like_test = InputOf(Job(true, true), file);
  REQUIRE(like_test.ok());
  CHECK(like_test->data.files == std::vector<std::string>{file});
  CHECK(like_test->data.missing == "test");
  CHECK(like_test->schema.label_positive == "yes.");
  const absl::StatusOr<TestSet> like_train = InputOf(Job(false, true), file);
  REQUIRE(like_train.ok());
  CHECK(like_train->data.missing == "train");
  CHECK(like_train->data.split_end == 1.0);
}

TEST_CASE("a directory without a cut is no trained job") {
  ScratchDirectory scratch;
  CHECK(absl::IsNotFound(OpenTrainedJob(scratch.path(), {}).status()));
}
