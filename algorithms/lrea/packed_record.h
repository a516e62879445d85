// UserRecords as bytes, for a store of users: f32, or 16 bits.
//
//   kF32  read back bit for bit
//   kF16  each of A_u and M_u divided by a power of two s that brings its largest value into
//         [1, 2), and rounded to nearest: a value v is off by at most 2^-11 |v| + 2^-25 s, so
//         that o(t) is off by about 2^-10 sum_ck |t_c A_ck M_k| where few values are tiny
//
// Rank 32 and rows of 64 columns: 16 KiB as kF32, 8 KiB as kF16, and 56 bytes of both. Numbers
// are little-endian; a hash of all before it ends the bytes.
//
// Threads: all functions are pure.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "algorithms/lrea/absorbed.h"

namespace pagoda::lrea {

enum class RecordPrecision { kF32, kF16 };

//   INVALID_ARGUMENT  a value is not finite, or A_u or M_u has another size than the record says
absl::StatusOr<std::string> PackRecord(const UserRecord& record, RecordPrecision precision);

// A record as it was packed. Attend refuses it when its version is not the model's.
//   DATA_LOSS  the bytes are cut short, too long, or damaged
absl::StatusOr<UserRecord> UnpackRecord(absl::string_view bytes);

}  // namespace pagoda::lrea
