#include "worker/side_files.h"

#include <catch2/catch.hpp>

#include "algorithms/nn/joined_rows.h"
#include "tests/worker/data_files.h"
#include "worker/batch_reader.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;
using testing::DataDir;

FeatureSpec Spec(const std::string& name, FeatureKind kind, const std::string& join = "") {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = kind;
  spec.join = join;
  return spec;
}

// Samples: user, item, click, and a target. The history and the age are of join "user".
FeatureSchema SchemaOf(std::vector<std::string> files) {
  FeatureSchema schema;
  FeatureSpec history = Spec("history", FeatureKind::kId, "user");
  history.separator = "|";
  history.last = 3;
  schema.features = {history, Spec("item", FeatureKind::kId),
                     Spec("age", FeatureKind::kNumeric, "user")};
  schema.features[2].transform.missing_value = -1.0;
  JoinSpec join;
  join.name = "user";
  join.files = std::move(files);
  schema.joins = {join};
  schema.label = "click";
  return schema;
}

constexpr char kSamples[] =
    "user,item,click\n"
    "ann,1,1\n"
    "bob,2,0\n"
    "ann,3,1\n"
    "cid,4,0\n"
    "bob,5,1\n";
constexpr char kUsers[] =
    "user,age,history\n"
    "zoe,99,1|2\n"
    "bob,41,8\n"
    "ann,17,5|6|7|8|9\n"
    "cid,30,\n";

ReaderOptions Options(const FeatureSchema& schema, const std::string& samples) {
  ReaderOptions options;
  options.data.files = {samples};
  options.schema = schema;
  options.batch_size = 5;
  return options;
}

absl::StatusOr<Batch> ReadOne(const ReaderOptions& options) {
  absl::StatusOr<std::unique_ptr<BatchReader>> reader = BatchReader::Open(options);
  if (!reader.ok()) return reader.status();
  absl::StatusOr<std::optional<Batch>> batch = (*reader)->Next();
  if (!batch.ok()) return batch.status();
  REQUIRE(batch->has_value());
  return **std::move(batch);
}

std::vector<FeatureId> IdsOf(const Batch& batch, int feature, int64_t sample) {
  const auto ids = batch.IdsOf(feature, sample);
  return {ids.begin(), ids.end()};
}

TEST_CASE("samples read the row of their key, and a batch holds each row once") {
  DataDir dir;
  const std::string users = dir.Write("users.csv", kUsers);
  const std::string samples = dir.Write("samples.csv", kSamples);
  const auto batch = ReadOne(Options(SchemaOf({users}), samples));
  INFO(batch.status());
  REQUIRE(batch.ok());
  CHECK(batch->joins[0].num_rows == 3);
  CHECK(batch->joins[0].sample_row == std::vector<int32_t>{0, 1, 0, 2, 1});
  CHECK(batch->sparse[0].join == 0);
  CHECK(batch->sparse[1].join == -1);
  CHECK(batch->sparse[0].offsets == std::vector<int32_t>{0, 3, 4, 4});
  CHECK(batch->sparse[0].ids == std::vector<FeatureId>{7, 8, 9, 8});  // The last three.
  CHECK(IdsOf(*batch, 0, 4) == std::vector<FeatureId>{8});
  CHECK(IdsOf(*batch, 1, 4) == std::vector<FeatureId>{5});
  CHECK(batch->dense == std::vector<float>{17, 41, 17, 30, 41});
}

TEST_CASE("joins do not depend on threads, compression or being loaded before") {
  DataDir dir;
  std::string users = "user,age,history\n", samples = "user,item,click\n";
  for (int u = 0; u < 5000; ++u) {
    users += absl::StrCat("u", u, ",", u, ",", u, "|", 2 * u, "\n");
  }
  for (int i = 0; i < 900; ++i) samples += absl::StrCat("u", (i * i) % 4999, ",", i, ",1\n");
  FeatureSchema schema = SchemaOf({dir.Write("users.csv.gz", testing::Gzip(users))});
  ReaderOptions options = Options(schema, dir.Write("samples.csv", samples));
  options.batch_size = 900;
  options.num_parse_threads = 1;
  const auto one = ReadOne(options);
  REQUIRE(one.ok());
  REQUIRE(LoadJoins(&options.schema).ok());
  REQUIRE(options.schema.joins[0].rows->num_rows() == 5000);
  const auto rows = options.schema.joins[0].rows;
  REQUIRE(LoadJoins(&options.schema).ok());
  CHECK(options.schema.joins[0].rows == rows);  // Not read again.
  options.num_parse_threads = 3;
  const auto three = ReadOne(options);
  REQUIRE(three.ok());
  CHECK(one->sparse[0].ids == three->sparse[0].ids);
  CHECK(one->dense == three->dense);
  for (int i = 0; i < 900; ++i) {
    const auto u = static_cast<FeatureId>((i * i) % 4999);
    REQUIRE(IdsOf(*three, 0, i) == std::vector<FeatureId>{u, 2 * u});
  }
}

TEST_CASE("a key without a row is a bad row, or reads as absent columns when allowed") {
  DataDir dir;
  const std::string users = dir.Write("users.csv", kUsers);
  const std::string samples = dir.Write("samples.csv", std::string(kSamples) + "eve,6,1\n");
  FeatureSchema schema = SchemaOf({users});
  ReaderOptions options = Options(schema, samples);
  options.batch_size = 6;
  const auto refused = ReadOne(options);
  CHECK_THAT(std::string(refused.status().message()),
             Contains("samples.csv:7:1: join 'user' has no row with the key 'eve'"));
  options.data.on_bad_row = "skip";
  const auto skipped = ReadOne(options);
  REQUIRE(skipped.ok());
  CHECK(skipped->size == 5);
  CHECK(skipped->joins[0].sample_row.size() == 5);
  options.schema.joins[0].allow_missing = true;
  const auto batch = ReadOne(options);
  INFO(batch.status());
  REQUIRE(batch.ok());
  CHECK(batch->size == 6);
  CHECK(IdsOf(*batch, 0, 5).empty());
  CHECK(batch->dense.back() == -1.0f);
}

