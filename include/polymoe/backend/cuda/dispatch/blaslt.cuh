// Dense products through cuBLASLt: one prepared product a shape, run without allocation or host synchronisation.
//
// The only file that includes <cublasLt.h>; programs link cublasLt.  Everything slow (the handle, the choice of an
// algorithm) happens in constructors.  A run builds its descriptors on the stack and starts one kernel, so a product is
// a plain value that several threads may run at once, and a captured graph holds only the kernel.
//
// Bits: of the ways to cut the inner dimension, products allow none, or (policy `split`) the one that keeps partial
// sums in the compute type in the workspace and adds them in a separate step
// (CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK). Neither adds in an order that depends on timing.  Bits depend on the
// algorithm, and with it on the sizes a product was prepared for, the device and the version of the library.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "../../../expert/activation.hpp"
#include "../kernel/bias.cuh"
#include "pointwise.cuh"

#if defined(__CUDACC__)
#include <cublasLt.h>
#elif !defined(POLYMOE_HOST_BLASLT)
#error "polymoe: without nvcc, include tests/executor/host_blaslt.hpp before headers that use cuBLASLt"
#endif

namespace polymoe::inline v0 {
namespace backend {
namespace detail {
template <class... Parts>
void blaslt_check(cublasStatus_t status, const Parts&... parts) {
  if (status != CUBLAS_STATUS_SUCCESS) v0::detail::fail(parts..., ": ", cublasLtGetStatusName(status));
}
template <class T>
constexpr cudaDataType_t blaslt_type() {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, float> || std::is_same_v<T, double>,
                "polymoe: products on CUDA are offered for bf16, float and double");
  if constexpr (std::is_same_v<T, bf16>)
    return CUDA_R_16BF;
  else if constexpr (std::is_same_v<T, float>)
    return CUDA_R_32F;
  else
    return CUDA_R_64F;
}
/// Bytes up to 16 that every row starts on a multiple of, when the matrix does.
constexpr index row_alignment(index stride, std::size_t element) {
  const index bytes = stride * static_cast<index>(element);
  index a = 16;
  while (bytes % a != 0) a /= 2;
  return a;
}
}  // namespace detail

/// The handle of the library for the current device.
class blaslt {
 public:
  blaslt() { detail::blaslt_check(cublasLtCreate(&handle_), "cublasLtCreate"); }
  ~blaslt() { cublasLtDestroy(handle_); }
  blaslt(const blaslt&) = delete;
  blaslt& operator=(const blaslt&) = delete;

  cublasLtHandle_t get() const { return handle_; }

  /// One handle a device, shared by everything that is prepared while somebody holds it.  Locks: not for run paths.
  static std::shared_ptr<blaslt> of_this_device() {
    int ordinal = 0;
#if defined(__CUDACC__)
    device::detail::check(cudaGetDevice(&ordinal), "cudaGetDevice");
#endif
    const auto slot = static_cast<std::size_t>(ordinal);
    static std::mutex guard;
    static std::vector<std::weak_ptr<blaslt>> handles;
    const std::lock_guard lock(guard);
    if (handles.size() <= slot) handles.resize(slot + 1);
    auto handle = handles[slot].lock();
    if (!handle) handles[slot] = handle = std::make_shared<blaslt>();
    return handle;
  }

