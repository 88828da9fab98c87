// Plans of slots on the CPU: between units and slots by matrix products, group by group.
//
//   slot inputs = dispatch^T x        outer product, summed in master numbers
//   y           = combine out         product with the group's slots as packed weight
//   d_out       = combine^T dy        as the slot inputs
//   and from dy, out, x and d_slots, in one pass over the units
//     d_combine  = dy out^T,  d_dispatch = x d_slots^T
//     d_L        = combine (d_combine - <combine, d_combine>) + dispatch (d_dispatch - <d_slots, slots>)
//     dx         = dispatch d_slots,  d_r += d_L phi,  d_phi += d_L^T r
//
// Dispatch, combine and their gradients exist for one tile of units at a time, in the memory of a worker
// (slot_plan.hpp).  The second dot product is that over the units of dispatch and d_dispatch, as in attention's
// backward.  A task is one group, or one piece of it where the group is the whole call; sums over pieces, and sums for
// parameters, are formed apart and added in order.  Rows of units that are not finite take part in no product; their
// outputs are NaN.
#pragma once

#include <limits>

#include "../../layer/mover.hpp"
#include "expert_rows.hpp"
#include "move.hpp"
#include "slot_plan.hpp"

namespace polymoe::inline v0 {

template <class T, class Maths>
class mover<backend::slot_plan<T, Maths>, T, backend::cpu_with<Maths>> {
 public:
  using Backend = backend::cpu_with<Maths>;
  using plan = backend::slot_plan<T, Maths>;
  using ctx = context<Backend>;
  using C = compute_t<T>;
  using M = master_t<T>;
  struct bound {};

  explicit mover(const mover_config& s)
      : slots_(s.group_slots), group_size_(s.group_size), in_(s.in, s.group_slots), out_(s.out, s.group_slots) {}

  bound bind(binder<Backend>& b, index units, index) const {
    b.need_worker(std::max(in_.worker_bytes(), out_.worker_bytes()));
    const index rows = std::min(plan::tile, group_size_ ? group_size_ : units);
    const index pieces = group_size_ ? 1 : plan::pieces_of(units);
    for (const side* s : {&in_, &out_}) {
      arena_scope call(b.scratch);
      backend::private_memory::take(b.scratch, b.threads, memory_of(*s, rows).used());
      if (pieces > 1) b.scratch.template take<M>(pieces * slots_, s->width);
    }
    arena_scope call(b.scratch);
    backend::private_memory::take(b.scratch, b.threads, memory_of_backward(rows).used());
    return {};
  }

  view<const T> input(ctx& c, const bound&, const plan& p, view<const T> x, index unit_rows, view<T> gathered) const {
    slots_from_units(c, p, in_, plan::by_units(x, unit_rows), plan::by_units(gathered, unit_rows),
                     [&](index t, view<const C> u, view<T> to) { p.dispatch_row(t, u, to); });
    return gathered;
  }
  void combine(ctx& c, const bound&, const plan& p, view<const T> out, view<const T>, index unit_rows,
               view<T> y) const {
    arena_scope call(c.scratch);
    const auto memory = take(c, memory_of(out_, p.tile_rows()).used());
    const view<const T> from = plan::by_units(out, unit_rows);
    const view<T> to = plan::by_units(y, unit_rows);
    parallel_for(c.stream, p.tasks(), [&](index task, worker& w) {
      const auto u = p.units_of(task);
      arena own = memory.of(w);
      const tiles m = cut(own, out_, p.tile_rows());
      load(p, u.group, from, m.slots);
      out_.to_units.pack(m.slots, false, m.packed, w);
      p.over_tiles(u, [&](index first, index n) {
        p.cosines(w, first, n, m.cosine);
        weights(p, first, n, m, [&](index t, view<const C> row, view<T> w_row) { p.combine_row(t, row, w_row); });
        out_.to_units.run(w, m.weights.rows_at(0, n), m.packed, {}, to.rows_at(first, n));
        fill_bad(p, first, n, std::numeric_limits<float>::quiet_NaN(), to);
      });
    });
  }
  void combine_vjp(ctx& c, const bound&, const plan& p, view<const T> dy, view<const T>, view<const T>, index unit_rows,
                   view<T> d_out, const plan_grad<plan>&) const {
    slots_from_units(c, p, out_, plan::by_units(dy, unit_rows), plan::by_units(d_out, unit_rows),
                     [&](index t, view<const C> u, view<T> to) { p.combine_row(t, u, to); });
  }
  /// d.input may be dx: what the router adds comes after what the payload writes.
  void input_vjp(ctx& c, const bound&, const plan& p, const slot_side<T>& slots, view<const T> dy, view<const T> x,
                 index unit_rows, view<T> dx, const plan_grad<plan>& d) const {
    arena_scope call(c.scratch);
    const auto memory = take(c, memory_of_backward(p.tile_rows()).used());
    const payload_rows r{plan::by_units(dy, unit_rows),
                         plan::by_units(x, unit_rows),
                         plan::by_units(dx, unit_rows),
                         plan::by_units(slots.out, unit_rows),
                         plan::by_units(slots.d_slots, unit_rows),
                         plan::by_units(slots.slots, unit_rows)};
    parallel_for(c.stream, p.sums(), [&](index sum, worker& w) {
      const view<C> d_phi = d.phi.rows_at(sum, 1).reshaped(slots_, p.input.cols), d_scale = d.scale.rows_at(sum, 1);
      for (index task = sum * p.tasks_of_sum(); task < std::min(p.tasks(), (sum + 1) * p.tasks_of_sum()); ++task) {
        arena own = memory.of(w);
        const gradient_tiles m = cut_backward(own, p.tile_rows(), p.input.cols);
        const auto u = p.units_of(task);
        load(p, u.group, r.out, m.out);
        out_.to_weights.pack(m.out, true, m.packed_out, w);
        load(p, u.group, r.d_slots, m.d_slots);
        in_.to_weights.pack(m.d_slots, true, m.packed_slots, w);
        if (dx.ptr[0]) in_.to_units.pack(m.d_slots, false, m.packed_back, w);
        for (index i = 0; i < slots_; ++i) m.slot_dot.set(0, i, slot_dot(p, u.group, i, m.d_slots, r.slots));
        p.over_tiles(u, [&](index first, index n) { tile_gradients(w, p, first, n, r, m, d.input, d_phi, d_scale); });
      }
    });
  }

