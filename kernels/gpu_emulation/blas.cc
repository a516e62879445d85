#include "kernels/gpu_emulation/blas.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/gpu_emulation/device_memory.h"

namespace gpu::emulation {

struct BlasHandle {
  Stream* stream = nullptr;
};
struct LtHandle {};
struct LtOperation {
  cublasOperation_t a = CUBLAS_OP_N;
  cublasOperation_t b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* vector = nullptr;
  cudaDataType_t vector_type = CUDA_R_32F;
};
struct LtLayout {
  cudaDataType_t type = CUDA_R_32F;
  uint64_t rows = 0;
  uint64_t columns = 0;
  int64_t stride = 0;
};
struct LtPreference {
  uint32_t alignments[4] = {256, 256, 256, 256};
};

namespace {

using Space = DeviceMemory::Space;

// Column-major, as stored.
struct Matrix {
  const void* at = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;
  cudaDataType_t type = CUDA_R_32F;

  // Elements from the first to the last.
  size_t span() const {
    return rows == 0 || columns == 0 ? 0 : static_cast<size_t>((columns - 1) * stride + rows);
  }
  bool OnDevice() const {
    const size_t element = type == CUDA_R_32F ? 4 : 2;
    return stride >= std::max<int64_t>(1, rows) &&
           DeviceMemory::Get().SpaceOf(at, span() * element) == Space::kDevice;
  }
};

struct Product {
  Matrix a, b, c;
  cublasOperation_t a_operation = CUBLAS_OP_N;
  cublasOperation_t b_operation = CUBLAS_OP_N;
  float beta = 0.0f;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  float* vector = nullptr;

  int64_t m() const { return c.rows; }
  int64_t n() const { return c.columns; }
  int64_t k() const { return a_operation == CUBLAS_OP_N ? a.columns : a.rows; }
};

// bf16 as f32, which holds it exactly.
std::vector<float> Widened(const Matrix& matrix) {
  std::vector<float> wide(matrix.span());
  if (matrix.type == CUDA_R_32F) {
    std::copy_n(static_cast<const float*>(matrix.at), wide.size(), wide.begin());
    return wide;
  }
  const auto* const halves = static_cast<const uint16_t*>(matrix.at);
  for (size_t i = 0; i < wide.size(); ++i) {
    const uint32_t bits = static_cast<uint32_t>(halves[i]) << 16;
    std::memcpy(&wide[i], &bits, sizeof(bits));
  }
  return wide;
}

void Multiply(const Product& p) {
  const std::vector<float> a = Widened(p.a), b = Widened(p.b);
  auto* const c = static_cast<float*>(const_cast<void*>(p.c.at));
  // A row-major matrix is the transpose of a column-major one: c' = b' a'.
  pagoda::GemmArgs args;
  args.m = p.n();
  args.n = p.m();
  args.k = p.k();
  args.a = b.data();
  args.a_stride = p.b.stride;
  args.a_transposed = p.b_operation == CUBLAS_OP_T;
  args.b = a.data();
  args.b_stride = p.a.stride;
  args.b_transposed = p.a_operation == CUBLAS_OP_T;
  args.c = c;
  args.c_stride = p.c.stride;
  args.beta = p.beta;
  pagoda::Gemm(pagoda::GemmForm::kF32, args);
  if (p.epilogue == CUBLASLT_EPILOGUE_BIAS) {
    for (int64_t j = 0; j < p.n(); ++j) {
      for (int64_t i = 0; i < p.m(); ++i) c[j * p.c.stride + i] += p.vector[i];
    }
  }
  if (p.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
    for (int64_t j = 0; j < p.n(); ++j) {
      float sum = 0.0f;
      for (int64_t l = 0; l < p.k(); ++l) {
        sum += b[static_cast<size_t>(p.b_operation == CUBLAS_OP_N ? j * p.b.stride + l
                                                                  : l * p.b.stride + j)];
      }
      p.vector[j] = sum;
    }
  }
}

cublasStatus_t Start(const Product& p, Stream* stream) {
  if (!p.a.OnDevice() || !p.b.OnDevice() || !p.c.OnDevice() || p.a.type != p.b.type ||
      p.c.type != CUDA_R_32F) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  Enqueue(stream, [p] {
    const DeviceMemory::Access access;
    Multiply(p);
  });
  return cudaPeekAtLastError() == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                              : CUBLAS_STATUS_EXECUTION_FAILED;
}

Matrix MatrixOf(const LtLayout* layout, const void* at) {
  return {at, static_cast<int64_t>(layout->rows), static_cast<int64_t>(layout->columns),
          layout->stride, layout->type};
}

}  // namespace
}  // namespace gpu::emulation

