// Convolution layers on the CPU: blocks of images over packed weights, and the gradients of weight and bias.
//
// `conv<T, Backend>` is the prepared form of one weight, like `dense` for a linear map.  Images are cut into blocks
// whose size depends on the shape only, weight gradients into ranges of images that are added in order.
#pragma once

#include "expert_rows.hpp"
#include "maths_conv.hpp"
#include "planar.hpp"
#include "simd.hpp"

namespace polymoe::inline v0 {

namespace detail {
/// y += x, without gaps between rows or with.
template <class T>
void add_rows(view<const T> x, view<T> y) {
  for (index r = 0; r < y.rows; ++r)
    polymoe::backend::map_row(
        r, y, [](compute_t<T> a, compute_t<T> b) { return a + b; }, x, y);
}
}  // namespace detail

/// A convolution on tensors of any scalar: plain numbers in one call, dual numbers plane by plane.
template <class T, class Maths>
class planar_convolution {
 public:
  using R = real_t<T>;
  using M = master_t<T>;
  static constexpr int planes = plane_count<T>;

  planar_convolution() = default;
  explicit planar_convolution(const maths::convolution_shape& s) : s_(s), one_(s) {}

  const maths::convolution_shape& shape() const { return s_; }
  /// Bytes of one packed weight.
  std::size_t packed_bytes() const { return plane_bytes() * planes; }
  std::size_t worker_bytes() const { return static_cast<std::size_t>(second_bytes()) + one_.worker_bytes(); }
  index gradient_size() const { return one_.gradient_size(); }

  /// `w` is [out, fan_in]; parts 0 and 1 are independent.
  void pack(view<const M> w, std::byte* packed, worker& wk, int part) const {
    worker library = rest(wk);
    for (int i = 0; i < planes; ++i)
      one_.pack(w.ptr[i], packed + static_cast<std::size_t>(i) * plane_bytes(), library, part);
  }
  /// At most most_images() images, as rows of pixels without gaps.
  void forward(worker& wk, view<const T> x, const std::byte* packed, view<const M> bias, view<T> y) const {
    worker library = rest(wk);
    const index images = x.rows / s_.in_pixels();
    for (int i = 0; i < planes; ++i) one_.forward(library, x.ptr[i], images, packed, bias.ptr[i], y.ptr[i]);
    if constexpr (planes == 2) {
      R* second = reinterpret_cast<R*>(wk.scratch);
      one_.forward(library, x.ptr[0], images, packed + plane_bytes(), nullptr, second);
      add(second, y);
    }
  }
  void backward(worker& wk, view<const T> dy, const std::byte* packed, view<T> dx) const {
    worker library = rest(wk);
    const index images = dx.rows / s_.in_pixels();
    for (int i = 0; i < planes; ++i) one_.backward(library, dy.ptr[i], images, packed, dx.ptr[i]);
    if constexpr (planes == 2) {
      R* second = reinterpret_cast<R*>(wk.scratch);
      one_.backward(library, dy.ptr[0], images, packed + plane_bytes(), second);
      add(second, dx);
    }
  }
  /// g [1, gradient_size] +=, or = when first.
  void weight_gradient(worker& wk, view<const T> dy, view<const T> x, view<M> g, bool first) const {
    worker library = rest(wk);
    const index images = x.rows / s_.in_pixels();
    for (int i = 0; i < planes; ++i) one_.weight_gradient(library, dy.ptr[i], x.ptr[0], images, g.ptr[i], first);
    if constexpr (planes == 2) one_.weight_gradient(library, dy.ptr[0], x.ptr[1], images, g.ptr[1], false);
  }
  /// dw [out, fan_in] += g.
  void add_gradient(worker& wk, view<const M> g, view<M> dw) const {
    worker library = rest(wk);
    for (int i = 0; i < planes; ++i) one_.add_gradient(library, g.ptr[i], dw.ptr[i]);
  }

 private:
  std::size_t plane_bytes() const {
    return static_cast<std::size_t>(round_up(static_cast<index>(one_.packed_bytes()), arena::alignment));
  }
  /// Room for the second product of a tangent.
  index second_bytes() const {
    if (planes == 1) return 0;
    const index most = s_.most_images() * std::max(s_.in_pixels() * s_.in, s_.out_pixels() * s_.out);
    return round_up(most * static_cast<index>(sizeof(R)), arena::alignment);
  }
  worker rest(const worker& w) const {
    const auto used = static_cast<std::size_t>(second_bytes());
    return {w.id, w.scratch ? w.scratch + used : nullptr, w.bytes - used};
  }
  static void add(const R* second, view<T> y) {
    auto* to = y.ptr[planes - 1];
    simd::each(y.size(), [=](index k) { to[k] += second[k]; });
  }

  maths::convolution_shape s_;
  maths::convolution<R, Maths> one_;
};

namespace backend {

/// What `conv` prepares for one backend; a backend with convolutions adds a specialisation.
template <class T, class Backend>
class conv;

template <class T, class Maths>
class conv<T, cpu_with<Maths>> {
 public:
  using M = master_t<T>;
  using C = cpu_with<Maths>;

