// The router of the CUDA backend: memory and arguments around the launches of route.cuh.
#pragma once

#include <memory>
#include <vector>

#include "../../../layer/routing_memory.hpp"
#include "rows.cuh"
#include "route.cuh"

namespace polymoe::inline v0 {
namespace backend {

template <class Spec>
class router_kernel<Spec, cuda_device> {
 public:
  using traits = routing_traits<Spec, cuda_device>;
  using T = typename traits::T;
  using C = typename traits::C;
  using M = master_t<T>;
  using Router = typename traits::Router;
  using Capacity = typename traits::Capacity;
  using Balance = typename traits::Balance;
  using Combine = typename Spec::combine;
  using schedule = route_schedule<Router, Capacity>;
  using config = routing_config<Spec>;
  using parameters = routing_parameters<M>;
  static constexpr int most_experts = Spec::most_experts;

  /// What the host reads of a call, after it.
  struct host_copy {
    routing_stats stats;
    sparse_plan<C> plan;
    std::vector<double> gate_mass;
    std::vector<index> wished, served;
    std::vector<C> values, gate, skip;
    std::vector<int> begin, count, run_begin, token, slot_of, slots_begin, expert_of, fallback_slot, bad_count;
    std::vector<unsigned char> bad;
    std::vector<C> scores, affinity, kept;  ///< of group plans
    std::vector<int> steps;
  };
  struct memory : routing_memory<C> {
    int* wish = nullptr;      ///< [T, K] expert wished for, -1 for none
    int* position = nullptr;  ///< [T, K] position in the run, -1 for none
    view<C> affinity;         ///< [T, E] what a group plan found, for routers that make one
    view<C> d_affinity;       ///< [T, E] its gradient, where gates are made of it
    view<C> kept;             ///< [G, what the group plan keeps]
    int* kept_steps = nullptr;  ///< [G]
    float* found = nullptr;     ///< [G, E] prices that group plans end with
    routing_stats* on_device = nullptr;
    C* pieces = nullptr;
    cosine_args<C> cosine;  ///< what cosines keep
    void* workspace = nullptr;
    std::size_t workspace_bytes = 0;
    int cooperative_blocks = 0, plan_blocks = 0;
    std::shared_ptr<host_copy> host;
  };
  /// The router's own; those of experts are the experts' to tell.
  static const char* products() {
    return sizeof(C) == 4 ? "of the router by multiply-adds in float" : "of the router by multiply-adds in double";
  }
  /// Kernels that a training call launches; a sort is the library's and counted by itself.
  static std::string launches(const config& g) {
    const bool groups = g.group_size > 0;
    const auto forward = [&](bool cooperative) {
      std::string text =
          std::to_string(route_launches<Router, Capacity, C>(cooperative, groups) + carries_prices<Router>);
      if (const int sorts = route_sorts<Router, Capacity, C>(groups))
        text += " + " + std::to_string(sorts) + (sorts == 1 ? " sort" : " sorts");
      return text;
    };
    return forward(true) + " forward (" + forward(false) + " without grid barriers), " +
           std::to_string(route_backward_launches<Router>()) + " backward";
  }

