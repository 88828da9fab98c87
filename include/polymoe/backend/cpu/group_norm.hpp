// Group normalisation on the CPU (Wu & He 2018, eq. 1-4): one image at a time, channels in vector lanes.
//
// The mean and the variance of a group are sums over channels of sums over pixels; the variance is that of differences
// from the mean.  An activation may follow at no cost of its own: y = act(norm(x)).
#pragma once

#include "../../expert/activation.hpp"
#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// Sizes of a group norm: images of `pixels` rows, `channels` in `groups` equal parts.
struct group_norm_shape {
  index channels = 0, groups = 1, pixels = 1;
  double eps = 1e-5;  ///< added to the variance
  constexpr index width() const { return channels / groups; }
};

namespace detail {

/// Numbers per channel, in a worker's scratch.
template <class T>
struct group_norm_scratch {
  using S = compute_t<T>;
  view<S> mean, scale, sum, product;  ///< [1, channels] each
  group_norm_scratch(arena& a, index channels) {
    for (view<S>* v : {&mean, &scale, &sum, &product}) *v = a.take<S>(1, channels);
  }
  static std::size_t bytes(index channels) {
    arena dry;
    group_norm_scratch measured(dry, channels);
    static_cast<void>(measured);
    return dry.used();
  }
};

template <class S>
void set_all(view<S> v, S x) {
  simd::each(v.cols, [=](index k) { v.set(0, k, x); });
}

/// mean and scale of every channel from the statistics of its group.
template <class T>
void spread_statistics(const group_norm_shape& s, view<const compute_t<T>> stats, const group_norm_scratch<T>& t) {
  for (index g = 0; g < s.groups; ++g)
    for (index k = g * s.width(); k < (g + 1) * s.width(); ++k)
      t.mean.set(0, k, stats.get(g, 0)), t.scale.set(0, k, stats.get(g, 1));
}

}  // namespace detail

/// One image: y = act((x - mean) / sqrt(var + eps) * weight + bias); stats [groups, 2] get mean and 1 / sqrt(var +
/// eps).
template <class Act, class T>
void group_norm_image(worker& w, const group_norm_shape& s, view<const T> x, view<const master_t<T>> weight,
                      view<const master_t<T>> bias, view<T> y, view<compute_t<T>> stats) {
  using S = compute_t<T>;
  using R = real_t<S>;
  arena a(w.scratch, w.bytes);
  const detail::group_norm_scratch<T> t(a, s.channels);
  const S per = S(R(1) / static_cast<R>(s.pixels * s.width()));
  const auto group_sum = [&](index g) {
    S total = S(0);
    for (index k = g * s.width(); k < (g + 1) * s.width(); ++k) total += t.sum.get(0, k);
    return total;
  };
  const view<S> sum = t.sum, mean = t.mean, scale = t.scale;
  detail::set_all(sum, S(0));
  for (index r = 0; r < s.pixels; ++r)
    simd::each(s.channels, [=](index k) { sum.set(0, k, sum.get(0, k) + x.get(r, k)); });
  for (index g = 0; g < s.groups; ++g) stats.set(g, 0, per * group_sum(g)), stats.set(g, 1, S(0));
  detail::spread_statistics<T>(s, stats, t);
  detail::set_all(sum, S(0));
  for (index r = 0; r < s.pixels; ++r)
    simd::each(s.channels, [=](index k) {
      const S d = x.get(r, k) - mean.get(0, k);
      sum.set(0, k, sum.get(0, k) + d * d);
    });
  for (index g = 0; g < s.groups; ++g)
    stats.set(g, 1, S(1) / math::sqrt(per * group_sum(g) + S(static_cast<R>(s.eps))));
  detail::spread_statistics<T>(s, stats, t);
  for (index r = 0; r < s.pixels; ++r)
    simd::each(s.channels, [=](index k) {
      y.set(r, k, Act{}((x.get(r, k) - mean.get(0, k)) * scale.get(0, k) * weight.get(0, k) + bias.get(0, k)));
    });
}

