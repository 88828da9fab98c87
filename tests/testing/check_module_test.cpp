// check_module must find every kind of broken promise: one small module, broken in one way at a time.
// with: checks
#include <doctest/doctest.h>

#include <polymoe/nn/module.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

enum class fault {
  none,
  input_gradient,
  param_gradient,
  adds_to_dx,
  overwrites_gradient,
  tangent,
  threads,
  hole,
  low_precision,
  writes_gaps,
  ignores_gaps
};

/// y = (w x)^2 / 2 per column, [rows, 4].
template <class T>
class square {
 public:
  using scalar = T;
  using backend = cpu;
  using M = master_t<T>;
  struct config {
    fault broken = fault::none;
  };
  struct saved {
    view<const T> x;
  };
  explicit square(config c) : config_(c) {}
  index in_cols() const { return 4; }
  index out_cols() const { return 4; }
  void visit(visitor<M>& v) { v.add(w_, "w", {4}, init_rule::uniform(1)); }
  saved bind(binder<cpu>&, index) const { return {}; }
  void refresh(context<cpu>&) {}
  void forward(context<cpu>&, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    for (index r = 0; r < x.rows; ++r)
      for (index k = 0; k < 4; ++k) {
        if (config_.broken == fault::hole && r == 2 && k == 1) continue;
        auto z = x.get(r, k) * w_.value.get(0, k);
        if (config_.broken == fault::low_precision && std::is_same_v<T, float>) z = z * compute_t<T>(1.001f);
        if (config_.broken == fault::ignores_gaps && k == 0) z = packed(x).get(r, 0) * w_.value.get(0, 0);
        y.set(r, k, z * z * compute_t<T>(0.5f));
        if (config_.broken == fault::writes_gaps && y.stride > y.cols && k == 3)
          y.ptr[0][r * y.stride + 4] = real_t<T>(0.0f);
      }
  }
  void backward(context<cpu>& c, view<const T> dy, view<T> dx, saved& s) const {
    using S = compute_t<T>;
    const fault f = config_.broken;
    for (index r = 0; r < dy.rows; ++r)
      for (index k = 0; k < 4; ++k) {
        const S x = s.x.get(r, k), w = w_.value.get(0, k), g = dy.get(r, k) * x * w;
        S gw = g * x, gx = g * w;
        if (f == fault::input_gradient) gx = gx * S(1.0001f);
        if (f == fault::param_gradient && k == 3) gw = gw * S(1.001f);
        if (f == fault::threads && c.stream.threads > 2) gw = gw * S(1.0000005f);
        if constexpr (is_dual<T>)
          if (f == fault::tangent) gw.t = gw.t * 1.001;
        if (f == fault::overwrites_gradient && r == 0)
          w_.grad.set(0, k, gw);
        else
          w_.grad.add(0, k, gw);
        if (!dx.ptr[0]) continue;
        if (f == fault::adds_to_dx)
          dx.add(r, k, gx);
        else
          dx.set(r, k, gx);
      }
  }

 private:
  /// As if rows lay without gaps.
  static view<const T> packed(view<const T> x) {
    x.stride = x.cols;
    return x;
  }
  config config_;
  param<M> w_;
};

testing::check_report check(fault f) {
  return testing::check_module<square>([=](auto t) { return typename square<decltype(t)>::config{f}; }, {.rows = 6});
}

TEST_CASE("check_module accepts a module that keeps its contract") {
  const auto report = check(fault::none);
  CHECK(report.input_gradient > 0);
  CHECK(report.input_gradient < 1e-8);
  CHECK(report.param_gradient < 1e-8);
  CHECK(report.tangent < 1e-7);
  CHECK(report.float_output < 1e-6);
  CHECK(report.bf16_output > 1e-4);  // bf16 was really run
}

TEST_CASE("check_module finds each broken promise and names it") {
  CHECK_THROWS_WITH_AS(check(fault::input_gradient), doctest::Contains("input gradient"), error);
  CHECK_THROWS_WITH_AS(check(fault::param_gradient), doctest::Contains("parameter gradient"), error);
  CHECK_THROWS_WITH_AS(check(fault::adds_to_dx), doctest::Contains("input gradient"), error);
  CHECK_THROWS_WITH_AS(check(fault::overwrites_gradient), doctest::Contains("must be added to"), error);
  CHECK_THROWS_WITH_AS(check(fault::tangent), doctest::Contains("tangent of the parameter gradient"), error);
  CHECK_THROWS_WITH_AS(check(fault::threads), doctest::Contains("with more threads"), error);
  CHECK_THROWS_WITH_AS(check(fault::hole), doctest::Contains("was not written"), error);
  CHECK_THROWS_WITH_AS(check(fault::low_precision), doctest::Contains("in float"), error);
  CHECK_THROWS_WITH_AS(check(fault::writes_gaps), doctest::Contains("written between the rows"), error);
  CHECK_THROWS_WITH_AS(check(fault::ignores_gaps), doctest::Contains("output with 3 numbers between rows"), error);
  const auto refused = [](auto t) { return typename square<decltype(t)>::config{}; };
  CHECK_THROWS_WITH_AS(testing::check_module<square>(refused, {.rows = 6, .gaps = false}),
                       doctest::Contains("nor refused"), error);
}

}  // namespace
}  // namespace polymoe