  router_kernel() = default;
  explicit router_kernel(const config& g)
      : dim_(g.dim), width_(compared_columns(g.router, g.dim)), experts_(g.experts) {
    require(experts_ <= most_experts, "routing: experts is ", experts_,
            ", the kernels of this spec were compiled for at most ", most_experts, " (Spec::most_experts)");
  }
  template <class V>
  void visit(V&) {}  // logits read the parameters themselves
  void bind(binder<cuda_device>& b, memory& s, index max_units, [[maybe_unused]] const config& g) const {
    device::require_image();  // for callers with a stream of their own, who make no runtime
    if constexpr (!schedule::picked) {
      const index choices = max_units * (schedule::mixture ? 1 : schedule::K);
      s.wish = b.saved.template take_raw<int>(choices), s.position = b.saved.template take_raw<int>(choices);
    }
    if constexpr (schedule::plans) {
      s.affinity = b.saved.template take<C>(max_units, experts_);
      if constexpr (weighs_plan<Router>) s.d_affinity = b.saved.template take<C>(max_units, experts_);
      s.kept = b.saved.template take<C>(s.plan.groups, g.router.kept(s.plan.group_size, experts_));
      s.kept_steps = b.saved.template take_raw<int>(s.plan.groups);
      if constexpr (carries_prices<Router>) s.found = b.saved.template take_raw<float>(s.plan.groups * experts_);
      s.plan_blocks = route_plan_blocks<Router, Capacity, T>();
    }
    s.on_device = b.saved.template take_raw<routing_stats>(1);
    s.pieces = b.saved.template take_raw<C>(route_tuning::pieces(max_units) *
                                            logits_piece_numbers<Router>(experts_, dim_, width_));
    if constexpr (traits::cosine) {
      constexpr bool as_given = !traits::projected && !perturbs_input<Router> && std::is_same_v<T, C>;
      if constexpr (!as_given) s.cosine.rows = b.saved.template take_raw<C>(max_units * width_);
      s.cosine.unit_length = b.saved.template take_raw<C>(max_units);
      s.cosine.expert_length = b.saved.template take_raw<C>(experts_);
      arena_scope call(b.scratch);
      take_cosine(b.scratch, max_units);
    }
    s.workspace_bytes = route_workspace_bytes<Router, Capacity, Balance>(s.plan, sort());
    s.workspace = b.saved.template take_raw<std::byte>(static_cast<index>(s.workspace_bytes));
    route_args<T> sizes;
    sizes.plan = s.plan;
    s.cooperative_blocks = route_cooperative_blocks<Router, Capacity, Balance, Combine, most_experts>(sizes);
    s.host = std::make_shared<host_copy>();
  }
  void refresh(context<cuda_device>&, const parameters&) {}

  void forward(context<cuda_device>& c, const config& g, const parameters& p, view<const T> r, memory& s) const {
    route_forward_cuda<Router, Capacity, Balance, Combine, most_experts>(c.stream.handle, g.router, g.balance,
                                                                         g.combine, arguments(c, g, p, r, s), sort());
    if constexpr (carries_prices<Router>)
      if (c.training() && s.plan.groups > 0)
        device::launch(
            {.kernel = "add prices", .grid = 1, .block = state_threads, .shared = 0, .stream = c.stream.handle},
            kernel::add_prices_kernel<state_threads>, static_cast<const float*>(s.found), p.price_sum,
            static_cast<int>(s.plan.groups), static_cast<int>(experts_));
  }
  void clear(context<cuda_device>& c, view<C> v, index n) const {
    if (v.ptr[0]) device::clear(v.ptr[0], static_cast<std::size_t>(n) * sizeof(C), c.stream.handle);
  }
  void backward(context<cuda_device>& c, const config& g, const parameters& p, view<const T> r, view<T> dr, memory& s,
                bool accumulate) const {
    route_backward_args<T> b;
    b.forward = arguments(c, g, p, r, s);
    b.d_gate = s.d_gate.ptr[0], b.d_skip = s.d_skip.ptr[0];
    b.d_logits = s.d_logits.ptr[0], b.d_raw = s.d_raw.ptr[0];
    b.pieces = s.pieces;
    b.weight_grad = p.weight.grad.ptr[0], b.noise_weight_grad = p.noise_weight.grad.ptr[0];
    b.bias_grad = p.weight_bias.grad.ptr[0], b.noise_bias_grad = p.noise_bias.grad.ptr[0];
    b.d_input = dr.ptr[0], b.d_input_stride = dr.stride, b.accumulate = accumulate;
    arena_scope call(c.scratch);
    if constexpr (traits::cosine) {
      b.cosine = take_cosine(c.scratch, s.plan.tokens);
      b.cosine.projection_grad = p.projection.grad.ptr[0],
      b.cosine.projection_bias_grad = p.projection_bias.grad.ptr[0];
      b.cosine.log_scale_grad = p.log_scale.grad.ptr[0];
    }
    route_backward_cuda<Router, Capacity, Balance, Combine, most_experts>(c.stream.handle, g.router, g.balance,
                                                                          g.combine, b);
  }
  void commit(context<cuda_device>& c, const parameters& p, float rate) const {
    constexpr int threads = 256;
    device::launch({.kernel = "move bias", .grid = 1, .block = threads, .shared = 0, .stream = c.stream.handle},
                   kernel::move_bias_kernel<threads>, p.bias, p.load, static_cast<int>(experts_), rate, c.halted);
  }
  void move_thresholds(context<cuda_device>& c, const parameters& p, float rate) const {
    device::launch(
        {.kernel = "move thresholds", .grid = 1, .block = state_threads, .shared = 0, .stream = c.stream.handle},
        kernel::move_thresholds_kernel<state_threads>, p.threshold, p.threshold_gap, static_cast<int>(experts_), rate,
        c.halted);
  }
  void commit_prices(context<cuda_device>& c, const parameters& p) const {
    device::launch(
        {.kernel = "commit prices", .grid = 1, .block = state_threads, .shared = 0, .stream = c.stream.handle},
        kernel::commit_prices_kernel<state_threads>, p.price, p.price_sum, static_cast<int>(experts_), c.halted);
  }
  void adapt(context<cuda_device>& c, const parameters& p, const config& g) const {
    const auto& loss = g.balance.adaptive();
    using loss_type = std::remove_cvref_t<decltype(loss)>;
    device::launch({.kernel = "adapt coefficient", .grid = 1, .block = 32, .shared = 0, .stream = c.stream.handle},
                   kernel::adapt_kernel<loss_type>, loss, p.coefficient, p.active, static_cast<int>(experts_),
                   c.halted);
  }

