// Giving places on CUDA: stable counting along a list of items in priority order.
//
// An item is one choice of one unit.  Along the list of a group
//   position      item i is choice (i div n) of unit (i mod n)
//   gate          the same with the units sorted by their first score
//   probability   the choices sorted by their scores
// The list is cut into tiles of 64 items.  `count` makes one histogram of wished experts per tile, `scan` turns them
// into the position of each tile's first item per expert, and `place` adds the rank inside the tile.  An item whose
// position is below the capacity has a place: that is what giving places one after another in list order comes to,
// because the capacity is all that is compared.  Rerouting repeats this with what is left.  No step adds where order
// matters, so plans are the CPU's, whatever the order of blocks.
#pragma once

#include "route_args.cuh"

namespace polymoe::inline v0 {

/// The units of one tile.
struct unit_tile {
  int group, first, end;
};

/// f(i) for i < n, one thread (one warp, all its lanes) each.
template <class F>
POLYMOE_DEVICE void over_threads(index n, F f) {
  const index stride = index{device::grid_size().x} * route_tuning::threads;
  for (index i = index{device::block_index().x} * route_tuning::threads + device::thread_rank(); i < n; i += stride)
    f(i);
}
template <class F>
POLYMOE_DEVICE void over_warps(index n, F f) {
  const index stride = index{device::grid_size().x} * route_tuning::warps;
  for (index i = index{device::block_index().x} * route_tuning::warps + device::warp(); i < n; i += stride) f(i);
}
/// f(i, lane, width) for i < n, by one thread (width 1) where `length` is small, else by a warp (width 32).
template <class F>
POLYMOE_DEVICE void over_lists(index n, int length, F f) {
  if (length <= route_tuning::short_list)
    over_threads(n, [&](index i) { f(i, std::integral_constant<int, 1>{}, 0); });
  else
    over_warps(n, [&](index i) { f(i, std::integral_constant<int, 32>{}, device::lane()); });
}
/// Sum over the lanes that share a list; the same bits on all of them.
template <int Width, class S>
POLYMOE_DEVICE S lanes_sum(S x) {
  if constexpr (Width == 32)
    return warp_group{}.sum(x);
  else
    return x;
}
/// Sum of the lanes before this one; `*all` becomes the sum of all.
template <int Width>
POLYMOE_DEVICE int lanes_before(int x, int* all) {
  if constexpr (Width == 1) {
    *all = x;
    return 0;
  } else {
    int sum = x;
    POLYMOE_UNROLL
    for (int d = 1; d < 32; d *= 2) {
      const int y = device::shuffle_up(sum, d);
      sum += device::lane() >= d ? y : 0;
    }
    *all = device::shuffle_idx(sum, 31);
    return sum - x;
  }
}

/// The placing steps of one call; every method is called by all threads of a block.
template <class Router, class Capacity, class T>
struct place_phases {
  using C = compute_t<T>;
  using schedule = route_schedule<Router, Capacity>;
  static constexpr int K = schedule::K;
  static constexpr int tile_units = route_tuning::tile_units;

  const route_args<T>& a;
  const route_scratch<C>& w;

  POLYMOE_DEVICE int groups() const { return a.plan.groups; }
  POLYMOE_DEVICE int group_end(int g) const {
    const index end = (index{g} + 1) * a.plan.group_size;
    return static_cast<int>(end < a.plan.tokens ? end : index{a.plan.tokens});
  }
  POLYMOE_DEVICE unit_tile tile_of(int tile) const {
    unit_tile t;
    t.group = tile / w.tiles_per_group;
    const int last = group_end(t.group);
    t.first = t.group * a.plan.group_size + tile % w.tiles_per_group * tile_units;
    t.first = t.first < last ? t.first : last;
    t.end = t.first + tile_units < last ? t.first + tile_units : last;
    return t;
  }