 private:
  cublasLtHandle_t handle_ = nullptr;
};

/// What happens to op(A) op(B) (+ add) = z before it is stored as D.
enum class blaslt_epilogue {
  none,           ///< D = z
  bias,           ///< D = z + bias
  gelu,           ///< before = z, D = gelu_tanh(z)
  bias_gelu,      ///< before = z + bias, D = gelu_tanh(z + bias)
  relu,           ///< D = max(z, 0); what NaN becomes is not documented
  bias_relu,      ///< D = max(z + bias, 0), likewise
  dgelu,          ///< D = z gelu_tanh'(pre)
  bias_gradient,  ///< D = z, bias_gradient [m] = the sums of A over k: the sums of A's rows where A is transposed
};
inline const char* name_of(blaslt_epilogue e) {
  constexpr const char* names[] = {"none", "bias", "gelu", "bias_gelu", "relu", "bias_relu", "dgelu", "bias_gradient"};
  return names[static_cast<int>(e)];
}
constexpr bool adds_bias(blaslt_epilogue e) {
  return e == blaslt_epilogue::bias || e == blaslt_epilogue::bias_gelu || e == blaslt_epilogue::bias_relu;
}
/// The epilogue writes what its activation got.
constexpr bool writes_before(blaslt_epilogue e) {
  return e == blaslt_epilogue::gelu || e == blaslt_epilogue::bias_gelu;
}

/// D [m, n] = op(A) [m, k] op(B) [k, n], all row-major; a transposed operand is stored the other way round.
struct blaslt_shape {
  index m = 0, n = 0, k = 0;  ///< the largest that will be run
  bool transpose_a = false, transpose_b = false;
  blaslt_epilogue epilogue = blaslt_epilogue::none;
  index lda = 0, ldb = 0, ldd = 0;  ///< elements from row to row; 0: rows are contiguous
  index batch = 1;                  ///< products, the operands of which are `stride` elements apart
  index stride_a = 0, stride_b = 0, stride_d = 0;  ///< 0 for A or B: one matrix for all products
  index stride_bias = 0;  ///< of a batch: elements from bias (gradient) to bias, whole 16 bytes to be fused
};
/// Elements between the products of a batch in a run whose matrices are smaller than was prepared; -1: as prepared.
/// The summand and the GELU's input lie as far apart as results.
struct blaslt_strides {
  index a = -1, b = -1, d = -1;
};

/// How a product may be computed.
struct blaslt_policy {
  bool tf32 = false;                              ///< float operands are rounded to tf32 (10 bits) before multiplying
  bool split = false;                             ///< a long inner dimension may be cut, see the top of this file
  bool roomy = false;                             ///< products that are not split may ask for workspace, too
  std::size_t workspace = std::size_t{32} << 20;  ///< bytes a split or roomy product may ask for; others take none
};

/// Memory for a run.
struct blaslt_workspace {
  void* data = nullptr;
  std::size_t bytes = 0;
  /// cuBLASLt wants 256-byte borders, an arena gives 64-byte ones.
  static blaslt_workspace take(arena& a, std::size_t bytes) {
    if (bytes == 0) return {};
    const auto p = reinterpret_cast<std::uintptr_t>(a.take_raw<std::byte>(static_cast<index>(bytes) + 192));
    return {reinterpret_cast<void*>((p + 255) / 256 * 256), bytes};
  }
};

/// What a run takes besides A, B and D; `bias` and the like as the epilogue asks.
template <class T, class Out>
struct blaslt_extras {
  view<const Out> add{};         ///< added to the product; may be D itself
  const Out* bias = nullptr;     ///< [n], of a batch `stride_bias` apart
  Out* bias_gradient = nullptr;  ///< [m], written; likewise
  view<Out> before{};            ///< [m, n], written: what the GELU got
  view<const Out> pre{};         ///< [m, n]: what the GELU got
  compute_t<T> alpha = compute_t<T>(1);
  index batch = 0;  ///< 0: as many as prepared
  blaslt_strides strides{};
  blaslt_workspace workspace{};
};

/// One prepared product of matrices of T with a result of Out (T, or float for bf16).
///
/// Where the library has no kernel with the epilogue, `fused()` is false, describe() says so, and run() launches the
/// plain product and one elementwise kernel after it (bias_gradient: the caller sums the columns itself).
template <class T, class Out = T>
class blaslt_product {
 public:
  using S = compute_t<T>;
  using extras = blaslt_extras<T, Out>;