  routing_stats stats(context<cuda_device>& c, const memory& s) const {
    host_copy& h = *s.host;
    device::download(&h.stats, s.on_device, sizeof h.stats, c.stream.handle);
    const auto n = experts_;
    h.stats.gate_mass = fetch(c, h.gate_mass, s.stats.gate_mass, n);
    h.stats.wished = fetch(c, h.wished, s.stats.wished, n), h.stats.served = fetch(c, h.served, s.stats.served, n);
    return h.stats;
  }
  view<C> values(context<cuda_device>& c, const memory& s) const {
    return {fetch(c, s.host->values, s.values.ptr[0], s.values.cols), 1, s.values.cols};
  }
  sparse_plan<C> plan(context<cuda_device>& c, const memory& s) const {
    host_copy& h = *s.host;
    const sparse_plan<C>& p = s.plan;
    sparse_plan<C>& q = h.plan;
    q = p;
    const index runs = index{p.all_experts} * p.groups, choices = index{p.tokens} * p.k;
    q.begin = fetch(c, h.begin, p.begin, p.all_experts + 1);
    q.bad = fetch(c, h.bad, p.bad, p.tokens), q.bad_count = fetch(c, h.bad_count, p.bad_count, 1);
    q.gate = {fetch(c, h.gate, p.gate.ptr[0], p.max_slots), 1, p.max_slots};
    if (p.layout == plan_layout::identity) return q;
    q.count = fetch(c, h.count, p.count, runs), q.run_begin = fetch(c, h.run_begin, p.run_begin, runs);
    q.token = fetch(c, h.token, p.token, p.max_slots);
    if (p.slots_begin) {
      q.slots_begin = fetch(c, h.slots_begin, p.slots_begin, index{p.tokens} + 1);
      q.slot_of = fetch(c, h.slot_of, p.slot_of, q.slots_begin[p.tokens]);
    } else {
      q.slot_of = fetch(c, h.slot_of, p.slot_of, choices), q.expert_of = fetch(c, h.expert_of, p.expert_of, choices);
    }
    if (p.fallback_slot) q.fallback_slot = fetch(c, h.fallback_slot, p.fallback_slot, p.tokens);
    if (p.skip.ptr[0]) q.skip = {fetch(c, h.skip, p.skip.ptr[0], p.tokens), 1, p.tokens};
    return q;
  }
  /// The plans are made once more, to the same bits: what a small group's left lay in shared memory.
  plan_record<C> plans(context<cuda_device>& c, const config& g, const parameters& p, const memory& s) const
  requires(schedule::plans)
  {
    remake_route_plans<Router, Capacity, Balance>(c.stream.handle, g.router, arguments(c, g, p, {}, s));
    host_copy& h = *s.host;
    const index units = s.plan.tokens, groups = s.plan.groups;
    plan_record<C> r = sizes_of_plans<Router>(s.plan);
    r.scores = {fetch(c, h.scores, s.scores.ptr[0], units * experts_), units, experts_};
    r.plan = {fetch(c, h.affinity, s.affinity.ptr[0], units * experts_), units, experts_};
    r.kept = {fetch(c, h.kept, s.kept.ptr[0], groups * s.kept.cols), groups, s.kept.cols};
    r.steps = fetch(c, h.steps, s.kept_steps, groups), r.bad = fetch(c, h.bad, s.plan.bad, units);
    return r;
  }

