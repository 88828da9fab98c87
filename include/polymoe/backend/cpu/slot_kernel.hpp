// The router of slots (Soft MoE) on the CPU.
//
// Forward finds, group by group, what the plan keeps of the two softmaxes: largest logit and sum of every unit and of
// every slot (slot_plan.hpp).  A slot's are carried from tile to tile of units, old sums scaled to the new largest.
// Backward is the mover's, which has what the logits' gradients are made of (slot_move.hpp); here are its sums.
#pragma once

#include "../../layer/soft_routing.hpp"
#include "slot_plan.hpp"

namespace polymoe::inline v0 {
namespace backend {

template <class Spec, class Maths>
requires makes_slot_plan<typename Spec::router> class router_kernel<Spec, cpu_with<Maths>> {
 public:
  using traits = routing_traits<Spec, cpu_with<Maths>>;
  using T = typename traits::T;
  using C = typename traits::C;
  using R = real_t<C>;
  using M = master_t<T>;
  using Router = typename traits::Router;
  using config = routing_config<Spec>;
  using parameters = slot_parameters<M>;
  using plan_type = slot_plan<T, Maths>;
  using ctx = context<cpu_with<Maths>>;
  static const char* products() { return router_products<T, Maths>::name(); }
  /// How the matrices of a plan are made, for describe().
  static const char* matrices() { return "formed by tiles of a group"; }
  static constexpr bool normalised = Router::normalised;

  struct memory : slot_memory<plan_type> {
    view<R> slot_top;              ///< [tasks, S] largest of a column in the units of a task
    view<C> slot_sum;              ///< [tasks, S] its sum; those of a group's first task become the plan's
    view<C> phi_sums;              ///< [sums, S * D]
    view<C> scale_sums;            ///< [sums, S]
    double* task_stats = nullptr;  ///< [tasks, E + 2] mass of the experts, entropy, margin
    view<T> d_input;               ///< of the backward that is open
    float inverse_temperature = 1;

    plan_grad<plan_type> d_plan() const { return {d_input, phi_sums, scale_sums}; }
  };

  router_kernel() = default;
  router_kernel(index dim, index slots) : slots_(slots), products_(dim, slots) {}

  template <class V>
  void visit(V& v) {
    v.add_derived(packed_, products_.packed_bytes());
    v.add_derived(packed_back_, products_.packed_back_bytes());
  }
  void bind(binder<cpu_with<Maths>>& b, memory& s, index max_units, const config& g) const {
    plan_type& p = s.plan;
    const index pieces = g.group_size ? 1 : plan_type::pieces_of(max_units), tasks = p.groups * pieces;
    p.bad = b.saved.template take_raw<unsigned char>(max_units);
    p.bad_count = b.saved.template take_raw<int>(1);
    p.unit_top = b.saved.template take<R>(1, max_units), p.unit_share = b.saved.template take<C>(1, max_units);
    if constexpr (normalised) {
      p.unit_length = b.saved.template take<C>(1, max_units);
      p.slot_length = b.saved.template take<C>(1, slots_);
    }
    s.slot_top = b.saved.template take<R>(tasks, slots_), s.slot_sum = b.saved.template take<C>(tasks, slots_);
    s.phi_sums = b.saved.template take<C>(std::min(tasks, plan_type::most_pieces), slots_ * g.dim);
    s.scale_sums = b.saved.template take<C>(std::min(tasks, plan_type::most_pieces), slots_);
    s.task_stats = b.saved.template take_raw<double>(tasks * (g.experts + 2));
    products_.need_workers(b);
    arena_scope call(b.scratch);
    private_memory::take(b.scratch, b.threads, tile_bytes(std::min<index>(plan_type::tile, p.group_size)));
  }
  void refresh(ctx& c, const parameters& p) {
    worker w = c.stream.at(0);
    products_.pack(p.phi.value, packed_, packed_back_, w);
  }

  void forward(ctx& c, const config& g, const parameters& own, view<const T> r, memory& s) const {
    const step_state step = c.step ? *c.step : step_state{};
    s.inverse_temperature = inverse_temperature_of(step);
    plan_type& p = s.plan;
    p.input = r, p.products = &products_, p.phi = packed_, p.phi_back = packed_back_, p.factor = factor_of(own, s);
    p.spread = c.training() ? R(g.router.noise_std * step.noise) * R(s.inverse_temperature) : R(0);
    p.draw = c.draw(own.noise_stream);
    p.pieces = static_cast<int>(g.group_size ? 1 : plan_type::pieces_of(r.rows));
    if constexpr (normalised)
      parallel_rows(c.stream, slots_, 64, [&](index first, index n, worker&) {
        for (index i = first; i < first + n; ++i) p.slot_length.set(0, i, inverse_row_length(own.phi.value, i));
      });
    arena_scope call(c.scratch);
    const auto own_rows = private_memory::take(c.scratch, c.stream.threads, tile_bytes(p.tile_rows()));
    parallel_for(c.stream, p.tasks(), [&](index task, worker& w) {
      double* stats = s.task_stats + task * (p.experts + 2);
      std::fill_n(stats, p.experts + 2, 0.0);
      const view<R> top = s.slot_top.rows_at(task, 1);
      const view<C> sum = s.slot_sum.rows_at(task, 1);
      for (index i = 0; i < slots_; ++i) top.set(0, i, -infinity), sum.set(0, i, C(0));
      arena mine = own_rows.of(w);
      const tiles m = cut(mine, p.tile_rows());
      p.over_tiles(p.units_of(task), [&](index first, index n) {
        if constexpr (normalised)
          for (index t = first; t < first + n; ++t) p.unit_length.set(0, t, inverse_row_length(r, t));
        p.cosines(w, first, n, m.logits);
        for (index t = 0; t < n; ++t) unit_softmax(p, first + t, m.logits.rows_at(t, 1), m.weights, stats);
        slot_sums(p, first, n, m.logits, m.weights, top, sum);
      });
    });
    join_slots(c, s);
    statistics(s);
    s.values.set(0, 0, C(0));
  }

  /// Where the movers add what is of the router: `dr`, cleared unless `accumulate`, and sums for the parameters.
  void open_backward(ctx& c, memory& s, view<T> dr, bool accumulate) const {
    s.d_input = dr;
    const index n = s.plan.sums();
    if (dr.ptr[0] && !accumulate) clear(c, dr);
    clear(c, s.phi_sums.rows_at(0, n)), clear(c, s.scale_sums.rows_at(0, n));
  }
  void backward(ctx& c, const config&, const parameters& own, view<const T>, view<T> dr, memory& s, bool) const {
    require(dr.ptr[0] == s.d_input.ptr[0], "routing: backward of slots got another dr than open_backward");
    const index sums = s.plan.sums(), dim = own.phi.value.cols;
    parallel_for(c.stream, slots_, [&](index i, worker&) {
      C dot(0), share(0);
      if constexpr (normalised) {
        for (index n = 0; n < sums; ++n) dot += s.scale_sums.get(n, i);
        if (sums) s.scale_sums.set(0, i, dot);
        const C length = s.plan.slot_length.get(0, i);
        share = s.plan.factor * dot * length * length;
      }
      for (index j = 0; sums > 0 && j < dim; ++j) {
        C sum(0);
        for (index n = 0; n < sums; ++n) sum += s.phi_sums.get(n, i * dim + j);
        if constexpr (normalised) sum -= share * own.phi.value.get(i, j);
        own.phi.grad.add(i, j, sum);
      }
    });
    if constexpr (normalised) {
      C all(0);
      for (index i = 0; sums > 0 && i < slots_; ++i) all += s.scale_sums.get(0, i);
      own.scale.grad.add(0, 0, all * C(s.inverse_temperature));
    }
  }

  routing_stats stats(ctx&, const memory& s) const { return s.stats; }
  view<C> values(ctx&, const memory& s) const { return s.values; }
  /// Both matrices, on request.
  owned_dense_plan<C> plan(ctx& c, const memory& s) const { return s.plan.spelled(c.stream, c.scratch); }

 private:
  static constexpr R infinity = R(__builtin_inff());

  /// Memory of a worker.
  struct tiles {
    view<C> logits;   ///< [n, S]
    view<C> weights;  ///< [1, S]
  };
  tiles cut(arena& a, index n) const {
    tiles m;
    m.logits = a.take<C>(n, slots_), m.weights = a.take<C>(1, slots_);
    return m;
  }
  std::size_t tile_bytes(index n) const {
    arena a;
    cut(a, n);
    return a.used();
  }
  static C factor_of(const parameters& p, const memory& s) {
    if constexpr (normalised)
      return p.scale.value.get(0, 0) * C(s.inverse_temperature);
    else
      return C(s.inverse_temperature);
  }
  template <class U>
  static void clear(ctx& c, view<U> v) {
    parallel_rows(c.stream, v.rows, simd::rows_per_tile(v.cols), [&](index first, index n, worker&) {
      for (index r = first; r < first + n; ++r)
        for (int i = 0; i < view<U>::planes; ++i) std::fill_n(v.row(r, i), v.cols, real_t<U>(0.0f));
    });
  }

  /// The softmax of a unit over all slots: whether the unit is bad, what the plan keeps, its share of the statistics.
  /// Its row of U becomes logits.
  void unit_softmax(const plan_type& p, index unit, view<C> row, view<C> weight, double* stats) const {
    const index S = slots_;
    p.with_logits(unit, [&](auto logit) { simd::each(S, [&](index i) { row.set(0, i, logit(row.get(0, i), i)); }); });
    // x - x is zero for numbers and NaN for everything else.
    const C spread = simd::sum<C>(S, [&](index i) { return row.get(0, i) - row.get(0, i); });
    p.bad[unit] = !math::is_finite(spread);
    if (p.bad[unit]) return;
    const R top = simd::largest(-infinity, S, [&](index i) { return value_of(row.get(0, i)); });
    simd::each(S, [&](index i) { weight.set(0, i, shifted_exp(row.get(0, i), top)); });
    const C sum = simd::sum<C>(S, [&](index i) { return weight.get(0, i); }), share = C(1) / sum;
    p.unit_top.set(0, unit, top), p.unit_share.set(0, unit, share);
    const R part = value_of(share),
            mean =
                simd::sum<R>(S, [&](index i) { return value_of(weight.get(0, i)) * (value_of(row.get(0, i)) - top); });
    const index E = p.experts, per = p.capacity;
    for (index e = 0; e < E; ++e)
      for (index i = e * per; i < (e + 1) * per; ++i)
        stats[e] += static_cast<double>(value_of(weight.get(0, i)) * part);
    stats[E] += static_cast<double>(std::log(value_of(sum)) - mean * part);
    if (S < 2) return;
    // The second largest is the largest where that is there twice.
    const index tops = simd::sum<index>(S, [&](index i) { return index{value_of(row.get(0, i)) == top}; });
    const R second = tops > 1 ? top : simd::largest(-infinity, S, [&](index i) {
      const R x = value_of(row.get(0, i));
      return x < top ? x : -infinity;
    });
    stats[E + 1] += static_cast<double>(part * (R(1) - std::exp(second - top)));
  }
  /// Adds a tile of logits to the columns' largest numbers and sums; `next` has room for a row.
  void slot_sums(const plan_type& p, index first, index n, view<const C> logits, view<C> next, view<R> top,
                 view<C> sum) const {
    const auto each_finite = [&](auto f) {
      for (index t = 0; t < n; ++t)
        if (!p.bad[first + t]) f(logits.rows_at(t, 1));
    };
    const view<R> most = next.plane(0);
    simd::each(slots_, [&](index i) { most.set(0, i, top.get(0, i)); });
    index finite = 0;
    each_finite([&](const view<const C> row) {
      ++finite;
      simd::each(slots_, [&](index i) {
        const R x = value_of(row.get(0, i)), y = most.get(0, i);
        most.set(0, i, x > y ? x : y);
      });
    });
    if (finite == 0) return;
    simd::each(slots_, [&](index i) {
      sum.set(0, i, sum.get(0, i) * C(simd::exp_nonpositive(top.get(0, i) - most.get(0, i))));
      top.set(0, i, most.get(0, i));
    });
    each_finite([&](const view<const C> row) {
      simd::each(slots_, [&](index i) { sum.set(0, i, sum.get(0, i) + shifted_exp(row.get(0, i), top.get(0, i))); });
    });
  }
  /// The columns of a group from those of its pieces, in order; sums become shares.
  void join_slots(ctx& c, memory& s) const {
    plan_type& p = s.plan;
    p.slot_top = s.slot_top.rows_at(0, p.groups), p.slot_share = s.slot_sum.rows_at(0, p.groups);
    parallel_rows(c.stream, p.groups, 16, [&](index first, index n, worker&) {
      for (index g = first; g < first + n; ++g)
        for (index i = 0; i < slots_; ++i) {
          R top = s.slot_top.get(g, i);
          C sum = s.slot_sum.get(g, i);
          for (index piece = 1; piece < p.pieces; ++piece) {  // then the call is one group
            const R more = s.slot_top.get(piece, i);
            if (more == -infinity) continue;
            const R most = more > top ? more : top;
            sum = sum * C(simd::exp_nonpositive(top - most)) +
                  s.slot_sum.get(piece, i) * C(simd::exp_nonpositive(more - most));
            top = most;
          }
          p.slot_top.set(g, i, top);
          p.slot_share.set(g, i, value_of(sum) > 0 ? C(1) / sum : C(0));
        }
    });
  }
  void statistics(memory& s) const {
    const plan_type& p = s.plan;
    const index E = p.experts;
    routing_stats& o = s.stats;
    o.experts = p.experts, o.units = p.tokens, o.mixture = true;
    o.moved = o.overflow = 0, o.entropy = o.margin = 0;
    index finite = 0;
    for (index t = 0; t < p.tokens; ++t) finite += !p.bad[t];
    o.bad_rows = p.tokens - finite;
    *p.bad_count = static_cast<int>(o.bad_rows);
    o.choices = o.placed = finite * E;
    for (index e = 0; e < E; ++e) o.gate_mass[e] = 0, o.wished[e] = o.served[e] = finite;
    for (index task = 0; task < p.tasks(); ++task) {
      const double* x = s.task_stats + task * (E + 2);
      for (index e = 0; e < E; ++e) o.gate_mass[e] += x[e];
      o.entropy += x[E], o.margin += x[E + 1];
    }
    if (finite) o.entropy /= static_cast<double>(finite), o.margin /= static_cast<double>(finite);
  }

  index slots_ = 0;
  std::byte* packed_ = nullptr;
  std::byte* packed_back_ = nullptr;
  router_products<T, Maths> products_;
};

}  // namespace backend
}  // namespace polymoe
