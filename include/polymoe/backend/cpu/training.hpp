// Batches and optimiser memory on the CPU.
#pragma once

#include "../../train/training.hpp"

namespace polymoe::inline v0::backend {

template <class T, class Maths>
class batch_source<T, cpu_with<Maths>> {
 public:
  using ctx = context<cpu_with<Maths>>;
  batch_source(ctx&, const dataset& data, loader_options options)
      : loader_(data, options), labels_(static_cast<std::size_t>(options.batch)) {}

  index batches() const { return loader_.batches(); }
  const dataset& data() const { return loader_.data(); }
  void begin_epoch(ctx&, std::uint64_t epoch) { loader_.begin_epoch(epoch); }
  index fill(ctx& c, index b, view<T> x) { return loader_.fill(c.stream, b, x, labels_); }
  std::span<const std::int32_t> labels(index n) const { return std::span(labels_).first(static_cast<std::size_t>(n)); }
  std::span<const std::int32_t> host_labels(index n) const { return labels(n); }

 private:
  loader<T> loader_;
  std::vector<std::int32_t> labels_;
};

template <class Rule, class M, class Maths>
class optimizer_memory<Rule, M, cpu_with<Maths>> {
 public:
  using R = real_t<M>;
  using ctx = context<cpu_with<Maths>>;
  /// With `average` a copy of the values is kept that every step moves towards them.
  optimizer_memory(ctx&, const std::vector<param_entry>& entries, view<const M> values, bool average) : entries_(&entries) {
    for (auto& m : moments_) m.assign(static_cast<std::size_t>(values.cols), R(0));
    if (average) average_.assign(values.ptr[0], values.ptr[0] + values.cols);
  }
  double step(ctx& c, const Rule& rule, double clip, R* values, R* grads, const ema& averaging) {
    const double norm = clip_gradients(c.stream, *entries_, grads, clip);
    if (!std::isfinite(norm)) return norm;
    R* moments[Rule::moments];
    for (int i = 0; i < Rule::moments; ++i) moments[i] = moment(i);
    rule.step(c.stream, *entries_, values, grads, moments, *c.step);
    if (!average_.empty()) averaging.update(c.stream, *entries_, values, average_.data(), *c.step);
    return norm;
  }
  R* moment(int i) { return moments_[static_cast<std::size_t>(i)].data(); }
  R* average() { return average_.data(); }

 private:
  const std::vector<param_entry>* entries_;
  std::vector<R> moments_[Rule::moments];
  std::vector<R> average_;
};

}  // namespace polymoe::backend
