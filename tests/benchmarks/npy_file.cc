#include "tests/benchmarks/npy_file.h"

#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace pagoda {
namespace {

constexpr char kMagic[] = "\x93NUMPY\x01";  // With the version's second byte, 0: 8 bytes.
constexpr size_t kPrefixBytes = 10;         // Magic, version, and the header's length.

template <typename T>
const char* TypeName();
template <>
const char* TypeName<float>() {
  return "<f4";
}
template <>
const char* TypeName<double>() {
  return "<f8";
}
template <>
const char* TypeName<int32_t>() {
  return "<i4";
}
template <>
const char* TypeName<int64_t>() {
  return "<i8";
}
template <>
const char* TypeName<uint64_t>() {
  return "<u8";
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// "'shape': (3, 4)" of a header.
absl::StatusOr<Shape> ParseShape(const std::string& header) {
  const size_t open = header.find('(');
  const size_t close = header.find(')');
  if (open == std::string::npos || close == std::string::npos || close < open) {
    return absl::InvalidArgumentError("its header has no shape");
  }
  Shape shape;
  for (absl::string_view part : absl::StrSplit(header.substr(open + 1, close - open - 1), ',')) {
    if (absl::StripAsciiWhitespace(part).empty()) continue;
    int64_t size = 0;
    if (!absl::SimpleAtoi(part, &size) || size < 0) {
      return absl::InvalidArgumentError("its header has a bad shape");
    }
    shape.push_back(size);
  }
  return shape;
}

absl::StatusOr<std::string> ReadHeader(std::FILE* file) {
  unsigned char prefix[kPrefixBytes];
  if (std::fread(prefix, 1, kPrefixBytes, file) != kPrefixBytes ||
      std::memcmp(prefix, kMagic, 8) != 0) {
    return absl::InvalidArgumentError("it is not an .npy file of format 1.0");
  }
  std::string header(static_cast<size_t>(prefix[8] | prefix[9] << 8), '\0');
  if (std::fread(header.data(), 1, header.size(), file) != header.size()) {
    return absl::DataLossError("it ends within its header");
  }
  return header;
}

template <typename T>
absl::StatusOr<NpyArray<T>> ReadArray(std::FILE* file) {
  PAGODA_ASSIGN_OR_RETURN(const std::string header, ReadHeader(file));
  if (!absl::StrContains(header, absl::StrCat("'", TypeName<T>(), "'")) ||
      !absl::StrContains(header, "'fortran_order': False")) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected type ", TypeName<T>(), " in C order, its header is ", header));
  }
  NpyArray<T> array;
  PAGODA_ASSIGN_OR_RETURN(array.shape, ParseShape(header));
  array.values.resize(static_cast<size_t>(NumElements(array.shape)));
  if (std::fread(array.values.data(), sizeof(T), array.values.size(), file) !=
      array.values.size()) {
    return absl::DataLossError("it ends within its values");
  }
  return array;
}

}  // namespace

template <typename T>
absl::Status WriteNpy(const std::string& path, const Shape& shape, const T* values) {
  std::string sizes;
  for (int64_t size : shape) absl::StrAppend(&sizes, size, ", ");
  std::string header = absl::StrCat("{'descr': '", TypeName<T>(),
                                    "', 'fortran_order': False, 'shape': (", sizes, "), }");
  // The values begin at a multiple of 64 bytes, as NumPy writes them.
  header.append(63 - (kPrefixBytes + header.size()) % 64, ' ');
  header.push_back('\n');
  std::string prefix(kMagic, 8);
  prefix.push_back(static_cast<char>(header.size() & 0xff));
  prefix.push_back(static_cast<char>(header.size() >> 8));

  const size_t count = static_cast<size_t>(NumElements(shape));
  File file(std::fopen(path.c_str(), "wb"));
  const bool written = file != nullptr &&
                       std::fwrite(prefix.data(), 1, prefix.size(), file.get()) == prefix.size() &&
                       std::fwrite(header.data(), 1, header.size(), file.get()) == header.size() &&
                       std::fwrite(values, sizeof(T), count, file.get()) == count &&
                       std::fflush(file.get()) == 0;
  if (written) return absl::OkStatus();
  return absl::UnknownError(absl::StrCat(path, ": cannot write: ", std::strerror(errno)));
}

template <typename T>
absl::StatusOr<NpyArray<T>> ReadNpy(const std::string& path) {
  File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot read: ", std::strerror(errno)));
  }
  absl::StatusOr<NpyArray<T>> array = ReadArray<T>(file.get());
  if (!array.ok()) return WithContext(array.status(), path);
  return array;
}

template absl::Status WriteNpy(const std::string&, const Shape&, const float*);
template absl::Status WriteNpy(const std::string&, const Shape&, const double*);
template absl::Status WriteNpy(const std::string&, const Shape&, const int32_t*);
template absl::Status WriteNpy(const std::string&, const Shape&, const int64_t*);
template absl::Status WriteNpy(const std::string&, const Shape&, const uint64_t*);
template absl::StatusOr<NpyArray<float>> ReadNpy(const std::string&);
template absl::StatusOr<NpyArray<double>> ReadNpy(const std::string&);
template absl::StatusOr<NpyArray<int32_t>> ReadNpy(const std::string&);
template absl::StatusOr<NpyArray<int64_t>> ReadNpy(const std::string&);
template absl::StatusOr<NpyArray<uint64_t>> ReadNpy(const std::string&);

}  // namespace pagoda