  conv() = default;
  explicit conv(const maths::convolution_shape& s) : s_(s), one_(s) {}

  std::size_t derived_bytes() const { return one_.packed_bytes(); }

  /// Declares worker memory and measures the scratch of `weight_gradient`.
  void bind(binder<C>& b, index max_images) const {
    b.need_worker(one_.worker_bytes());
    arena_scope all(b.scratch);
    take_partials(b.scratch, max_images);
  }
  /// Packs W [out, fan_in] for both directions.  The bias is for backends that round it.
  POLYMOE_NOINLINE void pack(context<C>& c, view<const M> w, view<const M> /*bias*/, std::byte* derived) const {
    parallel_for(c.stream, 2, [&](index part, worker& wk) { one_.pack(w, derived, wk, static_cast<int>(part)); });
  }
  /// y = conv(x, W) + bias (+ skip).
  POLYMOE_NOINLINE void forward(context<C>& c, view<const T> x, const std::byte* derived, view<const M> bias, view<T> y,
                                view<const T> skip = {}) const {
    parallel_rows(c.stream, x.rows / s_.in_pixels(), s_.most_images(), [&](index i, index n, worker& wk) {
      const view<T> block = y.rows_at(i * s_.out_pixels(), n * s_.out_pixels());
      one_.forward(wk, x.rows_at(i * s_.in_pixels(), n * s_.in_pixels()), derived, bias, block);
      if (skip.ptr[0]) polymoe::detail::add_rows<T>(skip.rows_at(i * s_.out_pixels(), block.rows), block);
    });
  }
  /// dx = the gradient of the input (+ skip).
  POLYMOE_NOINLINE void backward(context<C>& c, view<const T> dy, const std::byte* derived, view<T> dx,
                                 view<const T> skip = {}) const {
    parallel_rows(c.stream, dx.rows / s_.in_pixels(), s_.most_images(), [&](index i, index n, worker& wk) {
      const view<T> block = dx.rows_at(i * s_.in_pixels(), n * s_.in_pixels());
      one_.backward(wk, dy.rows_at(i * s_.out_pixels(), n * s_.out_pixels()), derived, block);
      if (skip.ptr[0]) polymoe::detail::add_rows<T>(skip.rows_at(i * s_.in_pixels(), block.rows), block);
    });
  }
  /// dw [out, fan_in] +=, db += column sums of dy (db may be empty).
  POLYMOE_NOINLINE void weight_gradient(context<C>& c, view<const T> dy, view<const T> x, view<M> dw,
                                        view<M> db) const {
    const index images = x.rows / s_.in_pixels();
    if (images == 0) return;
    arena_scope all(c.scratch);
    const partials part = take_partials(c.scratch, images);
    const index per_piece = ceil_div(images, part.pieces), pieces = ceil_div(images, per_piece);
    parallel_for(c.stream, pieces, [&](index piece, worker& wk) {
      const index end = std::min((piece + 1) * per_piece, images), step = s_.most_images();
      const view<M> g = part.weight.rows_at(piece, 1), sums = part.bias.rows_at(piece, 1);
      for (int i = 0; i < view<M>::planes; ++i) std::fill_n(sums.ptr[i], sums.cols, real_t<M>(0));
      for (index at = piece * per_piece; at < end; at += step) {
        const index n = std::min(step, end - at);
        const view<const T> d = dy.rows_at(at * s_.out_pixels(), n * s_.out_pixels());
        one_.weight_gradient(wk, d, x.rows_at(at * s_.in_pixels(), n * s_.in_pixels()), g, at == piece * per_piece);
        if (db.ptr[0]) polymoe::detail::add_column_sums(d, sums);
      }
    });
    const index size = one_.gradient_size();
    if (pieces > 1)
      parallel_rows(c.stream, size, 16384, [&](index k0, index n, worker&) {
        for (int i = 0; i < view<M>::planes; ++i)
          for (index p = 1; p < pieces; ++p) {
            const auto* from = part.weight.row(p, i) + k0;
            auto* to = part.weight.row(0, i) + k0;
            simd::each(n, [=](index k) { to[k] += from[k]; });
          }
      });
    worker first = c.stream.at(0);
    one_.add_gradient(first, part.weight.rows_at(0, 1), dw);
    if (db.ptr[0])
      for (int i = 0; i < view<M>::planes; ++i)
        for (index p = 0; p < pieces; ++p) {
          const auto* from = part.bias.row(p, i);
          auto* to = db.row(0, i);
          simd::each(s_.out, [=](index k) { to[k] += from[k]; });
        }
  }

 private:
  struct partials {
    index pieces = 1;
    view<M> weight;  ///< [pieces, gradient_size]
    view<M> bias;    ///< [pieces, out]
  };
  partials take_partials(arena& a, index images) const {
    partials p;
    p.pieces = std::clamp<index>(std::min(images, images * s_.out_pixels() / 512), 1, 8);
    p.weight = a.take<M>(p.pieces, one_.gradient_size());
    p.bias = a.take<M>(p.pieces, s_.out);
    return p;
  }

  maths::convolution_shape s_;
  planar_convolution<T, Maths> one_;
};

}  // namespace backend
}  // namespace polymoe
