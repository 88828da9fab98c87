// The integer maths of the grouped product: which rows an expert owns, which block computes which tile, where a chunk
// lies in shared memory, and which lane holds which element of a matrix fragment.
//
// Everything here is constexpr and runs on the host too, so tests check it without a kernel.
#pragma once

#include "../../../core/config.hpp"

namespace polymoe::inline v0::grouped {

/// Bytes of one row of a tile in the direction of the sum, when that direction is contiguous: 8 chunks of 16 bytes, one
/// pass over all 32 banks of shared memory.
inline constexpr int line_bytes = 128;
/// Bytes that move at once.
inline constexpr int chunk_bytes = 16;

// ---- rows of the experts --------------------------------------------------------------------------------------------

/// Who owns which rows.  Expert e owns the slots [first[e], first[e+1]) of device memory, or, when `first` is null, the
/// slots [e*each, (e+1)*each) (dense products and padded plans).  A slot is `unit_rows` rows.
struct segments {
  const int* first = nullptr;  ///< [experts + 1], rising, in the kernel's memory; or null
  int experts = 1;             ///< E; at most 1025 with `first`
  index each = 0;              ///< slots of every expert when `first` is null
  index slots = 0;             ///< S, bound known on the host: first[experts] <= slots
  int unit_rows = 1;           ///< rows of a slot (1 for tokens)

  POLYMOE_HD constexpr index begin(index e) const { return (first ? first[e] : e * each) * unit_rows; }
  POLYMOE_HD constexpr index end(index e) const { return begin(e + 1); }
  POLYMOE_HD constexpr index rows() const { return slots * unit_rows; }
  POLYMOE_HD constexpr int slot_of(int row) const { return unit_rows == 1 ? row : row / unit_rows; }
};

/// One segment of `rows` rows: a dense product.
POLYMOE_HD constexpr segments one_segment(index rows) { return {nullptr, 1, rows, rows, 1}; }
/// `experts` segments of `each` rows: padded plans and batches.
POLYMOE_HD constexpr segments equal_segments(int experts, index each) {
  return {nullptr, experts, each, experts * each, 1};
}

// ---- scheduler ------------------------------------------------------------------------------------------------------

/// m-tiles that run through all n-tiles before the next ones: their rows of the left operand and a sweep over the
/// weights stay in L2 together.
inline constexpr int tiles_in_group = 8;

/// A place in a grid of tiles.
struct tile_at {
  int m = 0, n = 0;
};
/// Tile number l of a grid of `m_tiles` by `n_tiles`: groups of 8 m-tiles; inside a group m runs fastest.
POLYMOE_HD constexpr tile_at place_tile(int l, int m_tiles, int n_tiles) {
  const int group = l / (tiles_in_group * n_tiles), rest = m_tiles - group * tiles_in_group;
  const int high = rest < tiles_in_group ? rest : tiles_in_group, q = l - group * tiles_in_group * n_tiles;
  return {group * tiles_in_group + q % high, q / high};
}

/// Entries of the prefix table.  It has a fixed size, whatever E is: beyond 256 experts an entry stands for a bundle of
/// up to five, and the last steps of the search read `first` itself.
inline constexpr int table_entries = 256;
/// Experts of one entry.
POLYMOE_HD constexpr int bundle_of(int experts) { return (experts + table_entries - 1) / table_entries; }
/// Words of shared memory of the table with its total, and of what a tile puts aside.
inline constexpr int table_words = table_entries + 8;

/// Cuts segments into strips of at most `strip` rows (m-tiles, or chunks of a weight gradient) and numbers all strips
/// in order of experts; the host sees to it that 31 bits hold every number.  `prefix[b]` is the number of the first
/// strip of bundle b; null for equal segments.
struct strip_finder {
  segments rows{};
  int strip = 1;
  const int* prefix = nullptr;

