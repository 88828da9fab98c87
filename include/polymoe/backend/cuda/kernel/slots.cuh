// Soft MoE between its products: both softmaxes of the logits, their backward, lengths of units and slots.
//
//   U          = r phi^T                      a product before (dispatch/slots.cuh)
//   L_ts       = factor U_ts |r_t|^-1 |phi_s|^-1        factor = scale / temperature; plain routers have no lengths
//              + spread eps_ts                          noise of the call, drawn anew wherever L is formed
//   dispatch   = softmax of L over the units of a group, combine = softmax of L over all slots
//
// A block owns the units of a group, or one piece of them where groups are long.  Warps first take rows: length of the
// unit, whether it is bad, largest logit and sum.  Then columns, 32 a warp: largest logit and sum of a slot.  Then they
// write both matrices.  The logits of a block stay in shared memory where they fit, so U is read once; else they are
// formed again from U.  With pieces the first two steps are a launch of their own, and the second one joins the pieces
// in order.  What the matrices are made of is kept (slot_softmax), so that backward forms them again from U.
#pragma once

#include "../../../core/context.hpp"
#include "../../../plan/dense_plan.hpp"
#include "../../../router/length.hpp"
#include "bias.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// Noise on the logits of a call: none, or normal numbers by (unit, slot).
template <class C>
struct slot_noise {
  C spread = C(0);
  random_stream draw{};
  index slots = 0;
  POLYMOE_DEVICE C added_to(C logit, index t, index s) const {
    return spread == C(0) ? logit : logit + spread * C(draw.normal(static_cast<std::uint64_t>(t * slots + s)));
  }
};

/// What dispatch and combine are made of, in the backend's memory.
template <class C>
struct slot_softmax {
  view<const C> u;           ///< [T, S]
  const C* scale = nullptr;  ///< [1] learned; null: 1
  const step_state* step = nullptr;
  C* unit_length = nullptr;        ///< [T] 1 / |r_t|; null where the router is plain
  const C* slot_length = nullptr;  ///< [S] 1 / |phi_s|; likewise
  C* unit_top = nullptr;           ///< [T] largest logit of a unit
  C* unit_share = nullptr;         ///< [T] 1 / sum of exp(L - top)
  C* slot_top = nullptr;           ///< [G, S] the same over a group's units
  C* slot_share = nullptr;         ///< [G, S]
  float noise_std = 0;             ///< of the logits; 0 in evaluation
  random_root random{};
  std::uint64_t noise_stream = 0;

  POLYMOE_DEVICE C inverse_temperature() const { return C(step ? 1.0f / step->temperature : 1.0f); }
  POLYMOE_DEVICE C factor() const { return scale ? *scale * inverse_temperature() : inverse_temperature(); }
  POLYMOE_DEVICE C cosine(index t, index s) const {
    const C x = u.row(t)[s];
    return unit_length ? x * unit_length[t] * slot_length[s] : x;
  }
  POLYMOE_DEVICE slot_noise<C> noise(index slots) const {
    if (noise_std == 0) return {};
    const step_state s = step ? *step : step_state{};
    return {C(noise_std * s.noise) * inverse_temperature(),
            random.stream(noise_stream, static_cast<std::uint64_t>(s.step) << 20 | static_cast<std::uint64_t>(s.micro)),
            slots};
  }
};

