// A dense, row-major, contiguous array on a device, and the memory under it.
//
// A Tensor is a cheap handle: copies share memory. Slices and reshapes are
// views. A default-constructed Tensor is "absent": shape {0}, no memory.
//
// No code outside an operator (a kernels/*_cpu.cc or *.cu file) may read the
// memory of a tensor: it may live on a device. CopyToHost (context.h) reads.
//
// Threads: handles are values; the memory has no lock of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/inlined_vector.h"
#include "base/status_macros.h"

namespace pagoda {

enum class DType : uint8_t { kF32, kBF16, kI32, kI64 };

// Bytes of one element.
constexpr int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kBF16: return 2;
    case DType::kI64: return 8;
  }
  return 0;
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<uint16_t> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};

// kFake behaves like a device whose memory the host cannot read: its pages are
// inaccessible except while an operator runs. It exists to prove, in a test,
// that no code outside operators touches device memory.
enum class DeviceKind : uint8_t { kCpu, kFake, kEmulated, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

using Shape = absl::InlinedVector<int64_t, 4>;

// "[4096, 26, 16]", for messages.
std::string ShapeString(const Shape& shape);

// Product of the sizes; 1 for the empty shape (a scalar).
int64_t NumElements(const Shape& shape);

// One allocation. Freed (in stream order, by its allocator) with its last user.
struct Buffer {
  virtual ~Buffer() = default;
  void* bytes = nullptr;
  int64_t size_bytes = 0;
  Device device;
};

class Tensor {
 public:
  Tensor() = default;
  // A view of all of `buffer`, which must hold NumElements(shape) elements.
  Tensor(std::shared_ptr<Buffer> buffer, Shape shape, DType dtype)
      : buffer_(std::move(buffer)), shape_(std::move(shape)), dtype_(dtype) {}

  bool absent() const { return buffer_ == nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  // Size of dimension `axis`; REQUIRES: 0 <= axis < rank().
  int64_t dim(int axis) const { return shape_[static_cast<size_t>(axis)]; }
  int64_t size() const { return absent() ? 0 : NumElements(shape_); }
  DType dtype() const { return dtype_; }
  Device device() const { return buffer_ ? buffer_->device : Device{}; }

  // The first element, for operators only. REQUIRES: dtype() matches T.
  template <typename T>
  T* data() const {
    if (absent()) return nullptr;
    PAGODA_CHECK(dtype_ == DTypeOf<T>::value);
    return reinterpret_cast<T*>(static_cast<char*>(buffer_->bytes) + offset_bytes_);
  }
  void* raw() const {
    return absent() ? nullptr : static_cast<char*>(buffer_->bytes) + offset_bytes_;
  }

  // The same for tensors of one memory, and for no others.
  const void* memory() const { return buffer_.get(); }

  // The same memory with another shape. REQUIRES: the same number of elements.
  Tensor Reshape(Shape shape) const;
  // Rows [begin, end) of the first dimension. REQUIRES: 0 <= begin <= end <= dim(0).
  Tensor Rows(int64_t begin, int64_t end) const;
  // Elements [begin, begin + NumElements(shape)) of the flat array, as `shape`.
  Tensor Flat(int64_t begin, Shape shape) const;

 private:
  std::shared_ptr<Buffer> buffer_;
  int64_t offset_bytes_ = 0;
  Shape shape_ = {0};
  DType dtype_ = DType::kF32;
};

}  // namespace pagoda
