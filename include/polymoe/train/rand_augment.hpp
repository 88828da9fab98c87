// RandAugment (Cubuk et al. 2020): N operations of one strength on an image of bytes, each drawn from a list of
// fourteen.
//
// Strength M runs from 0 to 30; the ranges are those of the paper's table in torchvision's numbers, operations with a
// direction get a random sign.  At M = 0 all but autocontrast and equalize leave the image as it is.  All pixels are
// worked out in integers: bits do not depend on the processor, and a GPU makes the same ones.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "augment.hpp"

namespace polymoe::inline v0::rand_augment {

enum class operation {
  identity,
  autocontrast,  ///< every channel stretched to 0..255
  equalize,      ///< every channel's histogram made flat
  rotate,        ///< by up to 30 degrees about the middle; positive: counter-clockwise
  solarize,      ///< pixels at and above a threshold from 256 down to 0 are inverted
  colour,        ///< away from grey or towards it by up to 0.9; nothing for one channel
  posterize,     ///< 8 down to 4 bits
  contrast,      ///< away from the mean grey or towards it by up to 0.9
  brightness,    ///< times 1 +- up to 0.9
  sharpness,     ///< away from the smoothed image or towards it by up to 0.9; the border stays
  shear_x,       ///< by up to 0.3 about the middle
  shear_y,
  translate_x,  ///< by up to 150/331 of the image
  translate_y
};
inline constexpr int operations = 14;
inline constexpr double most_strength = 30;

/// Sizes of an image of bytes, [channels, height, width].
struct image_size {
  index channels = 0, height = 0, width = 0;
  POLYMOE_HD constexpr index plane() const { return height * width; }
  POLYMOE_HD constexpr index bytes() const { return channels * plane(); }
};

namespace detail {
using byte = std::uint8_t;
inline constexpr index one = 1 << 16;  ///< 1 in the fixed point numbers of this file
inline index fixed(double x) { return static_cast<index>(std::llround(x * static_cast<double>(one))); }
}  // namespace detail

/// An operation of some strength and sign in numbers, those it does not use at their neutral values.
struct amounts {
  operation op = operation::identity;
  /// A pixel comes from the nearest place of A (x, y) about the middle, less (dx, dy); A fixed.
  index xx = detail::one, xy = 0, yx = 0, yy = detail::one, dx = 0, dy = 0;
  index factor = detail::one;  ///< away from something (above 1) or towards it, fixed
  index threshold = 256;       ///< levels from here on are inverted
  index dropped = 0;           ///< bits of a level

