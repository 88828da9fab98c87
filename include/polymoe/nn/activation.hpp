// An activation as a module.
#pragma once

#include "../backend/cpu/pointwise.hpp"
#include "../expert/activation.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = act(x), [rows, D] -> [rows, D].
template <class Act, class T, class B = cpu>
class activation {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  static constexpr bool parameters = false;
  struct config {
    index dim = 0;
  };
  struct saved {
    view<const T> x;
  };

  activation() = default;
  explicit activation(config c) : config_(c) {}

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }
  void visit(visitor<M>&) {}
  saved bind(binder<B>&, index) const { return {}; }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("activation", *this, x, y);
    s.x = x;
    activation_forward<Act, T>(c, x, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    if (dx.ptr[0]) activation_backward<Act, T>(c, dy, s.x, dx);
  }
  static constexpr cost count(const config& c, index rows) { return cost::dense(0, 0, rows * c.dim); }

 private:
  config config_;
};

}  // namespace nn
}  // namespace polymoe
