// The router kernel: one warp per unit, from logits to scores, wishes, balance shares and statistics.
//
// A block owns one tile of at most 64 units of one group, the same tiles as the CPU backend (row_tiles).  Its warps take
// the tile's units in turn and keep balance sums in registers; at the end the warps' sums are added in warp order through
// shared memory, so a tile's share has the same bits in every run.  The row itself goes through route_row(), the text
// that the CPU runs with one lane.
#pragma once

#include "../../../router/route_row.hpp"
#include "../warp_group.cuh"

namespace polymoe::inline v0 {

inline constexpr int route_warps = 4;
inline constexpr int route_tile_units = 64;

/// Pointers and sizes of one launch; matrices are contiguous rows of E numbers.
template <class C>
struct route_rows_args {
  const C* logits = nullptr;   ///< [T, E]
  const C* raw = nullptr;      ///< [T, E] second projection, or null
  C* scores = nullptr;         ///< [T, E]
  int* wish = nullptr;         ///< [T, K] (null for routers that use every expert)
  unsigned char* bad = nullptr;///< [T]
  C* partial = nullptr;        ///< [tiles, columns * E]
  C* stats = nullptr;          ///< [tiles, E + 2] gate mass, entropy, margin
  int tokens = 0, experts = 0, group_size = 0, tiles_per_group = 0;
  bool balanced = false;
  route_values values{};
};

/// Bytes of dynamic shared memory.
template <class Balance, class C>
constexpr std::size_t route_rows_shared(int experts) {
  const int rows = Balance::columns + 1;
  return sizeof(C) * static_cast<std::size_t>(route_warps) * static_cast<std::size_t>(rows * experts + 2);
}

template <class Router, class Balance, int Tier, class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * route_warps)
route_rows_kernel(Router router, Balance balance, route_rows_args<C> a) {
  using Row = row<warp_group, Tier, C>;
  constexpr int K = choices_of<Router>;
  constexpr int columns = Balance::columns;
  const int warp = device::thread_index().x / 32, tile = device::block_index().x, E = a.experts;
  const int group = tile / a.tiles_per_group;
  const int group_end = (group + 1) * a.group_size < a.tokens ? (group + 1) * a.group_size : a.tokens;
  const int first = group * a.group_size + tile % a.tiles_per_group * route_tile_units;
  const int end = first + route_tile_units < group_end ? first + route_tile_units : group_end;

  Row zero;
  zero.n = E;
  for (int i = 0; i < Row::per_lane; ++i) zero.v[i] = C(0);
  // Never true.  A policy that forgot POLYMOE_HD is named by the compiler only where a kernel calls it directly.
  if (a.tokens < 0) a.scores[0] = router.scores(zero).v[0];
  Row acc[columns > 0 ? columns : 1];
  for (int c = 0; c < columns; ++c) acc[c] = zero;
  Row mass = zero;
  C entropy(0), margin(0);

  for (int t = first + warp; t < end; t += route_warps) {
    Row logits = zero, raw = zero;
    for (int i = 0; i < Row::per_lane; ++i)
      if (logits.present(i)) {
        logits.v[i] = a.logits[index{t} * E + logits.expert(i)];
        raw.v[i] = a.raw ? a.raw[index{t} * E + logits.expert(i)] : logits.v[i];
      }
    auto r = route_row(router, a.values, logits, raw, index{t});
    r.finite = r.finite && r.scores.finite();
    const bool writer = logits.g.lane() == 0;
    if (writer) {
      a.bad[t] = !r.finite;
      if constexpr (Router::k != every_expert)
        for (int j = 0; j < K; ++j) a.wish[index{t} * K + j] = r.finite ? r.chosen.expert[j] : -1;
    }
    for (int i = 0; i < Row::per_lane; ++i)
      if (logits.present(i)) a.scores[index{t} * E + logits.expert(i)] = r.finite ? r.scores.v[i] : C(0);
    if (!r.finite) continue;
    if constexpr (columns > 0) {
      if (a.balanced) {
        const Row clean = Balance::needs_clean_scores ? clean_scores_of(router, a.values, r) : r.scores;
        balance.partial(make_row_info<Balance>(r, clean), acc);
      }
    }
    mass.add(r.scores);
    const C sum = r.scores.sum();
    const C weighted = r.scores.sum([](C s, int) { return s > C(0) ? s * math::log(s) : C(0); });
    if (sum > C(0)) entropy += math::log(sum) - weighted / sum;
    if (E > 1) {
      const C best = r.scores.max();
      const int at = r.scores.index_of(best);
      margin += best - r.scores.map([=](C s, int e) { return e == at ? C(-1e30f) : s; }).max();
    }
  }

  // Warps add their sums in warp order.
  constexpr int rows = columns + 1;
  C* mine = device::shared<C>() + warp * (rows * E + 2);
  for (int i = 0; i < Row::per_lane; ++i)
    if (mass.present(i)) {
      for (int c = 0; c < columns; ++c) mine[c * E + mass.expert(i)] = acc[c].v[i];
      mine[columns * E + mass.expert(i)] = mass.v[i];
    }
  if (mass.g.lane() == 0) mine[rows * E] = entropy, mine[rows * E + 1] = margin;
  device::sync_block();
  for (int i = device::thread_index().x; i < rows * E + 2; i += 32 * route_warps) {
    C s(0);
    for (int w = 0; w < route_warps; ++w) s += device::shared<C>()[w * (rows * E + 2) + i];
    if (i < columns * E) a.partial[index{tile} * columns * E + i] = s;
    else a.stats[index{tile} * (E + 2) + i - columns * E] = s;
  }
}

}  // namespace polymoe