 private:
  static constexpr bool rounds = !std::is_same_v<T, C>;  ///< weights are rounded to T before they multiply

  /// The products with payloads of one width.
  struct side {
    index width = 0;
    planar_outer_product<T, Maths> to_slots;  ///< [S, width] += weights^T rows
    planar_product<T, Maths> to_units;        ///< rows = weights [n, S] slots [S, width]
    planar_product<T, Maths> to_weights;      ///< weights [n, S] = rows [n, width] slots^T
    side(index w, index slots) : width(w), to_slots(slots, w), to_units(slots, w), to_weights(w, slots) {}
    std::size_t worker_bytes() const {
      return std::max({to_slots.worker_bytes(), to_units.worker_bytes(), to_weights.worker_bytes()});
    }
  };

  // ---- memory of a worker -----------------------------------------------------------------------------------------

  struct tiles {
    view<M> slots;      ///< [S, width] of one group
    std::byte* packed;  ///< the same, packed
    view<C> cosine;     ///< [n, S]
    view<T> weights;    ///< [n, S] a tile of dispatch or combine
  };
  tiles cut(arena& a, const side& s, index n) const {
    tiles m;
    m.slots = a.take<M>(slots_, s.width);
    m.packed = a.take_raw<std::byte>(static_cast<index>(s.to_units.packed_bytes()));
    m.cosine = a.take<C>(n, slots_), m.weights = a.take<T>(n, slots_);
    return m;
  }
  arena memory_of(const side& s, index n) const {
    arena a;
    cut(a, s, n);
    return a;
  }
  struct gradient_tiles {
    view<M> out, d_slots;  ///< [S, width] of one group
    std::byte *packed_out, *packed_slots, *packed_back;
    view<C> slot_dot;                       ///< [1, S]
    view<C> dispatch, combine;              ///< [1, S] of one unit
    view<C> unit_dot;                       ///< [1, n] sum over slots of d_L U
    view<C> cosine, d_dispatch, d_combine;  ///< [n, S]; the last becomes the gradient of x phi^T
    view<T> weights;                        ///< [n, S] a tile of dispatch
    view<C> d_input;                        ///< [n, D_r]
  };
  gradient_tiles cut_backward(arena& a, index n, index dim) const {
    const auto bytes = [&](const auto& product) {
      return a.take_raw<std::byte>(static_cast<index>(product.packed_bytes()));
    };
    gradient_tiles m;
    m.out = a.take<M>(slots_, out_.width), m.d_slots = a.take<M>(slots_, in_.width);
    m.packed_out = bytes(out_.to_weights), m.packed_slots = bytes(in_.to_weights), m.packed_back = bytes(in_.to_units);
    for (view<C>* v : {&m.slot_dot, &m.dispatch, &m.combine}) *v = a.take<C>(1, slots_);
    m.unit_dot = a.take<C>(1, n);
    for (view<C>* v : {&m.cosine, &m.d_dispatch, &m.d_combine}) *v = a.take<C>(n, slots_);
    m.weights = a.take<T>(n, slots_);
    m.d_input = a.take<C>(n, dim);
    return m;
  }
  /// The router reads the payload's columns, or those of one of its rows: at most as many as the payload has.
  arena memory_of_backward(index n) const {
    arena a;
    cut_backward(a, n, in_.width);
    return a;
  }
  static backend::private_memory take(ctx& c, std::size_t bytes) {
    return backend::private_memory::take(c.scratch, c.stream.threads, bytes);
  }