  blaslt_product() = default;
  /// Asks the library for its best algorithm for the sizes in `shape`.  Throws polymoe::error when there is none.
  explicit blaslt_product(const blaslt_shape& shape, blaslt_policy policy = {})
      : blaslt_product(shape, policy, blaslt::of_this_device()) {
    require(found_, text(), ": cuBLASLt has no algorithm for it: ", cublasLtGetStatusName(answer_));
  }
  /// The same, but a product that is not prepared() where the library has no algorithm, with or without the epilogue.
  static blaslt_product offered(const blaslt_shape& shape, blaslt_policy policy = {}) {
    blaslt_product p(shape, policy, blaslt::of_this_device());
    if (!p.found_) p.blaslt_ = nullptr;
    return p;
  }

  bool prepared() const { return blaslt_ != nullptr; }
  /// True when the epilogue is part of the product's kernel.
  bool fused() const { return fused_; }
  std::size_t workspace_bytes() const { return workspace_; }
  const blaslt_shape& shape() const { return shape_; }
  /// "[m x n x k] bf16, epilogue bias fused", or why it is not.
  std::string describe() const {
    std::string s = text();
    if (shape_.epilogue == blaslt_epilogue::none) return s;
    return s + (fused_ ? ", fused" : ", NOT FUSED: cuBLASLt has no kernel for it here, a separate kernel runs");
  }

  /// Starts D = alpha op(A) op(B) (+ add), then the epilogue.  Sizes come from the views (of the first product of a
  /// batch) and may be anything up to what was prepared: only the layouts are built anew, the algorithm is the prepared
  /// one.  Rows of a view must start on multiples of what the prepared sizes imply (16 bytes, or less for odd widths).
  void run(const cuda_device::stream& s, view<const T> a, view<const T> b, view<Out> d, const extras& e = {}) const {
    require(prepared(), "a product was run before it was prepared");
    const auto given = [](index stride, index prepared) { return stride < 0 ? prepared : stride; };
    const sizes z{d.rows,
                  d.cols,
                  shape_.transpose_a ? a.rows : a.cols,
                  e.batch > 0 ? e.batch : shape_.batch,
                  a.stride,
                  b.stride,
                  d.stride,
                  e.add.ptr[0] ? e.add.stride : d.stride,
                  given(e.strides.a, shape_.stride_a),
                  given(e.strides.b, shape_.stride_b),
                  given(e.strides.d, shape_.stride_d)};
    if (z.m == 0 || z.n == 0) return;
    require((shape_.transpose_a ? a.cols : a.rows) == z.m && (shape_.transpose_b ? b.cols : b.rows) == z.k &&
                (shape_.transpose_b ? b.rows : b.cols) == z.n,
            text(), ": A is ", shape_text(a), ", B is ", shape_text(b), ", D is ", shape_text(d));
    require(z.m <= shape_.m && z.n <= shape_.n && z.k <= shape_.k && z.k > 0 && z.batch <= shape_.batch, text(),
            ": it was asked to run ", z.batch, " x [", z.m, " x ", z.n, " x ", z.k, "]");
    require(aligned(a.ptr[0], a.stride, align_a_) && aligned(b.ptr[0], b.stride, align_b_) &&
                aligned(d.ptr[0], d.stride, align_d_) && aligned(a.ptr[0], z.stride_a, align_a_) &&
                aligned(b.ptr[0], z.stride_b, align_b_) && aligned(d.ptr[0], z.stride_d, align_d_) &&
                (!e.add.ptr[0] || aligned(e.add.ptr[0], e.add.stride, align_d_)),
            text(), ": rows have to start on multiples of ", align_a_, " (A), ", align_b_, " (B) and ", align_d_,
            " (D) bytes; strides are ", a.stride, ", ", b.stride, ", ", d.stride);
    if (e.add.ptr[0]) require(e.add.rows == z.m && e.add.cols == z.n, text(), ": the summand is ", shape_text(e.add));
    check_epilogue(e, z);
    problem p;
    describe_to(p, fused_ ? shape_.epilogue : blaslt_epilogue::none, z, aux_of(e), bias_of(e));
    const S beta = e.add.ptr[0] ? S(1) : S(0);
    const Out* c = e.add.ptr[0] ? e.add.ptr[0] : d.ptr[0];
    // Our B is the library's A: see describe_to.
    detail::blaslt_check(
        cublasLtMatmul(blaslt_->get(), &p.operation, &e.alpha, b.ptr[0], &p.a, a.ptr[0], &p.b, &beta, c, &p.c,
                       d.ptr[0], &p.d, &algorithm_, e.workspace.data, e.workspace.bytes, s.handle),
        text(), ": run of [", z.m, " x ", z.n, " x ", z.k, "] with ", e.workspace.bytes, " bytes of workspace");
    if (!fused_) after(s, d, e, z);
  }

