// Elementwise operations on the CPU: activations, sums, dropout.
#pragma once

#include "convert.hpp"
#include "draws.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// f(row) for every row, in tiles of about 16384 elements.
template <class Maths, class F>
void each_row(context<cpu_with<Maths>>& c, index rows, index cols, F f) {
  parallel_rows(c.stream, rows, simd::rows_per_tile(cols), [&](index r0, index n, worker&) {
    for (index r = r0; r < r0 + n; ++r) f(r);
  });
}

/// y = act(x).
template <class Act, class T, class Maths>
POLYMOE_NOINLINE void activation_forward(context<cpu_with<Maths>>& c, view<const T> x, view<T> y) {
  each_row(c, x.rows, x.cols, [=](index r) { map_row(r, y, [](compute_t<T> z) { return Act{}(z); }, x); });
}
/// dx = dy act'(x); dx may be dy.
template <class Act, class T, class Maths>
POLYMOE_NOINLINE void activation_backward(context<cpu_with<Maths>>& c, view<const T> dy, view<const T> x, view<T> dx) {
  using C = compute_t<T>;
  each_row(c, x.rows, x.cols, [=](index r) { map_row(r, dx, [](C g, C z) { return g * Act{}.grad(z); }, dy, x); });
}

/// y = a + b; y may be either.
template <class T, class Maths>
POLYMOE_NOINLINE void add(context<cpu_with<Maths>>& c, view<const T> a, view<const T> b, view<T> y) {
  using C = compute_t<T>;
  each_row(c, y.rows, y.cols, [=](index r) { map_row(r, y, [](C x, C z) { return x + z; }, a, b); });
}

/// y = x.
template <class T, class Maths>
POLYMOE_NOINLINE void copy(context<cpu_with<Maths>>& c, view<const T> x, view<T> y) {
  each_row(c, y.rows, y.cols, [=](index r) {
    for (int i = 0; i < y.planes; ++i) std::copy_n(x.row(r, i), y.cols, y.row(r, i));
  });
}

/// What dropout multiplies rows with in one call: 1 / (1 - p) where a draw is at least p, else 0.  The draws of element
/// (place, k) depend on the stream and on the place only, so the backward is the same call on gradients.
template <class T>
class dropout_mask {
 public:
  using S = compute_t<T>;
  /// Drops nothing.
  dropout_mask() = default;
  /// p in [0, 1).
  dropout_mask(random_stream random, double p)
      : random_(random),
        scale_(static_cast<real_t<S>>(1.0 / (1.0 - p))),
        threshold_(static_cast<std::uint32_t>(p * 4294967296.0)) {}
  bool drops() const { return threshold_ > 0; }
  /// Row r of y = the mask of `place` times row r of x; y may be x.
  void apply(index place, index r, view<const T> x, view<T> y) const {
    const index begin = place * round_up(y.cols, 4);
    draw_tile draws;
    each_draw_tile(
        begin, begin + y.cols, [&](index block, index blocks) { draws.fill(random_, block, blocks); },
        [&](index from, index n, index base) {
          simd::each(n, [&](index i) {
            const index column = from - begin + i;
            const S kept = x.get(r, column) * scale_;
            y.set(r, column, draws[from - base + i] >= threshold_ ? kept : S(0));
          });
        });
  }

 private:
  random_stream random_{};
  S scale_ = S(1);
  std::uint32_t threshold_ = 0;
};

/// y = x where a draw is at least p, scaled by 1 / (1 - p), else 0; the place of a row is its number.
template <class T, class Maths>
POLYMOE_NOINLINE void dropout_apply(context<cpu_with<Maths>>& c, std::uint64_t stream, double p, view<const T> x,
                                    view<T> y) {
  const dropout_mask<T> mask(c.draw(stream), p);
  each_row(c, y.rows, y.cols, [=](index r) { mask.apply(r, r, x, y); });
}

}  // namespace backend
}  // namespace polymoe