  // ---- slots ------------------------------------------------------------------------------------------------------

  /// f(slot row of the payload, row of the group) for the slots of a group.
  template <class F>
  void each_slot(const plan& p, index group, F f) const {
    for (index i = 0; i < slots_; ++i) f(p.slot_row(static_cast<int>(group), static_cast<int>(i)), i);
  }
  /// A group's slots as master numbers.
  void load(const plan& p, index group, view<const T> from, view<M> to) const {
    each_slot(p, group, [&](index at, index i) {
      for (int plane = 0; plane < view<T>::planes; ++plane) {
        const auto* in = from.row(at, plane);
        auto* out = to.row(i, plane);
        for (index j = 0; j < from.cols; ++j) out[j] = static_cast<real_t<M>>(in[j]);
      }
    });
  }
  void store_slot(view<const M> from, index i, view<T> to, index at) const {
    for (int plane = 0; plane < view<T>::planes; ++plane) {
      const auto* in = from.row(i, plane);
      auto* out = to.row(at, plane);
      for (index j = 0; j < from.cols; ++j) store(out[j], in[j]);
    }
  }
  /// Sum over the units of a group of dispatch and d_dispatch at slot i: <d_slots, slots>.
  C slot_dot(const plan& p, index group, index i, view<const M> d_slots, view<const T> slots) const {
    const view<const T> read = slots.rows_at(p.slot_row(static_cast<int>(group), static_cast<int>(i)), 1);
    const view<const M> d = d_slots.rows_at(i, 1);
    return simd::sum<C>(read.cols, [&](index j) { return C(d.get(0, j)) * C(read.get(0, j)); });
  }

  /// The tile's rows of a matrix of the plan, zero for bad units.
  template <class Row>
  void weights(const plan& p, index first, index n, const tiles& m, Row row) const {
    for (index t = 0; t < n; ++t)
      if (p.bad[first + t])
        zero(m.weights.rows_at(t, 1));
      else
        row(first + t, m.cosine.rows_at(t, 1), m.weights.rows_at(t, 1));
  }
  template <class U>
  static void zero(view<U> v) {
    for (index r = 0; r < v.rows; ++r)
      for (int i = 0; i < view<U>::planes; ++i) std::fill_n(v.row(r, i), v.cols, real_t<U>(0.0f));
  }
  void fill_bad(const plan& p, index first, index n, float number, view<T> to) const {
    if (!*p.bad_count) return;
    for (index t = first; t < first + n; ++t)
      if (p.bad[t])
        for (index j = 0; j < to.cols; ++j) to.set(t, j, C(number));
  }

  /// to = weights^T from, in expert order; `row` makes a unit's weights.
  template <class Row>
  void slots_from_units(ctx& c, const plan& p, const side& by, view<const T> from, view<T> to, Row row) const {
    arena_scope call(c.scratch);
    const auto memory = take(c, memory_of(by, p.tile_rows()).used());
    const view<M> parts = p.pieces > 1 ? c.scratch.template take<M>(p.pieces * slots_, by.width) : view<M>{};
    parallel_for(c.stream, p.tasks(), [&](index task, worker& w) {
      const auto u = p.units_of(task);
      arena own = memory.of(w);
      const tiles m = cut(own, by, p.tile_rows());
      const view<M> sum = p.pieces > 1 ? parts.rows_at(task * slots_, slots_) : m.slots;
      zero(sum);
      p.over_tiles(u, [&](index first, index n) {
        p.cosines(w, first, n, m.cosine);
        weights(p, first, n, m, row);
        p.over_finite(first, n, [&](index t, index count) {
          for (index block = 0; block < by.to_slots.blocks(); ++block)
            by.to_slots.run(w, block, m.weights.rows_at(t - first, count), from.rows_at(t, count), sum);
        });
      });
      if (p.pieces == 1) each_slot(p, u.group, [&](index at, index i) { store_slot(sum, i, to, at); });
    });
    if (p.pieces == 1) return;
    parallel_for(c.stream, slots_, [&](index i, worker&) {
      for (index piece = 1; piece < p.pieces; ++piece)
        for (int plane = 0; plane < view<M>::planes; ++plane) {
          auto* sum = parts.row(i, plane);
          const auto* part = parts.row(piece * slots_ + i, plane);
          for (index j = 0; j < by.width; ++j) sum[j] += part[j];
        }
      store_slot(parts, i, to, p.slot_row(0, static_cast<int>(i)));
    });
  }

