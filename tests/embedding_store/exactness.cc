#include "tests/embedding_store/exactness.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "embedding_store/sparse_optimizer.h"
#include "tests/embedding_store/double_oracle.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {
namespace {

using Kind = SparseOptimizerKind;

constexpr size_t kTouchedRows = 24;

// A row of the dense optimizers.
struct DenseRow {
  std::vector<double> weights, slots;
  std::vector<float> floats;  // Weights, then slots.
};

ExactCase Case(const std::string& name, Kind kind, float learning_rate, bool schedule) {
  ExactCase exact;
  exact.name = name;
  exact.optimizer.kind = kind;
  exact.optimizer.learning_rate = learning_rate;
  exact.optimizer.initial_accumulator = 0.1f;
  exact.optimizer.exact = true;
  exact.schedule = schedule;
  return exact;
}

float FactorAt(bool schedule, int step) {
  if (!schedule) return 1.0f;
  if (step <= 20) return static_cast<float>(step - 1) / 20.0f;
  return static_cast<float>(0.6 + 0.4 * std::cos(0.001 * step));
}

std::vector<DenseRow> InitialRows(const TableOptions& table) {
  std::vector<DenseRow> rows(kTouchedRows + 1);
  const auto dim = static_cast<size_t>(table.dim);
  for (size_t id = 0; id < rows.size(); ++id) {
    DenseRow& row = rows[id];
    row.floats.resize(dim + static_cast<size_t>(SlotDim(table.optimizer.kind, table.dim)));
    FillInitialRow(table, InitialValueKey(table), id, row.floats.data());
    row.weights.assign(row.floats.begin(), row.floats.begin() + table.dim);
    row.slots.assign(row.floats.begin() + table.dim, row.floats.end());
  }
  return rows;
}

void StepDense(const TableOptions& table, float factor, Step step,
               const std::vector<std::vector<float>>& gradients, std::vector<DenseRow>& rows) {
  const RowUpdateSettings settings =
      MakeRowUpdateSettings(table.optimizer, table.optimizer.learning_rate, factor, step);
  for (size_t id = 0; id < rows.size(); ++id) {
    float* const floats = rows[id].floats.data();
    const float* const gradient = gradients[id].data();
    UpdateRows(table.optimizer.kind, settings, table.dim, {&floats, 1}, {&gradient, 1});
    if (IsFtrl(table.optimizer.kind) && settings.learning_rate == 0.0f) continue;
    StepInDouble(table.optimizer, double{settings.learning_rate}, gradients[id], step,
                 rows[id].weights, rows[id].slots);
  }
}

void Compare(const std::vector<float>& weights, const std::vector<DenseRow>& rows,
             ExactError* error) {
  double largest = 0;
  ExactError now;
  for (size_t id = 0; id < rows.size(); ++id) {
    const size_t dim = rows[id].weights.size();
    for (size_t c = 0; c < dim; ++c) {
      const double w = rows[id].weights[c];
      largest = std::max(largest, std::fabs(w));
      now.store = std::max(now.store, std::fabs(weights[id * dim + c] - w));
      now.dense = std::max(now.dense, std::fabs(rows[id].floats[c] - w));
    }
  }
  if (largest == 0) return;
  error->store = std::max(error->store, now.store / largest);
  error->dense = std::max(error->dense, now.dense / largest);
}

}  // namespace

std::vector<ExactCase> ExactCases() {
  std::vector<ExactCase> cases;
  auto add = [&](const std::string& name, Kind kind, float rate, bool schedule) {
    cases.push_back(Case(name, kind, rate, schedule));
    return &cases.back().optimizer;
  };
  add("sgd with l2", Kind::kSgd, 0.05f, false)->l2 = 0.02f;
  SparseOptimizerOptions* sgd = add("sgd with l2, decay, schedule", Kind::kSgd, 0.05f, true);
  sgd->l2 = 0.02f;
  sgd->weight_decay = 0.05f;
  add("momentum", Kind::kMomentum, 0.02f, false);
  SparseOptimizerOptions* heavy =
      add("momentum with l2, decay, schedule", Kind::kMomentum, 0.02f, true);
  heavy->l2 = 0.01f;
  heavy->weight_decay = 0.02f;
  add("adagrad", Kind::kAdagrad, 0.1f, true);
  add("adagrad with decay", Kind::kAdagrad, 0.1f, false)->weight_decay = 0.01f;
  add("rowwise_adagrad with decay", Kind::kRowwiseAdagrad, 0.1f, true)->weight_decay = 0.01f;
  SparseOptimizerOptions* fading =
      add("adagrad_decay with decay", Kind::kAdagradDecay, 0.1f, false);
  fading->weight_decay = 0.01f;
  fading->decay_steps = 37;
  add("adam", Kind::kAdam, 0.01f, false);
  add("adam, schedule", Kind::kAdam, 0.01f, true)->epsilon = 1e-3f;
  add("adam, beta1 0.99", Kind::kAdam, 0.01f, false)->beta1 = 0.99f;
  add("adamw", Kind::kAdamW, 0.01f, false)->weight_decay = 0.1f;
  add("rowwise_adam with decay, schedule", Kind::kRowwiseAdam, 0.01f, true)->weight_decay = 0.05f;
  SparseOptimizerOptions* ftrl = add("ftrl, schedule", Kind::kFtrl, 0.1f, true);
  ftrl->ftrl_l1 = 0.5f;
  ftrl->ftrl_l2 = 0.1f;
  SparseOptimizerOptions* group = add("group_ftrl", Kind::kGroupFtrl, 0.1f, false);
  group->ftrl_l1 = 0.1f;
  group->ftrl_l21 = 1.0f;
  add("momentum, clipped", Kind::kMomentum, 0.02f, false)->clip_norm = 1.0f;
  return cases;
}

ExactError RunExactCase(const ExactCase& exact, const std::string& path, int64_t dim, int steps,
                        int read_every, uint64_t seed) {
  TableOptions table = MakeTable(exact.name, dim, exact.optimizer.kind);
  table.init_stddev = 0.05f;
  table.optimizer = exact.optimizer;
  auto store = OpenStore(MakeStore(path));
  const uint32_t index = OpenTableOf(*store, table);
  std::vector<DenseRow> rows = InitialRows(table);
  std::vector<FeatureId> all;
  for (FeatureId id = 0; id < rows.size(); ++id) all.push_back(id);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<double> uniform;
  ExactError error;
  for (int step = 1; step <= steps; ++step) {
    TestPush push;
    push.step = step;
    push.learning_rate_factor = FactorAt(exact.schedule, step);
    push.parts.resize(1);
    push.parts[0].table = index;
    std::vector<std::vector<float>> gradients(rows.size(),
                                              std::vector<float>(static_cast<size_t>(dim)));
    for (size_t id = 0; id < kTouchedRows; ++id) {
      const double exponent = static_cast<double>(id) / (kTouchedRows - 1) - 1;
      if (uniform(random) >= std::pow(1e3, exponent)) continue;
      for (float& g : gradients[id]) g = normal(random);
      push.parts[0].ids.push_back(id);
      push.parts[0].gradients.insert(push.parts[0].gradients.end(), gradients[id].begin(),
                                     gradients[id].end());
    }
    const absl::Status pushed = Apply(*store, push);
    CAPTURE(exact.name, step, seed, pushed);
    REQUIRE(pushed.ok());
    StepDense(table, push.learning_rate_factor, step, gradients, rows);
    if (step % read_every != 0) continue;
    Compare(PullRows(*store, index, all), rows, &error);
  }
  return error;
}

}  // namespace pagoda
