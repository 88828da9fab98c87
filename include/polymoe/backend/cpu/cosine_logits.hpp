// Logits that are scaled cosines, on the CPU (router/with_cosine.hpp): products of h = W_p x + b, or of x itself, with
// the experts' rows, then divided by lengths.
//
// As in Soft MoE no row is ever normalised: lengths are taken out of the products, and backward takes
// (sum d_z z) / |v|^2 v away from the gradients of both factors.  h is kept from forward to backward; x is not copied
// where it is made of the numbers that are compared.
#pragma once

#include "linear_logits.hpp"

namespace polymoe::inline v0 {
namespace backend {

template <class Router, class T, class Maths>
class cosine_logits {
 public:
  using C = compute_t<T>;
  using M = master_t<T>;
  using parameters = routing_parameters<M>;
  using ctx = context<cpu_with<Maths>>;
  static constexpr bool projected = has_cosine_projection<Router>, perturbed = perturbs_input<Router>;
  /// Units are compared as they were given.
  static constexpr bool as_given = !projected && !perturbed && std::is_same_v<T, C>;
  static const char* products() { return router_products<C, Maths>::name(); }

  struct memory {
    view<C> held;           ///< [T, P] h; without memory where it is the input
    view<const C> rows;     ///< [T, P] h of the call
    view<C> unit_length;    ///< [1, T] 1 / |h_t|
    view<C> expert_length;  ///< [1, E] 1 / |w_e|
    view<C> unit_share;     ///< [1, T] sum over experts of d_z z
    view<C> shares;         ///< [tiles, E] its sums over the units of a tile
    C scale{};
  };

  cosine_logits() = default;
  cosine_logits(const Router& router, index dim, index experts)
      : dim_(dim),
        width_(compared_columns(router, dim)),
        experts_(experts),
        projection_(dim, width_),
        compared_(width_, experts) {}

  template <class V>
  void visit(V& v) {
    v.add_derived(packed_, compared_.packed_bytes());
    v.add_derived(packed_back_, compared_.packed_back_bytes());
    if constexpr (projected) {
      v.add_derived(packed_projection_, projection_.packed_bytes());
      v.add_derived(packed_projection_back_, projection_.packed_back_bytes());
    }
  }
  void bind(binder<cpu_with<Maths>>& b, memory& m, index max_units) const {
    if constexpr (!as_given) m.held = b.saved.template take<C>(max_units, width_);
    m.unit_length = b.saved.template take<C>(1, max_units), m.unit_share = b.saved.template take<C>(1, max_units);
    m.expert_length = b.saved.template take<C>(1, experts_);
    m.shares = b.saved.template take<C>(ceil_div(max_units, tile), experts_);
    compared_.need_workers(b);
    if constexpr (projected) projection_.need_workers(b);
    arena_scope call(b.scratch);
    b.scratch.template take<C>(max_units, width_);
  }
  index piece_columns() const {
    const index of_projection = projected ? width_ * (dim_ + (has_projection_bias<Router> ? 1 : 0)) : 0;
    return std::max(experts_ * width_, of_projection);
  }
  void refresh(ctx& c, const parameters& p) {
    worker w = c.stream.at(0);
    compared_.pack(p.weight.value, packed_, packed_back_, w);
    if constexpr (projected) projection_.pack(p.projection.value, packed_projection_, packed_projection_back_, w);
  }

  void forward(ctx& c, const Router& router, const parameters& p, view<const T> x, const input_noise& factors,
               view<C> z, memory& m) const {
    if constexpr (projected) {
      projection_.multiply(c, x, packed_projection_, m.held, p.projection_bias.value, factors);
      m.rows = m.held;
    } else if constexpr (as_given) {
      m.rows = x;
    } else {
      parallel_rows(c.stream, x.rows, tile, [&](index first, index n, worker&) {
        for (index t = first; t < first + n; ++t)
          for (index j = 0; j < dim_; ++j) m.held.set(t, j, static_cast<C>(x.get(t, j)));
        compared_.multiply_factors(m.held.rows_at(first, n), factors, first);
      });
      m.rows = m.held;
    }
    m.scale = cosine_scale(C(p.log_scale.value.get(0, 0)), router.largest_scale);
    for (index e = 0; e < experts_; ++e) m.expert_length.set(0, e, inverse_row_length(p.weight.value, e));
    parallel_rows(c.stream, x.rows, tile, [&](index first, index n, worker& w) {
      compared_.multiply_rows(w, m.rows.rows_at(first, n), packed_, z.rows_at(first, n));
      for (index t = first; t < first + n; ++t) {
        m.unit_length.set(0, t, inverse_row_length(m.rows, t));
        const view<C> row = z.rows_at(t, 1), of_expert = m.expert_length;
        const C of_unit = m.scale * m.unit_length.get(0, t);
        simd::each(experts_,
                   [&](index e) { row.set(0, e, row.get(0, e) * cosine_factor(of_unit, of_expert.get(0, e))); });
      }
    });
  }

