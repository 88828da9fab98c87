// The MLP of a transformer: linear, activation, linear, fused over tiles of rows.
#pragma once

#include "../expert/activation.hpp"
#include "linear.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [rows, D] -> y [rows, D].  Parameters: fc1.weight [H, D], fc1.bias, fc2.weight [D, H], fc2.bias.
template <class T, class Act = act::gelu_tanh, class B = cpu>
class mlp_block {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index dim = 0, hidden = 0;
    linear_init init = linear_init::xavier;
    float_products products = float_products::exact;
  };
  struct saved {
    view<const T> x;
    view<T> pre, hidden;  ///< [rows, H] before and after the activation
  };

  mlp_block() = default;
  explicit mlp_block(config c)
      : config_(c),
        up_({c.dim, c.hidden, true, c.init, c.products}),
        down_({c.hidden, c.dim, true, c.init, c.products}) {}

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }
  /// Its two maps, for who asks how their products run.
  const linear<T, B>& up() const { return up_; }
  const linear<T, B>& down() const { return down_; }

  void visit(visitor<M>& v) {
    v.child("fc1", up_);
    v.child("fc2", down_);
  }
  saved bind(binder<B>& b, index max_rows) const {
    saved s;
    s.pre = b.saved.template take<T>(max_rows, config_.hidden);
    s.hidden = b.saved.template take<T>(max_rows, config_.hidden);
    arena_scope all(b.scratch);
    b.scratch.template take<T>(max_rows, config_.hidden);
    up_.bind(b, max_rows);
    down_.bind(b, max_rows);
    return s;
  }
  void refresh(context<B>& c) {
    up_.refresh(c);
    down_.refresh(c);
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const { forward_add(c, x, {}, y, s); }
  void forward_add(context<B>& c, view<const T> x, view<const T> skip, view<T> y, saved& s) const {
    check_shapes("mlp_block", *this, x, y);
    s.x = x;
    mlp_forward<Act, T>(c, up_.bound(), down_.bound(), x, s.pre.rows_at(0, x.rows), s.hidden.rows_at(0, x.rows), y,
                        skip);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    const view<T> d_pre = c.scratch.template take<T>(dy.rows, config_.hidden);
    mlp_backward<Act, T>(c, up_.bound(), down_.bound(), dy, s.pre.rows_at(0, dy.rows), d_pre, dx);
    down_.kernel().weight_gradient(c, dy, s.hidden.rows_at(0, dy.rows), down_.weight().grad, down_.bias().grad);
    up_.kernel().weight_gradient(c, d_pre, s.x, up_.weight().grad, up_.bias().grad);
  }

  static constexpr cost count(const config& c, index rows) {
    return linear<T, B>::count({c.dim, c.hidden}, rows) + linear<T, B>::count({c.hidden, c.dim}, rows) +
           cost::dense(0, 0, rows * c.hidden);
  }

 private:
  config config_;
  linear<T, B> up_, down_;
};

}  // namespace nn
}  // namespace polymoe