  /// Every level of a channel becomes one other.
  POLYMOE_HD bool levels() const {
    return op == operation::autocontrast || op == operation::equalize || op == operation::solarize ||
           op == operation::posterize || op == operation::contrast || op == operation::brightness;
  }
  /// Strength `m` in [0, 30].
  static amounts of(operation which, double m, bool negative, const image_size& s) {
    using detail::fixed;
    const double share = m / most_strength, sign = negative ? -1 : 1;
    const auto shift = [&](index n) {
      return static_cast<index>(std::lround(sign * share * 150 / 331 * static_cast<double>(n)));
    };
    amounts a;
    a.op = which;
    switch (which) {
      case operation::identity:
      case operation::autocontrast:
      case operation::equalize: break;
      case operation::rotate: {
        const double angle = sign * share * 30 * 3.141592653589793 / 180;
        a.xx = a.yy = fixed(std::cos(angle)), a.yx = fixed(std::sin(angle)), a.xy = -a.yx;
        break;
      }
      case operation::solarize: a.threshold = static_cast<index>(std::lround(256 * (1 - share))); break;
      case operation::colour:
      case operation::contrast:
      case operation::brightness:
      case operation::sharpness: a.factor = fixed(1 + sign * 0.9 * share); break;
      case operation::posterize: a.dropped = static_cast<index>(std::lround(4 * share)); break;
      case operation::shear_x: a.xy = fixed(sign * 0.3 * share); break;
      case operation::shear_y: a.yx = fixed(sign * 0.3 * share); break;
      case operation::translate_x: a.dx = shift(s.width); break;
      case operation::translate_y: a.dy = shift(s.height); break;
    }
    return a;
  }
};

namespace detail {
// What one pixel or one level becomes: the whole of the operations, for any processor.

POLYMOE_HD inline byte clamped(index x) { return static_cast<byte>(x < 0 ? 0 : x > 255 ? 255 : x); }
/// away + factor (p - away), rounded to nearest.
POLYMOE_HD inline byte blended(index p, index away, index factor) {
  return clamped((away * one + factor * (p - away) + one / 2) >> 16);
}
/// Grey of three channels as the readers of pictures make it; one channel as it is.
POLYMOE_HD inline index grey(const byte* in, const image_size& s, index at) {
  if (s.channels != 3) return in[at];
  return (299 * in[at] + 587 * in[s.plane() + at] + 114 * in[2 * s.plane() + at] + 500) / 1000;
}
/// Pixel (y, x) of every channel, for the operations that do not change a channel's levels as such.
POLYMOE_HD inline void change_pixel(const amounts& a, const byte* in, byte* out, const image_size& s, index y,
                                    index x) {
  const index plane = s.plane(), k = y * s.width + x;
  if (a.op == operation::identity) {
    for (index c = 0; c < s.channels; ++c) out[c * plane + k] = in[c * plane + k];
  } else if (a.op == operation::colour) {
    const index away = grey(in, s, k);
    for (index c = 0; c < s.channels; ++c) {
      const index p = in[c * plane + k];
      out[c * plane + k] = blended(p, s.channels == 3 ? away : p, a.factor);
    }
  } else if (a.op == operation::sharpness) {
    const bool inner = y > 0 && y + 1 < s.height && x > 0 && x + 1 < s.width;
    for (index c = 0; c < s.channels; ++c) {
      const byte* p = in + c * plane + k;
      index sum = 4 * *p;  // 5 in the middle, 1 around, of 13
      if (inner)
        for (index dy = -1; dy <= 1; ++dy)
          for (index dx = -1; dx <= 1; ++dx) sum += p[dy * s.width + dx];
      out[c * plane + k] = inner ? blended(*p, (sum + 6) / 13, a.factor) : *p;
    }
  } else {
    const index u = 2 * x - (s.width - 1), v = 2 * y - (s.height - 1);  // twice the distance from the middle
    const index sx = ((a.xx * u + a.xy * v + s.width * one) >> 17) - a.dx;
    const index sy = ((a.yx * u + a.yy * v + s.height * one) >> 17) - a.dy;
    const bool inside = sx >= 0 && sx < s.width && sy >= 0 && sy < s.height;
    for (index c = 0; c < s.channels; ++c) out[c * plane + k] = inside ? in[c * plane + sy * s.width + sx] : byte{0};
  }
}
/// The largest level q with q b <= a, 0 where there is none: a / b without a division, which GPUs lack.
POLYMOE_HD inline byte level_of(index a, index b) {
  index q = 0;
  for (index bit = 128; bit > 0; bit /= 2) q += (q + bit) * b <= a ? bit : 0;
  return static_cast<byte>(q);
}
/// Level v of a channel whose levels lie in [low, low + range].
POLYMOE_HD inline byte stretched(index v, index low, index range) {
  return range == 0 ? clamped(v) : level_of((v - low) * 255 + range / 2, range);
}
/// Level v of a channel of n pixels, `below` of them darker, `brightest` at its highest level; as PIL's
/// ImageOps.equalize.
POLYMOE_HD inline byte flattened(index v, index n, index below, index brightest) {
  const index step = (n - brightest) / 255;
  return step == 0 ? clamped(v) : level_of(step / 2 + below, step);
}
/// Level v after one of the other operations on levels; `mean`: the mean grey, for contrast.
POLYMOE_HD inline byte changed_level(const amounts& a, index v, index mean) {
  switch (a.op) {
    case operation::solarize: return clamped(v < a.threshold ? v : 255 - v);
    case operation::posterize: return clamped(v >> a.dropped << a.dropped);
    case operation::contrast: return blended(v, mean, a.factor);
    case operation::brightness: return blended(v, 0, a.factor);
    default: return clamped(v);
  }
}

/// out = table(channel)[in].
template <class Table>
void look_up(const byte* in, byte* out, const image_size& s, Table table) {
  for (index c = 0; c < s.channels; ++c) {
    const std::array<byte, 256> t = table(in + c * s.plane());
    for (index k = 0; k < s.plane(); ++k) out[c * s.plane() + k] = t[in[c * s.plane() + k]];
  }
}
template <class F>
std::array<byte, 256> table_of(F f) {
  std::array<byte, 256> t;
  for (index v = 0; v < 256; ++v) t[static_cast<std::size_t>(v)] = f(v);
  return t;
}
inline std::array<byte, 256> stretched_table(const byte* in, index n) {
  const auto [low, high] = std::minmax_element(in, in + n);
  const index lowest = *low, range = *high - lowest;
  return table_of([=](index v) { return stretched(v, lowest, range); });
}
inline std::array<byte, 256> flattened_table(const byte* in, index n) {
  std::array<index, 256> count{};
  for (index k = 0; k < n; ++k) ++count[in[k]];
  index brightest = 0, below = 0;
  for (const index c : count) brightest = c > 0 ? c : brightest;
  return table_of([&](index v) {
    const byte level = flattened(v, n, below, brightest);
    below += count[static_cast<std::size_t>(v)];
    return level;
  });
}
}  // namespace detail

/// One operation from `in` to `out`, which do not overlap.
inline void apply(const amounts& a, const std::uint8_t* in, std::uint8_t* out, const image_size& s) {
  using namespace detail;
  if (a.op == operation::autocontrast)
    return look_up(in, out, s, [&](const byte* p) { return stretched_table(p, s.plane()); });
  if (a.op == operation::equalize)
    return look_up(in, out, s, [&](const byte* p) { return flattened_table(p, s.plane()); });
  if (a.levels()) {
    index sum = 0;
    if (a.op == operation::contrast)
      for (index k = 0; k < s.plane(); ++k) sum += grey(in, s, k);
    const index mean = level_of(sum + s.plane() / 2, s.plane());
    const auto table = table_of([&](index v) { return changed_level(a, v, mean); });
    return look_up(in, out, s, [&](const byte*) { return table; });
  }
  for (index y = 0; y < s.height; ++y)
    for (index x = 0; x < s.width; ++x) change_pixel(a, in, out, s, y, x);
}

inline constexpr std::uint64_t stream = stream_id("train.rand_augment");
inline constexpr int most_operations = 16;  ///< of one image

/// The j-th operation of an image in an epoch, and its sign.
struct choice {
  operation op = operation::identity;
  bool negative = false;
  POLYMOE_HD static choice draw(random_root root, std::uint64_t epoch, index image, int j) {
    const random_stream from = root.stream(stream, epoch);
    const auto at = static_cast<std::uint64_t>(image) * most_operations + static_cast<std::uint64_t>(j);
    return {static_cast<operation>(from.below(at, operations)), (from.bits(at).a >> 31) != 0};
  }
};

/// All operations of an image, in turns between `a`, which holds it, and `b`; returns the one that holds the result.
inline const std::uint8_t* apply_all(const augment_options& o, random_root root, std::uint64_t epoch, index image,
                                     std::uint8_t* a, std::uint8_t* b, const image_size& s) {
  for (int j = 0; j < o.rand_operations; ++j) {
    const choice c = choice::draw(root, epoch, image, j);
    apply(amounts::of(c.op, o.rand_strength, c.negative, s), a, b, s);
    std::swap(a, b);
  }
  return a;
}

}  // namespace polymoe::rand_augment
