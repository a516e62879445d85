#include "kernels/gpu_blas.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

absl::Status Failed(const char* function, cublasStatus_t status, const GpuStream::Product& p) {
  return absl::InternalError(absl::StrCat(function, " of ", p.batches, " times ", p.m, " x ", p.k,
                                          " by ", p.k, " x ", p.n, " failed with status ",
                                          static_cast<int>(status)));
}

cudaDataType_t TypeOf(const GpuStream::Product& p) {
  return p.operands == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
}

// The largest power of two, up to 256, that divides the address.
uint32_t AlignmentOf(const void* at) {
  uint32_t alignment = 256;
  while (reinterpret_cast<uintptr_t>(at) % alignment != 0) alignment /= 2;
  return alignment;
}

}  // namespace

// cublasLt's descriptors of one product. cuBLAS is column-major: it sees every matrix
// transposed, so that its A is our b and its B our a.
class GpuBlas::Plan {
 public:
  Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (a_ != nullptr) (void)cublasLtMatrixLayoutDestroy(a_);
    if (b_ != nullptr) (void)cublasLtMatrixLayoutDestroy(b_);
    if (c_ != nullptr) (void)cublasLtMatrixLayoutDestroy(c_);
    if (operation_ != nullptr) (void)cublasLtMatmulDescDestroy(operation_);
  }

  // False when cublasLt has no algorithm for it.
  bool Make(cublasLtHandle_t lt, const GpuStream::Product& p) {
    const cublasOperation_t a_op = p.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t b_op = p.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue =
        p.bias != nullptr ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB;
    const auto n = static_cast<uint64_t>(p.n), m = static_cast<uint64_t>(p.m),
               k = static_cast<uint64_t>(p.k);
    if (!Good(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F)) ||
        !Set(CUBLASLT_MATMUL_DESC_TRANSA, a_op) || !Set(CUBLASLT_MATMUL_DESC_TRANSB, b_op) ||
        !Set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue) ||
        !Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F) || !SetVector(p) ||
        !Good(p.b_transposed ? cublasLtMatrixLayoutCreate(&a_, TypeOf(p), k, n, p.b_stride)
                             : cublasLtMatrixLayoutCreate(&a_, TypeOf(p), n, k, p.b_stride)) ||
        !Good(p.a_transposed ? cublasLtMatrixLayoutCreate(&b_, TypeOf(p), m, k, p.a_stride)
                             : cublasLtMatrixLayoutCreate(&b_, TypeOf(p), k, m, p.a_stride)) ||
        !Good(cublasLtMatrixLayoutCreate(&c_, CUDA_R_32F, n, m, p.c_stride))) {
      return false;
    }
    cublasLtMatmulPreference_t preference = nullptr;
    if (!Good(cublasLtMatmulPreferenceCreate(&preference))) return false;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      return Good(
          cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
    };
    int found = 0;
    cublasLtMatmulHeuristicResult_t result = {};
    const bool good = prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{0}) &&
                      prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, AlignmentOf(p.b)) &&
                      prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, AlignmentOf(p.a)) &&
                      prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, AlignmentOf(p.c)) &&
                      prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, AlignmentOf(p.c)) &&
                      Good(cublasLtMatmulAlgoGetHeuristic(lt, operation_, a_, b_, c_, c_,
                                                          preference, 1, &result, &found));
    (void)cublasLtMatmulPreferenceDestroy(preference);
    if (!good || found == 0 || result.state != CUBLAS_STATUS_SUCCESS) return false;
    algorithm_ = result.algo;
    return true;
  }

  cublasStatus_t Run(cublasLtHandle_t lt, const GpuStream::Product& p, cudaStream_t stream) {
    const float alpha = 1.0f;
    if (!SetVector(p)) return CUBLAS_STATUS_INVALID_VALUE;
    return cublasLtMatmul(lt, operation_, &alpha, p.b, a_, p.a, b_, &p.beta, p.c, c_, p.c, c_,
                          &algorithm_, nullptr, 0, stream);
  }

 private:
  static bool Good(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }
  template <typename T>
  bool Set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return Good(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof(value)));
  }
  bool SetVector(const GpuStream::Product& p) {
    const void* const vector = p.bias != nullptr ? static_cast<const void*>(p.bias) : p.a_sums;
    return Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
  }

  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_ = {};
};

