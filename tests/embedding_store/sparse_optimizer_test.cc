// Formulas against a double-precision reference and against the fixture's second
// f32 writing of them; initial values against their distribution.
#include "embedding_store/sparse_optimizer.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <random>

#include "base/finite.h"
#include "tests/embedding_store/double_oracle.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;
constexpr Kind kAllKinds[] = {Kind::kSgd,          Kind::kAdagrad, Kind::kRowwiseAdagrad,
                              Kind::kAdam,         Kind::kFtrl,    Kind::kMomentum,
                              Kind::kAdagradDecay, Kind::kAdamW,   Kind::kRowwiseAdam,
                              Kind::kGroupFtrl};

TableOptions TableForFormulas(Kind kind, int64_t dim) {
  TableOptions table = MakeTable("t", dim, kind);
  table.optimizer.initial_accumulator = 0.1f;
  table.optimizer.ftrl_l1 = 0.05f;
  table.optimizer.ftrl_l2 = 0.1f;
  table.optimizer.ftrl_l21 = 0.02f;
  table.optimizer.decay_steps = 7;
  table.optimizer.accumulator_decay = 0.7f;
  return table;
}

TEST_CASE("each optimizer follows its formula in double, and the oracle bit for bit") {
  const Kind kind = GENERATE(from_range(std::begin(kAllKinds), std::end(kAllKinds)));
  const int64_t dim = GENERATE(1, 2, 7, 8, 16, 33, 64, 128);
  const int variant = GENERATE(0, 1, 2);  // Plain; with decays; clipped.
  CAPTURE(SparseOptimizerName(kind), dim, variant);
  TableOptions table = TableForFormulas(kind, dim);
  if (variant == 1) table.optimizer.l2 = 0.02f;
  if (variant == 1 && !IsFtrl(kind)) table.optimizer.weight_decay = 0.05f;
  if (variant == 2) table.optimizer.clip_value = 0.8f;
  if (variant == 2) table.optimizer.clip_norm = 1.5f;
  REQUIRE(CheckTableOptions(table).ok());

  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  const auto slots = static_cast<size_t>(SlotDim(kind, dim));
  std::vector<float> row(static_cast<size_t>(dim) + slots);
  FillInitialRow(table, InitialValueKey(table), 5, row.data());
  StoreOracle::Row single = StoreOracle({table}).RowOf(0, 5);
  std::vector<double> w(row.begin(), row.begin() + dim);
  std::vector<double> s(row.begin() + dim, row.end());
  constexpr int kSteps = 30;
  for (int step = 1; step <= kSteps; ++step) {
    std::vector<float> gradient(static_cast<size_t>(dim));
    for (float& g : gradient) g = normal(random);
    float* rows[] = {row.data()};
    const float* gradients[] = {gradient.data()};
    const float factor = 1.0f / static_cast<float>(step);
    UpdateRows(kind, MakeRowUpdateSettings(table.optimizer, 0.1f, factor, step), dim, rows,
               gradients);
    OracleUpdate(table.optimizer, 0.1f * factor, gradient.data(), &single, step);
    StepInDouble(table.optimizer, double{0.1f} * double{factor}, gradient, step, w, s);
    for (size_t c = 0; c < w.size(); ++c) {
      // A step is about ten roundings of values of size <= 1 (ftrl: divided by a rate
      // that falls to 0.003), and errors add up over the steps.
      const double bound = kSteps * 20 * 6e-8 * (IsFtrl(kind) ? 20 : 1);
      CAPTURE(step, c);
      REQUIRE(std::fabs(row[c] - w[c]) <= bound);
    }
    REQUIRE(std::memcmp(row.data(), single.weights.data(), w.size() * sizeof(float)) == 0);
    REQUIRE((slots == 0 ||
             std::memcmp(row.data() + dim, single.slots.data(), slots * sizeof(float)) == 0));
  }
}

TEST_CASE("group ftrl makes whole rows zero, and adagrad_decay forgets down to its floor") {
  TableOptions group = TableForFormulas(Kind::kGroupFtrl, 3);
  group.optimizer.ftrl_l1 = 0.0f;
  group.optimizer.ftrl_l21 = 2.0f;
  std::vector<float> row(9, 0.0f);
  float* rows[] = {row.data()};
  const RowUpdateSettings settings = MakeRowUpdateSettings(group.optimizer, 0.1f, 1.0f);
  const float small[] = {1.0f, -2.0f, 2.0f};  // Norm 3, below 2 sqrt(3).
  const float* gradients[] = {small};
  UpdateRows(Kind::kGroupFtrl, settings, 3, rows, gradients);
  CHECK((row[0] == 0.0f && row[1] == 0.0f && row[2] == 0.0f));
  UpdateRows(Kind::kGroupFtrl, settings, 3, rows, gradients);  // Norm 6: above.
  CHECK((row[0] < 0.0f && row[1] > 0.0f && row[2] < 0.0f));

  TableOptions decays = TableForFormulas(Kind::kAdagradDecay, 1);
  std::vector<float> decayed = {0.0f, 100.0f, 0.0f};
  float* decayed_rows[] = {decayed.data()};
  const float zero = 0.0f;
  const float* zeros[] = {&zero};
  auto step_at = [&](Step step) {
    UpdateRows(Kind::kAdagradDecay, MakeRowUpdateSettings(decays.optimizer, 0.1f, 1.0f, step), 1,
               decayed_rows, zeros);
    return decayed[1];
  };
  CHECK(step_at(6) == 100.0f);
  CHECK(step_at(7) == Approx(70.0));
  CHECK(step_at(21) == Approx(100.0 * 0.7 * 0.7 * 0.7));
  CHECK(step_at(700) == 0.1f);
  CHECK(step_at(1) == 0.1f);  // Steps that begin anew forget nothing.
}

