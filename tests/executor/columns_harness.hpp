// What the tests of routers on columns share: the routing of one spec on the CPU backend and on CUDA, same parameters
// and input, with everything either of them says compared, and on CUDA the same bits from every grid.  The source runs
// under the host executor and on a GPU.
#pragma once

#include "tensors.hpp"

#include <polymoe/analysis/transport_costs.hpp>
#include <polymoe/backend/cuda/dispatch/router_kernel.cuh>
#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/backend/cuda/graph.cuh>
#include <polymoe/plan/invariants.hpp>

namespace columns_test {

using polymoe::compute_t;
using polymoe::index;
using polymoe::master_t;
using polymoe::run_mode;
using polymoe::view;
using polymoe::executor_test::distance;
using polymoe::executor_test::not_finite;
using polymoe::executor_test::same_bits;
using polymoe::executor_test::tensor;

template <class T, class Router, class Overflow = polymoe::overflow::drop, class Priority = polymoe::priority::position>
struct bounded_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
  using capacity = polymoe::capacity::bounded<Overflow, Priority>;
  static constexpr int most_experts = 32;  // more experts: more kernels to compile
};

/// ties: whole logits, so that equal scores are equal on both backends; equal: all of them.
enum class inputs { random, ties, equal, bad, all_bad };

/// One case.
struct setup {
  index units = 65, experts = 6, dim = 5, group_size = 0;
  bool padded = false;
  float factor = 1.0f;
  inputs kind = inputs::random;
  run_mode mode = run_mode::train;
  float scale = 1;  ///< of the logits
  float temperature = 0.7f, noise = 0.9f;
  std::uint64_t seed = 1;
  index max_units = 0;  ///< units memory is bound for; 0: as many as there are
};

/// Costs of transport plans from either backend agree.
template <class Pair, class Router>
void same_costs(Pair& p, const Router& r) {
  p.compare_plans([&](const auto& host, const auto& device) {
    const auto a = polymoe::analysis::costs_of(r, host), b = polymoe::analysis::costs_of(r, device);
    REQUIRE(a.units > 0);
    CHECK((b.groups == a.groups && b.units == a.units && b.steps == a.steps && b.nonzeros == a.nonzeros));
    const double figures[][2] = {{a.transport, b.transport}, {a.penalty, b.penalty}, {a.dual, b.dual},
                                 {a.unit_error, b.unit_error}, {a.expert_error, b.expert_error}};
    for (const auto& f : figures) CHECK(std::abs(f[1] - f[0]) <= 1e-9 * std::max(1.0, std::abs(f[0])));
    CHECK(a.dual != 0);
  });
}

/// How the launches are cut.
struct grid {
  int cooperative, plan;
};

/// What a call left behind, on the host.
template <class T>
struct outcome {
  using C = compute_t<T>;
  std::vector<int> begin, count, run_begin, token, slots_begin, slot_of, expert_of, filled;
  std::vector<unsigned char> bad;
  std::vector<C> gate, values;
  std::vector<double> gate_mass, means;
  std::vector<index> wished, served, counts;
  std::vector<T> dx;
  std::vector<master_t<T>> grads;
  std::vector<float> state;

  bool same_as(const outcome& o) const {
    return same_plan(o) && same_bits(gate, o.gate) && same_bits(values, o.values) &&
           same_bits(gate_mass, o.gate_mass) && same_bits(means, o.means) && wished == o.wished && served == o.served &&
           counts == o.counts && same_bits(dx, o.dx) && same_bits(grads, o.grads) && same_bits(state, o.state);
  }
  bool same_plan(const outcome& o) const {
    return begin == o.begin && count == o.count && run_begin == o.run_begin && token == o.token &&
           slots_begin == o.slots_begin && slot_of == o.slot_of && expert_of == o.expert_of && bad == o.bad;
  }
};

template <class Spec>
class pair_of_backends {
 public:
  using T = typename Spec::scalar;
  using C = compute_t<T>;
  using M = master_t<T>;
  using Router = typename Spec::router;
  using Cpu = polymoe::routing<Spec, polymoe::cpu>;
  using Cuda = polymoe::routing<Spec, polymoe::cuda>;
  static constexpr bool mixture = Router::k == polymoe::every_expert;
  static constexpr double tolerance = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 1e-5 : 1.2e-2;

