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
  table.init_stddev = kind == SparseOptimizerKind::kFtrl ? 0.0f : 0.05f;
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

void OracleUpdate(const SparseOptimizerOptions& o, float rate, const float* gradient,
                  StoreOracle::Row* row) {
  const size_t dim = row->weights.size();
  std::vector<float> g(dim);
  for (size_t c = 0; c < dim; ++c) g[c] = gradient[c] + o.l2 * row->weights[c];
  float* w = row->weights.data();
  float* s = row->slots.data();
  switch (o.kind) {
    case SparseOptimizerKind::kSgd:
      for (size_t c = 0; c < dim; ++c) w[c] -= rate * g[c];
      return;
    case SparseOptimizerKind::kAdagrad:
      for (size_t c = 0; c < dim; ++c) {
        s[c] += g[c] * g[c];
        w[c] -= rate * g[c] / (std::sqrt(s[c]) + o.epsilon);
      }
      return;
    case SparseOptimizerKind::kRowwiseAdagrad: {
      float lane[8] = {};
      for (size_t c = 0; c < dim; ++c) lane[c % 8] += g[c] * g[c];
      for (int width = 4; width > 0; width /= 2) {
        for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
      }
      s[0] += lane[0] / static_cast<float>(dim);
      const float scale = rate / (std::sqrt(s[0]) + o.epsilon);
      for (size_t c = 0; c < dim; ++c) w[c] -= scale * g[c];
      return;
    }
    case SparseOptimizerKind::kAdam: {
      const double t = (s[2 * dim] += 1.0f);
      const auto step = static_cast<float>(double{rate} / (1.0 - std::pow(double{o.beta1}, t)));
      const auto root = static_cast<float>(std::sqrt(1.0 - std::pow(double{o.beta2}, t)));
      for (size_t c = 0; c < dim; ++c) {
        s[c] = o.beta1 * s[c] + (1.0f - o.beta1) * g[c];
        s[dim + c] = o.beta2 * s[dim + c] + (1.0f - o.beta2) * g[c] * g[c];
        w[c] -= step * (s[c] / (std::sqrt(s[dim + c]) / root + o.epsilon));
      }
      return;
    }
    case SparseOptimizerKind::kFtrl:
      for (size_t c = 0; c < dim && rate > 0.0f; ++c) {
        float& z = s[c];
        float& n = s[dim + c];
        const float n_new = n + g[c] * g[c];
        z += g[c] - (std::sqrt(n_new) - std::sqrt(n)) / rate * w[c];
        n = n_new;
        if (std::fabs(z) <= o.ftrl_l1) {
          w[c] = 0.0f;
        } else {
          const float sign = z > 0.0f ? 1.0f : -1.0f;
          w[c] = -(z - sign * o.ftrl_l1) / ((o.ftrl_beta + std::sqrt(n)) / rate + o.ftrl_l2);
        }
      }
      return;
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
  const bool adagrad = t.optimizer.kind == SparseOptimizerKind::kAdagrad ||
                       t.optimizer.kind == SparseOptimizerKind::kRowwiseAdagrad;
  row.slots.assign(static_cast<size_t>(SlotDim(t.optimizer.kind, t.dim)),
                   adagrad ? t.optimizer.initial_accumulator : 0.0f);
  return row;
}

void StoreOracle::Push(const TestPush& push) {
  for (const TestPush::Part& part : push.parts) {
    const TableOptions& table = tables_.at(part.table);
    const auto dim = static_cast<size_t>(table.dim);
    for (size_t i = 0; i < part.ids.size(); ++i) {
      Row row = RowOf(part.table, part.ids[i]);
      OracleUpdate(table.optimizer, table.optimizer.learning_rate * push.learning_rate_factor,
                   part.gradients.data() + i * dim, &row);
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
