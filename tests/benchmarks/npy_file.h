// NumPy's .npy files (format 1.0, little-endian, C order), so that a benchmark and
// its Python peer read the same arrays.
//
//   PAGODA_RETURN_IF_ERROR(WriteNpy("labels.npy", {4096}, labels.data()));
//   PAGODA_ASSIGN_OR_RETURN(NpyArray<float> labels, ReadNpy<float>("labels.npy"));
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace pagoda {

template <typename T>
struct NpyArray {
  Shape shape;
  std::vector<T> values;  // Row-major.
};

// T: float, double, int32_t, int64_t or uint64_t.
//   UNKNOWN  the file cannot be written (names it)
template <typename T>
absl::Status WriteNpy(const std::string& path, const Shape& shape, const T* values);

//   NOT_FOUND         no such file
//   INVALID_ARGUMENT  not an .npy file, or of another type or byte order (names both)
//   DATA_LOSS         the file ends early
template <typename T>
absl::StatusOr<NpyArray<T>> ReadNpy(const std::string& path);

}  // namespace pagoda
