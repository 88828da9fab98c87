// The plan of a router of slots on the CPU: what its dispatch and combine matrices are made of, O(T + S) a group.
//
// The matrices themselves are formed where they are used, a tile of units at a time, in the private memory of a worker:
//
//   U_ts        = <x_t, phi_s> / (|x_t| |phi_s|)                (without the lengths where the router is plain)
//   L_ts        = factor U_ts + spread eps_ts                   the noise is drawn anew wherever L is needed
//   combine_ts  = exp(L_ts - unit_top_t) unit_share_t           share: one over the sum of the exponentials
//   dispatch_ts = exp(L_ts - slot_top_s) slot_share_s
//
// so that no call holds more of them than `tile` units times S slots a worker.  Forming U costs one product each time.
// Every user cuts units into the same tiles, so all see the same bits.
#pragma once

#include "../../plan/dense_plan.hpp"
#include "router_products.hpp"
#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// exp(x - top) for x <= top; of a dual number, with its tangent.
template <class C>
POLYMOE_ALWAYS_INLINE C shifted_exp(const C& x, real_t<C> top) {
  if constexpr (is_dual<C>) {
    const real_t<C> e = simd::exp_nonpositive(x.v - top);
    return C(e, e * x.t);
  } else {
    return simd::exp_nonpositive(x - top);
  }
}

/// Memory of every worker of a call, beside what a worker has for products: taken from the call's scratch.
struct private_memory {
  std::byte* base = nullptr;
  std::size_t each = 0;

  static private_memory take(arena& scratch, int threads, std::size_t bytes) {
    const index each = round_up(static_cast<index>(bytes), arena::alignment);
    return {scratch.take_raw<std::byte>(checked_mul(each, threads, "memory of workers")),
            static_cast<std::size_t>(each)};
  }
  arena of(const worker& w) const { return {base + static_cast<std::size_t>(w.id) * each, each}; }
};

template <class T, class Maths>
struct slot_plan : slot_layout {
  using C = compute_t<T>;
  using R = real_t<C>;
  using gate_type = C;
  static constexpr index tile = 128;  ///< units of a tile
  static constexpr index most_pieces = 16;

  view<const T> input;  ///< r [T, D_r]
  const router_products<T, Maths>* products = nullptr;
  const std::byte* phi = nullptr;  ///< packed
  const std::byte* phi_back = nullptr;
  C factor{};           ///< scale / temperature
  R spread{};           ///< deviation of the noise on logits, 0: none
  random_stream draw{};
  view<C> unit_length;  ///< [1, T] 1 / |x_t|, without memory where the router is plain
  view<C> slot_length;  ///< [1, S] 1 / |phi_s|, likewise
  view<R> unit_top;     ///< [1, T]
  view<C> unit_share;   ///< [1, T]
  view<R> slot_top;     ///< [G, S]
  view<C> slot_share;   ///< [G, S]
  int pieces = 1;       ///< ranges that the units of a group are cut into

  /// Pieces of a group that is the whole call: functions of its size only.
  static constexpr index pieces_of(index units) { return std::clamp<index>(ceil_div(units, 2 * tile), 1, most_pieces); }
  bool normalised() const { return slot_length.ptr[0] != nullptr; }

  // ---- tasks: one piece of one group each -------------------------------------------------------------------------

  index tasks() const { return index{groups} * pieces; }
  struct range {
    index group, first, count;
  };
  range units_of(index task) const {
    const index g = task / pieces, begin = g * group_size, n = std::min<index>(group_size, tokens - begin);
    const index each = pieces == 1 ? n : round_up(ceil_div(n, index{pieces}), tile), at = task % pieces * each;
    return {g, begin + at, std::clamp<index>(n - at, 0, each)};
  }
  /// f(first unit, units) for the tiles of a range.
  template <class F>
  static void over_tiles(const range& u, F f) {
    for (index at = 0; at < u.count; at += tile) f(u.first + at, std::min(tile, u.count - at));
  }
  /// f(first unit, units) for the stretches of [first, first + n) without bad units; almost always one.
  template <class F>
  void over_finite(index first, index n, F f) const {
    for (index t = first, end; t < first + n; t = end + 1) {
      end = *bad_count ? t : first + n;
      while (end < first + n && !bad[end]) ++end;
      if (end > t) f(t, end - t);
    }
  }
  /// Most units of a tile of this call.
  index tile_rows() const { return std::min<index>(tile, group_size); }
  /// Ranges of tasks whose sums for the parameters are kept apart: one after the other in a range.
  index sums() const { return tasks() ? ceil_div(tasks(), tasks_of_sum()) : 0; }
  index tasks_of_sum() const { return ceil_div(tasks(), most_pieces); }

