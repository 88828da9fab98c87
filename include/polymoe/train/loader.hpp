// Batches of a data set: shuffled, augmented, normalised, as rows of a view.
//
// The order of an epoch is a sort by random keys (all n! orders are equally likely), a pure function of (seed, epoch);
// a run can be resumed at any batch.  `fill` is const and keeps nothing, so that a second thread may prepare the next
// batch meanwhile; only with RandAugment, whose images of bytes lie in the loader, and with images in a store two fills
// must not run at a time.
//
// Images in a store (dataset::store) come through a queue in the epoch's order, two batches ahead of the one that is
// asked for.  Batches asked for out of order are as right and begin a new queue.
#pragma once

#include <algorithm>
#include <array>

#include "../backend/cpu/parallel.hpp"
#include "mix.hpp"
#include "rand_augment.hpp"

namespace polymoe::inline v0 {

/// Sets `order` to a random permutation of 0 .. order.size()-1.  `keys` is scratch and keeps its memory between calls.
inline void random_order(std::span<index> order, random_stream stream,
                         std::vector<std::pair<std::uint64_t, index>>& keys) {
  keys.resize(order.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto w = stream.bits(i);
    keys[i] = {std::uint64_t{w.a} << 32 | w.b, static_cast<index>(i)};
  }
  std::sort(keys.begin(), keys.end());
  for (std::size_t i = 0; i < keys.size(); ++i) order[i] = keys[i].second;
}

/// Options of a loader; the default walks the images in order and changes none.
struct loader_options {
  index batch = 128;
  bool shuffle = false;
  bool drop_last = false;  ///< leave out a last batch that is not full
  augment_options augment = {};
  std::uint64_t seed = 0;
  /// GPUs: a data set of at most so many bytes of pixels is kept whole in device memory, a larger one is streamed
  /// through pinned memory; 0: half of the memory that is free.
  std::size_t resident_bytes = 0;
};

/// Hands out batches of T = float, double or bf16.
///
///     loader<float> train(data, {.batch = 128, .shuffle = true, .augment = {.pad = 4, .mirror = flip::random}});
///     train.begin_epoch(epoch);
///     for (index b = 0; b < train.batches(); ++b) { index n = train.fill(stream, b, x, labels); ... }
template <class T>
class loader {
  static_assert(plane_count<T> == 1,
                "polymoe: a loader fills plain numbers, copy them into the value plane of a dual tensor");

 public:
  /// `data` has to outlive the loader.  Throws when the data set is inconsistent, not measured, or too small for the
  /// options.
  loader(const dataset& data, loader_options options) : data_(&data), options_(options) {
    data.check();
    const auto& o = options_;
    require(o.batch > 0, "loader: the batch has ", o.batch, " images");
    require(data.size() > 0, "loader: the data set has no images");
    const auto c = static_cast<std::size_t>(data.channels);
    require(data.mean.size() == c && data.stddev.size() == c, "loader: ", data.mean.size(), " means and ",
            data.stddev.size(), " deviations for ", c, " channels; call dataset::measure()");
    require(o.augment.pad >= 0 && o.augment.cutout >= 0, "loader: pad ", o.augment.pad, ", cutout ", o.augment.cutout);
    const index least = std::min(data.height, data.width);
    require(o.augment.pad < least, "loader: pad ", o.augment.pad, ", the images are ", data.height, "x", data.width);
    require(data.height < 65536 && data.width < 65536, "loader: the images are ", data.height, "x", data.width,
            ", at most 65535x65535");
    const auto good = [](double alpha) {
      return alpha == 0 || (alpha >= batch_mix::least_alpha && alpha <= batch_mix::most_alpha);
    };
    require(good(o.augment.mixup) && good(o.augment.cutmix), "loader: mixup ", o.augment.mixup, ", cutmix ",
            o.augment.cutmix, " must be 0 or lie in [", batch_mix::least_alpha, ", ", batch_mix::most_alpha, "]");
    require(o.augment.rand_operations >= 0 && o.augment.rand_operations <= rand_augment::most_operations &&
                o.augment.rand_strength >= 0 && o.augment.rand_strength <= rand_augment::most_strength,
            "loader: RandAugment has 0 to ", rand_augment::most_operations, " operations of strength 0 to ",
            rand_augment::most_strength, ", asked for ", o.augment.rand_operations, " of ", o.augment.rand_strength);
    if (o.augment.rand_operations > 0)
      bytes_.resize(
          static_cast<std::size_t>(checked_mul(2 * std::min(o.batch, data.size()), data.features(), "loader")));
    order_.resize(static_cast<std::size_t>(data.size()));
    table_.resize(c);
    for (std::size_t k = 0; k < c; ++k) {
      // A constant channel has deviation 0 and becomes 0.
      const double scale = data.stddev[k] > 0 ? 1.0 / data.stddev[k] : 0.0;
      for (int v = 0; v < 256; ++v)
        table_[k][static_cast<std::size_t>(v)] =
            static_cast<T>(static_cast<compute_t<T>>((v / 255.0 - data.mean[k]) * scale));
    }
    begin_epoch(0);
  }

