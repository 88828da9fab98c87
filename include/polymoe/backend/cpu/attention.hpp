// Multi-head self-attention between the qkv and the output projection, on the CPU.
//
// One work item is one head of one image: its queries, keys and values are copied to a worker's scratch in the compute
// type (float for bf16), and all products run there by `simd::small_product`, from the first-level cache.  Scores and
// probabilities are held [keys, queries]: queries lie in vector lanes, so the softmax needs no sum across lanes.  For
// dual numbers each product is the sum of products of planes.
#pragma once

#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// Sizes of one attention: D = dim is cut into `heads` equal parts.
struct attention_shape {
  index tokens = 0, dim = 0, heads = 1;
  constexpr index head_dim() const { return dim / heads; }
  /// 1 / sqrt(head width), the factor of the scores.
  double scale() const { return 1.0 / math::sqrt(static_cast<double>(head_dim())); }
};

namespace detail {

/// A matrix of a worker's scratch: one plane per plane of T, rows padded for `small_product`.
template <class T>
struct head_matrix {
  using R = real_t<compute_t<T>>;
  static constexpr int planes = plane_count<T>;
  R* ptr[planes] = {};
  index stride = 0;

  head_matrix() = default;
  head_matrix(arena& a, index rows, index cols) : stride(round_up(cols, simd::lanes<R>)) {
    for (int i = 0; i < planes; ++i) ptr[i] = a.take_raw<R>(rows * stride);
  }
};

/// The scratch of one head, used by forward (the first five) and backward (all).
template <class T>
struct head_scratch {
  head_matrix<T> k, qt, v, p, o, q, grad_ot, grad_o, grad_p, grad_q, grad_k, grad_v;
  head_scratch(arena& a, const attention_shape& s, bool backward)
      : k(a, s.tokens, s.head_dim()),
        qt(a, s.head_dim(), s.tokens),
        v(a, s.tokens, s.head_dim()),
        p(a, s.tokens, s.tokens),
        o(a, s.tokens, s.head_dim()) {
    if (!backward) return;
    const index n = s.tokens, d = s.head_dim();
    q = {a, n, d}, grad_ot = {a, d, n}, grad_o = {a, n, d}, grad_p = {a, n, n};
    grad_q = {a, n, d}, grad_k = {a, n, d}, grad_v = {a, n, d};
  }
};

/// m = alpha * x, `[rows, cols]` from the tensor's storage; padding becomes zero.
template <class T>
void load_head(view<const T> x, index r0, index c0, index rows, index cols, double alpha, const head_matrix<T>& m) {
  using R = typename head_matrix<T>::R;
  const R factor = static_cast<R>(alpha);
  for (int plane = 0; plane < m.planes; ++plane)
    for (index r = 0; r < rows; ++r) {
      const auto* from = x.row(r0 + r, plane) + c0;
      R* to = m.ptr[plane] + r * m.stride;
      simd::each(cols, [=](index c) { to[c] = static_cast<R>(from[c]) * factor; });
      for (index c = cols; c < m.stride; ++c) to[c] = 0;
    }
}
/// The transpose: m is [cols, rows].
template <class T>
void load_head_transposed(view<const T> x, index r0, index c0, index rows, index cols, const head_matrix<T>& m) {
  using R = typename head_matrix<T>::R;
  for (int plane = 0; plane < m.planes; ++plane)
    for (index c = 0; c < cols; ++c) {
      const auto* from = x.row(r0, plane) + c0 + c;
      R* to = m.ptr[plane] + c * m.stride;
      for (index r = 0; r < rows; ++r) to[r] = static_cast<R>(from[r * x.stride]);
      for (index r = rows; r < m.stride; ++r) to[r] = 0;
    }
}
/// x = alpha * m.
template <class T>
void store_head(const head_matrix<T>& m, double alpha, view<T> x, index r0, index c0, index rows, index cols) {
  using R = typename head_matrix<T>::R;
  const R factor = static_cast<R>(alpha);
  for (int plane = 0; plane < m.planes; ++plane)
    for (index r = 0; r < rows; ++r) {
      auto* to = x.row(r0 + r, plane) + c0;
      const R* from = m.ptr[plane] + r * m.stride;
      simd::each(cols, [=](index c) { to[c] = static_cast<storage_t<T>>(from[c] * factor); });
    }
}

/// C[m, n] = A[m, k] B[k, n] on planes; `a_transposed` reads A as [k, m].
template <class T>
void head_product(index m, index n, index k, const head_matrix<T>& a, bool a_transposed, const head_matrix<T>& b,
                  const head_matrix<T>& c) {
  const index row = a_transposed ? 1 : a.stride, col = a_transposed ? a.stride : 1;
  simd::small_product(m, n, k, a.ptr[0], row, col, b.ptr[0], b.stride, c.ptr[0], c.stride);
  if constexpr (is_dual<T>) {
    simd::small_product(m, n, k, a.ptr[1], row, col, b.ptr[0], b.stride, c.ptr[1], c.stride);
    simd::small_product(m, n, k, a.ptr[0], row, col, b.ptr[1], b.stride, c.ptr[1], c.stride, true);
  }
}

/// Where the probabilities of one head are computed: in the kept memory itself when its numbers are the compute type.
template <class T>
head_matrix<T> probabilities_at(const head_matrix<T>& scratch, view<T> kept, index row) {
  head_matrix<T> p = scratch;
  if constexpr (!std::is_same_v<T, bf16>)
    if (kept.ptr[0])
      for (int i = 0; i < p.planes; ++i) p.ptr[i] = kept.row(row, i);
  return p;
}

/// Softmax over the keys of scores stored [keys, queries], in place.
template <class T>
void head_softmax(const head_matrix<T>& s, index tokens) {
  simd::softmax_columns(tokens, tokens, s.stride, s.ptr[0], is_dual<T> ? s.ptr[s.planes - 1] : nullptr);
}
/// grad_p becomes the gradient of the scores.
template <class T>
void head_softmax_grad(const head_matrix<T>& p, const head_matrix<T>& g, index tokens) {
  constexpr int last = head_matrix<T>::planes - 1;
  simd::softmax_columns_grad(tokens, tokens, p.stride, p.ptr[0], is_dual<T> ? p.ptr[last] : nullptr, g.ptr[0],
                             is_dual<T> ? g.ptr[last] : nullptr);
}

}  // namespace detail

