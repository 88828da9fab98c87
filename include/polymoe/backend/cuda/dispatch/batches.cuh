// Batches of a data set on CUDA.
//
// A data set that fits lies in device memory whole, with the orders of two epochs: the host shuffles the next epoch
// while the GPU trains.  A larger one, or one in a store, is streamed: while a step runs, the host gathers the images
// of the next one in pinned memory and a second stream copies them into the other half of the device's buffer.
// Augmentation, normalisation and mixing are the device's in both cases: the bits are those of the CPU's loader, but
// for the rounding of mixup's sums.  How a batch is mixed is drawn by the host and lies beside the order.
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
    require(data.size() < 0x7fffffff, "batches: ", data.size(), " images are more than 31 bits count");
    std::vector<T> table;
    for (const auto& channel : loader_.table()) table.insert(table.end(), channel.begin(), channel.end());
    table_ = device_block(table.size() * sizeof(T));
    device::upload(table_.data(), table.data(), table_.size(), c.stream.handle);
    if (options.augment.rand_operations > 0) prepare_operations(c);
    if (mixes()) second_ = device_block(labels_.size()), own_ = device_block(sizeof(double));
    const std::size_t most = options.resident_bytes > 0 ? options.resident_bytes : device::free_memory() / 2;
    if (data.store || data.pixels.size() > most) {
      const auto images = static_cast<std::size_t>(2 * accumulate * options.batch);
      staged_ =
          std::make_unique<staging>(images, static_cast<std::size_t>(data.features()), mixes() ? 2 * accumulate : 0);
      return;
    }
    const std::size_t images = data.labels.size();
    pixels_ = device_block(data.pixels.size()), classes_ = device_block(images * word);
    order_ = device_block(2 * images * word), pinned_order_ = pinned_block(images * word);
    if (mixes())
      mix_ = device_block(2 * bytes_of_mixes(batches())), pinned_mix_ = pinned_block(bytes_of_mixes(batches()));
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

  label_mix mix(index n) const {
    label_mix m;
    if (!mixes()) return m;
    m.second = {static_cast<const std::int32_t*>(second_.data()), static_cast<std::size_t>(n)};
    m.own = static_cast<const double*>(own_.data());
    return m;
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
  static std::size_t bytes_of_mixes(index n) { return static_cast<std::size_t>(n) * sizeof(batch_mix); }
  bool mixes() const { return options_.augment.mixes(); }

  /// Both halves of the buffers of a data set that does not fit, on the host and on the device.
  struct staging {
    staging(std::size_t images, std::size_t features, index mixed)
        : pixels(images * features), classes(images * word), order(images * word), mix(bytes_of_mixes(mixed)),
          pinned_pixels(images * features), pinned_classes(images * word), pinned_order(images * word),
          pinned_mix(bytes_of_mixes(mixed)) {}
    device_block pixels, classes, order, mix;
    pinned_block pinned_pixels, pinned_classes, pinned_order, pinned_mix;
    device::side_stream stream;
    std::array<device::event, 2> copied, used;  ///< of each half: the host's side is free; the device's side is free
  };

  index steps_per_epoch() const { return batches() / accumulate_; }
  void shuffle(std::uint64_t epoch) {
    if (loader_.epoch() != epoch) loader_.begin_epoch(epoch);
  }
  /// RandAugment's operations in numbers, and memory for the images it is at.
  void prepare_operations(ctx& c) {
    const rand_augment::image_size size{data().channels, data().height, data().width};
    std::vector<rand_augment::amounts> all;
    for (int op = 0; op < rand_augment::operations; ++op)
      for (const bool negative : {false, true})
        all.push_back(rand_augment::amounts::of(static_cast<rand_augment::operation>(op),
                                                options_.augment.rand_strength, negative, size));
    operations_ = device_block(all.size() * sizeof(all[0]));
    device::upload(operations_.data(), all.data(), operations_.size(), c.stream.handle);
    bytes_ = device_block(static_cast<std::size_t>(checked_mul(2 * options_.batch, data().features(), "batches")));
  }
  /// The epoch's order, and how its batches are mixed, to their places in device memory, unless they are there.
  void bring_order(ctx& c, std::uint64_t epoch) {
    if (ordered_[epoch % 2] == static_cast<std::int64_t>(epoch)) return;
    shuffle(epoch);
    order_read_->wait();
    auto* to = static_cast<std::int32_t*>(pinned_order_.data());
    for (const index i : loader_.order()) *to++ = static_cast<std::int32_t>(i);
    auto* mix = static_cast<batch_mix*>(pinned_mix_.data());
    for (index b = 0; mixes() && b < batches(); ++b) mix[b] = loader_.mix(b);
    const auto bring = [&](const device_block& block, const pinned_block& from) {
      auto* there = static_cast<std::byte*>(block.data()) + epoch % 2 * from.size();
      device::upload_async(there, from.data(), from.size(), c.stream.handle);
    };
    bring(order_, pinned_order_), bring(mix_, pinned_mix_);
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
    if (mixes()) static_cast<batch_mix*>(staged_->pinned_mix.data())[row / options_.batch] = loader_.mix(b);
  }
  /// The n rows from `row` on, which begin a batch.
  void upload(index row, index n, device::stream_handle stream) {
    const auto part = [&](const device_block& to, const pinned_block& from, std::size_t each) {
      const std::size_t offset = at(row) * each;
      device::upload_async(static_cast<std::byte*>(to.data()) + offset,
                           static_cast<const std::byte*>(from.data()) + offset, at(n) * each, stream);
    };
    part(staged_->pixels, staged_->pinned_pixels, static_cast<std::size_t>(data().features()));
    part(staged_->classes, staged_->pinned_classes, word), part(staged_->order, staged_->pinned_order, word);
    if (!mixes()) return;
    row /= options_.batch, n = ceil_div(n, options_.batch);
    part(staged_->mix, staged_->pinned_mix, sizeof(batch_mix));
  }
  void launch(ctx& c, const batch_choice& which, index n, view<T> x) {
    require(x.rows >= n && x.cols == data().features(), "batches: the view is ", shape_text(x), ", the batch is [", n,
            ", ", data().features(), "]");
    const auto ids = [](const device_block& b) { return static_cast<const std::int32_t*>(b.data()); };
    device_images<T> d;
    d.pixels = static_cast<const std::uint8_t*>((resident() ? pixels_ : staged_->pixels).data());
    d.classes = ids(resident() ? classes_ : staged_->classes), d.order = ids(resident() ? order_ : staged_->order);
    d.table = static_cast<const T*>(table_.data());
    d.channels = data().channels, d.height = data().height, d.width = data().width, d.images = data().size();
    d.batch = options_.batch, d.augment = options_.augment, d.seed = options_.seed;
    d.slots = resident() ? 0 : 2 * accumulate_, d.batches = batches();
    d.mix = static_cast<const batch_mix*>((resident() ? mix_ : staged_->mix).data());
    d.operations = static_cast<const rand_augment::amounts*>(operations_.data());
    d.bytes = static_cast<std::uint8_t*>(bytes_.data());
    batch_labels labels;
    labels.first = static_cast<std::int32_t*>(labels_.data()),
    labels.second = static_cast<std::int32_t*>(second_.data());
    labels.own = static_cast<double*>(own_.data());
    if (d.bytes)
      device::launch({.kernel = "rand augment",
                      .grid = static_cast<int>(std::min<index>(n, index{c.stream.blocks} * 8)),
                      .block = kernel::batch_threads,
                      .shared = sizeof(kernel::operation_memory),
                      .stream = c.stream.handle},
                     kernel::rand_augment_kernel<T>, d, which, c.step, n);
    device::launch(detail::thread_grid("fill batch", c.stream, n * data().features()), kernel::fill_batch_kernel<T>, d,
                   which, c.step, n, x, labels);
  }

  loader<T> loader_;
  loader_options options_;
  index accumulate_;
  std::vector<std::int32_t> host_labels_;
  device_block labels_, table_, second_, own_;
  device_block operations_, bytes_;  ///< RandAugment
  // Whole data sets.
  device_block pixels_, classes_, order_, mix_;
  pinned_block pinned_order_, pinned_mix_;
  std::unique_ptr<device::event> order_read_;
  std::int64_t ordered_[2] = {-1, -1};  ///< the epochs whose orders lie in device memory
  // Streamed ones.
  std::unique_ptr<staging> staged_;
  index prepared_ = -1, turn_ = 0;
  std::uint64_t epoch_ = 0;
};

}  // namespace polymoe::backend
