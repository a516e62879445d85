// The rows that a job's cut holds, read from its servers' directories.
#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "embedding_store/embedding_store.h"
#include "worker/job_cut.h"

namespace pagoda {

struct CutRows {
  // (table, id) -> weights, then slots.
  std::map<std::pair<std::string, FeatureId>, std::vector<float>> rows;
  uint64_t content_hash = 0;  // Sum over the servers: does not depend on their number.
};

inline CutRows ReadCutRows(const std::string& cut_directory) {
  CutRows all;
  const auto manifest = ReadCutManifest(cut_directory);
  INFO(manifest.status().ToString());
  REQUIRE(manifest.ok());
  for (const auto& server : manifest->servers()) {
    StoreOptions options;
    options.path = server.directory();
    options.read_only = true;
    options.memory_bytes = int64_t{64} << 20;
    const auto store = EmbeddingStore::Open(options);
    INFO(server.directory() << ": " << store.status().ToString());
    REQUIRE(store.ok());
    const std::vector<TableOptions> tables = (*store)->tables();
    REQUIRE((*store)
                ->Scan([&](uint32_t table, const StoredRow& row) {
                  std::vector<float> values = row.weights;
                  values.insert(values.end(), row.slots.begin(), row.slots.end());
                  all.rows[{tables[table].name, row.id}] = values;
                  return true;
                })
                .ok());
    const auto hash = (*store)->ContentHash();
    REQUIRE(hash.ok());
    all.content_hash += *hash;
  }
  return all;
}

}  // namespace pagoda
