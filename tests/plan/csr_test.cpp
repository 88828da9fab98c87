// The inverse of a plan as a list of slots per unit: the same plan, the same outputs and gradients as the inverse of
// fixed stride; and plans where units have any number of experts, which have no other form.
// sanitize: yes
// thread: yes
// with: plans
#include <algorithm>

#include <polymoe/plan/expand.hpp>
#include <polymoe/plan/invariants.hpp>
#include <polymoe/plan/invert.hpp>

#include "support/moe_parts.hpp"

namespace moe_test {
namespace {

namespace overflow = polymoe::overflow;
using polymoe::cpu;
using polymoe::inverted;
using polymoe::plan_layout;
using polymoe::plan_violation;
using polymoe::sparse_plan;

std::uint64_t draw(std::uint64_t seed, std::uint64_t i, std::uint64_t below) {
  return static_cast<std::uint64_t>((noise(seed, i) + 1) * 0.5 * static_cast<double>(below)) % below;
}
/// `n` different experts of E in random order.
std::vector<int> some_experts(std::uint64_t seed, int E, int n) {
  std::vector<int> all(static_cast<std::size_t>(E));
  for (int e = 0; e < E; ++e) all[static_cast<std::size_t>(e)] = e;
  for (int e = 0; e + 1 < E; ++e)
    std::swap(all[static_cast<std::size_t>(e)],
              all[static_cast<std::size_t>(e) +
                  draw(seed, static_cast<std::uint64_t>(e), static_cast<std::uint64_t>(E - e))]);
  all.resize(static_cast<std::size_t>(n));
  return all;
}

/// A plan made from who computes for whom; places are given in unit order.
struct made_plan {
  sparse_plan<double> plan;
  std::vector<int> begin, count, run_begin, token, slot_of, expert_of, slots_begin, list;
  std::vector<unsigned char> bad;
  tensor<double> gate{1, 1}, skip{1, 1};
  int bad_count = 0;

