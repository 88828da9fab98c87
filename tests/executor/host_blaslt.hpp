// The test-only stand-in for cuBLASLt: the part of its interface that dispatch/blaslt.cuh uses, computed on the host.
//
// Include it before any .cuh header.  Kernels of the host executor are done when launch() returns, so a product
// computed inside cublasLtMatmul() is in stream order.  Names, types and refusals follow the library's documentation:
//   an algorithm belongs to the epilogue, types and transpositions it was asked for, and to the alignments promised;
//   auxiliary matrices have strides that are multiples of 8 and not below the rows, double has no epilogues, bias and
//   column sums are of D's type, a split product needs its workspace on a 256-byte border, C is not read with beta 0.
// Stricter than documented, so that the paths without fusion run too: epilogues other than bias want operands on
// 16-byte borders.  host_blaslt::settings refuses more, host_blaslt::statistics counts.
#pragma once

#define POLYMOE_HOST_BLASLT 1

#include <cmath>
#include <cstdint>
#include <cstring>

#include <polymoe/core/dtype.hpp>

#include "host_executor.hpp"

enum cudaDataType_t : int { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16BF = 14 };
enum cublasStatus_t : int {
  CUBLAS_STATUS_SUCCESS = 0,
  CUBLAS_STATUS_NOT_INITIALIZED = 1,
  CUBLAS_STATUS_INVALID_VALUE = 7,
  CUBLAS_STATUS_NOT_SUPPORTED = 15
};
enum cublasComputeType_t : int { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_64F = 70, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum cublasOperation_t : int { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasLtEpilogue_t : int {
  CUBLASLT_EPILOGUE_DEFAULT = 1,
  CUBLASLT_EPILOGUE_RELU = 2,
  CUBLASLT_EPILOGUE_BIAS = 4,
  CUBLASLT_EPILOGUE_RELU_BIAS = 2 | 4,
  CUBLASLT_EPILOGUE_GELU_AUX = 32 | 128,
  CUBLASLT_EPILOGUE_GELU_AUX_BIAS = 32 | 128 | 4,
  CUBLASLT_EPILOGUE_DGELU = 64 | 128,
  CUBLASLT_EPILOGUE_BGRADB = 512
};
enum cublasLtMatmulDescAttributes_t : int {
  CUBLASLT_MATMUL_DESC_TRANSA = 3,
  CUBLASLT_MATMUL_DESC_TRANSB = 4,
  CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
  CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8,
  CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE = 10,
  CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER = 11,
  CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD = 12,
  CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE = 13
};
enum cublasLtMatrixLayoutAttribute_t : int {
  CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT = 5,
  CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6
};
enum cublasLtMatmulPreferenceAttributes_t : int {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
  CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
};
enum cublasLtReductionScheme_t : int {
  CUBLASLT_REDUCTION_SCHEME_NONE = 0,
  CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2
};

struct cublasLtContext {};
using cublasLtHandle_t = cublasLtContext*;
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  std::uint64_t rows, cols;
  std::int64_t ld, stride;
  std::int32_t batch;
};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t transpose_a, transpose_b;
  cublasLtEpilogue_t epilogue;
  void* bias;
  void* aux;
  std::int64_t aux_ld, bias_stride, aux_stride;
};
struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace;
  std::uint32_t reduction, a, b, c, d;
};
struct cublasLtMatmulAlgo_t {
  std::uint64_t mark;  ///< nothing runs without the search's mark
  cublasLtMatmulDescOpaque_t asked;
  cudaDataType_t type, out;
  std::uint32_t a, b, c, d;  ///< alignments
  std::int32_t splits;
  std::uint64_t workspace;
};
struct cublasLtMatmulHeuristicResult_t {
  cublasLtMatmulAlgo_t algo;
  std::size_t workspaceSize;
  cublasStatus_t state;
};

namespace polymoe::host_blaslt {

/// What the stand-in refuses beside what the library does.
struct settings {
  bool no_fusion = false;      ///< no epilogue has a kernel
  bool no_batched_fusion = false;  ///< none for several products at once
  bool no_algorithms = false;  ///< nothing has
};
struct statistics {
  int handles = 0, searches = 0, products = 0, fused = 0, split = 0, batched = 0, batched_fused = 0, tf32 = 0;
};
inline settings& options() {
  static settings s;
  return s;
}
/// Settings until the end of the enclosing block.
class scope {
 public:
  explicit scope(const settings& s) : before_(options()) { options() = s; }
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
  ~scope() { options() = before_; }

