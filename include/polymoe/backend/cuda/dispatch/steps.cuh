// Training steps on CUDA: the work of a step is a graph, its numbers come through a ring of pinned memory, and what
// steps did stays in device memory until somebody asks.
#pragma once

#include <array>
#include <cstring>

#include "../../../train/training.hpp"
#include "../backend.cuh"
#include "../graph.cuh"
#include "../kernel/batch.cuh"

namespace polymoe::inline v0::backend {

/// The first step is run eagerly, which loads the kernels; the second is captured, and replayed from then on.
template <>
class step_runner<cuda_device> {
 public:
  using ctx = context<cuda_device>;
  /// Steps the host may run ahead of the GPU.
  static constexpr int ahead = 8;
  explicit step_runner(bool repeats) : repeats_(repeats), ring_(ahead * sizeof(step_state)) {}
  ~step_runner() {
    for (auto& e : read_) device::quietly([&] { e.wait(); });
  }
  step_runner(const step_runner&) = delete;
  step_runner& operator=(const step_runner&) = delete;

  /// Waits only when the GPU is `ahead` steps behind.
  void push(ctx& c, step_state* at, const step_state& now) {
    const std::size_t slot = next_++ % ahead;
    read_[slot].wait();
    auto* pinned = static_cast<std::byte*>(ring_.data()) + slot * sizeof(step_state);
    std::memcpy(pinned, &now, sizeof(step_state));
    device::upload_async(at, pinned, sizeof(step_state), c.stream.handle);
    read_[slot].record(c.stream.handle);
  }
  void set_micro(ctx& c, step_state* at, index micro) {
    if (micro == 0) return;  // as pushed
    device::launch({.kernel = "set micro-batch", .grid = 1, .block = 1, .shared = 0, .stream = c.stream.handle},
                   kernel::set_micro_kernel<0>, at, micro);
  }
  template <class F>
  void run(ctx& c, F work) {
    if (!repeats_ || !loaded_) {
      work();
      loaded_ = true;
      return;
    }
    if (recording_.empty()) recording_.record(c.stream.handle, work);
    recording_.replay(c.stream.handle);
  }
  void forget() { recording_.clear(); }

 private:
  bool repeats_, loaded_ = false;
  pinned_block ring_;
  std::array<device::event, ahead> read_;  ///< of each slot: the GPU has it
  std::size_t next_ = 0;
  device::recording recording_;
};

/// A ring of records in device memory, which the step's work fills; reading copies those asked for and waits once.
template <>
class step_records<cuda_device> {
 public:
  using ctx = context<cuda_device>;
  static constexpr index most = 32;
  step_records(index batch, index accumulate) : batch_(batch), accumulate_(accumulate) {}

  template <class Layer, class Saved>
  void watch(Layer&, Saved& saved) {
    const auto& r = saved.routing;
    using C = std::remove_cvref_t<decltype(r.values.ptr[0][0])>;
    static_assert(std::is_same_v<C, float> || std::is_same_v<C, double>, "polymoe: balance losses are float or double");
    const index experts = r.plan.experts;
    layer_part part;
    part.wide = std::is_same_v<C, double>;
    part.stats = add(r.on_device, sizeof(routing_stats));
    part.gate_mass = add(r.stats.gate_mass, experts * 8);
    part.wished = add(r.stats.wished, experts * 8);
    part.served = add(r.stats.served, experts * 8);
    part.balance = add(r.values.ptr[0] + (r.values.cols - 1), sizeof(C));
    layers_.push_back(part);
  }
  /// Waits for the upload of the table.
  void ready(ctx& c, const loss_report* loss, const optimizer_report* update) {
    loss_ = add(loss, sizeof(loss_report));
    micro_bytes_ = bytes_;
    micro_pieces_ = static_cast<int>(pieces_.size());
    bytes_ = 0;
    add(update, sizeof(optimizer_report));
    record_bytes_ = accumulate_ * micro_bytes_ + bytes_;
    table_ = device_block(pieces_.size() * sizeof(kernel::record_piece));
    device::upload(table_.data(), pieces_.data(), table_.size(), c.stream.handle);
    const auto all = static_cast<std::size_t>(most * record_bytes_);
    records_ = device_block(all), pinned_ = pinned_block(all);
  }
  template <class Each>
  void note(ctx& c, index micro, Each&&) {
    launch(c, 0, micro_pieces_, micro * micro_bytes_);
  }
  void finish(ctx& c) {
    launch(c, micro_pieces_, static_cast<int>(pieces_.size()) - micro_pieces_, accumulate_ * micro_bytes_);
  }
  std::vector<step_record> read(ctx& c, index first, index count) {
    require(count <= most, "step records: ", count, " are asked for, ", most, " are kept");
    for (index i = 0; i < count;) {  // the ring may wrap round once
      const index slot = (first + i) % most, n = count - i < most - slot ? count - i : most - slot;
      const auto at = static_cast<std::size_t>(slot * record_bytes_);
      device::download_async(static_cast<std::byte*>(pinned_.data()) + at,
                             static_cast<std::byte*>(records_.data()) + at, static_cast<std::size_t>(n * record_bytes_),
                             c.stream.handle);
      i += n;
    }
    arrived_.record(c.stream.handle);
    arrived_.wait();
    std::vector<step_record> all;
    for (index i = 0; i < count; ++i)
      all.push_back(parsed(static_cast<std::byte*>(pinned_.data()) + (first + i) % most * record_bytes_));
    return all;
  }

 private:
  /// Where a layer's numbers lie in the part of a micro-batch, in bytes.
  struct layer_part {
    index stats = 0, gate_mass = 0, wished = 0, served = 0, balance = 0;
    bool wide = false;
  };
  index add(const void* from, index bytes) {
    kernel::record_piece p;
    p.from = from, p.words = static_cast<std::int32_t>(bytes / 4), p.to = static_cast<std::int32_t>(bytes_);
    pieces_.push_back(p);
    const index at = bytes_;
    bytes_ += round_up(bytes, index{8});
    return at;
  }
  void launch(ctx& c, int first, int count, index offset) {
    device::launch({.kernel = "record of a step",
                    .grid = count,
                    .block = kernel::record_threads,
                    .shared = 0,
                    .stream = c.stream.handle},
                   kernel::record_kernel<kernel::record_threads>,
                   static_cast<const kernel::record_piece*>(table_.data()) + first,
                   static_cast<std::byte*>(records_.data()), most, record_bytes_, offset, c.step);
  }
  template <class V>
  static V value_at(const std::byte* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  step_record parsed(std::byte* record) const {
    step_record r;
    for (index m = 0; m < accumulate_; ++m, record += micro_bytes_) {
      r.add(value_at<loss_report>(record + loss_), batch_);
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        const layer_part& part = layers_[l];
        routing_stats s = value_at<routing_stats>(record + part.stats);
        s.gate_mass = reinterpret_cast<double*>(record + part.gate_mass);
        s.wished = reinterpret_cast<index*>(record + part.wished);
        s.served = reinterpret_cast<index*>(record + part.served);
        r.add(l, s, part.wide ? value_at<double>(record + part.balance)
                              : static_cast<double>(value_at<float>(record + part.balance)));
      }
    }
    r.update = value_at<optimizer_report>(record);
    return r;
  }

  index batch_, accumulate_;
  std::vector<kernel::record_piece> pieces_;
  std::vector<layer_part> layers_;
  index bytes_ = 0, loss_ = 0, micro_bytes_ = 0, record_bytes_ = 0;
  int micro_pieces_ = 0;
  device_block table_, records_;
  pinned_block pinned_;
  device::event arrived_;
};

}  // namespace polymoe::backend