  /// `experts[t]`: the experts of unit t, -1 for a choice without a place; one entry per choice when K > 0.
  made_plan(const std::vector<std::vector<int>>& experts, int E, int K, int group_size, bool padded, bool with_skip,
            std::uint64_t seed) {
    auto& p = plan;
    const int T = static_cast<int>(experts.size());
    p.layout = padded ? plan_layout::padded : plan_layout::packed;
    p.tokens = T, p.experts = p.all_experts = E, p.group_size = group_size, p.k = K;
    p.groups = (T + group_size - 1) / group_size;
    const auto runs = static_cast<std::size_t>(E * p.groups);
    count.assign(runs, 0), run_begin.assign(runs, 0), begin.assign(static_cast<std::size_t>(E) + 1, 0);
    const auto run_of = [&](int e, int t) { return static_cast<std::size_t>(e * p.groups + t / group_size); };
    for (int t = 0; t < T; ++t)
      for (const int e : experts[t])
        if (e >= 0) ++count[run_of(e, t)];
    p.capacity = runs ? *std::max_element(count.begin(), count.end()) + 1 : 0;
    int at = 0;
    for (int e = 0; e < E; ++e) {
      begin[e] = at;
      for (int g = 0; g < p.groups; ++g) {
        const auto run = static_cast<std::size_t>(e * p.groups + g);
        run_begin[run] = at;
        at += padded ? p.capacity : count[run];
      }
    }
    begin[E] = p.max_slots = at;
    token.assign(static_cast<std::size_t>(at), -1);
    slot_of.assign(static_cast<std::size_t>(T * K), -1), expert_of = slot_of;
    std::vector<int> next = run_begin;
    for (int t = 0; t < T; ++t)
      for (std::size_t j = 0; j < experts[t].size(); ++j) {
        const int e = experts[t][j];
        if (e < 0) continue;
        const int slot = next[run_of(e, t)]++;
        token[slot] = t;
        if (K > 0)
          slot_of[static_cast<std::size_t>(t * K) + j] = slot, expert_of[static_cast<std::size_t>(t * K) + j] = e;
      }
    bad.assign(static_cast<std::size_t>(T), 0);
    for (int t = 0; t < T; ++t)
      if (experts[t].empty() && draw(seed, 77 + static_cast<std::uint64_t>(t), 3) == 0) bad[t] = 1, ++bad_count;
    gate = tensor<double>(1, at), gate.randomise(seed);
    skip = tensor<double>(1, T), skip.randomise(seed + 1);
    for (int t = 0; t < T; ++t)
      if (bad[t]) skip.put(0, t, 0);
    p.begin = begin.data(), p.count = count.data(), p.run_begin = run_begin.data(), p.token = token.data();
    p.slot_of = slot_of.data(), p.expert_of = expert_of.data();
    p.gate = gate.get(), p.bad = bad.data(), p.bad_count = &bad_count;
    if (with_skip) p.skip = skip.get();
    slots_begin.assign(static_cast<std::size_t>(T) + 1, -7), list.assign(static_cast<std::size_t>(at), -7);
  }
  sparse_plan<double> by_list() {
    return inverted(plan, slots_begin.data(), list.data(), static_cast<index>(list.size()));
  }
};

/// Everything the movers compute.
struct moved {
  tensor<double> gathered, y, d_out, d_gate, d_skip, dx;
  moved(const sparse_plan<double>& p, index unit_rows, index D, int threads)
      : gathered(index{p.max_slots} * unit_rows, D, 0),
        y(p.tokens * unit_rows, D),
        d_out(gathered),
        d_gate(1, p.max_slots, 0),
        d_skip(1, p.tokens, 0),
        dx(y) {
    polymoe::context<cpu> c;
    c.stream.threads = threads;
    tensor<double> x(p.tokens * unit_rows, D), dy(x), out(index{p.max_slots} * unit_rows, D);
    x.randomise(1), dy.randomise(2), out.randomise(3);
    using polymoe::view;
    polymoe::backend::gather<double>(c, p, x.get(), unit_rows, gathered.get());
    polymoe::backend::combine_slots<double>(c, p, out.get(), x.get(), unit_rows, y.get());
    polymoe::backend::combine_backward<double>(c, p, dy.get(), out.get(), x.get(), unit_rows, d_out.get(), d_gate.get(),
                                      d_skip.get());
    polymoe::backend::gather_backward<double>(c, p, out.get(), dy.get(), unit_rows, dx.get());
  }
};
double largest_difference(const tensor<double>& a, const tensor<double>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.plane[0].size(); ++i) {
    const double x = a.plane[0][i], y = b.plane[0][i];
    if (std::isnan(x) && std::isnan(y)) continue;
    worst = std::max(worst, std::abs(x - y));
    if (std::isnan(x) != std::isnan(y)) return HUGE_VAL;
  }
  return worst;
}

void check_same(int T, int E, int K, int group_size, bool padded, bool sorted, index unit_rows, index D,
                std::uint64_t seed) {
  std::vector<std::vector<int>> experts(static_cast<std::size_t>(T));
  for (int t = 0; t < T; ++t) {
    auto& mine = experts[static_cast<std::size_t>(t)];
    const std::uint64_t of_unit = seed * 1000 + static_cast<std::uint64_t>(t);
    if (draw(of_unit, 0, 8) == 0) continue;  // dropped, or not finite
    mine = some_experts(of_unit, E, K);
    if (sorted) std::sort(mine.begin(), mine.end());
    for (std::size_t j = 0; j < mine.size(); ++j)
      if (draw(of_unit, 40 + j, 4) == 0) mine[j] = -1;
  }
  made_plan m(experts, E, K, group_size, padded, seed % 2 == 0, seed);
  const auto by_list = m.by_list();
  INFO("T ", T, " E ", E, " K ", K, " group_size ", group_size, " padded ", padded, " seed ", seed);
  REQUIRE(plan_violation(m.plan) == "");
  REQUIRE(plan_violation(by_list) == "");
  index listed = 0;
  for (int t = 0; t < T; ++t) {
    std::vector<int> want;
    for (int j = 0; j < K; ++j)
      if (m.plan.slot_at(t, j) >= 0) want.push_back(m.plan.slot_at(t, j));
    std::sort(want.begin(), want.end());
    REQUIRE(by_list.choices(t) == static_cast<int>(want.size()));
    for (int j = 0; j < by_list.choices(t); ++j) REQUIRE(by_list.slot_at(t, j) == want[static_cast<std::size_t>(j)]);
    listed += by_list.choices(t);
  }
  REQUIRE(by_list.slots_begin[T] == listed);
  REQUIRE(polymoe::expand(m.plan).memory == polymoe::expand(by_list).memory);
  const moved stride(m.plan, unit_rows, D, 1), list(by_list, unit_rows, D, 1), threads(by_list, unit_rows, D, 3);
  CHECK(stride.gathered.same_bits(list.gathered));
  CHECK(stride.d_out.same_bits(list.d_out));
  CHECK(stride.d_gate.same_bits(list.d_gate));
  CHECK(stride.d_skip.same_bits(list.d_skip));
  if (sorted) {  // the same order of summation: the same bits
    CHECK(stride.y.same_bits(list.y));
    CHECK(stride.dx.same_bits(list.dx));
  }
  CHECK(largest_difference(stride.y, list.y) < 1e-14 * E);
  CHECK(largest_difference(stride.dx, list.dx) < 1e-14 * E);
  CHECK(list.y.same_bits(threads.y));
  CHECK(list.dx.same_bits(threads.dx));
  CHECK(list.d_gate.same_bits(threads.d_gate));
}

// ---- through a whole layer ------------------------------------------------------------------------------------------

template <class Overflow>
struct bounded_spec : polymoe::spec {
  using scalar = double;
  using router = polymoe::top_k<2>;
  using capacity = polymoe::capacity::bounded<Overflow>;
};
/// One routing; its plan and the inverted one through the same experts.
template <class Overflow>
void check_layer(bool padded) {
  constexpr index units = 40, D = 5;
  using Module = routed_apply<bounded_spec<Overflow>>;
  typename Module::routing_type::config c;
  c.dim = D, c.experts = 6, c.group_size = 16, c.padded = padded;
  c.capacity.factor = 0.6f;
  polymoe::workspace<Module> w(Module(c, 7), {.max_rows = units, .threads = 2, .seed = 4});
  randomise_parameters(w, 9);
  tensor<double> x(units, D), dy(units, D);
  x.randomise(1), dy.randomise(2);
  auto& s = w.saved();
  w.module().routing.forward(w.ctx(), x.get(), s.routing);
  CHECK(s.routing.stats.placed < s.routing.stats.choices);
  const auto& p = s.routing.plan;
  std::vector<int> begin(units + 1), list(static_cast<std::size_t>(p.max_slots));
  const auto by_list = inverted(p, begin.data(), list.data(), p.max_slots);
  CHECK(plan_violation(by_list) == "");
  struct result {
    tensor<double> y{units, D}, dx{units, D}, d_gate{1, 1}, d_skip{1, units, 0};
    named grads;
  };
  const auto run = [&](const sparse_plan<double>& plan) {
    result r;
    r.d_gate = tensor<double>(1, plan.max_slots, 0);
    w.zero_grads();
    w.refresh();
    w.module().apply.forward(w.ctx(), x.get(), plan, r.y.get(), s.apply);
    w.module().apply.backward(w.ctx(), dy.get(), plan, r.d_gate.get(), r.d_skip.get(), r.dx.get(), s.apply);
    r.grads = grads_of(w);
    return r;
  };
  const result a = run(p), b = run(by_list);
  CHECK(a.d_gate.same_bits(b.d_gate));
  CHECK(a.d_skip.same_bits(b.d_skip));
  CHECK(largest_difference(a.y, b.y) < 1e-13);
  CHECK(largest_difference(a.dx, b.dx) < 1e-13);
  for (const auto& [name, g] : a.grads) CHECK_MESSAGE(g == b.grads.at(name), name);  // slots did not move
}

struct plain_spec : polymoe::spec {
  using scalar = double;
};

}  // namespace