  explicit pair_of_backends(const setup& s, Router router = {}) : pair_of_backends(s, router, router) {}
  /// Routers that differ in where their memory lies.
  pair_of_backends(const setup& s, Router of_host, Router of_device)
      : s_(s),
        host_(Cpu(config<Cpu>(s, of_host)), options(s)),
        device_(Cuda(config<Cuda>(s, of_device)), options(s)),
        x_(s.units, s.dim) {
    INFO("units ", s.units, " experts ", s.experts, " group ", s.group_size, " padded ", s.padded, " factor ", s.factor,
         " kind ", static_cast<int>(s.kind), " seed ", s.seed);
    fill();
    want_ = run(host_, view<const T>(x_host_.data(), s.units, s.dim));
    const auto& bound = device_.saved();
    const grid whole{bound.cooperative_blocks, bound.plan_blocks};
    got_ = run_on(whole);
    compare();
    for (const grid g : {grid{whole.cooperative, 0}, grid{3, 3}, grid{0, 0}}) {
      const outcome<T> again = run_on(g);
      INFO("cooperative blocks ", g.cooperative, ", of the plan ", g.plan);
      CHECK(again.same_as(got_));
    }
  }
  const outcome<T>& host() const { return want_; }
  const outcome<T>& device() const { return got_; }
  /// A recorded step (forward, backward, commit), replayed `steps` times on other input, has the bits of eager calls,
  /// and another plan.
  bool replays(int steps = 1) {
    std::reverse(x_host_.begin(), x_host_.end());
    x_.put(x_host_);
    auto& c = device_.ctx();
    auto& saved = device_.saved();
    const auto dx = gradient_block(device_);
    const auto work = [&] {  // gate gradients are those of the last call
      device_.module().forward(c, x_, saved);
      device_.module().backward(c, input_gradient(dx), saved);
      device_.module().commit(c);
    };
    polymoe::device::recording written;
    written.record(c.stream.handle, work);
    prepare(device_);
    for (int i = 0; i < steps; ++i) written.replay(c.stream.handle);
    const outcome<T> replayed = collect(device_, dx);
    prepare(device_);
    for (int i = 0; i < steps; ++i) work();
    return replayed.same_as(collect(device_, dx)) && !replayed.same_plan(got_);
  }
  /// The largest difference of the states after some steps, each of which begins with what the last one left.
  double state_apart_after(int steps) {
    prepare(host_), prepare(device_);
    for (int i = 0; i < steps; ++i) {
      host_.module().forward(host_.ctx(), view<const T>(x_host_.data(), s_.units, s_.dim), host_.saved());
      device_.module().forward(device_.ctx(), x_, device_.saved());
      host_.module().commit(host_.ctx()), device_.module().commit(device_.ctx());
    }
    return distance(device_.state_on_host(), host_.state_on_host(), not_finite::in_both, 0.01);
  }
  /// Whether a forward, its state not committed, adds to the state.
  bool adds_to_state() {
    prepare(device_);
    const auto before = device_.state_on_host();
    device_.module().forward(device_.ctx(), x_, device_.saved());
    return !same_bits(device_.state_on_host(), before);
  }
  /// A step that was refused leaves the state as it was.
  bool forgets_refused_step() {
    const std::int32_t yes = 1;
    const polymoe::backend::device_block flag(sizeof yes);
    polymoe::device::upload(flag.data(), &yes, sizeof yes, nullptr);
    prepare(device_);
    const auto before = device_.state_on_host();
    auto& c = device_.ctx();
    device_.module().forward(c, x_, device_.saved());
    c.halted = static_cast<const std::int32_t*>(flag.data());
    device_.module().commit(c);
    c.halted = nullptr;
    return same_bits(device_.state_on_host(), before);
  }

  /// f(the host's plans, the device's plans) of one more forward of both.
  template <class F>
  void compare_plans(F f) {
    prepare(host_), prepare(device_);
    host_.module().forward(host_.ctx(), view<const T>(x_host_.data(), s_.units, s_.dim), host_.saved());
    device_.module().forward(device_.ctx(), x_, device_.saved());
    f(host_.module().plans(host_.ctx(), host_.saved()), device_.module().plans(device_.ctx(), device_.saved()));
  }

 private:
  setup s_;
  polymoe::workspace<Cpu> host_;
  polymoe::workspace<Cuda> device_;
  std::vector<T> x_host_;
  tensor<T> x_;
  std::vector<M> start_grads_;
  outcome<T> want_, got_;

