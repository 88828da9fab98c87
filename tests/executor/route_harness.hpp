// What the tests of the CUDA router share: one routing call on the CPU backend and on the kernels under the executor,
// from the same inputs, with everything either of them says compared.
#pragma once

#include "host_executor.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/route.cuh>
#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/layer/routing.hpp>
#include <polymoe/plan/invariants.hpp>
#include <polymoe/polymoe.hpp>

namespace route_test {

using polymoe::aligned_block;
using polymoe::arena;
using polymoe::index;
using polymoe::run_mode;
using polymoe::view;

enum class inputs { random, ties, hot, bad };

/// One case.  Sizes, run-time values, and how the kernels are to run.
struct setup {
  int T = 65, E = 8, D = 6, group_size = 0;
  bool padded = false;
  float factor = 1.0f;
  std::optional<index> absolute = std::nullopt, eval_absolute = std::nullopt;
  inputs kind = inputs::random;
  run_mode mode = run_mode::train;
  std::uint64_t seed = 1;
  bool repeat = true;  ///< run again under other orders and launch by launch, and compare all bits
};

/// Counters over a test: how much was really exercised.
struct tally {
  int calls = 0, dropped = 0, moved = 0, overflow = 0, differing_wishes = 0;
};

/// Plain functions where a macro per check, times the specs, would be most of the compile time.
inline void must(bool ok, const char* what) {
  if (!ok) FAIL(std::string(what));
}
template <class I>
void same(const I* x, const I* y, index n, const char* what) {
  for (index i = 0; i < n; ++i)
    if (x[i] != y[i])
      FAIL(std::string(what), "[", i, "] is ", static_cast<index>(x[i]), ", the CPU has ", static_cast<index>(y[i]));
}
/// Norm of the difference over the norm, or over 0.01 where that is larger: what cancels to rounding errors (a gradient
/// that is zero but for them) has no relative error.  Numbers that are not finite have to be so in both.
template <class A, class B>
void near(const A* x, const B* y, index n, double tolerance, const char* what) {
  double d = 0, norm = 0;
  for (index i = 0; i < n; ++i) {
    const double a = static_cast<double>(static_cast<polymoe::compute_t<A>>(x[i]));
    const double b = static_cast<double>(static_cast<polymoe::compute_t<B>>(y[i]));
    if (std::isfinite(a) != std::isfinite(b)) FAIL(std::string(what), "[", i, "] is ", a, ", the CPU has ", b);
    if (!std::isfinite(b)) continue;
    d += (a - b) * (a - b), norm += b * b;
  }
  const double distance = std::sqrt(d) / std::max(std::sqrt(norm), 0.01);
  if (!(distance <= tolerance)) FAIL(std::string(what), " is off by ", distance, ", norm over norm");
}

/// `Most` keeps the compile time of cases with few experts down, `Backward` that of cases whose gradients say nothing
/// new.
template <class Spec, int Most, bool Backward>
class pair_of_backends {
 public:
  using T = typename Spec::scalar;
  using C = polymoe::compute_t<T>;
  using M = polymoe::master_t<T>;
  using Module = polymoe::routing<Spec, polymoe::cpu>;
  using Router = typename Spec::router;
  using Capacity = typename Spec::capacity;
  using Balance = typename Module::Balance;
  using Combine = typename Spec::combine;
  using schedule = polymoe::route_schedule<Router, Capacity>;
  static constexpr bool mixture = Module::all_experts;
  static constexpr int K = schedule::K, columns = Balance::columns;
  static constexpr double tolerance = std::is_same_v<C, double> ? 1e-12 : 2e-6;

  pair_of_backends(const setup& s, tally& count, Router router = {})
      : s_(s), count_(count), w_(module_of(s, router), {.max_rows = s.T, .threads = 1, .seed = s.seed}) {
    INFO("T ", s.T, " E ", s.E, " K ", K, " D ", s.D, " group ", s.group_size, " padded ", s.padded, " factor ",
         s.factor, " absolute ", s.absolute.value_or(-1), " kind ", static_cast<int>(s.kind), " seed ", s.seed, " ",
         std::string(Capacity::overflow_policy::name), " ", std::string(Capacity::priority_policy::name));
    fill();
    run_cpu();
    make_device();
    poison();
    run_device(16, {.seed = s.seed});
    compare_forward();
    if constexpr (Backward)
      if (plans_equal_) run_backward();
    if (s.repeat) repeat();
    ++count_.calls;
  }