  // ---- gradients --------------------------------------------------------------------------------------------------

  struct payload_rows {
    view<const T> dy, x;
    view<T> dx;
    view<const T> out, d_slots, slots;
  };
  static void multiply(worker& w, const planar_product<T, Maths>& by, view<const T> from, const std::byte* packed,
                       view<C> to) {
    if constexpr (rounds)
      by.run_to_master(w, from, packed, to);
    else
      by.run(w, from, packed, {}, to);
  }
  void tile_gradients(worker& w, const plan& p, index first, index n, const payload_rows& r, const gradient_tiles& m,
                      view<T> d_input, view<C> d_phi, view<C> d_scale) const {
    p.cosines(w, first, n, m.cosine);
    multiply(w, out_.to_weights, r.dy.rows_at(first, n), m.packed_out, m.d_combine.rows_at(0, n));
    multiply(w, in_.to_weights, r.x.rows_at(first, n), m.packed_slots, m.d_dispatch.rows_at(0, n));
    for (index t = 0; t < n; ++t) unit_gradients(p, first + t, t, m, d_scale);
    if (r.dx.ptr[0]) {
      in_.to_units.run(w, m.weights.rows_at(0, n), m.packed_back, {}, r.dx.rows_at(first, n));
      fill_bad(p, first, n, 0.0f, r.dx);
    }
    const view<const T> from = p.input.rows_at(first, n);
    p.products->weight_gradient_rows(w, from, *p.bad_count ? p.bad + first : nullptr, m.d_combine.rows_at(0, n), d_phi);
    if (!d_input.ptr[0]) return;
    p.products->input_gradient_rows(w, m.d_combine.rows_at(0, n), p.phi_back, m.d_input.rows_at(0, n));
    for (index t = 0; t < n; ++t) {
      if (p.bad[first + t]) continue;
      C share(0);
      if (p.normalised()) {
        const C length = p.unit_length.get(0, first + t);
        share = p.factor * m.unit_dot.get(0, t) * length * length;
      }
      for (index j = 0; j < from.cols; ++j) d_input.add(first + t, j, m.d_input.get(t, j) - share * C(from.get(t, j)));
    }
  }
  /// A unit's gradient of the logits, made into that of x phi^T in the place of d_combine; its row of dispatch.
  void unit_gradients(const plan& p, index unit, index t, const gradient_tiles& m, view<C> d_scale) const {
    const view<C> d = m.d_combine.rows_at(t, 1), weight = m.combine, dispatch = m.dispatch, dots = m.slot_dot,
                  of_slot = p.slot_length;
    const view<const C> u = m.cosine.rows_at(t, 1), d_dispatch = m.d_dispatch.rows_at(t, 1);
    const view<T> rounded = m.weights.rows_at(t, 1);
    if (p.bad[unit]) return zero(d), zero(rounded);
    p.combine_row(unit, u, weight);
    p.dispatch_row(unit, u, dispatch);
    simd::each(slots_, [&](index i) { rounded.set(0, i, dispatch.get(0, i)); });
    const C dot = simd::sum<C>(slots_, [&](index i) { return weight.get(0, i) * d.get(0, i); });
    simd::each(slots_, [&](index i) {
      d.set(0, i,
            weight.get(0, i) * (d.get(0, i) - dot) + dispatch.get(0, i) * (d_dispatch.get(0, i) - dots.get(0, i)));
    });
    const C scale = p.factor;
    if (!p.normalised()) return simd::each(slots_, [&](index i) { d.set(0, i, d.get(0, i) * scale); });
    m.unit_dot.set(0, t, simd::sum<C>(slots_, [&](index i) { return d.get(0, i) * u.get(0, i); }));
    const C length = p.unit_length.get(0, unit);
    simd::each(slots_, [&](index i) {
      const C g = d.get(0, i);
      d_scale.set(0, i, d_scale.get(0, i) + g * u.get(0, i));
      d.set(0, i, g * scale * length * of_slot.get(0, i));
    });
  }

  index slots_ = 0, group_size_ = 0;
  side in_, out_;
};

}  // namespace polymoe