  static polymoe::workspace_options options(const setup& s) {
    return {std::max<index>(1, s.max_units ? s.max_units : s.units), 1, s.seed};
  }
  template <class Module>
  static typename Module::config config(const setup& s, const Router& router) {
    typename Module::config c;
    c.dim = s.dim, c.experts = s.experts, c.group_size = s.group_size, c.padded = s.padded, c.router = router;
    if constexpr (requires { c.capacity.factor; }) c.capacity.factor = s.factor;
    if constexpr (Cpu::Balance::adapts) c.balance.adaptive().first = 0.01f;
    return c;
  }

  void fill() {
    const auto draw = polymoe::random_root{s_.seed}.stream(21, 0);
    std::uint64_t n = 0;
    const auto number = [&] {
      const double x = static_cast<double>(draw.normal(n++));
      return s_.kind == inputs::equal ? 1.0 : s_.kind == inputs::ties ? std::round(x) : x;
    };
    std::vector<M> values = host_.values_on_host();
    const double width = s_.kind == inputs::ties ? 1 : static_cast<double>(s_.scale) / std::sqrt(s_.dim);
    for (M& v : values) v = static_cast<M>(width * number());
    host_.set_values(values), device_.set_values(values);
    for (std::size_t i = 0; i < values.size(); ++i) start_grads_.push_back(static_cast<M>(number()));
    x_host_.resize(static_cast<std::size_t>(s_.units * s_.dim));
    for (T& v : x_host_) polymoe::store(v, static_cast<C>(number()));
    if (s_.kind == inputs::bad || s_.kind == inputs::all_bad)
      for (index t = s_.kind == inputs::bad ? 3 : 0; t < s_.units; t += s_.kind == inputs::bad ? 13 : 1)
        polymoe::store(x_host_[static_cast<std::size_t>(t * s_.dim + 1)],
                       t % 2 ? C(__builtin_nanf("")) : C(__builtin_inff()));
    x_.put(x_host_);
    for (polymoe::step_state* step : {&host_.step(), &device_.step()})
      step->step = 7, step->micro = 3, step->temperature = s_.temperature, step->noise = s_.noise, step->balance = 1.5f;
    host_.ctx().mode = device_.ctx().mode = s_.mode;
    host_.refresh(), device_.refresh();
  }

