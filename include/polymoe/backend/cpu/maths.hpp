// Dense matrix products of the CPU backend: which library does them, and the three operations every layer is built
// from.
//
//   product          Y[rows, n] = X[rows, k] W[k, n] (+ bias)   W packed once per optimiser step
//   outer_product    G[n, k] += A[rows, n]^T X[rows, k]         the gradient of a weight
//   batched_product  C_i[m, n] = alpha op(A_i) op(B_i)          small products, as in attention
//
// A library call runs on one thread; callers walk tiles with parallel_for and hand each call its worker.  Objects are
// prepared in the constructor (some libraries compile code there, about a millisecond a shape) and are immutable after:
// one object serves all threads, calls allocate nothing (see maths_onednn.hpp and maths_cblas.hpp for what the
// libraries do themselves).
//
// Bits: a result depends on the sizes of a call (rows, k, n) and its operands, never on the number of threads.  A row
// may come out with other bits when the call has another number of rows, so cut rows into tiles by sizes only.
//
// A library is a tag with three member templates; a tag of your own with the same members works as a Maths argument.
#pragma once

#include <string>

#include "maths_builtin.hpp"
#if defined(POLYMOE_WITH_CBLAS)
#include "maths_cblas.hpp"
#endif
#if defined(POLYMOE_WITH_ONEDNN)
#include "maths_onednn.hpp"
#endif

