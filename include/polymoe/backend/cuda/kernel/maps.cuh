// Feature maps on CUDA: windows of pixels as rows of a product, depthwise convolutions, pooling.
//
// A map is [images * pixels, channels].  A warp owns one row and walks its channels 16 bytes a lane at a time; sums
// over a window go through its taps in order.  The gradient of a map gathers as well: it is a sum over the windows that
// a pixel lies in (window_map from the input's side), so every number is one sum, rounded once.
//
// Maps of experts (map_owners) have weights and biases of their own: row e of a bias, rows [e * taps, +taps) of a
// weight.
#pragma once

#include <limits>

#include "../../cpu/maths_conv.hpp"
#include "bias.cuh"
#include "map_owners.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// A convolution's windows seen from one side, as maths::detail::tap_map; made on the host.
struct window_map {
  int height, width;              ///< of the map whose rows are walked
  int other_height, other_width;  ///< of the map under the taps
  int kernel, stride, padding;
  bool of_input;

  window_map(const maths::convolution_shape& s, bool input)
      : kernel(static_cast<int>(s.kernel)),
        stride(static_cast<int>(s.stride)),
        padding(static_cast<int>(s.padding)),
        of_input(input) {
    const int in[2] = {static_cast<int>(s.height), static_cast<int>(s.width)};
    const int out[2] = {static_cast<int>(s.down()), static_cast<int>(s.across())};
    height = input ? in[0] : out[0], width = input ? in[1] : out[1];
    other_height = input ? out[0] : in[0], other_width = input ? out[1] : in[1];
  }
  /// The window of a row.
  struct window {
    int i, j;
    index first;  ///< row of the image's first pixel in the other map; -1: an image of zeros
  };
  POLYMOE_DEVICE index pixels() const { return index{height} * width; }
  POLYMOE_DEVICE window of(index row, const map_owners& own = {}) const {
    const index image = row / pixels(), source = own.source_of(image);
    const int p = static_cast<int>(row - image * pixels());
    return {p / width, p % width, source < 0 ? -1 : source * other_height * other_width};
  }
  /// The row of the other map under a tap, or -1.
  POLYMOE_DEVICE index under(const window& w, int tap) const {
    const int a = tap / kernel, b = tap % kernel;
    int h = of_input ? w.i + padding - a : w.i * stride - padding + a;
    int v = of_input ? w.j + padding - b : w.j * stride - padding + b;
    if (h < 0 || v < 0 || w.first < 0) return -1;
    if (of_input) {
      if (h % stride != 0 || v % stride != 0) return -1;
      h /= stride, v /= stride;
    }
    return h < other_height && v < other_width ? w.first + index{h} * other_width + v : -1;
  }
  POLYMOE_DEVICE int taps() const { return kernel * kernel; }
};

/// to [rows, >= taps * channels] = the window of each row of maps that are somebody's, tap after tap, then zeros.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8)
    windows_kernel(window_map m, map_owners own, view<const T> x, view<T> to) {
  const int channels = static_cast<int>(x.cols), used = m.taps() * channels, all = static_cast<int>(to.cols);
  for (index r = warp_rank(); r < to.rows; r += warp_total()) {
    if (own.nobodys(r / m.pixels())) return;
    const auto w = m.of(r, own);
    for (int j = device::lane() * V; j < all; j += 32 * V) {
      const index from = j < used ? m.under(w, j / channels) : -1;
      pack<T, V> a;
      if (from >= 0) {
        a = load_pack<T, V>(x.row(from) + j % channels);
      } else {
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) a.v[i] = static_cast<T>(0.0f);
      }
      store_pack<T, V>(to.row(r) + j, a);
    }
  }
}

/// y[r] = per * (sum over the taps of x under them, times weight [taps, channels] unless that is empty) + bias + skip;
/// the last two may be empty.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    window_sums_kernel(window_map m, map_owners own, view<const T> x, view<const master_t<T>> weight, compute_t<T> per,
                       view<const master_t<T>> bias, view<const T> skip, view<T> y) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < y.rows; r += warp_total()) {
    if (own.nobodys(r / m.pixels())) return;
    const auto w = m.of(r, own);
    const index e = own.expert_of(r / m.pixels());
    for (index j = device::lane() * index{V}; j < y.cols; j += index{32} * V) {
      C sum[V], b[V];
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum[i] = C(0), b[i] = C(1);
      for (int tap = 0; tap < m.taps(); ++tap) {
        const index from = m.under(w, tap);
        if (from < 0) continue;
        C a[V];
        load_numbers<V>(x.row(from) + j, a);
        if (weight.ptr[0]) load_numbers<V>(weight.row(e * m.taps() + tap) + j, b);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) sum[i] += a[i] * b[i];
      }
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum[i] *= per;
      if (bias.ptr[0]) {
        load_numbers<V>(bias.row(e) + j, b);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) sum[i] += b[i];
      }
      if (skip.ptr[0]) {
        load_numbers<V>(skip.row(r) + j, b);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) sum[i] += b[i];
      }
      store_numbers<V>(y.row(r) + j, sum);
    }
  }
}

