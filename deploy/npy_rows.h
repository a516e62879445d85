// Rows of a table in NumPy's .npy files, as `pagoda table load` takes them:
//
//   ids      uint64 or int64 [n]             numpy.save("ids.npy", ids)
//   weights  float32 [n, dim], C order
//   slots    float32 [n, SlotDim], C order; may be missing
//
// Formats 1.0 to 3.0, little-endian. Files are read a block of rows at a time, so that they
// may be larger than memory.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "embedding_store/bulk_load.h"

namespace pagoda {

struct NpyRowsFiles {
  std::string ids, weights;
  std::string slots;  // Empty: none.
};

class NpyRows {
 public:
  // Opens the files and checks their headers. `dim`, `slot_dim`: of the table.
  //   NOT_FOUND         a file cannot be read (named)
  //   INVALID_ARGUMENT  not an .npy file, or of another type or shape (says which)
  static absl::StatusOr<std::unique_ptr<NpyRows>> Open(const NpyRowsFiles& files, int64_t dim,
                                                       int64_t slot_dim);

  uint64_t rows() const { return rows_; }

  // The next block of rows of one shard; none at the end.
  //   DATA_LOSS  a file ends early (named)
  absl::StatusOr<RowsToLoad> Next(uint32_t shard, uint32_t num_shards);

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  struct Array {
    std::string path;
    std::unique_ptr<std::FILE, CloseFile> file;
    uint64_t rows = 0;
    uint64_t columns = 1;  // Of a one-dimensional array.
  };
  NpyRows() = default;
  static absl::StatusOr<Array> OpenArray(const std::string& path, bool ids);
  static absl::Status Read(const Array& array, void* values, size_t bytes);

  Array ids_file_, weights_file_, slots_file_;
  bool has_slots_ = false;
  size_t dim_ = 0, slot_dim_ = 0;
  uint64_t rows_ = 0;
  uint64_t at_ = 0;  // Rows read.
  std::vector<FeatureId> ids_;
  std::vector<float> weights_, slots_;
};

}  // namespace pagoda