  /// The choice at place i of an item tile of group g, -1 beyond the list.
  POLYMOE_DEVICE int choice_at(int g, int item_tile, int i) const {
    const int t0 = g * a.plan.group_size, n = group_end(g) - t0;
    if constexpr (schedule::by_choice) {
      const index item = index{item_tile} * tile_units + i;
      return item < index{n} * K ? w.order[index{t0} * K + item] : -1;
    } else {
      const int j = item_tile / w.tiles_per_group, at = item_tile % w.tiles_per_group * tile_units + i;
      if (at >= n) return -1;
      const int unit = schedule::ordered ? w.order[t0 + at] : t0 + at;
      return unit * K + j;
    }
  }
  /// The expert that choice c asks for in a round, -1 when it does not ask.
  POLYMOE_DEVICE int wanted(int c, int round) const {
    if (c < 0) return -1;
    if constexpr (schedule::rounds > 0)
      if (round > 0) return w.proposed[index{c} * schedule::rounds + round - 1];
    return a.wish[c];
  }
  POLYMOE_DEVICE int* run_of(int g, int e) const { return w.runs + (index{g} * a.plan.experts + e) * w.item_tiles; }

  /// One warp: how many items of the tile want each expert.  `counters` is shared memory for E numbers of this warp.
  POLYMOE_DEVICE void count_items(int g, int item_tile, int round, int* counters) const {
    const int E = a.plan.experts;
    for (int e = device::lane(); e < E; e += 32) counters[e] = 0;
    device::sync_warp();
    POLYMOE_UNROLL
    for (int half = 0; half < tile_units; half += 32) {
      const int e = wanted(choice_at(g, item_tile, half + device::lane()), round);
      if (e >= 0) device::atomic_add(counters + e, 1);
    }
    device::sync_warp();
    for (int e = device::lane(); e < E; e += 32) run_of(g, e)[item_tile] = counters[e];
    device::sync_warp();
  }

  /// One warp: gives the tile's items their places.
  POLYMOE_DEVICE void place_items(int g, int item_tile, int round) const {
    for (int half = 0; half < tile_units; half += 32) {
      const int c = choice_at(g, item_tile, half + device::lane());
      const int e = wanted(c, round);
      const unsigned same = device::match(e), before = same & ((1u << device::lane()) - 1);
      int* const run = e >= 0 ? run_of(g, e) + item_tile : nullptr;
      const int start = run ? *run : 0, rank = device::popcount(before);
      device::sync_warp();
      // The first of the lanes that want this expert moves the start on for the second half.
      if (run && before == 0) *run = start + device::popcount(same);
      device::sync_warp();
      const bool placed = run && (!schedule::limited || start + rank < a.plan.capacity);
      if (placed) {
        a.plan.expert_of[c] = e, a.position[c] = start + rank;
      } else if (c >= 0 && round == 0) {
        // Where the fallback expert or the unit itself serves, the wish's score weighs the output.
        a.plan.expert_of[c] = schedule::fallback || schedule::identity ? e : -1, a.position[c] = -1;
      }
    }
  }
  POLYMOE_DEVICE bool waits(int c) const { return a.wish[c] >= 0 && a.position[c] < 0; }

  /// One warp: proposals of unit t's choices without a place, in their priority order.
  POLYMOE_DEVICE void propose(int t, int round) const {
    constexpr int R = schedule::rounds > 0 ? schedule::rounds : 1;
    const int E = a.plan.experts, c0 = t * K, lane = device::lane();
    int* const proposed = w.proposed + index{c0} * R;
    unsigned waiting = 0;
    for (int j = 0; j < K; ++j) waiting |= waits(c0 + j) ? 1u << j : 0u;
    if (lane < K && !(waiting >> lane & 1u)) proposed[lane * R + round - 1] = -1;
    device::sync_warp();
    while (waiting) {
      const int j = schedule::by_choice ? best_waiting(c0, waiting) : device::find_first(waiting) - 1;
      const unsigned others = waiting & ~(1u << j);
      C best(0);
      int at = -1;
      for (int e = lane; e < E; e += 32) {
        bool tried = false;
        for (int i = 0; i < K; ++i) {
          tried = tried || a.wish[c0 + i] == e;
          for (int r = 0; r < round - 1; ++r) tried = tried || proposed[i * R + r] == e;
          // In this round only what has been decided; the lanes see each other's writes through the barrier below.
          if (!(waiting >> i & 1u)) tried = tried || proposed[i * R + round - 1] == e;
        }
        const C x = selection_scores<Router>(a)[index{t} * E + e];
        if (!tried && (at < 0 || x > best)) best = x, at = e;
      }
      POLYMOE_UNROLL
      for (int flip = 16; flip; flip >>= 1) {
        const C x = device::shuffle_xor(best, flip);
        const int e = device::shuffle_xor(at, flip);
        if (e >= 0 && (at < 0 || x > best || (x == best && e < at))) best = x, at = e;
      }
      if (lane == 0) proposed[j * R + round - 1] = at;
      device::sync_warp();
      waiting = others;
    }
  }
  /// By probability: the waiting choice with the largest score, ties to the lower id.
  POLYMOE_DEVICE int best_waiting(int c0, unsigned waiting) const {
    int best = -1;
    C most(0);
    for (int j = 0; j < K; ++j) {
      if (!(waiting >> j & 1u)) continue;
      const C x = selection_scores<Router>(a)[index{c0 / K} * a.plan.experts + a.wish[c0 + j]];
      if (best < 0 || x > most) best = j, most = x;
    }
    return best;
  }

