// What admission makes of a stream of pushes, with counts that are exact: one number for
// each id, no sketch. Draws by probability are taken from TableAdmission, which has tests
// of its own.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "embedding_store/admission.h"
#include "tests/embedding_store/store_fixture.h"

namespace pagoda {

class AdmissionOracle {
 public:
  explicit AdmissionOracle(std::vector<TableOptions> tables);

  // What of `push` reaches rows.
  TestPush Filter(const TestPush& push);
  // The rows of a table are gone.
  void Evict(uint32_t table);

  uint64_t refused(uint32_t table) const { return refused_[table]; }

 private:
  struct Counted {
    int64_t count = 0;
    int64_t period = 0;
  };
  using Key = std::pair<uint32_t, FeatureId>;

  bool Admits(uint32_t table, FeatureId id, Step step);

  std::vector<TableOptions> tables_;
  std::set<Key> rows_;
  std::map<Key, Counted> counts_;
  std::vector<uint64_t> refused_;
};

}  // namespace pagoda
