// Multi-head self-attention (Vaswani et al. 2017, section 3.2), within each image.
#pragma once

#include "../backend/cpu/attention.hpp"
#include "linear.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [images * tokens, D] -> y of the same shape.  Parameters: qkv.weight [3D, D] (rows q, k, v; heads adjacent inside
/// each), qkv.bias, proj.weight [D, D], proj.bias.  Scores and softmax are computed in float for bf16.
template <class T, class B = cpu>
class attention {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index dim = 0, heads = 1, tokens = 0;
    bool qkv_bias = true;
    /// CPU: false makes backward compute them again, saving heads * tokens numbers a row.  CUDA keeps none.
    bool keep_probabilities = true;
    linear_init init = linear_init::xavier;
    float_products products = float_products::exact;  ///< of the four projections; attention itself is exact
  };
  struct saved {
    typename linear<T, B>::saved qkv_saved, proj_saved;
    view<T> qkv;   ///< [rows, 3D]
    view<T> kept;  ///< what the backend keeps between forward and backward, laid out as it likes
    view<T> o;     ///< [rows, D] before the projection
  };

  attention() = default;
  explicit attention(config c)
      : config_(c),
        qkv_({c.dim, 3 * c.dim, c.qkv_bias, c.init, c.products}),
        proj_({c.dim, c.dim, true, c.init, c.products}) {
    require(c.heads > 0 && c.dim % c.heads == 0, "attention: dim ", c.dim, " is not a multiple of heads ", c.heads);
    require(c.tokens > 0, "attention: tokens = ", c.tokens, " must be positive");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }

  void visit(visitor<M>& v) {
    v.child("qkv", qkv_);
    v.child("proj", proj_);
  }
  saved bind(binder<B>& b, index max_rows) const {
    const index dim = config_.dim;
    saved s;
    s.qkv = b.saved.template take<T>(max_rows, 3 * dim);
    s.o = b.saved.template take<T>(max_rows, dim);
    s.kept = attention_bind<T>(b, shape(), max_rows / config_.tokens, config_.keep_probabilities);
    arena_scope all(b.scratch);
    b.scratch.template take<T>(max_rows, dim);
    b.scratch.template take<T>(max_rows, 3 * dim);
    s.qkv_saved = qkv_.bind(b, max_rows);
    s.proj_saved = proj_.bind(b, max_rows);
    return s;
  }
  void refresh(context<B>& c) {
    qkv_.refresh(c);
    proj_.refresh(c);
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const { forward_add(c, x, {}, y, s); }
  void forward_add(context<B>& c, view<const T> x, view<const T> skip, view<T> y, saved& s) const {
    check_shapes("attention", *this, x, y);
    require(x.rows % config_.tokens == 0, "attention: ", x.rows, " rows are no whole number of images of ",
            config_.tokens, " tokens");
    const view<T> qkv = s.qkv.rows_at(0, x.rows), o = s.o.rows_at(0, x.rows);
    qkv_.forward(c, x, qkv, s.qkv_saved);
    attention_forward<T>(c, shape(), qkv, o, s.kept);
    proj_.forward_add(c, o, skip, y, s.proj_saved);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    const view<T> d_o = c.scratch.template take<T>(dy.rows, config_.dim);
    const view<T> d_qkv = c.scratch.template take<T>(dy.rows, 3 * config_.dim);
    proj_.backward(c, dy, d_o, s.proj_saved);
    attention_backward<T>(c, shape(), s.qkv.rows_at(0, dy.rows), s.o.rows_at(0, dy.rows), s.kept, d_o, d_qkv);
    qkv_.backward(c, d_qkv, dx, s.qkv_saved);
  }

  /// 4 D^2 + 2 T D multiply-accumulates a token, T tokens an image; q, k, v, what attention gives, and its projection.
  static constexpr cost count(const config& c, index rows) {
    const cost n =
        linear<T, B>::count({c.dim, 3 * c.dim, c.qkv_bias}, rows) + linear<T, B>::count({c.dim, c.dim}, rows);
    return n + cost::dense(0, 2 * rows * c.tokens * c.dim, rows * c.dim);
  }

 private:
  polymoe::backend::attention_shape shape() const { return {config_.tokens, config_.dim, config_.heads}; }

  config config_;
  linear<T, B> qkv_, proj_;
};

}  // namespace nn
}  // namespace polymoe
