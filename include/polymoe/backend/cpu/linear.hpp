// Fully connected layers on the CPU: tiles of rows over packed weights, and the gradients of weight and bias.
//
// `dense<T, Backend>` is the prepared form of one [out, in] weight: its products, made once, and where its packed
// copies lie.  Rows are cut into tiles and row ranges that depend on sizes only, and partial sums are added in order.
#pragma once

#include "../../core/float_products.hpp"
#include "activate.hpp"
#include "planar.hpp"
#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// What `dense` prepares for one backend; a backend adds a specialisation.
template <class T, class Backend>
class dense;

/// Rows a tile of a product has: 256, or less where that would give few tiles.
constexpr index tile_rows_for(index rows) { return rows >= 1024 ? 256 : (rows >= 128 ? 64 : 16); }

template <class T, class Maths>
class dense<T, cpu_with<Maths>> {
 public:
  using M = master_t<T>;
  using C = cpu_with<Maths>;

  dense() = default;
  /// y = x W^T with W [out, in].
  dense(index in, index out, float_products = float_products::exact)
      : in_(in), out_(out), forward_(in, out), backward_(out, in), gradient_(out, in) {}

  index in() const { return in_; }
  index out() const { return out_; }
  std::size_t derived_bytes() const { return forward_.packed_bytes() + backward_.packed_bytes(); }

  /// Declares worker memory and measures the scratch of `weight_gradient`.
  void bind(binder<C>& b, index max_rows) const {
    b.need_worker(std::max({forward_.worker_bytes(), backward_.worker_bytes(), gradient_.worker_bytes()}));
    arena_scope all(b.scratch);
    take_partials(b.scratch, max_rows);
  }
  /// Packs W for both directions.  The bias is read where it is.
  POLYMOE_NOINLINE void pack(context<C>& c, view<const M> w, view<const M> /*bias*/, std::byte* derived) const {
    parallel_for(c.stream, 2, [&](index i, worker& wk) {
      if (i == 0)
        forward_.pack(w, true, derived, wk);
      else
        backward_.pack(w, false, derived + forward_.packed_bytes(), wk);
    });
  }

  /// One tile: y = x W^T + bias, at most 256 rows.
  void forward_tile(worker& wk, view<const T> x, const std::byte* derived, view<const M> bias, view<T> y) const {
    forward_.run(wk, x, derived, bias, y);
  }
  /// One tile: dx = dy W.
  void backward_tile(worker& wk, view<const T> dy, const std::byte* derived, view<T> dx) const {
    backward_.run(wk, dy, derived + forward_.packed_bytes(), {}, dx);
  }

  /// y = x W^T + bias (+ skip).
  POLYMOE_NOINLINE void forward(context<C>& c, view<const T> x, const std::byte* derived, view<const M> bias, view<T> y,
                                view<const T> skip = {}) const {
    parallel_rows(c.stream, x.rows, tile_rows_for(x.rows), [&](index r0, index n, worker& wk) {
      const view<T> tile = y.rows_at(r0, n);
      forward_tile(wk, x.rows_at(r0, n), derived, bias, tile);
      if (skip.ptr[0]) add_rows<T>(skip.rows_at(r0, n), tile);
    });
  }
  /// dx = dy W.
  POLYMOE_NOINLINE void backward(context<C>& c, view<const T> dy, const std::byte* derived, view<T> dx) const {
    parallel_rows(c.stream, dy.rows, tile_rows_for(dy.rows), [&](index r0, index n, worker& wk) {
      backward_tile(wk, dy.rows_at(r0, n), derived, dx.rows_at(r0, n));
    });
  }
  /// dW += dy^T x, dbias += column sums of dy (db may be empty).
  POLYMOE_NOINLINE void weight_gradient(context<C>& c, view<const T> dy, view<const T> x, view<M> dw,
                                        view<M> db) const {
    if (dy.rows == 0) return;
    arena_scope all(c.scratch);
    const partials part = take_partials(c.scratch, dy.rows);
    const index blocks = gradient_.blocks(), per_piece = ceil_div(dy.rows, part.pieces);
    for (int i = 0; i < view<M>::planes; ++i) std::fill_n(part.weight.ptr[i], part.weight.size(), 0);
    parallel_for(c.stream, part.pieces * (blocks + 1), [&](index task, worker& wk) {
      const index piece = task % part.pieces, block = task / part.pieces;
      const index r0 = std::min(piece * per_piece, dy.rows), n = std::min(per_piece, dy.rows - r0);
      if (block == blocks) {
        column_sums(dy.rows_at(r0, n), part.bias.rows_at(piece, 1));
        return;
      }
      const view<M> g = piece == 0 ? dw : part.weight.rows_at((piece - 1) * out_, out_);
      gradient_.run(wk, block, dy.rows_at(r0, n), x.rows_at(r0, n), g);
    });
    if (db.ptr[0])
      for (int i = 0; i < view<M>::planes; ++i)
        for (index p = 0; p < part.pieces; ++p) {
          const auto* from = part.bias.row(p, i);
          auto* to = db.row(0, i);
          simd::each(out_, [=](index k) { to[k] += from[k]; });
        }
    if (part.pieces > 1)
      parallel_rows(c.stream, out_, simd::rows_per_tile(in_), [&](index r0, index n, worker&) {
        for (int i = 0; i < view<M>::planes; ++i)
          for (index p = 1; p < part.pieces; ++p)
            for (index r = r0; r < r0 + n; ++r) {
              const auto* from = part.weight.row((p - 1) * out_ + r, i);
              auto* to = dw.row(r, i);
              simd::each(in_, [=](index k) { to[k] += from[k]; });
            }
      });
  }

