// The bundled data sets read as their SOURCE.md says.
#include <catch2/catch.hpp>
#include <set>

#include "base/hash.h"
#include "worker/batch_reader.h"

namespace pagoda {
namespace {

struct Totals {
  int64_t rows = 0;
  int64_t positives = 0;
  int64_t last_line = 0;
  std::vector<std::set<FeatureId>> distinct;
};

Totals ReadTotals(const ReaderOptions& options) {
  auto reader = BatchReader::Open(options);
  INFO(reader.status());
  REQUIRE(reader.ok());
  Totals totals;
  for (;;) {
    const auto next = (*reader)->Next();
    INFO(next.status());
    REQUIRE(next.ok());
    if (!next->has_value()) return totals;
    const Batch& batch = **next;
    totals.rows += batch.size;
    for (const float label : batch.labels) totals.positives += label == 1.0f ? 1 : 0;
    if (batch.size > 0) totals.last_line = batch.origins.back().line;
    totals.distinct.resize(batch.sparse.size());
    for (size_t k = 0; k < batch.sparse.size(); ++k) {
      totals.distinct[k].insert(batch.sparse[k].ids.begin(), batch.sparse[k].ids.end());
    }
  }
}

std::string DataPath(const std::string& name) {
  return std::string(PAGODA_SOURCE_DIR "/tests/data/") + name;
}

FeatureSpec Spec(const std::string& name, FeatureKind kind) {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = kind;
  return spec;
}

}  // namespace

TEST_CASE("Adult") {
  ReaderOptions options;
  options.data.files = {DataPath("adult/adult.data.gz")};
  options.data.header = false;
  options.data.columns = {"age",
                          "workclass",
                          "fnlwgt",
                          "education",
                          "education_num",
                          "marital_status",
                          "occupation",
                          "relationship",
                          "race",
                          "sex",
                          "capital_gain",
                          "capital_loss",
                          "hours_per_week",
                          "native_country",
                          "income"};
  options.data.trim = true;
  options.data.missing = "?";
  options.schema.features = {Spec("age", FeatureKind::kNumeric),
                             Spec("fnlwgt", FeatureKind::kNumeric),
                             Spec("workclass", FeatureKind::kCategorical),
                             Spec("native_country", FeatureKind::kCategorical)};
  options.schema.label = "income";
  options.schema.label_positive = ">50K";
  options.batch_size = 1000;
  const Totals train = ReadTotals(options);
  CHECK(train.rows == 32561);
  CHECK(train.positives == 7841);
  CHECK(train.last_line == 32561);
  CHECK(train.distinct[0].size() == 9);  // 8, and missing.
  CHECK(train.distinct[0].count(HashFeature("workclass", "")) == 1);
  CHECK(train.distinct[1].size() == 42);

  options.data.files = {DataPath("adult/adult.test.gz")};
  options.schema.label_positive = ">50K.";
  const Totals test = ReadTotals(options);
  CHECK(test.rows == 16281);
  CHECK(test.positives == 3846);
}

TEST_CASE("MovieLens") {
  ReaderOptions options;
  options.data.files = {DataPath("movielens/ratings.csv.gz")};
  options.schema.features = {Spec("userId", FeatureKind::kId), Spec("movieId", FeatureKind::kId),
                             Spec("genres", FeatureKind::kCategorical),
                             Spec("timestamp", FeatureKind::kNumeric)};
  options.schema.features[2].separator = "|";
  options.schema.label = "rating";
  options.schema.label_has_threshold = true;
  options.schema.label_threshold = 4.0;
  options.batch_size = 4096;
  const Totals ratings = ReadTotals(options);
  CHECK(ratings.rows == 100836);
  CHECK(ratings.positives == 48580);
  CHECK(ratings.distinct[0].size() == 610);
  CHECK(ratings.distinct[1].size() == 9724);
  CHECK(ratings.distinct[2].size() == 20);  // 19 genres, and "(no genres listed)".

  // The corpus of items has no users and no ratings.
  options.data.files = {DataPath("movielens/movies.csv.gz")};
  options.needs_labels = false;
  options.absent_columns_empty = true;
  const Totals movies = ReadTotals(options);
  CHECK(movies.rows == 9742);
  CHECK(movies.distinct[0].empty());
  CHECK(movies.distinct[1].size() == 9742);
  CHECK(movies.distinct[2].size() == 20);
}

}  // namespace pagoda
