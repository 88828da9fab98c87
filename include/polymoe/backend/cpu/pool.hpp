// Token bookkeeping on the CPU: positions and class token, pooling, cutting images into patches.
#pragma once

#include "pointwise.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// y [images * (tokens + first), D]: row `first + t` of an image is x row t plus position `first + t`; with first = 1,
/// row 0 is the class token plus position 0.
template <class T, class Maths>
POLYMOE_NOINLINE void positions_forward(context<cpu_with<Maths>>& c, index tokens, view<const T> x,
                                        view<const master_t<T>> position, view<const master_t<T>> class_token,
                                        view<T> y) {
  const index first = class_token.ptr[0] ? 1 : 0, all = tokens + first;
  each_row(c, y.rows, y.cols, [=](index r) {
    const index image = r / all, t = r % all;
    if (t < first)
      simd::each(y.cols, [=](index k) { y.set(r, k, class_token.get(0, k) + position.get(t, k)); });
    else
      simd::each(y.cols, [=](index k) { y.set(r, k, x.get(image * tokens + t - first, k) + position.get(t, k)); });
  });
}
/// dposition += sums of dy over images, in order; dx = dy without class rows (dx may be empty).
template <class T, class Maths>
POLYMOE_NOINLINE void positions_backward(context<cpu_with<Maths>>& c, index tokens, view<const T> dy,
                                         view<master_t<T>> dposition, view<master_t<T>> dclass, view<T> dx) {
  const index first = dclass.ptr[0] ? 1 : 0, all = tokens + first, images = dy.rows / all;
  parallel_for(c.stream, all, [&](index t, worker&) {
    for (index image = 0; image < images; ++image) {
      const index r = image * all + t;
      simd::each(dy.cols, [=](index k) { dposition.set(t, k, dposition.get(t, k) + dy.get(r, k)); });
      if (t < first) simd::each(dy.cols, [=](index k) { dclass.set(0, k, dclass.get(0, k) + dy.get(r, k)); });
      if (t >= first && dx.ptr[0])
        for (int i = 0; i < dy.planes; ++i) std::copy_n(dy.row(r, i), dy.cols, dx.row(image * tokens + t - first, i));
    }
  });
}

/// y [images, D] = mean over the tokens of an image.
template <class T, class Maths>
POLYMOE_NOINLINE void mean_pool_forward(context<cpu_with<Maths>>& c, index tokens, view<const T> x, view<T> y) {
  using S = compute_t<T>;
  constexpr index strip = 64;
  const S per = S(real_t<S>(1) / static_cast<real_t<S>>(tokens));
  const index strips = ceil_div(y.cols, strip);
  parallel_for(c.stream, y.rows, [&](index image, worker&) {
    for (index s = 0; s < strips; ++s) {
      const index k0 = s * strip, n = std::min(strip, y.cols - k0);
      S sum[strip];
      S* at = sum;
      for (index k = 0; k < n; ++k) sum[k] = S(0);
      const view<const T> in = x;
      for (index t = 0; t < tokens; ++t) simd::each(n, [=](index k) { at[k] += in.get(image * tokens + t, k0 + k); });
      for (index k = 0; k < n; ++k) y.set(image, k0 + k, sum[k] * per);
    }
  });
}
/// dx row = dy row of its image / tokens.
template <class T, class Maths>
POLYMOE_NOINLINE void mean_pool_backward(context<cpu_with<Maths>>& c, index tokens, view<const T> dy, view<T> dx) {
  using S = compute_t<T>;
  const S per = S(real_t<S>(1) / static_cast<real_t<S>>(tokens));
  each_row(c, dx.rows, dx.cols,
           [=](index r) { simd::each(dx.cols, [=](index k) { dx.set(r, k, dy.get(r / tokens, k) * per); }); });
}