using gpu::emulation::Matrix;
using gpu::emulation::MatrixOf;
using gpu::emulation::Product;

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new gpu::emulation::BlasHandle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t a_operation,
                                          cublasOperation_t b_operation, int m, int n, int k,
                                          const void* alpha, const void* a, cudaDataType_t a_type,
                                          int a_stride, long long a_step, const void* b,
                                          cudaDataType_t b_type, int b_stride, long long b_step,
                                          const void* beta, void* c, cudaDataType_t c_type,
                                          int c_stride, long long c_step, int batches,
                                          cublasComputeType_t, cublasGemmAlgo_t) {
  if (m < 0 || n < 0 || k < 0 || *static_cast<const float*>(alpha) != 1.0f) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const auto stored = [](cublasOperation_t operation, int rows, int columns) {
    Matrix matrix;
    matrix.rows = operation == CUBLAS_OP_N ? rows : columns;
    matrix.columns = operation == CUBLAS_OP_N ? columns : rows;
    return matrix;
  };
  const long long bytes = a_type == CUDA_R_32F ? 4 : 2;
  Product p;
  p.a = stored(a_operation, m, k);
  p.a.stride = a_stride;
  p.a.type = a_type;
  p.b = stored(b_operation, k, n);
  p.b.stride = b_stride;
  p.b.type = b_type;
  p.c = stored(CUBLAS_OP_N, m, n);
  p.c.stride = c_stride;
  p.c.type = c_type;
  p.a_operation = a_operation;
  p.b_operation = b_operation;
  p.beta = *static_cast<const float*>(beta);  // Read at the call, as in host pointer mode.
  if (m == 0 || n == 0) return CUBLAS_STATUS_SUCCESS;
  for (long long i = 0; i < batches; ++i) {
    p.a.at = static_cast<const char*>(a) + i * a_step * bytes;
    p.b.at = static_cast<const char*>(b) + i * b_step * bytes;
    p.c.at = static_cast<const char*>(c) + i * c_step * 4;
    const cublasStatus_t status = gpu::emulation::Start(p, handle->stream);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new gpu::emulation::LtHandle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t,
                                        cudaDataType_t scale_type) {
  if (scale_type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *operation = new gpu::emulation::LtOperation;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete operation;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  const auto set = [&](auto* to) {
    if (bytes != sizeof(*to)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&operation->a);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(&operation->b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&operation->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&operation->vector);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(&operation->vector_type);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
  *layout = new gpu::emulation::LtLayout{type, rows, columns, stride};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new gpu::emulation::LtPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
    return bytes == sizeof(uint64_t) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
  }
  const int which = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  if (which < 0 || which > 3 || bytes != sizeof(uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&preference->alignments[which], value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// Like the library it wants sixteen bytes for some, so that the way without it is used too.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  *found = 0;
  const bool a_plain = operation->a == CUBLAS_OP_N, b_plain = operation->b == CUBLAS_OP_N;
  if (wanted < 1 || (a_plain ? a->rows : a->columns) != c->rows ||
      (b_plain ? b->columns : b->rows) != c->columns ||
      (a_plain ? a->columns : a->rows) != (b_plain ? b->rows : b->columns)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  for (const uint32_t alignment : preference->alignments) {
    if (alignment < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  results[0] = {};
  std::copy_n(preference->alignments, 4, results[0].algo.alignments);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t,
                              cudaStream_t stream) {
  const void* const places[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (reinterpret_cast<uintptr_t>(places[i]) % algorithm->alignments[i] != 0) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
  }
  Product p;
  p.a = MatrixOf(a_layout, a);
  p.b = MatrixOf(b_layout, b);
  p.c = MatrixOf(d_layout, d);
  p.a_operation = operation->a;
  p.b_operation = operation->b;
  p.beta = *static_cast<const float*>(beta);
  p.epilogue = operation->epilogue;
  p.vector = static_cast<float*>(operation->vector);
  const bool has_vector = p.epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  // A kernel may read the vector 16 bytes at a time, and faults where it cannot.
  if (has_vector && reinterpret_cast<uintptr_t>(p.vector) % 16 != 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const int64_t length = p.epilogue == CUBLASLT_EPILOGUE_BIAS ? p.m() : p.n();
  if (c != d || *static_cast<const float*>(alpha) != 1.0f || operation->vector_type != CUDA_R_32F ||
      (has_vector &&
       gpu::emulation::DeviceMemory::Get().SpaceOf(p.vector, static_cast<size_t>(length) * 4) !=
           gpu::emulation::DeviceMemory::Space::kDevice)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return gpu::emulation::Start(p, stream);
}
