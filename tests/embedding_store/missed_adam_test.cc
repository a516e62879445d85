#include "embedding_store/missed_adam.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

namespace pagoda {
namespace {

TEST_CASE("Adam's missed steps agree with replay to 1e-7") {
  struct Betas {
    float beta1, beta2;
  };
  const Betas betas =
      GENERATE(Betas{0.9f, 0.999f}, Betas{0.99f, 0.999f}, Betas{0.9f, 0.99f}, Betas{0.5f, 0.9f});
  const double decay = GENERATE(0.0, 0.002);
  const bool varying = GENERATE(false, true);
  CAPTURE(betas.beta1, betas.beta2, decay, varying);
  MissedAdam missed(betas.beta1, betas.beta2);
  const int steps = 6000;
  std::vector<double> rates = {0.0};
  for (int t = 1; t <= steps; ++t) {
    rates.push_back(varying ? 0.01 * (1.1 + std::sin(0.01 * t)) : 0.01);
    missed.Advance(rates.back(), std::log1p(-rates.back() * decay));
  }
  for (const int gap : {1, 2, 3, 17, 100, 197, 198, 199, 400, 1000, 2169, 3000, 5000, 5990, 5999}) {
    const int s = steps - gap;
    for (const double root : {1e-9, 1e-4, 0.03, 1.0, 50.0}) {
      double expected = 0;
      double log_p = 0;
      for (int j = 1; j <= gap; ++j) {
        log_p += std::log1p(-rates[static_cast<size_t>(s + j)] * decay);
        const double c = std::sqrt(std::pow(double{betas.beta2}, j) /
                                   (1 - std::pow(double{betas.beta2}, s + j)));
        expected += rates[static_cast<size_t>(s + j)] * std::pow(double{betas.beta1}, j) /
                    (1 - std::pow(double{betas.beta1}, s + j)) * std::exp(-log_p) /
                    (c * root + 1e-8);
      }
      double sum = 0;
      for (const MissedAdam::Term& term : missed.Terms(s)) {
        const double inverse = 1 / (term.center * root + 1e-8);
        double power = 1;
        for (const float moment : term.moments) {
          sum += inverse * power * moment;
          power *= -term.center * root * inverse;
        }
      }
      CAPTURE(gap, root, missed.Terms(s).size());
      CHECK(std::fabs(sum - expected) <= 1.5e-7 * expected);
    }
  }
}

}  // namespace
}  // namespace pagoda
