#include "worker/feature_transform.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/hash.h"

namespace pagoda {
namespace {

FeatureSpec Spec(const std::string& name, FeatureKind kind) {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = kind;
  return spec;
}

// Transforms rows whose cells are in the order: features, label, weight, group.
class Rows {
 public:
  explicit Rows(FeatureSchema schema, bool needs_labels = true, char list_separator = '\0')
      : schema_(std::move(schema)) {
    int slot = 0;
    for (size_t i = 0; i < schema_.features.size(); ++i) slots_.feature.push_back(slot++);
    if (!schema_.label.empty()) slots_.label = slot++;
    if (!schema_.weight.empty()) slots_.weight = slot++;
    if (!schema_.group.empty()) slots_.group = slot++;
    auto transform = FeatureTransform::Create(schema_, slots_, needs_labels, list_separator);
    INFO(transform.status());
    REQUIRE(transform.ok());
    transform_ = std::make_unique<FeatureTransform>(std::move(*transform));
    batch_ = transform_->NewBatch(4);
  }

  bool Append(const std::vector<std::string>& cells) {
    RowCells row;
    for (size_t i = 0; i < cells.size(); ++i) {
      row.text.emplace_back(cells[i]);
      row.column.push_back(static_cast<int32_t>(i) + 1);
    }
    return transform_->AppendRow(row, SampleOrigin{0, ++line_}, &batch_, &error_);
  }
  // The message about a row that must be bad.
  std::string Bad(const std::vector<std::string>& cells) {
    CHECK_FALSE(Append(cells));
    return error_.message;
  }
  const Batch& batch() const { return batch_; }
  const RowError& error() const { return error_; }