 private:
  setup s_;
  tally& count_;
  polymoe::workspace<Module> w_;
  std::vector<T> x_, dx_cpu_, dx_first_;
  std::vector<M> w_grad_first_;
  std::vector<C> d_gate_, d_skip_;
  aligned_block out_, work_, grads_;
  polymoe::route_args<T> a_;
  polymoe::route_backward_args<T> b_;
  std::vector<unsigned> words_ = std::vector<unsigned>(2, 0u);
  std::vector<float> bias_, load_, load_first_;
  bool plans_equal_ = true;

  static Module module_of(const setup& s, const Router& router) {
    typename Module::config c;
    c.dim = s.D, c.experts = s.E, c.group_size = s.group_size, c.padded = s.padded, c.router = router;
    if constexpr (Capacity::limited) c.capacity.factor = s.factor, c.capacity.absolute = s.absolute,
      c.capacity.eval_absolute = s.eval_absolute;
    return Module(c);
  }
  typename Module::saved& cpu() { return w_.saved(); }
  index at(const std::string& name) const {
    for (const auto& e : w_.entries())
      if (e.name == name) return e.offset;
    FAIL("no parameter ", name);
    return 0;
  }

  void fill() {
    const auto draw = polymoe::random_root{s_.seed}.stream(7, 0);
    const auto number = [&](std::uint64_t i) {
      // Ties: whole logits, so that equal scores are equal on both backends.
      return s_.kind == inputs::ties ? static_cast<double>(draw.below(i, 3)) - 1 : static_cast<double>(draw.normal(i));
    };
    view<M> values = w_.values(), grads = w_.grads();
    for (index i = 0; i < values.cols; ++i) {
      values.ptr[0][i] = static_cast<M>(number(static_cast<std::uint64_t>(i)) * (s_.kind == inputs::ties ? 1 : 0.6));
      grads.ptr[0][i] = static_cast<M>(draw.normal(static_cast<std::uint64_t>(i) + 1000000));
    }
    const index n = index{s_.T} * s_.D;
    for (index i = 0; i < n; ++i) {
      T v{};
      polymoe::store(v, static_cast<C>(number(static_cast<std::uint64_t>(i) + 2000000)));
      x_.push_back(v);
    }
    if (s_.kind == inputs::hot)  // every unit likes expert 0
      for (index t = 0; t < s_.T; ++t) polymoe::store(x_[static_cast<std::size_t>(t * s_.D)], C(4));
    if (s_.kind == inputs::hot) values.ptr[0][at("weight")] = M(3);
    if (s_.kind == inputs::bad)
      for (index t = 3; t < s_.T; t += 13)
        polymoe::store(x_[static_cast<std::size_t>(t * s_.D + 1)], C(t % 2 ? std::nanf("") : __builtin_inff()));
    for (float& v : w_.state())
      v = 0.3f * static_cast<float>(draw.normal(static_cast<std::uint64_t>(&v - w_.state().data()) + 5));
    w_.step() = {.step = 7, .micro = 3, .temperature = 0.7f, .noise = 0.9f, .balance = 1.5f};
    w_.ctx().mode = s_.mode;
    w_.refresh();
    if constexpr (Balance::has_bias) {
      bias_.assign(w_.state().begin(), w_.state().begin() + s_.E);
      load_first_.assign(w_.state().begin() + polymoe::round_up(s_.E, 16),
                         w_.state().begin() + polymoe::round_up(s_.E, 16) + s_.E);
    }
    w_grad_first_.assign(grads.ptr[0], grads.ptr[0] + grads.cols);
  }

  void run_cpu() { w_.module().forward(w_.ctx(), view<const T>(x_.data(), s_.T, s_.D), cpu()); }

