#include "tests/faults/writer_oracle.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "embedding_store/sparse_optimizer.h"

namespace pagoda {
namespace {

constexpr size_t kRowsMax = 60;      // Of a table in a push.
constexpr uint64_t kIdRange = 5000;  // Of a writer in a table.

TableOptions MakeTable(const std::string& name, int64_t dim, SparseOptimizerKind kind) {
  TableOptions table;
  table.name = name;
  table.dim = dim;
  table.seed = 5;
  table.init_stddev = 0.05f;
  table.optimizer.kind = kind;
  table.optimizer.learning_rate = 0.1f;
  return table;
}

}  // namespace

const std::vector<TableOptions>& OracleTables() {
  static const std::vector<TableOptions> tables = {
      MakeTable("wide", 8, SparseOptimizerKind::kAdagrad),
      MakeTable("odd", 3, SparseOptimizerKind::kAdam)};
  return tables;
}

WriterPush PushOf(uint64_t seed, uint32_t writer, uint64_t number) {
  std::mt19937_64 random(MixBits(MixBits(seed) + writer) ^ number);
  WriterPush push;
  push.step = static_cast<Step>(number);
  push.learning_rate_factor = 0.5f + 0.001f * static_cast<float>(random() % 1000);
  for (const TableOptions& table : OracleTables()) {
    WriterPush::Part part;
    std::set<FeatureId> ids;
    // At least one: the newest step of a writer's rows then tells its last push.
    const size_t rows = 1 + random() % kRowsMax;
    while (ids.size() < rows) ids.insert(random() % kIdRange * kWriters + writer);
    part.ids.assign(ids.begin(), ids.end());
    std::shuffle(part.ids.begin(), part.ids.end(), random);
    for (size_t i = 0; i < rows * static_cast<size_t>(table.dim); ++i) {
      part.gradients.push_back(static_cast<float>(static_cast<int64_t>(random() % 2001) - 1000) /
                               700.0f);
    }
    push.parts.push_back(std::move(part));
  }
  return push;
}

absl::Status Send(EmbeddingStore& store, uint64_t seed, uint32_t writer, uint64_t number) {
  const WriterPush push = PushOf(seed, writer, number);
  std::vector<StorePush> parts;
  for (uint32_t t = 0; t < push.parts.size(); ++t) {
    parts.push_back({t, push.parts[t].ids, push.parts[t].gradients});
  }
  return store.PushOnce({writer, 1, number}, parts, push.step, push.learning_rate_factor);
}

void WriterOracle::AdvanceTo(uint64_t number) {
  while (number_ < number) {
    const WriterPush push = PushOf(seed_, writer_, ++number_);
    for (uint32_t t = 0; t < push.parts.size(); ++t) {
      const TableOptions& table = OracleTables()[t];
      const RowUpdateSettings settings = MakeRowUpdateSettings(
          table.optimizer, table.optimizer.learning_rate, push.learning_rate_factor);
      const WriterPush::Part& part = push.parts[t];
      for (size_t i = 0; i < part.ids.size(); ++i) {
        Row& row = rows_[{t, part.ids[i]}];
        if (row.values.empty()) {
          row.values.resize(
              static_cast<size_t>(table.dim + SlotDim(table.optimizer.kind, table.dim)));
          FillInitialRow(table, InitialValueKey(table), part.ids[i], row.values.data());
        }
        float* const values = row.values.data();
        const float* const gradient = part.gradients.data() + static_cast<int64_t>(i) * table.dim;
        UpdateRows(table.optimizer.kind, settings, table.dim, {&values, 1}, {&gradient, 1});
        row.last_step = push.step;
      }
    }
  }
}

absl::Status WriterOracle::Compare(
    const std::map<std::pair<uint32_t, FeatureId>, StoredRow>& rows) const {
  for (const auto& [key, row] : rows) {
    const std::string name = absl::StrCat("writer ", writer_, ", push ", number_, ": table ",
                                          key.first, ", row ", key.second);
    const auto found = rows_.find(key);
    if (found == rows_.end()) return absl::DataLossError(name + " was never pushed");
    std::vector<float> values = row.weights;
    values.insert(values.end(), row.slots.begin(), row.slots.end());
    if (values.size() != found->second.values.size() ||
        std::memcmp(values.data(), found->second.values.data(), values.size() * sizeof(float)) !=
            0) {
      return absl::DataLossError(name + ": weights or slots differ");
    }
    if (row.last_step != found->second.last_step) {
      return absl::DataLossError(
          absl::StrCat(name, ": last step ", row.last_step, ", not ", found->second.last_step));
    }
  }
  if (rows.size() == rows_.size()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("writer ", writer_, ", push ", number_, ": ", rows.size(),
                                          " rows, not ", rows_.size()));
}

RunOracle::RunOracle(uint64_t seed) {
  for (uint32_t w = 0; w < kWriters; ++w) writers_.emplace_back(seed, w);
}

absl::Status RunOracle::Check(EmbeddingStore& store, const Numbers& low, const Numbers& high) {
  std::array<std::map<std::pair<uint32_t, FeatureId>, StoredRow>, kWriters> rows;
  Numbers last = {};
  PAGODA_RETURN_IF_ERROR(store.Scan([&](uint32_t table, const StoredRow& row) {
    const size_t writer = row.id % kWriters;
    last[writer] = std::max(last[writer], static_cast<uint64_t>(row.last_step));
    rows[writer][{table, row.id}] = row;
    return true;
  }));
  for (uint32_t w = 0; w < kWriters; ++w) {
    if (last[w] < low[w] || last[w] > high[w]) {
      return absl::DataLossError(absl::StrCat("writer ", w, ": the store ends at push ", last[w],
                                              ", not between ", low[w], " and ", high[w]));
    }
    writers_[w].AdvanceTo(last[w]);
    PAGODA_RETURN_IF_ERROR(writers_[w].Compare(rows[w]));
    rows_ += rows[w].size();
  }
  return absl::OkStatus();
}

}  // namespace pagoda
