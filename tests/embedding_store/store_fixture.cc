#include "tests/embedding_store/store_fixture.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <set>
#include <sstream>

#include "base/hash.h"
#include "base/random.h"

namespace pagoda {

ScratchDirectory::ScratchDirectory() {
  static std::atomic<int> next{0};
  path_ = (std::filesystem::temp_directory_path() /
           ("pagoda-test-" + std::to_string(::getpid()) + "-" + std::to_string(next++)))
              .string();
  std::filesystem::remove_all(path_);
  std::filesystem::create_directories(path_);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

TableOptions MakeTable(const std::string& name, int64_t dim, SparseOptimizerKind kind) {
  TableOptions table;
  table.name = name;
  table.dim = dim;
  table.seed = 7;
  table.init_stddev = IsFtrl(kind) ? 0.0f : 0.05f;
  table.optimizer.kind = kind;
  table.optimizer.learning_rate = 0.1f;
  return table;
}

StoreOptions MakeStore(const std::string& path) {
  StoreOptions options;
  options.path = path;
  options.memory_bytes = int64_t{32} << 20;
  options.log_bytes_max = int64_t{16} << 20;
  return options;
}

std::unique_ptr<EmbeddingStore> OpenStore(const StoreOptions& options) {
  auto store = EmbeddingStore::Open(options);
  INFO(store.status());
  REQUIRE(store.ok());
  return *std::move(store);
}

uint32_t OpenTableOf(EmbeddingStore& store, const TableOptions& options) {
  const auto index = store.OpenTable(options);
  INFO(index.status());
  REQUIRE(index.ok());
  return *index;
}

uint64_t HashOfStore(EmbeddingStore& store) {
  const auto hash = store.ContentHash();
  INFO(hash.status());
  REQUIRE(hash.ok());
  return *hash;
}

std::vector<float> PullRows(EmbeddingStore& store, uint32_t table,
                            const std::vector<FeatureId>& ids) {
  const auto dim = static_cast<size_t>(store.tables().at(table).dim);
  std::vector<float> weights(ids.size() * dim, -99.0f);
  const StorePull pull{table, ids, weights.data()};
  const absl::Status status = store.Pull({&pull, 1});
  INFO(status);
  REQUIRE(status.ok());
  return weights;
}

std::vector<uint32_t> PullStatistics(EmbeddingStore& store, uint32_t table,
                                     const std::vector<FeatureId>& ids) {
  const auto dim = static_cast<size_t>(store.tables().at(table).dim);
  std::vector<float> weights(ids.size() * dim, -99.0f);
  std::vector<uint32_t> statistics(2 * ids.size(), 12345);
  const StorePull pull{table, ids, weights.data(), statistics.data()};
  const absl::Status status = store.Pull({&pull, 1});
  INFO(status);
  REQUIRE(status.ok());
  REQUIRE(weights == PullRows(store, table, ids));
  return statistics;
}

absl::Status Apply(EmbeddingStore& store, const TestPush& push) {
  std::vector<StorePush> parts;
  for (const TestPush::Part& part : push.parts) {
    parts.push_back({part.table, part.ids, part.gradients});
  }
  return store.Push(parts, push.step, push.learning_rate_factor);
}

TestPush RandomPush(const std::vector<TableOptions>& tables, uint64_t seed, uint64_t number,
                    size_t rows_max, uint64_t id_range) {
  std::mt19937_64 random(MixBits(seed) ^ number);
  TestPush push;
  push.step = static_cast<Step>(number);
  push.learning_rate_factor = 0.5f + 0.001f * static_cast<float>(random() % 1000);
  for (uint32_t t = 0; t < tables.size(); ++t) {
    TestPush::Part part;
    part.table = t;
    std::set<FeatureId> ids;
    const size_t rows = random() % (rows_max + 1);
    while (ids.size() < rows) ids.insert(MixBits(random() % id_range));
    part.ids.assign(ids.begin(), ids.end());
    std::shuffle(part.ids.begin(), part.ids.end(), random);
    for (size_t i = 0; i < rows * static_cast<size_t>(tables[t].dim); ++i) {
      part.gradients.push_back(static_cast<float>(static_cast<int64_t>(random() % 2001) - 1000) /
                               700.0f);
    }
    push.parts.push_back(std::move(part));
  }
  return push;
}

namespace {

float TreeSumOfSquares(const std::vector<float>& values) {
  float lane[8] = {};
  for (size_t c = 0; c < values.size(); ++c) lane[c % 8] += values[c] * values[c];
  for (int width = 4; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

std::vector<float> ClippedGradient(const SparseOptimizerOptions& o, const float* gradient,
                                   size_t dim) {
  std::vector<float> g(gradient, gradient + dim);
  if (o.clip_value > 0) {
    for (float& x : g) x = std::clamp(x, -o.clip_value, o.clip_value);
  }
  const float norm = std::sqrt(TreeSumOfSquares(g));
  if (o.clip_norm > 0 && norm > o.clip_norm) {
    for (float& x : g) x *= o.clip_norm / norm;
  }
  return g;
}

void OracleAdam(const SparseOptimizerOptions& o, float rate, const std::vector<float>& g, float* w,
                float* s) {
  const size_t dim = g.size();
  const bool rowwise = o.kind == SparseOptimizerKind::kRowwiseAdam;
  float* v = s + dim;
  float& count = v[rowwise ? 1 : dim];
  count += 1.0f;
  const double t = count;
  const auto step = static_cast<float>(double{rate} / (1.0 - std::pow(double{o.beta1}, t)));
  const auto root = static_cast<float>(std::sqrt(1.0 - std::pow(double{o.beta2}, t)));
  const float mean = TreeSumOfSquares(g) / static_cast<float>(dim);
  if (rowwise) v[0] = o.beta2 * v[0] + (1.0f - o.beta2) * mean;
  for (size_t c = 0; c < dim; ++c) {
    s[c] = o.beta1 * s[c] + (1.0f - o.beta1) * g[c];
    const float decay = rate * o.weight_decay * w[c];
    if (rowwise) {
      w[c] -= step / (std::sqrt(v[0]) / root + o.epsilon) * s[c] + decay;
    } else {
      v[c] = o.beta2 * v[c] + (1.0f - o.beta2) * g[c] * g[c];
      w[c] -= step * (s[c] / (std::sqrt(v[c]) / root + o.epsilon)) + decay;
    }
  }
}

void OracleFtrl(const SparseOptimizerOptions& o, float rate, const std::vector<float>& g, float* w,
                float* s) {
  const size_t dim = g.size();
  if (rate <= 0.0f) return;
  std::vector<float> shrunk(dim);
  for (size_t c = 0; c < dim; ++c) {
    float& z = s[c];
    float& n = s[dim + c];
    const float n_new = n + g[c] * g[c];
    z += g[c] - (std::sqrt(n_new) - std::sqrt(n)) / rate * w[c];
    n = n_new;
    shrunk[c] = std::fabs(z) <= o.ftrl_l1 ? 0.0f : z - (z > 0.0f ? o.ftrl_l1 : -o.ftrl_l1);
  }
  float kept = 1.0f;
  if (o.kind == SparseOptimizerKind::kGroupFtrl) {
    const float norm = std::sqrt(TreeSumOfSquares(shrunk));
    const float threshold = o.ftrl_l21 * std::sqrt(static_cast<float>(dim));
    kept = norm > threshold ? 1.0f - threshold / norm : 0.0f;
  }
  for (size_t c = 0; c < dim; ++c) {
    const float root = (o.ftrl_beta + std::sqrt(s[dim + c])) / rate + o.ftrl_l2;
    w[c] = shrunk[c] == 0.0f || kept == 0.0f ? 0.0f : -(kept * shrunk[c]) / root;
  }
}

}  // namespace

void OracleUpdate(const SparseOptimizerOptions& o, float rate, const float* gradient,
                  StoreOracle::Row* row, Step step) {
  const size_t dim = row->weights.size();
  std::vector<float> g = ClippedGradient(o, gradient, dim);
  for (size_t c = 0; c < dim; ++c) g[c] += o.l2 * row->weights[c];
  float* w = row->weights.data();
  float* s = row->slots.data();
  if (IsAdam(o.kind)) return OracleAdam(o, rate, g, w, s);
  if (IsFtrl(o.kind)) return OracleFtrl(o, rate, g, w, s);
  const auto decay = [&](size_t c) { return rate * o.weight_decay * w[c]; };
  if (o.kind == SparseOptimizerKind::kAdagradDecay) {
    const auto periods = static_cast<float>(step / o.decay_steps);
    const auto kept = static_cast<float>(
        std::pow(double{o.accumulator_decay}, double{std::max(0.0f, periods - s[dim])}));
    for (size_t c = 0; c < dim; ++c) {
      if (periods > s[dim]) s[c] = std::max(s[c] * kept, o.initial_accumulator);
    }
    s[dim] = periods;
  }
  if (o.kind == SparseOptimizerKind::kRowwiseAdagrad) {
    s[0] += TreeSumOfSquares(g) / static_cast<float>(dim);
    const float scale = rate / (std::sqrt(s[0]) + o.epsilon);
    for (size_t c = 0; c < dim; ++c) w[c] -= scale * g[c] + decay(c);
    return;
  }
  for (size_t c = 0; c < dim; ++c) {
    if (o.kind == SparseOptimizerKind::kSgd) {
      w[c] -= rate * g[c] + decay(c);
    } else if (o.kind == SparseOptimizerKind::kMomentum) {
      s[c] = o.momentum * s[c] + g[c];
      w[c] -= rate * s[c] + decay(c);
    } else {
      s[c] += g[c] * g[c];
      w[c] -= rate * g[c] / (std::sqrt(s[c]) + o.epsilon) + decay(c);
    }
  }
}

float OracleRound(RowPrecision precision, float x, double part) {
  if (precision == RowPrecision::kF32 || x == 0.0f) return x;
  const bool half = precision == RowPrecision::kF16;
  const double a = std::fabs(static_cast<double>(x));
  const int lowest = half ? -14 : -126;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(a), lowest) - (half ? 10 : 7));
  const double most = half ? 65504.0 : std::ldexp(255.0, 120);
  double units = a / unit;
  units = part == 0.5 ? std::nearbyint(units) : std::floor(units + part);
  return static_cast<float>(std::copysign(std::min(units * unit, most), x));
}

StoreOracle::Row StoreOracle::RowOf(uint32_t table, FeatureId id) const {
  const auto found = rows_.find({table, id});
  if (found != rows_.end()) return found->second;
  const TableOptions& t = tables_.at(table);
  const RandomKey key = RandomKey{t.seed}.Derive(HashBytes(t.name)).Derive(id);
  Row row;
  for (int64_t c = 0; c < t.dim; ++c) {
    const bool zero = c < t.init_zero_columns || t.init_stddev == 0.0f;
    row.weights.push_back(zero ? 0.0f
                               : t.init_stddev * RandomNormal(key, static_cast<uint64_t>(c)));
  }
  for (float& weight : row.weights) weight = OracleRound(t.precision, weight, 0.5);
  const SparseOptimizerKind kind = t.optimizer.kind;
  row.slots.assign(static_cast<size_t>(SlotDim(kind, t.dim)), 0.0f);
  const bool each =
      kind == SparseOptimizerKind::kAdagrad || kind == SparseOptimizerKind::kAdagradDecay;
  const int64_t accumulators = each ? t.dim : kind == SparseOptimizerKind::kRowwiseAdagrad ? 1 : 0;
  std::fill_n(row.slots.begin(), accumulators, t.optimizer.initial_accumulator);
  return row;
}

void StoreOracle::Push(const TestPush& push) {
  for (const TestPush::Part& part : push.parts) {
    const TableOptions& table = tables_.at(part.table);
    const auto dim = static_cast<size_t>(table.dim);
    for (size_t i = 0; i < part.ids.size(); ++i) {
      Row row = RowOf(part.table, part.ids[i]);
      OracleUpdate(table.optimizer, table.optimizer.learning_rate * push.learning_rate_factor,
                   part.gradients.data() + i * dim, &row, push.step);
      row.last_step = push.step;
      ++row.updates;
      const RandomKey key = RandomKey{table.seed}
                                .Derive(HashBytes(table.name))
                                .Derive(0x726f756e64)
                                .Derive(part.ids[i])
                                .Derive(row.updates);
      const double steps = table.precision == RowPrecision::kF16 ? 8192.0 : 65536.0;
      for (size_t c = 0; c < dim; ++c) {
        const uint64_t bits = RandomBits(key, c / 4) >> (16 * (c % 4)) & 0xffff;
        const double u = std::floor(static_cast<double>(bits) * steps / 65536.0) / steps;
        // A part of exactly one half would mean nearest to OracleRound.
        const double part_up = u == 0.5 ? 0.5 + 1e-9 : u;
        row.weights[c] = OracleRound(table.precision, row.weights[c], part_up);
      }
      rows_[{part.table, part.ids[i]}] = std::move(row);
    }
  }
}

namespace {

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

std::string StoreOracle::Compare(EmbeddingStore& store) const {
  std::ostringstream difference;
  size_t seen = 0;
  const absl::Status scanned = store.Scan([&](uint32_t table, const StoredRow& row) {
    ++seen;
    const auto found = rows_.find({table, row.id});
    if (found == rows_.end()) {
      difference << "table " << table << " has row " << row.id << ", which was never pushed";
      return false;
    }
    const Row& expected = found->second;
    if (SameBits(row.weights, expected.weights) && SameBits(row.slots, expected.slots) &&
        row.last_step == expected.last_step) {
      return true;
    }
    difference << "table " << table << " row " << row.id << ": step " << row.last_step << " for "
               << expected.last_step << ", first weight " << row.weights[0] << " for "
               << expected.weights[0];
    return false;
  });
  if (!scanned.ok()) return scanned.ToString();
  if (difference.str().empty() && seen != rows_.size()) {
    difference << seen << " rows instead of " << rows_.size();
  }
  return difference.str();
}

}  // namespace pagoda
