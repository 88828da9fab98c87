// Labelled images in memory.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

/// N images of C channels, H rows and W columns, one byte a value, with their classes.
struct dataset {
  index channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;      ///< [N, C, H, W]
  std::vector<std::int32_t> labels;      ///< [N], in [0, classes())
  std::vector<std::string> class_names;  ///< [classes]
  std::vector<std::int32_t> coarse;      ///< [N] super-classes, or empty
  std::vector<std::string> coarse_names;
  std::vector<float> mean, stddev;  ///< [C], of pixels scaled to [0, 1]; set by `measure`

  index size() const { return static_cast<index>(labels.size()); }
  index classes() const { return static_cast<index>(class_names.size()); }
  /// Values of one image: C*H*W.
  index features() const { return channels * height * width; }
  /// Image i, `[C, H, W]`.
  std::span<const std::uint8_t> image(index i) const {
    return std::span(pixels).subspan(static_cast<std::size_t>(i * features()), static_cast<std::size_t>(features()));
  }

  /// Throws unless sizes, labels and names fit together.
  void check() const {
    require(channels > 0 && height > 0 && width > 0, "dataset: images are [", channels, ", ", height, ", ", width, "]");
    require(static_cast<index>(pixels.size()) == size() * features(), "dataset: ", pixels.size(), " pixels for ",
            size(), " labels of ", features(), "-pixel images");
    const auto in_range = [](const std::vector<std::int32_t>& all, index classes_, const char* what) {
      for (std::size_t i = 0; i < all.size(); ++i)
        require(all[i] >= 0 && all[i] < classes_, "dataset: the ", what, " of image ", i, " is ", all[i],
                ", there are ", classes_, " classes");
    };
    in_range(labels, classes(), "label");
    require(coarse.empty() || coarse.size() == labels.size(), "dataset: ", coarse.size(), " super-classes for ", size(),
            " labels");
    in_range(coarse, static_cast<index>(coarse_names.size()), "super-class");
  }

  /// Sets mean and standard deviation (of the population) per channel; exact integer sums, so independent of order.
  void measure() {
    require(size() > 0, "dataset: no images to measure");
    mean.assign(static_cast<std::size_t>(channels), 0.0f);
    stddev.assign(static_cast<std::size_t>(channels), 0.0f);
    const index plane = height * width;
    for (index c = 0; c < channels; ++c) {
      std::uint64_t sum = 0, squares = 0;
      for (index i = 0; i < size(); ++i) {
        const std::uint8_t* p = pixels.data() + i * features() + c * plane;
        for (index k = 0; k < plane; ++k) {
          sum += p[k];
          squares += std::uint64_t{p[k]} * p[k];
        }
      }
      const double n = static_cast<double>(size() * plane);
      const double m = static_cast<double>(sum) / n;
      const double variance = static_cast<double>(squares) / n - m * m;
      mean[static_cast<std::size_t>(c)] = static_cast<float>(m / 255.0);
      stddev[static_cast<std::size_t>(c)] = static_cast<float>(std::sqrt(variance > 0 ? variance : 0) / 255.0);
    }
  }

  /// The images `which`, in that order, with the same names and statistics.
  dataset subset(std::span<const index> which) const {
    dataset d;
    d.channels = channels, d.height = height, d.width = width;
    d.class_names = class_names, d.coarse_names = coarse_names;
    d.mean = mean, d.stddev = stddev;
    d.pixels.reserve(which.size() * static_cast<std::size_t>(features()));
    for (const index i : which) {
      require(i >= 0 && i < size(), "dataset: image ", i, " of ", size());
      const auto p = image(i);
      d.pixels.insert(d.pixels.end(), p.begin(), p.end());
      d.labels.push_back(labels[static_cast<std::size_t>(i)]);
      if (!coarse.empty()) d.coarse.push_back(coarse[static_cast<std::size_t>(i)]);
    }
    return d;
  }
  /// Images [first, first + count).
  dataset slice(index first, index count) const {
    require(first >= 0 && count >= 0 && first <= size() - count, "dataset: images ", first, "..", first + count, " of ",
            size());
    std::vector<index> which(static_cast<std::size_t>(count));
    for (index i = 0; i < count; ++i) which[static_cast<std::size_t>(i)] = first + i;
    return subset(which);
  }
};

/// The two halves of a benchmark; both carry the statistics of the training images.
struct train_test {
  dataset train, test;
};

}  // namespace polymoe