  struct found {
    int expert = 0;
    int strip = 0;   ///< inside the expert
    int strips = 0;  ///< of the expert
  };
  POLYMOE_HD constexpr int strips_of(int e) const {
    return static_cast<int>(ceil_div(rows.end(e) - rows.begin(e), strip));
  }
  /// Strips of the experts of entry b.
  POLYMOE_HD constexpr int strips_of_entry(int b) const {
    const int bundle = bundle_of(rows.experts),
              stop = (b + 1) * bundle < rows.experts ? (b + 1) * bundle : rows.experts;
    int n = 0;
    for (int e = b * bundle; e < stop; ++e) n += strips_of(e);
    return n;
  }
  /// All strips.
  POLYMOE_HD constexpr int total() const { return rows.first ? prefix[table_entries] : rows.experts * strips_of(0); }
  /// The expert that owns strip q, 0 <= q < total().
  POLYMOE_HD constexpr found find(int q) const {
    if (!rows.first) {
      const int n = strips_of(0);
      return {q / n, q % n, n};
    }
    // The last entry that starts at or before q: entries without strips in front of it start there too.
    int low = 0, high = table_entries;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (prefix[middle] <= q) low = middle;
      else high = middle;
    }
    q -= prefix[low];
    int e = low * bundle_of(rows.experts);
    int n = strips_of(e);
    while (q >= n) q -= n, n = strips_of(++e);
    return {e, q, n};
  }
};

/// Most strips that `rows` rows in `experts` segments can make: what a grid is sized for on the host.
constexpr index most_strips(index rows, int experts, int strip) {
  return rows / strip + (rows < experts ? rows : experts);
}

// ---- shared memory --------------------------------------------------------------------------------------------------

/// Chunk `chunk` of row `row` lies at chunk number chunk ^ (row mod 8) of that row: eight rows of one column of chunks
/// then touch all 32 banks once, and so do eight chunks of one row.
POLYMOE_HD constexpr int swizzle(int row, int chunk) { return chunk ^ (row & 7); }
/// Byte offset of a chunk in a tile whose rows have `chunks` chunks (a multiple of 8).
POLYMOE_HD constexpr int chunk_offset(int row, int chunk, int chunks) {
  return (row * chunks + swizzle(row, chunk)) * chunk_bytes;
}
/// Offset of an element, in elements of `size` bytes.
POLYMOE_HD constexpr int element_offset(int row, int column, int chunks, int size) {
  const int each = chunk_bytes / size;
  return (row * chunks + swizzle(row, column / each)) * each + column % each;
}

// ---- fragments (PTX ISA, "Matrix fragments for mma.m16n8k16" and "mma.m16n8k8")
// ---------------------------------------

/// Row and column of an element of a fragment.
struct element {
  int row = 0, column = 0;
  constexpr bool operator==(const element&) const = default;
};
/// A, 16 x 16 of bf16: half h (0 low) of register i (0..3) of a lane.
POLYMOE_HD constexpr element bf16_a(int lane, int i, int h) {
  return {lane / 4 + 8 * (i & 1), lane % 4 * 2 + h + 8 * (i >> 1)};
}
/// B, 16 (sum) x 8 of bf16: half h of register i (0..1).
POLYMOE_HD constexpr element bf16_b(int lane, int i, int h) { return {lane % 4 * 2 + h + 8 * i, lane / 4}; }
/// A, 16 x 8 of tf32: register i (0..3).
POLYMOE_HD constexpr element tf32_a(int lane, int i) { return {lane / 4 + 8 * (i & 1), lane % 4 + 4 * (i >> 1)}; }
/// B, 8 (sum) x 8 of tf32: register i (0..1).
POLYMOE_HD constexpr element tf32_b(int lane, int i) { return {lane % 4 + 4 * i, lane / 4}; }
/// C and D, 16 x 8 of float: register i (0..3).
POLYMOE_HD constexpr element fragment_c(int lane, int i) { return {lane / 4 + 8 * (i >> 1), lane % 4 * 2 + (i & 1)}; }

/// Where lane `lane` of a load of four 8 x 8 matrices points, in rows and chunks of the tile.
struct matrix_row {
  int row = 0, chunk = 0;
  constexpr bool operator==(const matrix_row&) const = default;
};
/// The four matrices of an A fragment from a tile [m][sum]; the sum step is two chunks wide.
POLYMOE_HD constexpr matrix_row a_rows(int lane) { return {lane & 15, lane >> 4}; }
/// The same from a tile [sum][m], read transposed.
POLYMOE_HD constexpr matrix_row a_rows_transposed(int lane) { return {(lane >> 4) * 8 + (lane & 7), (lane >> 3) & 1}; }
/// Two B fragments, side by side in n, from a tile [n][sum].
POLYMOE_HD constexpr matrix_row b_rows(int lane) { return {(lane >> 4) * 8 + (lane & 7), (lane >> 3) & 1}; }
/// The same from a tile [sum][n], read transposed.
POLYMOE_HD constexpr matrix_row b_rows_transposed(int lane) { return {lane & 15, lane >> 4}; }

}  // namespace polymoe::grouped