 private:
  blaslt_product(const blaslt_shape& shape, blaslt_policy policy, std::shared_ptr<blaslt> library)
      : blaslt_(std::move(library)), shape_(shape), policy_(policy) {
    require(shape.m > 0 && shape.n > 0 && shape.k > 0 && shape.batch > 0, text(), ": all sizes must be positive");
    if (shape_.lda == 0) shape_.lda = shape.transpose_a ? shape.m : shape.k;
    if (shape_.ldb == 0) shape_.ldb = shape.transpose_b ? shape.k : shape.n;
    if (shape_.ldd == 0) shape_.ldd = shape.n;
    if (shape.batch > 1)
      require(shape.stride_a >= 0 && shape.stride_b >= 0 && shape.stride_d > 0, text(), ": batch strides ",
              shape.stride_a, ", ", shape.stride_b, ", ", shape.stride_d, " would overlap results");
    // A batched operand starts at multiples of its stride, so that counts for the alignment as well.
    align_a_ = std::min(detail::row_alignment(shape_.lda, sizeof(T)), detail::row_alignment(shape.stride_a, sizeof(T)));
    align_b_ = std::min(detail::row_alignment(shape_.ldb, sizeof(T)), detail::row_alignment(shape.stride_b, sizeof(T)));
    align_d_ =
        std::min(detail::row_alignment(shape_.ldd, sizeof(Out)), detail::row_alignment(shape.stride_d, sizeof(Out)));
    fused_ = may_be_fused() && ask(shape.epilogue);
    found_ = fused_ || (shape.epilogue != blaslt_epilogue::none && ask(blaslt_epilogue::none));
  }

  struct sizes {
    index m, n, k, batch, lda, ldb, ldd, ldc, stride_a, stride_b, stride_d;
  };
  struct aux_matrix {
    const Out* data = nullptr;
    index stride = 0;
  };
  /// The library's descriptors: plain memory, made on the stack.
  struct problem {
    cublasLtMatmulDescOpaque_t operation{};
    cublasLtMatrixLayoutOpaque_t a{}, b{}, c{}, d{};
  };

  template <class U>
  static bool aligned(const U* p, index stride, index bytes) {
    return reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(bytes) == 0 &&
           stride * static_cast<index>(sizeof(U)) % bytes == 0;
  }
  std::string text() const {
    constexpr const char* type = std::is_same_v<T, bf16> ? "bf16" : (std::is_same_v<T, float> ? "float" : "double");
    std::string s = "product [" + std::to_string(shape_.m) + " x ";
    s += std::to_string(shape_.n) + " x " + std::to_string(shape_.k) + "] ";
    if (shape_.batch > 1) s += "x " + std::to_string(shape_.batch) + " ";
    s += type;
    if (policy_.tf32 && std::is_same_v<T, float>) s += " (tf32)";
    if (policy_.split) s += ", split allowed";
    s += ", epilogue ";
    return s + name_of(shape_.epilogue);
  }
  static aux_matrix aux_of(const extras& e) {
    if (e.before.ptr[0]) return {e.before.ptr[0], e.before.stride};
    return {e.pre.ptr[0], e.pre.stride};
  }
  static const void* bias_of(const extras& e) { return e.bias ? e.bias : e.bias_gradient; }

