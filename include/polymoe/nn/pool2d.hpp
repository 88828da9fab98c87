// Pooling of feature maps over square windows.  The mean over a whole map is nn::pool with tokens = height * width.
#pragma once

#include "../backend/cpu/pool2d.hpp"
#include "feature_maps.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// The largest number of a window (ties to the first pixel), or its mean (pixels over the border count as 0 and are
/// counted).
enum class pool2d_kind { max, mean };

/// x [images * height * width, channels] -> y [images * out_height * out_width, channels].
template <class T, class B = cpu>
class pool2d : feature_maps<B> {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  static constexpr bool parameters = false;
  struct config {
    index channels = 0, height = 0, width = 0;
    index kernel = 2;
    index stride = 0;  ///< 0: the kernel, so that windows do not overlap
    index padding = 0;
    pool2d_kind kind = pool2d_kind::max;
    constexpr maths::convolution_shape shape() const {
      return {height, width, channels, channels, kernel, stride ? stride : kernel, padding, true};
    }
    constexpr index out_height() const { return shape().down(); }
    constexpr index out_width() const { return shape().across(); }
  };
  struct saved {
    std::uint8_t* from = nullptr;  ///< [rows of y, channels]: the tap of the largest number
    index max_rows = 0;            ///< rows of y it has room for
  };

  pool2d() = default;
  explicit pool2d(config c) : config_(c) {
    config_.shape().checked("pool2d");
    require(2 * c.padding <= c.kernel, "pool2d: padding ", c.padding, " is more than half of the kernel's ", c.kernel);
    require(c.kernel <= 15, "pool2d: a kernel of ", c.kernel, ", at most 15 is supported");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.channels; }
  index out_cols() const { return config_.channels; }
  static constexpr index out_rows(const config& c, index rows) {
    return rows / c.shape().in_pixels() * c.shape().out_pixels();
  }
  void visit(visitor<M>&) {}
  saved bind(binder<B>& b, index max_rows) const {
    saved s;
    s.max_rows = ceil_div(max_rows, config_.shape().in_pixels()) * config_.shape().out_pixels();
    if (config_.kind == pool2d_kind::max)
      s.from = b.saved.template take_raw<std::uint8_t>(s.max_rows * config_.channels);
    return s;
  }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("pool2d", *this, x, y);
    require(x.rows % config_.shape().in_pixels() == 0, "pool2d: ", x.rows, " rows are no whole number of maps of ",
            config_.height, " x ", config_.width);
    require(y.rows <= s.max_rows, "pool2d: ", y.rows, " rows of output, memory was bound for ", s.max_rows);
    if (config_.kind == pool2d_kind::max)
      max_pool2d_forward<T>(c, config_.shape(), x, y, s.from);
    else
      mean_pool2d_forward<T>(c, config_.shape(), x, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    if (!dx.ptr[0]) return;
    if (config_.kind == pool2d_kind::max)
      max_pool2d_backward<T>(c, config_.shape(), dy, s.from, dx);
    else
      mean_pool2d_backward<T>(c, config_.shape(), dy, dx);
  }
  static constexpr cost count(const config& c, index rows) { return cost::dense(0, 0, out_rows(c, rows) * c.channels); }

 private:
  config config_;
};

}  // namespace nn
}  // namespace polymoe
