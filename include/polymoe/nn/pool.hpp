// From tokens to one row per image.
#pragma once

#include "../backend/cpu/pool.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// The mean over an image's tokens, or its first (class) token.
enum class pool_kind { mean, first };

/// x [images * tokens, D] -> y [images, D].
template <class T, class B = cpu>
class pool {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  static constexpr bool parameters = false;
  struct config {
    index dim = 0, tokens = 0;
    pool_kind kind = pool_kind::mean;
  };
  struct saved {};

  pool() = default;
  explicit pool(config c) : config_(c) { require(c.tokens > 0, "pool: tokens = ", c.tokens, " must be positive"); }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }
  static constexpr index out_rows(const config& c, index rows) { return rows / c.tokens; }
  void visit(visitor<M>&) {}
  saved bind(binder<B>&, index) const { return {}; }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved&) const {
    check_shapes("pool", *this, x, y);
    require(x.rows % config_.tokens == 0, "pool: ", x.rows, " rows are no whole number of images of ", config_.tokens,
            " tokens");
    if (config_.kind == pool_kind::mean)
      mean_pool_forward<T>(c, config_.tokens, x, y);
    else
      first_token_forward<T>(c, config_.tokens, x, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved&) const {
    if (!dx.ptr[0]) return;
    if (config_.kind == pool_kind::mean)
      mean_pool_backward<T>(c, config_.tokens, dy, dx);
    else
      first_token_backward<T>(c, config_.tokens, dy, dx);
  }
  static constexpr cost count(const config& c, index rows) { return cost::dense(0, 0, out_rows(c, rows) * c.dim); }

 private:
  config config_;
};

}  // namespace nn
}  // namespace polymoe