namespace kernel {

inline constexpr int slot_warps = 16;       ///< of a block of slot_softmax_kernel
inline constexpr int slot_tile_units = 32;  ///< units of a block of slot_gradient_kernel

/// Largest of some numbers and the sum of exp(number - largest), carried from number to number.
template <class C>
struct largest_and_sum {
  C top = -C(__builtin_inff()), sum = C(0);

  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void add(C x) {
    const C e = math::exp(x > top ? top - x : x - top);  // top - x is -inf at first: 0
    sum = x > top ? sum * e + C(1) : sum + e;
    top = x > top ? x : top;
  }
  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void join(C other_top, C other_sum) {
    if (other_sum == C(0)) return;
    const C most = other_top > top ? other_top : top;
    sum = sum * math::exp(top - most) + other_sum * math::exp(other_top - most);
    top = most;
  }
  POLYMOE_DEVICE C share() const { return sum > C(0) ? C(1) / sum : C(0); }
};

template <class T>
struct slot_softmax_args {
  using C = compute_t<T>;
  slot_layout plan;
  slot_softmax<C> softmax;
  view<const T> input;    ///< r [T, D]
  view<T> finite;         ///< [T, D] r with zeros for bad units: what products may sum over units
  view<T> dispatch;       ///< [T, S]
  view<T> combine;        ///< [T, S]
  C* part_top = nullptr;  ///< [blocks, S] of pieces
  C* part_sum = nullptr;  ///< [blocks, S]
  C* mass = nullptr;      ///< [blocks, S] column sums of combine
  C* totals = nullptr;    ///< [blocks, 2] entropy and margin of the units
  int pieces = 1;         ///< blocks of a group
  bool held = false;      ///< the block's logits stay in shared memory
};

/// Units of a piece.
POLYMOE_HD constexpr index slot_piece_units(index group_size, index pieces) { return ceil_div(group_size, pieces); }
/// Shared memory of a block: its logits, if they are held, and two numbers a thread.
template <class C>
constexpr std::size_t slot_softmax_bytes(index units, index slots, bool held) {
  return sizeof(C) * static_cast<std::size_t>((held ? units * slots : 0) + 2 * 32 * slot_warps);
}

/// Units and columns of one block.
template <class T>
struct slot_block {
  using C = compute_t<T>;
  const slot_softmax_args<T>& a;
  index group, first, count, slots;
  C factor;
  slot_noise<C> noise;
  C* held;    ///< [count, S] or null
  C* shared;  ///< [2, threads]

  POLYMOE_DEVICE explicit slot_block(const slot_softmax_args<T>& args) : a(args) {
    const index task = device::block_index().x;
    group = task / a.pieces;
    const index begin = group * a.plan.group_size, left = a.plan.tokens - begin;
    const index n = left < a.plan.group_size ? left : index{a.plan.group_size};
    const index each = slot_piece_units(a.plan.group_size, a.pieces), at = task % a.pieces * each;
    first = begin + at, count = n - at < 0 ? 0 : n - at < each ? n - at : each;
    slots = a.plan.group_slots();
    factor = a.softmax.factor();
    noise = a.softmax.noise(slots);
    held = a.held ? device::shared<C>() : nullptr;
    shared = device::shared<C>() + (a.held ? each * slots : 0);
  }
  POLYMOE_DEVICE C formed_logit(index t, index s) const {
    return noise.added_to(factor * a.softmax.cosine(t, s), t, s);
  }
  POLYMOE_DEVICE C logit(index r, index s) const { return held ? held[r * slots + s] : formed_logit(first + r, s); }

  // ---- rows -------------------------------------------------------------------------------------------------------

