// Batches and optimiser memory on CUDA.  The data set is uploaded once; an epoch uploads its order; a step reads nothing
// from the host.
#pragma once

#include "../../../train/training.hpp"
#include "../kernel/batch.cuh"
#include "loss.cuh"
#include "optimizer.cuh"
#include "rows.cuh"

namespace polymoe::inline v0::backend {

template <class T>
class batch_source<T, cuda_device> {
 public:
  using ctx = context<cuda_device>;
  batch_source(ctx& c, const dataset& data, loader_options options)
      : loader_(data, options), options_(options), host_labels_(static_cast<std::size_t>(options.batch)) {
    require(data.size() < 0x7fffffff, "batches: ", data.size(), " images are more than 31 bits count");
    pixels_ = device_block(data.pixels.size()), classes_ = device_block(data.labels.size() * sizeof(std::int32_t));
    order_ = device_block(data.labels.size() * sizeof(std::int32_t));
    labels_ = device_block(host_labels_.size() * sizeof(std::int32_t));
    device::upload(pixels_.data(), data.pixels.data(), data.pixels.size(), c.stream.handle);
    device::upload(classes_.data(), data.labels.data(), classes_.size(), c.stream.handle);
    std::vector<T> table;
    for (const auto& channel : loader_.table()) table.insert(table.end(), channel.begin(), channel.end());
    table_ = device_block(table.size() * sizeof(T));
    device::upload(table_.data(), table.data(), table_.size(), c.stream.handle);
    begin_epoch(c, 0);
  }

  index batches() const { return loader_.batches(); }
  const dataset& data() const { return loader_.data(); }
  void begin_epoch(ctx& c, std::uint64_t epoch) {
    loader_.begin_epoch(epoch);
    std::vector<std::int32_t> order;
    for (index b = 0; b < ceil_div(data().size(), options_.batch); ++b) {
      if (options_.drop_last && (b + 1) * options_.batch > data().size()) break;
      for (const index i : loader_.images(b)) order.push_back(static_cast<std::int32_t>(i));
    }
    device::upload(order_.data(), order.data(), order.size() * sizeof(std::int32_t), c.stream.handle);
  }
  index fill(ctx& c, index b, view<T> x) {
    const auto which = loader_.images(b);
    const auto n = static_cast<index>(which.size());
    require(x.rows >= n && x.cols == data().features(), "batches: the view is ", shape_text(x), ", the batch is [", n, ", ",
            data().features(), "]");
    for (std::size_t r = 0; r < which.size(); ++r)
      host_labels_[r] = data().labels[static_cast<std::size_t>(which[r])];
    launch(c, {b, loader_.epoch(), 0, 1}, n, x);
    return n;
  }
  /// The batch of the step in device memory, which a replayed graph finds again; always a full one.
  void fill_step(ctx& c, index steps_per_epoch, index accumulate, view<T> x) {
    launch(c, {0, 0, steps_per_epoch, accumulate}, options_.batch, x);
  }
  std::span<const std::int32_t> labels(index n) const {
    return {static_cast<const std::int32_t*>(labels_.data()), static_cast<std::size_t>(n)};
  }
  std::span<const std::int32_t> host_labels(index n) const {
    return std::span(host_labels_).first(static_cast<std::size_t>(n));
  }

 private:
  void launch(ctx& c, const batch_choice& which, index n, view<T> x) {
    device_images<T> d;
    d.pixels = static_cast<const std::uint8_t*>(pixels_.data());
    d.classes = static_cast<const std::int32_t*>(classes_.data());
    d.order = static_cast<const std::int32_t*>(order_.data());
    d.table = static_cast<const T*>(table_.data());
    d.channels = data().channels, d.height = data().height, d.width = data().width, d.images = data().size();
    d.batch = options_.batch, d.augment = options_.augment, d.seed = options_.seed;
    device::launch(detail::thread_grid("fill batch", c.stream, n * data().features()), kernel::fill_batch_kernel<T>, d, which,
                   c.step, n, x, static_cast<std::int32_t*>(labels_.data()));
  }

  loader<T> loader_;
  loader_options options_;
  std::vector<std::int32_t> host_labels_;
  device_block pixels_, classes_, order_, labels_, table_;
};

template <class Rule, class M>
class optimizer_memory<Rule, M, cuda_device> {
 public:
  using R = real_t<M>;
  using ctx = context<cuda_device>;
  optimizer_memory(ctx& c, const std::vector<param_entry>& entries, view<const M> values, bool average)
      : pieces_(c.stream, entries) {
    const std::size_t bytes = static_cast<std::size_t>(values.cols) * sizeof(R);
    for (auto& m : moments_) {
      m = device_block(bytes);
      device::clear(m.data(), bytes, c.stream.handle);
    }
    if (!average) return;
    average_ = device_block(bytes);
    device::copy(average_.data(), values.ptr[0], bytes, c.stream.handle);
  }
  /// Waits for the norm; see launch().
  double step(ctx& c, const Rule& rule, double clip, R* values, const R* grads, const ema& averaging) {
    launch(c, rule, clip, values, grads, averaging);
    return norm(c);
  }
  /// The step alone, for a captured graph: a norm that is not finite leaves parameters and moments as they were.
  void launch(ctx& c, const Rule& rule, double clip, R* values, const R* grads, const ema& averaging) {
    R* moments[Rule::moments];
    for (int i = 0; i < Rule::moments; ++i) moments[i] = moment(i);
    optimizer_step(c, pieces_, rule, clip, values, grads, moments, averaging, average());
  }
  /// Of the last step's gradients, before clipping.  Waits.
  double norm(ctx& c) {
    optimizer_report r;
    device::download(&r, pieces_.report(), sizeof r, c.stream.handle);
    return r.norm;
  }
  R* moment(int i) { return static_cast<R*>(moments_[i].data()); }
  R* average() { return static_cast<R*>(average_.data()); }

 private:
  optimizer_pieces pieces_;
  device_block moments_[Rule::moments];
  device_block average_;
};

}  // namespace polymoe::backend
