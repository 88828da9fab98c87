// The tiles of the grouped product that are used, why, and which one a product gets.
//
// The choice changes no bits: an element's sum is the same chain in every tile (kernel/grouped_engine.cuh).  It may
// therefore look at the device.  The length of a weight gradient's chunks does change bits, so it looks at sizes only.
#pragma once

#include "../../../core/config.hpp"

namespace polymoe::inline v0::grouped {

/// What the choice needs to know about a device.
struct device_limits {
  int multiprocessors = 132;
  std::size_t block_bytes = 232448;           ///< most dynamic shared memory of a block
  std::size_t multiprocessor_bytes = 233472;  ///< shared memory of a multiprocessor
};

/// The four tiles every operand type has.
enum class tile_kind {
  large,   ///< 128 x 128, three stages: twice on a multiprocessor of sm_90, once where a block has 99 KiB
  deep,    ///< 128 x 128, four stages, once on a multiprocessor: sm_80, where two of `large` do not fit
  small,   ///< 64 x 64: narrow results, few rows per expert, products that would leave multiprocessors idle
  narrow,  ///< 64 x 64 with copies of single elements: rows that do not start on 16 bytes
};

/// The sizes of one kind; stages of 128 bytes of the sum per row.
struct tile_numbers {
  int m, n, warps_m, warps_n, stages, blocks;
};

/// bf16 by matrix instructions.  128 x 128 by 2 x 4 warps gives a warp 64 x 32 results: 64 accumulators a thread and 6
/// matrix loads for 16 products, and 64 FLOP per byte that comes from L2.  Three stages are 96 KiB: two blocks fit the
/// 228 KiB of an sm_90 multiprocessor, so one block's epilogue runs under the other's products (this needs 128
/// registers a thread), and one block fits the 99 KiB of sm_86 and sm_89.  Four stages are 128 KiB of the 163 KiB of
/// sm_80.  The small tile keeps four blocks of 48 KiB resident.
constexpr tile_numbers bf16_tile(tile_kind kind) {
  switch (kind) {
    case tile_kind::large: return {128, 128, 2, 4, 3, 2};
    case tile_kind::deep: return {128, 128, 2, 4, 4, 1};
    case tile_kind::small: return {64, 64, 2, 2, 3, 4};
    default: return {64, 64, 2, 2, 2, 2};
  }
}
/// float by multiply-adds, or by tf32 products: a thread has 8 x 8 results and 64 registers of operands, so one block
/// per multiprocessor; a fourth stage would buy nothing, the arithmetic is the limit.
constexpr tile_numbers float_tile(tile_kind kind) {
  switch (kind) {
    case tile_kind::large: return {128, 128, 2, 4, 3, 1};
    case tile_kind::deep: return {128, 128, 2, 4, 3, 1};
    case tile_kind::small: return {64, 64, 2, 2, 3, 2};
    default: return {64, 64, 2, 2, 2, 2};
  }
}
/// double: the reference.  One tile for everything; 4 x 8 results a thread.
constexpr tile_numbers double_tile(tile_kind) { return {64, 64, 2, 2, 2, 2}; }

/// Whether two blocks of `bytes` fit one multiprocessor.
constexpr bool two_fit(const device_limits& d, std::size_t bytes) {
  return 2 * (bytes + 1024) <= d.multiprocessor_bytes;
}

/// The kind for a result of `strips` strips of at most 128 rows (a bound) by `columns`, with `rows` rows per expert on
/// average; large_bytes and deep_bytes are the shared memory of those kinds.
constexpr tile_kind choose_tile(const device_limits& d, bool wide, index strips, index columns, index rows,
                                std::size_t large_bytes, std::size_t deep_bytes) {
  if (!wide) return tile_kind::narrow;
  // Half of a large tile would be empty, or whole multiprocessors would be.
  if (columns <= 64 || rows <= 64 || strips * ceil_div(columns, 128) < d.multiprocessors) return tile_kind::small;
  if (two_fit(d, large_bytes)) return tile_kind::large;
  if (deep_bytes <= d.block_bytes) return tile_kind::deep;
  return large_bytes <= d.block_bytes ? tile_kind::large : tile_kind::small;
}

/// Rows of one chunk of a weight gradient [n, k].  A chunk costs a pass over n*k numbers of parts, and has to be long
/// against that; small gradients have few tiles and need more chunks to fill a device.  At 2048 rows the pass is
/// 8 bytes against 4096 FLOP per number.
constexpr int weight_chunk(index n, index k) {
  const index tiles = ceil_div(n, 128) * ceil_div(k, 128);
  return tiles <= 16 ? 1024 : tiles <= 64 ? 2048 : 4096;
}

}  // namespace polymoe::grouped
