#include "embedding_store/admission.h"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

namespace pagoda {
namespace {

using Catch::Contains;

TEST_CASE("kinds of admission have names") {
  for (const AdmissionKind kind :
       {AdmissionKind::kNone, AdmissionKind::kFrequency, AdmissionKind::kProbability}) {
    const auto parsed = ParseAdmissionKind(AdmissionKindName(kind));
    REQUIRE(parsed.ok());
    CHECK(*parsed == kind);
  }
  CHECK_THAT(std::string(ParseAdmissionKind("often").status().message()),
             Contains("\"often\"") && Contains("frequency"));
}

TEST_CASE("admission options out of range are refused by name") {
  CHECK(CheckAdmissionOptions({}).ok());
  const auto refused = [](const AdmissionOptions& options, const char* member) {
    const absl::Status status = CheckAdmissionOptions(options);
    CHECK(absl::IsInvalidArgument(status));
    CHECK_THAT(std::string(status.message()), Contains(member));
  };
  refused({.count = 1}, "count");
  refused({.count = 256}, "count");
  refused({.window_steps = 0}, "window_steps");
  refused({.sketch_mib = 0}, "sketch_mib");
  refused({.sketch_mib = 4097}, "sketch_mib");
  refused({.probability = 0.0}, "probability");
  refused({.probability = 1.5}, "probability");
  refused({.probability = std::numeric_limits<double>::quiet_NaN()}, "probability");
}

TEST_CASE("the memory of counters is what was asked for") {
  AdmissionOptions options;
  CHECK(AdmissionBytes(options) == 0);
  options.kind = AdmissionKind::kProbability;
  CHECK(AdmissionBytes(options) == 0);
  options.kind = AdmissionKind::kFrequency;
  for (const int64_t mib : {1, 3, 16}) {
    options.sketch_mib = mib;
    CHECK(AdmissionBytes(options) == mib << 20);
  }
}

TEST_CASE("frequency admits the n-th appearance, and forgets with the window") {
  const int64_t count = GENERATE(2, 3, 7);
  TableAdmission admission(
      {.kind = AdmissionKind::kFrequency, .count = count, .window_steps = 100, .sketch_mib = 1},
      RandomKey{3}, true);
  const FeatureId id = 42;
  for (int64_t appearance = 1; appearance < count; ++appearance) {
    REQUIRE(!admission.Admits(id, appearance));
    admission.CountRefused({&id, 1}, appearance, static_cast<uint64_t>(appearance));
  }
  CHECK(admission.Admits(id, 99));
  CHECK(!admission.Admits(43, 99));
  CHECK(admission.Admits(id, 100) == ((count - 1) / 2 + 1 >= count));
  CHECK(!admission.Admits(id, 100 * 20));
}

TEST_CASE("probability draws by table, id and step, at the rate asked for") {
  const AdmissionOptions options{.kind = AdmissionKind::kProbability, .probability = 0.2};
  const TableAdmission one(options, RandomKey{1}, false), same(options, RandomKey{1}, false),
      other(options, RandomKey{2}, false);
  int admitted = 0, differ = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const auto id = static_cast<FeatureId>(i % 1000);
    const bool admits = one.Admits(id, i / 1000);
    REQUIRE(same.Admits(id, i / 1000) == admits);
    differ += other.Admits(id, i / 1000) != admits;
    admitted += admits;
  }
  // Six deviations of the binomial distribution: sqrt(n p (1 - p)) is 126.
  CHECK(std::abs(admitted - kDraws / 5) < 6 * 127);
  CHECK(std::abs(differ - kDraws * 32 / 100) < 6 * 148);
  const TableAdmission always({.kind = AdmissionKind::kProbability, .probability = 1.0},
                              RandomKey{1}, false);
  for (FeatureId id = 0; id < 100; ++id) CHECK(always.Admits(id, 1));
}

}  // namespace
}  // namespace pagoda