  template <int V>
  POLYMOE_DEVICE void unit_length(index t) const {
    C sum(0);
    for (index j = device::lane() * index{V}; j < a.input.cols; j += 32 * V) {
      C x[V];
      load_numbers<V>(a.input.row(t) + j, x);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum += x[i] * x[i];
    }
    sum = inverse_length(warp_group{}.sum(sum));
    if (device::lane() == 0) a.softmax.unit_length[t] = sum;
    device::sync_warp();
  }
  template <int V>
  POLYMOE_DEVICE void copy_finite(index t, bool bad) const {
    for (index j = device::lane() * index{V}; j < a.input.cols; j += 32 * V) {
      pack<T, V> x;
      if (bad)
        for (int i = 0; i < V; ++i) x.v[i] = static_cast<T>(0.0f);
      else
        x = load_pack<T, V>(a.input.row(t) + j);
      store_pack<T, V>(a.finite.row(t) + j, x);
    }
  }
  /// One unit by one warp: length, top, share and bad; its entropy and its margin are added on lane 0.
  template <int V>
  POLYMOE_DEVICE void unit(index r, C& entropy, C& margin) const {
    const index t = first + r;
    if (a.softmax.unit_length) unit_length<V>(t);
    largest_and_sum<C> mine;
    C weighted(0), second = -C(__builtin_inff());  // sum of exp(L - top) (L - top)
    bool finite = true;
    for (index s = device::lane(); s < slots; s += 32) {
      const C x = formed_logit(t, s);
      if (held) held[r * slots + s] = x;
      finite = finite && math::is_finite(x);
      const C before = mine.top, sum = mine.sum;
      mine.add(x);
      if (x > before) {
        // What was there shrinks by exp(before - x), and its exponents by the difference.
        if (sum > C(0)) weighted = (weighted + sum * (before - x)) * math::exp(before - x);
        second = before;
      } else {
        weighted += math::exp(x - before) * (x - before);
        second = x > second ? x : second;
      }
    }
    const bool bad = warp_group{}.any(!finite);
    copy_finite<V>(t, bad);
    if (device::lane() == 0) a.plan.bad[t] = bad;
    if (bad) return;
    POLYMOE_UNROLL
    for (int flip = 16; flip; flip >>= 1) {
      const C top = device::shuffle_xor(mine.top, flip), sum = device::shuffle_xor(mine.sum, flip);
      const C w = device::shuffle_xor(weighted, flip), next = device::shuffle_xor(second, flip);
      // Lanes in an order that both of a pair agree on, so that all end with the same bits.
      const bool low = (device::lane() & flip) == 0;
      const C top0 = low ? mine.top : top, top1 = low ? top : mine.top;
      const C most = top0 > top1 ? top0 : top1;
      const C sum0 = low ? mine.sum : sum, sum1 = low ? sum : mine.sum;
      const C w0 = low ? weighted : w, w1 = low ? w : weighted;
      // A lane without columns has a sum of zero and a top that is no number to calculate with.
      const C e0 = sum0 > C(0) ? math::exp(top0 - most) : C(0), e1 = sum1 > C(0) ? math::exp(top1 - most) : C(0);
      weighted = (sum0 > C(0) ? (w0 + sum0 * (top0 - most)) * e0 : C(0)) +
                 (sum1 > C(0) ? (w1 + sum1 * (top1 - most)) * e1 : C(0));
      mine.sum = sum0 * e0 + sum1 * e1;
      mine.top = most;
      const C lower = top0 > top1 ? top1 : top0, later = next > second ? next : second;
      second = lower > later ? lower : later;
    }
    if (device::lane() != 0) return;
    const C share = C(1) / mine.sum;
    a.softmax.unit_top[t] = mine.top, a.softmax.unit_share[t] = share;
    entropy += math::log(mine.sum) - weighted * share;
    if (slots > 1) margin += share * (C(1) - math::exp(second - mine.top));
  }
  template <int V>
  POLYMOE_DEVICE void rows() const {
    C entropy(0), margin(0);
    for (index r = device::warp(); r < count; r += slot_warps) unit<V>(r, entropy, margin);
    if (device::lane() == 0) shared[2 * device::warp()] = entropy, shared[2 * device::warp() + 1] = margin;
    device::sync_block();
    if (device::thread_rank() < 2) {
      C sum(0);
      for (int w = 0; w < slot_warps; ++w) sum += shared[2 * w + device::thread_rank()];
      a.totals[2 * index{device::block_index().x} + device::thread_rank()] = sum;
    }
    device::sync_block();
  }

  // ---- columns ----------------------------------------------------------------------------------------------------

