#include "deploy/job_keys.h"

#include <catch2/catch.hpp>

#include <limits>

using namespace pagoda;

namespace {

struct Fields {
  bool flag = false;
  int small = 3;
  int64_t whole = 7;
  uint64_t seed = 1;
  float rate = 0.01f;
  double factor = 0.5;
  std::string word = "x";
  std::vector<int64_t> widths = {64, 32};
  std::vector<double> ends;
  std::vector<std::string> files;
};

JobKeys KeysOver(Fields& fields) {
  JobKeys keys("train", "For the test.");
  keys.Add("flag", &fields.flag, "", "A flag.");
  keys.Add("small", &fields.small, "things", "A small number.");
  keys.Add("whole", &fields.whole, "samples", "A whole number.").Between(1, 100);
  keys.Add("seed", &fields.seed, "", "A seed.");
  keys.Add("rate", &fields.rate, "", "A rate.").MoreThan(0).AtMost(1);
  keys.Add("factor", &fields.factor, "", "A factor.").AtLeast(0);
  keys.Add("word", &fields.word, "", "A word.").OneOf({"sync", "async", "x"});
  keys.Add("widths", &fields.widths, "units", "Widths.").AtLeast(1);
  keys.Add("ends", &fields.ends, "", "Ends.");
  keys.Add("files", &fields.files, "", "Files.");
  return keys;
}

JobEntry Entry(const std::string& key, OptionValue value, int line = 5) {
  return {"train", key, std::move(value), "job.toml:" + std::to_string(line), false};
}

std::string ErrorOf(const JobKeys& keys, JobEntry entry) {
  const absl::Status status = keys.Fill({std::move(entry)}, "job.toml:1");
  REQUIRE_FALSE(status.ok());
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

}  // namespace

TEST_CASE("every type of field is filled") {
  Fields fields;
  const JobKeys keys = KeysOver(fields);
  REQUIRE(
      keys.Fill({Entry("flag", true), Entry("small", int64_t{9}), Entry("whole", int64_t{100}),
                 Entry("seed", int64_t{42}), Entry("rate", 0.25), Entry("factor", 1.5),
                 Entry("word", std::string("sync")), Entry("widths", std::vector<int64_t>{8, 4, 2}),
                 Entry("ends", std::vector<double>{0.5, 1}),
                 Entry("files", std::vector<std::string>{"a", "b"})},
                "")
          .ok());
  CHECK(fields.flag);
  CHECK(fields.small == 9);
  CHECK(fields.whole == 100);
  CHECK(fields.seed == 42);
  CHECK(fields.rate == 0.25f);
  CHECK(fields.factor == 1.5);
  CHECK(fields.word == "sync");
  CHECK(fields.widths == std::vector<int64_t>{8, 4, 2});
  CHECK(fields.ends == std::vector<double>{0.5, 1});
  CHECK(fields.files == std::vector<std::string>{"a", "b"});
}

TEST_CASE("near types pass: integer as number, one value as a list, an empty list") {
  Fields fields;
  fields.files = {"old"};
  const JobKeys keys = KeysOver(fields);
  REQUIRE(
      keys.Fill({Entry("factor", int64_t{2}), Entry("widths", int64_t{16}),
                 Entry("ends", std::vector<int64_t>{0, 1}), Entry("files", std::vector<int64_t>())},
                "")
          .ok());
  CHECK(fields.factor == 2.0);
  CHECK(fields.widths == std::vector<int64_t>{16});
  CHECK(fields.ends == std::vector<double>{0, 1});
  CHECK(fields.files.empty());
  REQUIRE(keys.Fill({Entry("files", std::string("one.csv"))}, "").ok());
  CHECK(fields.files == std::vector<std::string>{"one.csv"});
}

TEST_CASE("an error names line, section, key, and what was expected") {
  Fields fields;
  const JobKeys keys = KeysOver(fields);
  CHECK(ErrorOf(keys, Entry("wholee", int64_t{1}, 12)) ==
        "job.toml:12: unknown key 'wholee' in [train]; did you mean 'whole'?");
  CHECK(ErrorOf(keys, Entry("zzzzzzzz", int64_t{1})) ==
        "job.toml:5: unknown key 'zzzzzzzz' in [train]");
  CHECK(ErrorOf(keys, Entry("whole", std::string("many"))) ==
        "job.toml:5: train.whole: expected integer, found text");
  CHECK(ErrorOf(keys, Entry("whole", 2.5)) ==
        "job.toml:5: train.whole: expected integer, found number");
  CHECK(ErrorOf(keys, Entry("flag", int64_t{1})) ==
        "job.toml:5: train.flag: expected true or false, found integer");
  CHECK(ErrorOf(keys, Entry("whole", int64_t{0})) ==
        "job.toml:5: train.whole: 0 is out of range: 1 to 100");
  CHECK(ErrorOf(keys, Entry("rate", 0.0)) ==
        "job.toml:5: train.rate: 0 is out of range: more than 0, at most 1");
  CHECK(ErrorOf(keys, Entry("widths", std::vector<int64_t>{4, 0})) ==
        "job.toml:5: train.widths: 0 is out of range: at least 1");
  CHECK(ErrorOf(keys, Entry("seed", int64_t{-1})) ==
        "job.toml:5: train.seed: -1 is out of range: at least 0");
  CHECK(ErrorOf(keys, Entry("small", int64_t{1} << 40)).find("out of range") != std::string::npos);
  CHECK(
      ErrorOf(keys, Entry("word", std::string("asinc"))) ==
      "job.toml:5: train.word: \"asinc\" is not one of sync | async | x; did you mean \"async\"?");
  CHECK(ErrorOf(keys, Entry("factor", std::numeric_limits<double>::quiet_NaN()))
            .find("train.factor") != std::string::npos);
  CHECK(ErrorOf(keys, Entry("ends", std::vector<double>{std::numeric_limits<double>::infinity()}))
            .find("train.ends") != std::string::npos);
  // A refused value leaves its field alone.
  CHECK(fields.whole == 7);
  CHECK(fields.word == "x");
}

TEST_CASE("a key given twice and a required key left out are errors") {
  Fields fields;
  JobKeys keys = KeysOver(fields);
  const absl::Status twice =
      keys.Fill({Entry("small", int64_t{1}), Entry("small", int64_t{2}, 6)}, "");
  CHECK(twice.message() == "job.toml:6: train.small is given twice");
  std::string name;
  keys.Add("name", &name, "", "Its name.").Required();
  CHECK(keys.Fill({}, "job.toml:3").message() == "job.toml:3: [train] needs the key 'name' (text)");
  CHECK(keys.Fill({Entry("name", std::string("n"))}, "").ok());
}

TEST_CASE("a key describes itself") {
  Fields fields;
  const JobKeys keys = KeysOver(fields);
  CHECK(keys.keys().size() == 10);
  CHECK(keys.keys()[2].LimitText() == "1 to 100");
  CHECK(keys.keys()[6].LimitText() == "sync | async | x");
  CHECK(keys.keys()[0].LimitText().empty());
  CHECK(std::get<int64_t>(keys.keys()[2].spec().default_value) == 7);
  // A float's default is shown as it was written.
  CHECK(FormatTomlValue(keys.keys()[4].spec().default_value) == "0.01");
}

TEST_CASE("a custom check has the last word") {
  std::vector<double> ends = {0, 1};
  JobKeys keys("data", "");
  keys.Add("split", &ends, "", "").Check([](const OptionValue& value) {
    return std::get<std::vector<double>>(value).size() == 2
               ? absl::OkStatus()
               : absl::InvalidArgumentError("expected two ends");
  });
  CHECK(keys.Fill({Entry("split", std::vector<double>{1})}, "").message() ==
        "job.toml:5: data.split: expected two ends");
  CHECK(ends == std::vector<double>{0, 1});
}
