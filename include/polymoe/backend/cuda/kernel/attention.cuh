// Multi-head attention within each image, without scores in global memory.
//
// A block owns a tile of rows (queries, or keys for their gradients) of one head of one image and walks over tiles of
// the other side, which it brings to shared memory: 16 rows a warp, 32 rows of the other side at a time.  The softmax
// runs along (Milakov & Gimelshein, arXiv 1805.02867), so any number of tokens fits; the backward computes the
// probabilities again from the largest score and the sum of a row, much as FlashAttention does (Dao et al., arXiv
// 2205.14135).  Every output element has one owner and one order of summation.
#pragma once

#include "attention_tiles.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// o = softmax(scale q k^T) v; with `kept.base`, the rows' numbers.  Out: columns of a slice.
template <class T, int Out>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * attention_warps<T>, attention_blocks<T>)
    attention_forward_kernel(attention_args<T> a, view<T> o, attention_kept<T> kept) {
  using C = compute_t<T>;
  const attention_place<T> at(a);
  const int ld = a.ld(), d = a.head_dim, c0 = at.slice * Out, cols = d - c0 < Out ? d - c0 : Out;
  const int first = at.first + device::warp() * 16, g = device::lane() / 4;
  T* q = device::shared<T>();
  T *k = q + attention_rows<T> * ld, *v = k + attention_step * ld, *own = q + device::warp() * 16 * ld;
  const T* in = a.qkv.row(at.row0) + index{at.head} * d;
  fetch_tile(in, a.qkv.stride, at.first, attention_rows<T>, a.tokens, d, a.width, ld, a.wide, q);
  running_softmax<C> softmax;
  C sum[Out / 8][4] = {};
  for (int key = 0; key < a.tokens; key += attention_step) {
    device::sync_block();
    fetch_tile(in + a.dim(), a.qkv.stride, key, attention_step, a.tokens, d, a.width, ld, a.wide, k);
    fetch_tile(in + 2 * a.dim() + c0, a.qkv.stride, key, attention_step, a.tokens, cols, Out, ld, a.wide, v);
    tiles_arrived();
    if (first >= a.tokens) continue;
    C s[attention_columns][4] = {}, shrink[2];
    multiply_rows<T>(s, own, k, a.depth(), ld);
    softmax.take(s, a.scale, key, a.tokens, shrink);
    POLYMOE_UNROLL
    for (int m = 0; m < Out / 8; ++m) {
      sum[m][0] *= shrink[0], sum[m][1] *= shrink[0];
      sum[m][2] *= shrink[1], sum[m][3] *= shrink[1];
    }
    multiply_columns<T>(sum, s, v, ld);
  }
  if (first >= a.tokens) return;
  softmax.finish();
  stage_rows<T>(sum, softmax.inverse(0), softmax.inverse(1), own, ld);
  write_rows(own, ld, o.row(at.row0) + index{at.head} * d + c0, o.stride, first, a.tokens, cols, a.wide);
  if (!kept.base || at.slice > 0 || device::lane() % 4 != 0) return;
  for (int h = 0; h < 2; ++h)
    if (const int row = first + g + 8 * h; row < a.tokens) {
      kept.top(at.item)[row] = softmax.top[h];
      kept.inverse(at.item)[row] = softmax.inverse(h);
    }
}

/// delta of every row, <d_o, o>; a warp a row.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    attention_delta_kernel(attention_args<T> a, view<const T> o, view<const T> d_o, attention_kept<T> kept) {
  using C = compute_t<T>;
  for (index u = warp_rank(); u < a.items * a.tokens; u += warp_total()) {
    const index item = u / a.tokens, row = u - item * a.tokens;
    const index at = item / a.heads * a.tokens + row, first = item % a.heads * a.head_dim;
    const T *g = d_o.row(at) + first, *out = o.row(at) + first;
    C dot(0);
    for (int j = device::lane(); j < a.head_dim; j += 32) dot += static_cast<C>(g[j]) * static_cast<C>(out[j]);
    dot = warp_group{}.sum(dot);
    if (device::lane() == 0) kept.delta(item)[row] = dot;
  }
}