/// partial [pieces, grid z * channels] = the sums over a piece's rows of dy and the x under a tap; where z is one more
/// than the taps, also the sums of dy, for the bias.  Grid: strips of 32 V channels x blocks that take pieces of `each`
/// rows in turn x z.  Pieces of experts are maps.  Shared memory: row_sum_bytes<T, V>().
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * row_sum_warps)
    window_gradient_kernel(window_map m, map_owners own, view<const T> dy, view<const T> x, index each,
                           view<compute_t<T>> partial) {
  using C = compute_t<T>;
  const int tap = device::block_index().z;
  const index j = (index{device::block_index().x} * 32 + device::lane()) * V;
  for (index piece = device::block_index().y; piece < partial.rows; piece += device::grid_size().y) {
    if (own.nobodys(piece)) return;
    const index last = (piece + 1) * each, end = last < dy.rows ? last : dy.rows;
    C sum[V];
    POLYMOE_UNROLL
    for (int i = 0; i < V; ++i) sum[i] = C(0);
    for (index r = piece * each + device::warp(); j < dy.cols && r < end; r += row_sum_warps) {
      C a[V], b[V];
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) b[i] = C(1);
      if (tap < m.taps()) {
        const index from = m.under(m.of(r, own), tap);
        if (from < 0) continue;
        load_numbers<V>(x.row(from) + j, b);
      }
      load_numbers<V>(dy.row(r) + j, a);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum[i] += a[i] * b[i];
    }
    if (sum_over_warps<V>(sum, j < dy.cols))
      for (int i = 0; i < V; ++i) partial.row(piece)[tap * dy.cols + j + i] = sum[i];
  }
}

/// How a weight [out, in, taps] lies in rows [rows, taps * inner]: element (a, t, b) at a * step_a + b * step_b + t; of
/// several weights `step_each` apart, each has `each` rows.
struct weight_turn {
  index rows, inner, taps, step_a, step_b;
  index each = std::numeric_limits<index>::max(), step_each = 0;

  POLYMOE_DEVICE index from(index a, index column) const {
    return a / each * step_each + a % each * step_a + column % inner * step_b + column / inner;
  }
};
/// to [rows, >= taps * inner] = the weight in rows, rounded, then zeros.
template <class T, class M>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(row_threads) turn_weight_kernel(weight_turn s, const M* w, view<T> to) {
  for (index i = thread_number(); i < to.rows * to.cols; i += thread_total()) {
    const index a = i / to.cols, column = i % to.cols;
    store(to.row(a)[column], column < s.taps * s.inner ? w[s.from(a, column)] : M(0));
  }
}
/// dw += the sum over the pieces of g [pieces * rows, >= taps * inner], in order.
template <class M>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(row_threads)
    add_turned_kernel(weight_turn s, view<const M> g, index pieces, M* dw) {
  const index used = s.taps * s.inner;
  for (index i = thread_number(); i < s.rows * used; i += thread_total()) {
    const index a = i / used, column = i % used;
    M sum = g.row(a)[column];
    for (index p = 1; p < pieces; ++p) sum += g.row(p * s.rows + a)[column];
    dw[s.from(a, column)] += sum;
  }
}

/// to of each expert += the sums of its maps [maps, rows of an expert * taps * inner], in order.
template <class M>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(row_threads)
    add_map_sums_kernel(grouped::segments maps, weight_turn s, view<const M> sums, M* to) {
  const index used = s.taps * s.inner, each = s.rows / maps.experts * used;
  for (index i = thread_number(); i < s.rows * used; i += thread_total()) {
    const index e = i / each, end = maps.end(e) / maps.unit_rows;
    index map = maps.begin(e) / maps.unit_rows;
    if (map == end) continue;
    M sum = sums.row(map)[i % each];
    while (++map < end) sum += sums.row(map)[i % each];
    to[s.from(i / used, i % used)] += sum;
  }
}

/// y = the largest under the window, ties to the first tap, NaN if there is one; `from` [rows, channels] gets the tap.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    max_pool2d_kernel(window_map m, view<const T> x, view<T> y, std::uint8_t* taken) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < y.rows; r += warp_total()) {
    const auto w = m.of(r);
    for (index j = device::lane() * index{V}; j < y.cols; j += index{32} * V) {
      C most[V];
      int which[V];
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) most[i] = C(0), which[i] = -1;
      for (int tap = 0; tap < m.taps(); ++tap) {
        const index from = m.under(w, tap);
        if (from < 0) continue;
        C a[V];
        load_numbers<V>(x.row(from) + j, a);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) {
          const bool take = which[i] < 0 || a[i] > most[i] || a[i] != a[i];
          most[i] = take ? a[i] : most[i], which[i] = take ? tap : which[i];
        }
      }
      store_numbers<V>(y.row(r) + j, most);
      for (int i = 0; i < V; ++i) taken[r * y.cols + j + i] = static_cast<std::uint8_t>(which[i]);
    }
  }
}
/// dx = the sum of dy over the windows that took the pixel; `m` is of the input's side.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    max_pool2d_backward_kernel(window_map m, view<const T> dy, const std::uint8_t* taken, view<T> dx) {
  using C = compute_t<T>;
  for (index r = warp_rank(); r < dx.rows; r += warp_total()) {
    const auto w = m.of(r);
    for (index j = device::lane() * index{V}; j < dx.cols; j += index{32} * V) {
      C sum[V];
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum[i] = C(0);
      for (int tap = 0; tap < m.taps(); ++tap) {
        const index at = m.under(w, tap);
        if (at < 0) continue;
        C a[V];
        load_numbers<V>(dy.row(at) + j, a);
        POLYMOE_UNROLL
        for (int i = 0; i < V; ++i) sum[i] += taken[at * dx.cols + j + i] == tap ? a[i] : C(0);
      }
      store_numbers<V>(dx.row(r) + j, sum);
    }
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
