// Convolution of feature maps, plain and depthwise.
//
// A map lies with one row per pixel: [images * height * width, channels], images one after another, pixels row by row.
// So pointwise modules, linear layers, pools and routers take a pixel for a token.
#pragma once

#include "../backend/cpu/conv.hpp"
#include "feature_maps.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// How the weight of a convolution starts; n is the number of inputs of one output, in * kernel^2.
enum class conv_init {
  pytorch,  ///< weight and bias uniform in +-1/sqrt(n)
  he        ///< weight N(0, sqrt(2 / n)) (He et al. 2015), bias 0: for a ReLU that follows
};

inline init_rule weight_rule(conv_init how, index n) {
  const auto inputs = static_cast<double>(n);
  return how == conv_init::he ? init_rule::normal(std::sqrt(2.0 / inputs))
                              : init_rule::uniform(1.0 / std::sqrt(inputs));
}
inline init_rule bias_rule(conv_init how, index n) {
  return how == conv_init::pytorch ? weight_rule(how, n) : init_rule::zeros();
}

/// x [images * height * width, in] -> y [images * out_height * out_width, out].
/// Parameters: weight [out, in, kernel, kernel], or [out, 1, kernel, kernel] when depthwise; bias [out].
template <class T, class B = cpu>
class conv2d : feature_maps<B> {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index in = 0, out = 0, height = 0, width = 0;
    index kernel = 3, stride = 1;
    index padding = 0;  ///< pixels of 0 around the map; kernel / 2 keeps the size of a map at stride 1
    bool bias = true;
    bool depthwise = false;  ///< PyTorch's groups = in = out: channel c of the output sees channel c of the input
    conv_init init = conv_init::pytorch;
    constexpr maths::convolution_shape shape() const {
      return {height, width, in, out, kernel, stride, padding, depthwise};
    }
    constexpr index out_height() const { return shape().down(); }
    constexpr index out_width() const { return shape().across(); }
  };
  struct saved {
    view<const T> x;
  };

  conv2d() = default;
  explicit conv2d(config c) : config_(c), kernel_(c.shape().checked("conv2d")) {}

  const config& settings() const { return config_; }
  index in_cols() const { return config_.in; }
  index out_cols() const { return config_.out; }
  static constexpr index out_rows(const config& c, index rows) {
    return rows / c.shape().in_pixels() * c.shape().out_pixels();
  }

  void visit(visitor<M>& v) {
    const index n = shape().fan_in();
    v.add(weight_, "weight", {config_.out, config_.depthwise ? 1 : config_.in, config_.kernel, config_.kernel},
          weight_rule(config_.init, n));
    weight_.value = weight_.value.reshaped(config_.out, n);
    weight_.grad = weight_.grad.reshaped(config_.out, n);
    if (config_.bias) v.add(bias_, "bias", {config_.out}, bias_rule(config_.init, n), decay::no);
    v.add_derived(derived_, kernel_.derived_bytes());
  }
  saved bind(binder<B>& b, index max_rows) const {
    kernel_.bind(b, ceil_div(max_rows, shape().in_pixels()));
    return {};
  }
  void refresh(context<B>& c) { kernel_.pack(c, weight_.value, bias_.value, derived_); }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const { forward_add(c, x, {}, y, s); }
  void forward_add(context<B>& c, view<const T> x, view<const T> skip, view<T> y, saved& s) const {
    check_shapes("conv2d", *this, x, y);
    require(x.rows % shape().in_pixels() == 0, "conv2d: ", x.rows, " rows are no whole number of maps of ",
            config_.height, " x ", config_.width);
    require(x.contiguous() && y.contiguous(), "conv2d: rows must lie without gaps, they are ", x.stride, " and ",
            y.stride, " numbers apart with ", x.cols, " and ", y.cols, " columns");
    s.x = x;
    kernel_.forward(c, x, derived_, bias_.value, y, skip);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const { backward_add(c, dy, {}, dx, s); }
  void backward_add(context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, saved& s) const {
    require(dy.contiguous() && dx.contiguous(), "conv2d: rows of gradients must lie without gaps, they are ", dy.stride,
            " and ", dx.stride, " numbers apart with ", dy.cols, " and ", dx.cols, " columns");
    if (dx.ptr[0]) kernel_.backward(c, dy, derived_, dx, skip);
    kernel_.weight_gradient(c, dy, s.x, weight_.grad, bias_.grad);
  }

  static constexpr cost count(const config& c, index rows) {
    const index params = c.shape().weights() + (c.bias ? c.out : 0);
    const index maps = rows / c.shape().in_pixels();
    return cost::dense(params, maps * c.shape().macs(), maps * c.shape().out_pixels() * c.out);
  }

 private:
  maths::convolution_shape shape() const { return config_.shape(); }

  config config_;
  polymoe::backend::conv<T, B> kernel_;
  param<M> weight_, bias_;
  std::byte* derived_ = nullptr;
};

}  // namespace nn
}  // namespace polymoe
