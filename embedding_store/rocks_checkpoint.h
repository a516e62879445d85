// A consistent copy of a RocksDB database in another directory, by hard links.
#pragma once

#include <rocksdb/db.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "embedding_store/file_system.h"

namespace pagoda {

// Links the row files of `db`, whose memtables must be empty, to `directory`, which must not
// exist, and copies what else it takes to open them there; all of it is synced. Returns the
// files' checksums (XXH3), by name, where RocksDB knows them from when it wrote them.
// Threads: any; runs may be added, merged and removed meanwhile.
//   ALREADY_EXISTS  `directory` exists
//   and those of FromRocks and of `fs`: what was made by then is left there
absl::StatusOr<std::map<std::string, uint64_t>> CheckpointRocks(rocksdb::DB* db, FileSystem* fs,
                                                                const std::string& directory);

}  // namespace pagoda