TEST_CASE("side files that make no sense are refused in words") {
  DataDir dir;
  const std::string samples = dir.Write("samples.csv", kSamples);
  const auto message = [&](const FeatureSchema& schema) {
    const auto batch = ReadOne(Options(schema, samples));
    REQUIRE_FALSE(batch.ok());
    return std::string(batch.status().message());
  };
  const auto users = [&](const std::string& name, const std::string& text) {
    return SchemaOf({dir.Write(name, text)});
  };
  CHECK_THAT(message(SchemaOf({dir.Path("nowhere.csv")})),
             Contains("join 'user'") && Contains("nowhere.csv"));
  CHECK_THAT(message(users("twice.csv", std::string(kUsers) + "bob,1,2\n")),
             Contains("twice.csv:6: an earlier row has the same key"));
  CHECK_THAT(message(users("nokey.csv", "usr,age,history\nann,1,2\n")),
             Contains("nokey.csv: there is no key column 'user'; did you mean 'usr'?"));
  CHECK_THAT(message(users("nocolumn.csv", "user,age\nann,1\n")),
             Contains("no column 'history'") && Contains("join 'user'"));
  CHECK_THAT(message(users("bad.csv", "user,age,history\nann,x,2\n")), Contains("bad.csv:2:2"));
  FeatureSchema schema = users("users.csv", kUsers);
  schema.joins[0].memory_bytes_max = 20;
  CHECK_THAT(message(schema), Contains("users.csv:5") && Contains("memory_bytes_max is 20"));
  schema = users("users.csv", kUsers);
  schema.features[0].join = "usre";
  CHECK_THAT(message(schema), Contains("feature 'history'") && Contains("did you mean 'user'?"));
  schema = users("users.csv", kUsers);
  schema.joins.push_back(schema.joins[0]);
  CHECK_THAT(message(schema), Contains("two joins have the name 'user'"));
  schema = users("users.csv", kUsers);
  schema.joins[0].format = "libsvm";
  CHECK_THAT(message(schema), Contains("must be csv or tsv"));
}

TEST_CASE("the key's columns may have other names") {
  DataDir dir;
  const std::string side =
      dir.Write("side.tsv", "id\tage\thistory\nann\t5\t3\nbob\t6\t4\ncid\t7\t\n");
  FeatureSchema schema = SchemaOf({side});
  schema.joins[0].name = schema.features[0].join = schema.features[2].join = "profile";
  schema.joins[0].column = "user";
  schema.joins[0].key = "id";
  schema.joins[0].format = "tsv";
  const auto batch = ReadOne(Options(schema, dir.Write("samples.csv", kSamples)));
  INFO(batch.status());
  REQUIRE(batch.ok());
  CHECK(batch->dense == std::vector<float>{5, 6, 5, 7, 6});
}

TEST_CASE("targets and slices are read, and their absence is told when labels are not needed") {
  DataDir dir;
  const std::string users = dir.Write("users.csv", kUsers);
  const std::string samples = dir.Write("samples.csv",
                                        "user,item,click,buy,pay,where\n"
                                        "ann,1,1,0,2.5,top\n"
                                        "bob,2,0,1,-3,\n");
  ReaderOptions options = Options(SchemaOf({users}), samples);
  options.schema.targets = {"pay", "buy"};
  options.schema.slices = {"where"};
  options.batch_size = 2;
  const auto batch = ReadOne(options);
  INFO(batch.status());
  REQUIRE(batch.ok());
  CHECK(batch->targets == std::vector<float>{2.5f, 0, -3, 1});
  CHECK(batch->slices == std::vector<std::string>{"top", ""});
  options.schema.targets = {"buy", "absent"};
  CHECK_THAT(std::string(ReadOne(options).status().message()), Contains("'absent'"));
  options.needs_labels = false;
  const auto without = ReadOne(options);
  REQUIRE(without.ok());
  CHECK(without->targets.empty());
}

TEST_CASE("a target that is no number, or empty, is a bad row") {
  DataDir dir;
  FeatureSchema schema = SchemaOf({dir.Write("users.csv", kUsers)});
  schema.targets = {"buy"};
  for (const std::string cell : {"", "much", "1e39", "nan"}) {
    CAPTURE(cell);
    const std::string samples =
        dir.Write("s.csv", absl::StrCat("user,item,click,buy\nann,1,1,", cell, "\n"));
    ReaderOptions options = Options(schema, samples);
    CHECK_THAT(std::string(ReadOne(options).status().message()),
               Contains("s.csv:2:4") && Contains("target 'buy'"));
  }
}

TEST_CASE("an optional column may be absent, another may not") {
  DataDir dir;
  FeatureSchema schema = SchemaOf({dir.Write("users.csv", kUsers)});
  schema.features.push_back(Spec("shop", FeatureKind::kId));
  schema.features[3].optional = true;
  const std::string samples = dir.Write("samples.csv", kSamples);
  const auto batch = ReadOne(Options(schema, samples));
  INFO(batch.status());
  REQUIRE(batch.ok());
  CHECK(batch->sparse[2].ids.empty());
  CHECK(batch->sparse[2].offsets == std::vector<int32_t>(6, 0));
  schema.features[3].optional = false;
  CHECK_FALSE(ReadOne(Options(schema, samples)).ok());
}

}  // namespace
}  // namespace pagoda