  /// One warp: bit i of *low (*high) is set when unit i (32 + i) of the tile overflows.
  POLYMOE_DEVICE void overflowing(const unit_tile& u, unsigned* low, unsigned* high) const {
    const auto flag = [&](int t) {
      bool over = false;
      if (t < u.end)
        for (int j = 0; j < K; ++j) over = over || waits(t * K + j);
      return device::ballot(over);
    };
    *low = flag(u.first + device::lane());
    *high = flag(u.first + 32 + device::lane());
  }

  // ---- steps ----

  POLYMOE_DEVICE int* counters() const {
    return device::shared<int>(route_exchange_bytes) + device::warp() * a.plan.experts;
  }

  /// Histograms of all item tiles.
  POLYMOE_NOINLINE POLYMOE_DEVICE void count(int round) const {
    over_warps(index{groups()} * w.item_tiles, [&](index i) {
      count_items(static_cast<int>(i / w.item_tiles), static_cast<int>(i % w.item_tiles), round, counters());
    });
  }
  /// The same for the items of one unit tile (by position).
  POLYMOE_NOINLINE POLYMOE_DEVICE void count_unit_tile(int tile, int round) const {
    const int g = tile / w.tiles_per_group, u = tile % w.tiles_per_group;
    for (int j = device::warp(); j < K; j += route_tuning::warps)
      count_items(g, j * w.tiles_per_group + u, round, counters());
  }
  POLYMOE_DEVICE void place_unit_tile(int tile, int round) const {
    const int g = tile / w.tiles_per_group, u = tile % w.tiles_per_group;
    for (int j = device::warp(); j < K; j += route_tuning::warps) place_items(g, j * w.tiles_per_group + u, round);
  }

  /// Counts become the position of each tile's first item; runs grow.
  POLYMOE_NOINLINE POLYMOE_DEVICE void scan(int round) const {
    const int E = a.plan.experts, tiles = w.item_tiles;
    over_lists(index{groups()} * E, tiles, [&]<class Width>(index i, Width, int lane) {
      constexpr int width = Width::value;
      const int g = static_cast<int>(i / E), e = static_cast<int>(i % E);
      int* const run = run_of(g, e);
      int* const held = a.plan.count + index{e} * groups() + g;
      const int per = (tiles + width - 1) / width, first = lane * per < tiles ? lane * per : tiles;
      const int end = first + per < tiles ? first + per : tiles, had = round == 0 ? 0 : *held;
      int mine = 0, all = 0;
      for (int k = first; k < end; ++k) mine += run[k];
      int at = had + lanes_before<width>(mine, &all);
      for (int k = first; k < end; ++k) {
        const int n = run[k];
        run[k] = at;
        at += n;
      }
      if (lane != 0) return;
      const int wished = had + all, has = schedule::limited && wished > a.plan.capacity ? a.plan.capacity : wished;
      *held = has;
      // Whole numbers: the order of these additions changes nothing.
      if (has != had) device::atomic_add(w.run_total + e, has - had);
      if (round == 0) {
        if (all != 0) device::atomic_add(a.wished + e, index{all});
      } else if (has != had) {
        device::atomic_add(w.moved, index{has - had});
      }
    });
  }

