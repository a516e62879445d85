#include "deploy/job_file_toml.h"

#include <catch2/catch.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>

using namespace pagoda;

namespace {

JobDocument Parse(const std::string& text) {
  absl::StatusOr<JobDocument> document = ParseJobText("job.toml", text);
  INFO(document.status());
  REQUIRE(document.ok());
  return *document;
}

std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<JobDocument> document = ParseJobText("job.toml", text);
  REQUIRE_FALSE(document.ok());
  return std::string(document.status().message());
}

const JobEntry& Find(const JobDocument& document, const std::string& section,
                     const std::string& key) {
  for (const JobEntry& entry : document.entries) {
    if (entry.section == section && entry.key == key) return entry;
  }
  FAIL("no entry " << section << "." << key);
  return document.entries[0];
}

bool SameEntries(const JobDocument& a, const JobDocument& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const JobEntry& entry : a.entries) {
    const JobEntry& other = Find(b, entry.section, entry.key);
    if (!(other.value == entry.value)) return false;
  }
  return true;
}

std::vector<std::string> SectionNames(const JobDocument& document) {
  std::vector<std::string> names;
  for (const JobSection& section : document.sections) names.push_back(section.name);
  return names;
}

}  // namespace

TEST_CASE("values keep their types and lines") {
  const JobDocument document = Parse(R"(
[train]
batch_size = 12
rate = 0.5
mode = "sync"
quick = true
ints = [1, 2]
numbers = [1, 2.5]
texts = ["a", "b"]
none = []
)");
  CHECK(std::get<int64_t>(Find(document, "train", "batch_size").value) == 12);
  CHECK(Find(document, "train", "batch_size").where == "job.toml:3");
  CHECK(std::get<double>(Find(document, "train", "rate").value) == 0.5);
  CHECK(std::get<std::string>(Find(document, "train", "mode").value) == "sync");
  CHECK(std::get<bool>(Find(document, "train", "quick").value));
  CHECK(std::get<std::vector<int64_t>>(Find(document, "train", "ints").value) ==
        std::vector<int64_t>{1, 2});
  CHECK(std::get<std::vector<double>>(Find(document, "train", "numbers").value) ==
        std::vector<double>{1, 2.5});
  CHECK(std::get<std::vector<std::string>>(Find(document, "train", "texts").value) ==
        std::vector<std::string>{"a", "b"});
  CHECK(std::get<std::vector<int64_t>>(Find(document, "train", "none").value).empty());
  CHECK(Find(document, "train", "none").where == "job.toml:10");
}

TEST_CASE("features keep the order of the file, in every spelling") {
  const JobDocument document = Parse(R"(
[features]
zebra = "categorical"
apple = { kind = "numeric", mean = 2.0 }
[features.middle]
kind = "id"
)");
  CHECK(SectionNames(document) == std::vector<std::string>{"features", "features.zebra",
                                                           "features.apple", "features.middle"});
  CHECK(std::get<std::string>(Find(document, "features.zebra", "kind").value) == "categorical");
  CHECK(Find(document, "features.apple", "mean").where == "job.toml:4");
}

TEST_CASE("what a job file cannot hold is refused with its line") {
  CHECK(ErrorOf("a = 1\nb = = 2\n").rfind("job.toml:2: ", 0) == 0);
  CHECK(ErrorOf("[x]\nday = 2024-01-01\n").rfind("job.toml:2: ", 0) == 0);
  CHECK(ErrorOf("[x]\nlist = [1, \"a\"]\n").rfind("job.toml:2: ", 0) == 0);
  CHECK(ErrorOf("[x]\n\nlist = [[1], [2]]\n").rfind("job.toml:3: ", 0) == 0);
  CHECK(ErrorOf("[x]\na = 1\na = 2\n").rfind("job.toml:3: ", 0) == 0);
  CHECK(ErrorOf("[x]\nlist = [{a = 1}]\n").rfind("job.toml:2: ", 0) == 0);
}

TEST_CASE("an override replaces, adds, and takes what is not TOML as text") {
  JobDocument document = Parse("[train]\nepochs = 1\n");
  REQUIRE(ApplyOverride("train.epochs=3", document).ok());
  REQUIRE(ApplyOverride("data.valid.split=[0.9, 1]", document).ok());
  REQUIRE(ApplyOverride("data.files=/tmp/a b=c.csv", document).ok());
  REQUIRE(ApplyOverride("model.name=\"dnn\"", document).ok());
  REQUIRE(ApplyOverride("job.output=", document).ok());
  REQUIRE(ApplyOverride("features.age=numeric", document).ok());
  CHECK(std::get<int64_t>(Find(document, "train", "epochs").value) == 3);
  CHECK(Find(document, "train", "epochs").where == "--set train.epochs");
  CHECK(std::get<std::vector<double>>(Find(document, "data.valid", "split").value) ==
        std::vector<double>{0.9, 1.0});
  CHECK(std::get<std::string>(Find(document, "data", "files").value) == "/tmp/a b=c.csv");
  CHECK(Find(document, "data", "files").from_command_line);
  CHECK(std::get<std::string>(Find(document, "model", "name").value) == "dnn");
  CHECK(std::get<std::string>(Find(document, "job", "output").value).empty());
  CHECK(std::get<std::string>(Find(document, "features.age", "kind").value) == "numeric");
  CHECK(SectionNames(document) == std::vector<std::string>{"train", "data", "data.valid", "model",
                                                           "job", "features", "features.age"});
  for (const char* bad : {"train.epochs", "epochs=3", ".a=1", "train.=1", "=1"}) {
    CHECK_FALSE(ApplyOverride(bad, document).ok());
  }
  // A value cannot bring other keys along.
  REQUIRE(ApplyOverride("train.mode=1\nx = 2", document).ok());
  CHECK(std::holds_alternative<std::string>(Find(document, "train", "mode").value));
}

TEST_CASE("a formatted document parses to itself") {
  JobDocument document = Parse(R"(
[job]
name = "quo\"te\\ \u0001 é"
[data]
files = ["a.csv", "b,c.csv"]
split = [0.1, 0.30000000000000004, 1e-300, -2.0]
columns = []
[features."odd name.with dot"]
kind = "id"
[features]
b = "categorical"
a = "categorical"
[train]
"odd key" = true
epochs = -9223372036854775807
big = 1e300
whole = 5.0
)");
  const JobDocument again = Parse(FormatJobDocument(document));
  CHECK(SameEntries(document, again));
  CHECK(SectionNames(document) == SectionNames(again));
}

TEST_CASE("a file is read, or named when it is not there") {
  const std::string path = std::filesystem::temp_directory_path() / "pagoda_job_file_test.toml";
  std::ofstream(path) << "[train]\nepochs = 2\n";
  const absl::StatusOr<JobDocument> document = ReadJobFile(path);
  REQUIRE(document.ok());
  CHECK(std::get<int64_t>(document->entries[0].value) == 2);
  std::ofstream(path, std::ios::trunc) << "";
  CHECK(ReadJobFile(path)->entries.empty());
  std::remove(path.c_str());
  const absl::Status missing = ReadJobFile(path).status();
  CHECK(absl::IsNotFound(missing));
  CHECK(std::string(missing.message()).find(path) != std::string::npos);
  CHECK(absl::IsNotFound(ReadJobFile("/tmp").status()));
}
