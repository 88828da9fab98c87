// How the tiles of the grouped product reach shared memory: 16 bytes at a time, asynchronously, rows fetched through an
// index where there is one, everything outside the operand as zeros.
//
// Two kinds of tile.  In a line tile every row holds 128 contiguous bytes in the direction of the sum (activations,
// weights in forward); addresses of rows are found once per tile.  In a slab tile rows follow the direction of the sum
// (weights in the data gradient, both operands of a weight gradient) and change with every step.
// Wide = false moves single elements instead: any stride, any alignment, any tail.
#pragma once

#include "../../../core/dtype.hpp"
#include "../device.cuh"
#include "grouped_tiles.hpp"

namespace polymoe::inline v0::grouped {

/// Rows of an activation matrix in slot order.  Slot s takes its rows from unit source[s] (-1: rows of zeros), from
/// unit s % wrap (identity plans), or from itself.  Below 2^31 rows.
template <class T>
struct rows_of {
  const T* data = nullptr;
  int stride = 0;               ///< elements from row to row
  const int* source = nullptr;  ///< [S] or null
  int wrap = 0;                 ///< units, when every expert sees every unit; 0 otherwise

  /// Row of `data` behind row `row` of the slots, -1 for a row of zeros.
  POLYMOE_HD int source_row(const segments& s, int row) const {
    if (!source && wrap == 0) return row;
    const int slot = s.slot_of(row), inside = row - slot * s.unit_rows;
    const int unit = source ? source[slot] : slot % wrap;
    return unit < 0 ? -1 : unit * s.unit_rows + inside;
  }
};

/// The weights [E, N, K] of one linear map per expert, row-major as in PyTorch.
template <class T>
struct weights_of {
  const T* data = nullptr;
  int stride = 0;           ///< elements from row to row, >= K
  index expert_stride = 0;  ///< elements from expert to expert; 0 shares one matrix
};

/// A tile [Rows][128 bytes]: its rows are rows (or columns) of the result, the sum runs along them.  A thread moves one
/// chunk of `count` rows.  Row numbers are 32 bits wide: four of them stay in registers during a whole tile.
template <class T, int Rows, int Threads, bool Wide>
struct line_tile {
  static constexpr int chunks = line_bytes / chunk_bytes, each = chunk_bytes / static_cast<int>(sizeof(T));
  static constexpr int depth = chunks * each, step = Threads / chunks, count = Rows / step;
  static_assert(Rows % step == 0 && step % 8 == 0, "polymoe: the rows of a tile do not divide among its threads");

  /// First row of the tile that this thread moves; the others follow `step` apart.
  POLYMOE_DEVICE static int first() { return device::thread_rank() / chunks; }
  /// Elements [k0, k0 + depth) of every row, zeros at `length` and beyond.  row(i, r) is the row of `data` behind row r
  /// of the tile, the thread's i-th, or -1 for zeros.
  template <class F>
  POLYMOE_DEVICE static void fetch(T* tile, const T* data, int stride, int k0, int length, F row) {
    const int k = k0 + device::thread_rank() % chunks * each;
    // The rows of one thread are a multiple of 8 apart, so they share one swizzled chunk.
    T* to = tile + element_offset(first(), k - k0, chunks, sizeof(T));
    POLYMOE_UNROLL
    for (int i = 0; i < count; ++i, to += step * depth) {
      const int source = row(i, first() + i * step);
      const bool there = source >= 0 && k < length;
      const T* from = there ? data + (index{source} * stride + k) : data;
      if constexpr (Wide) {
        device::copy_async(to, from, there ? chunk_bytes : 0);
      } else {
        for (int e = 0; e < each; ++e) {
          T x = T(0.0f);
          if (there && k + e < length) x = from[e];
          to[e] = x;
        }
      }
    }
  }
};

/// A tile [Depth][Columns]: the sum runs over its rows.
template <class T, int Columns, int Depth, int Threads, bool Wide>
struct slab_tile {
  static constexpr int each = chunk_bytes / static_cast<int>(sizeof(T)), chunks = Columns / each;
  static constexpr int step = Threads / chunks, count = Depth / step;
  static_assert(chunks % 8 == 0 && Threads % chunks == 0 && Depth % step == 0,
                "polymoe: the chunks of a tile do not divide among its threads");

  POLYMOE_DEVICE static int first() { return device::thread_rank() / chunks; }
  /// Columns [column, column + Columns) of the rows row(i, r) of `data` [.., columns], as above.
  template <class F>
  POLYMOE_DEVICE static void fetch(T* tile, const T* data, int stride, int column, int columns, F row) {
    const int chunk = device::thread_rank() % chunks, c = column + chunk * each;
    POLYMOE_UNROLL
    for (int i = 0; i < count; ++i) {
      const int r = first() + i * step, source = row(i, r);
      T* to = tile + element_offset(r, chunk * each, chunks, sizeof(T));
      const bool there = source >= 0 && c < columns;
      const T* from = there ? data + (index{source} * stride + c) : data;
      if constexpr (Wide) {
        device::copy_async(to, from, there ? chunk_bytes : 0);
      } else {
        for (int e = 0; e < each; ++e) {
          T x = T(0.0f);
          if (there && c + e < columns) x = from[e];
          to[e] = x;
        }
      }
    }
  }
};

/// Runs fetch(stage, step) for steps 0..steps-1, `Stages` - 1 of them ahead of multiply(stage).  Leaves with all copies
/// arrived and all threads through, so that the stages are free.
template <int Stages, class Fetch, class Multiply>
POLYMOE_DEVICE void run_pipeline(int steps, Fetch fetch, Multiply multiply) {
  static_assert(Stages >= 2, "polymoe: a pipeline has two stages at least");
  POLYMOE_UNROLL
  for (int s = 0; s < Stages - 1; ++s) {
    if (s < steps) fetch(s, s);
    device::copy_commit();
  }
  int read = 0;
  for (int k = 0; k < steps; ++k) {
    device::copy_wait<Stages - 2>();
    // After this barrier the step is there for everyone, and everyone is done with the stage that is written next.
    device::sync_block();
    if (k + Stages - 1 < steps) fetch(read == 0 ? Stages - 1 : read - 1, k + Stages - 1);
    device::copy_commit();
    multiply(read);
    read = read + 1 == Stages ? 0 : read + 1;
  }
  device::copy_wait<0>();
  device::sync_block();
}

}  // namespace polymoe::grouped
