// Batches of a data set on CUDA.
//
// A data set that fits lies in device memory whole, with the orders of two epochs: the host shuffles the next epoch while
// the GPU trains.  A larger one, or one in a store, is streamed: while a step runs, the host gathers the images of the next
// one in pinned memory and a second stream copies them into the other half of the device's buffer.  Augmentation and
// normalisation are the device's in both cases, and the bits are those of the CPU's loader.
#pragma once

#include <array>
#include <memory>

#include "../../../train/training.hpp"
#include "../backend.cuh"
#include "../graph.cuh"
#include "../kernel/batch.cuh"
#include "rows.cuh"

namespace polymoe::inline v0::backend {

template <class T>
class batch_source<T, cuda_device> {
 public:
  using ctx = context<cuda_device>;
  batch_source(ctx& c, const dataset& data, loader_options options, index accumulate = 1)
      : loader_(data, options),
        options_(options),
        accumulate_(accumulate),
        host_labels_(static_cast<std::size_t>(options.batch)),
        labels_(host_labels_.size() * word) {
    require(!options.augment.mixes() && options.augment.rand_operations == 0, "batches: mixup ", options.augment.mixup,
            ", cutmix ", options.augment.cutmix, " and RandAugment (", options.augment.rand_operations,
            " operations) are made on the CPU, these batches on CUDA");
    require(data.size() < 0x7fffffff, "batches: ", data.size(), " images are more than 31 bits count");
    std::vector<T> table;
    for (const auto& channel : loader_.table()) table.insert(table.end(), channel.begin(), channel.end());
    table_ = device_block(table.size() * sizeof(T));
    device::upload(table_.data(), table.data(), table_.size(), c.stream.handle);
    const std::size_t most = options.resident_bytes > 0 ? options.resident_bytes : device::free_memory() / 2;
    if (data.store || data.pixels.size() > most) {
      const auto images = static_cast<std::size_t>(2 * accumulate * options.batch);
      staged_ = std::make_unique<staging>(images, static_cast<std::size_t>(data.features()));
      return;
    }
    const std::size_t images = data.labels.size();
    pixels_ = device_block(data.pixels.size()), classes_ = device_block(images * word);
    order_ = device_block(2 * images * word), pinned_order_ = pinned_block(images * word);
    order_read_ = std::make_unique<device::event>();
    device::upload(pixels_.data(), data.pixels.data(), data.pixels.size(), c.stream.handle);
    device::upload(classes_.data(), data.labels.data(), classes_.size(), c.stream.handle);
    bring_order(c, 0);
  }

  ~batch_source() {
    if (order_read_) device::quietly([this] { order_read_->wait(); });
  }
  batch_source(const batch_source&) = delete;
  batch_source& operator=(const batch_source&) = delete;

  index batches() const { return loader_.batches(); }
  const dataset& data() const { return loader_.data(); }
  /// The whole data set lies in device memory.
  bool resident() const { return !staged_; }
  void begin_epoch(ctx& c, std::uint64_t epoch) {
    epoch_ = epoch;
    shuffle(epoch);
    if (resident()) bring_order(c, epoch);
  }
  index fill(ctx& c, index b, view<T> x) {
    shuffle(epoch_);
    if (resident()) bring_order(c, epoch_);
    const auto which = loader_.images(b);
    const auto n = static_cast<index>(which.size());
    for (std::size_t r = 0; r < which.size(); ++r)
      host_labels_[r] = data().labels[static_cast<std::size_t>(which[r])];
    batch_choice choice;
    choice.batch = b, choice.epoch = epoch_;
    if (!resident()) {
      // The buffers of steps, in the order of the one stream; what lay there for a step is gone.
      prepared_ = -1;
      const index half = turn_ = 1 - turn_;
      staging& s = *staged_;
      s.copied[at(half)].wait();
      choice.batch = half * accumulate_;
      gather(choice.batch * options_.batch, b);
      s.copied[at(half)].hold(c.stream.handle);
      upload(choice.batch * options_.batch, n, c.stream.handle);
      s.copied[at(half)].record(c.stream.handle);
      launch(c, choice, n, x);
      s.used[at(half)].record(c.stream.handle);
    } else {
      launch(c, choice, n, x);
    }
    return n;
  }
  std::span<const std::int32_t> labels(index n) const {
    return {static_cast<const std::int32_t*>(labels_.data()), static_cast<std::size_t>(n)};
  }
  std::span<const std::int32_t> host_labels(index n) const {
    return std::span(host_labels_).first(static_cast<std::size_t>(n));
  }

  /// Steps are walked in order; any other step than the one after the last is prepared here, the next by end_step.
  void begin_step(ctx& c, index step) {
    prepare(c, step);
    if (!resident()) staged_->copied[at(step % 2)].hold(c.stream.handle);
  }
  /// Full batches only: the loader leaves a last short one out (loader_options::drop_last).
  index fill_step(ctx& c, view<T> x) {
    batch_choice choice;
    choice.steps_per_epoch = steps_per_epoch(), choice.accumulate = accumulate_;
    launch(c, choice, options_.batch, x);
    return options_.batch;
  }
  void end_step(ctx& c, index step, bool more) {
    if (!resident()) staged_->used[at(step % 2)].record(c.stream.handle);
    if (more) prepare(c, step + 1);
    // The next epoch's order, early: sorting takes milliseconds, which the steps that were started hide.
    if (resident() && more && step % steps_per_epoch() == 0) prepare(c, step + steps_per_epoch());
  }

