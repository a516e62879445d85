// RocksDB's changes to files, carried out by a FileSystem (file_system.h): creating,
// appending, truncating, syncing, renaming, linking and removing files, and creating,
// removing and syncing directories. A test that hands in a file system which is full,
// dies or forgets what was not synced thereby breaks the rows' files as it breaks the
// log's. A store on the real file system does not use this: RocksDB then does its own I/O.
//
// Reads, listings and locks stay RocksDB's: `file_system` must keep its files in the
// machine's file system, under the paths it is given. A file opened anew for writing
// replaces one of that name.
//
// Errors: RESOURCE_EXHAUSTED becomes RocksDB's NoSpace, NOT_FOUND its PathNotFound,
// anything else an IOError; texts are kept.
#pragma once

#include <memory>

#include "embedding_store/file_system.h"

namespace rocksdb {
class Env;
}

namespace pagoda {

// `file_system` must outlive the Env, and the Env every database opened with it.
// Threads: any.
std::shared_ptr<rocksdb::Env> MakeRocksEnv(FileSystem* file_system);

}  // namespace pagoda
