#include "deploy/output_directory.h"

#include <catch2/catch.hpp>

#include <filesystem>

#include "tests/deploy/scratch_directory.h"
#include "worker/job_cut.h"

using namespace pagoda;

namespace {

namespace fs = std::filesystem;

JobConfig JobIn(const std::string& output) {
  JobConfig job;
  job.trainer.output_dir = output;
  job.effective_text = "[job]\n";
  return job;
}

// A complete cut made with `servers` servers.
std::string MakeCut(const std::string& output, int64_t step, int servers) {
  fs::create_directories(output + "/cuts");
  const absl::StatusOr<std::string> directory = BeginJobCut(output, CutName(step, 1));
  INFO(directory.status());
  REQUIRE(directory.ok());
  JobCut cut;
  cut.manifest.set_cut(CutName(step, 1));
  cut.manifest.set_step(step);
  cut.manifest.set_epoch(1);
  for (int i = 0; i < servers; ++i) cut.manifest.add_servers()->set_directory("/nowhere");
  const absl::Status written = WriteJobCut(*directory, cut);
  INFO(written);
  REQUIRE(written.ok());
  return *directory;
}

void MakeServer(const std::string& output, int server) {
  fs::create_directories(ServerDirectory(output, server) + "/store");
}

}  // namespace

TEST_CASE("a fresh start makes the directory and keeps a copy of the job") {
  ScratchDirectory scratch;
  const std::string output = scratch.File("a/b");
  const auto cut = PrepareOutput(JobIn(output), {});
  REQUIRE(cut.ok());
  CHECK(cut->empty());
  CHECK(fs::exists(output + "/job.toml"));
}

TEST_CASE("a fresh start does not touch an earlier run") {
  ScratchDirectory scratch;
  const std::string output = scratch.path();
  const std::string cut = MakeCut(output, 10, 1);
  MakeServer(output, 0);
  const absl::Status refused = PrepareOutput(JobIn(output), {}).status();
  CHECK(absl::IsFailedPrecondition(refused));
  CHECK(std::string(refused.message()).find("--resume") != std::string::npos);
  CHECK(fs::exists(cut + "/manifest"));
  CHECK(fs::exists(ServerDirectory(output, 0)));
  CHECK_FALSE(fs::exists(output + "/job.toml"));
}

TEST_CASE("overwrite removes what a run wrote, and nothing else") {
  ScratchDirectory scratch;
  const std::string output = scratch.path();
  MakeCut(output, 10, 1);
  MakeServer(output, 0);
  MakeServer(output, 7);
  fs::create_directories(output + "/logs");
  fs::create_directories(output + "/server-room");  // Not a server's: no store in it.
  scratch.Write("thesis.txt", "important");
  StartArguments start;
  start.overwrite = true;
  REQUIRE(PrepareOutput(JobIn(output), start).ok());
  CHECK_FALSE(fs::exists(output + "/cuts"));
  CHECK_FALSE(fs::exists(ServerDirectory(output, 0)));
  CHECK_FALSE(fs::exists(ServerDirectory(output, 7)));
  CHECK_FALSE(fs::exists(output + "/logs"));
  CHECK(fs::exists(output + "/server-room"));
  CHECK(fs::exists(output + "/thesis.txt"));
}

TEST_CASE("an overwrite that was killed leaves all cuts or none, and the next start tidies up") {
  ScratchDirectory scratch;
  const std::string output = scratch.path();
  MakeServer(output, 0);
  // Killed after the cuts were put aside, and with some of them gone.
  fs::create_directories(output + "/cuts.removed/step-000000010");
  const bool overwrite = GENERATE(false, true);
  StartArguments start;
  start.overwrite = overwrite;
  REQUIRE(PrepareOutput(JobIn(output), start).ok());
  CHECK_FALSE(fs::exists(output + "/cuts.removed"));
  CHECK_FALSE(fs::exists(ServerDirectory(output, 0)));
  if (!overwrite) return;
  // With cuts and older ones put aside.
  MakeCut(output, 10, 1);
  fs::create_directories(output + "/cuts.removed/step-000000005");
  scratch.Write("finished", "cut step-000000010\n");
  REQUIRE(PrepareOutput(JobIn(output), start).ok());
  for (const char* name : {"/cuts", "/cuts.removed", "/finished"}) {
    CHECK_FALSE(fs::exists(output + name));
  }
}

TEST_CASE("rows without any cut are removed by a fresh start: nothing can resume them") {
  ScratchDirectory scratch;
  const std::string output = scratch.path();
  MakeServer(output, 0);
  fs::create_directories(output + "/cuts/step-000000005");  // Begun, never finished.
  REQUIRE(PrepareOutput(JobIn(output), {}).ok());
  CHECK_FALSE(fs::exists(ServerDirectory(output, 0)));
}

TEST_CASE("resume finds the newest cut, or takes the one that is named") {
  ScratchDirectory scratch;
  const std::string output = scratch.path();
  StartArguments start;
  start.resume = true;
  const absl::Status none = PrepareOutput(JobIn(output), start).status();
  CHECK(absl::IsNotFound(none));
  CHECK(std::string(none.message()).find("no complete cut") != std::string::npos);
  const std::string old = MakeCut(output, 10, 2);
  const std::string newest = MakeCut(output, 20, 2);
  MakeServer(output, 0);
  CHECK(*PrepareOutput(JobIn(output), start) == newest);
  CHECK(fs::exists(ServerDirectory(output, 0)));
  start.resume_cut = old;
  CHECK(*PrepareOutput(JobIn(output), start) == old);
  start.resume_cut = scratch.File("no-such-cut");
  CHECK_FALSE(PrepareOutput(JobIn(output), start).ok());
}

TEST_CASE("the resume command can be pasted into a shell") {
  JobArguments job;
  job.program = "build/pagoda";
  job.job_path = "my job.toml";
  job.assignments = {"train.epochs=3", "model.hidden=[64, 32]", "data.missing='?'"};
  CHECK(ResumeCommand("train", job, "--servers 2") ==
        "build/pagoda train 'my job.toml' --set train.epochs=3 --set 'model.hidden=[64, 32]' "
        "--set 'data.missing='\\''?'\\''' --servers 2 --resume");
  CHECK(ShellQuote("") == "''");
  CHECK(ShellQuote("a/b-c_d.e=f:1,2") == "a/b-c_d.e=f:1,2");
  CHECK(ShellQuote("$x") == "'$x'");
}

TEST_CASE("paths are shown short where that is clear") {
  const std::string here = fs::current_path().string();
  CHECK(ShortPath(here + "/runs/x") == "runs/x");
  CHECK(ShortPath(here) == here);
  CHECK(ShortPath(here + "-other/x") == here + "-other/x");
  CHECK(ShortPath("/elsewhere/x") == "/elsewhere/x");
}