 private:
  static constexpr std::size_t word = sizeof(std::int32_t);
  static std::size_t at(index i) { return static_cast<std::size_t>(i); }
  static std::size_t bytes_of(index n) { return static_cast<std::size_t>(n) * word; }

  /// Both halves of the buffers of a data set that does not fit, on the host and on the device.
  struct staging {
    staging(std::size_t images, std::size_t features)
        : pixels(images * features), classes(images * word), order(images * word), pinned_pixels(images * features),
          pinned_classes(images * word), pinned_order(images * word) {}
    device_block pixels, classes, order;
    pinned_block pinned_pixels, pinned_classes, pinned_order;
    device::side_stream stream;
    std::array<device::event, 2> copied, used;  ///< of each half: the host's side is free; the device's side is free
  };

  index steps_per_epoch() const { return batches() / accumulate_; }
  void shuffle(std::uint64_t epoch) {
    if (loader_.epoch() != epoch) loader_.begin_epoch(epoch);
  }
  /// The epoch's order to its place in device memory, unless it is there.
  void bring_order(ctx& c, std::uint64_t epoch) {
    if (ordered_[epoch % 2] == static_cast<std::int64_t>(epoch)) return;
    shuffle(epoch);
    order_read_->wait();
    auto* to = static_cast<std::int32_t*>(pinned_order_.data());
    for (const index i : loader_.order()) *to++ = static_cast<std::int32_t>(i);
    auto* there = static_cast<std::byte*>(order_.data()) + epoch % 2 * pinned_order_.size();
    device::upload_async(there, pinned_order_.data(), pinned_order_.size(), c.stream.handle);
    order_read_->record(c.stream.handle);
    ordered_[epoch % 2] = static_cast<std::int64_t>(epoch);
  }
  void prepare(ctx& c, index step) {
    const auto epoch = static_cast<std::uint64_t>(step / steps_per_epoch());
    if (resident()) return bring_order(c, epoch);
    if (prepared_ == step) return;
    shuffle(epoch);
    staging& s = *staged_;
    const index half = step % 2, batch = options_.batch, first = half * accumulate_ * batch;
    s.copied[at(half)].wait();
    for (index m = 0; m < accumulate_; ++m)
      gather(first + m * batch, step % steps_per_epoch() * accumulate_ + m);
    s.used[at(half)].hold(s.stream.handle());
    upload(first, accumulate_ * batch, s.stream.handle());
    s.copied[at(half)].record(s.stream.handle());
    prepared_ = step;
  }
  /// The images of batch b to the pinned rows from `row` on.
  void gather(index row, index b) {
    loader_.open(b);
    const auto which = loader_.images(b);
    const auto features = static_cast<std::size_t>(data().features());
    auto* pixels = static_cast<std::uint8_t*>(staged_->pinned_pixels.data()) + at(row) * features;
    auto* classes = static_cast<std::int32_t*>(staged_->pinned_classes.data()) + row;
    auto* order = static_cast<std::int32_t*>(staged_->pinned_order.data()) + row;
    for (std::size_t k = 0; k < which.size(); ++k, pixels += features) {
      const index i = which[k];
      std::memcpy(pixels, loader_.bytes_of(which, static_cast<index>(k)), features);
      *classes++ = data().labels[at(i)], *order++ = static_cast<std::int32_t>(i);
    }
  }
  void upload(index row, index n, device::stream_handle stream) {
    const auto part = [&](const device_block& to, const pinned_block& from, std::size_t each) {
      const std::size_t offset = at(row) * each;
      device::upload_async(static_cast<std::byte*>(to.data()) + offset, static_cast<const std::byte*>(from.data()) + offset,
                           at(n) * each, stream);
    };
    part(staged_->pixels, staged_->pinned_pixels, static_cast<std::size_t>(data().features()));
    part(staged_->classes, staged_->pinned_classes, word), part(staged_->order, staged_->pinned_order, word);
  }
  void launch(ctx& c, const batch_choice& which, index n, view<T> x) {
    require(x.rows >= n && x.cols == data().features(), "batches: the view is ", shape_text(x), ", the batch is [", n, ", ",
            data().features(), "]");
    const auto ids = [](const device_block& b) { return static_cast<const std::int32_t*>(b.data()); };
    device_images<T> d;
    d.pixels = static_cast<const std::uint8_t*>((resident() ? pixels_ : staged_->pixels).data());
    d.classes = ids(resident() ? classes_ : staged_->classes), d.order = ids(resident() ? order_ : staged_->order);
    d.table = static_cast<const T*>(table_.data());
    d.channels = data().channels, d.height = data().height, d.width = data().width, d.images = data().size();
    d.batch = options_.batch, d.augment = options_.augment, d.seed = options_.seed;
    d.slots = resident() ? 0 : 2 * accumulate_;
    device::launch(detail::thread_grid("fill batch", c.stream, n * data().features()), kernel::fill_batch_kernel<T>, d, which,
                   c.step, n, x, static_cast<std::int32_t*>(labels_.data()));
  }

  loader<T> loader_;
  loader_options options_;
  index accumulate_;
  std::vector<std::int32_t> host_labels_;
  device_block labels_, table_;
  // Whole data sets.
  device_block pixels_, classes_, order_;
  pinned_block pinned_order_;
  std::unique_ptr<device::event> order_read_;
  std::int64_t ordered_[2] = {-1, -1};  ///< the epochs whose orders lie in device memory
  // Streamed ones.
  std::unique_ptr<staging> staged_;
  index prepared_ = -1, turn_ = 0;
  std::uint64_t epoch_ = 0;
};

}  // namespace polymoe::backend
