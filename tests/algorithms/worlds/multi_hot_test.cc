#include "algorithms/worlds/multi_hot.h"

#include <catch2/catch.hpp>

#include <set>

#include "absl/strings/str_cat.h"
#include "tests/algorithms/worlds/generated_world.h"

namespace pagoda {
namespace {

const std::vector<std::string> kFields = {"f1", "f2", "f3", "f4", "f5"};

TEST_CASE("multi_hot: clicks follow the oracle, and it is the stated logit") {
  for (const std::string variant : {"planted", "null"}) {
    const GeneratedWorld world =
        Generate("multi_hot", 3, {"variant=" + variant, "train_rows=10", "test_rows=20000"});
    const Table& test = world["test"];
    INFO(variant);
    CheckClicks(test);
    bool interacts = false;
    for (size_t row = 0; row < test.rows(); ++row) {
      const double interaction = test.Number("interaction", row);
      const double logit = -2.0 + interaction + test.Number("additive", row);
      CHECK(test.Number("oracle", row) == Approx(Sigmoid(logit)).margin(2e-6));
      interacts = interacts || interaction != 0.0;
    }
    CHECK(interacts == (variant == "planted"));
    const double gap = world.figures.at("oracle_auc") - world.figures.at("additive_oracle_auc");
    // The bins of `additive` are those of another score: ties in them cost a little.
    CHECK((variant == "planted" ? gap > 0.1 : std::fabs(gap) < 1e-3));
  }
}

TEST_CASE("multi_hot: ids are distinct, as many as stated, and Zipf") {
  const GeneratedWorld world =
      Generate("multi_hot", 4, {"train_rows=20000", "valid_rows=0", "test_rows=0"});
  const Table& train = world["train"];
  CHECK(world["valid"].rows() == 0);
  std::vector<double> sizes(9), first, chance;
  double harmonic = 0.0;
  for (int rank = 1; rank <= 2000; ++rank) harmonic += 1.0 / rank;
  for (size_t row = 0; row < train.rows(); ++row) {
    for (const std::string& field : kFields) {
      const std::vector<int64_t> ids = train.List(field, row);
      CHECK(std::set<int64_t>(ids.begin(), ids.end()).size() == ids.size());
      CHECK(*std::max_element(ids.begin(), ids.end()) < 2000);
      REQUIRE(ids.size() <= 8);
      sizes[ids.size()] += 1.0;
      first.push_back(ids[0] == 0 ? 1.0 : 0.0);
      chance.push_back(1.0 / harmonic);
    }
  }
  CHECK(sizes[0] == 0.0);
  for (size_t size = 1; size <= 8; ++size) {
    CHECK(std::fabs(sizes[size] - 100000 / 8.0) < 5 * std::sqrt(100000 / 8.0 * 7 / 8));
  }
  CHECK(std::fabs(Deviations(first, chance)) < kDeviationsMax);
}

// The interaction as a function of five bits: fields of one of two ids (rows with other ids
// are left out).
std::map<int, double> OfBits(const Table& test) {
  std::map<int, double> of_bits;
  for (size_t row = 0; row < test.rows(); ++row) {
    int bits = 0;
    bool all_small = true;
    for (size_t f = 0; f < kFields.size(); ++f) {
      const int64_t id = test.List(kFields[f], row)[0];
      all_small = all_small && id < 2;
      bits |= static_cast<int>(id & 1) << f;
    }
    if (all_small) of_bits[bits] = test.Number("interaction", row);
  }
  return of_bits;
}

TEST_CASE("multi_hot: exactly the stated pairs and triple interact") {
  const GeneratedWorld world = Generate(
      "multi_hot", 6, {"train_rows=0", "test_rows=3000", "ids=2", "ids_max=1", "triple_weight=4"});
  const std::map<int, double> of_bits = OfBits(world["test"]);
  REQUIRE(of_bits.size() == 32);
  // The mixed difference over a set of fields, the others being at `rest`, is not 0 just when
  // some product holds all of them.
  const auto difference = [&](int set, int rest) {
    double sum = 0.0;
    for (int part = set;; part = (part - 1) & set) {
      const int missing = __builtin_popcount(static_cast<unsigned>(set & ~part));
      sum += (missing % 2 == 0 ? 1.0 : -1.0) * of_bits.at(part | rest);
      if (part == 0) return sum;
    }
  };
  std::set<int> pairs;
  int triple = 0;
  for (const auto& [name, json] : world.facts) {
    std::string digits;
    for (const char c : json) {
      if (c >= '1' && c <= '5') digits.push_back(c);
    }
    if (name == "triple") {
      for (const char c : digits) triple |= 1 << (c - '1');
    } else {
      for (size_t i = 0; i < digits.size(); i += 2) {
        pairs.insert(1 << (digits[i] - '1') | 1 << (digits[i + 1] - '1'));
      }
    }
  }
  CHECK(pairs.size() == 4);
  CHECK(__builtin_popcount(static_cast<unsigned>(triple)) == 3);
  for (int set = 1; set < 32; ++set) {
    const int size = __builtin_popcount(static_cast<unsigned>(set));
    double largest = 0.0;
    for (int rest = 0; rest < 32; ++rest) {
      if ((rest & set) == 0) largest = std::max(largest, std::fabs(difference(set, rest)));
    }
    const bool expected = size == 2   ? pairs.count(set) > 0 || (set & triple) == set
                          : size == 3 ? set == triple
                                      : size == 1;
    INFO("fields " << set << ", largest mixed difference " << largest);
    CHECK((largest > 1e-3) == expected);
  }
}

TEST_CASE("multi_hot: the latent spread moves the pairs by its square") {
  const std::vector<std::string> knobs = {"train_rows=0", "test_rows=50", "triple_weight=0"};
  std::vector<std::string> wide = knobs;
  wide.push_back("latent_spread=2");
  const GeneratedWorld one = Generate("multi_hot", 8, knobs);
  const GeneratedWorld two = Generate("multi_hot", 8, wide);
  for (size_t row = 0; row < 50; ++row) {
    CHECK(two["test"].Number("interaction", row) ==
          Approx(4 * one["test"].Number("interaction", row)).margin(1e-4));
  }
}

}  // namespace
}  // namespace pagoda