  void make_device() {
    auto& p = a_.plan;
    const auto& q = cpu().plan;
    p = q;  // the sizes; every pointer is replaced below
    p.max_slots = static_cast<int>(w_.module().max_slots(s_.T));
    const index T_ = s_.T, E = s_.E, E1 = q.all_experts, G = q.groups, slots = p.max_slots;
    for (int pass = 0; pass < 2; ++pass) {
      arena m = pass ? out_.as_arena() : arena{};
      p.begin = m.take_raw<int>(E1 + 1), p.count = m.take_raw<int>(E1 * G), p.run_begin = m.take_raw<int>(E1 * G);
      p.token = m.take_raw<int>(slots), p.slot_of = m.take_raw<int>(T_ * K), p.expert_of = m.take_raw<int>(T_ * K);
      p.fallback_slot = schedule::fallback ? m.take_raw<int>(T_) : nullptr;
      p.gate = m.take<C>(1, slots);
      p.skip = {};
      if (schedule::identity) p.skip = m.take<C>(1, T_);
      p.bad = m.take_raw<unsigned char>(T_), p.bad_count = m.take_raw<int>(1);
      a_.wish = m.take_raw<int>(T_ * K), a_.position = m.take_raw<int>(T_ * K);
      a_.logits = m.take_raw<C>(T_ * E), a_.raw = m.take_raw<C>(T_ * E), a_.noisy = m.take_raw<C>(T_ * E),
      a_.scores = m.take_raw<C>(T_ * E);
      a_.totals = m.take_raw<C>(G * columns * E), a_.cotangents = m.take_raw<C>(G * columns * E),
      a_.values = m.take_raw<C>(Balance::terms + 1);
      a_.stats = m.take_raw<polymoe::routing_stats>(1);
      a_.gate_mass = m.take_raw<double>(E), a_.wished = m.take_raw<index>(E), a_.served = m.take_raw<index>(E);
      if (!pass) out_ = aligned_block(m.peak() + 64);
    }
    a_.input = x_.data(), a_.input_stride = s_.D, a_.dim = s_.D;
    a_.weight = w_.values().ptr[0] + at("weight");
    if (Module::learned_noise) a_.noise_weight = w_.values().ptr[0] + at("noise_weight");
    load_ = load_first_;
    a_.bias = Balance::has_bias ? bias_.data() : nullptr, a_.load = load_.data();
    a_.step = &w_.step(), a_.mode = s_.mode, a_.random = w_.ctx().random, a_.noise_stream = polymoe::stream_id("noise");
    const std::size_t bytes = polymoe::route_workspace_bytes<Router, Capacity, Balance>(p, sort());
    work_ = aligned_block(bytes + 64);
    a_.workspace = work_.data(), a_.workspace_bytes = bytes;
    a_.barrier = {words_.data()};
  }
  static polymoe::route_sort sort() {
    return schedule::ordered ? polymoe::device::radix_sort() : polymoe::route_sort{};
  }

  void poison() {
    std::memset(out_.data(), 0xFF, out_.size());
    std::memset(work_.data(), 0xFF, work_.size());
    load_ = load_first_;
  }
  void run_device(int cooperative, const polymoe::executor::settings& how) {
    polymoe::executor::scope with{how};
    words_.assign(2, 0u);
    a_.cooperative_blocks = cooperative;
    const auto& c = w_.module().settings();
    polymoe::route_forward_cuda<Router, Capacity, Balance, Combine, Most>(nullptr, c.router, c.balance, c.combine, a_,
                                                                          sort());
    clear_padding(a_.stats);
  }
  /// The bytes between the members of the statistics are nobody's; all others are compared.
  static void clear_padding(polymoe::routing_stats* s) {
    const polymoe::routing_stats x = *s;
    std::memset(static_cast<void*>(s), 0, sizeof *s);
    s->experts = x.experts, s->units = x.units, s->choices = x.choices, s->placed = x.placed, s->moved = x.moved;
    s->overflow = x.overflow, s->bad_rows = x.bad_rows, s->entropy = x.entropy, s->margin = x.margin;
    s->gate_mass = x.gate_mass, s->wished = x.wished, s->served = x.served, s->mixture = x.mixture;
  }

