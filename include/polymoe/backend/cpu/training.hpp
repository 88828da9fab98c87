// Batches, optimiser memory and steps on the CPU.
#pragma once

#include "../../train/training.hpp"

namespace polymoe::inline v0::backend {

template <class T, class Maths>
class batch_source<T, cpu_with<Maths>> {
 public:
  using ctx = context<cpu_with<Maths>>;
  batch_source(ctx&, const dataset& data, loader_options options, index accumulate = 1)
      : loader_(data, options),
        labels_(static_cast<std::size_t>(options.batch)),
        second_(labels_.size()),
        accumulate_(accumulate) {}

  index batches() const { return loader_.batches(); }
  const dataset& data() const { return loader_.data(); }
  void begin_epoch(ctx&, std::uint64_t epoch) { loader_.begin_epoch(epoch); }
  index fill(ctx& c, index b, view<T> x) {
    if (loader_.options().augment.mixes()) own_ = loader_.mix(b, second_).own;
    return loader_.fill(c.stream, b, x, labels_);
  }
  label_mix mix(index n) const {
    if (!loader_.options().augment.mixes()) return {};
    return {std::span(second_).first(static_cast<std::size_t>(n)), &own_};
  }
  std::span<const std::int32_t> labels(index n) const { return std::span(labels_).first(static_cast<std::size_t>(n)); }
  std::span<const std::int32_t> host_labels(index n) const { return labels(n); }

  void begin_step(ctx&, index step) {
    const auto epoch = static_cast<std::uint64_t>(step / steps_per_epoch());
    if (loader_.epoch() != epoch) loader_.begin_epoch(epoch);
  }
  index fill_step(ctx& c, view<T> x) {
    return fill(c, c.step->step % steps_per_epoch() * accumulate_ + c.step->micro, x);
  }
  void end_step(ctx&, index /*step*/, bool /*more*/) {}

 private:
  index steps_per_epoch() const { return batches() / accumulate_; }

  loader<T> loader_;
  std::vector<std::int32_t> labels_, second_;
  double own_ = 1;
  index accumulate_;
};

template <class Rule, class M, class Maths>
class optimizer_memory<Rule, M, cpu_with<Maths>> {
 public:
  using R = real_t<M>;
  using ctx = context<cpu_with<Maths>>;
  /// With `average` a copy of the values is kept that every step moves towards them.
  optimizer_memory(ctx&, const std::vector<param_entry>& entries, view<const M> values, bool average)
      : entries_(&entries) {
    for (auto& m : moments_) m.assign(static_cast<std::size_t>(values.cols), R(0));
    if (average) average_.assign(values.ptr[0], values.ptr[0] + values.cols);
  }
  void step(ctx& c, const Rule& rule, double clip, R* values, R* grads, const ema& averaging) {
    report_.norm = clip_gradients(c.stream, *entries_, grads, clip);
    report_.skipped = std::isfinite(report_.norm) ? 0 : 1;
    if (report_.skipped) {
      ++report_.skips;
      return;
    }
    R* moments[Rule::moments];
    for (int i = 0; i < Rule::moments; ++i) moments[i] = moment(i);
    rule.step(c.stream, *entries_, values, grads, moments, *c.step);
    if (!average_.empty()) averaging.update(c.stream, *entries_, values, average_.data(), *c.step);
  }
  const optimizer_report* report() const { return &report_; }
  void resume(ctx&) { report_.skipped = 0; }
  R* moment(int i) { return moments_[static_cast<std::size_t>(i)].data(); }
  R* average() { return average_.data(); }

 private:
  const std::vector<param_entry>* entries_;
  std::vector<R> moments_[Rule::moments];
  std::vector<R> average_;
  optimizer_report report_;
};

/// A plain call.
template <class Maths>
class step_runner<cpu_with<Maths>> {
 public:
  using ctx = context<cpu_with<Maths>>;
  explicit step_runner(bool /*repeats*/) {}
  void push(ctx&, step_state* at, const step_state& now) {
    if (at != &now) *at = now;
  }
  void set_micro(ctx&, step_state* at, index micro) { at->micro = micro; }
  template <class F>
  void run(ctx&, F work) {
    work();
  }
  void forget() {}
};

/// Reads every step at once.
template <class Maths>
class step_records<cpu_with<Maths>> {
 public:
  using ctx = context<cpu_with<Maths>>;
  static constexpr index most = 1;
  step_records(index batch, index /*accumulate*/) : batch_(batch) {}
  template <class Layer, class Saved>
  void watch(Layer&, Saved&) {}
  void ready(ctx&, const loss_report* loss, const optimizer_report* update) { loss_ = loss, update_ = update; }
  template <class Each>
  void note(ctx& c, index micro, Each each) {
    if (micro == 0) record_ = {};
    record_.add(*loss_, batch_);
    std::size_t n = 0;
    each([&](auto& layer, auto& saved) {
      const double balance = static_cast<double>(value_of(layer.balance_loss(c, saved)));
      record_.add(n++, layer.stats(c, saved), balance);
    });
  }
  void finish(ctx&) { record_.update = *update_; }
  std::vector<step_record> read(ctx&, index /*first*/, index count) {
    return std::vector<step_record>(static_cast<std::size_t>(count), record_);
  }

 private:
  index batch_;
  const loss_report* loss_ = nullptr;
  const optimizer_report* update_ = nullptr;
  step_record record_;
};

}  // namespace polymoe::backend