 private:
  settings before_;
};
inline statistics& counts() {
  static statistics s;
  return s;
}

namespace detail {
inline constexpr std::uint64_t algorithm_mark = 0x706f6c796d6f65;

inline int bytes_of(cudaDataType_t t) { return t == CUDA_R_16BF ? 2 : (t == CUDA_R_32F ? 4 : 8); }
// Not inlined: where the type of memory is known, compilers warn of the accesses that t rules out.
POLYMOE_NOINLINE inline double load(const void* p, std::int64_t i, cudaDataType_t t) {
  if (t == CUDA_R_16BF) return static_cast<double>(static_cast<float>(static_cast<const bf16*>(p)[i]));
  return t == CUDA_R_32F ? static_cast<double>(static_cast<const float*>(p)[i]) : static_cast<const double*>(p)[i];
}
POLYMOE_NOINLINE inline void save(void* p, std::int64_t i, cudaDataType_t t, double x) {
  if (t == CUDA_R_16BF)
    store(static_cast<bf16*>(p)[i], static_cast<float>(x));
  else if (t == CUDA_R_32F)
    static_cast<float*>(p)[i] = static_cast<float>(x);
  else
    static_cast<double*>(p)[i] = x;
}
inline bool on_border(const void* p, std::uint64_t bytes) { return reinterpret_cast<std::uintptr_t>(p) % bytes == 0; }

template <class F>
cublasStatus_t assign(F& field, const void* from, std::size_t bytes) {
  if (!from || bytes != sizeof(F)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

struct problem {
  std::int64_t m, n, k;  ///< the library's: D has m rows and n columns, column-major
};
/// Sizes and types that fit each other, or a status.
inline cublasStatus_t check(const cublasLtMatmulDescOpaque_t& o, const cublasLtMatrixLayoutOpaque_t& a,
                            const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& c,
                            const cublasLtMatrixLayoutOpaque_t& d, problem& p) {
  const bool ta = o.transpose_a == CUBLAS_OP_T, tb = o.transpose_b == CUBLAS_OP_T;
  p.m = static_cast<std::int64_t>(d.rows), p.n = static_cast<std::int64_t>(d.cols);
  p.k = static_cast<std::int64_t>(ta ? a.rows : a.cols);
  for (const auto* l : {&a, &b, &c, &d})
    if (l->rows == 0 || l->cols == 0 || l->ld < static_cast<std::int64_t>(l->rows) || l->batch != d.batch ||
        l->batch < 1)
      return CUBLAS_STATUS_INVALID_VALUE;
  if ((ta ? a.cols : a.rows) != d.rows || (tb ? b.rows : b.cols) != d.cols ||
      static_cast<std::int64_t>(tb ? b.cols : b.rows) != p.k || c.rows != d.rows || c.cols != d.cols)
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool wide = a.type == CUDA_R_64F;
  if (a.type != b.type || c.type != d.type || wide != (o.compute == CUBLAS_COMPUTE_64F) ||
      o.scale != (wide ? CUDA_R_64F : CUDA_R_32F) ||
      (d.type != a.type && !(a.type == CUDA_R_16BF && d.type == CUDA_R_32F)))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (o.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (o.epilogue == CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_SUCCESS;
  if (wide || options().no_fusion) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool aux = (o.epilogue & 128) != 0;
  if (aux && (o.aux_ld % 8 != 0 || o.aux_ld < p.m)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (aux && !on_border(o.aux, 16)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (d.batch > 1) {
    // A batch without a stride would share the vector or the matrix: for what is written that is a mistake.
    if (options().no_batched_fusion) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (aux && (o.aux_stride % 8 != 0 || o.aux_stride < o.aux_ld)) return CUBLAS_STATUS_INVALID_VALUE;
    if (o.epilogue == CUBLASLT_EPILOGUE_BGRADB && o.bias_stride < p.n) return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}
/// Float operands of tf32 products lose all but 10 bits of their fraction.
inline double operand(const void* p, std::int64_t i, cudaDataType_t t, bool tf32) {
  double x = load(p, i, t);
  if (!tf32) return x;
  std::uint32_t u = bit_cast<std::uint32_t>(static_cast<float>(x));
  u = (u + 0x1000u) & ~0x1fffu;
  return static_cast<double>(bit_cast<float>(u));
}
inline double gelu_gate(double x) {
  return 1.0 / (1.0 + std::exp(-x * (1.5957691216057308 + 0.071354816272600247 * x * x)));
}
inline double gelu_slope(double x) {
  const double s = gelu_gate(x);
  return s + x * s * (1.0 - s) * (1.5957691216057308 + 0.21406444881780074 * x * x);
}
}  // namespace detail
}  // namespace polymoe::host_blaslt

inline const char* cublasLtGetStatusName(cublasStatus_t s) {
  switch (s) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    default:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
}
inline cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  ++polymoe::host_blaslt::counts().handles;
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayoutOpaque_t* l, cudaDataType_t type, std::uint64_t rows,
                                               std::uint64_t cols, std::int64_t ld) {
  *l = {type, rows, cols, ld, 0, 1};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayoutOpaque_t* l,
                                                       cublasLtMatrixLayoutAttribute_t a, const void* from,
                                                       std::size_t bytes) {
  using polymoe::host_blaslt::detail::assign;
  return a == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? assign(l->batch, from, bytes) : assign(l->stride, from, bytes);
}
inline cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDescOpaque_t* o, cublasComputeType_t compute,
                                             cudaDataType_t scale) {
  *o = {compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, nullptr, 0, 0, 0};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDescOpaque_t* o, cublasLtMatmulDescAttributes_t a,
                                                     const void* from, std::size_t bytes) {
  using polymoe::host_blaslt::detail::assign;
  switch (a) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(o->transpose_a, from, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(o->transpose_b, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(o->epilogue, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(o->bias, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return assign(o->aux, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return assign(o->aux_ld, from, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
      return assign(o->bias_stride, from, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE:
      return assign(o->aux_stride, from, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
inline cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreferenceOpaque_t* p) {
  *p = {0, 7, 256, 256, 256, 256};
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreferenceOpaque_t* p,
                                                           cublasLtMatmulPreferenceAttributes_t a, const void* from,
                                                           std::size_t bytes) {
  using polymoe::host_blaslt::detail::assign;
  switch (a) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return assign(p->workspace, from, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return assign(p->reduction, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return assign(p->a, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return assign(p->b, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return assign(p->c, from, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return assign(p->d, from, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, const cublasLtMatmulDescOpaque_t* o,
                                                     const cublasLtMatrixLayoutOpaque_t* a,
                                                     const cublasLtMatrixLayoutOpaque_t* b,
                                                     const cublasLtMatrixLayoutOpaque_t* c,
                                                     const cublasLtMatrixLayoutOpaque_t* d,
                                                     const cublasLtMatmulPreferenceOpaque_t* preference, int wanted,
                                                     cublasLtMatmulHeuristicResult_t* results, int* found) {
  namespace host = polymoe::host_blaslt;
  *found = 0;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  ++host::counts().searches;
  host::detail::problem p{};
  const cublasStatus_t status = host::detail::check(*o, *a, *b, *c, *d, p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (host::options().no_algorithms) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool narrow = preference->a < 16 || preference->b < 16 || preference->d < 16;
  if (narrow && (o->epilogue & ~(CUBLASLT_EPILOGUE_DEFAULT | CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_RELU)) != 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  std::int32_t splits = 1;
  std::uint64_t bytes = 0;
  if ((preference->reduction & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) && p.k >= 512 &&
      o->epilogue == CUBLASLT_EPILOGUE_DEFAULT) {
    const std::uint64_t need = 4 * static_cast<std::uint64_t>(p.m * p.n) * (a->type == CUDA_R_64F ? 8 : 4);
    if (need <= preference->workspace) splits = 4, bytes = need;
  }
  results[0].algo = {host::detail::algorithm_mark,
                     *o,
                     a->type,
                     d->type,
                     preference->a,
                     preference->b,
                     preference->c,
                     preference->d,
                     splits,
                     bytes};
  results[0].workspaceSize = bytes;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, const cublasLtMatmulDescOpaque_t* o, const void* alpha,
                                     const void* A, const cublasLtMatrixLayoutOpaque_t* a, const void* B,
                                     const cublasLtMatrixLayoutOpaque_t* b, const void* beta, const void* C,
                                     const cublasLtMatrixLayoutOpaque_t* c, void* D,
                                     const cublasLtMatrixLayoutOpaque_t* d, const cublasLtMatmulAlgo_t* algorithm,
                                     void* workspace, std::size_t workspace_bytes,
                                     polymoe::device::stream_handle stream) {
  namespace host = polymoe::host_blaslt;
  using namespace host::detail;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  problem p{};
  const cublasStatus_t status = check(*o, *a, *b, *c, *d, p);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const cublasLtMatmulAlgo_t& g = *algorithm;
  if (g.mark != algorithm_mark || g.asked.epilogue != o->epilogue || g.asked.transpose_a != o->transpose_a ||
      g.asked.transpose_b != o->transpose_b || g.asked.compute != o->compute || g.type != a->type || g.out != d->type)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto fits = [](const void* at, const cublasLtMatrixLayoutOpaque_t& l, std::uint32_t border) {
    const auto bytes = static_cast<std::uint64_t>(bytes_of(l.type));
    return at && on_border(at, border) && static_cast<std::uint64_t>(l.ld) * bytes % border == 0 &&
           (l.batch == 1 || static_cast<std::uint64_t>(l.stride) * bytes % border == 0);
  };
  if (!fits(A, *a, g.a) || !fits(B, *b, g.b) || !fits(C, *c, g.c) || !fits(D, *d, g.d))
    return CUBLAS_STATUS_INVALID_VALUE;
  if (g.workspace > 0 && (!workspace || workspace_bytes < g.workspace || !on_border(workspace, 256)))
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool has_bias = (o->epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
  const bool sums = o->epilogue == CUBLASLT_EPILOGUE_BGRADB;
  if ((has_bias || sums) && (!o->bias || !on_border(o->bias, 16))) return CUBLAS_STATUS_INVALID_VALUE;
  host::statistics& count = host::counts();
  ++count.products, count.fused += o->epilogue != CUBLASLT_EPILOGUE_DEFAULT, count.split += g.splits > 1;
  count.batched += d->batch > 1, count.batched_fused += d->batch > 1 && o->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
  count.tf32 += o->compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const double scale = load(alpha, 0, o->scale), keep = load(beta, 0, o->scale);
  // Descriptors are read now, as the library does; matrices when it is the stream's turn.
  polymoe::device::host_task(stream, [=, o = *o, a = *a, b = *b, c = *c, d = *d, g = g] {
    if (g.workspace > 0) std::memset(workspace, 0xFF, g.workspace);
    const bool wide = a.type == CUDA_R_64F, tf32 = o.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    const bool ta = o.transpose_a == CUBLAS_OP_T, tb = o.transpose_b == CUBLAS_OP_T;
    // Float products are summed in float, as on the GPU; splits are summed apart and added in order.
    const auto rounded = [wide](double x) { return wide ? x : static_cast<double>(static_cast<float>(x)); };
    for (std::int32_t item = 0; item < d.batch; ++item) {
      const auto offset = [item](const cublasLtMatrixLayoutOpaque_t& l) { return item * l.stride; };
      for (std::int64_t col = 0; col < p.n; ++col) {
        if (sums) {
          double sum = 0;
          for (std::int64_t k = 0; k < p.k; ++k)
            sum = rounded(sum + load(B, offset(b) + (tb ? col + k * b.ld : k + col * b.ld), b.type));
          save(o.bias, item * o.bias_stride + col, d.type, sum);
        }
        for (std::int64_t row = 0; row < p.m; ++row) {
          double total = 0;
          for (std::int32_t s = 0; s < g.splits; ++s) {
            double sum = 0;
            for (std::int64_t k = p.k * s / g.splits; k < p.k * (s + 1) / g.splits; ++k)
              sum = rounded(sum + operand(A, offset(a) + (ta ? k + row * a.ld : row + k * a.ld), a.type, tf32) *
                                      operand(B, offset(b) + (tb ? col + k * b.ld : k + col * b.ld), b.type, tf32));
            total = rounded(total + sum);
          }
          double z = rounded(scale * total);
          if (keep != 0) z = rounded(z + keep * load(C, offset(c) + row + col * c.ld, c.type));
          if (has_bias) z = rounded(z + load(o.bias, item * o.bias_stride + row, d.type));
          const std::int64_t at = item * o.aux_stride + row + col * o.aux_ld;
          if (o.epilogue & CUBLASLT_EPILOGUE_RELU) z = z > 0 ? z : 0;  // NaN becomes 0: the worst that is allowed
          if ((o.epilogue & CUBLASLT_EPILOGUE_GELU_AUX) == CUBLASLT_EPILOGUE_GELU_AUX)
            save(o.aux, at, d.type, z), z *= gelu_gate(z);
          if (o.epilogue == CUBLASLT_EPILOGUE_DGELU) z *= gelu_slope(load(o.aux, at, d.type));
          save(D, offset(d) + row + col * d.ld, d.type, z);
        }
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
