// Experts that every row meets, beside routed ones (DeepSeekMoE, Dai et al. 2024, eq. 9; DeepSeek-V2 and V3).
//
//   y = shared(x) + routed(x)
//
// The shared part is any dense module: N shared experts of H hidden units are one mlp_block of N H, since their outputs
// are added.  The routed part is a layer, whose own text knows nothing of it.
#pragma once

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = shared(x) + routed(x).  Parameters of `Shared` are named "shared.", those of `Routed` as without it.  Both take
/// and give the same widths and rows.
template <class Shared, class Routed>
class shared_experts {
 public:
  using scalar = typename Routed::scalar;
  using backend = typename Routed::backend;
  using T = scalar;
  using B = backend;
  using M = master_t<T>;
  static_assert(std::is_same_v<T, typename Shared::scalar>,
                "polymoe: shared and routed experts need the same number type");
  static_assert(std::is_same_v<B, typename Shared::backend>,
                "polymoe: shared and routed experts need the same backend");

  struct config {
    typename Shared::config shared;
    typename Routed::config routed;
  };
  struct saved {
    typename Shared::saved shared;
    typename Routed::saved routed;
  };

  explicit shared_experts(config c) : shared_experts(Shared(std::move(c.shared)), Routed(std::move(c.routed))) {}
  shared_experts(Shared s, Routed r) : shared_(std::move(s)), routed_(std::move(r)) {
    require(shared_.in_cols() == routed_.in_cols() && shared_.out_cols() == routed_.out_cols(),
            "shared_experts: the shared module maps width ", shared_.in_cols(), " to ", shared_.out_cols(),
            ", the routed one ", routed_.in_cols(), " to ", routed_.out_cols());
  }

  index in_cols() const { return routed_.in_cols(); }
  index out_cols() const { return routed_.out_cols(); }
  config settings() const requires(has_settings<Shared>&& has_settings<Routed>) {
    return {shared_.settings(), routed_.settings()};
  }
  Shared& shared() { return shared_; }
  Routed& routed() { return routed_; }

  void visit(visitor<M>& v) {
    v.child("shared", shared_);
    routed_.visit(v);
  }
  saved bind(binder<B>& b, index max_rows) const {
    arena_scope all(b.scratch);
    b.scratch.template take<T>(max_rows, std::max(in_cols(), out_cols()));
    return {shared_.bind(b, max_rows), routed_.bind(b, max_rows)};
  }
  void refresh(context<B>& c) {
    shared_.refresh(c);
    routed_.refresh(c);
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    check_shapes("shared_experts", *this, x, y);
    arena_scope all(c.scratch);
    const view<T> routed = c.scratch.template take<T>(y.rows, y.cols);
    routed_.forward(c, x, routed, s.routed);
    nn::forward_add<Shared, T, B>(shared_, c, x, routed, y, s.shared);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    if (!dx.ptr[0]) {
      routed_.backward(c, dy, dx, s.routed);
      shared_.backward(c, dy, dx, s.shared);
      return;
    }
    const view<T> routed = c.scratch.template take<T>(dx.rows, dx.cols);
    routed_.backward(c, dy, routed, s.routed);
    nn::backward_add<Shared, T, B>(shared_, c, dy, routed, dx, s.shared);
  }
  template <class F>
  void each(F&& f, saved& s) {
    each_module(shared_, s.shared, f);
    each_module(routed_, s.routed, f);
  }
  /// A unit meets all shared parameters; routed_macs are those of the routed experts alone.
  static constexpr cost count(const config& c, index rows) {
    return Shared::count(c.shared, rows) + Routed::count(c.routed, rows);
  }

 private:
  Shared shared_;
  Routed routed_;
};

}  // namespace nn
}  // namespace polymoe
