// A made-up data set of clustered images, for tests and for machines without data: the same images everywhere.
//
// Every class has several prototypes, smooth random patterns; an image is one of them, shifted a little, with noise.
// Prototypes of one super-class share half of their pattern, so that classes are confused within it first.
#pragma once

#include <algorithm>
#include <string_view>

#include "../core/rng.hpp"
#include "dataset.hpp"

namespace polymoe::inline v0 {

struct synthetic_options {
  index classes = 10, per_class = 100;
  index super_classes = 0;  ///< class c belongs to super-class c % super_classes; 0: none
  index channels = 3, height = 32, width = 32;
  index prototypes = 3;   ///< of a class
  double noise = 0.15;    ///< deviation of the pixel noise, where 1 is the whole range
  index shift = 2;        ///< pixels, each way
  std::uint64_t seed = 0; ///< of prototypes and images
  std::uint64_t part = 0; ///< other images of the same prototypes: 0 for training, 1 for test
};

/// classes * per_class images, class by class in turns.  A function of the options alone.
inline dataset synthetic_images(const synthetic_options& o) {
  require(o.classes >= 1 && o.per_class >= 1 && o.channels >= 1 && o.height >= 1 && o.width >= 1 && o.prototypes >= 1,
          "synthetic_images: ", o.classes, " classes of ", o.per_class, " images [", o.channels, ", ", o.height, ", ",
          o.width, "], ", o.prototypes, " prototypes");
  require(o.super_classes >= 0 && o.super_classes <= o.classes && o.noise >= 0 && o.shift >= 0,
          "synthetic_images: ", o.super_classes, " super-classes, noise ", o.noise, ", shift ", o.shift);
  const random_root root{o.seed};
  // A sum of four waves per channel, with whole periods over the image so that shifts wrap round.
  struct wave {
    double y, x, phase;
  };
  const auto waves_of = [&](std::string_view name, std::uint64_t which) {
    const random_stream draw = root.stream(stream_id(name), which);
    std::vector<wave> w;
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(4 * o.channels); ++i)
      w.push_back({static_cast<double>(draw.below(3 * i, 4)), static_cast<double>(draw.below(3 * i + 1, 4)),
                   static_cast<double>(draw.uniform(3 * i + 2))});
    return w;
  };
  const auto value = [&](const std::vector<wave>& w, index c, double y, double x) {
    double s = 0;
    for (index i = 0; i < 4; ++i) {
      const wave& k = w[static_cast<std::size_t>(4 * c + i)];
      s += std::cos(2 * 3.14159265358979323846 * (k.y * y + k.x * x + k.phase));
    }
    return s / 8;  // in [-1/2, 1/2]
  };
  dataset d;
  d.channels = o.channels, d.height = o.height, d.width = o.width;
  for (index c = 0; c < o.classes; ++c) d.class_names.push_back("class " + std::to_string(c));
  for (index c = 0; c < o.super_classes; ++c) d.coarse_names.push_back("super-class " + std::to_string(c));
  for (index i = 0; i < o.per_class; ++i)
    for (index c = 0; c < o.classes; ++c) {
      const random_stream draw =
          root.stream(stream_id("synthetic.image"),
                      static_cast<std::uint64_t>((o.part << 40) + static_cast<std::uint64_t>(i * o.classes + c)));
      const std::uint64_t kind = draw.below(0, static_cast<std::uint32_t>(o.prototypes));
      const auto span = static_cast<std::uint32_t>(2 * o.shift + 1);
      const double dy = static_cast<double>(draw.below(1, span)) - static_cast<double>(o.shift),
                   dx = static_cast<double>(draw.below(2, span)) - static_cast<double>(o.shift);
      const auto own = waves_of("synthetic.class", static_cast<std::uint64_t>(c * o.prototypes) + kind);
      const auto shared =
          o.super_classes ? waves_of("synthetic.super", static_cast<std::uint64_t>(c % o.super_classes)) : own;
      std::uint64_t n = 3;
      for (index ch = 0; ch < o.channels; ++ch)
        for (index y = 0; y < o.height; ++y)
          for (index x = 0; x < o.width; ++x, ++n) {
            const double v = (static_cast<double>(y) + dy) / static_cast<double>(o.height),
                         u = (static_cast<double>(x) + dx) / static_cast<double>(o.width);
            const double p = 0.5 + 0.5 * (value(own, ch, v, u) + value(shared, ch, v, u)) +
                             o.noise * static_cast<double>(draw.normal(n));
            d.pixels.push_back(static_cast<std::uint8_t>(std::clamp(p * 255 + 0.5, 0.0, 255.0)));
          }
      d.labels.push_back(static_cast<std::int32_t>(c));
      if (o.super_classes) d.coarse.push_back(static_cast<std::int32_t>(c % o.super_classes));
    }
  d.measure();
  return d;
}

}  // namespace polymoe
