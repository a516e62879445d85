// A cut of one shard: a directory that holds everything the store held at one
// moment, and a manifest that says so.
//
//   directory/MANIFEST    text: version, sequence, rows, every file with size and
//                         XXH3, own checksum; written last
//   directory/REGISTRY    the tables
//   directory/rocksdb/    hard links of the row files
//
// A cut is built as directory.partial and renamed: a cut directory is complete or
// does not exist. Threads: one at a time per directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "embedding_store/embedding_store.h"
#include "embedding_store/file_system.h"
#include "embedding_store/rocks_tier.h"
#include "embedding_store/run_parts.h"

namespace pagoda {

struct CutContents {
  uint64_t sequence = 0;
  uint64_t rows = 0;
  std::vector<TableOptions> tables;
};

// Writes the cut of what `rocks` holds on disk.
//   ALREADY_EXISTS  directory exists
//   errors of FileSystem and RocksTier; nothing is left but directory.partial
absl::StatusOr<StoreCut> WriteShardCut(FileSystem* file_system, RocksTier* rocks,
                                       const CutContents& contents, const std::string& directory);

// Checks the manifest, every file's size, and the checksums of those named. Row files
// have a checksum in each block, which RocksDB checks whenever it reads one; who reads
// them all anyway need not read them twice.
//   NOT_FOUND            there is no such cut
//   DATA_LOSS            a file is missing, short or altered (names it)
//   FAILED_PRECONDITION  another format version
// `run`: what files are checked on.
enum class CutFiles { kAllButRows, kAll };
absl::StatusOr<StoreCut> ReadShardCut(FileSystem* file_system, const std::string& directory,
                                      CutFiles files, const RunParts& run = {});

// Fills `state`, an empty directory, from a cut: links of the row files, copies of
// what RocksDB will change. All of it is synced.
absl::Status CopyShardCut(FileSystem* file_system, const std::string& directory,
                          const std::string& state);

}  // namespace pagoda
