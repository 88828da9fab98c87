// Batches whose images are mixed in pairs: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).
//
// What is mixed is a pure function of (seed, epoch, batch of the epoch), drawn on the host for every backend.  Image r
// of a batch gets a part of image r + 1, the last one of the first: batches are in random
// order, so partners are random too.
#pragma once

#include <cmath>

#include "augment.hpp"

namespace polymoe::inline v0 {

namespace detail {
inline constexpr std::uint64_t mix_stream = stream_id("train.mix");

/// Draws of one batch, one after the other.
struct mix_draws {
  random_stream from;
  std::uint64_t next = 0;
  /// Uniform in (0, 1), 52 bits.
  double uniform() {
    const words4 w = from.bits(next++);
    return (static_cast<double>((std::uint64_t{w.a} << 32 | w.b) >> 12) + 0.5) * 0x1p-52;
  }
  double normal() {
    const double u = uniform(), v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
  }
  /// log of a Gamma(shape, 1) number, by Marsaglia and Tsang's "A simple method for generating gamma variables" (2000).
  /// A logarithm, because numbers of small shapes underflow.
  double log_gamma(double shape) {
    double below_one = 0;
    if (shape < 1) below_one = std::log(uniform()) / shape, shape += 1;
    const double d = shape - 1.0 / 3.0, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = normal(), root = 1 + c * x, v = root * root * root;
      if (root > 0 && std::log(uniform()) < 0.5 * x * x + d - d * v + d * std::log(v))
        return std::log(d * v) + below_one;
    }
  }
  /// Beta(alpha, alpha).
  double beta(double alpha) {
    const double a = log_gamma(alpha), b = log_gamma(alpha);
    return 1 / (1 + std::exp(b - a));
  }
};
}  // namespace detail

/// How the images of a batch are mixed.
struct batch_mix {
  enum class kind { none, mixup, cutmix };
  /// Beyond these Beta(alpha, alpha) is all but always next to 0 or 1, or within 0.002 of 1/2.
  static constexpr double least_alpha = 1e-3, most_alpha = 1e6;
  kind how = kind::none;
  /// Share of an image's own label.  mixup: of its pixels too; CutMix: 1 - area of the box / area of the image,
  /// exactly.
  double own = 1;
  index top = 0, left = 0, bottom = 0, right = 0;  ///< CutMix: pixels that come from the partner

  /// Row of the partner of row r in a batch of n.
  POLYMOE_HD static constexpr index partner(index r, index n) { return r + 1 < n ? r + 1 : 0; }

  /// The mix of a batch.  With both kinds in the options a coin per batch decides.  CutMix: lambda of Beta(alpha,
  /// alpha), a box of sides sqrt(1 - lambda) times those of the image, its centre anywhere, cut at the border (Yun et
  /// al., section 3.1).
  static batch_mix draw(const augment_options& o, random_root root, std::uint64_t epoch, index batch, index height,
                        index width) {
    batch_mix m;
    if (!(o.mixup > 0 || o.cutmix > 0)) return m;
    // 2^16 draws for every batch; the rejections of log_gamma need a handful.
    detail::mix_draws draws{root.stream(detail::mix_stream, epoch), static_cast<std::uint64_t>(batch) << 16};
    const bool coin = draws.uniform() < 0.5;
    m.how = o.cutmix > 0 && (!(o.mixup > 0) || coin) ? kind::cutmix : kind::mixup;
    m.own = draws.beta(m.how == kind::cutmix ? o.cutmix : o.mixup);
    if (m.how == kind::mixup) return m;
    const double side = std::sqrt(1 - m.own);
    const auto cut = [&](index n, index& first, index& last) {
      const auto length = static_cast<index>(side * static_cast<double>(n));
      const auto centre = static_cast<index>(draws.uniform() * static_cast<double>(n));
      const index begin = centre - length / 2;
      first = begin < 0 ? 0 : begin;
      last = begin + length < n ? begin + length : n;
    };
    cut(height, m.top, m.bottom), cut(width, m.left, m.right);
    const index area = (m.bottom - m.top) * (m.right - m.left);
    m.own = 1 - static_cast<double>(area) / static_cast<double>(height * width);
    return m;
  }
  POLYMOE_HD bool pasted(index y, index x) const { return y >= top && y < bottom && x >= left && x < right; }
};

}  // namespace polymoe
