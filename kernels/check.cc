#include "kernels/check.h"

#include "absl/strings/str_cat.h"
#include "kernels/device_name.h"

namespace pagoda {
namespace {

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "f32";
    case DType::kBF16: return "bf16";
    case DType::kI32: return "i32";
    case DType::kI64: return "i64";
  }
  return "?";
}

}  // namespace

ArgumentCheck::ArgumentCheck(const Context& ctx, const char* op) : device_(ctx.device()), op_(op) {
#if defined(PAGODA_GPU)
  if (ctx.on_gpu()) return;
#endif
  if (device_.kind != DeviceKind::kCpu && device_.kind != DeviceKind::kFake) {
    status_ = absl::UnimplementedError(
        absl::StrCat(op_, ": this build has no kernel for device ", DeviceName(device_)));
  }
}

ArgumentCheck& ArgumentCheck::Present(const char* name, const Tensor& tensor, DType dtype) {
  if (!ok()) return *this;
  if (tensor.absent()) {
    Fail(absl::StrCat(name, " is absent", Beside()));
  } else if (!(tensor.device() == device_)) {
    Fail(absl::StrCat(name, " is on device ", DeviceName(tensor.device()),
                      ", expected the context's, ", DeviceName(device_)));
  } else if (tensor.dtype() != dtype) {
    Fail(absl::StrCat(name, " has type ", DTypeName(tensor.dtype()), ", expected ",
                      DTypeName(dtype)));
  } else if (first_name_ == nullptr) {
    first_name_ = name;
    first_shape_ = tensor.shape();
  }
  return *this;
}

ArgumentCheck& ArgumentCheck::Rank(const char* name, const Tensor& tensor, int rank, DType dtype) {
  if (!Present(name, tensor, dtype).ok()) return *this;
  if (tensor.rank() != rank) {
    Fail(absl::StrCat(name, " has shape ", ShapeString(tensor.shape()), ", expected ", rank,
                      " dimensions", first_name_ == name ? "" : Beside()));
  }
  return *this;
}

ArgumentCheck& ArgumentCheck::Has(const char* name, const Tensor& tensor, const Shape& shape,
                                  DType dtype) {
  if (!Present(name, tensor, dtype).ok()) return *this;
  if (tensor.shape() != shape) {
    Fail(absl::StrCat(name, " has shape ", ShapeString(tensor.shape()), ", expected ",
                      ShapeString(shape), Beside()));
  }
  return *this;
}

ArgumentCheck& ArgumentCheck::HasOrAbsent(const char* name, const Tensor& tensor,
                                          const Shape& shape, DType dtype) {
  return tensor.absent() ? *this : Has(name, tensor, shape, dtype);
}

ArgumentCheck& ArgumentCheck::That(bool condition, const char* message) {
  if (ok() && !condition) Fail(absl::StrCat(message, Beside()));
  return *this;
}

void ArgumentCheck::Fail(const std::string& message) {
  status_ = absl::InvalidArgumentError(absl::StrCat(op_, ": ", message));
}

std::string ArgumentCheck::Beside() const {
  if (first_name_ == nullptr) return "";
  return absl::StrCat(" beside ", first_name_, " ", ShapeString(first_shape_));
}

}  // namespace pagoda