namespace polymoe::inline v0::maths {

/// Plain loops; always there, for float, double and bf16.
struct builtin {
  static constexpr const char* name = "builtin";
  template <class R>
  static constexpr bool available = true;
  template <class R>
  using product = detail::builtin_product<R>;
  template <class R>
  using outer_product = detail::builtin_outer_product<R>;
  template <class R>
  using batched_product = detail::builtin_batched_product<R>;
};

/// CBLAS, for float and double; needs POLYMOE_WITH_CBLAS.
struct cblas {
  static constexpr const char* name = "cblas";
#if defined(POLYMOE_WITH_CBLAS)
  template <class R>
  static constexpr bool available = std::is_same_v<R, float> || std::is_same_v<R, double>;
  template <class R>
  using product = detail::cblas_product<R>;
  template <class R>
  using outer_product = detail::cblas_outer_product<R>;
  template <class R>
  using batched_product = detail::cblas_batched_product<R>;
#else
  template <class R>
  static constexpr bool available = false;
#endif
};

/// oneDNN, for float and bf16; needs POLYMOE_WITH_ONEDNN.
struct onednn {
  static constexpr const char* name = "onednn";
#if defined(POLYMOE_WITH_ONEDNN)
  template <class R>
  static constexpr bool available = std::is_same_v<R, float> || std::is_same_v<R, bf16>;
  template <class R>
  using product = detail::onednn_product<R>;
  template <class R>
  using outer_product = detail::onednn_outer_product<R>;
  template <class R>
  using batched_product = detail::onednn_batched_product<R>;
#else
  template <class R>
  static constexpr bool available = false;
#endif
};

/// The fastest available per type: oneDNN for float and bf16, CBLAS for double (and float without oneDNN), else
/// builtin.
struct automatic {
  static constexpr const char* name = "automatic";
};

/// Whether the library `Maths` was compiled in and multiplies numbers of type R.
template <class Maths, class R>
constexpr bool available() {
  if constexpr (std::is_same_v<Maths, automatic>)
    return true;
  else
    return Maths::template available<R>;
}

namespace detail {
template <class R, class Maths>
struct resolve {
  static_assert(
      std::is_same_v<R, float> || std::is_same_v<R, double> || std::is_same_v<R, bf16>,
      "polymoe: dense products are offered for float, double and bf16 (dual tensors call them on each plane)");
  static_assert(maths::available<Maths, R>(),
                "polymoe: this maths library is not compiled in, or does not offer this number type; define "
                "POLYMOE_WITH_ONEDNN or POLYMOE_WITH_CBLAS, or use maths::automatic");
  using type = Maths;
};
template <class R>
struct resolve<R, automatic> {
  using type =
      std::conditional_t<onednn::available<R>, onednn, std::conditional_t<cblas::available<R>, cblas, builtin>>;
};
}  // namespace detail

/// The library that `Maths` stands for with numbers of type R: resolved<double, automatic> is cblas where compiled in.
template <class R, class Maths = automatic>
using resolved = typename detail::resolve<R, Maths>::type;

/// Y[rows, n] = X[rows, k] W[k, n] (+ bias[n]), or Y += X W, with W packed ahead.  R is float, double or bf16; M is
/// master_t<R>.  bf16 operands are multiplied exactly and summed in float.  Members:
///
///   product(index k, index n)
///   tile_rows                  most rows one call may have (256)
///   k(), n()
///   packed_bytes()             size of the packed W; give it 64-byte aligned memory
///   worker_bytes()             scratch a worker must have for run and pack
///   pack(const M* w, index ldw, bool transposed, void* packed, worker&)
///                              W from master numbers (rounded to R).  transposed false: w is [k, n] with leading
///                              dimension ldw; true: w is [n, k] (the weight of a PyTorch Linear, used as W^T)
///   run(worker&, const R* x, index ldx, index rows, const void* packed, const M* bias, R* y, index ldy,
///       bool accumulate = false)
///                              bias may be null.  With accumulate, y is read and added to, and bias is ignored; a
///                              bf16 y is rounded again at each accumulation.  ldx = k and ldy = n avoid copies.
///   run_to_master(..., M* y, ...)  the same with the output in master numbers
///
/// x and y must not overlap.  rows = 0 does nothing.
template <class R, class Maths = automatic>
using product = typename resolved<R, Maths>::template product<R>;

/// G[n, k] += A[rows, n]^T X[rows, k]: the gradient of a weight, summed in fp32 for bf16.  Members:
///
///   outer_product(index n, index k)
///   blocks()                   independent blocks the output is cut into, fixed by n and k: one task each
///   worker_bytes()
///   run(worker&, index block, const R* a, index lda, const R* x, index ldx, index rows, M* g, index ldg)
///                              adds all rows, in fixed chunks and in order, to one block of G; any number of rows.
///                              Call it once per segment when rows lie in several pieces.  ldg = k avoids a copy.
///   preferred_pieces(rows)     for a small G and many rows: into how many equal row ranges the caller should cut, to
///                              have about eight tasks.  Each range beyond the first needs its own zeroed G, to be
///                              added in order afterwards.  A function of sizes only; 1 when cutting does not pay.
template <class R, class Maths = automatic>
using outer_product = typename resolved<R, Maths>::template outer_product<R>;

/// C_i = alpha op(A_i) op(B_i) (+ C_i) for a fixed number of small matrices (batched_shape).  bf16 is summed in float
/// and rounded once.  Members: batched_product(batched_shape), worker_bytes(), run(worker&, const R* a, const R* b, R*
/// c).
template <class R, class Maths = automatic>
using batched_product = typename resolved<R, Maths>::template batched_product<R>;

/// True when bf16 products run on instructions made for them, several times as fast as float.
inline bool bf16_is_fast() {
#if defined(POLYMOE_WITH_ONEDNN)
  return detail::dnnl_has_bf16();
#else
  return false;
#endif
}

/// The instruction set the products use, for reports: results may differ in bits between two of them.
inline std::string isa_name() {
#if defined(POLYMOE_WITH_ONEDNN)
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "sse4.1";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx2_vnni:
      return "avx2-vnni";
    case dnnl::cpu_isa::avx512_core:
      return "avx512";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512-vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512-bf16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "amx-bf16";
    default:
      return "other";
  }
#elif defined(__AVX512F__)
  return "avx512";
#elif defined(__AVX2__)
  return "avx2";
#elif defined(__AVX__)
  return "avx";
#else
  return "generic";
#endif
}

}  // namespace polymoe::inline v0::maths
