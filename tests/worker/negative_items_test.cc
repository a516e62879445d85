#include "worker/negative_items.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "tests/worker/training_world.h"

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

// Feature 0: item, by number. Items 7, 3, 9 (7 twice); training data names 3 four times.
struct World {
  World() {
    std::ofstream(dir / "items.csv") << "item\n7\n3\n7\n9\n";
    std::ofstream(dir / "train.csv") << "item,user\n3,1\n3,2\n7,1\n3,3\n3,4\n1000,1\n";
    FeatureSpec item;
    item.name = "item";
    item.kind = FeatureKind::kId;
    options.job = "job";
    options.seed = 5;
    options.schema.features = {item};
    options.evaluation.items.files = {dir / "items.csv"};
    options.stages.resize(1);
    options.stages[0].data.files = {dir / "train.csv"};
    declaration.AddTable({.name = "item", .dim = 2});
  }

  void Add(NegativeSampler sampler, int64_t num_items = 0, double power = 1.0) {
    NegativesDecl decl;
    decl.feature = 0;
    decl.table = 0;
    decl.count = 2;
    decl.sampler = sampler;
    decl.num_items = num_items;
    decl.popularity_power = power;
    declaration.AddNegatives(decl);
  }

  TemporaryDirectory dir;
  TrainerOptions options;
  Declaration declaration;
};

TEST_CASE("catalogues come from the item file, or are numbered") {
  World world;
  world.Add(NegativeSampler::kUniform);
  world.Add(NegativeSampler::kUniform, 4);
  const absl::Status loaded = LoadNegatives(world.options, &world.declaration);
  INFO(loaded);
  REQUIRE(loaded.ok());
  CHECK(world.declaration.negatives[0].catalogue->ids() == std::vector<FeatureId>{7, 3, 9});
  CHECK(world.declaration.negatives[1].catalogue->ids() == std::vector<FeatureId>{1, 2, 3, 4});
  CHECK(world.declaration.negatives[0].key.value != world.declaration.negatives[1].key.value);
}

TEST_CASE("popularity is one more than the occurrences in the training data, to a power") {
  for (const double power : {0.0, 0.75, 1.0}) {
    World world;
    world.Add(NegativeSampler::kPopularity, 0, power);
    REQUIRE(LoadNegatives(world.options, &world.declaration).ok());
    const ItemCatalogue& catalogue = *world.declaration.negatives[0].catalogue;
    const double a = std::pow(2.0, power), b = std::pow(5.0, power), total = a + b + 1.0;
    CHECK(std::exp(catalogue.LogQ(7)) == Approx(a / total));
    CHECK(std::exp(catalogue.LogQ(3)) == Approx(b / total));
    CHECK(std::exp(catalogue.LogQ(9)) == Approx(1.0 / total));
  }
}

TEST_CASE("negatives that the model chooses need no items, and have a key of the seed") {
  std::vector<uint64_t> keys;
  for (const uint64_t seed : {5, 5, 6}) {
    World world;
    world.Add(NegativeSampler::kUniform);
    world.options.seed = seed;
    world.options.evaluation.items.files = {};
    world.declaration.negatives[0].choose = [](const Batch&, RandomKey) {
      return std::vector<int32_t>();
    };
    REQUIRE(LoadNegatives(world.options, &world.declaration).ok());
    CHECK(world.declaration.negatives[0].catalogue == nullptr);
    keys.push_back(world.declaration.negatives[0].key.value);
  }
  CHECK(keys[0] == keys[1]);
  CHECK(keys[0] != keys[2]);
}

TEST_CASE("negatives without items are refused in words") {
  World world;
  world.Add(NegativeSampler::kUniform);
  const auto message = [&] {
    const absl::Status status = LoadNegatives(world.options, &world.declaration);
    REQUIRE_FALSE(status.ok());
    return std::string(status.message());
  };
  world.options.evaluation.items.files = {};
  CHECK_THAT(message(), Contains("feature 'item'") && Contains("[data.items]"));
  world.options.evaluation.items.files = {world.dir / "nowhere.csv"};
  CHECK_THAT(message(), Contains("nowhere.csv"));
  std::ofstream(world.dir / "other.csv") << "itm\n7\n";
  world.options.evaluation.items.files = {world.dir / "other.csv"};
  CHECK_THAT(message(), Contains("no column 'item'"));
}

}  // namespace
}  // namespace pagoda