  /// Batches of an epoch.
  index batches() const {
    return options_.drop_last ? data_->size() / options_.batch : ceil_div(data_->size(), options_.batch);
  }
  /// Sets order and augmentation of `epoch`; the only call that allocates, and only the first time.
  void begin_epoch(std::uint64_t epoch) {
    epoch_ = epoch;
    if (options_.shuffle) {
      random_order(order_, random_root{options_.seed}.stream(stream_id("train.shuffle"), epoch), keys_);
    } else {
      for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<index>(i);
    }
  }
  std::uint64_t epoch() const { return epoch_; }
  /// All images in the order of the epoch, as positions in the data set.
  std::span<const index> order() const { return order_; }
  /// The images of batch b, as positions in the data set.
  std::span<const index> images(index b) const {
    require(b >= 0 && b < batches(), "loader: batch ", b, " of ", batches());
    const index first = b * options_.batch;
    const index n = std::min(options_.batch, data_->size() - first);
    return std::span<const index>(order_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n));
  }

  /// How batch b of the epoch is mixed.
  batch_mix mix(index b) const {
    return batch_mix::draw(options_.augment, {options_.seed}, epoch_, b, data_->height, data_->width);
  }
  /// The same, and the labels of its images' partners into the first n of `second`.
  batch_mix mix(index b, std::span<std::int32_t> second) const {
    const auto which = images(b);
    require(second.size() >= which.size(), "loader: room for ", second.size(), " second labels, the batch has ",
            which.size());
    const auto n = static_cast<index>(which.size());
    for (index r = 0; r < n; ++r)
      second[static_cast<std::size_t>(r)] = label_of(which[static_cast<std::size_t>(batch_mix::partner(r, n))]);
    return mix(b);
  }
  /// Writes batch b to the first n rows of `x` `[>= n, C*H*W]` and of `labels`; returns n.  Every pixel is
  /// (p/255 - mean)/stddev of its channel, images are augmented each by itself, then mixed.  The same bits for any
  /// number of threads.
  template <class Stream>
  index fill(const Stream& s, index b, view<T> x, std::span<std::int32_t> labels) const {
    const auto which = images(b);
    const auto n = static_cast<index>(which.size());
    require(x.rows >= n && x.cols == data_->features(), "loader: the view is ", shape_text(x), ", the batch is [", n,
            ", ", data_->features(), "]");
    require(labels.size() >= which.size(), "loader: room for ", labels.size(), " labels, the batch has ", n);
    const batch_mix mixed = mix(b);
    open(b);
    parallel_rows(s, n, 8, [&](index first, index count, worker&) {
      for (index r = first; r < first + count; ++r) {
        labels[static_cast<std::size_t>(r)] = label_of(which[static_cast<std::size_t>(r)]);
        write_image(which, r, r, x.row(r), [](T& to, T value, index, index) { to = value; });
        if (mixed.how != batch_mix::kind::none) mix_in(mixed, which, batch_mix::partner(r, n), r, x.row(r));
      }
    });
    return n;
  }
  /// Makes the bytes of batch b's images ready for bytes_of; reads them where the data set is a store.  Throws when one
  /// cannot be read, and reads that batch again when asked again.
  void open(index b) const {
    if (!data_->store) return;
    const auto which = images(b);
    stream& at = stream_;
    if (at.opened == b && at.epoch == epoch_) return;
    const index next = at.opened + 1;
    at.opened = -2;  // nothing is ready until everything is
    if (!at.queue || at.epoch != epoch_ || next != b) {
      const index end = std::min(batches() * options_.batch, data_->size());
      at.queue = data_->store->queue({order_.begin() + b * options_.batch, order_.begin() + end}, 2 * options_.batch);
      at.epoch = epoch_;
    }
    const auto features = static_cast<std::size_t>(data_->features());
    at.bytes.resize(features * static_cast<std::size_t>(std::min(options_.batch, data_->size())));
    std::int32_t label = 0;
    for (std::size_t k = 0; k < which.size(); ++k)
      require(at.queue->next(std::span(at.bytes).subspan(k * features, features), label),
              "loader: the store's queue ended at image ", k, " of batch ", b, ", which has ", which.size());
    at.opened = b;
  }
  /// Image k of the batch that was opened last, `[C, H, W]`; `which` = images(b).
  const std::uint8_t* bytes_of(std::span<const index> which, index k) const {
    return data_->store ? stream_.bytes.data() + k * data_->features()
                        : data_->pixels.data() + which[static_cast<std::size_t>(k)] * data_->features();
  }
  const dataset& data() const { return *data_; }
  /// The normalised value of every pixel value, per channel.
  const std::vector<std::array<T, 256>>& table() const { return table_; }
  const loader_options& options() const { return options_; }

