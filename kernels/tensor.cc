#include "kernels/tensor.h"

#include "absl/strings/str_join.h"

namespace pagoda {

std::string ShapeString(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t NumElements(const Shape& shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

Tensor Tensor::Reshape(Shape shape) const {
  PAGODA_CHECK(NumElements(shape) == NumElements(shape_));
  Tensor view = *this;
  view.shape_ = std::move(shape);
  return view;
}

Tensor Tensor::Rows(int64_t begin, int64_t end) const {
  PAGODA_CHECK(rank() >= 1 && 0 <= begin && begin <= end && end <= dim(0));
  Shape shape = shape_;
  shape[0] = 1;
  const int64_t row = NumElements(shape);
  shape[0] = end - begin;
  return Flat(begin * row, std::move(shape));
}

Tensor Tensor::Flat(int64_t begin, Shape shape) const {
  PAGODA_CHECK(begin >= 0 && begin + NumElements(shape) <= NumElements(shape_));
  Tensor view = *this;
  view.offset_bytes_ += begin * SizeOf(dtype_);
  view.shape_ = std::move(shape);
  return view;
}

}  // namespace pagoda
