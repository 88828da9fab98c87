// Images as data sets give them to feature maps: planes to pixels.
#pragma once

#include "../backend/cpu/pool.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [images, channels * height * width] (planes, rows, columns) -> y [images * height * width, channels].
template <class T, class B = cpu>
class pixels {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  static constexpr bool parameters = false;
  struct config {
    index channels = 3, height = 0, width = 0;
    /// A pixel is a patch of one pixel.
    constexpr polymoe::backend::patch_shape shape() const { return {channels, height, width, 1, 1, 0}; }
  };
  struct saved {};

  pixels() = default;
  explicit pixels(config c) : config_(c) {
    require(c.channels > 0 && c.height > 0 && c.width > 0, "pixels: channels ", c.channels, ", height ", c.height,
            " and width ", c.width, " must be positive");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.shape().image_size(); }
  index out_cols() const { return config_.channels; }
  static constexpr index out_rows(const config& c, index rows) { return rows * c.height * c.width; }
  void visit(visitor<M>&) {}
  saved bind(binder<B>&, index) const { return {}; }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved&) const {
    check_shapes("pixels", *this, x, y);
    patches_forward<T>(c, config_.shape(), x, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved&) const {
    if (dx.ptr[0]) patches_backward<T>(c, config_.shape(), dy, dx);
  }
  static constexpr cost count(const config& c, index rows) { return cost::dense(0, 0, out_rows(c, rows) * c.channels); }

 private:
  config config_;
};

}  // namespace nn
}  // namespace polymoe