 private:
  std::int32_t label_of(index i) const { return data_->labels[static_cast<std::size_t>(i)]; }
  /// The partner's part of a mixed row: the partner is augmented once more, so that no row waits for another.
  void mix_in(const batch_mix& m, std::span<const index> which, index partner, index row, T* out) const {
    using C = compute_t<T>;
    if (m.how == batch_mix::kind::cutmix)
      return write_image(which, partner, row, out, [&](T& to, T value, index y, index x) {
        if (m.pasted(y, x)) to = value;
      });
    const C own = static_cast<C>(m.own), rest = static_cast<C>(1 - m.own);
    write_image(which, partner, row, out, [=](T& to, T value, index, index) {
      to = static_cast<T>(own * static_cast<C>(to) + rest * static_cast<C>(value));
    });
  }
  /// put(out[k], value, y, x) for every value of image k of the batch `which`, augmented and normalised.
  template <class Put>
  void write_image(std::span<const index> which, index k, index row, T* out, Put put) const {
    const index i = which[static_cast<std::size_t>(k)];
    const dataset& d = *data_;
    const auto& o = options_.augment;
    const auto a = augmentation::draw(o, {options_.seed}, epoch_, i, d.height, d.width);
    const T mean = static_cast<T>(compute_t<T>(0));  // zero after normalisation
    // byte_of(line, x): the byte at x of a line that the shift leaves inside, or null.
    const auto lines = [&](auto line_of, auto byte_of) {
      for (index c = 0; c < d.channels; ++c) {
        const auto& table = table_[static_cast<std::size_t>(c)];
        for (index y = 0; y < d.height; ++y, out += d.width) {
          const std::uint8_t* line = line_of(c, y);
          const bool cut = y >= a.top && y < a.bottom;
          for (index x = 0; x < d.width; ++x)
            put(out[x], cut && x >= a.left && x < a.right ? mean : table[line ? byte_of(line, x) : std::uint8_t{0}], y,
                x);
        }
      }
    };
    const std::uint8_t* in = bytes_of(which, k);
    const auto shifted_line = [&](index c, index y) -> const std::uint8_t* {
      const index sy = detail::source_pixel(y + a.dy, d.height, o.outside);
      return sy < 0 ? nullptr : in + (c * d.height + sy) * d.width;
    };
    const auto shifted_byte = [&](const std::uint8_t* line, index x) {
      const index sx = detail::source_pixel((a.mirrored ? d.width - 1 - x : x) + a.dx, d.width, o.outside);
      return sx < 0 ? std::uint8_t{0} : line[sx];
    };
    const auto plain_byte = [](const std::uint8_t* line, index x) { return line[x]; };
    if (o.rand_operations > 0) {
      const rand_augment::image_size size{d.channels, d.height, d.width};
      std::uint8_t* bytes = bytes_.data() + 2 * row * size.bytes();
      std::uint8_t* to = bytes;
      for (index c = 0; c < d.channels; ++c)
        for (index y = 0; y < d.height; ++y)
          for (index x = 0; x < d.width; ++x) {
            const std::uint8_t* line = shifted_line(c, y);
            *to++ = line ? shifted_byte(line, x) : std::uint8_t{0};
          }
      const std::uint8_t* done =
          rand_augment::apply_all(o, {options_.seed}, epoch_, i, bytes, bytes + size.bytes(), size);
      lines([&](index c, index y) { return done + (c * d.height + y) * d.width; }, plain_byte);
    } else if (a.dx == 0 && !a.mirrored) {
      lines(shifted_line, plain_byte);
    } else {
      lines(shifted_line, shifted_byte);
    }
  }

  /// Where a loader is in a store.
  struct stream {
    std::unique_ptr<image_queue> queue{};
    std::vector<std::uint8_t> bytes{};  ///< [batch, C, H, W], of batch `opened`
    std::uint64_t epoch = 0;
    index opened = -2;  ///< the queue is behind this batch
  };
  const dataset* data_;
  loader_options options_;
  std::uint64_t epoch_ = 0;
  std::vector<index> order_;
  std::vector<std::pair<std::uint64_t, index>> keys_;
  std::vector<std::array<T, 256>> table_;
  mutable std::vector<std::uint8_t> bytes_;  ///< RandAugment: two images for every row of a batch
  mutable stream stream_;
};

}  // namespace polymoe