  /// f(column, first unit, step, place): strips of 32 columns by warps; where there are fewer strips than warps,
  /// several warps share the units of a strip, and `place` is where a thread leaves its part.  All threads call it
  /// together.
  template <class F>
  POLYMOE_DEVICE void columns(F f) const {
    const index strips = ceil_div(slots, 32);
    for (index w = device::warp(); w < strips * strands(); w += slot_warps)
      f(w % strips * 32 + device::lane(), w / strips, strands(), w * 32 + device::lane());
  }
  POLYMOE_DEVICE index strands() const {
    const index strips = ceil_div(slots, 32), n = slot_warps / strips;
    return n > 0 ? n : 1;
  }
  /// Place of the part of strand `n` for the thread that has the first strand's.
  POLYMOE_DEVICE index place_of(index place, index n) const { return n * ceil_div(slots, 32) * 32 + place; }

  POLYMOE_DEVICE void slots_of_piece(C* top, C* sum, bool finish) const {
    columns([&](index s, index from, index step, index place) {
      largest_and_sum<C> mine;
      for (index r = from; s < slots && r < count; r += step)
        if (!a.plan.bad[first + r]) mine.add(logit(r, s));
      if (step > 1)
        shared[place] = mine.top, shared[32 * slot_warps + place] = mine.sum;
      else if (s < slots)
        top[s] = mine.top, sum[s] = finish ? mine.share() : mine.sum;
    });
    if (strands() == 1) return;
    device::sync_block();
    columns([&](index s, index from, index step, index place) {
      if (from > 0 || s >= slots) return;
      largest_and_sum<C> mine{shared[place], shared[32 * slot_warps + place]};
      for (index n = 1; n < step; ++n)
        mine.join(shared[place_of(place, n)], shared[32 * slot_warps + place_of(place, n)]);
      top[s] = mine.top, sum[s] = finish ? mine.share() : mine.sum;
    });
  }
  /// Top and share of a slot, joined from the pieces of the group where there are several.
  POLYMOE_DEVICE largest_and_sum<C> joined(index s) const {
    largest_and_sum<C> all;
    for (index n = group * a.pieces; n < (group + 1) * a.pieces; ++n)
      all.join(a.part_top[n * slots + s], a.part_sum[n * slots + s]);
    return all;
  }
  POLYMOE_DEVICE void write() const {
    C* const mass = a.mass + index{device::block_index().x} * slots;
    columns([&](index s, index from, index step, index place) {
      C top(0), share(0), sum(0);
      if (s < slots) {
        const index at = group * slots + s;
        if (a.pieces > 1) {
          const auto all = joined(s);
          top = all.top, share = all.share();
          if (from == 0 && device::block_index().x % a.pieces == 0)
            a.softmax.slot_top[at] = top, a.softmax.slot_share[at] = share;
        } else {
          top = a.softmax.slot_top[at], share = a.softmax.slot_share[at];
        }
        for (index r = from; r < count; r += step) {
          const index t = first + r;
          C d(0), c(0);
          if (!a.plan.bad[t]) {
            const C x = logit(r, s);
            d = math::exp(x - top) * share;
            c = math::exp(x - a.softmax.unit_top[t]) * a.softmax.unit_share[t];
          }
          store(a.dispatch.row(t)[s], d);
          store(a.combine.row(t)[s], c);
          sum += c;
        }
      }
      if (step > 1)
        shared[place] = sum;
      else if (s < slots)
        mass[s] = sum;
    });
    if (strands() == 1) return;
    device::sync_block();
    columns([&](index s, index from, index step, index place) {
      if (from > 0 || s >= slots) return;
      C sum = shared[place];
      for (index n = 1; n < step; ++n) sum += shared[place_of(place, n)];
      mass[s] = sum;
    });
  }
};

/// From U to dispatch and combine.  Grid: groups * pieces blocks; with pieces, once with First alone and once with
/// Second.  Shared memory: slot_softmax_bytes.
template <class T, int V, bool First, bool Second>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * slot_warps, 1)
    slot_softmax_kernel(const POLYMOE_GRID_CONSTANT slot_softmax_args<T> a) {
  const slot_block<T> b(a);
  if constexpr (First) {
    b.template rows<V>();
    const index at = device::block_index().x * b.slots;
    if constexpr (Second)
      b.slots_of_piece(a.softmax.slot_top + at, a.softmax.slot_share + at, true);
    else
      b.slots_of_piece(a.part_top + at, a.part_sum + at, false);
    device::sync_block();
  }
  if constexpr (Second) b.write();
}

