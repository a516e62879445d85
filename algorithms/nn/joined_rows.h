// The rows of a join's side files, parsed: what features of the join read for each key.
// Plain data, filled once (worker/side_files.h) and then shared by all who read.
//
// Threads: immutable once filled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "base/hash.h"
#include "base/ids.h"

namespace pagoda {

struct JoinedRows {
  // Row r of a sparse feature has ids[ends[r - 1] .. ends[r]).
  struct Ids {
    std::vector<FeatureId> ids;
    std::vector<int64_t> ends;
  };

  // The row of a key, or -1.
  int64_t Find(absl::string_view key) const {
    const auto found = row_of_key.find(HashFeature(key_column, key));
    return found == row_of_key.end() ? -1 : found->second;
  }
  int64_t num_rows() const { return static_cast<int64_t>(row_of_key.size()); }

  std::string key_column;
  // By HashFeature(key_column, key): a row is known by 64 bits of its key, as ids are.
  absl::flat_hash_map<uint64_t, int64_t> row_of_key;
  std::vector<Ids> sparse;  // Per sparse feature of the join, schema order.
  // [num_rows, numeric features of the join], row-major, in schema order.
  std::vector<float> dense;
};

}  // namespace pagoda
