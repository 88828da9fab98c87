// Convolutions on CUDA: windows of pixels become rows of a dense product by cuBLASLt ("im2col"); depthwise convolutions
// have kernels of their own.
//
// `conv<T, cuda_device>` has the members of the CPU's.  The data gradient is a product as well, of the windows of the
// gradient with the weight turned round, so nothing is scattered.  Images are taken in chunks whose windows fit
// `window_bytes`; the size of a chunk depends on shapes only, and weight gradients add up chunk after chunk.
#pragma once

#include "../../cpu/conv.hpp"
#include "../kernel/maps.cuh"
#include "linear.cuh"

namespace polymoe::inline v0 {
namespace backend {

template <class T>
class conv<T, cuda_device> {
 public:
  using M = master_t<T>;
  using C = cuda_device;

  conv() = default;
  /// `window_bytes`: scratch for the windows of one chunk; a chunk has an image at least.
  explicit conv(const maths::convolution_shape& s, index window_bytes = index{64} << 20)
      : s_(s), window_bytes_(window_bytes) {
    if (s.depthwise) return;
    up_ = dense<T, C>(window_cols(s.in), s.out), down_ = dense<T, C>(window_cols(s.out), s.in);
  }

  std::size_t derived_bytes() const { return parts().bytes; }

  /// Prepares the products and measures the scratch of a call.
  void bind(binder<C>& b, index max_images) const {
    arena_scope all(b.scratch);
    take(b.scratch, max_images);
    if (s_.depthwise) return;
    const index images = chunk(max_images);
    up_.bind(b, images * s_.out_pixels()), down_.bind(b, images * s_.in_pixels());
  }
  /// Turns W [out, fan_in] into rows for both directions, and rounds it and the bias (empty: none) for bf16.
  void pack(context<C>& c, view<const M> w, view<const M> bias, std::byte* derived) const {
    const layout at = parts();
    if (s_.depthwise) return turn(c, by_tap(), w, view<M>(at.turned(derived), s_.taps(), s_.out));
    const view<M> up(at.turned(derived), s_.out, window_cols(s_.in));
    const view<M> down(at.turned_back(derived), s_.in, window_cols(s_.out));
    turn(c, by_output(), w, up), turn(c, by_input(), w, down);
    up_.pack(c, up, bias, derived + at.up), down_.pack(c, down, {}, derived + at.down);
  }
  /// y = conv(x, W) + bias (+ skip).
  void forward(context<C>& c, view<const T> x, const std::byte* derived, view<const M> bias, view<T> y,
               view<const T> skip = {}) const {
    if (s_.depthwise) return sums(c, "depthwise", false, x, derived, bias, skip, y);
    products(c, "windows", false, up_, derived + parts().up, x, bias, skip, y);
  }
  /// dx = the gradient of the input (+ skip).
  void backward(context<C>& c, view<const T> dy, const std::byte* derived, view<T> dx,
                view<const T> skip = {}) const {
    if (s_.depthwise) return sums(c, "depthwise backward", true, dy, derived, {}, skip, dx);
    products(c, "windows of gradients", true, down_, derived + parts().down, dy, {}, skip, dx);
  }
  /// dw [out, fan_in] +=, db += column sums of dy (db may be empty).
  void weight_gradient(context<C>& c, view<const T> dy, view<const T> x, view<M> dw, view<M> db) const {
    const index images = x.rows / s_.in_pixels();
    if (images == 0) return;
    arena_scope all(c.scratch);
    const scratch m = take(c.scratch, images);
    if (s_.depthwise) {
      const detail::row_pieces p = detail::row_pieces_of(dy.rows);
      detail::with_access<T>(
          [&]<class V>(V) {
            device::launch({.kernel = "depthwise weight gradient",
                            .grid = {static_cast<int>(ceil_div(s_.out, 32 * V::value)), static_cast<int>(p.count),
                                     static_cast<int>(s_.taps())},
                            .block = 32 * kernel::row_sum_warps,
                            .shared = kernel::row_sum_bytes<T, V::value>(),
                            .stream = c.stream.handle},
                           kernel::window_gradient_kernel<T, V::value>, kernel::window_map(s_, false),
                           kernel::map_owners{}, dy, x, p.each, m.gradient.rows_at(0, p.count));
          },
          dy, x);
      // A piece is [taps, channels], as the weight in rows of taps.
      add_turned(c, by_tap(), m.gradient.reshaped(m.gradient.rows * s_.taps(), s_.out), p.count, dw);
      if (db.ptr[0]) detail::add_column_sums<T>(c.stream, dy, dy.rows, m.bias, db);
      return;
    }
    device::clear(m.gradient.ptr[0], static_cast<std::size_t>(m.gradient.size()) * sizeof(M), c.stream.handle);
    each_chunk(images, [&](index first, index n) {
      const view<const T> in = windows(c, "windows", false, part(x, first, n, s_.in_pixels()), n, m);
      up_.weight_gradient(c, part(dy, first, n, s_.out_pixels()), in, m.gradient, db);
    });
    add_turned(c, by_output(), m.gradient, 1, dw);
  }

 private:
  /// Columns of windows over `channels` channels: whole 16 bytes, the rest zeros.
  index window_cols(index channels) const {
    return round_up(s_.taps() * channels, static_cast<index>(16 / sizeof(T)));
  }
  /// A window is its pixel.
  bool is_linear() const { return s_.kernel == 1 && s_.stride == 1 && s_.padding == 0; }