GpuBlas::GpuBlas() = default;

GpuBlas::~GpuBlas() {
  plans_.clear();
  if (lt_ != nullptr) (void)cublasLtDestroy(lt_);
  if (blas_ != nullptr) (void)cublasDestroy(blas_);
}

absl::Status GpuBlas::Start(cudaStream_t stream) {
  stream_ = stream;
  if (cublasCreate(&blas_) != CUBLAS_STATUS_SUCCESS ||
      cublasSetStream(blas_, stream) != CUBLAS_STATUS_SUCCESS) {
    return absl::UnavailableError("cuBLAS could not be started");
  }
  if (cublasLtCreate(&lt_) != CUBLAS_STATUS_SUCCESS) {
    return absl::UnavailableError("cublasLt could not be started");
  }
  return absl::OkStatus();
}

absl::Status GpuBlas::Multiply(const GpuStream::Product& p) {
  if (p.m == 0 || p.n == 0 || p.batches == 0) return absl::OkStatus();
  const float alpha = 1.0f;
  // No row of k = 0 columns has a length; cuBLAS wants one all the same.
  const auto stride = [](int64_t elements) {
    return static_cast<int>(std::max<int64_t>(1, elements));
  };
  const cublasStatus_t status = cublasGemmStridedBatchedEx(
      blas_, p.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, p.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
      static_cast<int>(p.n), static_cast<int>(p.m), static_cast<int>(p.k), &alpha, p.b, TypeOf(p),
      stride(p.b_stride), p.k * p.n, p.a, TypeOf(p), stride(p.a_stride), p.m * p.k, &p.beta, p.c,
      CUDA_R_32F, stride(p.c_stride), p.m * p.n, static_cast<int>(p.batches), CUBLAS_COMPUTE_32F,
      CUBLAS_GEMM_DEFAULT);
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return Failed("cublasGemmStridedBatchedEx", status, p);
}

absl::StatusOr<GpuBlas::Plan*> GpuBlas::PlanFor(const GpuStream::Product& p) {
  const int flags = (p.a_transposed ? 1 : 0) + (p.b_transposed ? 2 : 0) +
                    (p.operands == DType::kBF16 ? 4 : 0) + (p.bias != nullptr ? 8 : 0) +
                    (p.beta != 0.0f ? 16 : 0);
  const auto alignment = [](const void* at) { return static_cast<int>(AlignmentOf(at)); };
  const Key key = {p.m,
                   p.n,
                   p.k,
                   p.a_stride,
                   p.b_stride,
                   p.c_stride,
                   flags,
                   alignment(p.a),
                   alignment(p.b),
                   alignment(p.c)};
  // The last batch of a pass has a size of its own, and each of those its plan.
  constexpr size_t kMost = 1024;
  if (plans_.size() >= kMost) plans_.clear();
  const auto [entry, is_new] = plans_.try_emplace(key);
  if (is_new) {
    auto plan = std::make_unique<Plan>();
    if (plan->Make(lt_, p)) entry->second = std::move(plan);
  }
  return entry->second.get();
}

absl::StatusOr<bool> GpuBlas::MultiplyFused(const GpuStream::Product& p) {
  PAGODA_CHECK(p.batches == 1 && (p.bias == nullptr) != (p.a_sums == nullptr));
  if (p.m == 0 || p.n == 0 || p.k == 0) return false;
  // No preference tells cublasLt where the vector lies: it reads 16 bytes of it at a time.
  const void* const vector = p.bias != nullptr ? static_cast<const void*>(p.bias) : p.a_sums;
  if (AlignmentOf(vector) < 16) return false;
  PAGODA_ASSIGN_OR_RETURN(Plan* const plan, PlanFor(p));
  if (plan == nullptr) return false;
  const cublasStatus_t status = plan->Run(lt_, p, stream_);
  if (status != CUBLAS_STATUS_SUCCESS) return Failed("cublasLtMatmul", status, p);
  return true;
}

}  // namespace pagoda
