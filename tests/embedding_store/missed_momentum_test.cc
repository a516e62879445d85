#include "embedding_store/missed_momentum.h"

#include <catch2/catch.hpp>
#include <random>
#include <vector>

namespace pagoda {
namespace {

TEST_CASE("momentum's missed steps agree with replay") {
  const double l2 = GENERATE(0.0, 0.05);
  CAPTURE(l2);
  std::mt19937 random(5);
  MissedMomentum missed;
  std::vector<MissedMomentum::Map> maps;
  constexpr int kSteps = 3100;
  for (int t = 0; t < kSteps; ++t) {
    const double rate = 0.01 + 0.0001 * static_cast<double>(random() % 100);
    maps.push_back({1 - rate * (0.03 + l2), -rate * 0.9, l2, 0.9});
    missed.Advance(maps.back());
  }
  for (const int last : {0, 1, 1022, 1023, 1024, 1025, 2047, 2048, 3071, 3072, 3098, 3099}) {
    double w = 0.7;
    double v = -2.5;
    for (int t = last; t < kSteps; ++t) {
      const MissedMomentum::Map& m = maps[static_cast<size_t>(t)];
      const double next = m.ww * w + m.wv * v;
      v = m.vw * w + m.vv * v;
      w = next;
    }
    const MissedMomentum::Map map = missed.Between(last);
    CAPTURE(last);
    CHECK(map.ww * 0.7 - map.wv * 2.5 == Approx(w).epsilon(1e-10).margin(1e-12));
    CHECK(map.vw * 0.7 - map.vv * 2.5 == Approx(v).epsilon(1e-10).margin(1e-12));
  }
}

}  // namespace
}  // namespace pagoda