  void check_epilogue(const extras& e, const sizes& z) const {
    const bool bias = adds_bias(shape_.epilogue), before = writes_before(shape_.epilogue);
    const bool pre = shape_.epilogue == blaslt_epilogue::dgelu;
    const bool gradient = shape_.epilogue == blaslt_epilogue::bias_gradient;
    require(!bias || e.bias, text(), ": no bias was given");
    require(!before || (e.before.ptr[0] && e.before.rows == z.m && e.before.cols == z.n), text(), ": `before` is ",
            shape_text(e.before));
    require(!pre || (e.pre.ptr[0] && e.pre.rows == z.m && e.pre.cols == z.n), text(), ": `pre` is ", shape_text(e.pre));
    require(!gradient || !fused_ || e.bias_gradient, text(), ": no place for the bias gradient was given");
    if (fused_ && (bias || gradient))
      require(reinterpret_cast<std::uintptr_t>(bias_of(e)) % 16 == 0, text(),
              ": the bias has to be aligned to 16 bytes");
    if (fused_ && (before || pre))
      require(aligned(aux_of(e).data, aux_of(e).stride, align_d_), text(),
              ": rows of the GELU's input have to start on ", "multiples of ", align_d_, " bytes, their stride is ",
              aux_of(e).stride);
  }

  template <class V>
  static void set(cublasLtMatmulDescOpaque_t& d, cublasLtMatmulDescAttributes_t attribute, V value) {
    detail::blaslt_check(cublasLtMatmulDescSetAttribute(&d, attribute, &value, sizeof value),
                         "cublasLtMatmulDescSetAttribute ", static_cast<int>(attribute));
  }
  template <class V>
  static void set(cublasLtMatrixLayoutOpaque_t& l, cublasLtMatrixLayoutAttribute_t attribute, V value) {
    detail::blaslt_check(cublasLtMatrixLayoutSetAttribute(&l, attribute, &value, sizeof value),
                         "cublasLtMatrixLayoutSetAttribute ", static_cast<int>(attribute));
  }
  template <class V>
  static void set(cublasLtMatmulPreferenceOpaque_t& p, cublasLtMatmulPreferenceAttributes_t attribute, V value) {
    detail::blaslt_check(cublasLtMatmulPreferenceSetAttribute(&p, attribute, &value, sizeof value),
                         "cublasLtMatmulPreferenceSetAttribute ", static_cast<int>(attribute));
  }
  static void layout(cublasLtMatrixLayoutOpaque_t& l, cudaDataType_t type, index rows, index cols, index ld,
                     index batch, index stride) {
    // A row-major [rows, cols] is a column-major [cols, rows] with the same distance between what is contiguous.
    detail::blaslt_check(
        cublasLtMatrixLayoutInit(&l, type, static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows), ld),
        "layout of [", rows, ", ", cols, "], stride ", ld);
    if (batch == 1) return;
    set(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(batch));
    set(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, static_cast<std::int64_t>(stride));
  }

