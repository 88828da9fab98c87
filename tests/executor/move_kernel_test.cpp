// The CUDA movers, run on the CPU by the host executor, against the CPU backend on plans of real routings.
// with: plans
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/move.cuh>
#include <polymoe/plan/invariants.hpp>
#include <polymoe/polymoe.hpp>

namespace {
using polymoe::bf16;
using polymoe::compute_t;
using polymoe::index;
using polymoe::view;
using namespace polymoe::executor_test;

template <class T, class Overflow>
struct moved_spec : polymoe::spec {
  using scalar = T;
  using expert = polymoe::expert::identity;
  using capacity = polymoe::capacity::bounded<Overflow>;
};
template <class T>
struct mixture_spec : polymoe::spec {
  using scalar = T;
  using expert = polymoe::expert::identity;
  using router = polymoe::mixture<polymoe::score::softmax>;
};

template <class Spec>
void compare_moves(index units, index dim, index experts, index unit_rows, bool padded, bool with_bad, double bound,
                   std::uint64_t seed) {
  using T = typename Spec::scalar;
  using C = compute_t<T>;
  using routing = polymoe::routing<Spec, polymoe::cpu>;
  constexpr bool mixture = Spec::router::k == polymoe::every_expert;
  typename routing::config rc;
  rc.dim = dim, rc.experts = experts, rc.padded = padded;
  if constexpr (Spec::capacity::limited) rc.capacity.factor = 0.7f;
  struct module : routing {
    using routing::routing;
    index out_cols() const { return this->in_cols(); }
    void forward(polymoe::context<polymoe::cpu>& c, view<const T> x, view<T>, typename routing::saved& s) const {
      routing::forward(c, x, s);
    }
  };
  polymoe::workspace<module> w(module(rc), {.max_rows = units, .seed = seed});
  tensor<T> input(units, dim, 1), x(units * unit_rows, dim, 2), dy(units * unit_rows, dim, 3);
  if (with_bad && units > 3) polymoe::store(input.v.row(3)[0], std::nanf(""));
  w.forward(input.v, input.v);
  auto& p = w.saved().plan;
  REQUIRE(polymoe::plan_violation(p) == "");
  const index slots = p.max_slots;
  tensor<T> gathered(slots * unit_rows, dim, 0), gathered2(slots * unit_rows, dim, 0), out(slots * unit_rows, dim, 4);
  tensor<T> y(units * unit_rows, dim, 0), y2(units * unit_rows, dim, 0), dx(units * unit_rows, dim, 0),
      dx2(units * unit_rows, dim, 0);
  tensor<T> d_out(slots * unit_rows, dim, 0), d_out2(slots * unit_rows, dim, 0);
  tensor<C> d_gate(1, slots, 5), d_gate2(1, slots, 5), d_skip(1, units, 6), d_skip2(1, units, 6);

  const polymoe::context<polymoe::cpu> one;
  polymoe::context<polymoe::cuda> c;
  c.stream.blocks = 3;
  polymoe::executor::scope with{{.seed = seed}};
  if (!mixture) {
    polymoe::backend::gather<T>(one, p, x.v, unit_rows, gathered.v);
    polymoe::backend::gather<T>(c, p, x.v, unit_rows, gathered2.v);
    for (index s = 0; s < p.begin[p.all_experts] * unit_rows; ++s)
      for (index j = 0; j < dim; ++j) {
        const bool empty = p.token[s / unit_rows] < 0;
        const float want = empty ? 0.0f : static_cast<float>(gathered.v.row(s)[j]);
        REQUIRE(static_cast<float>(gathered2.v.row(s)[j]) == want);
      }
  }
  polymoe::backend::combine_slots<T>(one, p, out.v, x.v, unit_rows, y.v);
  polymoe::backend::combine_slots<T>(c, p, out.v, x.v, unit_rows, y2.v);
  CHECK(distance(y2.v, y.v, not_finite::in_both) <= bound);
  for (index t = 0; t < units; ++t)
    CHECK(std::isnan(static_cast<float>(y2.v.row(t * unit_rows)[0])) == (p.bad[t] != 0));

  polymoe::backend::combine_backward<T>(one, p, dy.v, out.v, x.v, unit_rows, d_out.v, d_gate.v, d_skip.v);
  polymoe::backend::combine_backward<T>(c, p, dy.v, out.v, x.v, unit_rows, d_out2.v, d_gate2.v, d_skip2.v);
  CHECK(distance(d_gate2.v, d_gate.v, not_finite::in_both) <= 1e-6);
  if (p.skip.ptr[0]) CHECK(distance(d_skip2.v, d_skip.v, not_finite::in_both) <= 1e-6);
  const index used = mixture ? slots : p.begin[p.all_experts];
  for (index s = 0; s < used * unit_rows; ++s) {
    const bool empty = !mixture && p.token[s / unit_rows] < 0;
    for (index j = 0; j < dim; ++j)
      REQUIRE(static_cast<float>(d_out2.v.row(s)[j]) == (empty ? 0.0f : static_cast<float>(d_out.v.row(s)[j])));
  }

  polymoe::backend::gather_backward<T>(one, p, out.v, dy.v, unit_rows, dx.v);
  polymoe::backend::gather_backward<T>(c, p, out.v, dy.v, unit_rows, dx2.v);
  CHECK(distance(dx2.v, dx.v, not_finite::in_both) <= bound);

  // Another order of blocks and another grid: the same bits.
  tensor<T> again(units * unit_rows, dim, 0);
  polymoe::executor::scope other{{.seed = seed + 1}};
  c.stream.blocks = 1;
  polymoe::backend::combine_slots<T>(c, p, out.v, x.v, unit_rows, again.v);
  for (index r = 0; r < again.v.rows; ++r)
    REQUIRE(std::memcmp(again.v.row(r), y2.v.row(r), static_cast<std::size_t>(dim) * sizeof(T)) == 0);
}
}  // namespace

