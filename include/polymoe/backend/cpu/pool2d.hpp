// Pooling of feature maps on the CPU: the largest or the mean of a window, channels in vector lanes.
//
// The backward gathers: a pixel sums over the windows it lies in, in order, rounded once.
#pragma once

#include "maths_conv.hpp"
#include "pointwise.hpp"

namespace polymoe::inline v0 {
namespace backend {

namespace detail {
/// put(k, sum over the window's pixels p of get(p, tap, k)) for every channel, taps in order.
template <class S, class Get, class Put>
POLYMOE_ALWAYS_INLINE void sum_window(const maths::detail::tap_map& m, index i, index j, index channels, Get get,
                                      Put put) {
  constexpr index strip = 64;
  for (index k0 = 0; k0 < channels; k0 += strip) {
    const index n = std::min(strip, channels - k0);
    S sum[strip];
    S* at = sum;
    for (index k = 0; k < n; ++k) sum[k] = S(0);
    for (index a = 0; a < m.s.kernel; ++a)
      for (index b = 0; b < m.s.kernel; ++b) {
        const index p = m.pixel(i, j, a, b), tap = a * m.s.kernel + b;
        if (p >= 0) simd::each(n, [=](index k) { at[k] += get(p, tap, k0 + k); });
      }
    for (index k = 0; k < n; ++k) put(k0 + k, sum[k]);
  }
}
}  // namespace detail

/// y = the mean of each window, pixels over the border counted as 0 (the divisor is always kernel^2, as PyTorch's
/// count_include_pad).
template <class T, class Maths>
POLYMOE_NOINLINE void mean_pool2d_forward(context<cpu_with<Maths>>& c, const maths::convolution_shape& s,
                                          view<const T> x, view<T> y) {
  using S = compute_t<T>;
  const S per = S(real_t<S>(1) / static_cast<real_t<S>>(s.taps()));
  const maths::detail::tap_map m{s, false};
  each_row(c, y.rows, y.cols, [=](index r) {
    const index image = r / s.out_pixels(), i = r % s.out_pixels() / m.width(), j = r % s.out_pixels() % m.width();
    detail::sum_window<S>(
        m, i, j, y.cols, [=](index p, index, index k) { return x.get(image * s.in_pixels() + p, k); },
        [=](index k, S sum) { y.set(r, k, sum * per); });
  });
}
template <class T, class Maths>
POLYMOE_NOINLINE void mean_pool2d_backward(context<cpu_with<Maths>>& c, const maths::convolution_shape& s,
                                           view<const T> dy, view<T> dx) {
  using S = compute_t<T>;
  const S per = S(real_t<S>(1) / static_cast<real_t<S>>(s.taps()));
  const maths::detail::tap_map m{s, true};
  each_row(c, dx.rows, dx.cols, [=](index r) {
    const index image = r / s.in_pixels(), i = r % s.in_pixels() / m.width(), j = r % s.in_pixels() % m.width();
    detail::sum_window<S>(
        m, i, j, dx.cols, [=](index p, index, index k) { return dy.get(image * s.out_pixels() + p, k); },
        [=](index k, S sum) { dx.set(r, k, sum * per); });
  });
}

/// y = the largest of each window, ties to the first pixel, NaN if there is one; pixels over the border do not count.
/// `from` [rows of y, channels] receives the tap it came from.
template <class T, class Maths>
POLYMOE_NOINLINE void max_pool2d_forward(context<cpu_with<Maths>>& c, const maths::convolution_shape& s,
                                         view<const T> x, view<T> y, std::uint8_t* from) {
  using S = compute_t<T>;
  const maths::detail::tap_map m{s, false};
  each_row(c, y.rows, y.cols, [=](index r) {
    const index image = r / s.out_pixels(), i = r % s.out_pixels() / m.width(), j = r % s.out_pixels() % m.width();
    constexpr index strip = 64;
    for (index k0 = 0; k0 < y.cols; k0 += strip) {
      const index n = std::min(strip, y.cols - k0);
      S best[strip];
      int tap[strip];
      S* most = best;
      int* which = tap;
      bool first = true;
      for (index a = 0; a < s.kernel; ++a)
        for (index b = 0; b < s.kernel; ++b) {
          const index p = m.pixel(i, j, a, b), at = image * s.in_pixels() + p;
          if (p < 0) continue;
          const int t = static_cast<int>(a * s.kernel + b);
          if (first)
            simd::each(n, [=](index k) { most[k] = x.get(at, k0 + k), which[k] = t; });
          else
            simd::each(n, [=](index k) {
              const S z = x.get(at, k0 + k);
              const bool take = value_of(z) > value_of(most[k]) || value_of(z) != value_of(z);
              most[k] = take ? z : most[k];
              which[k] = take ? t : which[k];
            });
          first = false;
        }
      std::uint8_t* to = from + r * y.cols + k0;
      simd::each(n, [=](index k) {
        y.set(r, k0 + k, most[k]);
        to[k] = static_cast<std::uint8_t>(which[k]);
      });
    }
  });
}
template <class T, class Maths>
POLYMOE_NOINLINE void max_pool2d_backward(context<cpu_with<Maths>>& c, const maths::convolution_shape& s,
                                          view<const T> dy, const std::uint8_t* from, view<T> dx) {
  using S = compute_t<T>;
  const maths::detail::tap_map m{s, true};
  each_row(c, dx.rows, dx.cols, [=](index r) {
    const index image = r / s.in_pixels(), i = r % s.in_pixels() / m.width(), j = r % s.in_pixels() % m.width();
    detail::sum_window<S>(
        m, i, j, dx.cols,
        [=](index p, index tap, index k) {
          const index at = image * s.out_pixels() + p;
          return from[at * dx.cols + k] == tap ? dy.get(at, k) : S(0);
        },
        [=](index k, S sum) { dx.set(r, k, sum); });
  });
}

}  // namespace backend
}  // namespace polymoe
