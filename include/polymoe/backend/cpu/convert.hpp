// Rows of bf16 to float and back, and loops over rows in compute precision.
//
// Rounding to bf16 takes seven instructions a vector when it is written with integers and one where the CPU has an
// instruction for it, which compilers do not choose by themselves: this is the one place that names it.
#pragma once

#include <utility>

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
/// Elements that are widened, computed and narrowed together: a few such buffers stay in the first-level cache.
inline constexpr index chunk = 1024;
}  // namespace detail

/// Row r of `out` = f of the elements of row r of the inputs, in the compute type of T and rounded once.  Inputs have
/// out's width; out may be one of them.
template <class T, class F, class... In>
POLYMOE_ALWAYS_INLINE void map_row(index r, view<T> out, F f, const In&... in) {
  if constexpr (is_dual<T>) {
    auto *to_v = out.row(r, 0), *to_t = out.row(r, 1);
    // Plane by plane: values and tangents of every input.
    const auto run = [&](auto... pointer) {
      POLYMOE_SIMD
      for (index j = 0; j < out.cols; ++j) {
        const auto y = f(compute_t<T>(pointer.v[j], pointer.t[j])...);
        to_v[j] = y.v, to_t[j] = y.t;
      }
    };
    struct planes {
      const real_t<T> *v, *t;
    };
    run(planes{in.row(r, 0), in.row(r, 1)}...);
  } else if constexpr (std::is_same_v<T, bf16>) {
    float x[sizeof...(In)][detail::chunk];
    for (index at = 0; at < out.cols; at += detail::chunk) {
      const index m = out.cols - at < detail::chunk ? out.cols - at : detail::chunk;
      int k = 0;
      (widen(in.row(r) + at, x[k++], m), ...);
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        POLYMOE_SIMD
        for (index j = 0; j < m; ++j) x[0][j] = f(x[I][j]...);
      }
      (std::index_sequence_for<In...>{});
      narrow(x[0], out.row(r) + at, m);
    }
  } else {
    auto* to = out.row(r);
    const auto run = [&](const auto*... from) {
      POLYMOE_SIMD
      for (index j = 0; j < out.cols; ++j) to[j] = f(from[j]...);
    };
    run(in.row(r)...);
  }
}

}  // namespace backend
}  // namespace polymoe