template <class T>
struct slot_gradient_args {
  using C = compute_t<T>;
  slot_layout plan;
  slot_softmax<C> softmax;
  view<const C> d_combine;      ///< [T, S]
  view<const C> d_dispatch;     ///< [T, S]
  const C* slot_dot = nullptr;  ///< [G, S] sum over units of dispatch and d_dispatch
  view<T> d_u;                  ///< [T, S] gradient of r phi^T, without what flows through lengths
  C* unit_dot = nullptr;        ///< [T] sum over slots of d_L L / factor
  C* totals = nullptr;          ///< [blocks] its sums over a block's units
};
/// One warp a unit, 32 units a block: d_L = combine (d_combine - <combine, d_combine>) + dispatch (d_dispatch -
/// slot_dot). Grid: one block for each 32 units, which fixes the order of the sums.  Without a number of blocks ptxas
/// keeps the doubles in 56 registers and spills one.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 6)
    slot_gradient_kernel(const POLYMOE_GRID_CONSTANT slot_gradient_args<T> a) {
  using C = compute_t<T>;
  const slot_softmax<C>& m = a.softmax;
  const index S = a.plan.group_slots(), begin = index{device::block_index().x} * slot_tile_units;
  const C factor = m.factor();
  const slot_noise<C> noise = m.noise(S);
  C total(0);
  for (index t = begin + device::warp(); t < begin + slot_tile_units && t < a.plan.tokens; t += move_warps) {
    if (a.plan.bad[t]) {
      for (index s = device::lane(); s < S; s += 32) a.d_u.row(t)[s] = static_cast<T>(0.0f);
      if (device::lane() == 0) a.unit_dot[t] = C(0);
      continue;
    }
    const C unit_top = m.unit_top[t], unit_share = m.unit_share[t];
    const index at = t / a.plan.group_size * S;
    C dot(0), with_u(0);
    for (index s = device::lane(); s < S; s += 32)
      dot += math::exp(noise.added_to(factor * m.cosine(t, s), t, s) - unit_top) * unit_share * a.d_combine.row(t)[s];
    dot = warp_group{}.sum(dot);
    for (index s = device::lane(); s < S; s += 32) {
      const C u = m.cosine(t, s), x = noise.added_to(factor * u, t, s);
      const C d =
          math::exp(x - unit_top) * unit_share * (a.d_combine.row(t)[s] - dot) +
          math::exp(x - m.slot_top[at + s]) * m.slot_share[at + s] * (a.d_dispatch.row(t)[s] - a.slot_dot[at + s]);
      with_u += d * u;
      store(a.d_u.row(t)[s], m.unit_length ? d * factor * m.unit_length[t] * m.slot_length[s] : d * factor);
    }
    with_u = warp_group{}.sum(with_u);
    if (device::lane() == 0) a.unit_dot[t] = with_u;
    total += with_u;
  }
  C* const shared = device::shared<C>();
  if (device::lane() == 0) shared[device::warp()] = total;
  device::sync_block();
  if (device::thread_rank() > 0) return;
  for (int w = 1; w < move_warps; ++w) total += shared[w];
  a.totals[device::block_index().x] = total;
}

/// dots[g, s] += <a, b> over the payload rows of slot s of group g: row s G + g, slot_layout::slot_row.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    slot_dots_kernel(slot_layout p, view<const T> a, view<const T> b, compute_t<T>* dots) {
  using C = compute_t<T>;
  const index S = p.group_slots();
  for (index row = warp_rank(); row < S * p.groups; row += warp_total()) {
    C sum(0);
    for (index j = device::lane() * index{V}; j < a.cols; j += 32 * V) {
      C x[V], y[V];
      load_numbers<V>(a.row(row) + j, x);
      load_numbers<V>(b.row(row) + j, y);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) sum += x[i] * y[i];
    }
    sum = warp_group{}.sum(sum);
    if (device::lane() == 0) dots[row % p.groups * S + row / p.groups] += sum;
  }
}

