// Pictures of a list decoded ahead by threads, handed out in order: for data sets that do not fit into memory.
//
// What next() gives depends on the list, the order and the options alone, not on the number of threads.  Data sets in
// memory (read_images) need none of this; open_images makes a data set whose pictures stay on disk, for loaders and
// trainers like any other.
#pragma once

#include <condition_variable>
#include <mutex>

#include "image_folder.hpp"

namespace polymoe::inline v0 {

struct image_prefetch_options {
  read_images_options read{};  ///< `threads` decode; with skip_bad unreadable pictures are passed over
  index ahead = 64;            ///< at most so many pictures are decoded and not yet taken
};

/// Hands out the pictures `order[0]`, `order[1]`, ... of a list.  One consumer; destroying it stops the threads after
/// the pictures they are at.
///
///     image_prefetch next_ones(list, order, {.read = {.threads = 4}, .ahead = 256});
///     while (next_ones.next(pixels, label)) ...
class image_prefetch final : public image_queue {
 public:
  /// Throws when the order names pictures that are not in the list, or the options make no sense.  Starts the threads.
  image_prefetch(image_list list, std::vector<index> order, image_prefetch_options o)
      : image_prefetch(std::make_shared<const image_list>(std::move(list)), std::move(order), o) {}
  image_prefetch(std::shared_ptr<const image_list> list, std::vector<index> order, image_prefetch_options o)
      : list_(std::move(list)),
        order_(std::move(order)),
        options_(o),
        features_(detail::check_reading(*list_, o.read)) {
    require(o.ahead >= 1, "image_prefetch: ahead is ", o.ahead, ", it must be at least 1");
    const auto all = static_cast<index>(list_->paths.size());
    for (std::size_t i = 0; i < order_.size(); ++i)
      require(order_[i] >= 0 && order_[i] < all, "image_prefetch: place ", i, " of the order names picture ", order_[i],
              " of ", all);
    const index places = std::min(o.ahead, static_cast<index>(order_.size()));
    pixels_.resize(static_cast<std::size_t>(checked_mul(places, features_, "image_prefetch: bytes")));
    places_.resize(static_cast<std::size_t>(places));
    try {
      for (index t = 0; t < std::min<index>(o.read.threads, places); ++t) team_.emplace_back([this] { work(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~image_prefetch() override { stop(); }

  /// Values of one picture: channels * height * width.
  index features() const { return features_; }
  /// The next picture to `pixels` `[C, H, W]` and its class to `label`; false after the last.  Throws the error of a
  /// picture that cannot be read, with the name of its file, when its turn comes; the call after that goes on behind
  /// it.
  bool next(std::span<std::uint8_t> pixels, std::int32_t& label) override {
    require(static_cast<index>(pixels.size()) == features_, "image_prefetch: room for ", pixels.size(),
            " values, a picture has ", features_);
    for (;;) {
      std::unique_lock lock(mutex_);
      if (taken_ == static_cast<index>(order_.size())) return false;
      place& p = place_of(taken_);
      ready_.wait(lock, [&] { return p.done; });
      lock.unlock();  // nobody writes to a place that is done until it is taken
      const auto picture = static_cast<std::size_t>(order_[static_cast<std::size_t>(taken_)]);
      const std::string why = std::move(p.wrong);
      if (why.empty()) {
        std::copy_n(pixels_of(taken_), features_, pixels.data());
        label = list_->labels[picture];
      }
      lock.lock();
      p = {};
      ++taken_;
      lock.unlock();
      room_.notify_one();
      if (why.empty()) return true;
      if (!options_.read.skip_bad) detail::fail(why);
      skipped_.push_back({list_->paths[picture], why});
    }
  }
  /// Pictures that were passed over so far (read_images_options::skip_bad).
  const std::vector<skipped_image>& skipped() const { return skipped_; }

 private:
  /// Where a picture waits: turn `i` has place i % places.
  struct place {
    bool done = false;
    std::string wrong{};
  };
  place& place_of(index turn) { return places_[static_cast<std::size_t>(turn) % places_.size()]; }
  std::uint8_t* pixels_of(index turn) { return pixels_.data() + turn % static_cast<index>(places_.size()) * features_; }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    room_.notify_all();
    team_.clear();  // joins
  }
  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [&] {
        return stopped_ || started_ == static_cast<index>(order_.size()) ||
               started_ < taken_ + static_cast<index>(places_.size());
      });
      if (stopped_ || started_ == static_cast<index>(order_.size())) return;
      const index turn = started_++;
      const bool last = started_ == static_cast<index>(order_.size());
      lock.unlock();
      if (last) room_.notify_all();  // who waits for room may go home
      const auto picture = static_cast<std::size_t>(order_[static_cast<std::size_t>(turn)]);
      std::string wrong = detail::read_picture(list_->paths[picture], options_.read, pixels_of(turn));
      lock.lock();
      place& p = place_of(turn);
      p.wrong = std::move(wrong), p.done = true;
      lock.unlock();
      ready_.notify_one();
    }
  }

  std::shared_ptr<const image_list> list_;
  std::vector<index> order_;
  image_prefetch_options options_;
  index features_ = 0;
  std::vector<std::uint8_t> pixels_;  ///< [places, C, H, W]
  std::vector<place> places_;
  std::vector<skipped_image> skipped_;
  std::mutex mutex_;  ///< of what follows, and of `done`
  std::condition_variable ready_, room_;
  index started_ = 0, taken_ = 0;  ///< turns that a thread has begun, that next() has handed out
  bool stopped_ = false;
  std::vector<std::jthread> team_;
};

/// Pictures of a list, read and decoded each time they are asked for.
class picture_store final : public image_store {
 public:
  /// Throws when list and options make no sense.  Unreadable pictures are errors when their turn comes, whatever
  /// o.skip_bad says: a data set has told how many there are.
  picture_store(image_list list, read_images_options o)
      : list_(std::make_shared<const image_list>(std::move(list))),
        options_(o),
        features_(detail::check_reading(*list_, o)) {
    options_.skip_bad = false;
  }
  index size() const override { return static_cast<index>(list_->paths.size()); }
  index features() const override { return features_; }
  void read(index i, std::span<std::uint8_t> pixels) const override {
    require(i >= 0 && i < size() && static_cast<index>(pixels.size()) == features_, "picture_store: picture ", i,
            " of ", size(), " into ", pixels.size(), " bytes, it has ", features_);
    const std::string wrong = detail::read_picture(list_->paths[static_cast<std::size_t>(i)], options_, pixels.data());
    if (!wrong.empty()) detail::fail(wrong);
  }
  std::unique_ptr<image_queue> queue(std::vector<index> order, index ahead) const override {
    return std::make_unique<image_prefetch>(list_, std::move(order), image_prefetch_options{options_, ahead});
  }
  std::shared_ptr<const image_store> subset(std::span<const index> which) const override {
    image_list some;
    some.class_names = list_->class_names;
    for (const index i : which) {
      require(i >= 0 && i < size(), "picture_store: picture ", i, " of ", size());
      some.paths.push_back(list_->paths[static_cast<std::size_t>(i)]);
      some.labels.push_back(list_->labels[static_cast<std::size_t>(i)]);
    }
    return std::make_shared<const picture_store>(std::move(some), options_);
  }