  // ---- numbers ----------------------------------------------------------------------------------------------------

  /// U of the units [first, first + n), n at most `tile`, -> u.
  void cosines(worker& w, index first, index n, view<C> u) const {
    products->multiply_rows(w, input.rows_at(first, n), phi, u.rows_at(0, n));
    if (!normalised()) return;
    for (index t = 0; t < n; ++t) {
      const view<C> row = u.rows_at(t, 1), of_slot = slot_length;
      const C length = unit_length.get(0, first + t);
      simd::each(u.cols, [&](index i) { row.set(0, i, row.get(0, i) * length * of_slot.get(0, i)); });
    }
  }
  /// f(logit) where logit(u, i) is L of unit t and slot i from their U.
  template <class F>
  void with_logits(index t, F f) const {
    const C scale = factor;
    if (spread == R(0)) return f([scale](const C& u, index) { return scale * u; });
    const auto first = static_cast<std::uint64_t>(t) * static_cast<std::uint64_t>(group_slots());
    f([scale, first, deviation = spread, stream = draw](const C& u, index i) {
      return scale * u + C(deviation * static_cast<R>(stream.normal(first + static_cast<std::uint64_t>(i))));
    });
  }
  /// Row t of the combine matrix from U's.
  template <class W>
  void combine_row(index t, view<const C> u, view<W> to) const {
    const C share = unit_share.get(0, t);
    const R top = unit_top.get(0, t);
    with_logits(t, [&](auto logit) {
      simd::each(u.cols, [&](index i) { to.set(0, i, shifted_exp(logit(u.get(0, i), i), top) * share); });
    });
  }
  /// Row t of the dispatch matrix from U's.
  template <class W>
  void dispatch_row(index t, view<const C> u, view<W> to) const {
    const view<R> top = slot_top.rows_at(t / group_size, 1);
    const view<C> share = slot_share.rows_at(t / group_size, 1);
    with_logits(t, [&](auto logit) {
      simd::each(u.cols,
                 [&](index i) { to.set(0, i, shifted_exp(logit(u.get(0, i), i), top.get(0, i)) * share.get(0, i)); });
    });
  }

  /// Both matrices; allocates.  Uses the call's scratch, as the router's forward does.
  template <class Stream>
  owned_dense_plan<C> spelled(const Stream& stream, arena scratch) const {
    owned_dense_plan<C> to(*this);
    const private_memory memory =
        private_memory::take(scratch, stream.threads, cosine_bytes(tile_rows(), group_slots()));
    parallel_for(stream, tasks(), [&](index task, worker& w) {
      arena own = memory.of(w);
      const view<C> u = own.take<C>(tile_rows(), group_slots());
      over_tiles(units_of(task), [&](index first, index n) {
        cosines(w, first, n, u);
        for (index t = first; t < first + n; ++t) {
          if (bad[t]) continue;
          combine_row(t, u.rows_at(t - first, 1), to.combine.rows_at(t, 1));
          dispatch_row(t, u.rows_at(t - first, 1), to.dispatch.rows_at(t, 1));
        }
      });
    });
    return to;
  }
  static std::size_t cosine_bytes(index units, index slots) {
    arena measure;
    measure.take<C>(units, slots);
    return measure.used();
  }
};

}  // namespace backend

template <class T, class Maths>
struct plan_grad<backend::slot_plan<T, Maths>> {
  using C = compute_t<T>;
  view<T> input;  ///< d_r, added to; without memory when nobody wants it
  view<C> phi;    ///< [sums, S * D_r] gradients of phi without its lengths, added to
  view<C> scale;  ///< [sums, S] sum over units of d_L U, added to
};

}  // namespace polymoe
