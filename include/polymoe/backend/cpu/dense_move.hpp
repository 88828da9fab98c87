// Dense plans on the CPU: between units and slots by matrix products, group by group.
//
//   slot inputs   = dispatch^T x          outer product, summed in master numbers
//   y             = combine out           product with the slots as packed weight
//   d_combine    += dy out^T              product with the slots as packed weight, transposed
// and the same with d_out, d_slots for the way back.  A group's slots are gathered from expert order first ([E, G*C],
// dense_plan.hpp).  Rows of units that are not finite take part in no product; their outputs are NaN.
#pragma once

#include <limits>

#include "../../layer/mover.hpp"
#include "../../plan/dense_plan.hpp"
#include "expert_rows.hpp"
#include "move.hpp"

namespace polymoe::inline v0 {

template <class C, class T, class Maths>
class mover<dense_plan<C>, T, backend::cpu_with<Maths>> {
 public:
  using Backend = backend::cpu_with<Maths>;
  using plan = dense_plan<C>;
  using ctx = context<Backend>;
  using M = master_t<T>;

  explicit mover(const mover_config& s)
      : slots_(s.group_slots), in_(side(s.in, s.group_slots)), out_(side(s.out, s.group_slots)) {}

  void bind(binder<Backend>& b, index units, index groups) const {
    b.need_worker(std::max(in_.worker_bytes(), out_.worker_bytes()));
    for (const side* s : {&in_, &out_}) {
      arena_scope call(b.scratch);
      (void)take(b.scratch, *s, units, groups);
    }
  }

  view<const T> input(ctx& c, const plan& p, view<const T> x, index unit_rows, view<T> gathered) const {
    arena_scope call(c.scratch);
    const scratch s = take(c.scratch, in_, p.tokens, p.groups);
    slots_from_units(c, p, in_, p.dispatch, by_units(x, unit_rows), by_units(gathered, unit_rows), s);
    return gathered;
  }
  void combine(ctx& c, const plan& p, view<const T> out, view<const T>, index unit_rows, view<T> y) const {
    arena_scope call(c.scratch);
    const scratch s = take(c.scratch, out_, p.tokens, p.groups);
    load_slots(c, p, by_units(out, unit_rows), s);
    units_from_slots(c, p, out_, p.combine, by_units(y, unit_rows), std::numeric_limits<float>::quiet_NaN(), s);
  }
  void combine_vjp(ctx& c, const plan& p, view<const T> dy, view<const T> out, view<const T>, index unit_rows,
                   view<T> d_out, const plan_grad<plan>& d) const {
    arena_scope call(c.scratch);
    const scratch s = take(c.scratch, out_, p.tokens, p.groups);
    load_slots(c, p, by_units(out, unit_rows), s);
    weight_gradient(c, p, out_, by_units(dy, unit_rows), d.combine, s);
    slots_from_units(c, p, out_, p.combine, by_units(dy, unit_rows), by_units(d_out, unit_rows), s);
  }
  void input_vjp(ctx& c, const plan& p, view<const T> d_slots, view<const T>, view<const T> x, index unit_rows,
                 view<T> dx, const plan_grad<plan>& d) const {
    arena_scope call(c.scratch);
    const scratch s = take(c.scratch, in_, p.tokens, p.groups);
    load_slots(c, p, by_units(d_slots, unit_rows), s);
    weight_gradient(c, p, in_, by_units(x, unit_rows), d.dispatch, s);
    if (dx.ptr[0]) units_from_slots(c, p, in_, p.dispatch, by_units(dx, unit_rows), 0.0f, s);
  }

 private:
  static constexpr bool rounds = !std::is_same_v<T, C>;  ///< weights are rounded to T before they multiply
  static constexpr index tile = 256;

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
    index packed_bytes() const {
      return round_up(static_cast<index>(std::max(to_units.packed_bytes(), to_weights.packed_bytes())),
                      arena::alignment);
    }
  };
  /// Memory of one call.
  struct scratch {
    view<M> slots;      ///< [G * S, width] in group order
    view<T> weights;    ///< [T, S] rounded, for bf16
    std::byte* packed;  ///< per group
    index packed_bytes;
    std::byte* of_group(index g) const { return packed + g * packed_bytes; }
  };
  scratch take(arena& a, const side& s, index units, index groups) const {
    scratch m;
    m.slots = a.take<M>(checked_mul(groups, slots_, "dense plan: slots"), s.width);
    if (rounds) m.weights = a.take<T>(units, slots_);
    m.packed_bytes = s.packed_bytes();
    m.packed = a.take_raw<std::byte>(groups * m.packed_bytes);
    return m;
  }