  /// y += x on a tile.
  template <class U>
  static void add_rows(view<const U> x, view<U> y) {
    for (index r = 0; r < y.rows; ++r) simd::each(y.cols, [=](index k) { y.set(r, k, y.get(r, k) + x.get(r, k)); });
  }

 private:
  struct partials {
    index pieces = 1;
    view<M> weight;  ///< [(pieces - 1) * out, in]
    view<M> bias;    ///< [pieces, out]
  };
  partials take_partials(arena& a, index rows) const {
    partials p;
    p.pieces = gradient_.preferred_pieces(rows);
    p.weight = a.take<M>((p.pieces - 1) * out_, in_);
    p.bias = a.take<M>(p.pieces, out_);
    return p;
  }
  /// sums [1, out] = column sums, rows in order.
  static void column_sums(view<const T> x, view<M> sums) {
    for (index k = 0; k < sums.cols; ++k) sums.set(0, k, compute_t<T>(0));
    for (index r = 0; r < x.rows; ++r)
      simd::each(x.cols, [=](index k) { sums.set(0, k, sums.get(0, k) + x.get(r, k)); });
  }

  index in_ = 0, out_ = 0;
  planar_product<T, Maths> forward_, backward_;
  planar_outer_product<T, Maths> gradient_;
};

/// A dense layer with its packed weights and bias, as kernels take it.
template <class T, class Backend>
struct bound_dense {
  const dense<T, Backend>& kernel;
  const std::byte* derived;
  view<const master_t<T>> bias;
};

/// pre = x W1^T + b1, hidden = act(pre), y = hidden W2^T + b2 (+ skip), tile by tile, so that a tile's hidden values
/// are still in cache when they are multiplied.
template <class Act, class T, class Maths>
POLYMOE_NOINLINE void mlp_forward(context<cpu_with<Maths>>& c, bound_dense<T, cpu_with<Maths>> up,
                                  bound_dense<T, cpu_with<Maths>> down, view<const T> x, view<T> pre, view<T> hidden,
                                  view<T> y, view<const T> skip) {
  parallel_rows(c.stream, x.rows, tile_rows_for(x.rows), [&](index r0, index n, worker& wk) {
    const view<T> z = pre.rows_at(r0, n), h = hidden.rows_at(r0, n), out = y.rows_at(r0, n);
    up.kernel.forward_tile(wk, x.rows_at(r0, n), up.derived, up.bias, z);
    polymoe::detail::activate<T>(z, h, Act{});
    down.kernel.forward_tile(wk, h, down.derived, down.bias, out);
    if (skip.ptr[0]) dense<T, cpu_with<Maths>>::template add_rows<T>(skip.rows_at(r0, n), out);
  });
}
/// d_pre = (dy W2) act'(pre) and, unless dx is empty, dx = d_pre W1.
template <class Act, class T, class Maths>
POLYMOE_NOINLINE void mlp_backward(context<cpu_with<Maths>>& c, bound_dense<T, cpu_with<Maths>> up,
                                   bound_dense<T, cpu_with<Maths>> down, view<const T> dy, view<const T> pre,
                                   view<T> d_pre, view<T> dx) {
  parallel_rows(c.stream, dy.rows, tile_rows_for(dy.rows), [&](index r0, index n, worker& wk) {
    const view<const T> z = pre.rows_at(r0, n);
    const view<T> d = d_pre.rows_at(r0, n);
    down.kernel.backward_tile(wk, dy.rows_at(r0, n), down.derived, d);
    polymoe::detail::activate_backward<T>(d, z, d, Act{});
    if (dx.ptr[0]) up.kernel.backward_tile(wk, d, up.derived, dx.rows_at(r0, n));
  });
}

}  // namespace backend
}  // namespace polymoe
