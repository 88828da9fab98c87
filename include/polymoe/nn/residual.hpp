// y = x + f(x).
#pragma once

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Adds its input to the output of `Module` (equal shapes); adds nothing to the names of its parameters.  The sum costs
/// no pass of its own where the module has forward_add and backward_add.
template <class Module>
class residual {
 public:
  using scalar = typename Module::scalar;
  using backend = typename Module::backend;
  using T = scalar;
  using B = backend;
  using M = master_t<T>;
  using config = typename Module::config;
  using saved = typename Module::saved;

  residual() = default;
  explicit residual(config c) : residual(Module(std::move(c))) {}
  explicit residual(Module m) : inner_(std::move(m)) {
    require(inner_.in_cols() == inner_.out_cols(), "residual: input width ", inner_.in_cols(),
            " differs from output width ", inner_.out_cols());
  }

  index in_cols() const { return inner_.in_cols(); }
  index out_cols() const { return inner_.out_cols(); }
  void visit(visitor<M>& v) { inner_.visit(v); }
  saved bind(binder<B>& b, index max_rows) const { return inner_.bind(b, max_rows); }
  void refresh(context<B>& c) { inner_.refresh(c); }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    nn::forward_add<Module, T, B>(inner_, c, x, x, y, s);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    if (dx.ptr[0])
      nn::backward_add<Module, T, B>(inner_, c, dy, dy, dx, s);
    else
      inner_.backward(c, dy, dx, s);
  }
  template <class F>
  void each(F&& f, saved& s) {
    each_module(inner_, s, f);
  }
  static constexpr cost count(const config& c, index rows) { return Module::count(c, rows); }

  Module& inner() { return inner_; }

 private:
  Module inner_;
};

}  // namespace nn
}  // namespace polymoe
