// Images that are not in memory: what a data set asks of the place where they lie.
//
// A store is read in two ways: single images (pictures of a report), and a queue of many in an order known beforehand,
// which a loader drains while threads decode what comes next.  image_prefetch.hpp has the one for folders of pictures;
// a data base or an archive would be another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

/// Images handed out one after the other.
class image_queue {
 public:
  image_queue() = default;
  image_queue(const image_queue&) = delete;
  image_queue& operator=(const image_queue&) = delete;
  virtual ~image_queue() = default;
  /// The next image to `pixels` `[C, H, W]` and its class to `label`; false after the last.  Throws the error of an
  /// image that cannot be read when its turn comes.
  virtual bool next(std::span<std::uint8_t> pixels, std::int32_t& label) = 0;
};

/// Images of one size by their number.  Const calls may come from several threads at a time.
class image_store {
 public:
  image_store() = default;
  image_store(const image_store&) = delete;
  image_store& operator=(const image_store&) = delete;
  virtual ~image_store() = default;
  /// Number of images.
  virtual index size() const = 0;
  /// Values of an image: C * H * W.
  virtual index features() const = 0;
  /// Image i to `pixels` `[C, H, W]`.  Throws when it cannot be read.
  virtual void read(index i, std::span<std::uint8_t> pixels) const = 0;
  /// The images order[0], order[1], ..., of which at most `ahead` wait, ready, to be
  /// taken.  Does not outlive the store.
  virtual std::unique_ptr<image_queue> queue(std::vector<index> order, index ahead) const = 0;
  /// The images `which`, in that order.
  virtual std::shared_ptr<const image_store> subset(std::span<const index> which) const = 0;
};

}  // namespace polymoe
