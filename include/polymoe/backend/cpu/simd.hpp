// Loops and reductions over a row that compile to vector code, and the small matrix product of attention.
//
// `each`, `sum` and `largest` take the body as a function of the column.  The order of a sum depends on the row length
// only, never on threads.  `small_product` works on matrices that fit the first-level cache: its accumulators live in
// vector registers, written with the vector types of GCC and Clang.
#pragma once

#include "parallel.hpp"

namespace polymoe::inline v0 {
namespace simd {

/// f(c) for c in [0, n); iterations are independent.
template <class F>
POLYMOE_ALWAYS_INLINE void each(index n, F f) {
  POLYMOE_SIMD
  for (index c = 0; c < n; ++c) f(c);
}

/// Sum of f(c) over [0, n); dual numbers are summed plane by plane.
template <class S, class F>
POLYMOE_ALWAYS_INLINE S sum(index n, F f) {
  if constexpr (is_dual<S>) {
    real_t<S> v = 0, t = 0;
    POLYMOE_SIMD_SUM(v, t)
    for (index c = 0; c < n; ++c) {
      const S x = f(c);
      v += x.v;
      t += x.t;
    }
    return S(v, t);
  } else {
    S s = 0;
    POLYMOE_SIMD_SUM(s)
    for (index c = 0; c < n; ++c) s += f(c);
    return s;
  }
}

/// Largest f(c) over [0, n), or `first` when n is 0 or nothing is larger.
template <class R, class F>
POLYMOE_ALWAYS_INLINE R largest(R first, index n, F f) {
  R m = first;
  POLYMOE_SIMD_MAX(m)
  for (index c = 0; c < n; ++c) {
    const R x = f(c);
    m = x > m ? x : m;
  }
  return m;
}

/// Rows a tile of pointwise work gets: about 16384 elements, a number that depends on the width only.
constexpr index rows_per_tile(index cols) { return cols >= 16384 ? 1 : (cols > 0 ? 16384 / cols : 16384); }

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
inline constexpr int vectors_per_tile = 4;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
inline constexpr int vectors_per_tile = 2;
#else
inline constexpr int vector_bytes = 16;
inline constexpr int vectors_per_tile = 2;
#endif

/// Numbers of R in one vector register; rows of `small_product` operands are padded to a multiple of it.
template <class R>
inline constexpr index lanes = vector_bytes / static_cast<index>(sizeof(R));

namespace detail {

template <class R>
struct vector_of;
template <>
struct vector_of<float> {
  typedef float type __attribute__((vector_size(vector_bytes)));
};
template <>
struct vector_of<double> {
  typedef double type __attribute__((vector_size(vector_bytes)));
};

/// e^x for x <= 0, arguments below -87 counting as -87: V is float and I int32, or both vectors of them.
template <class V, class I>
POLYMOE_ALWAYS_INLINE V exp_nonpositive_float(V x) {
  const V z = x < -87.0f ? V{} + -87.0f : x;
  const V shifted = z * 1.44269504f + 12582912.0f;
  const V n = shifted - 12582912.0f;
  const I bits = (bit_cast<I>(shifted) + 127) << 23;
  return math::exp_of_rest(z, n) * bit_cast<V>(bits);
}
/// e^x lane by lane for x <= 0; in float, arguments below -87 count as -87.
template <class R>
POLYMOE_ALWAYS_INLINE typename vector_of<R>::type exp_nonpositive(typename vector_of<R>::type x) {
  using V = typename vector_of<R>::type;
  if constexpr (std::is_same_v<R, float>) {
    typedef std::int32_t I __attribute__((vector_size(vector_bytes)));
    return exp_nonpositive_float<V, I>(x);
  } else {
    for (index i = 0; i < lanes<R>; ++i) x[i] = math::exp(x[i]);
    return x;
  }
}
template <class V, class R>
POLYMOE_ALWAYS_INLINE V load(const R* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class V, class R>
POLYMOE_ALWAYS_INLINE void store(R* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

/// Rows x Vectors accumulators of C, kept in registers over the whole k loop.
template <class R, int Rows, int Vectors>
POLYMOE_ALWAYS_INLINE void product_tile(index k, const R* a, index a_row, index a_col, const R* b, index ldb, R* c,
                                        index ldc, bool accumulate) {
  using V = typename vector_of<R>::type;
  V acc[Rows][Vectors];
POLYMOE_UNROLL_LOOP(16)
  for (int i = 0; i < Rows; ++i)
POLYMOE_UNROLL_LOOP(4)
    for (int j = 0; j < Vectors; ++j) {
      if (accumulate)
        __builtin_memcpy(&acc[i][j], c + i * ldc + j * lanes<R>, sizeof(V));
      else
        acc[i][j] = V{};
    }
  for (index p = 0; p < k; ++p) {
    V row[Vectors];
POLYMOE_UNROLL_LOOP(4)
    for (int j = 0; j < Vectors; ++j) __builtin_memcpy(&row[j], b + p * ldb + j * lanes<R>, sizeof(V));
POLYMOE_UNROLL_LOOP(16)
    for (int i = 0; i < Rows; ++i) {
      const R x = a[i * a_row + p * a_col];
POLYMOE_UNROLL_LOOP(4)
      for (int j = 0; j < Vectors; ++j) acc[i][j] += x * row[j];
    }
  }
POLYMOE_UNROLL_LOOP(16)
  for (int i = 0; i < Rows; ++i)
POLYMOE_UNROLL_LOOP(4)
    for (int j = 0; j < Vectors; ++j) __builtin_memcpy(c + i * ldc + j * lanes<R>, &acc[i][j], sizeof(V));
}

template <class R, int Vectors>
void product_columns(index m, index k, const R* a, index a_row, index a_col, const R* b, index ldb, R* c, index ldc,
                     bool accumulate) {
  constexpr int tall = Vectors == 1 ? 12 : (Vectors == 2 ? 8 : 6);
  constexpr int low = Vectors == 4 ? 2 : 4;
  index i = 0;
  for (; i + tall <= m; i += tall)
    product_tile<R, tall, Vectors>(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, accumulate);
  for (; i + low <= m; i += low)
    product_tile<R, low, Vectors>(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, accumulate);
  for (; i < m; ++i) product_tile<R, 1, Vectors>(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, accumulate);
}

}  // namespace detail

/// e^x for x <= 0; in float, arguments below -87 count as -87, and loops over it become vector code.
template <class R>
POLYMOE_ALWAYS_INLINE R exp_nonpositive(R x) {
  if constexpr (std::is_same_v<R, float>)
    return detail::exp_nonpositive_float<float, std::int32_t>(x);
  else
    return math::exp(x);
}

/// C[m, n] = A[m, k] B[k, n], or += .  Element (i, p) of A is a[i * a_row + p * a_col], so A may be read transposed.  B
/// and C are row-major with rows padded to a multiple of `lanes<R>`; the padding of C is written.
template <class R>
void small_product(index m, index n, index k, const R* a, index a_row, index a_col, const R* b, index ldb, R* c,
                   index ldc, bool accumulate = false) {
  constexpr index L = lanes<R>;
  index j = 0;
  if constexpr (vectors_per_tile == 4)
    for (; j + 3 * L < n; j += 4 * L)
      detail::product_columns<R, 4>(m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, accumulate);
  for (; j + L < n; j += 2 * L)
    detail::product_columns<R, 2>(m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, accumulate);
  for (; j < n; j += L) detail::product_columns<R, 1>(m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, accumulate);
}

/// Softmax over each column of x [rows, n], rows `stride` apart and padded to a multiple of `lanes<R>`; with `t`, the
/// tangent p (t - sum p t) replaces t.  Columns lie in vector lanes, so nothing is summed across lanes.
template <class R>
void softmax_columns(index rows, index n, index stride, R* x, R* t) {
  using V = typename detail::vector_of<R>::type;
  using detail::load, detail::store;
  for (index b = 0; b < n; b += lanes<R>) {
    V top = load<V>(x + b);
    for (index r = 1; r < rows; ++r) {
      const V v = load<V>(x + r * stride + b);
      top = v > top ? v : top;
    }
    V total{};
    for (index r = 0; r < rows; ++r) {
      const V e = detail::exp_nonpositive<R>(load<V>(x + r * stride + b) - top);
      store(x + r * stride + b, e);
      total += e;
    }
    const V inverse = R(1) / total;
    V mean{};
    for (index r = 0; r < rows; ++r) {
      const V p = load<V>(x + r * stride + b) * inverse;
      store(x + r * stride + b, p);
      if (t) mean += p * load<V>(t + r * stride + b);
    }
    if (!t) continue;
    for (index r = 0; r < rows; ++r) {
      R* at = t + r * stride + b;
      store(at, V(load<V>(x + r * stride + b) * (load<V>(at) - mean)));
    }
  }
}

/// The backward of softmax_columns: g becomes p (g - sum p g) per column; with tangents pt and gt, theirs too.
template <class R>
void softmax_columns_grad(index rows, index n, index stride, const R* p, const R* pt, R* g, R* gt) {
  using V = typename detail::vector_of<R>::type;
  using detail::load, detail::store;
  for (index b = 0; b < n; b += lanes<R>) {
    V mean{}, mean_t{};
    for (index r = 0; r < rows; ++r) {
      const index i = r * stride + b;
      mean += load<V>(p + i) * load<V>(g + i);
      if (gt) mean_t += load<V>(pt + i) * load<V>(g + i) + load<V>(p + i) * load<V>(gt + i);
    }
    for (index r = 0; r < rows; ++r) {
      const index i = r * stride + b;
      const V centred = load<V>(g + i) - mean;
      if (gt) store(gt + i, V(load<V>(pt + i) * centred + load<V>(p + i) * (load<V>(gt + i) - mean_t)));
      store(g + i, V(load<V>(p + i) * centred));
    }
  }
}

}  // namespace simd
}  // namespace polymoe