TEST_CASE("the inverse as a list holds the same slots, and moves the same rows, as the one of fixed stride") {
  std::uint64_t seed = 1;
  for (const int T : {1, 2, 17, 63})
    for (const int E : {1, 2, 5, 40})
      for (const int K : {1, 2, 3, 36}) {
        if (K > E) continue;
        for (const int group_size : {1, 8, 100})
          for (const bool padded : {false, true}) {
            check_same(T, E, K, group_size, padded, seed % 3 == 0, 1 + seed % 2, seed % 5 == 0 ? 131 : 3, seed);
            ++seed;
          }
      }
}

TEST_CASE("a routing's plan, inverted: the same layer, for every kind of overflow") {
  for (const bool padded : {false, true}) {
    check_layer<overflow::drop>(padded);
    check_layer<overflow::identity>(padded);
    check_layer<overflow::fallback>(padded);
    check_layer<overflow::reroute<1>>(padded);
  }
}

TEST_CASE("an empty plan has an empty inverse") {
  made_plan m({}, 3, 0, 1, false, false, 1);
  const auto p = m.by_list();
  CHECK(p.slots_begin[0] == 0);
  CHECK(plan_violation(p) == "");
}

TEST_CASE("what cannot be inverted is refused") {
  made_plan m({{0, 1}, {1, 2}}, 3, 2, 2, false, false, 1);
  CHECK(refuses([&] { inverted(m.plan, m.slots_begin.data(), m.list.data(), 3); }, {"4 slots", "room for 3"}));
  m.token[2] = 2;
  CHECK(refuses([&] { m.by_list(); }, {"slot 2", "unit 2 of 2"}));
  m.token[2] = -1;
  CHECK(refuses([&] { m.by_list(); }, {"slot 2", "unit -1"}));
  m.plan.layout = plan_layout::identity;
  CHECK(refuses([&] { m.by_list(); }, {"identity", "2"}));
}

