// What the trainer asks of CUDA: batches, optimiser memory, steps and their records.
#pragma once

#include "batches.cuh"
#include "loss.cuh"
#include "optimizer.cuh"
#include "steps.cuh"

namespace polymoe::inline v0::backend {

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
  /// After a norm that is not finite parameters, moments and averages stay as they are, in the following steps too,
  /// until resume(): the host learns of it when it reads the records of several steps.
  void step(ctx& c, const Rule& rule, double clip, R* values, const R* grads, const ema& averaging) {
    R* moments[Rule::moments];
    for (int i = 0; i < Rule::moments; ++i) moments[i] = moment(i);
    optimizer_step(c, pieces_, rule, clip, values, grads, moments, averaging, average(), true);
  }
  const optimizer_report* report() const { return pieces_.report(); }
  void resume(ctx& c) { device::clear(&pieces_.report()->skipped, sizeof(std::int32_t), c.stream.handle); }
  R* moment(int i) { return static_cast<R*>(moments_[i].data()); }
  R* average() { return static_cast<R*>(average_.data()); }

 private:
  optimizer_pieces pieces_;
  device_block moments_[Rule::moments];
  device_block average_;
};

}  // namespace polymoe::backend
