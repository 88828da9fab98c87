// Dropout (Srivastava et al. 2014), scaled in training so that evaluation is the identity.
#pragma once

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = x m / (1 - p), m = 0 with probability p.  The mask is a function of (seed, module path, step, micro-batch,
/// place), so backward draws it again instead of keeping it; the step must not change in between.
template <class T, class B = cpu>
class dropout {
 public:
  using scalar = T;
  using backend = B;
  using M = master_t<T>;
  struct config {
    index dim = 0;
    double p = 0.1;
  };
  struct saved {};

  dropout() = default;
  explicit dropout(config c) : config_(c) { require(c.p >= 0 && c.p < 1, "dropout: p = ", c.p, " is not in [0, 1)"); }

  const config& settings() const { return config_; }
  index in_cols() const { return config_.dim; }
  index out_cols() const { return config_.dim; }
  void visit(visitor<M>& v) { v.add_stream(stream_, "dropout"); }
  saved bind(binder<B>&, index) const { return {}; }
  void refresh(context<B>&) {}

  void forward(context<B>& c, view<const T> x, view<T> y, saved&) const {
    check_shapes("dropout", *this, x, y);
    apply(c, x, y);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved&) const {
    if (dx.ptr[0]) apply(c, dy, dx);
  }
  static constexpr cost count(const config& c, index rows) { return cost::dense(0, 0, rows * c.dim); }

 private:
  void apply(context<B>& c, view<const T> x, view<T> y) const {
    if (c.training() && config_.p > 0)
      dropout_apply<T>(c, stream_, config_.p, x, y);
    else
      copy(c, x, y);
  }
  config config_;
  std::uint64_t stream_ = 0;
};

}  // namespace nn
}  // namespace polymoe
