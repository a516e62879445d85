#include "tests/embedding_store/admission_oracle.h"

#include <algorithm>

#include "embedding_store/sparse_optimizer.h"

namespace pagoda {

AdmissionOracle::AdmissionOracle(std::vector<TableOptions> tables)
    : tables_(std::move(tables)), refused_(tables_.size()) {}

bool AdmissionOracle::Admits(uint32_t table, FeatureId id, Step step) {
  const AdmissionOptions& options = tables_[table].admission;
  if (options.kind == AdmissionKind::kNone || rows_.contains({table, id})) return true;
  if (options.kind == AdmissionKind::kProbability) {
    return TableAdmission(options, InitialValueKey(tables_[table]), true).Admits(id, step);
  }
  Counted& counted = counts_[{table, id}];
  for (const int64_t now = step / options.window_steps; counted.period < now; ++counted.period) {
    counted.count /= 2;
  }
  if (counted.count + 1 >= options.count) return true;
  ++counted.count;
  return false;
}

TestPush AdmissionOracle::Filter(const TestPush& push) {
  TestPush kept;
  kept.step = push.step;
  kept.learning_rate_factor = push.learning_rate_factor;
  for (const TestPush::Part& part : push.parts) {
    const auto dim = static_cast<size_t>(tables_[part.table].dim);
    TestPush::Part& to = kept.parts.emplace_back();
    to.table = part.table;
    for (size_t i = 0; i < part.ids.size(); ++i) {
      if (!Admits(part.table, part.ids[i], push.step)) {
        ++refused_[part.table];
        continue;
      }
      rows_.insert({part.table, part.ids[i]});
      to.ids.push_back(part.ids[i]);
      const float* gradient = part.gradients.data() + i * dim;
      to.gradients.insert(to.gradients.end(), gradient, gradient + dim);
    }
  }
  return kept;
}

void AdmissionOracle::Evict(uint32_t table) {
  std::erase_if(rows_, [&](const Key& key) { return key.first == table; });
}

}  // namespace pagoda
