// Images to tokens: a convolution whose windows may overlap, as patches times a matrix.
#pragma once

#include "../backend/cpu/linear.hpp"
#include "../backend/cpu/pool.hpp"
#include "linear.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [images, C * height * width] (planes, rows, columns) -> y [images * tokens, D], tokens row by row.
/// Parameters: proj.weight [D, C, patch, patch], proj.bias [D].
template <class T, class B = cpu>
class patch_embed {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index channels = 3, height = 0, width = 0, patch = 0;
    index stride = 0;   ///< 0: the patch, so that patches do not overlap
    index padding = 0;  ///< pixels of 0 around the image
    index dim = 0;
    linear_init init = linear_init::pytorch;
    float_products products = float_products::exact;
    constexpr polymoe::backend::patch_shape shape() const {
      return {channels, height, width, patch, stride ? stride : patch, padding};
    }
    constexpr index tokens() const { return shape().tokens(); }
  };
  struct saved {
    view<T> patches;  ///< [images * tokens, C * patch * patch]
  };

  patch_embed() = default;
  explicit patch_embed(config c) : config_(c) {
    require(c.channels > 0 && c.patch > 0 && c.dim > 0 && c.padding >= 0 && c.stride >= 0, "patch_embed: channels ",
            c.channels, ", patch ", c.patch, ", dim ", c.dim, " must be positive, padding ", c.padding, " and stride ",
            c.stride, " not negative");
    require(c.height + 2 * c.padding >= c.patch && c.width + 2 * c.padding >= c.patch, "patch_embed: a patch of ",
            c.patch, " does not fit an image of ", c.height, " x ", c.width, " with padding ", c.padding);
    kernel_ = {shape().patch_size(), c.dim, c.products};
  }

  const config& settings() const { return config_; }
  index in_cols() const { return shape().image_size(); }
  index out_cols() const { return config_.dim; }
  static constexpr index out_rows(const config& c, index rows) { return rows * c.tokens(); }

  void visit(visitor<M>& v) {
    const index in = shape().patch_size();
    v.add(weight_, "proj.weight", {config_.dim, config_.channels, config_.patch, config_.patch},
          weight_rule(config_.init, in, config_.dim));
    weight_.value = weight_.value.reshaped(config_.dim, in);
    weight_.grad = weight_.grad.reshaped(config_.dim, in);
    v.add(bias_, "proj.bias", {config_.dim}, bias_rule(config_.init, in), decay::no);
    v.add_derived(derived_, kernel_.derived_bytes());
  }
  saved bind(binder<B>& b, index max_rows) const {
    const index rows = max_rows * config_.tokens(), cols = shape().patch_size();
    saved s;
    s.patches = b.saved.template take<T>(rows, cols);
    arena_scope all(b.scratch);
    b.scratch.template take<T>(rows, cols);
    kernel_.bind(b, rows);
    return s;
  }
  void refresh(context<B>& c) { kernel_.pack(c, weight_.value, bias_.value, derived_); }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("patch_embed", *this, x, y);
    const view<T> patches = s.patches.rows_at(0, y.rows);
    patches_forward<T>(c, shape(), x, patches);
    kernel_.forward(c, patches, derived_, bias_.value, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    if (dx.ptr[0]) {
      arena_scope all(c.scratch);
      const view<T> d_patches = c.scratch.template take<T>(dy.rows, shape().patch_size());
      kernel_.backward(c, dy, derived_, d_patches);
      patches_backward<T>(c, shape(), d_patches, dx);
    }
    kernel_.weight_gradient(c, dy, s.patches.rows_at(0, dy.rows), weight_.grad, bias_.grad);
  }

  static constexpr cost count(const config& c, index rows) {
    return linear<T, B>::count({c.shape().patch_size(), c.dim}, rows * c.tokens());
  }

 private:
  polymoe::backend::patch_shape shape() const { return config_.shape(); }

  config config_;
  polymoe::backend::dense<T, B> kernel_;
  param<M> weight_, bias_;
  std::byte* derived_ = nullptr;
};

}  // namespace nn
}  // namespace polymoe
