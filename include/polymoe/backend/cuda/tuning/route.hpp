// Numbers of the CUDA router: tile sizes, threads, and where a work list is short enough for one thread per entry.
//
// All cuts depend on sizes only, never on the device or the grid, so that the results have the same bits everywhere.
#pragma once

#include "../../../core/config.hpp"

namespace polymoe::inline v0::route_tuning {

inline constexpr int threads = 128;  ///< of every block of the router
inline constexpr int warps = threads / 32;
inline constexpr int tile_units = 64;  ///< units of one tile; a tile never crosses a group border
inline constexpr int depth_step = 16;  ///< of a product's inner dimension held in shared memory
/// Above this many experts one unit's row is spread over a block instead of a warp: 32 numbers per thread and row, ten
/// rows alive, is more than a thread has registers for.
inline constexpr int warp_row_experts = 256;
/// Blocks of a kernel over rows that have to fit a multiprocessor, by row tier: it bounds the registers of a thread to
/// 128, 168 and 255, just enough for none to be spilled.  `wide`: rows of double, or two
/// projections, need the next step.
POLYMOE_HD constexpr int least_blocks(int tier, bool wide = false) {
  const int blocks = tier <= 64 ? 4 : (tier <= 128 ? 3 : 2);
  return wide && blocks > 2 ? blocks - 1 : blocks;
}
/// Sums over at most this many entries are made by one thread, longer ones by a warp.
inline constexpr int short_list = 16;
/// Units of one piece of a router weight gradient, and the largest number of pieces.
inline constexpr int piece_units = 512, most_pieces = 64;
/// Threads of a block that works on a group plan; sums over its width, so part of what decides bits.
inline constexpr int plan_threads = 256;
/// Scores that one block of a group plan takes: a group of up to `whole` is one block's, which spares barriers.
inline constexpr int plan_whole = 8192, plan_share = 4096;
inline constexpr int most_plan_blocks = 1024;
/// Shared memory of such a block, at most: what a plan keeps for itself lies there if it fits.  No
/// kernel has to ask for so much.
inline constexpr std::size_t plan_shared = 48 * 1024;
/// Threads of a block that picks for one expert from a column too long for a warp, and of one that picks warp by warp.
inline constexpr int pick_threads = 1024, short_pick_threads = 256;
/// Largest grid of a launch whose blocks stride over their work.
inline constexpr int most_blocks = 65535;

/// Pieces of the weight gradient of `units` units.
POLYMOE_HD constexpr int pieces(index units) {
  const index n = ceil_div(units, piece_units);
  return static_cast<int>(n < 1 ? 1 : (n > most_pieces ? most_pieces : n));
}
/// Units of one piece: a multiple of depth_step, so that a piece never ends inside a step.
POLYMOE_HD constexpr index units_of_piece(index units) { return round_up(ceil_div(units, pieces(units)), depth_step); }

}  // namespace polymoe::route_tuning
