// RandAugment (Cubuk et al. 2020): N operations of one strength on an image of bytes, each drawn from a list of
// fourteen.
//
// Strength M runs from 0 to 30; the ranges are those of the paper's table in torchvision's numbers, operations with a
// direction get a random sign.  At M = 0 all but autocontrast and equalize leave the image as it is.  All pixels are
// worked out in integers: bits do not depend on the processor.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

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
  constexpr index plane() const { return height * width; }
  constexpr index bytes() const { return channels * plane(); }
};

namespace detail {
using byte = std::uint8_t;
inline constexpr index one = 1 << 16;  ///< 1 in the fixed point numbers of this file
inline index fixed(double x) { return static_cast<index>(std::llround(x * static_cast<double>(one))); }
inline byte clamped(index x) { return static_cast<byte>(x < 0 ? 0 : x > 255 ? 255 : x); }
/// away + factor (p - away), rounded to nearest.
inline byte blended(index p, index away, index factor) {
  return clamped((away * one + factor * (p - away) + one / 2) >> 16);
}
/// Grey of three channels as the readers of pictures make it; one channel as it is.
inline index grey(const byte* in, const image_size& s, index at) {
  if (s.channels != 3) return in[at];
  return (299 * in[at] + 587 * in[s.plane() + at] + 114 * in[2 * s.plane() + at] + 500) / 1000;
}

/// out(y, x) = in at the nearest place of A (y, x) about the middle, less (dy, dx); 0 outside.  A = {xx, xy, yx, yy},
/// fixed.
inline void warp(const byte* in, byte* out, const image_size& s, const std::array<index, 4>& a, index dy, index dx) {
  for (index y = 0; y < s.height; ++y)
    for (index x = 0; x < s.width; ++x) {
      const index u = 2 * x - (s.width - 1), v = 2 * y - (s.height - 1);  // twice the distance from the middle
      const index sx = ((a[0] * u + a[1] * v + s.width * one) >> 17) - dx;
      const index sy = ((a[2] * u + a[3] * v + s.height * one) >> 17) - dy;
      const bool inside = sx >= 0 && sx < s.width && sy >= 0 && sy < s.height;
      for (index c = 0; c < s.channels; ++c)
        out[c * s.plane() + y * s.width + x] = inside ? in[c * s.plane() + sy * s.width + sx] : byte{0};
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
  for (index v = 0; v < 256; ++v) t[static_cast<std::size_t>(v)] = clamped(f(v));
  return t;
}
inline std::array<byte, 256> stretched(const byte* in, index n) {
  const auto [low, high] = std::minmax_element(in, in + n);
  const index lo = *low, range = *high - lo;
  return table_of([=](index v) { return range == 0 ? v : ((v - lo) * 255 + range / 2) / range; });
}
/// As in PIL's ImageOps.equalize.
inline std::array<byte, 256> equalized(const byte* in, index n) {
  std::array<index, 256> count{};
  for (index k = 0; k < n; ++k) ++count[in[k]];
  index last = 0;
  for (const index c : count) last = c > 0 ? c : last;
  const index step = (n - last) / 255;
  index before = step / 2;
  return table_of([&](index v) {
    const index level = step == 0 ? v : before / step;
    before += count[static_cast<std::size_t>(v)];
    return level;
  });
}
inline void sharpen(const byte* in, byte* out, const image_size& s, index factor) {
  std::copy_n(in, s.bytes(), out);
  for (index c = 0; c < s.channels; ++c)
    for (index y = 1; y + 1 < s.height; ++y)
      for (index x = 1; x + 1 < s.width; ++x) {
        const byte* p = in + c * s.plane() + y * s.width + x;
        index sum = 4 * *p;  // 5 in the middle, 1 around, of 13
        for (index dy = -1; dy <= 1; ++dy)
          for (index dx = -1; dx <= 1; ++dx) sum += p[dy * s.width + dx];
        out[p - in] = blended(*p, (sum + 6) / 13, factor);
      }
}
}  // namespace detail

/// One operation of strength `m` in [0, 30], with the sign given, from `in` to `out`, which do not overlap.
inline void apply(operation op, double m, bool negative, const std::uint8_t* in, std::uint8_t* out,
                  const image_size& s) {
  using namespace detail;
  const double share = m / most_strength, sign = negative ? -1 : 1;
  const index factor = fixed(1 + sign * 0.9 * share);
  switch (op) {
    case operation::identity:
      std::copy_n(in, s.bytes(), out);
      return;
    case operation::autocontrast:
      return look_up(in, out, s, [&](const std::uint8_t* p) { return stretched(p, s.plane()); });
    case operation::equalize:
      return look_up(in, out, s, [&](const std::uint8_t* p) { return equalized(p, s.plane()); });
    case operation::rotate: {
      const double angle = sign * share * 30 * 3.141592653589793 / 180;
      const index c = fixed(std::cos(angle)), n = fixed(std::sin(angle));
      return warp(in, out, s, {c, -n, n, c}, 0, 0);
    }
    case operation::solarize: {
      const auto threshold = static_cast<index>(std::lround(256 * (1 - share)));
      return look_up(in, out, s, [&](const std::uint8_t*) {
        return table_of([=](index v) { return v < threshold ? v : 255 - v; });
      });
    }
    case operation::colour:
      for (index k = 0; k < s.plane(); ++k)
        for (index c = 0; c < s.channels; ++c)
          out[c * s.plane() + k] =
              blended(in[c * s.plane() + k], s.channels == 3 ? grey(in, s, k) : in[c * s.plane() + k], factor);
      return;
    case operation::posterize: {
      const auto dropped = static_cast<index>(std::lround(4 * share));
      return look_up(in, out, s,
                     [&](const std::uint8_t*) { return table_of([=](index v) { return v >> dropped << dropped; }); });
    }
    case operation::contrast: {
      index sum = 0;
      for (index k = 0; k < s.plane(); ++k) sum += grey(in, s, k);
      const index mean = (sum + s.plane() / 2) / s.plane();
      return look_up(in, out, s,
                     [&](const std::uint8_t*) { return table_of([=](index v) { return blended(v, mean, factor); }); });
    }
    case operation::brightness:
      return look_up(in, out, s,
                     [&](const std::uint8_t*) { return table_of([=](index v) { return blended(v, 0, factor); }); });
    case operation::sharpness:
      return sharpen(in, out, s, factor);
    case operation::shear_x:
      return warp(in, out, s, {one, fixed(sign * 0.3 * share), 0, one}, 0, 0);
    case operation::shear_y:
      return warp(in, out, s, {one, 0, fixed(sign * 0.3 * share), one}, 0, 0);
    case operation::translate_x:
      return warp(in, out, s, {one, 0, 0, one}, 0,
                  std::lround(sign * share * 150 / 331 * static_cast<double>(s.width)));
    case operation::translate_y:
      return warp(in, out, s, {one, 0, 0, one}, std::lround(sign * share * 150 / 331 * static_cast<double>(s.height)),
                  0);
  }
}

inline constexpr std::uint64_t stream = stream_id("train.rand_augment");
inline constexpr int most_operations = 16;  ///< of one image

/// The j-th operation of an image in an epoch, and its sign.
struct choice {
  operation op = operation::identity;
  bool negative = false;
  static choice draw(random_root root, std::uint64_t epoch, index image, int j) {
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
    apply(c.op, o.rand_strength, c.negative, a, b, s);
    std::swap(a, b);
  }
  return a;
}

}  // namespace polymoe::rand_augment