  outcome<T> run_on(const grid& g) {
    device_.saved().cooperative_blocks = g.cooperative, device_.saved().plan_blocks = g.plan;
    return run(device_, x_);
  }
  /// Gradients and state as they were at first.
  template <class W>
  void prepare(W& w) {
    W::memory::write(w.ctx().stream, w.grads().ptr[0], start_grads_.data(), start_grads_.size() * sizeof(M));
    std::vector<float> first(w.state().size(), 0.0f);
    for (const auto& e : w.state_entries())
      for (index i = 0; i < e.size; ++i)
        first[static_cast<std::size_t>(e.offset + i)] = static_cast<float>(e.init.scale);
    w.set_state(first);
    w.push_step();
  }
  template <class W>
  typename W::block gradient_block(const W&) const {
    return typename W::block(static_cast<std::size_t>(s_.units * s_.dim) * sizeof(T) + 1);
  }
  template <class Block>
  view<T> input_gradient(const Block& b) const {
    return {static_cast<T*>(b.data()), s_.units, s_.dim};
  }
  /// Forward, backward of random gate gradients, commit.
  template <class W>
  outcome<T> run(W& w, view<const T> x) {
    using memory = typename W::memory;
    auto& saved = w.saved();
    auto& c = w.ctx();
    const auto& router = w.module();
    prepare(w);
    router.forward(c, x, saved);
    router.open_backward(c, saved);
    std::vector<C> d(static_cast<std::size_t>(saved.plan.max_slots));
    const auto draw = polymoe::random_root{s_.seed}.stream(22, 0);
    for (std::size_t i = 0; i < d.size(); ++i) d[i] = static_cast<C>(draw.normal(i));
    memory::write(c.stream, saved.d_gate.ptr[0], d.data(), d.size() * sizeof(C));
    if (saved.d_skip.ptr[0]) {
      const auto n = static_cast<std::size_t>(std::min<index>(s_.units, static_cast<index>(d.size())));
      memory::write(c.stream, saved.d_skip.ptr[0], d.data(), n * sizeof(C));
    }
    const auto dx = gradient_block(w);
    router.backward(c, input_gradient(dx), saved);
    w.module().commit(c);
    return collect(w, dx);
  }
  template <class W, class Block>
  outcome<T> collect(W& w, const Block& dx) {
    using memory = typename W::memory;
    auto& saved = w.saved();
    auto& c = w.ctx();
    const auto& router = w.module();
    outcome<T> o;
    const auto p = router.plan(c, saved);
    const index runs = index{p.all_experts} * p.groups;
    o.begin.assign(p.begin, p.begin + p.all_experts + 1);
    o.bad.assign(p.bad, p.bad + p.tokens);
    const index used = mixture ? p.max_slots : o.begin.back();
    if constexpr (!mixture) {
      CHECK(polymoe::plan_violation(p) == "");
      o.count.assign(p.count, p.count + runs), o.run_begin.assign(p.run_begin, p.run_begin + runs);
      o.token.assign(p.token, p.token + used);
      if (p.slots_begin) {
        o.slots_begin.assign(p.slots_begin, p.slots_begin + p.tokens + 1);
        o.slot_of.assign(p.slot_of, p.slot_of + o.slots_begin.back());
      } else {
        o.slot_of.assign(p.slot_of, p.slot_of + index{p.tokens} * p.k);
        o.expert_of.assign(p.expert_of, p.expert_of + index{p.tokens} * p.k);
      }
    }
    // The CPU leaves the gates of empty slots alone.
    for (index s = 0; s < used; ++s)
      o.gate.push_back(!mixture && o.token[static_cast<std::size_t>(s)] < 0 ? C(0) : p.gate.get(0, s));
    const view<C> values = router.balance_values(c, saved);
    o.values.assign(values.ptr[0], values.ptr[0] + values.cols);
    const auto s = router.stats(c, saved);
    o.gate_mass.assign(s.gate_mass, s.gate_mass + s_.experts);
    o.wished.assign(s.wished, s.wished + s_.experts), o.served.assign(s.served, s.served + s_.experts);
    o.means = {s.entropy, s.margin, s.unpicked_rate(), s.experts_per_unit(), s.load_cv()};
    o.counts = {s.experts,  s.units,    s.choices,       s.placed,       s.moved,  s.overflow,
                s.bad_rows, s.unpicked, s.least_experts, s.most_experts, s.mixture};
    o.dx.resize(static_cast<std::size_t>(s_.units * s_.dim));
    memory::read(c.stream, o.dx.data(), dx.data(), o.dx.size() * sizeof(T));
    o.grads = w.grads_on_host(), o.state = w.state_on_host();
    return o;
  }

  void compare() {
    CHECK(got_.bad == want_.bad);
    if (!got_.same_plan(want_)) {
      // Equal number for number but where scores are equal to rounding, and then nothing else can be compared.
      REQUIRE(!std::is_same_v<T, double>);
      index other = 0;
      for (std::size_t i = 0; i < std::min(got_.token.size(), want_.token.size()); ++i)
        other += got_.token[i] != want_.token[i];
      MESSAGE(other, " slots were too close to call, the case is not compared further");
      REQUIRE(other * 20 <= static_cast<index>(want_.token.size()));
      return;
    }
    CHECK(got_.counts == want_.counts);
    CHECK(got_.wished == want_.wished);
    CHECK(got_.served == want_.served);
    const auto near = [&](const auto& a, const auto& b, double most, const char* what) {
      INFO(std::string(what));
      CHECK(distance(a, b, not_finite::in_both, 0.01) <= most);
    };
    near(got_.gate, want_.gate, tolerance, "gate");
    near(got_.gate_mass, want_.gate_mass, tolerance, "gate mass");
    near(got_.values, want_.values, 10 * tolerance, "values");
    for (std::size_t i = 0; i < want_.means.size(); ++i) {
      INFO("mean ", i);
      CHECK(std::abs(got_.means[i] - want_.means[i]) <= 10 * tolerance * (1 + std::abs(want_.means[i])));
    }
    near(got_.dx, want_.dx, 10 * tolerance, "gradient of the input");
    near(got_.grads, want_.grads, 10 * tolerance, "gradients of the router");
    near(got_.state, want_.state, 1e-6, "state");
  }
};

}  // namespace columns_test