  void backward(ctx& c, const Router& router, const parameters& p, view<const T> x, const input_noise& factors,
                const logits_gradient<C>& g, view<T> dx, bool add, memory& m) const {
    gradient_of_products(c, g, m);
    compared_.weight_gradient(c, g.units, g.bad, g.pieces, m.rows, g.d, p.weight.grad);
    lengths_of_experts(router, p, g.units, m);
    if (!projected && !dx.ptr[0]) return;
    arena_scope call(c.scratch);
    const view<C> d_rows = c.scratch.template take<C>(g.units, width_);
    parallel_rows(c.stream, g.units, tile, [&](index first, index n, worker& w) {
      const view<C> of_tile = d_rows.rows_at(first, n);
      compared_.input_gradient_rows(w, g.d.rows_at(first, n), packed_back_, of_tile);
      for (index t = 0; t < n; ++t) {
        if (g.bad && g.bad[first + t]) continue;  // its row of h may hold anything
        const C length = m.unit_length.get(0, first + t), share = m.unit_share.get(0, first + t) * length * length;
        const view<C> d = of_tile.rows_at(t, 1);
        const view<const C> h = m.rows.rows_at(first + t, 1);
        simd::each(width_, [&](index j) { d.set(0, j, d.get(0, j) - share * h.get(0, j)); });
      }
      if constexpr (!projected) {
        compared_.multiply_factors(of_tile, factors, first);
        for (index t = 0; t < n; ++t)
          for (index j = 0; j < dim_; ++j)
            dx.set(first + t, j, of_tile.get(t, j) + (add ? dx.get(first + t, j) : C(0)));
      }
    });
    if constexpr (projected) {
      projection_.weight_gradient(c, g.units, g.bad, g.pieces, x, d_rows, p.projection.grad, p.projection_bias.grad,
                                  factors);
      if (dx.ptr[0]) projection_.input_gradient(c, g.units, d_rows, packed_projection_back_, dx, add, factors);
    }
  }

 private:
  static constexpr index tile = 256;  ///< units of a task
  struct no_projection {
    no_projection() = default;
    no_projection(index, index) {}
  };
  using projection_type = std::conditional_t<projected, router_products<T, Maths, perturbed>, no_projection>;

  /// g.d becomes the gradient of the products; what flows through lengths and scale is summed beside it.
  void gradient_of_products(ctx& c, const logits_gradient<C>& g, memory& m) const {
    parallel_rows(c.stream, g.units, tile, [&](index first, index n, worker&) {
      const view<C> sums = m.shares.rows_at(first / tile, 1), of_expert = m.expert_length;
      simd::each(experts_, [&](index e) { sums.set(0, e, C(0)); });
      for (index t = first; t < first + n; ++t) {
        m.unit_share.set(0, t, C(0));
        if (g.bad && g.bad[t]) continue;  // d is zero, z need not be a number
        const view<const C> z = g.z.rows_at(t, 1);
        const view<C> d = g.d.rows_at(t, 1);
        m.unit_share.set(0, t, simd::sum<C>(experts_, [&](index e) { return d.get(0, e) * z.get(0, e); }));
        const C of_unit = m.scale * m.unit_length.get(0, t);
        simd::each(experts_, [&](index e) {
          sums.set(0, e, sums.get(0, e) + d.get(0, e) * z.get(0, e));
          d.set(0, e, d.get(0, e) * cosine_factor(of_unit, of_expert.get(0, e)));
        });
      }
    });
  }
  /// Tiles in order, so that sums have the same bits for any number of threads.
  void lengths_of_experts(const Router& router, const parameters& p, index units, const memory& m) const {
    C all(0);
    for (index e = 0; e < experts_; ++e) {
      C sum(0);
      for (index i = 0; i < ceil_div(units, tile); ++i) sum += m.shares.get(i, e);
      all += sum;
      const C length = m.expert_length.get(0, e), share = sum * length * length;
      for (index j = 0; j < width_; ++j) p.weight.grad.add(e, j, C(0) - share * C(p.weight.value.get(e, j)));
    }
    if (cosine_scale_learns(C(p.log_scale.value.get(0, 0)), router.largest_scale)) p.log_scale.grad.add(0, 0, all);
  }

  index dim_ = 0, width_ = 0, experts_ = 0;
  std::byte* packed_ = nullptr;
  std::byte* packed_back_ = nullptr;
  std::byte* packed_projection_ = nullptr;
  std::byte* packed_projection_back_ = nullptr;
  projection_type projection_;
  router_products<C, Maths> compared_;
};

}  // namespace backend
}  // namespace polymoe
