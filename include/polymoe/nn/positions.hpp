// Learned positions, and the class token (Dosovitskiy et al. 2021, eq. 1).
#pragma once

#include "../backend/cpu/pool.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// x [images * tokens, D] -> y [images * (tokens + 1 with a class token), D]: the class token in front, positions
/// added. Parameters: pos_embed [tokens (+ 1), D] from N(0, std), cls_token [1, D] from 0.
template <class T, class B = cpu>
class positions {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index dim = 0, tokens = 0;
    bool class_token = false;
    double std = 0.02;
    constexpr index out_tokens() const { return tokens + (class_token ? 1 : 0); }
  };
  struct saved {};

  positions() = default;
  explicit positions(config c) : config_(c) {
    require(c.tokens > 0, "positions: tokens = ", c.tokens, " must be positive");
  }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }
  static constexpr index out_rows(const config& c, index rows) { return rows / c.tokens * c.out_tokens(); }
  void visit(visitor<M>& v) {
    v.add(position_, "pos_embed", {config_.out_tokens(), config_.dim}, init_rule::normal(config_.std), decay::no);
    if (config_.class_token) v.add(class_, "cls_token", {1, config_.dim}, init_rule::zeros(), decay::no);
  }
  saved bind(binder<B>&, index) const { return {}; }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved&) const {
    check_shapes("positions", *this, x, y);
    require(x.rows % config_.tokens == 0, "positions: ", x.rows, " rows are no whole number of images of ",
            config_.tokens, " tokens");
    positions_forward<T>(c, config_.tokens, x, position_.value, class_.value, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved&) const {
    positions_backward<T>(c, config_.tokens, dy, position_.grad, class_.grad, dx);
  }
  static constexpr cost count(const config& c, index rows) {
    return cost::dense(c.dim * (c.out_tokens() + (c.class_token ? 1 : 0)), 0, out_rows(c, rows) * c.dim);
  }

 private:
  config config_;
  param<M> position_, class_;
};

}  // namespace nn
}  // namespace polymoe
