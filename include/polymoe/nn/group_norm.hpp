// Group normalisation of feature maps (Wu & He 2018): statistics over the pixels and some channels of one image.
//
// Safe inside routed experts, because an image's output does not depend on the others of a batch.
#pragma once

#include "../backend/cpu/group_norm.hpp"
#include "feature_maps.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [images * pixels, channels] -> y of the same shape.  Parameters: weight [channels] (1 at first), bias [channels].
template <class T, class B = cpu>
class group_norm : feature_maps<B> {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index channels = 0, groups = 1;
    index pixels = 1;   ///< of one image: height * width
    double eps = 1e-5;  ///< added to the variance
    constexpr polymoe::backend::group_norm_shape shape() const { return {channels, groups, pixels, eps}; }
  };
  struct saved {
    view<const T> x;
    view<compute_t<T>> stats;  ///< [images * groups, 2]: mean, 1 / standard deviation
  };

  group_norm() = default;
  explicit group_norm(config c) : config_(c) {
    require(c.channels > 0 && c.groups > 0 && c.pixels > 0, "group_norm: channels ", c.channels, ", groups ", c.groups,
            " and pixels ", c.pixels, " must be positive");
    require(c.channels % c.groups == 0, "group_norm: ", c.channels, " channels do not fall into ", c.groups,
            " equal groups");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.channels; }
  index out_cols() const { return config_.channels; }

  void visit(visitor<M>& v) {
    v.add(weight_, "weight", {config_.channels}, init_rule::constant(1), decay::no);
    v.add(bias_, "bias", {config_.channels}, init_rule::zeros(), decay::no);
  }
  saved bind(binder<B>& b, index max_rows) const {
    const index images = ceil_div(max_rows, config_.pixels);
    group_norm_bind<T>(b, config_.shape(), images);
    saved s;
    s.stats = b.saved.template take<compute_t<T>>(images * config_.groups, 2);
    return s;
  }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("group_norm", *this, x, y);
    require(x.rows % config_.pixels == 0, "group_norm: ", x.rows, " rows are no whole number of images of ",
            config_.pixels, " pixels");
    s.x = x;
    group_norm_forward<T>(c, config_.shape(), x, weight_.value, bias_.value, y, s.stats);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const { backward_add(c, dy, {}, dx, s); }
  void backward_add(context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, saved& s) const {
    group_norm_backward<T>(c, config_.shape(), dy, s.x, s.stats, weight_.value, bias_.value, weight_.grad, bias_.grad,
                           dx, skip);
  }

  static constexpr cost count(const config& c, index rows) { return cost::dense(2 * c.channels, 0, rows * c.channels); }

 private:
  config config_;
  param<M> weight_, bias_;
};

}  // namespace nn
}  // namespace polymoe
