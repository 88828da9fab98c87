// Batch normalisation (Ioffe & Szegedy 2015) with running statistics, for backbones.
//
// Not for routed experts: it ties the units of an expert to each other, and an expert may see one unit or none; use
// group_norm or layer_norm there.
#pragma once

#include "../backend/cpu/batch_norm.hpp"
#include "feature_maps.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [rows, channels] -> y of the same shape; for feature maps a row is a pixel, as PyTorch's BatchNorm2d.
/// Parameters: weight [channels] (1 at first), bias [channels].  State: running_mean and running_var [channels] (0 and
/// 1 at first) and their sums since the last commit.  Training uses the statistics of the call's rows, evaluation the
/// running ones: running = (1 - momentum) running + momentum found, once per `commit`, with the mean of what the calls
/// since then found (the variance as PyTorch: divided by rows - 1).
template <class T, class B = cpu>
class batch_norm : feature_maps<B> {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index channels = 0;
    double eps = 1e-5;      ///< added to the variance
    double momentum = 0.1;  ///< share of a commit's statistics in the running ones
  };
  struct saved {
    view<const T> x;
    view<compute_t<T>> stats;  ///< [2, channels]: mean, 1 / standard deviation
    view<compute_t<T>> work;   ///< [2, channels]
    bool of_batch = false;     ///< whether they are those of the rows
  };

  batch_norm() = default;
  explicit batch_norm(config c) : config_(c) {
    require(c.channels > 0, "batch_norm: channels = ", c.channels, " must be positive");
    require(c.momentum >= 0 && c.momentum <= 1, "batch_norm: momentum ", c.momentum, " must lie in [0, 1]");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.channels; }
  index out_cols() const { return config_.channels; }

  void visit(visitor<M>& v) {
    v.add(weight_, "weight", {config_.channels}, init_rule::constant(1), decay::no);
    v.add(bias_, "bias", {config_.channels}, init_rule::zeros(), decay::no);
    v.add_state(mean_, "running_mean", config_.channels, 0);
    v.add_state(var_, "running_var", config_.channels, 1);
    v.add_state(found_, "found", 2 * config_.channels + 1, 0);
  }
  saved bind(binder<B>& b, index max_rows) const {
    batch_norm_bind<T>(b, max_rows, config_.channels);
    saved s;
    s.stats = b.saved.template take<compute_t<T>>(2, config_.channels);
    s.work = b.saved.template take<compute_t<T>>(2, config_.channels);
    return s;
  }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("batch_norm", *this, x, y);
    s.x = x;
    s.of_batch = c.training();
    if (s.of_batch) {
      batch_norm_statistics<T>(c, x, config_.eps, s.stats, s.work);
      batch_norm_note<T>(c, x.rows, s.stats, s.work, found_);
    } else {
      batch_norm_recall<T>(c, mean_, var_, config_.eps, s.stats);
    }
    batch_norm_forward<T>(c, x, s.stats, weight_.value, bias_.value, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const { backward_add(c, dy, {}, dx, s); }
  void backward_add(context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, saved& s) const {
    batch_norm_backward<T>(c, dy, s.x, s.stats, s.of_batch, weight_.value, weight_.grad, bias_.grad, s.work, dx, skip);
  }
  /// Once per optimiser step: the running statistics take in what was found since the last time.  What a step found
  /// that was refused (context::halted) is forgotten.
  void commit(context<B>& c) { batch_norm_commit(c, config_.momentum, config_.channels, mean_, var_, found_); }

  static constexpr cost count(const config& c, index rows) { return cost::dense(2 * c.channels, 0, rows * c.channels); }

 private:
  config config_;
  param<M> weight_, bias_;
  float *mean_ = nullptr, *var_ = nullptr;
  float* found_ = nullptr;  ///< [2 channels + 1]: sums of means and variances, and their number
};

}  // namespace nn
}  // namespace polymoe