/// y [images, D] = the first token of each image.
template <class T, class Maths>
POLYMOE_NOINLINE void first_token_forward(context<cpu_with<Maths>>& c, index tokens, view<const T> x, view<T> y) {
  each_row(c, y.rows, y.cols, [=](index r) {
    for (int i = 0; i < y.planes; ++i) std::copy_n(x.row(r * tokens, i), y.cols, y.row(r, i));
  });
}
/// dx = dy in first tokens, 0 elsewhere.
template <class T, class Maths>
POLYMOE_NOINLINE void first_token_backward(context<cpu_with<Maths>>& c, index tokens, view<const T> dy, view<T> dx) {
  each_row(c, dx.rows, dx.cols, [=](index r) {
    for (int i = 0; i < dx.planes; ++i)
      if (r % tokens == 0)
        std::copy_n(dy.row(r / tokens, i), dx.cols, dx.row(r, i));
      else
        std::fill_n(dx.row(r, i), dx.cols, static_cast<storage_t<T>>(0.0f));
  });
}

/// How an image [channels, height, width] is cut into square patches, row by row; patches may overlap and reach over
/// the border, where the image counts as 0.
struct patch_shape {
  index channels = 3, height = 0, width = 0, patch = 0, stride = 0, padding = 0;
  constexpr index down() const { return (height + 2 * padding - patch) / stride + 1; }
  constexpr index across() const { return (width + 2 * padding - patch) / stride + 1; }
  constexpr index tokens() const { return down() * across(); }
  constexpr index image_size() const { return channels * height * width; }
  constexpr index patch_size() const { return channels * patch * patch; }
};

/// y [images * tokens, channels * patch * patch] from x [images, channels * height * width].
template <class T, class Maths>
POLYMOE_NOINLINE void patches_forward(context<cpu_with<Maths>>& c, const patch_shape& s, view<const T> x, view<T> y) {
  const index tokens = s.tokens();
  each_row(c, y.rows, y.cols, [=](index r) {
    const index image = r / tokens, t = r % tokens;
    const index top = t / s.across() * s.stride - s.padding, left = t % s.across() * s.stride - s.padding;
    for (int i = 0; i < y.planes; ++i) {
      const auto* from = x.row(image, i);
      auto* to = y.row(r, i);
      for (index ch = 0; ch < s.channels; ++ch)
        for (index a = 0; a < s.patch; ++a)
          for (index b = 0; b < s.patch; ++b, ++to) {
            const index h = top + a, w = left + b;
            const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
            *to = inside ? from[(ch * s.height + h) * s.width + w] : static_cast<storage_t<T>>(0.0f);
          }
    }
  });
}
/// dx = for every pixel the sum of the gradients of its patches, patches in order, summed in the compute type.
template <class T, class Maths>
POLYMOE_NOINLINE void patches_backward(context<cpu_with<Maths>>& c, const patch_shape& s, view<const T> dy,
                                       view<T> dx) {
  using S = compute_t<T>;
  const index tokens = s.tokens();
  parallel_for(c.stream, dx.rows, [&](index image, worker&) {
    for (index ch = 0; ch < s.channels; ++ch)
      for (index h = 0; h < s.height; ++h)
        for (index w = 0; w < s.width; ++w) {
          // Patches that hold pixel (h, w): top in (h + padding - patch, h + padding], and across alike.
          const index h_low = std::max<index>(0, ceil_div(std::max<index>(0, h + s.padding - s.patch + 1), s.stride));
          const index w_low = std::max<index>(0, ceil_div(std::max<index>(0, w + s.padding - s.patch + 1), s.stride));
          const index h_high = std::min(s.down() - 1, (h + s.padding) / s.stride);
          const index w_high = std::min(s.across() - 1, (w + s.padding) / s.stride);
          S sum = S(0);
          for (index i = h_low; i <= h_high; ++i)
            for (index j = w_low; j <= w_high; ++j) {
              const index a = h + s.padding - i * s.stride, b = w + s.padding - j * s.stride;
              sum += dy.get(image * tokens + i * s.across() + j, (ch * s.patch + a) * s.patch + b);
            }
          dx.set(image, (ch * s.height + h) * s.width + w, sum);
        }
  });
}

}  // namespace backend
}  // namespace polymoe
