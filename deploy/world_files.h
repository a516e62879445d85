// Writes a generated world (algorithms/worlds/world.h) to a directory: its files, and
// world.json with seed, knobs, rows, bytes and figures. docs/worlds.md
//
// Threads: one call a directory; it uses all cores by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithms/worlds/world.h"

namespace pagoda {

struct WorldRun {
  const WorldKind* kind = nullptr;
  KnobValues knobs;
  std::string directory;
  int threads = 0;       // 0: one a core. The bytes do not depend on it,
  int64_t at_once = 16;  // nor on this: units held in memory at a time.
  std::function<void(int64_t done, int64_t all)> progress;  // Units; may be empty.
};

struct WrittenFile {
  std::string name;
  int64_t rows = 0;  // Without the header.
  int64_t bytes = 0;
};

struct WrittenWorld {
  std::vector<WrittenFile> files;
  std::string json;  // What world.json says.
};

// Makes the directory, with its parents, and writes the world. world.json comes last: where
// it is, everything is.
//   FAILED_PRECONDITION  the directory exists and is not empty, or is a file
//   INVALID_ARGUMENT     knobs that do not go together
//   the file system's    RESOURCE_EXHAUSTED for a full disk, PERMISSION_DENIED, ...
// After an error everything that this call made is removed.
absl::StatusOr<WrittenWorld> WriteWorld(const WorldRun& run);

}  // namespace pagoda