  /// Where things lie in derived memory, in bytes.
  struct layout {
    std::size_t back = 0, up = 0, down = 0, bytes = 0;
    M* turned(std::byte* derived) const { return reinterpret_cast<M*>(derived); }
    M* turned_back(std::byte* derived) const { return reinterpret_cast<M*>(derived + back); }
  };
  layout parts() const {
    const auto whole = [](std::size_t n) { return (n + arena::alignment - 1) / arena::alignment * arena::alignment; };
    const auto bytes = [&](index numbers) { return whole(static_cast<std::size_t>(numbers) * sizeof(M)); };
    layout l;
    if (s_.depthwise) {
      l.bytes = bytes(s_.weights());
      return l;
    }
    l.back = bytes(s_.out * window_cols(s_.in));
    l.up = l.back + bytes(s_.in * window_cols(s_.out));
    l.down = l.up + whole(up_.derived_bytes());
    l.bytes = l.down + whole(down_.derived_bytes());
    return l;
  }
  /// The weight [out, in, taps] as rows of outputs, of inputs, and of taps (depthwise).
  kernel::weight_turn by_output() const { return {s_.out, s_.in, s_.taps(), s_.in * s_.taps(), s_.taps()}; }
  kernel::weight_turn by_input() const { return {s_.in, s_.out, s_.taps(), s_.taps(), s_.in * s_.taps()}; }
  kernel::weight_turn by_tap() const { return {s_.taps(), s_.out, 1, 1, s_.taps()}; }

  struct scratch {
    T* windows = nullptr;
    view<M> gradient;  ///< [out, window_cols]; depthwise: [pieces, taps * channels]
    view<M> bias;      ///< depthwise: [pieces, channels]
  };
  index chunk(index images) const {
    const index one = std::max(s_.out_pixels() * window_cols(s_.in), s_.in_pixels() * window_cols(s_.out));
    const index fit = window_bytes_ / (one * static_cast<index>(sizeof(T)));
    return std::max<index>(std::min(images, fit), 1);
  }
  scratch take(arena& a, index images) const {
    scratch m;
    if (s_.depthwise) {
      const index pieces = detail::most_row_pieces(images * s_.out_pixels());
      m.gradient = a.take<M>(pieces, s_.weights()), m.bias = a.take<M>(pieces, s_.out);
      return m;
    }
    const index n = chunk(images);
    m.windows = a.take_raw<T>(n * std::max(s_.out_pixels() * window_cols(s_.in), s_.in_pixels() * window_cols(s_.out)));
    m.gradient = a.take<M>(s_.out, window_cols(s_.in));
    return m;
  }
  template <class F>
  void each_chunk(index images, F f) const {
    const index n = chunk(images);
    for (index first = 0; first < images; first += n) f(first, std::min(n, images - first));
  }
  template <class V>
  static V part(V v, index first, index images, index pixels) {
    return v.ptr[0] ? v.rows_at(first * pixels, images * pixels) : v;
  }
  /// The windows over `n` images of x, or of gradients seen from the input.
  view<const T> windows(context<C>& c, const char* name, bool of_input, view<const T> x, index n,
                        const scratch& m) const {
    if (is_linear() && x.cols == window_cols(x.cols)) return x;
    const view<T> to(m.windows, n * (of_input ? s_.in_pixels() : s_.out_pixels()), window_cols(x.cols));
    detail::with_access<T>(
        [&]<class V>(V) {
          device::launch(detail::warp_rows(name, c.stream, to.rows), kernel::windows_kernel<T, V::value>,
                         kernel::window_map(s_, of_input), kernel::map_owners{}, x, to);
        },
        x, to);
    return to;
  }
  /// A convolution by products of windows, forward or of gradients.
  void products(context<C>& c, const char* name, bool of_input, const dense<T, C>& by, const std::byte* packed,
                view<const T> x, view<const M> bias, view<const T> skip, view<T> y) const {
    const index under = of_input ? s_.out_pixels() : s_.in_pixels(), made = of_input ? s_.in_pixels() : s_.out_pixels();
    arena_scope all(c.scratch);
    const index images = y.rows / made;
    const scratch m = take(c.scratch, images);
    each_chunk(images, [&](index first, index n) {
      const view<const T> in = windows(c, name, of_input, part(x, first, n, under), n, m);
      by.forward(c, in, packed, bias, part(y, first, n, made), part(skip, first, n, made));
    });
  }
  /// A depthwise convolution, forward or of gradients.
  void sums(context<C>& c, const char* name, bool of_input, view<const T> x, const std::byte* derived,
            view<const M> bias, view<const T> skip, view<T> y) const {
    const view<const M> weight(reinterpret_cast<const M*>(derived), s_.taps(), s_.out);
    detail::with_access<T>(
        [&]<class V>(V) {
          device::launch(detail::warp_rows(name, c.stream, y.rows), kernel::window_sums_kernel<T, V::value>,
                         kernel::window_map(s_, of_input), kernel::map_owners{}, x, weight, compute_t<T>(1), bias, skip,
                         y);
        },
        x, weight, bias, skip, y);
  }
  static void turn(context<C>& c, const kernel::weight_turn& t, view<const M> w, view<M> to) {
    device::launch(detail::thread_grid("turn weight", c.stream, to.size()), kernel::turn_weight_kernel<M, M>, t,
                   w.ptr[0], to);
  }
  /// dw += the pieces of g.
  static void add_turned(context<C>& c, const kernel::weight_turn& t, view<const M> g, index pieces, view<M> dw) {
    device::launch(detail::thread_grid("add weight gradient", c.stream, t.rows * t.taps * t.inner),
                   kernel::add_turned_kernel<M>, t, g, pieces, dw.ptr[0]);
  }

  maths::convolution_shape s_;
  index window_bytes_ = 0;
  dense<T, C> up_, down_;
};

}  // namespace backend
}  // namespace polymoe