  void compare_forward() {
    const auto& p = a_.plan;
    const auto& q = cpu().plan;
    const index T_ = s_.T, E = s_.E, E1 = q.all_experts, G = q.groups;
    near(a_.logits, cpu().logits.ptr[0], T_ * E, tolerance, "logits");
    if (Module::learned_noise) near(a_.raw, cpu().raw.ptr[0], T_ * E, tolerance, "raw");
    near(a_.scores, cpu().scores.ptr[0], T_ * E, tolerance, "scores");
    same(p.bad, q.bad, T_, "bad");
    same(p.bad_count, q.bad_count, 1, "bad_count");
    for (index t = 0; cpu().noisy.ptr[0] && t < T_; ++t)
      if (!q.bad[t]) near(a_.noisy + t * E, cpu().noisy.row(t), E, tolerance, "noisy");
    if constexpr (!mixture) {
      for (index c = 0; c < T_ * K; ++c) {
        const int x = a_.wish[c], y = cpu().place.wish[c];
        if (x == y) continue;
        // Only where both scores are equal to rounding, and never in double.
        must(!std::is_same_v<C, double> && x >= 0 && y >= 0, "another wish");
        const C* row = cpu().scores.row(c / K);
        must(std::abs(row[x] - row[y]) <= C(4e-6) * row[y], "another wish, and not for a tie");
        ++count_.differing_wishes;
        plans_equal_ = false;
      }
      const std::string broken = polymoe::plan_violation(p);
      must(broken.empty(), broken.c_str());
      if (!plans_equal_) return;
    }
    same(p.begin, q.begin, E1 + 1, "begin");
    if constexpr (!mixture) {
      same(a_.position, cpu().place.position, T_ * K, "position");
      same(p.expert_of, q.expert_of, T_ * K, "expert_of");
      same(p.count, q.count, E1 * G, "count");
      same(p.run_begin, q.run_begin, E1 * G, "run_begin");
      same(p.token, q.token, p.begin[E1], "token");
      same(p.slot_of, q.slot_of, T_ * K, "slot_of");
      if (schedule::fallback) same(p.fallback_slot, q.fallback_slot, T_, "fallback_slot");
      for (index s = 0; s < p.begin[E1]; ++s)  // the CPU leaves the gates of empty slots alone
        if (p.token[s] < 0) must(p.gate.get(0, s) == C(0), "gate of an empty slot"), q.gate.set(0, s, C(0));
      near(p.gate.ptr[0], q.gate.ptr[0], p.begin[E1], tolerance, "gate");
      if (schedule::identity) near(p.skip.ptr[0], q.skip.ptr[0], T_, tolerance, "skip");
    } else {
      near(p.gate.ptr[0], q.gate.ptr[0], T_ * E, tolerance, "gate");
    }
    near(a_.values, cpu().values.ptr[0], Balance::terms + 1, 10 * tolerance, "values");
    if (cpu().balanced && columns > 0) {
      near(a_.totals, cpu().totals.ptr[0], G * columns * E, tolerance, "totals");
      near(a_.cotangents, cpu().cotangents.ptr[0], G * columns * E, 20 * tolerance, "cotangents");
    }
    const auto &x = *a_.stats, &y = cpu().stats;
    must(x.experts == y.experts && x.units == y.units && x.mixture == y.mixture && x.bad_rows == y.bad_rows, "stats");
    must(x.choices == y.choices && x.placed == y.placed && x.moved == y.moved && x.overflow == y.overflow,
         "counts of stats");
    must(x.gate_mass == a_.gate_mass && x.wished == a_.wished && x.served == a_.served, "arrays of stats");
    same(x.wished, y.wished, E, "wished");
    same(x.served, y.served, E, "served");
    near(x.gate_mass, y.gate_mass, E, tolerance, "gate_mass");
    // The margin is a difference of scores, the entropy of logarithms: their errors are those of what they are made of.
    must(std::abs(x.margin - y.margin) <= tolerance, "margin");
    must(std::abs(x.entropy - y.entropy) <= 10 * tolerance, "entropy");
    if constexpr (Balance::has_bias) near(load_.data(), w_.state().data() + polymoe::round_up(s_.E, 16), E, 0, "load");
    count_.dropped += static_cast<int>(y.choices - y.placed - y.overflow), count_.moved += static_cast<int>(y.moved);
    count_.overflow += static_cast<int>(y.overflow);
  }

