#include "deploy/world_files.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <sstream>

#include "absl/strings/match.h"
#include "tests/deploy/scratch_directory.h"

namespace pagoda {
namespace {

WorldRun SmallRun(const std::string& directory) {
  WorldRun run;
  const auto kind = FindWorld("multi_hot");
  REQUIRE(kind.ok());
  run.kind = *kind;
  auto knobs = MakeKnobs(**kind, 7, {"ids=40", "valid_rows=300", "test_rows=5000"}, 9000);
  REQUIRE(knobs.ok());
  run.knobs = *knobs;
  run.directory = directory;
  return run;
}

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST_CASE("the bytes of a world depend neither on threads nor on what is written at once") {
  ScratchDirectory scratch;
  std::vector<std::string> expected;
  for (const auto& [threads, at_once] : {std::pair{1, 1}, {2, 16}, {3, 2}}) {
    WorldRun run = SmallRun(scratch.File("a/b" + std::to_string(threads)));
    run.threads = threads;
    run.at_once = at_once;
    const auto written = WriteWorld(run);
    INFO(written.status());
    REQUIRE(written.ok());
    std::vector<std::string> texts;
    for (const WrittenFile& file : written->files) {
      texts.push_back(Content(run.directory + "/" + file.name));
      CHECK(file.bytes == static_cast<int64_t>(texts.back().size()));
      CHECK(file.rows == std::count(texts.back().begin(), texts.back().end(), '\n') - 1);
    }
    texts.push_back(Content(run.directory + "/world.json"));
    CHECK(texts.back() == written->json);
    if (expected.empty()) expected = texts;
    CHECK(texts == expected);
  }
  CHECK(absl::StartsWith(expected[0], "f1,f2,f3,f4,f5,w1,w2,click\n"));
  CHECK(absl::StrContains(expected[3], "\"world\": \"multi_hot\""));
  CHECK(absl::StrContains(expected[3], "\"seed\": 7"));
  CHECK(absl::StrContains(expected[3], "\"train_rows\": 9000"));
  CHECK(absl::StrContains(expected[3], "\"train.csv\": {\"rows\": 9000, \"bytes\": "));
  CHECK(absl::StrContains(expected[3], "\"oracle_auc\": 0."));
  CHECK(absl::StrContains(expected[3], "\"triple\": ["));
}

TEST_CASE("progress is told up to the last unit") {
  ScratchDirectory scratch;
  WorldRun run = SmallRun(scratch.File("w"));
  int64_t last = 0, all = 0;
  run.progress = [&](int64_t done, int64_t of) {
    CHECK(done > last);
    last = done;
    all = of;
  };
  REQUIRE(WriteWorld(run).ok());
  CHECK(last == all);
}

TEST_CASE("an existing directory is used only when it is empty") {
  ScratchDirectory scratch;
  std::filesystem::create_directory(scratch.File("empty"));
  CHECK(WriteWorld(SmallRun(scratch.File("empty"))).ok());
  const std::string before = Content(scratch.File("empty/train.csv"));
  const auto again = WriteWorld(SmallRun(scratch.File("empty")));
  CHECK(again.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(absl::StrContains(std::string(again.status().message()), "empty is not empty"));
  CHECK(Content(scratch.File("empty/train.csv")) == before);
  scratch.Write("file", "x");
  const auto file = WriteWorld(SmallRun(scratch.File("file")));
  CHECK(file.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(absl::StrContains(std::string(file.status().message()), "is not a directory"));
}

TEST_CASE("a write that fails is named, and nothing is left behind") {
  ScratchDirectory scratch;
  // A limit on the size of a file stands for a full disk: both fail a write.
  rlimit old;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100000, old.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto written = WriteWorld(SmallRun(scratch.File("new")));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
  std::signal(SIGXFSZ, handler);
  REQUIRE_FALSE(written.ok());
  INFO(written.status());
  CHECK(absl::StrContains(std::string(written.status().message()), "cannot write"));
  CHECK(absl::StrContains(std::string(written.status().message()), "new/train.csv"));
  CHECK_FALSE(std::filesystem::exists(scratch.File("new")));
}

}  // namespace
}  // namespace pagoda