  POLYMOE_NOINLINE POLYMOE_DEVICE void place(int round) const {
    if constexpr (schedule::ordered) {
      over_warps(index{groups()} * w.item_tiles, [&](index i) {
        place_items(static_cast<int>(i / w.item_tiles), static_cast<int>(i % w.item_tiles), round);
      });
    } else {
      for (int tile = device::block_index().x; tile < w.tiles; tile += device::grid_size().x) {
        place_unit_tile(tile, round);
        device::sync_block();
        if constexpr (schedule::fallback) {
          if (device::warp() == 0) count_overflow(tile);
        }
        if constexpr (schedule::rounds > 0) {
          const unit_tile u = tile_of(tile);
          for (int t = u.first + device::warp(); t < u.end; t += route_tuning::warps) propose(t, round + 1);
          device::sync_block();
          count_unit_tile(tile, round + 1);
        }
      }
    }
  }
  POLYMOE_NOINLINE POLYMOE_DEVICE void propose(int round) const {
    over_warps(a.plan.tokens, [&](index t) { propose(static_cast<int>(t), round); });
  }
  POLYMOE_DEVICE void count_overflow(int tile) const {
    unsigned low = 0, high = 0;
    overflowing(tile_of(tile), &low, &high);
    if (device::lane() == 0) w.overflow[tile] = device::popcount(low) + device::popcount(high);
  }
  POLYMOE_DEVICE void overflow() const {
    over_warps(w.tiles, [&](index tile) { count_overflow(static_cast<int>(tile)); });
  }
  /// One place in the fallback expert per unit with overflow, in unit order.
  POLYMOE_NOINLINE POLYMOE_DEVICE void overflow_scan() const {
    const int tiles = w.tiles_per_group;
    over_warps(groups(), [&](index g) {
      int* const list = w.overflow + g * tiles;
      int before = 0;
      for (int k0 = 0; k0 < tiles; k0 += 32) {
        const int k = k0 + device::lane(), n = k < tiles ? list[k] : 0;
        int all = 0;
        const int at = before + lanes_before<32>(n, &all);
        if (k < tiles) list[k] = at;
        before += all;
      }
      if (device::lane() != 0) return;
      a.plan.count[index{a.plan.experts} * groups() + g] = before;
      if (before != 0) device::atomic_add(w.run_total + a.plan.experts, before);
    });
  }

  /// Where runs and experts begin.
  POLYMOE_NOINLINE POLYMOE_DEVICE void offsets() const {
    const sparse_plan<C>& p = a.plan;
    const int G = p.groups;
    const bool padded = p.layout == plan_layout::padded;
    over_warps(p.all_experts, [&](index e64) {
      const int e = static_cast<int>(e64), lane = device::lane();
      int base = 0, room = 0;
      if (padded) {
        base = e * G * p.capacity;
        room = e == p.experts ? p.group_size : p.capacity;
        for (int g = lane; g < G; g += 32) p.run_begin[index{e} * G + g] = base + g * room;
        base += G * room;
        if (lane == 0) p.begin[e] = base - G * room;
      } else {
        for (int x = lane; x < e; x += 32) base += w.run_total[x];
        base = warp_group{}.sum(base);
        if (lane == 0) p.begin[e] = base;
        for (int g0 = 0; g0 < G; g0 += 32) {
          const int g = g0 + lane, n = g < G ? p.count[index{e} * G + g] : 0;
          int all = 0;
          const int at = base + lanes_before<32>(n, &all);
          if (g < G) p.run_begin[index{e} * G + g] = at;
          base += all;
        }
      }
      if (e == p.all_experts - 1 && lane == 0) p.begin[p.all_experts] = base;
    });
  }

  /// Empty slots of a padded plan hold nobody, with weight 0.
  POLYMOE_DEVICE void clear_tails() const {
    const sparse_plan<C>& p = a.plan;
    if (p.layout != plan_layout::padded) return;
    over_warps(index{p.all_experts} * p.groups, [&](index run) {
      const int room = run >= index{p.experts} * p.groups ? p.group_size : p.capacity;
      const int first = p.run_begin[run], end = first + room;
      for (int s = first + p.count[run] + device::lane(); s < end; s += 32) p.token[s] = -1, p.gate.set(0, s, C(0));
    });
  }
};

}  // namespace polymoe