TEST_CASE("a zero gradient and a zero rate leave weights finite and as expected") {
  for (Kind kind : kAllKinds) {
    CAPTURE(SparseOptimizerName(kind));
    TableOptions table = MakeTable("t", 3, kind);
    const auto slots = static_cast<size_t>(SlotDim(kind, 3));
    std::vector<float> row(3 + slots);
    FillInitialRow(table, InitialValueKey(table), 5, row.data());
    const std::vector<float> before(row.begin(), row.begin() + 3);
    const std::vector<float> zero(3, 0.0f);
    const std::vector<float> one(3, 1.0f);
    float* rows[] = {row.data()};
    const float* zeros[] = {zero.data()};
    const float* ones[] = {one.data()};
    UpdateRows(kind, MakeRowUpdateSettings(table.optimizer, 0.1f, 1.0f), 3, rows, zeros);
    CHECK(std::vector<float>(row.begin(), row.begin() + 3) == before);
    UpdateRows(kind, MakeRowUpdateSettings(table.optimizer, 0.1f, 0.0f), 3, rows, ones);
    CHECK(std::vector<float>(row.begin(), row.begin() + 3) == before);
    CHECK(AllFinite(row));
  }
}

TEST_CASE("adam counts the row's own steps, and stops counting where floats end") {
  TableOptions table = MakeTable("t", 1, Kind::kAdam);
  std::vector<float> row(4, 0.0f);
  const float gradient = 0.5f;
  float* rows[] = {row.data()};
  const float* gradients[] = {&gradient};
  const RowUpdateSettings settings = MakeRowUpdateSettings(table.optimizer, 0.1f, 1.0f);
  UpdateRows(Kind::kAdam, settings, 1, rows, gradients);
  CHECK(row[3] == 1.0f);
  CHECK(row[0] == Approx(-0.1).epsilon(1e-5));  // The first step has size lr.
  row[3] = 16777216.0f;
  UpdateRows(Kind::kAdam, settings, 1, rows, gradients);
  CHECK(row[3] == 16777216.0f);
  CHECK(std::isfinite(row[0]));
}

TEST_CASE("initial values are normal, seeded by table and id, and zero where asked") {
  TableOptions table = MakeTable("t", 4, Kind::kAdagrad);
  table.init_stddev = 0.5f;
  table.init_zero_columns = 1;
  table.optimizer.initial_accumulator = 0.25f;
  const RandomKey key = InitialValueKey(table);
  double sum = 0;
  double squares = 0;
  constexpr int kRows = 40000;
  for (uint64_t id = 0; id < kRows; ++id) {
    float row[8];
    FillInitialRow(table, key, id, row);
    REQUIRE(row[0] == 0.0f);
    for (int c = 1; c < 4; ++c) {
      sum += row[c];
      squares += double{row[c]} * row[c];
    }
    for (int c = 4; c < 8; ++c) REQUIRE(row[c] == 0.25f);
  }
  constexpr double kValues = 3.0 * kRows;
  // Five standard errors.
  CHECK(std::fabs(sum / kValues) < 5 * 0.5 / std::sqrt(kValues));
  CHECK(std::fabs(squares / kValues - 0.25) < 5 * 0.25 * std::sqrt(2.0 / kValues));

  float a[8];
  float b[8];
  FillInitialRow(table, key, 1, a);
  TableOptions other = table;
  other.name.push_back('u');
  FillInitialRow(other, InitialValueKey(other), 1, b);
  CHECK(a[1] != b[1]);
  other = table;
  other.seed = 8;
  FillInitialRow(other, InitialValueKey(other), 1, b);
  CHECK(a[1] != b[1]);
  FillInitialRow(table, key, 2, b);
  CHECK(a[1] != b[1]);
  // Part of what a table on disk means: changing it changes models.
  CHECK(a[1] == Approx(0.0).margin(2.5));
}

}  // namespace
}  // namespace pagoda
