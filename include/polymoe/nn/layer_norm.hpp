// Layer normalisation over the width of a row (Ba, Kiros & Hinton 2016, eq. 4).
#pragma once

#include "../backend/cpu/norm.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [rows, D] -> y [rows, D].  Parameters: weight [D] (1 at first), bias [D]; statistics in the compute type.
template <class T, class B = cpu>
class layer_norm {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index dim = 0;
    double eps = 1e-6;  ///< added to the variance
  };
  struct saved {
    view<const T> x;
    view<compute_t<T>> stats;  ///< [rows, 2]: mean, 1 / standard deviation
  };

  layer_norm() = default;
  explicit layer_norm(config c) : config_(c) { require(c.dim > 0, "layer_norm: dim = ", c.dim, " must be positive"); }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }

  void visit(visitor<M>& v) {
    v.add(weight_, "weight", {config_.dim}, init_rule::constant(1), decay::no);
    v.add(bias_, "bias", {config_.dim}, init_rule::zeros(), decay::no);
  }
  saved bind(binder<B>& b, index max_rows) const {
    layer_norm_bind<T>(b, max_rows, config_.dim);
    saved s;
    s.stats = b.saved.template take<compute_t<T>>(max_rows, 2);
    return s;
  }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("layer_norm", *this, x, y);
    s.x = x;
    layer_norm_forward<T>(c, x, weight_.value, bias_.value, config_.eps, y, s.stats);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const { backward_add(c, dy, {}, dx, s); }
  void backward_add(context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, saved& s) const {
    layer_norm_backward<T>(c, dy, s.x, s.stats, weight_.value, weight_.grad, bias_.grad, dx, skip);
  }

  static constexpr cost count(const config& c, index rows) { return cost::dense(2 * c.dim, 0, rows * c.dim); }

 private:
  config config_;
  param<M> weight_, bias_;
};

}  // namespace nn
}  // namespace polymoe
