// Rows of bf16 to float and back, and loops over rows in compute precision.
//
// Rounding to bf16 takes seven instructions a vector when it is written with integers and one where the CPU has an
// instruction for it, which compilers do not choose by themselves: this is the one place that names it.
#pragma once

#include "../../core/view.hpp"

#if defined(__AVX512BF16__) && defined(__AVX512VL__)
#include <immintrin.h>
#endif

namespace polymoe::inline v0 {
namespace backend {

/// to[i] = from[i] for i in [0, n).
inline void widen(const bf16* from, float* to, index n) {
  POLYMOE_SIMD
  for (index i = 0; i < n; ++i) to[i] = bit_cast<float>(std::uint32_t{from[i].bits} << 16);
}
/// to[i] = from[i] rounded to nearest, ties to even, for i in [0, n); NaN stays NaN.
inline void narrow(const float* from, bf16* to, index n) {
  index i = 0;
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
  for (; i + 16 <= n; i += 16) {
    // The instruction takes denormal numbers for zero, as matrix units do; bf16::round keeps them.
    const __m256bh x = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + i));
    __builtin_memcpy(to + i, &x, sizeof(x));
  }
#endif
  POLYMOE_SIMD
  for (index k = i; k < n; ++k) to[k].bits = bf16::round(from[k]);
}

namespace detail {
/// Elements that are widened, computed and narrowed together: three such buffers stay in the first-level cache.
inline constexpr index chunk = 1024;
}  // namespace detail

/// out[j] = f(in[j]) for n elements, in the compute type of T.  out may be in.
template <class T, class F>
POLYMOE_ALWAYS_INLINE void map_row(const T* in, T* out, index n, F f) {
  if constexpr (std::is_same_v<T, bf16>) {
    float x[detail::chunk];
    for (index at = 0; at < n; at += detail::chunk) {
      const index m = n - at < detail::chunk ? n - at : detail::chunk;
      widen(in + at, x, m);
      POLYMOE_SIMD
      for (index j = 0; j < m; ++j) x[j] = f(x[j]);
      narrow(x, out + at, m);
    }
  } else {
    POLYMOE_SIMD
    for (index j = 0; j < n; ++j) out[j] = f(in[j]);
  }
}
/// The same for row r of planar dual tensors.
template <class T, class F>
  requires(is_dual<T>)
POLYMOE_ALWAYS_INLINE void map_row(view<const T> in, view<T> out, index r, F f) {
  const auto *v = in.row(r, 0), *t = in.row(r, 1);
  auto *to_v = out.row(r, 0), *to_t = out.row(r, 1);
  POLYMOE_SIMD
  for (index j = 0; j < in.cols; ++j) {
    const auto y = f(compute_t<T>(v[j], t[j]));
    to_v[j] = y.v, to_t[j] = y.t;
  }
}
template <class T, class F>
  requires(is_dual<T>)
POLYMOE_ALWAYS_INLINE void map_row(view<const T> a, view<const T> b, view<T> out, index r, F f) {
  const auto *av = a.row(r, 0), *at = a.row(r, 1), *bv = b.row(r, 0), *bt = b.row(r, 1);
  auto *to_v = out.row(r, 0), *to_t = out.row(r, 1);
  POLYMOE_SIMD
  for (index j = 0; j < a.cols; ++j) {
    const auto y = f(compute_t<T>(av[j], at[j]), compute_t<T>(bv[j], bt[j]));
    to_v[j] = y.v, to_t[j] = y.t;
  }
}
/// out[j] = f(a[j], b[j]) likewise; out may be a or b.
template <class T, class F>
POLYMOE_ALWAYS_INLINE void map_row(const T* a, const T* b, T* out, index n, F f) {
  if constexpr (std::is_same_v<T, bf16>) {
    float x[detail::chunk], y[detail::chunk];
    for (index at = 0; at < n; at += detail::chunk) {
      const index m = n - at < detail::chunk ? n - at : detail::chunk;
      widen(a + at, x, m), widen(b + at, y, m);
      POLYMOE_SIMD
      for (index j = 0; j < m; ++j) x[j] = f(x[j], y[j]);
      narrow(x, out + at, m);
    }
  } else {
    POLYMOE_SIMD
    for (index j = 0; j < n; ++j) out[j] = f(a[j], b[j]);
  }
}

}  // namespace backend
}  // namespace polymoe