/// dr[t] -= factor unit_dot[t] |r_t|^-2 r_t for finite units: what flows through their lengths.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 8)
    unit_length_gradient_kernel(const unsigned char* bad, slot_softmax<compute_t<T>> m, const compute_t<T>* unit_dot,
                                view<const T> r, view<T> dr) {
  using C = compute_t<T>;
  const C factor = m.factor();
  for (index t = warp_rank(); t < r.rows; t += warp_total()) {
    if (bad[t]) continue;
    const C length = m.unit_length[t], share = factor * unit_dot[t] * length * length;
    for (index j = device::lane() * index{V}; j < r.cols; j += 32 * V) {
      C x[V], d[V];
      load_numbers<V>(r.row(t) + j, x);
      load_numbers<V>(static_cast<const T*>(dr.row(t)) + j, d);
      POLYMOE_UNROLL
      for (int i = 0; i < V; ++i) d[i] -= share * x[i];
      store_numbers<V>(dr.row(t) + j, d);
    }
  }
}

/// d_phi[s] += raw[s] - |phi_s|^-2 <raw[s], phi_s> phi_s, a warp a slot; then one block more: d_scale += the sum of
/// `totals` over the temperature.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    slot_length_gradient_kernel(slot_softmax<C> m, view<const C> raw, view<const C> phi, const C* totals, index blocks,
                                view<C> d_phi, C* d_scale) {
  if (device::block_index().x + 1 == device::grid_size().x) {
    C sum(0);
    for (index i = device::thread_rank(); i < blocks; i += 32 * move_warps) sum += totals[i];
    sum = warp_group{}.sum(sum);
    C* const shared = device::shared<C>();
    if (device::lane() == 0) shared[device::warp()] = sum;
    device::sync_block();
    if (device::thread_rank() > 0) return;
    for (int w = 1; w < move_warps; ++w) sum += shared[w];
    *d_scale += sum * m.inverse_temperature();
    return;
  }
  const index s = index{device::block_index().x} * move_warps + device::warp();
  if (s >= phi.rows) return;
  C dot(0);
  for (index j = device::lane(); j < phi.cols; j += 32) dot += raw.row(s)[j] * phi.row(s)[j];
  const C length = m.slot_length[s], share = warp_group{}.sum(dot) * length * length;
  for (index j = device::lane(); j < phi.cols; j += 32) d_phi.row(s)[j] += raw.row(s)[j] - share * phi.row(s)[j];
}

/// What changes once per optimiser step: lengths of phi's rows (null: none wanted), and phi [S, D] as the exact sum of
/// `parts` matrices of T [parts, S, D] (null where T is the type of phi).  A warp a slot.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps)
    phi_parts_kernel(view<const compute_t<T>> phi, compute_t<T>* length, T* part, index parts) {
  using C = compute_t<T>;
  for (index s = warp_rank(); s < phi.rows; s += warp_total()) {
    C sum(0);
    for (index j = device::lane(); j < phi.cols; j += 32) {
      C x = phi.row(s)[j];
      sum += x * x;
      for (index i = 0; part && i < parts; ++i) {
        T& to = part[(i * phi.rows + s) * phi.cols + j];
        store(to, x);
        x -= static_cast<C>(to);
      }
    }
    sum = warp_group{}.sum(sum);
    if (length && device::lane() == 0) length[s] = inverse_length(sum);
  }
}

/// Rows of bad units become NaN.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps) mark_bad_kernel(const unsigned char* bad, view<T> y) {
  for (index t = warp_rank(); t < y.rows; t += warp_total()) {
    if (!bad[t]) continue;
    for (index j = device::lane(); j < y.cols; j += 32) y.row(t)[j] = static_cast<T>(__builtin_nanf(""));
  }
}

}  // namespace kernel
}  // namespace backend
}  // namespace polymoe
