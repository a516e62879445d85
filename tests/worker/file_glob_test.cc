#include "worker/file_glob.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/worker/data_files.h"

namespace pagoda {
namespace {

using testing::DataDir;

std::string ErrorOf(const std::vector<std::string>& patterns) {
  return std::string(ExpandFiles(patterns).status().message());
}

}  // namespace

TEST_CASE("a pattern's files are sorted by byte value, patterns keep their order") {
  const DataDir dir;
  for (const char* name : {"part-10", "part-2", "part-1", "Part-3", "other", ".part-hidden"}) {
    dir.Write(name, "x");
  }
  const auto files = ExpandFiles({dir.Path("other"), dir.Path("[Pp]art-*")});
  REQUIRE(files.ok());
  CHECK(*files == std::vector<std::string>{dir.Path("other"), dir.Path("Part-3"),
                                           dir.Path("part-1"), dir.Path("part-10"),
                                           dir.Path("part-2")});
  CHECK(ExpandFiles({dir.Path("part-?")})->size() == 2);
}

TEST_CASE("a path that exists is taken as it is, whatever it holds") {
  const DataDir dir;
  const std::string odd = dir.Write("a[1]*?", "x");
  dir.Write("a1", "x");
  CHECK(*ExpandFiles({odd}) == std::vector<std::string>{odd});
}

TEST_CASE("globs match folders in the middle") {
  const DataDir dir;
  for (const char* day : {"2", "1"}) {
    std::filesystem::create_directory(dir.Path(day));
    dir.Write(std::string(day) + "/log", "x");
  }
  CHECK(*ExpandFiles({dir.Path("*/log")}) ==
        std::vector<std::string>{dir.Path("1/log"), dir.Path("2/log")});
}

TEST_CASE("what matches nothing, or twice, is named") {
  const DataDir dir;
  const std::string a = dir.Write("a.csv", "x");
  CHECK(ErrorOf({}) == "no data files are given");
  CHECK(ErrorOf({""}) == "data files: a path is empty");
  CHECK(ErrorOf({dir.Path("b.csv")}) == dir.Path("b.csv") + ": no such file");
  CHECK(ErrorOf({dir.Path("*.tsv")}) == dir.Path("*.tsv") + ": no file matches this pattern");
  CHECK(ExpandFiles({dir.Path("*.tsv")}).status().code() == absl::StatusCode::kNotFound);
  CHECK(ErrorOf({a, dir.Path("*.csv")}) ==
        a + ": the file is listed twice (again by '" + dir.Path("*.csv") + "')");
}

}  // namespace pagoda
