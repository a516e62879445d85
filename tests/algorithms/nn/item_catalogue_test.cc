#include "algorithms/nn/item_catalogue.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>

namespace pagoda {
namespace {

using Catch::Matchers::Contains;

std::vector<FeatureId> Ids(int n) {
  std::vector<FeatureId> ids;
  for (int i = 0; i < n; ++i) ids.push_back(1000003ULL * static_cast<FeatureId>(i * i + 7));
  return ids;
}

// How often each item comes in `draws` draws.
std::map<FeatureId, double> Shares(const ItemCatalogue& catalogue, int draws) {
  std::map<FeatureId, double> shares;
  for (int i = 0; i < draws; ++i) {
    shares[catalogue.Draw(RandomKey{5}, static_cast<uint64_t>(i))] += 1.0 / draws;
  }
  return shares;
}

TEST_CASE("items are drawn in proportion to their weights, and LogQ says so") {
  constexpr int kDraws = 200000;
  for (const int n : {1, 2, 7, 33}) {
    const std::vector<FeatureId> ids = Ids(n);
    std::vector<double> weights;
    for (int i = 0; i < n; ++i) weights.push_back(std::pow(1.0 + i % 5, 2.0));
    double total = 0.0;
    for (const double weight : weights) total += weight;
    for (const bool uniform : {true, false}) {
      CAPTURE(n, uniform);
      const auto catalogue =
          uniform ? ItemCatalogue::Create(ids) : ItemCatalogue::Create(ids, weights);
      REQUIRE(catalogue.ok());
      const std::map<FeatureId, double> shares = Shares(*catalogue, kDraws);
      double sum = 0.0;
      for (int i = 0; i < n; ++i) {
        const FeatureId id = ids[static_cast<size_t>(i)];
        const double p = uniform ? 1.0 / n : weights[static_cast<size_t>(i)] / total;
        CHECK(std::exp(double{catalogue->LogQ(id)}) == Approx(p).epsilon(1e-5));
        sum += std::exp(double{catalogue->LogQ(id)});
        // Five deviations of a binomial share.
        const double found = shares.count(id) == 0 ? 0.0 : shares.at(id);
        CHECK(std::fabs(found - p) <= 5.0 * std::sqrt(p * (1.0 - p) / kDraws) + 1e-9);
      }
      CHECK(sum == Approx(1.0).epsilon(1e-5));
    }
  }
}

TEST_CASE("a draw is the item whose share of 2^64 holds the draw's bits") {
  const std::vector<FeatureId> ids = Ids(9);
  const std::vector<double> weights = {1, 2, 4, 8, 0.5, 0.25, 3, 5, 7};
  const auto catalogue = ItemCatalogue::Create(ids, weights);
  REQUIRE(catalogue.ok());
  double total = 0.0;
  for (const double weight : weights) total += weight;
  for (uint64_t counter = 0; counter < 2000; ++counter) {
    const double place = static_cast<double>(RandomBits(RandomKey{77}, counter)) / 0x1p64 * total;
    double end = 0.0;
    size_t wanted = 0;
    while (wanted + 1 < ids.size() && place >= (end += weights[wanted])) ++wanted;
    REQUIRE(catalogue->Draw(RandomKey{77}, counter) == ids[wanted]);
  }
}

TEST_CASE("an item of no catalogue is never drawn") {
  const auto catalogue = ItemCatalogue::Create(Ids(4));
  REQUIRE(catalogue.ok());
  CHECK(catalogue->LogQ(3) == -std::numeric_limits<float>::infinity());
  CHECK_FALSE(catalogue->Contains(3));
  CHECK(catalogue->Contains(Ids(4)[2]));
  CHECK(catalogue->size() == 4);
}

TEST_CASE("catalogues that make no sense are refused in words") {
  const auto message = [](const auto& made) { return std::string(made.status().message()); };
  CHECK_THAT(message(ItemCatalogue::Create({})), Contains("without items"));
  CHECK_THAT(message(ItemCatalogue::Create({4, 9, 4})), Contains("item 4") && Contains("twice"));
  CHECK_THAT(message(ItemCatalogue::Create({4, 9}, {1.0})), Contains("1 weights") && Contains("2"));
  CHECK_THAT(message(ItemCatalogue::Create({4, 9}, {1.0, 0.0})), Contains("item 9"));
  CHECK_THAT(message(ItemCatalogue::Create({4, 9}, {std::nan(""), 1.0})), Contains("item 4"));
}

}  // namespace
}  // namespace pagoda
