// What is done to a training image before it is normalised.  Every choice is a pure function of (seed, epoch, image),
// so neither threads, batch size nor a resumed run change a pixel.
#pragma once

#include "../core/rng.hpp"
#include "dataset.hpp"

namespace polymoe::inline v0 {

/// What lies outside the image when it is shifted.
enum class border {
  zero,    ///< pixel value 0 before normalisation
  reflect  ///< mirrored at the edge pixel, which is not repeated
};

/// Left-right mirroring.
enum class flip {
  none,
  random,      ///< a fair coin per image and epoch
  alternating  ///< the coin of the first epoch, then every other epoch (Jordan, arXiv 2404.00498)
};

/// Options of `augmentation`; the default changes nothing.
struct augment_options {
  index pad = 0;  ///< shift by up to this many pixels in each direction (pad and crop)
  border outside = border::zero;
  flip mirror = flip::none;
  index cutout = 0;  ///< side of a square set to the mean, its centre anywhere in the image (arXiv 1708.04552)
  int rand_operations = 0;    ///< RandAugment's N: operations on an image after shift and mirror (rand_augment.hpp)
  double rand_strength = 9;   ///< RandAugment's M, 0..30
  double mixup = 0;   ///< alpha of mixup's Beta(alpha, alpha), 0: off (mix.hpp)
  double cutmix = 0;  ///< alpha of CutMix's, 0: off; with both, a coin per batch decides

  constexpr bool mixes() const { return mixup > 0 || cutmix > 0; }
};

namespace detail {
// A constant: device code may use it, but not call stream_id.
inline constexpr std::uint64_t augment_stream = stream_id("train.augment");
}  // namespace detail

/// The choices made for one image.
struct augmentation {
  index dy = 0, dx = 0;                            ///< output (y, x) shows input (y + dy, x + dx)
  bool mirrored = false;                           ///< applied after the shift
  index top = 0, left = 0, bottom = 0, right = 0;  ///< the cut-out rectangle, empty when top == bottom

  /// Draws from Philox block `image` of the stream "train.augment" at `epoch`.
  POLYMOE_HD static augmentation draw(const augment_options& o, random_root root, std::uint64_t epoch, index image,
                                      index height, index width) {
    constexpr std::uint64_t id = detail::augment_stream;
    const auto w = root.stream(id, epoch).bits(static_cast<std::uint64_t>(image));
    const auto scaled = [](std::uint32_t word, index n) {
      return static_cast<index>((std::uint64_t{word} * static_cast<std::uint64_t>(n)) >> 32);
    };
    augmentation a;
    // The upper half of a word gives the shift, the lower half the cut-out: 16 bits each are plenty for pixels.
    a.dy = scaled(w.a & 0xFFFF0000u, 2 * o.pad + 1) - o.pad;
    a.dx = scaled(w.b & 0xFFFF0000u, 2 * o.pad + 1) - o.pad;
    if (o.mirror == flip::random) a.mirrored = (w.c >> 31) != 0;
    if (o.mirror == flip::alternating)
      a.mirrored = ((root.stream(id, 0).bits(static_cast<std::uint64_t>(image)).c >> 31) + epoch) % 2 != 0;
    if (o.cutout > 0) {
      const index cy = scaled(w.a << 16, height), cx = scaled(w.b << 16, width), half = o.cutout / 2;
      a.top = cy < half ? 0 : cy - half;
      a.left = cx < half ? 0 : cx - half;
      a.bottom = cy - half + o.cutout < height ? cy - half + o.cutout : height;
      a.right = cx - half + o.cutout < width ? cx - half + o.cutout : width;
    }
    return a;
  }

  POLYMOE_HD bool cut(index y, index x) const { return y >= top && y < bottom && x >= left && x < right; }
};

namespace detail {
/// Where position i of a line of n pixels comes from; -1: outside.
POLYMOE_HD inline index source_pixel(index i, index n, border b) {
  if (i >= 0 && i < n) return i;
  if (b == border::zero) return -1;
  return i < 0 ? -i : 2 * n - 2 - i;
}
}  // namespace detail

}  // namespace polymoe