 private:
  std::shared_ptr<const image_list> list_;
  read_images_options options_;
  index features_ = 0;
};

/// A data set whose pictures stay on disk, as read_images would make it in memory: the same images, labels, mean and
/// deviation.  Every picture is decoded once to find those that cannot be read and to measure; an unreadable one
/// throws, or with o.skip_bad is left out and named.  `progress(done, all)` is called now and then.
template <class Progress>
read_images_result open_images(const image_list& list, const read_images_options& o, Progress progress) {
  const index features = detail::check_reading(list, o), n = static_cast<index>(list.paths.size());
  pixel_sums sums(o.channels, o.height * o.width);
  read_images_result out;
  image_list good;
  good.class_names = list.class_names;
  {
    std::vector<index> order(static_cast<std::size_t>(n));
    for (index i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
    image_prefetch all(list, std::move(order), {o, std::max<index>(64, 4 * o.threads)});
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(features));
    std::int32_t label = 0;
    for (index at = 0; all.next(pixels, label); ++at) {
      // Pictures that were passed over lie before this one.
      for (; out.skipped.size() < all.skipped().size(); ++at) out.skipped.push_back(all.skipped()[out.skipped.size()]);
      good.paths.push_back(list.paths[static_cast<std::size_t>(at)]), good.labels.push_back(label);
      sums.add(pixels);
      if (at % 64 == 63) progress(at + 1, n);
    }
    out.skipped = all.skipped();
  }
  progress(n, n);
  require(!good.paths.empty(), "open_images: none of ", n, " pictures can be read, the first: ",
          out.skipped.empty() ? std::string("there are none") : out.skipped.front().why);
  dataset& d = out.data;
  d.channels = o.channels, d.height = o.height, d.width = o.width, d.class_names = list.class_names,
  d.labels = good.labels;
  sums.finish(d.mean, d.stddev);
  d.store = std::make_shared<const picture_store>(std::move(good), o);
  return out;
}
inline read_images_result open_images(const image_list& list, const read_images_options& o = {}) {
  return open_images(list, o, [](index, index) {});
}

}  // namespace polymoe