 private:
  FeatureSchema schema_;
  ColumnSlots slots_;
  std::unique_ptr<FeatureTransform> transform_;
  Batch batch_;
  RowError error_;
  int64_t line_ = 0;
};

FeatureSchema One(FeatureSpec spec) {
  FeatureSchema schema;
  schema.features = {std::move(spec)};
  return schema;
}

std::vector<FeatureId> IdsOf(const FeatureSpec& spec, const std::string& cell) {
  Rows rows(One(spec));
  INFO(cell);
  REQUIRE(rows.Append({cell}));
  return rows.batch().sparse[0].ids;
}

std::string CreateError(const FeatureSpec& spec) {
  ColumnSlots slots;
  slots.feature = {0};
  return std::string(FeatureTransform::Create(One(spec), slots, true).status().message());
}

using Ids = std::vector<FeatureId>;

}  // namespace

TEST_CASE("categorical text is hashed with the feature's name, empty text like any other") {
  FeatureSpec city = Spec("city", FeatureKind::kCategorical);
  CHECK(IdsOf(city, "Oslo") == Ids{HashFeature("city", "Oslo")});
  CHECK(IdsOf(city, "") == Ids{HashFeature("city", "")});
  city.column = "town";  // The column is only where the text stands.
  CHECK(IdsOf(city, "Oslo") == Ids{HashFeature("city", "Oslo")});
  city.num_buckets = 1000;
  CHECK(IdsOf(city, "Oslo") == Ids{HashFeature("city", "Oslo") % 1000});
}

TEST_CASE("ids pass as they are, and an empty one is an empty list") {
  const FeatureSpec user = Spec("user", FeatureKind::kId);
  CHECK(IdsOf(user, "18446744073709551615") == Ids{UINT64_MAX});
  CHECK(IdsOf(user, "").empty());
  Rows rows(One(user));
  CHECK(rows.Bad({"u7"}) == "field 'user' is not an unsigned 64-bit integer: 'u7'");
  CHECK(rows.Bad({"-1"}) == "field 'user' is not an unsigned 64-bit integer: '-1'");
}

TEST_CASE("numbers are transformed: log, then standardise") {
  FeatureSpec spec = Spec("gain", FeatureKind::kNumeric);
  const auto value = [&](const std::string& cell) {
    Rows rows(One(spec));
    REQUIRE(rows.Append({cell}));
    return rows.batch().dense[0];
  };
  CHECK(value("2.5") == 2.5f);
  CHECK(value("") == 0.0f);
  spec.transform.missing_value = -4.0;
  CHECK(value("") == -4.0f);
  spec.transform.log = true;
  CHECK(value("9") == static_cast<float>(std::log(10.0)));
  CHECK(value("-9") == static_cast<float>(-std::log(10.0)));
  CHECK(value("") == static_cast<float>(-std::log(5.0)));
  spec.transform.mean = 1.0;
  spec.transform.stddev = 0.5;
  CHECK(value("9") == static_cast<float>((std::log(10.0) - 1.0) / 0.5));
  CHECK(value("0") == -2.0f);
}

TEST_CASE("bucketised: how many boundaries are at or below the number") {
  FeatureSpec spec = Spec("age", FeatureKind::kBucketised);
  spec.boundaries = {18.0, 25.0, 65.0};
  const std::pair<const char*, FeatureId> kCases[] = {
      {"-1e9", 0}, {"17.999", 0}, {"18", 1}, {"24", 1}, {"25", 2}, {"65", 3}, {"1e9", 3}, {"", 0}};
  for (const auto& [cell, id] : kCases) CHECK(IdsOf(spec, cell) == Ids{id});
  spec.transform.missing_value = 30.0;
  CHECK(IdsOf(spec, "") == Ids{2});
  Rows rows(One(spec));
  CHECK(rows.Bad({"old"}) == "field 'age' is not a number: 'old'");
}

TEST_CASE("several values in a cell, and the last of a sequence") {
  FeatureSpec spec = Spec("genres", FeatureKind::kCategorical);
  spec.separator = "|";
  const auto h = [](const char* text) { return HashFeature("genres", text); };
  CHECK(IdsOf(spec, "a|b|a") == Ids{h("a"), h("b"), h("a")});
  CHECK(IdsOf(spec, "|a||b|") == Ids{h("a"), h("b")});
  CHECK(IdsOf(spec, "").empty());
  CHECK(IdsOf(spec, "a") == Ids{h("a")});
  spec.separator = "::";
  CHECK(IdsOf(spec, "a::b:c::") == Ids{h("a"), h("b:c")});

  FeatureSpec history = Spec("history", FeatureKind::kId);
  history.separator = " ";
  history.last = 3;
  CHECK(IdsOf(history, "1 2") == Ids{1, 2});
  CHECK(IdsOf(history, "1 2 3") == Ids{1, 2, 3});
  CHECK(IdsOf(history, "1 2 3 4 5") == Ids{3, 4, 5});
  CHECK(IdsOf(history, "").empty());
  Rows rows(One(history));
  REQUIRE(rows.Append({"1 2 3 4"}));
  REQUIRE(rows.Append({""}));
  REQUIRE(rows.Append({"5 6 7 8"}));
  CHECK(rows.batch().sparse[0].ids == Ids{2, 3, 4, 6, 7, 8});
  CHECK(rows.batch().sparse[0].offsets == std::vector<int32_t>{0, 3, 3, 6});
  CHECK(rows.Bad({"1 x 3"}) == "field 'history' is not an unsigned 64-bit integer: 'x'");
}

TEST_CASE("a column that the data lacks gives no ids, and the missing value") {
  FeatureSchema schema;
  schema.features = {Spec("city", FeatureKind::kCategorical), Spec("id", FeatureKind::kId),
                     Spec("age", FeatureKind::kBucketised), Spec("x", FeatureKind::kNumeric)};
  schema.features[2].boundaries = {1.0};
  schema.features[3].transform.missing_value = 7.0;
  ColumnSlots slots;
  slots.feature = {-1, -1, -1, -1};
  const auto transform = FeatureTransform::Create(schema, slots, true);
  REQUIRE(transform.ok());
  Batch batch = transform->NewBatch(1);
  RowError error;
  REQUIRE(transform->AppendRow(RowCells(), SampleOrigin{0, 1}, &batch, &error));
  for (const RaggedIds& column : batch.sparse) {
    CHECK(column.ids.empty());
    CHECK(column.offsets == std::vector<int32_t>{0, 0});
  }
  CHECK(batch.dense == std::vector<float>{7.0f});
}

TEST_CASE("lists of sparse formats have their own separator") {
  FeatureSpec spec = Spec("all", FeatureKind::kId);
  spec.column = "features";
  Rows rows(One(spec), true, ' ');
  REQUIRE(rows.Append({"3 5"}));
  CHECK(rows.batch().sparse[0].ids == Ids{3, 5});
}

TEST_CASE("labels") {
  FeatureSchema schema;
  schema.label = "click";
  const auto label = [&](const std::string& cell) {
    Rows rows(schema);
    REQUIRE(rows.Append({cell}));
    return rows.batch().labels[0];
  };
  const auto bad = [&](const std::string& cell) { return Rows(schema).Bad({cell}); };
  SECTION("0 and 1") {
    for (const char* cell : {"0", "0.0", "-0", "+0"}) CHECK(label(cell) == 0.0f);
    for (const char* cell : {"1", "1.0", "+1", "1e0"}) CHECK(label(cell) == 1.0f);
    CHECK(bad("2") ==
          "label 'click' is neither 0 nor 1: '2' (label_threshold or label_positive "
          "would map it)");
    CHECK_THAT(bad("-1"), Catch::StartsWith("label 'click' is neither 0 nor 1: '-1'"));
    CHECK(bad("yes") == "label 'click' is not a number: 'yes'");
    CHECK(bad("nan") == "label 'click' is not finite: 'nan'");
    CHECK(bad("") == "label 'click' is empty");
    CHECK(bad(" 1") == "label 'click' is not a number: ' 1' (trim = true drops the blanks)");
  }
  SECTION("2, where the model takes rows without a label") {
    schema.label_may_lack = true;
    CHECK(label("2") == kNoLabel);
    CHECK(label("2.0") == kNoLabel);
    CHECK(label("1") == 1.0f);
    CHECK_THAT(bad("3"), Catch::StartsWith("label 'click' is neither 0 nor 1 nor 2: '3'"));
    schema.label_has_threshold = true;
    schema.label_threshold = 1.5;
    CHECK(label("2") == 1.0f);
  }
  SECTION("threshold") {
    schema.label_has_threshold = true;
    schema.label_threshold = 4.0;
    CHECK(label("4") == 1.0f);
    CHECK(label("3.5") == 0.0f);
    CHECK(label("-7") == 0.0f);
    CHECK(bad("inf") == "label 'click' is not finite: 'inf'");
  }
  SECTION("positive") {
    schema.label_positive = ">50K";
    CHECK(label(">50K") == 1.0f);
    CHECK(label("<=50K") == 0.0f);
    CHECK(bad("") == "label 'click' is empty");
  }
  SECTION("not needed") {
    Rows rows(schema, /*needs_labels=*/false);
    REQUIRE(rows.Append({""}));
    REQUIRE(rows.Append({"1"}));
    CHECK(rows.batch().labels == std::vector<float>{0.0f, 1.0f});
    CHECK(rows.Bad({"x"}) == "label 'click' is not a number: 'x'");
  }
}

TEST_CASE("weights are finite and not negative, groups are hashed") {
  FeatureSchema schema;
  schema.weight = "w";
  schema.group = "user";
  Rows rows(schema);
  REQUIRE(rows.Append({"0", "a"}));
  REQUIRE(rows.Append({"2.5", ""}));
  CHECK(rows.batch().weights == std::vector<float>{0.0f, 2.5f});
  CHECK(rows.batch().groups == Ids{HashFeature("user", "a"), HashFeature("user", "")});
  CHECK(rows.Bad({"-1", "a"}) == "weight 'w' is negative: '-1'");
  CHECK(rows.Bad({"nan", "a"}) == "weight 'w' is not finite: 'nan'");
  CHECK(rows.Bad({"1e39", "a"}) == "weight 'w' is too large: '1e39'");
  CHECK(rows.Bad({"", "a"}) == "weight 'w' is not a number: ''");
  CHECK(rows.batch().size == 2);
}

TEST_CASE("a bad row leaves the batch as it was") {
  FeatureSchema schema;
  schema.features = {Spec("a", FeatureKind::kCategorical), Spec("x", FeatureKind::kNumeric),
                     Spec("b", FeatureKind::kId), Spec("y", FeatureKind::kNumeric)};
  schema.label = "label";
  schema.group = "g";
  Rows rows(schema), good(schema);
  const std::vector<std::string> row1 = {"u", "1", "2", "3", "1", "g"};
  const std::vector<std::string> row2 = {"v", "4", "", "5", "0", "h"};
  REQUIRE(rows.Append(row1));
  CHECK(rows.Bad({"u", "1", "2", "nan", "1", "g"}) == "field 'y' is not finite: 'nan'");
  CHECK(rows.error().column == 4);
  CHECK(rows.Bad({"u", "1", "x", "3", "1", "g"}) != "");
  CHECK(rows.Bad({"u", "1e60", "2", "3", "1", "g"}) ==
        "field 'x' is too large for a 32-bit float: '1e60'");
  CHECK(rows.Bad({"u", "1e999", "2", "3", "1", "g"}) == "field 'x' is too large: '1e999'");
  CHECK(rows.Bad({"u", "1", "2", "3", "7", "g"}) != "");
  REQUIRE(rows.Append(row2));
  REQUIRE(good.Append(row1));
  REQUIRE(good.Append(row2));
  CHECK(rows.batch().size == 2);
  CHECK(rows.batch().dense == good.batch().dense);
  CHECK(rows.batch().labels == good.batch().labels);
  CHECK(rows.batch().groups == good.batch().groups);
  for (size_t k = 0; k < 2; ++k) {
    CHECK(rows.batch().sparse[k].ids == good.batch().sparse[k].ids);
    CHECK(rows.batch().sparse[k].offsets == good.batch().sparse[k].offsets);
  }
  CHECK(rows.batch().origins[1].line == 7);
}

TEST_CASE("settings that do not fit the kind are refused, with the feature's name") {
  FeatureSpec spec = Spec("f", FeatureKind::kNumeric);
  spec.separator = "|";
  CHECK(CreateError(spec) == "feature 'f': a numeric feature holds one value");
  spec = Spec("f", FeatureKind::kNumeric);
  spec.transform.stddev = 0.0;
  CHECK_THAT(CreateError(spec), Catch::StartsWith("feature 'f': mean, stddev"));
  spec = Spec("f", FeatureKind::kId);
  spec.last = 5;
  CHECK(CreateError(spec) == "feature 'f': last needs a separator");
  spec.separator = " ";
  spec.num_buckets = 10;
  CHECK(CreateError(spec) == "feature 'f': num_buckets is for categorical features");
  spec = Spec("f", FeatureKind::kBucketised);
  CHECK(CreateError(spec) == "feature 'f': a bucketised feature needs boundaries");
  spec.boundaries = {1.0, 1.0};
  CHECK(CreateError(spec) == "feature 'f': boundaries must be finite and ascending");
  CHECK(CreateError(Spec("", FeatureKind::kId)) == "a feature has no name");

  FeatureSchema twice;
  twice.features = {Spec("f", FeatureKind::kId), Spec("f", FeatureKind::kId)};
  ColumnSlots slots;
  slots.feature = {0, 0};
  CHECK(FeatureTransform::Create(twice, slots, true).status().message() ==
        "two features have the name 'f'");
  FeatureSchema both;
  both.label_has_threshold = true;
  both.label_positive = "x";
  CHECK_FALSE(FeatureTransform::Create(both, ColumnSlots(), true).ok());
}

}  // namespace pagoda