/// Declares the worker scratch that `attention_forward` and `attention_backward` take and, with `keep`, takes memory
/// for the probabilities from `saved`: [images * heads * keys, queries with padding].
template <class T, class Maths>
view<T> attention_bind(binder<cpu_with<Maths>>& b, const attention_shape& s, index images, bool keep) {
  arena dry;
  const detail::head_scratch<T> all(dry, s, true);
  b.need_worker(dry.peak());
  return keep ? b.saved.template take<T>(images * s.heads * s.tokens, all.p.stride) : view<T>{};
}

/// o [rows, D] = softmax(q k^T / sqrt(d)) v per head, from qkv [rows, 3D] = q | k | v; rows = images * tokens.
/// `kept` comes from attention_bind; probabilities are not kept when its pointer is null.
template <class T, class Maths>
POLYMOE_NOINLINE void attention_forward(context<cpu_with<Maths>>& c, const attention_shape& s, view<const T> qkv,
                                        view<T> o, view<T> kept) {
  const index n = s.tokens, d = s.head_dim(), heads = s.heads;
  parallel_rows(c.stream, qkv.rows / n * heads, 4, [&](index first, index count, worker& w) {
    arena a(w.scratch, w.bytes);
    const detail::head_scratch<T> m(a, s, false);
    for (index item = first; item < first + count; ++item) {
      const index r0 = item / heads * n, c0 = item % heads * d;
      detail::load_head<T>(qkv, r0, s.dim + c0, n, d, s.scale(), m.k);
      detail::load_head_transposed<T>(qkv, r0, c0, n, d, m.qt);
      detail::load_head<T>(qkv, r0, 2 * s.dim + c0, n, d, 1, m.v);
      const auto p = detail::probabilities_at<T>(m.p, kept, item * n);
      detail::head_product<T>(n, n, d, m.k, false, m.qt, p);
      detail::head_softmax<T>(p, n);
      detail::head_product<T>(n, d, n, p, true, m.v, m.o);
      detail::store_head<T>(m.o, 1, o, r0, c0, n, d);
      if (kept.ptr[0] && p.ptr[0] == m.p.ptr[0])
        detail::store_head<T>(p, 1, kept.reshaped(kept.rows / n, n * p.stride), item, 0, 1, n * p.stride);
    }
  });
}

/// d_qkv [rows, 3D] from d_o [rows, D]; probabilities are recomputed when `kept` has a null pointer.  The forward's
/// output is for other backends: from the probabilities its part of the gradient is no extra product.
template <class T, class Maths>
POLYMOE_NOINLINE void attention_backward(context<cpu_with<Maths>>& c, const attention_shape& s, view<const T> qkv,
                                         view<const T> /*o*/, view<T> kept, view<const T> d_o, view<T> d_qkv) {
  const index n = s.tokens, d = s.head_dim(), heads = s.heads;
  parallel_rows(c.stream, qkv.rows / n * heads, 4, [&](index first, index count, worker& w) {
    arena a(w.scratch, w.bytes);
    const detail::head_scratch<T> m(a, s, true);
    for (index item = first; item < first + count; ++item) {
      const index r0 = item / heads * n, c0 = item % heads * d;
      detail::load_head<T>(qkv, r0, c0, n, d, 1, m.q);
      detail::load_head<T>(qkv, r0, s.dim + c0, n, d, s.scale(), m.k);
      detail::load_head<T>(qkv, r0, 2 * s.dim + c0, n, d, 1, m.v);
      detail::load_head<T>(d_o, r0, c0, n, d, 1, m.grad_o);
      detail::load_head_transposed<T>(d_o, r0, c0, n, d, m.grad_ot);
      const auto p = detail::probabilities_at<T>(m.p, kept, item * n);
      if (!kept.ptr[0]) {
        detail::load_head_transposed<T>(qkv, r0, c0, n, d, m.qt);
        detail::head_product<T>(n, n, d, m.k, false, m.qt, p);
        detail::head_softmax<T>(p, n);
      } else if (p.ptr[0] == m.p.ptr[0]) {
        const view<const T> all = kept.reshaped(kept.rows / n, n * p.stride);
        detail::load_head<T>(all, item, 0, 1, n * p.stride, 1, p);  // padding included
      }
      detail::head_product<T>(n, d, n, p, false, m.grad_o, m.grad_v);
      detail::head_product<T>(n, n, d, m.v, false, m.grad_ot, m.grad_p);
      detail::head_softmax_grad<T>(p, m.grad_p, n);
      detail::head_product<T>(n, d, n, m.grad_p, true, m.k, m.grad_q);
      detail::head_product<T>(n, d, n, m.grad_p, false, m.q, m.grad_k);
      detail::store_head<T>(m.grad_q, 1, d_qkv, r0, c0, n, d);
      detail::store_head<T>(m.grad_k, s.scale(), d_qkv, r0, s.dim + c0, n, d);
      detail::store_head<T>(m.grad_v, 1, d_qkv, r0, 2 * s.dim + c0, n, d);
    }
  });
}

}  // namespace backend
}  // namespace polymoe
