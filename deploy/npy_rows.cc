#include "deploy/npy_rows.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

constexpr size_t kBlockRows = 16384;
constexpr size_t kHeaderBytesMax = size_t{1} << 16;

absl::Status NotNpy(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// The text of an .npy file's header; the file then stands at its values.
absl::StatusOr<std::string> ReadHeader(std::FILE* file, const std::string& path) {
  unsigned char prefix[8];
  if (std::fread(prefix, 1, sizeof(prefix), file) != sizeof(prefix) ||
      std::memcmp(prefix, "\x93NUMPY", 6) != 0) {
    return NotNpy(path, "not a NumPy .npy file");
  }
  const int version = prefix[6];
  if (version < 1 || version > 3) {
    return NotNpy(path, absl::StrCat("format ", version, ".", int{prefix[7]},
                                     " of .npy files is not known; 1.0 to 3.0 are"));
  }
  unsigned char length[4] = {};
  const size_t length_bytes = version == 1 ? 2 : 4;
  const bool whole = std::fread(length, 1, length_bytes, file) == length_bytes;
  const size_t bytes =
      length[0] | size_t{length[1]} << 8 | size_t{length[2]} << 16 | size_t{length[3]} << 24;
  if (!whole || bytes > kHeaderBytesMax) return NotNpy(path, "its header is damaged");
  std::string header(bytes, '\0');
  if (std::fread(header.data(), 1, bytes, file) != bytes) {
    return NotNpy(path, "it ends within its header");
  }
  return header;
}

// The numbers of "'shape': (3, 4)".
absl::StatusOr<std::vector<uint64_t>> ParseShape(const std::string& header,
                                                 const std::string& path) {
  const size_t open = header.find('(');
  const size_t close = header.find(')', open);
  if (open == std::string::npos || close == std::string::npos) {
    return NotNpy(path, "its header has no shape");
  }
  std::vector<uint64_t> shape;
  for (absl::string_view part : absl::StrSplit(header.substr(open + 1, close - open - 1), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    uint64_t size = 0;
    if (!absl::SimpleAtoi(part, &size)) return NotNpy(path, "its header has a bad shape");
    shape.push_back(size);
  }
  return shape;
}

}  // namespace

absl::StatusOr<NpyRows::Array> NpyRows::OpenArray(const std::string& path, bool ids) {
  Array array;
  array.path = path;
  array.file.reset(std::fopen(path.c_str(), "rb"));
  if (array.file == nullptr) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot read: ", std::strerror(errno)));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::string header, ReadHeader(array.file.get(), path));
  const bool right_type =
      ids ? absl::StrContains(header, "'<u8'") || absl::StrContains(header, "'<i8'")
          : absl::StrContains(header, "'<f4'");
  const bool right_order = ids || absl::StrContains(header, "'fortran_order': False");
  if (!right_type || !right_order) {
    return NotNpy(path, absl::StrCat("expected ", ids ? "uint64 or int64" : "float32 in C order",
                                     ", little-endian, its header is ", header));
  }
  PAGODA_ASSIGN_OR_RETURN(const std::vector<uint64_t> shape, ParseShape(header, path));
  if (shape.size() != (ids ? 1 : 2)) {
    return NotNpy(path,
                  absl::StrCat("it has ", shape.size(), " dimensions instead of ", ids ? 1 : 2));
  }
  array.rows = shape[0];
  if (!ids) array.columns = shape[1];
  return array;
}

absl::StatusOr<std::unique_ptr<NpyRows>> NpyRows::Open(const NpyRowsFiles& files, int64_t dim,
                                                       int64_t slot_dim) {
  auto rows = std::unique_ptr<NpyRows>(new NpyRows());
  PAGODA_ASSIGN_OR_RETURN(rows->ids_file_, OpenArray(files.ids, true));
  PAGODA_ASSIGN_OR_RETURN(rows->weights_file_, OpenArray(files.weights, false));
  rows->has_slots_ = !files.slots.empty();
  if (rows->has_slots_) {
    PAGODA_ASSIGN_OR_RETURN(rows->slots_file_, OpenArray(files.slots, false));
  }
  rows->rows_ = rows->ids_file_.rows;
  rows->dim_ = static_cast<size_t>(dim);
  rows->slot_dim_ = static_cast<size_t>(slot_dim);
  const auto check = [&](const Array& array, size_t columns) {
    if (array.rows == rows->rows_ && array.columns == columns) return absl::OkStatus();
    return NotNpy(array.path, absl::StrCat("shape (", array.rows, ", ", array.columns,
                                           ") instead of (", rows->rows_, ", ", columns,
                                           "), for the ids in ", files.ids, " and this table"));
  };
  PAGODA_RETURN_IF_ERROR(check(rows->weights_file_, rows->dim_));
  if (rows->has_slots_) PAGODA_RETURN_IF_ERROR(check(rows->slots_file_, rows->slot_dim_));
  return rows;
}

absl::Status NpyRows::Read(const Array& array, void* values, size_t bytes) {
  if (std::fread(values, 1, bytes, array.file.get()) == bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(array.path, ": it ends before its last row"));
}

absl::StatusOr<RowsToLoad> NpyRows::Next(uint32_t shard, uint32_t num_shards) {
  for (;;) {
    const size_t count = static_cast<size_t>(std::min<uint64_t>(kBlockRows, rows_ - at_));
    if (count == 0) return RowsToLoad{};
    at_ += count;
    ids_.resize(count);
    weights_.resize(count * dim_);
    slots_.resize(has_slots_ ? count * slot_dim_ : 0);
    PAGODA_RETURN_IF_ERROR(Read(ids_file_, ids_.data(), count * sizeof(FeatureId)));
    PAGODA_RETURN_IF_ERROR(Read(weights_file_, weights_.data(), weights_.size() * sizeof(float)));
    if (has_slots_) {
      PAGODA_RETURN_IF_ERROR(Read(slots_file_, slots_.data(), slots_.size() * sizeof(float)));
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      if (ShardOf(ids_[i], num_shards) != shard) continue;
      if (kept != i) {
        ids_[kept] = ids_[i];
        std::copy_n(weights_.data() + i * dim_, dim_, weights_.data() + kept * dim_);
        if (has_slots_)
          std::copy_n(slots_.data() + i * slot_dim_, slot_dim_, slots_.data() + kept * slot_dim_);
      }
      ++kept;
    }
    if (kept == 0) continue;
    RowsToLoad rows;
    rows.ids = std::span(ids_).first(kept);
    rows.weights = std::span(weights_).first(kept * dim_);
    if (has_slots_) rows.slots = std::span(slots_).first(kept * slot_dim_);
    return rows;
  }
}

}  // namespace pagoda
