// Softmax cross-entropy with label smoothing and mixed labels: the loss of every classifier here.
#pragma once

#include "../backend/cpu/loss.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Not a module in the sense of module.hpp: it takes labels and ends a model.  Value, gradient and hits in one call.
template <class T, class B = cpu>
class cross_entropy {
 public:
  using scalar = T;
  using backend = B;
  struct config {
    index classes = 0;
    double smoothing = 0;  ///< share of the target spread evenly over all classes
  };
  struct saved {
    loss_report* report = nullptr;  ///< of the last call, in the backend's memory
  };

  cross_entropy() = default;
  explicit cross_entropy(config c) : config_(c) {
    require(c.classes > 0, "cross_entropy: classes = ", c.classes, " must be positive");
    require(c.smoothing >= 0 && c.smoothing < 1, "cross_entropy: smoothing ", c.smoothing, " is not in [0, 1)");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.classes; }
  saved bind(binder<B>& b, index max_rows) const {
    cross_entropy_bind<T>(b, max_rows);
    saved s;
    s.report = b.saved.template take_raw<loss_report>(1);
    return s;
  }
  /// logits [rows, classes] and labels [rows] to *s.report; dlogits, unless empty, = weight * gradient of the mean loss
  /// (weight 1 / micro-batches when gradients are accumulated).  Throws for labels outside [0, classes), on CUDA
  /// makes their rows NaN.  `mix` gives every row a second label.
  void run(context<B>& c, view<const T> logits, std::span<const std::int32_t> labels, view<T> dlogits, saved& s,
           double weight = 1, const label_mix& mix = {}) const {
    require(logits.cols == config_.classes, "cross_entropy: logits are ", shape_text(logits),
            ", the loss was built for ", config_.classes, " classes");
    softmax_cross_entropy<T>(c, logits, labels, config_.smoothing, weight, dlogits, s.report, mix);
  }

 private:
  config config_;
};

}  // namespace nn
}  // namespace polymoe
