#include "algorithms/nn/feature_schema.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

FeatureSpec Feature(const std::string& name, FeatureKind kind) {
  FeatureSpec spec;
  spec.name = name;
  spec.kind = kind;
  return spec;
}

TEST_CASE("positions of sparse and numeric features follow the order of the schema") {
  FeatureSchema schema;
  schema.features = {Feature("age", FeatureKind::kNumeric),
                     Feature("job", FeatureKind::kCategorical),
                     Feature("age_bucket", FeatureKind::kBucketised),
                     Feature("hours", FeatureKind::kNumeric), Feature("user", FeatureKind::kId)};
  REQUIRE(schema.SparseFeatures() == std::vector<int>{1, 2, 4});
  REQUIRE(schema.DenseFeatures() == std::vector<int>{0, 3});
  REQUIRE(schema.SparseIndex("job") == 0);
  REQUIRE(schema.SparseIndex("user") == 2);
  REQUIRE(schema.DenseIndex("hours") == 1);
  REQUIRE(schema.SparseIndex("age") == -1);
  REQUIRE(schema.DenseIndex("job") == -1);
  REQUIRE(schema.SparseIndex("nobody") == -1);
}

TEST_CASE("an empty schema has no positions") {
  REQUIRE(FeatureSchema().SparseFeatures().empty());
  REQUIRE(FeatureSchema().DenseFeatures().empty());
  REQUIRE(FeatureSchema().SparseIndex("x") == -1);
}

}  // namespace
}  // namespace pagoda