  /// Gradients of random gate gradients; d_input is once written and once added to.
  void run_backward() {
    const index T_ = s_.T, E = s_.E, n = T_ * s_.D, cells = E * s_.D, slots = std::max<index>(1, a_.plan.max_slots);
    const auto draw = polymoe::random_root{s_.seed}.stream(9, 0);
    d_gate_.assign(static_cast<std::size_t>(slots), C(0)), d_skip_.assign(static_cast<std::size_t>(T_ + 1), C(0));
    for (index i = 0; i < slots; ++i)
      d_gate_[static_cast<std::size_t>(i)] = static_cast<C>(draw.normal(static_cast<std::uint64_t>(i)));
    for (index i = 0; i < T_; ++i)
      d_skip_[static_cast<std::size_t>(i)] = static_cast<C>(draw.normal(static_cast<std::uint64_t>(i) + 77777));
    if (T_ > 0) std::copy_n(d_gate_.data(), a_.plan.max_slots, cpu().d_gate.ptr[0]);
    if (cpu().d_skip.ptr[0]) std::copy_n(d_skip_.data(), T_, cpu().d_skip.ptr[0]);
    const bool accumulate = s_.seed % 2 == 0;
    dx_first_ = x_;  // something to add to, finite
    for (T& v : dx_first_)
      if (!polymoe::math::is_finite(static_cast<C>(v))) polymoe::store(v, C(1));
    dx_cpu_ = dx_first_;
    w_.module().backward(w_.ctx(), view<T>(dx_cpu_.data(), T_, s_.D), cpu(), accumulate);

    b_.forward = a_;
    b_.d_gate = d_gate_.data(), b_.d_skip = schedule::identity ? d_skip_.data() : nullptr;
    constexpr int matrices = polymoe::projections<Router>;
    for (int pass = 0; pass < 2; ++pass) {
      arena m = pass ? grads_.as_arena() : arena{};
      b_.d_logits = m.take_raw<C>(T_ * E), b_.d_raw = matrices > 1 ? m.take_raw<C>(T_ * E) : nullptr;
      b_.pieces = m.take_raw<C>(matrices * polymoe::route_tuning::pieces(T_) * cells);
      b_.weight_grad = m.take_raw<M>(cells), b_.noise_weight_grad = matrices > 1 ? m.take_raw<M>(cells) : nullptr;
      b_.d_input = m.take_raw<T>(n);
      if (!pass) grads_ = aligned_block(m.peak() + 64);
    }
    b_.d_input_stride = s_.D, b_.accumulate = accumulate;
    backward_device({.seed = s_.seed});
    const double most = 20 * tolerance, rounding = std::is_same_v<T, C> ? most : 6e-3;  // of bf16
    near(b_.d_logits, cpu().d_logits.ptr[0], T_ * E, most, "d_logits");
    near(b_.weight_grad, w_.grads().ptr[0] + at("weight"), cells, most, "weight gradient");
    if (matrices > 1) {
      near(b_.d_raw, cpu().d_raw.ptr[0], T_ * E, most, "d_raw");
      near(b_.noise_weight_grad, w_.grads().ptr[0] + at("noise_weight"), cells, most, "noise weight gradient");
    }
    near(b_.d_input, dx_cpu_.data(), n, rounding, "d_input");
  }
  void backward_device(const polymoe::executor::settings& how) {
    polymoe::executor::scope with{how};
    const index cells = index{s_.E} * s_.D;
    std::memset(grads_.data(), 0xFF, grads_.size());
    std::copy_n(w_grad_first_.data() + at("weight"), cells, b_.weight_grad);
    if (b_.noise_weight_grad) std::copy_n(w_grad_first_.data() + at("noise_weight"), cells, b_.noise_weight_grad);
    if (b_.accumulate) std::copy(dx_first_.begin(), dx_first_.end(), b_.d_input);
    const auto& c = w_.module().settings();
    polymoe::route_backward_cuda<Router, Capacity, Balance, Combine, Most>(nullptr, c.router, c.balance, c.combine, b_);
  }

  static std::vector<std::byte> bytes_of(const aligned_block& b) {
    const auto* p = static_cast<const std::byte*>(b.data());
    return {p, p + b.size()};
  }
  /// The same bits from another order of blocks and threads, another grid, and a launch per step.
  void repeat() {
    const auto first = bytes_of(out_);
    const auto load = load_;
    using polymoe::executor::order;
    const auto again = [&](int blocks, const polymoe::executor::settings& how, const char* what) {
      poison();
      run_device(blocks, how);
      must(bytes_of(out_) == first && load_ == load, what);
    };
    again(0, {.seed = s_.seed + 100}, "a launch per step");
    again(3, {.seed = s_.seed + 200, .blocks = order::descending, .threads = order::descending},
          "three blocks, descending");
    if constexpr (Backward) {
      if (!plans_equal_) return;
      const auto grads = bytes_of(grads_);
      backward_device({.seed = s_.seed + 300, .resident_blocks = 2});
      must(bytes_of(grads_) == grads, "gradients in another order of blocks");
    }
  }
};

/// Runs a case with Spec on both backends and compares.
template <class Spec, int Most = 32, bool Backward = true>
void check(const setup& s, tally& count, const typename Spec::router& router = {}) {
  pair_of_backends<Spec, Most, Backward>(s, count, router);
}

}  // namespace route_test
