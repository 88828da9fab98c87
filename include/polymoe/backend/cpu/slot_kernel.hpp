// The router of slots (Soft MoE) on the CPU.
//
// Rows (combine softmax, norms, statistics) go in tiles of 64 units; columns (dispatch softmax) in tasks of one group
// and 64 slots, each a block of one lane.
#pragma once

#include "../../layer/soft_routing.hpp"
#include "router_products.hpp"

namespace polymoe::inline v0 {
namespace backend {

template <class Spec, class Maths>
requires(Spec::router::k == mixed_into_slots) class router_kernel<Spec, cpu_with<Maths>> {
 public:
  using traits = routing_traits<Spec>;
  using T = typename traits::T;
  using C = typename traits::C;
  using M = master_t<T>;
  using Router = typename traits::Router;
  using config = routing_config<Spec>;
  using parameters = slot_parameters<M>;
  using ctx = context<cpu_with<Maths>>;
  static const char* products() { return router_products<T, Maths>::name(); }
  static constexpr bool normalised = Router::normalised;

  struct memory : slot_memory<C> {
    view<C> columns;               ///< [2 G, S] largest and sum of a column, then its dot product
    view<C> unit_dot;              ///< [1, T] sum over slots of d_L U
    view<C> tile_dots;             ///< [tiles, S] sum over a tile's units of d_L U
    view<C> pieces;                ///< partial weight gradients
    double* tile_stats = nullptr;  ///< [tiles, E + 2]
    float inverse_temperature = 1;
  };

  router_kernel() = default;
  router_kernel(index dim, index slots) : slots_(slots), products_(dim, slots) {}

  template <class V>
  void visit(V& v) {
    v.add_derived(packed_, products_.packed_bytes());
    v.add_derived(packed_back_, products_.packed_back_bytes());
  }
  void bind(binder<cpu_with<Maths>>& b, memory& s, index max_units, const config& g) const {
    const index tiles = ceil_div(max_units, tile_rows);
    s.columns = b.saved.template take<C>(2 * s.plan.groups, slots_);
    s.unit_dot = b.saved.template take<C>(1, max_units);
    s.tile_dots = b.saved.template take<C>(tiles, slots_);
    s.pieces = b.saved.template take<C>(products_.pieces(max_units), slots_ * g.dim);
    s.tile_stats = b.saved.template take_raw<double>(tiles * (g.experts + 2));
    products_.need_workers(b);
  }
  void refresh(ctx& c, const parameters& p) {
    worker w = c.stream.at(0);
    products_.pack(p.phi.value, packed_, packed_back_, w);
  }

  void forward(ctx& c, const config&, const parameters& p, view<const T> r, memory& s) const {
    const step_state step = c.step ? *c.step : step_state{};
    s.inverse_temperature = inverse_temperature_of(step);
    products_.multiply(c, r, packed_, s.cosine);
    if constexpr (normalised) {
      parallel_rows(c.stream, slots_, tile_rows, [&](index first, index n, worker&) {
        for (index i = first; i < first + n; ++i) s.slot_norm.set(0, i, inverse_norm(p.phi.value, i));
      });
    }
    const C factor = factor_of(p, s);
    const index E = s.plan.experts, per = s.plan.capacity;
    parallel_rows(c.stream, r.rows, tile_rows, [&](index first, index n, worker&) {
      double* stats = s.tile_stats + first / tile_rows * (E + 2);
      std::fill_n(stats, E + 2, 0.0);
      for (index t = first; t < first + n; ++t) {
        if constexpr (normalised) {
          const C norm = inverse_norm(r, t);
          s.unit_norm.set(0, t, norm);
          for (index i = 0; i < slots_; ++i) s.cosine.set(t, i, s.cosine.get(t, i) * norm * s.slot_norm.get(0, i));
        }
        combine_row(s, t, factor, stats, E, per);
      }
    });
    dense_plan<C>& plan = s.plan;
    over_columns(c, plan, [&](index g, index first, index units, index column, index columns) {
      slot_softmax(scalar_block{}, s.cosine.rows_at(first, units).cols_at(column, columns), factor, plan.bad + first,
                   plan.dispatch.rows_at(first, units).cols_at(column, columns),
                   s.columns.rows_at(2 * g, 2).cols_at(column, columns));
    });
    statistics(s);
    s.values.set(0, 0, C(0));
  }
  void clear(ctx& c, view<C> v, index n) const { clear_numbers(c, v, n); }

  void backward(ctx& c, const config&, const parameters& p, view<const T> r, view<T> dr, memory& s,
                bool accumulate) const {
    dense_plan<C>& plan = s.plan;
    over_columns(c, plan, [&](index g, index first, index units, index column, index columns) {
      slot_softmax_dots(scalar_block{}, plan.dispatch.rows_at(first, units).cols_at(column, columns),
                        s.d_dispatch.rows_at(first, units).cols_at(column, columns), plan.bad + first,
                        s.columns.rows_at(2 * g, 1).cols_at(column, columns));
    });
    const C factor = factor_of(p, s);
    // Gradients of the logits, made into gradients of x phi^T in d_combine's place.
    parallel_rows(c.stream, plan.tokens, tile_rows, [&](index first, index n, worker&) {
      const index tile = first / tile_rows;
      for (index i = 0; i < slots_; ++i) s.tile_dots.set(tile, i, C(0));
      for (index t = first; t < first + n; ++t) {
        C dot(0), with_u(0);
        if (plan.bad[t]) {
          for (index i = 0; i < slots_; ++i) s.d_combine.set(t, i, C(0));
          s.unit_dot.set(0, t, C(0));
          continue;
        }
        const index column_row = 2 * (t / plan.group_size);
        for (index i = 0; i < slots_; ++i) dot += plan.combine.get(t, i) * s.d_combine.get(t, i);
        for (index i = 0; i < slots_; ++i) {
          const C d = plan.combine.get(t, i) * (s.d_combine.get(t, i) - dot) +
                      plan.dispatch.get(t, i) * (s.d_dispatch.get(t, i) - s.columns.get(column_row, i));
          if constexpr (normalised) {
            const C du = d * s.cosine.get(t, i);
            with_u += du;
            s.tile_dots.set(tile, i, s.tile_dots.get(tile, i) + du);
            s.d_combine.set(t, i, d * factor * s.unit_norm.get(0, t) * s.slot_norm.get(0, i));
          } else {
            s.d_combine.set(t, i, d * factor);
          }
        }
        s.unit_dot.set(0, t, with_u);
      }
    });
    products_.weight_gradient(c, plan.tokens, *plan.bad_count > 0 ? plan.bad : nullptr, s.pieces, r, s.d_combine,
                              p.phi.grad);
    if constexpr (normalised) norm_gradients_of_parameters(p, s, factor);
    if (!dr.ptr[0]) return;
    products_.input_gradient(c, plan.tokens, s.d_combine, packed_back_, dr, accumulate);
    if constexpr (normalised)
      parallel_rows(c.stream, plan.tokens, tile_rows, [&](index first, index n, worker&) {
        for (index t = first; t < first + n; ++t) {
          if (plan.bad[t]) continue;
          const C norm = s.unit_norm.get(0, t), share = factor * s.unit_dot.get(0, t) * norm * norm;
          for (index j = 0; j < dr.cols; ++j) dr.set(t, j, dr.get(t, j) - share * C(r.get(t, j)));
        }
      });
  }

  routing_stats stats(ctx&, const memory& s) const { return s.stats; }
  view<C> values(ctx&, const memory& s) const { return s.values; }
  dense_plan<C> plan(ctx&, const memory& s) const { return s.plan; }

 private:
  static constexpr index tile_rows = 64, column_block = 64;

  static C factor_of(const parameters& p, const memory& s) {
    if constexpr (normalised)
      return p.scale.value.get(0, 0) * C(s.inverse_temperature);
    else
      return C(s.inverse_temperature);
  }
  /// 1 / sqrt(v.v + 1e-6) of row i.
  template <class V>
  static C inverse_norm(const V& v, index i) {
    C sum(1e-6f);
    for (index j = 0; j < v.cols; ++j) sum += C(v.get(i, j)) * C(v.get(i, j));
    return C(1) / math::sqrt(sum);
  }
  /// f(group, first unit, units, first column, columns) for every task of the column phases.
  template <class F>
  void over_columns(ctx& c, const dense_plan<C>& p, F f) const {
    const index blocks = ceil_div(slots_, column_block);
    parallel_for(c.stream, p.groups * blocks, [&](index task, worker&) {
      const index g = task / blocks, column = task % blocks * column_block, first = g * p.group_size;
      f(g, first, std::min<index>(p.group_size, p.tokens - first), column, std::min(column_block, slots_ - column));
    });
  }
  /// The softmax of a unit over all slots; whether the unit is bad; its share of the statistics.
  void combine_row(const memory& s, index t, C factor, double* stats, index E, index per) const {
    const dense_plan<C>& p = s.plan;
    C most(-__builtin_inff()), second(-__builtin_inff()), sum(0), weighted(0);
    bool finite = true;
    for (index i = 0; i < slots_; ++i) {
      const C x = factor * s.cosine.get(t, i);
      finite = finite && math::is_finite(x);
      if (x > most)
        second = most, most = x;
      else if (x > second)
        second = x;
    }
    p.bad[t] = !finite;
    if (!finite) {
      for (index i = 0; i < slots_; ++i) p.combine.set(t, i, C(0));
      return;
    }
    for (index i = 0; i < slots_; ++i) {
      const C x = math::exp(factor * s.cosine.get(t, i) - most);
      p.combine.set(t, i, x);
      sum += x;
    }
    const C inverse = C(1) / sum;
    for (index i = 0; i < slots_; ++i) {
      const C x = p.combine.get(t, i) * inverse;
      p.combine.set(t, i, x);
      weighted += x * (factor * s.cosine.get(t, i) - most);
    }
    for (index e = 0; e < E; ++e)
      for (index i = e * per; i < (e + 1) * per; ++i) stats[e] += static_cast<double>(value_of(p.combine.get(t, i)));
    stats[E] += static_cast<double>(value_of(math::log(sum) - weighted));
    if (slots_ > 1) stats[E + 1] += static_cast<double>(value_of(inverse * (C(1) - math::exp(second - most))));
  }
  void statistics(memory& s) const {
    const dense_plan<C>& p = s.plan;
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
    for (index tile = 0; tile < ceil_div(p.tokens, tile_rows); ++tile) {
      const double* x = s.tile_stats + tile * (E + 2);
      for (index e = 0; e < E; ++e) o.gate_mass[e] += x[e];
      o.entropy += x[E], o.margin += x[E + 1];
    }
    if (finite) o.entropy /= static_cast<double>(finite), o.margin /= static_cast<double>(finite);
  }
  /// d_scale, and what flows to phi through its norms.
  void norm_gradients_of_parameters(const parameters& p, memory& s, C factor) const {
    C all(0);
    for (index i = 0; i < slots_; ++i) {
      C sum(0);
      for (index tile = 0; tile < ceil_div(s.plan.tokens, tile_rows); ++tile) sum += s.tile_dots.get(tile, i);
      all += sum;
      const C norm = s.slot_norm.get(0, i), share = factor * sum * norm * norm;
      for (index j = 0; j < p.phi.value.cols; ++j) p.phi.grad.add(i, j, -(share * p.phi.value.get(i, j)));
    }
    p.scale.grad.add(0, 0, all * C(s.inverse_temperature));
  }

  index slots_ = 0;
  std::byte* packed_ = nullptr;
  std::byte* packed_back_ = nullptr;
  router_products<T, Maths> products_;
};

}  // namespace backend
}  // namespace polymoe
