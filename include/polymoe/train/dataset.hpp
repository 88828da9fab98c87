// Labelled images, in memory or in a store that is read when they are needed.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "image_store.hpp"

namespace polymoe::inline v0 {

/// Sums of bytes and of their squares per channel, exact, so that the order of images does not matter.
class pixel_sums {
 public:
  pixel_sums(index channels, index plane)
      : plane_(plane), sum_(static_cast<std::size_t>(channels)), squares_(static_cast<std::size_t>(channels)) {}
  /// One image `[C, H, W]`.
  void add(std::span<const std::uint8_t> image) {
    const std::uint8_t* p = image.data();
    for (std::size_t c = 0; c < sum_.size(); ++c, p += plane_)
      for (index k = 0; k < plane_; ++k) {
        sum_[c] += p[k];
        squares_[c] += std::uint64_t{p[k]} * p[k];
      }
    ++images_;
  }
  /// Mean and standard deviation of every channel, of pixels scaled to [0, 1].
  void finish(std::vector<float>& mean, std::vector<float>& stddev) const {
    require(images_ > 0, "pixel_sums: no images to measure");
    mean.clear(), stddev.clear();
    const double n = static_cast<double>(images_ * plane_);
    for (std::size_t c = 0; c < sum_.size(); ++c) {
      const double m = static_cast<double>(sum_[c]) / n;
      const double variance = static_cast<double>(squares_[c]) / n - m * m;
      mean.push_back(static_cast<float>(m / 255.0));
      stddev.push_back(static_cast<float>(std::sqrt(variance > 0 ? variance : 0) / 255.0));
    }
  }

 private:
  index plane_, images_ = 0;
  std::vector<std::uint64_t> sum_, squares_;
};

/// N images of C channels, H rows and W columns, one byte a value, with their classes.
struct dataset {
  index channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;      ///< [N, C, H, W]; empty with a store
  std::shared_ptr<const image_store> store{};  ///< where the images are when they are not in memory
  std::vector<std::int32_t> labels;      ///< [N], in [0, classes())
  std::vector<std::string> class_names;  ///< [classes]
  std::vector<std::int32_t> coarse;      ///< [N] super-classes, or empty
  std::vector<std::string> coarse_names;
  std::vector<float> mean, stddev;  ///< [C], of pixels scaled to [0, 1]; set by `measure`

  index size() const { return static_cast<index>(labels.size()); }
  index classes() const { return static_cast<index>(class_names.size()); }
  /// Values of one image: C*H*W.
  index features() const { return channels * height * width; }
  /// Image i, `[C, H, W]`, of a data set in memory.
  std::span<const std::uint8_t> image(index i) const {
    require(!store, "dataset: image ", i, " lies in a store, not in memory; copy_image reads it");
    return std::span(pixels).subspan(static_cast<std::size_t>(i * features()), static_cast<std::size_t>(features()));
  }

  /// Image i to `to` `[C, H, W]`, wherever it is.
  void copy_image(index i, std::span<std::uint8_t> to) const {
    require(i >= 0 && i < size() && static_cast<index>(to.size()) == features(), "dataset: image ", i, " of ", size(),
            " into ", to.size(), " bytes, it has ", features());
    if (store) return store->read(i, to);
    const auto from = image(i);
    std::copy(from.begin(), from.end(), to.begin());
  }

  /// Throws unless sizes, labels and names fit together.
  void check() const {
    require(channels > 0 && height > 0 && width > 0, "dataset: images are [", channels, ", ", height, ", ", width, "]");
    if (store) {
      require(pixels.empty(), "dataset: ", pixels.size(), " pixels in memory, and a store of images");
      require(store->size() == size() && store->features() == features(), "dataset: a store of ", store->size(),
              " images of ", store->features(), " values for ", size(), " labels of ", features(), "-pixel images");
    } else {
      require(static_cast<index>(pixels.size()) == size() * features(), "dataset: ", pixels.size(), " pixels for ",
              size(), " labels of ", features(), "-pixel images");
    }
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

  /// Sets mean and standard deviation (of the population) per channel; exact integer sums, so independent of order.  Of
  /// a store this reads every image.
  void measure() {
    require(size() > 0, "dataset: no images to measure");
    pixel_sums sums(channels, height * width);
    if (store) {
      std::vector<index> all(labels.size());
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<index>(i);
      std::vector<std::uint8_t> one(static_cast<std::size_t>(features()));
      std::int32_t label = 0;
      for (const auto queue = store->queue(std::move(all), 64); queue->next(one, label);) sums.add(one);
    } else {
      for (index i = 0; i < size(); ++i) sums.add(image(i));
    }
    sums.finish(mean, stddev);
  }

  /// The images `which`, in that order, with the same names and statistics.
  dataset subset(std::span<const index> which) const {
    dataset d;
    d.channels = channels, d.height = height, d.width = width;
    d.class_names = class_names, d.coarse_names = coarse_names;
    d.mean = mean, d.stddev = stddev;
    for (const index i : which) require(i >= 0 && i < size(), "dataset: image ", i, " of ", size());
    if (store) d.store = store->subset(which);
    else d.pixels.reserve(which.size() * static_cast<std::size_t>(features()));
    for (const index i : which) {
      if (!store) {
        const auto p = image(i);
        d.pixels.insert(d.pixels.end(), p.begin(), p.end());
      }
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