/// One image of the backward: dweight and dbias [1, channels] are written, and unless dx is empty
/// dx = scale (g - mean(g) - xhat mean(g xhat)) + skip with g = dy act'(n) weight, means over the group.  dx may be x.
template <class Act, class T>
void group_norm_image_backward(worker& w, const group_norm_shape& s, view<const T> dy, view<const T> x,
                               view<const compute_t<T>> stats, view<const master_t<T>> weight,
                               view<const master_t<T>> bias, view<master_t<T>> dweight, view<master_t<T>> dbias,
                               view<T> dx, view<const T> skip) {
  using S = compute_t<T>;
  using R = real_t<S>;
  arena a(w.scratch, w.bytes);
  const detail::group_norm_scratch<T> t(a, s.channels);
  detail::spread_statistics<T>(s, stats, t);
  const view<S> mean = t.mean, scale = t.scale;
  const auto through = [=](index r, index k, S xhat) {
    const S d = dy.get(r, k);
    if constexpr (std::is_same_v<Act, act::identity>) {
      static_cast<void>(xhat);
      return d;
    } else {
      return d * Act{}.grad(xhat * weight.get(0, k) + bias.get(0, k));
    }
  };
  detail::set_all(dweight, S(0));
  detail::set_all(dbias, S(0));
  for (index r = 0; r < s.pixels; ++r)
    simd::each(s.channels, [=](index k) {
      const S xhat = (x.get(r, k) - mean.get(0, k)) * scale.get(0, k), d = through(r, k, xhat);
      dweight.set(0, k, dweight.get(0, k) + d * xhat);
      dbias.set(0, k, dbias.get(0, k) + d);
    });
  if (!dx.ptr[0]) return;
  const S per = S(R(1) / static_cast<R>(s.pixels * s.width()));
  const view<S> plain = t.sum, along = t.product;
  for (index g = 0; g < s.groups; ++g) {
    S total = S(0), product = S(0);
    for (index k = g * s.width(); k < (g + 1) * s.width(); ++k)
      total += weight.get(0, k) * dbias.get(0, k), product += weight.get(0, k) * dweight.get(0, k);
    for (index k = g * s.width(); k < (g + 1) * s.width(); ++k)
      plain.set(0, k, per * total), along.set(0, k, per * product);
  }
  const auto gradient = [=](index r, index k) {
    const S xhat = (x.get(r, k) - mean.get(0, k)) * scale.get(0, k);
    return scale.get(0, k) * (through(r, k, xhat) * weight.get(0, k) - plain.get(0, k) - xhat * along.get(0, k));
  };
  for (index r = 0; r < s.pixels; ++r)
    if (skip.ptr[0])
      simd::each(s.channels, [=](index k) { dx.set(r, k, skip.get(r, k) + gradient(r, k)); });
    else
      simd::each(s.channels, [=](index k) { dx.set(r, k, gradient(r, k)); });
}

/// Declares the memory of the two functions below.
template <class T, class Maths>
void group_norm_bind(binder<cpu_with<Maths>>& b, const group_norm_shape& s, index max_images) {
  b.need_worker(detail::group_norm_scratch<T>::bytes(s.channels));
  arena_scope all(b.scratch);
  b.scratch.template take<master_t<T>>(2 * max_images, s.channels);
}

/// x [images * pixels, channels] -> y; stats [images * groups, 2].
template <class T, class Maths>
POLYMOE_NOINLINE void group_norm_forward(context<cpu_with<Maths>>& c, const group_norm_shape& s, view<const T> x,
                                         view<const master_t<T>> weight, view<const master_t<T>> bias, view<T> y,
                                         view<compute_t<T>> stats) {
  parallel_for(c.stream, x.rows / s.pixels, [&](index image, worker& w) {
    group_norm_image<act::identity, T>(w, s, x.rows_at(image * s.pixels, s.pixels), weight, bias,
                                       y.rows_at(image * s.pixels, s.pixels),
                                       stats.rows_at(image * s.groups, s.groups));
  });
}
/// dweight and dbias += sums over images, in order; dx (which may be empty) as in group_norm_image_backward.
template <class T, class Maths>
POLYMOE_NOINLINE void group_norm_backward(context<cpu_with<Maths>>& c, const group_norm_shape& s, view<const T> dy,
                                          view<const T> x, view<const compute_t<T>> stats,
                                          view<const master_t<T>> weight, view<const master_t<T>> bias,
                                          view<master_t<T>> dweight, view<master_t<T>> dbias, view<T> dx,
                                          view<const T> skip) {
  using M = master_t<T>;
  const index images = dy.rows / s.pixels;
  arena_scope all(c.scratch);
  const view<M> parts = c.scratch.template take<M>(2 * images, s.channels);
  const auto of = [&](auto v, index image) { return v.ptr[0] ? v.rows_at(image * s.pixels, s.pixels) : v; };
  parallel_for(c.stream, images, [&](index image, worker& w) {
    group_norm_image_backward<act::identity, T>(
        w, s, of(dy, image), of(x, image), stats.rows_at(image * s.groups, s.groups), weight, bias,
        parts.rows_at(2 * image, 1), parts.rows_at(2 * image + 1, 1), of(dx, image), of(skip, image));
  });
  for (index image = 0; image < images; ++image)
    for (int i = 0; i < view<M>::planes; ++i) {
      const auto *pw = parts.row(2 * image, i), *pb = parts.row(2 * image + 1, i);
      auto *gw = dweight.row(0, i), *gb = dbias.row(0, i);
      simd::each(s.channels, [=](index k) { gw[k] += pw[k], gb[k] += pb[k]; });
    }
}

}  // namespace backend
}  // namespace polymoe