TEST_CASE("movers on CUDA equal the CPU's: packed plans with drops, aligned and odd widths") {
  for (const polymoe::index dim : {8, 40, 33, 1}) {
    compare_moves<moved_spec<float, polymoe::overflow::drop>>(37, dim, 5, 1, false, true, 1e-6, 1);
    compare_moves<moved_spec<bf16, polymoe::overflow::drop>>(37, dim, 5, 1, false, true, 1e-6, 2);
  }
  compare_moves<moved_spec<double, polymoe::overflow::drop>>(70, 24, 9, 1, false, false, 1e-14, 3);
}
TEST_CASE("movers on CUDA equal the CPU's: padded plans have zeros in empty slots") {
  compare_moves<moved_spec<float, polymoe::overflow::drop>>(37, 16, 5, 1, true, true, 1e-6, 4);
  compare_moves<moved_spec<bf16, polymoe::overflow::fallback>>(37, 16, 5, 1, true, false, 1e-6, 5);
}
TEST_CASE("movers on CUDA equal the CPU's: identity skip, fallback, reroute, units of several rows") {
  compare_moves<moved_spec<float, polymoe::overflow::identity>>(37, 16, 5, 3, false, true, 1e-6, 6);
  compare_moves<moved_spec<float, polymoe::overflow::fallback>>(21, 12, 4, 2, false, true, 1e-6, 7);
  compare_moves<moved_spec<bf16, polymoe::overflow::reroute<2>>>(33, 48, 8, 4, false, false, 1e-6, 8);
}
TEST_CASE("movers on CUDA equal the CPU's: mixtures, no units") {
  compare_moves<mixture_spec<float>>(19, 20, 6, 1, false, true, 1e-6, 9);
  compare_moves<mixture_spec<bf16>>(19, 24, 6, 2, false, true, 4e-3, 10);
  compare_moves<moved_spec<float, polymoe::overflow::drop>>(0, 16, 5, 1, false, false, 1e-6, 11);
}
TEST_CASE("movers on CUDA equal the CPU's: many experts, wide rows, units around a tile") {
  for (const polymoe::index units : {1, 63, 65})
    for (const polymoe::index dim : {192, 200, 1000})
      compare_moves<moved_spec<float, polymoe::overflow::drop>>(units, dim, 257, 1, false, true, 1e-6, 12);
  compare_moves<moved_spec<bf16, polymoe::overflow::drop>>(65, 1000, 257, 1, true, true, 1e-6, 13);
  compare_moves<moved_spec<double, polymoe::overflow::drop>>(63, 384, 33, 1, false, true, 1e-14, 14);
}
