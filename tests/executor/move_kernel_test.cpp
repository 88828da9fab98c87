// The CUDA movers, run on the CPU by the host executor, against the CPU backend on plans of real routings.
#include "host_executor.hpp"

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/move.cuh>
#include <polymoe/plan/invariants.hpp>
#include <polymoe/polymoe.hpp>

namespace {
using polymoe::bf16;
using polymoe::compute_t;
using polymoe::index;
using polymoe::view;

template <class T, class Overflow>
struct bounded_spec : polymoe::spec {
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

template <class T>
struct owned {
  owned(index rows, index cols, int salt) : data(static_cast<std::size_t>(rows * cols) + 16) {
    // Rows start on a 16-byte border, as an arena gives them.
    auto* p = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(data.data()) + 15) / 16 * 16);
    v = view<T>(p, rows, cols);
    const auto draw = polymoe::random_root{77}.stream(static_cast<std::uint64_t>(salt), 0);
    for (index i = 0; i < rows * cols; ++i)
      polymoe::store(p[i], salt ? draw.normal(static_cast<std::uint64_t>(i)) : std::nanf(""));
  }
  std::vector<T> data;
  view<T> v;
};

template <class T>
double distance(view<const T> a, view<const T> b) {
  double difference = 0, size = 0;
  for (index r = 0; r < a.rows; ++r)
    for (index j = 0; j < a.cols; ++j) {
      const double x = static_cast<double>(polymoe::value_of(a.row(r)[j])), y = static_cast<double>(polymoe::value_of(b.row(r)[j]));
      if (std::isnan(x) && std::isnan(y)) continue;
      difference += (x - y) * (x - y), size += y * y;
    }
  return std::sqrt(difference / (size > 0 ? size : 1));
}

template <class Spec>
void compare(index units, index dim, index experts, index unit_rows, bool padded, bool with_bad, double bound, std::uint64_t seed) {
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
    void forward(polymoe::context<polymoe::cpu>& c, view<const T> x, view<T>, typename routing::saved& s) const { routing::forward(c, x, s); }
  };
  polymoe::workspace<module> w(module(rc), {.max_rows = units, .seed = seed});
  owned<T> input(units, dim, 1), x(units * unit_rows, dim, 2), dy(units * unit_rows, dim, 3);
  if (with_bad && units > 3) polymoe::store(input.v.row(3)[0], std::nanf(""));
  w.forward(input.v, input.v);
  auto& p = w.saved().plan;
  REQUIRE(polymoe::plan_violation(p) == "");
  const index slots = p.max_slots;
  owned<T> gathered(slots * unit_rows, dim, 0), gathered2(slots * unit_rows, dim, 0), out(slots * unit_rows, dim, 4);
  owned<T> y(units * unit_rows, dim, 0), y2(units * unit_rows, dim, 0), dx(units * unit_rows, dim, 0), dx2(units * unit_rows, dim, 0);
  owned<T> d_out(slots * unit_rows, dim, 0), d_out2(slots * unit_rows, dim, 0);
  owned<C> d_gate(1, slots, 5), d_gate2(1, slots, 5), d_skip(1, units, 6), d_skip2(1, units, 6);

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
  CHECK(distance<T>(y2.v, y.v) <= bound);
  for (index t = 0; t < units; ++t) CHECK(std::isnan(static_cast<float>(y2.v.row(t * unit_rows)[0])) == (p.bad[t] != 0));

  polymoe::backend::combine_backward<T>(one, p, dy.v, out.v, x.v, unit_rows, d_out.v, d_gate.v, d_skip.v);
  polymoe::backend::combine_backward<T>(c, p, dy.v, out.v, x.v, unit_rows, d_out2.v, d_gate2.v, d_skip2.v);
  CHECK(distance<C>(d_gate2.v, d_gate.v) <= 1e-6);
  if (p.skip.ptr[0]) CHECK(distance<C>(d_skip2.v, d_skip.v) <= 1e-6);
  const index used = mixture ? slots : p.begin[p.all_experts];
  for (index s = 0; s < used * unit_rows; ++s) {
    const bool empty = !mixture && p.token[s / unit_rows] < 0;
    for (index j = 0; j < dim; ++j)
      REQUIRE(static_cast<float>(d_out2.v.row(s)[j]) == (empty ? 0.0f : static_cast<float>(d_out.v.row(s)[j])));
  }

  polymoe::backend::gather_backward<T>(one, p, out.v, dy.v, unit_rows, dx.v);
  polymoe::backend::gather_backward<T>(c, p, out.v, dy.v, unit_rows, dx2.v);
  CHECK(distance<T>(dx2.v, dx.v) <= bound);

  // Another order of blocks and another grid: the same bits.
  owned<T> again(units * unit_rows, dim, 0);
  polymoe::executor::scope other{{.seed = seed + 1}};
  c.stream.blocks = 1;
  polymoe::backend::combine_slots<T>(c, p, out.v, x.v, unit_rows, again.v);
  for (index r = 0; r < again.v.rows; ++r)
    REQUIRE(std::memcmp(again.v.row(r), y2.v.row(r), static_cast<std::size_t>(dim) * sizeof(T)) == 0);
}
}  // namespace

TEST_CASE("movers on CUDA equal the CPU's: packed plans with drops, aligned and odd widths") {
  for (const polymoe::index dim : {8, 40, 33, 1}) {
    compare<bounded_spec<float, polymoe::overflow::drop>>(37, dim, 5, 1, false, true, 1e-6, 1);
    compare<bounded_spec<bf16, polymoe::overflow::drop>>(37, dim, 5, 1, false, true, 1e-6, 2);
  }
  compare<bounded_spec<double, polymoe::overflow::drop>>(70, 24, 9, 1, false, false, 1e-14, 3);
}
TEST_CASE("movers on CUDA equal the CPU's: padded plans have zeros in empty slots") {
  compare<bounded_spec<float, polymoe::overflow::drop>>(37, 16, 5, 1, true, true, 1e-6, 4);
  compare<bounded_spec<bf16, polymoe::overflow::fallback>>(37, 16, 5, 1, true, false, 1e-6, 5);
}
TEST_CASE("movers on CUDA equal the CPU's: identity skip, fallback, reroute, units of several rows") {
  compare<bounded_spec<float, polymoe::overflow::identity>>(37, 16, 5, 3, false, true, 1e-6, 6);
  compare<bounded_spec<float, polymoe::overflow::fallback>>(21, 12, 4, 2, false, true, 1e-6, 7);
  compare<bounded_spec<bf16, polymoe::overflow::reroute<2>>>(33, 48, 8, 4, false, false, 1e-6, 8);
}
TEST_CASE("movers on CUDA equal the CPU's: mixtures, no units") {
  compare<mixture_spec<float>>(19, 20, 6, 1, false, true, 1e-6, 9);
  compare<mixture_spec<bf16>>(19, 24, 6, 2, false, true, 4e-3, 10);
  compare<bounded_spec<float, polymoe::overflow::drop>>(0, 16, 5, 1, false, false, 1e-6, 11);
}
