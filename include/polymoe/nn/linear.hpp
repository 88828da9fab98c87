// Fully connected layer: y = x W^T + b.
#pragma once

#include "../backend/cpu/linear.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

using polymoe::float_products;

/// How the weight of a linear layer starts.
enum class linear_init {
  pytorch,    ///< weight and bias uniform in +-1/sqrt(in)
  xavier,     ///< weight uniform in +-sqrt(6 / (in + out)), bias 0
  normal_02,  ///< weight N(0, 0.02), bias 0
  zeros       ///< all 0: for a classifier head
};

/// The first values of a [out, in] weight.
inline init_rule weight_rule(linear_init how, index in, index out) {
  switch (how) {
    case linear_init::xavier:
      return init_rule::xavier(in, out);
    case linear_init::normal_02:
      return init_rule::normal(0.02);
    case linear_init::zeros:
      return init_rule::zeros();
    default:
      return init_rule::uniform(1.0 / std::sqrt(static_cast<double>(in)));
  }
}
/// The first values of its bias.
inline init_rule bias_rule(linear_init how, index in) {
  return how == linear_init::pytorch ? weight_rule(how, in, 1) : init_rule::zeros();
}

/// x [rows, in] -> y [rows, out].  Parameters: weight [out, in], bias [out].
template <class T, class B = cpu>
class linear {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index in = 0, out = 0;
    bool bias = true;
    linear_init init = linear_init::pytorch;
    float_products products = float_products::exact;
  };
  struct saved {
    view<const T> x;
  };

  linear() = default;
  explicit linear(config c) : config_(c) {
    require(c.in > 0 && c.out > 0, "linear: in = ", c.in, " and out = ", c.out, " must be positive");
    kernel_ = {c.in, c.out, c.products};
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.in; }
  index out_cols() const { return config_.out; }

  void visit(visitor<M>& v) {
    v.add(weight_, "weight", {config_.out, config_.in}, weight_rule(config_.init, config_.in, config_.out));
    if (config_.bias) v.add(bias_, "bias", {config_.out}, bias_rule(config_.init, config_.in), decay::no);
    v.add_derived(derived_, kernel_.derived_bytes());
  }
  saved bind(binder<B>& b, index max_rows) const {
    kernel_.bind(b, max_rows);
    return {};
  }
  void refresh(context<B>& c) { kernel_.pack(c, weight_.value, bias_.value, derived_); }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const { forward_add(c, x, {}, y, s); }
  void forward_add(context<B>& c, view<const T> x, view<const T> skip, view<T> y, saved& s) const {
    check_shapes("linear", *this, x, y);
    s.x = x;
    kernel_.forward(c, x, derived_, bias_.value, y, skip);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    if (dx.ptr[0]) kernel_.backward(c, dy, derived_, dx);
    kernel_.weight_gradient(c, dy, s.x, weight_.grad, bias_.grad);
  }

  static constexpr cost count(const config& c, index rows) {
    const index params = c.in * c.out + (c.bias ? c.out : 0);
    return cost::dense(params, rows * c.in * c.out, rows * c.out);
  }

  /// The layer as fused kernels take it.
  polymoe::backend::bound_dense<T, B> bound() const { return {kernel_, derived_, bias_.value}; }
  /// Memory and gradients for a fused kernel that does the rest itself.
  const polymoe::backend::dense<T, B>& kernel() const { return kernel_; }
  const param<M>& weight() const { return weight_; }
  const param<M>& bias() const { return bias_; }

 private:
  config config_;
  polymoe::backend::dense<T, B> kernel_;
  param<M> weight_, bias_;
  std::byte* derived_ = nullptr;
};

}  // namespace nn
}  // namespace polymoe