/// Gradient of the queries: scale sum over keys of p (dp - delta) k with dp = <d_o, v>.
template <class T, int Out>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * attention_warps<T>, attention_blocks<T>)
    attention_query_kernel(attention_args<T> a, view<const T> d_o, attention_kept<T> kept, view<T> d_qkv) {
  using C = compute_t<T>;
  const attention_place<T> at(a);
  const int ld = a.ld(), d = a.head_dim, c0 = at.slice * Out, cols = d - c0 < Out ? d - c0 : Out;
  const int first = at.first + device::warp() * 16, g = device::lane() / 4;
  T* q = device::shared<T>();
  T *up = q + attention_rows<T> * ld, *k = up + attention_rows<T> * ld, *v = k + attention_step * ld;
  T* own = q + device::warp() * 16 * ld;
  const T* in = a.qkv.row(at.row0) + index{at.head} * d;
  fetch_tile(in, a.qkv.stride, at.first, attention_rows<T>, a.tokens, d, a.width, ld, a.wide, q);
  fetch_tile(d_o.row(at.row0) + index{at.head} * d, d_o.stride, at.first, attention_rows<T>, a.tokens, d, a.width, ld,
             a.wide, up);
  C top[2] = {}, inverse[2] = {}, delta[2] = {}, sum[Out / 8][4] = {};
  POLYMOE_UNROLL
  for (int h = 0; h < 2; ++h)
    if (const int row = first + g + 8 * h; row < a.tokens) {
      top[h] = kept.top(at.item)[row], inverse[h] = kept.inverse(at.item)[row];
      delta[h] = kept.delta(at.item)[row];
    }
  for (int key = 0; key < a.tokens; key += attention_step) {
    device::sync_block();
    fetch_tile(in + a.dim(), a.qkv.stride, key, attention_step, a.tokens, d, a.width, ld, a.wide, k);
    fetch_tile(in + 2 * a.dim(), a.qkv.stride, key, attention_step, a.tokens, d, a.width, ld, a.wide, v);
    tiles_arrived();
    if (first >= a.tokens) continue;
    C s[attention_columns][4] = {}, dp[attention_columns][4] = {};
    multiply_rows<T>(s, own, k, a.depth(), ld);
    multiply_rows<T>(dp, up + device::warp() * 16 * ld, v, a.depth(), ld);
    const int column = key + device::lane() % 4 * 2;
    POLYMOE_UNROLL
    for (int j = 0; j < attention_columns; ++j) POLYMOE_UNROLL
    for (int i = 0; i < 4; ++i) {
      const C p = math::exp((s[j][i] - top[i / 2]) * a.scale) * inverse[i / 2];
      s[j][i] = column + 8 * j + i % 2 < a.tokens ? p * (dp[j][i] - delta[i / 2]) : C(0);
    }
    multiply_columns<T>(sum, s, k + c0, ld);
  }
  if (first >= a.tokens) return;
  stage_rows<T>(sum, a.scale, a.scale, own, ld);
  write_rows(own, ld, d_qkv.row(at.row0) + index{at.head} * d + c0, d_qkv.stride, first, a.tokens, cols, a.wide);
}

/// Gradients of keys and values: the block's rows are keys, the sums run over the queries in order.
template <class T, int Out>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * attention_warps<T>, 2)
    attention_key_kernel(attention_args<T> a, view<const T> d_o, attention_kept<T> kept, view<T> d_qkv) {
  using C = compute_t<T>;
  const attention_place<T> at(a);
  const int ld = a.ld(), d = a.head_dim, c0 = at.slice * Out, cols = d - c0 < Out ? d - c0 : Out;
  const int first = at.first + device::warp() * 16;
  T* k = device::shared<T>();
  T *v = k + attention_rows<T> * ld, *q = v + attention_rows<T> * ld, *up = q + attention_step * ld;
  T *own_k = k + device::warp() * 16 * ld, *own_v = v + device::warp() * 16 * ld;
  const T* in = a.qkv.row(at.row0) + index{at.head} * d;
  const T* gradient = d_o.row(at.row0) + index{at.head} * d;
  const C *top = kept.top(at.item), *inverse = kept.inverse(at.item), *delta = kept.delta(at.item);
  fetch_tile(in + a.dim(), a.qkv.stride, at.first, attention_rows<T>, a.tokens, d, a.width, ld, a.wide, k);
  fetch_tile(in + 2 * a.dim(), a.qkv.stride, at.first, attention_rows<T>, a.tokens, d, a.width, ld, a.wide, v);
  C sum_k[Out / 8][4] = {}, sum_v[Out / 8][4] = {};
  for (int query = 0; query < a.tokens; query += attention_step) {
    device::sync_block();
    fetch_tile(in, a.qkv.stride, query, attention_step, a.tokens, d, a.width, ld, a.wide, q);
    fetch_tile(gradient, d_o.stride, query, attention_step, a.tokens, d, a.width, ld, a.wide, up);
    tiles_arrived();
    if (first >= a.tokens) continue;
    C p[attention_columns][4] = {}, ds[attention_columns][4] = {};
    multiply_rows<T>(p, own_k, q, a.depth(), ld);
    multiply_rows<T>(ds, own_v, up, a.depth(), ld);
    const int column = query + device::lane() % 4 * 2;
    POLYMOE_UNROLL
    for (int j = 0; j < attention_columns; ++j) POLYMOE_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int row = column + 8 * j + h;
      const bool inside = row < a.tokens;
      const C most = inside ? top[row] : C(0), part = inside ? inverse[row] : C(0), mean = inside ? delta[row] : C(0);
      POLYMOE_UNROLL
      for (int i = h; i < 4; i += 2) {
        p[j][i] = inside ? math::exp((p[j][i] - most) * a.scale) * part : C(0);
        ds[j][i] = p[j][i] * (ds[j][i] - mean);
      }
    }
    multiply_columns<T>(sum_v, p, up + c0, ld);
    multiply_columns<T>(sum_k, ds, q + c0, ld);
  }
  if (first >= a.tokens) return;
  stage_rows<T>(sum_k, a.scale, a.scale, own_k, ld);
  stage_rows<T>(sum_v, C(1), C(1), own_v, ld);
  T* out = d_qkv.row(at.row0) + index{at.head} * d + c0;
  write_rows(own_k, ld, out + a.dim(), d_qkv.stride, first, a.tokens, cols, a.wide);
  write_rows(own_v, ld, out + 2 * a.dim(), d_qkv.stride, first, a.tokens, cols, a.wide);
}

}  // namespace backend::kernel
}  // namespace polymoe
