// One router whose parameters serve layers at different depths: one routing module with a saved state per depth.  Each
// depth routes its own input; the gradients of the router are the sum over both.
// with: slots
#include <doctest/doctest.h>

#include <polymoe/backend/cpu/pointwise.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
struct routed : spec {
  using scalar = T;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
};
template <class T>
struct counted_router : routed<T> {
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::loss_free_bias>;
};

/// h = x + moe_1(x), y = h + moe_2(h), one router for both.  docs/policies/plan.md shows this module.
template <class T, class Spec = routed<T>>
class two_depths {
 public:
  using scalar = T;
  using backend = cpu;
  using routing_type = routing<Spec, cpu>;
  using apply_type = apply<Spec, cpu>;
  struct config {
    typename routing_type::config router;
    index hidden = 0;
  };
  struct saved {
    typename routing_type::saved plan[2];  // a plan, logits, scores for each depth
    typename apply_type::saved moe[2];
    view<T> h;
  };

  explicit two_depths(config c) : router_(c.router), moe_{experts(c), experts(c)} {}
  index in_cols() const { return router_.in_cols(); }
  index out_cols() const { return router_.in_cols(); }
  void visit(visitor<master_t<T>>& v) {
    v.child("router", router_);
    for (int i = 0; i < 2; ++i) v.child(std::to_string(i), moe_[i]);
  }
  saved bind(binder<cpu>& b, index rows) const {
    saved s;
    arena_scope scratch(b.scratch);
    for (int i = 0; i < 2; ++i) b.scratch.template take<T>(rows, in_cols());
    for (int i = 0; i < 2; ++i) {
      s.plan[i] = router_.bind(b, rows);
      s.moe[i] = moe_[i].bind(b, router_.max_slots(rows), rows, 1);
    }
    s.h = b.saved.template take<T>(rows, in_cols());
    return s;
  }
  void refresh(context<cpu>& c) { router_.refresh(c), moe_[0].refresh(c), moe_[1].refresh(c); }
  void forward(context<cpu>& c, view<const T> x, view<T> y, saved& s) const {
    const view<T> h = s.h.rows_at(0, x.rows);
    layer_forward(c, 0, x, h, s);
    layer_forward(c, 1, h, y, s);
  }
  void backward(context<cpu>& c, view<const T> dy, view<T> dx, saved& s) const {
    arena_scope scratch(c.scratch);
    const view<T> dh = c.scratch.template take<T>(dy.rows, in_cols()),
                  own = c.scratch.template take<T>(dy.rows, in_cols());
    layer_backward(c, 1, dy, dh, s);
    layer_backward(c, 0, dh, dx.ptr[0] ? dx : own, s);
  }
  void commit(context<cpu>& c) { router_.commit(c); }  // once, not once a depth
  routing_type& router() { return router_; }

 private:
  static apply_type experts(const config& c) {
    apply_config a;
    a.dim = a.out = c.router.dim, a.hidden = c.hidden, a.experts = c.router.experts;
    return apply_type(a);
  }
  void layer_forward(context<cpu>& c, int i, view<const T> x, view<T> y, saved& s) const {
    router_.forward(c, x, s.plan[i]);
    moe_[i].forward(c, x, s.plan[i].plan, y, s.moe[i]);
    polymoe::backend::add(c, view<const T>(y), x, y);
  }
  void layer_backward(context<cpu>& c, int i, view<const T> dy, view<T> dx, saved& s) const {
    router_.open_backward(c, s.plan[i]);
    moe_[i].backward(c, dy, s.plan[i].plan, s.plan[i].d_plan(), dx, s.moe[i]);
    router_.backward(c, dx, s.plan[i], true);
    polymoe::backend::add(c, view<const T>(dx), dy, dx);
  }

  routing_type router_;
  apply_type moe_[2];
};

template <class T, class Module = two_depths<T>>
typename Module::config config() {
  typename Module::config c;
  c.router.dim = 5, c.router.experts = 4, c.hidden = 3;
  return c;
}

}  // namespace

TEST_CASE("one router at two depths: every gradient, its gradient is the sum over both") {
  const testing::check_options o{.rows = 11, .seed = 5, .samples = 150, .param_scale = 0.5};
  testing::check_report r;
  using M = two_depths<double>;
  testing::detail::check_gradients<M>(config<double>(), o, r);
  testing::detail::check_tangent<two_depths<dual<double>>, M>(config<dual<double>>(), config<double>(), o, r);
  testing::detail::check_threads<M>(config<double>(), o);
  CHECK(r.param_gradient > 0);
}

TEST_CASE("one router at two depths: one tensor, each depth's own plan, each share of the gradient") {
  using M = two_depths<double>;
  constexpr index rows = 17;
  workspace<M> w(M(config<double>()), {.max_rows = rows, .seed = 2});
  testing::detail::tensor<double> x(rows, 5), y(rows, 5), dx(rows, 5), dy(rows, 5);
  testing::detail::fill<double>(x, 1, 1, 1), testing::detail::fill<double>(dy, 1, 2, 1);
  testing::detail::fill<double>(w.values(), 1, 3, 0.7);
  w.refresh();
  w.forward(x, y);
  CHECK(w.entries().front().name == "router.weight");
  int routers = 0, moved = 0;
  for (const auto& e : w.entries()) routers += e.name.find("router") != std::string::npos;
  CHECK(routers == 1);
  const auto& s = w.saved();
  for (index c = 0; c < rows * 2; ++c) moved += s.plan[0].plan.expert_of[c] != s.plan[1].plan.expert_of[c];
  CHECK(moved > 0);
  // Backward of the whole, against the sum of what each depth's backward adds by itself.
  w.zero_grads(), w.backward(dy, dx);
  const auto whole = w.grads_on_host();
  double parts = 0, first = 0, second = 0, all = 0;
  for (index i = 0; i < 5 * 4; ++i) all += std::abs(whole[static_cast<std::size_t>(i)]);
  const auto share_of = [&](int depth) {
    w.zero_grads();
    w.module().router().backward(w.ctx(), view<double>{}, w.saved().plan[depth]);
    return w.grads_on_host();
  };
  const auto a = share_of(0), b = share_of(1);
  for (std::size_t i = 0; i < 5 * 4; ++i) {
    parts += std::abs(a[i] + b[i] - whole[i]), first += std::abs(a[i]), second += std::abs(b[i]);
  }
  CHECK(parts < 1e-14 * all);
  CHECK((first > 1e-3 && second > 1e-3));
}

TEST_CASE("state of a shared router counts both depths") {
  using M = two_depths<float, counted_router<float>>;
  constexpr index rows = 12;
  workspace<M> w(M(config<float, M>()), {.max_rows = rows, .seed = 2});
  testing::detail::tensor<float> x(rows, 5), y(rows, 5);
  testing::detail::fill<float>(x, 1, 1, 1);
  w.forward(x, y);
  float load = 0;
  for (const auto& e : w.state_entries())
    if (e.name == "router.load")
      for (index i = 0; i < e.size; ++i) load += w.state()[static_cast<std::size_t>(e.offset + i)];
  CHECK(load == 2 * 2 * rows);
}

}  // namespace polymoe