  /// Rows of a unit as one row.
  template <class U>
  static view<U> by_units(view<U> v, index unit_rows) {
    if (unit_rows == 1) return v;
    require(v.contiguous(), "dense plan: the rows of a unit must lie together, the payload has stride ", v.stride,
            " and ", v.cols, " columns");
    return v.reshaped(v.rows / unit_rows, v.cols * unit_rows);
  }
  struct range {
    index first, count;
  };
  static range units_of(const plan& p, index g) {
    const index first = g * p.group_size;
    return {first, std::min<index>(p.group_size, p.tokens - first)};
  }
  /// Weights as numbers that multiply.
  view<const T> factors(ctx& c, const plan& p, view<const C> weights, const scratch& s) const {
    if constexpr (!rounds) {
      return weights;
    } else {
      parallel_rows(c.stream, p.tokens, tile, [&](index first, index n, worker&) {
        for (index t = first; t < first + n; ++t)
          for (index i = 0; i < slots_; ++i) s.weights.set(t, i, weights.get(t, i));
      });
      return s.weights;
    }
  }

  /// to = weights^T rows, in expert order.
  void slots_from_units(ctx& c, const plan& p, const side& by, view<const C> weights, view<const T> rows, view<T> to,
                        const scratch& s) const {
    const view<const T> w = factors(c, p, weights, s);
    const index blocks = by.to_slots.blocks();
    parallel_rows(c.stream, p.groups * slots_, 64, [&](index first, index n, worker&) {
      for (int i = 0; i < view<M>::planes; ++i) std::fill_n(s.slots.row(first, i), n * by.width, real_t<M>(0));
    });
    parallel_for(c.stream, p.groups * blocks, [&](index task, worker& who) {
      const index g = task / blocks;
      const range u = units_of(p, g);
      // Stretches of finite units; almost always one.
      for (index t = u.first; t < u.first + u.count;) {
        index end = *p.bad_count ? t : u.first + u.count;
        while (end < u.first + u.count && !p.bad[end]) ++end;
        if (end > t)
          by.to_slots.run(who, task % blocks, w.rows_at(t, end - t), rows.rows_at(t, end - t),
                          s.slots.rows_at(g * slots_, slots_));
        t = end + 1;
      }
    });
    parallel_rows(c.stream, p.groups * slots_, 64, [&](index first, index n, worker&) {
      for (index i = first; i < first + n; ++i) {
        const index at = p.slot_row(static_cast<int>(i / slots_), static_cast<int>(i % slots_));
        for (int plane = 0; plane < view<T>::planes; ++plane) {
          const auto* from = s.slots.row(i, plane);
          auto* out = to.row(at, plane);
          for (index j = 0; j < by.width; ++j) store(out[j], from[j]);
        }
      }
    });
  }
  /// Slots from expert order to group order, as master numbers.
  void load_slots(ctx& c, const plan& p, view<const T> from, const scratch& s) const {
    parallel_rows(c.stream, p.groups * slots_, 64, [&](index first, index n, worker&) {
      for (index i = first; i < first + n; ++i) {
        const index at = p.slot_row(static_cast<int>(i / slots_), static_cast<int>(i % slots_));
        for (int plane = 0; plane < view<T>::planes; ++plane) {
          const auto* in = from.row(at, plane);
          auto* out = s.slots.row(i, plane);
          for (index j = 0; j < from.cols; ++j) out[j] = static_cast<real_t<M>>(in[j]);
        }
      }
    });
  }
  /// Packs the loaded slots of every group, then f(worker, packed slots, first unit, units) over tiles of its units.
  template <class Product, class F>
  void over_groups(ctx& c, const plan& p, const Product& product, bool transposed, const scratch& s, F f) const {
    parallel_for(c.stream, p.groups, [&](index g, worker& who) {
      product.pack(s.slots.rows_at(g * slots_, slots_), transposed, s.of_group(g), who);
    });
    const index tiles = ceil_div(p.group_size, tile);
    parallel_for(c.stream, p.groups * tiles, [&](index task, worker& who) {
      const range u = units_of(p, task / tiles);
      const index at = task % tiles * tile;
      if (at < u.count) f(who, s.of_group(task / tiles), u.first + at, std::min(tile, u.count - at));
    });
  }
  /// to = weights slots; rows of bad units become `bad`.
  void units_from_slots(ctx& c, const plan& p, const side& by, view<const C> weights, view<T> to, float bad,
                        const scratch& s) const {
    const view<const T> w = factors(c, p, weights, s);
    over_groups(c, p, by.to_units, false, s, [&](worker& who, const std::byte* packed, index first, index n) {
      by.to_units.run(who, w.rows_at(first, n), packed, {}, to.rows_at(first, n));
      if (*p.bad_count)
        for (index t = first; t < first + n; ++t)
          if (p.bad[t])
            for (index j = 0; j < to.cols; ++j) to.set(t, j, C(bad));
    });
  }
  /// d += rows slots^T.  Rows of bad units are left to whoever reads d: nothing depends on their weights.
  void weight_gradient(ctx& c, const plan& p, const side& by, view<const T> rows, view<C> d, const scratch& s) const {
    over_groups(c, p, by.to_weights, true, s, [&](worker& who, const std::byte* packed, index first, index n) {
      if constexpr (rounds)
        by.to_weights.run_to_master(who, rows.rows_at(first, n), packed, d.rows_at(first, n), true);
      else
        by.to_weights.run(who, rows.rows_at(first, n), packed, {}, d.rows_at(first, n), true);
    });
  }

  index slots_ = 0;
  side in_, out_;
};

}  // namespace polymoe
