// y = main(x) + side(x): a residual whose shortcut computes something.
#pragma once

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Two modules on one input, their outputs added: the projection shortcut of ResNets where a block changes width or
/// size (He et al. 2016, option B), or experts that every row meets (shared_experts.hpp).  `Main` adds nothing to the
/// names of its parameters, `Side` its own name.
template <class Main, class Side>
class branches {
 public:
  using scalar = typename Main::scalar;
  using backend = typename Main::backend;
  using T = scalar;
  using B = backend;
  using M = master_t<T>;
  static_assert(std::is_same_v<T, typename Side::scalar> && std::is_same_v<B, typename Side::backend>,
                "polymoe: both branches need the same number type and the same backend");
  struct config {
    typename Main::config main;
    typename Side::config side;
  };
  struct saved {
    typename Main::saved main;
    typename Side::saved side;
    index rows = 0;  ///< of the input, in the last forward
  };

  branches() = default;
  explicit branches(config c) : main_(std::move(c.main)), side_(std::move(c.side)) {
    require(main_.in_cols() == side_.in_cols() && main_.out_cols() == side_.out_cols(), "branches: one maps width ",
            main_.in_cols(), " to ", main_.out_cols(), ", the other width ", side_.in_cols(), " to ", side_.out_cols());
  }

  index in_cols() const { return main_.in_cols(); }
  index out_cols() const { return main_.out_cols(); }
  static constexpr index out_rows(const config& c, index rows) { return rows_after<Main>(c.main, rows); }
  index rows_out(index rows) const { return rows_after(main_, rows); }

  void visit(visitor<M>& v) {
    main_.visit(v);
    detail::visit_child(v, side_, 1);
  }
  saved bind(binder<B>& b, index max_rows) const {
    arena_scope all(b.scratch);
    const index out = rows_after(main_, max_rows);
    b.scratch.template take<T>(1, std::max(out * out_cols(), max_rows * in_cols()));
    return {main_.bind(b, max_rows), side_.bind(b, max_rows), 0};
  }
  void refresh(context<B>& c) {
    main_.refresh(c);
    side_.refresh(c);
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const {
    const index out = rows_after(main_, x.rows), beside = rows_after(side_, x.rows);
    require(out == beside, "branches: ", x.rows, " rows become ", out, " in one branch and ", beside, " in the other");
    check_shapes("branches", *this, x, y);
    arena_scope all(c.scratch);
    const view<T> shortcut = c.scratch.template take<T>(y.rows, out_cols());
    s.rows = x.rows;
    side_.forward(c, x, shortcut, s.side);
    nn::forward_add<Main, T, B>(main_, c, x, shortcut, y, s.main);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    if (!dx.ptr[0]) {
      main_.backward(c, dy, dx, s.main);
      side_.backward(c, dy, dx, s.side);
      return;
    }
    const view<T> through = c.scratch.template take<T>(s.rows, in_cols());
    main_.backward(c, dy, through, s.main);
    nn::backward_add<Side, T, B>(side_, c, dy, through, dx, s.side);
  }
  template <class F>
  void each(F&& f, saved& s) {
    each_module(main_, s.main, f);
    each_module(side_, s.side, f);
  }
  static constexpr cost count(const config& c, index rows) {
    return Main::count(c.main, rows) + Side::count(c.side, rows);
  }

  Main& main() { return main_; }
  const Main& main() const { return main_; }
  Side& side() { return side_; }
  const Side& side() const { return side_; }

 private:
  Main main_;
  Side side_;
};

}  // namespace nn
}  // namespace polymoe