TEST_CASE("broken lists are found") {
  const std::vector<std::vector<int>> experts = {{2, 0}, {}, {1}, {0, 1, 2}};
  const auto broken = [&](auto change) {
    made_plan m(experts, 3, 0, 2, false, false, 1);
    m.bad.assign(4, 0);
    const auto p = m.by_list();
    REQUIRE(plan_violation(p) == "");
    change(m);
    return plan_violation(p);
  };
  CHECK(broken([](auto& m) { m.slots_begin[0] = 1; }) != "");
  CHECK(broken([](auto& m) { std::swap(m.slots_begin[1], m.slots_begin[3]); }) != "");
  CHECK(broken([](auto& m) { std::swap(m.list[0], m.list[1]); }).find("rising") != std::string::npos);
  CHECK(broken([](auto& m) { m.list[1] = m.list[0]; }) != "");
  CHECK(broken([](auto& m) { m.list[2] = -1; }) != "");
  CHECK(broken([](auto& m) { m.slots_begin[4] -= 1; }) != "");
}

TEST_CASE("units with 0 to E experts: output and every gradient against the dense expansion") {
  constexpr int T = 23, E = 6, D = 4, H = 3;
  for (const index unit_rows : {1, 3})
    for (const int group_size : {T, 10}) {
      // As expert choice makes it: every expert picks units of each group; some units are picked by nobody or by all.
      std::vector<std::vector<int>> experts(T);
      for (int t = 0; t < T; ++t)
        experts[static_cast<std::size_t>(t)] = some_experts(static_cast<std::uint64_t>(t), E, t % (E + 1));
      made_plan m(experts, E, 0, group_size, group_size == T, false, 5);
      m.bad.assign(T, 0), m.bad_count = 0;
      const auto p = m.by_list();
      REQUIRE(plan_violation(p) == "");
      std::set<int> sizes;
      for (int t = 0; t < T; ++t) sizes.insert(p.choices(t));
      REQUIRE(sizes.size() == E + 1);

      using Module = apply_module<plain_spec>;
      polymoe::workspace<Module> w(
          Module({.dim = D, .hidden = H, .out = D, .experts = E, .unit_rows = unit_rows}, p.max_slots, p.groups),
          {.max_rows = T, .threads = 2, .seed = 6});
      randomise_parameters(w, 8);
      tensor<double> x(T * unit_rows, D), y(x), dy(x), dx(x), d_gate(1, p.max_slots, 0), none(1, 1);
      x.randomise(1), dy.randomise(2);
      auto& s = w.saved();
      const auto forward = [&] {
        y.fill(not_a_number);
        w.module().apply.forward(w.ctx(), x.get(), p, y.get(), s.apply);
      };
      forward();
      // y = combine * experts(dispatch * x), with experts of the reference.
      reference r;
      r.dim = r.out = D, r.hidden = H, r.experts = E;
      const auto d = polymoe::expand(p);
      const auto params = values_of(w);
      double worst = 0;
      for (int t = 0; t < T; ++t)
        for (index row = 0; row < unit_rows; ++row) {
          std::vector<double> want(D, 0.0);
          for (index slot = 0; slot < d.dispatch.cols; ++slot) {
            if (d.dispatch.get(t, slot) == 0) continue;
            const auto o = r.run_expert(params, static_cast<int>(slot / d.capacity),
                                        &x.plane[0][static_cast<std::size_t>((t * unit_rows + row) * D)]);
            for (int j = 0; j < D; ++j)
              want[static_cast<std::size_t>(j)] += d.combine.get(t, slot) * o[static_cast<std::size_t>(j)];
          }
          for (int j = 0; j < D; ++j)
            worst = std::max(worst, std::abs(want[static_cast<std::size_t>(j)] - y.at(t * unit_rows + row, j)));
        }
      CHECK(worst < 1e-12);

      w.zero_grads();
      w.module().apply.backward(w.ctx(), dy.get(), p, d_gate.get(), {}, dx.get(), s.apply);
      const auto objective = [&] {
        w.refresh();
        forward();
        double f = 0;
        for (std::size_t i = 0; i < y.plane[0].size(); ++i) f += y.plane[0][i] * dy.plane[0][i];
        return f;
      };
      const auto grads = std::vector<double>(w.grads().ptr[0], w.grads().ptr[0] + w.grads().cols);
      int checked = 0;
      worst = 0;
      const auto at = [&](double& place, double gradient) {
        const double before = place, h = 1e-5;
        place = before + h;
        const double up = objective();
        place = before - h;
        const double down = objective();
        place = before;
        ++checked;
        worst = std::max(worst, std::abs((up - down) / (2 * h) - gradient) / std::max(0.1, std::abs(gradient)));
      };
      for (std::size_t i = 0; i < x.plane[0].size(); ++i) at(x.plane[0][i], dx.plane[0][i]);
      for (int slot = 0; slot < p.max_slots; ++slot)
        if (p.token[slot] >= 0) at(m.gate.plane[0][static_cast<std::size_t>(slot)], d_gate.at(0, slot));
      for (const auto& e : w.entries())
        for (index i = 0; i < e.size; ++i)
          at(w.values().ptr[0][e.offset + i], grads[static_cast<std::size_t>(e.offset + i)]);
      CHECK(worst < 1e-6);
      CHECK(checked > T * unit_rows * D + 60);
      // Units that nobody picked: output and gradient are zero, not what was there before.
      for (int t = 0; t < T; t += E + 1)
        for (index j = 0; j < unit_rows * D; ++j)
          CHECK((y.plane[0][static_cast<std::size_t>(t * unit_rows * D + j)] == 0 &&
                 dx.plane[0][static_cast<std::size_t>(t * unit_rows * D + j)] == 0));
    }
}

}  // namespace moe_test