 private:
  static constexpr int state_threads = 256;
  static route_sort sort() {
    if constexpr (!schedule::ordered) {
      return {};
    } else {
      constexpr bool sorts = requires { sort_for(schedule{}); };
      static_assert(
          sorts,
          "polymoe: priority by gate or probability sorts; include <polymoe/backend/cuda/dispatch/sort.cuh> before "
          "the layer is used (it includes CUB, ten seconds of compile time)");
      return sort_for(schedule{});
    }
  }
  route_args<T> arguments(const context<cuda_device>& c, const config& g, const parameters& p, view<const T> r,
                          const memory& s) const {
    route_args<T> a;
    a.input = r.ptr[0], a.input_stride = r.stride, a.dim = dim_;
    a.weight = p.weight.value.ptr[0], a.noise_weight = p.noise_weight.value.ptr[0];
    a.weight_bias = p.weight_bias.value.ptr[0], a.noise_bias = p.noise_bias.value.ptr[0];
    if constexpr (traits::cosine) {
      a.cosine = s.cosine;
      a.cosine.width = width_, a.cosine.largest_scale = g.router.largest_scale;
      a.cosine.projection = p.projection.value.ptr[0], a.cosine.projection_bias = p.projection_bias.value.ptr[0];
      a.cosine.log_scale = p.log_scale.value.ptr[0];
    }
    a.plan = s.plan;
    a.logits = s.logits.ptr[0], a.raw = s.raw.ptr[0], a.noisy = s.noisy.ptr[0], a.scores = s.scores.ptr[0];
    a.affinity = s.affinity.ptr[0], a.d_affinity = s.d_affinity.ptr[0];
    a.kept = s.kept.ptr[0], a.kept_cols = s.kept.cols, a.kept_steps = s.kept_steps;
    a.start = p.price, a.found = s.found;
    a.target = s.target;
    a.totals = s.totals.ptr[0], a.cotangents = s.cotangents.ptr[0], a.values = s.values.ptr[0];
    a.wish = s.wish, a.position = s.position;
    a.stats = s.on_device;
    a.gate_mass = s.stats.gate_mass, a.wished = s.stats.wished, a.served = s.stats.served;
    a.bias = p.bias, a.load = p.load;
    a.coefficient = p.coefficient, a.active = p.active;
    a.threshold = p.threshold, a.threshold_gap = p.threshold_gap;
    a.step = c.step, a.mode = c.mode, a.random = c.random, a.noise_stream = p.noise_stream;
    a.shares = input_shares_of(g.router), a.jitter_stream = p.jitter_stream, a.dropout_stream = p.dropout_stream;
    a.workspace = s.workspace, a.workspace_bytes = s.workspace_bytes;
    a.barrier = c.stream.barrier;
    a.cooperative_blocks = c.stream.barrier.words ? s.cooperative_blocks : 0;
    a.plan_blocks = c.stream.barrier.words ? s.plan_blocks : 0;
    return a;
  }
  template <class V>
  static V* fetch(context<cuda_device>& c, std::vector<V>& to, const V* from, index n) {
    to.resize(static_cast<std::size_t>(n));
    device::download(to.data(), from, to.size() * sizeof(V), c.stream.handle);
    return to.data();
  }

  /// Memory of one backward call.
  cosine_backward_args<C> take_cosine(arena& a, index units) const {
    cosine_backward_args<C> m;
    m.d_rows = a.template take_raw<C>(units * width_), m.unit_share = a.template take_raw<C>(units);
    m.shares = a.template take_raw<C>(ceil_div(units, index{route_tuning::tile_units}) * experts_);
    return m;
  }

  index dim_ = 0, width_ = 0, experts_ = 0;
};

}  // namespace backend
}  // namespace polymoe