  /// The one place where row-major becomes column-major.  Read column-major, D is D^T [n, m] = op(B)^T op(A)^T, and a
  /// stored matrix is its own transpose: the library's A is our B and its B is our A, each with our own transposition
  /// flag.  Its rows are our columns, so its bias, which has one number a row, is added to our columns.  BGRADB sums
  /// the library's B over the inner dimension: our A, which for D = A^T B are the rows of A.
  void describe_to(problem& p, blaslt_epilogue epilogue, const sizes& z, aux_matrix aux, const void* bias) const {
    constexpr auto type = detail::blaslt_type<T>(), out = detail::blaslt_type<Out>();
    constexpr bool is_double = std::is_same_v<T, double>;
    const auto compute =
        is_double ? CUBLAS_COMPUTE_64F
                  : (std::is_same_v<T, float> && policy_.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
    detail::blaslt_check(cublasLtMatmulDescInit(&p.operation, compute, is_double ? CUDA_R_64F : CUDA_R_32F),
                         "cublasLtMatmulDescInit");
    set(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, shape_.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(p.operation, CUBLASLT_MATMUL_DESC_TRANSB, shape_.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    const bool ta = shape_.transpose_a, tb = shape_.transpose_b;
    layout(p.a, type, tb ? z.n : z.k, tb ? z.k : z.n, z.ldb, z.batch, z.stride_b);
    layout(p.b, type, ta ? z.k : z.m, ta ? z.m : z.k, z.lda, z.batch, z.stride_a);
    layout(p.c, out, z.m, z.n, z.ldc, z.batch, z.stride_d);
    layout(p.d, out, z.m, z.n, z.ldd, z.batch, z.stride_d);
    if (epilogue == blaslt_epilogue::none) return;
    set(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, code_of(epilogue));
    // In a strided batch the bias (or its gradient) and the auxiliary matrix have strides of their own; with 0, the
    // default, all products share one (cuBLAS documentation, cublasLtMatmulDescAttributes_t: BIAS_BATCH_STRIDE,
    // EPILOGUE_AUX_BATCH_STRIDE, a multiple of 8 for GELU, and the note on batch modes; also in cublasLt.h of 13.1).
    // The bias has D's type; its length is D's rows in the library's eyes, for BGRADB D's columns.  That a stride can
    // be given does not say that a kernel exists: the search is asked with it.
    if (adds_bias(epilogue) || epilogue == blaslt_epilogue::bias_gradient) {
      set(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
      if (z.batch > 1)
        set(p.operation, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, static_cast<std::int64_t>(shape_.stride_bias));
    }
    if (writes_before(epilogue) || epilogue == blaslt_epilogue::dgelu) {
      set(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, static_cast<const void*>(aux.data));
      set(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, static_cast<std::int64_t>(aux.stride));
      if (z.batch > 1)
        set(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, static_cast<std::int64_t>(z.stride_d));
    }
  }
  static cublasLtEpilogue_t code_of(blaslt_epilogue e) {
    switch (e) {
      case blaslt_epilogue::bias:
        return CUBLASLT_EPILOGUE_BIAS;
      case blaslt_epilogue::gelu:
        return CUBLASLT_EPILOGUE_GELU_AUX;
      case blaslt_epilogue::bias_gelu:
        return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
      case blaslt_epilogue::relu:
        return CUBLASLT_EPILOGUE_RELU;
      case blaslt_epilogue::bias_relu:
        return CUBLASLT_EPILOGUE_RELU_BIAS;
      case blaslt_epilogue::dgelu:
        return CUBLASLT_EPILOGUE_DGELU;
      case blaslt_epilogue::bias_gradient:
        return CUBLASLT_EPILOGUE_BGRADB;
      case blaslt_epilogue::none:
        break;
    }
    return CUBLASLT_EPILOGUE_DEFAULT;
  }
  /// The search sees where the first bias of a batch lies, not the others: these have to lie on 16-byte borders, too.
  bool may_be_fused() const {
    const bool bias = adds_bias(shape_.epilogue) || shape_.epilogue == blaslt_epilogue::bias_gradient;
    return shape_.batch == 1 || !bias || shape_.stride_bias * static_cast<index>(sizeof(Out)) % 16 == 0;
  }

  /// True when the library has an algorithm; it is kept.
  bool ask(blaslt_epilogue epilogue) {
    problem p;
    const sizes z{shape_.m,   shape_.n,   shape_.k,        shape_.batch,    shape_.lda,     shape_.ldb,
                  shape_.ldd, shape_.ldd, shape_.stride_a, shape_.stride_b, shape_.stride_d};
    // The search reads from these pointers only how they are aligned.
    const auto at = [](index bytes) { return reinterpret_cast<const Out*>(static_cast<std::uintptr_t>(bytes)); };
    describe_to(p, epilogue, z, {at(align_d_), shape_.ldd}, at(16));
    cublasLtMatmulPreferenceOpaque_t preference{};
    detail::blaslt_check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        static_cast<std::uint64_t>(policy_.split || policy_.roomy ? policy_.workspace : 0));
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(policy_.split ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
                                                 : CUBLASLT_REDUCTION_SCHEME_NONE));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(align_b_));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(align_a_));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(align_d_));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(align_d_));
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    answer_ = cublasLtMatmulAlgoGetHeuristic(blaslt_->get(), &p.operation, &p.a, &p.b, &p.c, &p.d, &preference, 1,
                                             &result, &found);
    if (answer_ == CUBLAS_STATUS_SUCCESS && found > 0)
      answer_ = result.state;
    else if (answer_ == CUBLAS_STATUS_SUCCESS)
      answer_ = CUBLAS_STATUS_NOT_SUPPORTED;
    // "No such kernel" has two names; everything else is a mistake or a broken device, which no other path cures.
    if (answer_ != CUBLAS_STATUS_SUCCESS && answer_ != CUBLAS_STATUS_NOT_SUPPORTED &&
        answer_ != CUBLAS_STATUS_INVALID_VALUE)
      detail::blaslt_check(answer_, text());
    if (answer_ != CUBLAS_STATUS_SUCCESS) return false;
    algorithm_ = result.algo;
    workspace_ = result.workspaceSize;
    return true;
  }

  /// The epilogue as a kernel of its own, over the rows of all products of a batch: they have to follow each other.
  void after(const cuda_device::stream& s, view<Out> d, const extras& e, const sizes& z) const {
    if (shape_.epilogue == blaslt_epilogue::bias_gradient) return;
    require(z.batch == 1 || z.stride_d == z.m * z.ldd, text(), ": not fused, and results are ", z.stride_d,
            " apart: the separate kernel takes a batch without gaps, ", z.m, " rows of ", z.ldd);
    d.rows = z.m * z.batch;
    if (shape_.epilogue == blaslt_epilogue::dgelu) {
      view<const Out> pre = e.pre;
      pre.rows = d.rows;
      return detail::map(s, name_of(shape_.epilogue), kernel::activate_gradient<act::gelu_tanh>{},
                         view<const Out>(d), pre, d);
    }
    const view<const Out> bias(adds_bias(shape_.epilogue) ? e.bias : nullptr, z.batch, d.cols,
                               z.batch == 1 ? d.cols : shape_.stride_bias);
    const view<Out> before = writes_before(shape_.epilogue) ? e.before : view<Out>{};
    const auto shape = detail::warp_rows(name_of(shape_.epilogue), s, d.rows);
    detail::with_access<Out>(
        [&]<class V>(V) {
          if (writes_before(shape_.epilogue))
            device::launch(shape, kernel::bias_activate_kernel<act::gelu_tanh, Out, V::value>, d, bias, z.m, before);
          else if (shape_.epilogue == blaslt_epilogue::bias)
            device::launch(shape, kernel::bias_activate_kernel<act::identity, Out, V::value>, d, bias, z.m, before);
          else
            device::launch(shape, kernel::bias_activate_kernel<act::relu, Out, V::value>, d, bias, z.m, before);
        },
        d, bias, before);
  }

  std::shared_ptr<blaslt> blaslt_;
  blaslt_shape shape_;
  blaslt_policy policy_;
  cublasLtMatmulAlgo_t algorithm_{};
  std::size_t workspace_ = 0;
  index align_a_ = 16, align_b_ = 16, align_d_ = 16;
  bool fused_ = false, found_ = false;
  cublasStatus_t answer_ = CUBLAS_STATUS_SUCCESS;
};

}  // namespace backend
}  // namespace polymoe
