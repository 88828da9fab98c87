// The grouped product: every expert multiplies its own rows, the number of rows known on the device only.
//
//   grouped_rows_kernel     out[s, n] = epilogue(sum over k of A[src(s), k] B_e[n, k])     forward
//                           out[s, n] = epilogue(sum over k of A[src(s), k] B_e[k, n])     data gradient (Slab = true)
//   grouped_weights_kernel  dW_e[n, k] += sum over rows s of e of dY[s, n] X[src(s), k], and db_e[n] += sum of dY[s, n]
//   grouped_reduce_kernel   adds the chunks of long segments, in order
//   grouped_dots_kernel     adds the row dots of an epilogue over its columns, in order
//
// A fixed number of blocks walks over all tiles; a table of strips per expert tells each tile its expert.  Tiles share
// nothing, and the sum of an element is one chain in rising order, so the bits depend on neither the number of blocks
// nor their order.  Rows of other experts, rows beyond the last segment, and columns beyond a matrix are never read
// into a sum: their places hold zeros.
#pragma once

#include "grouped_engine.cuh"
#include "grouped_epilogue.cuh"
#include "grouped_load.cuh"

namespace polymoe::inline v0::grouped {

/// Arguments of grouped_rows_kernel.
template <class T, class Epilogue>
struct rows_args {
  segments rows{};
  rows_of<T> a{};      ///< [.., length]
  weights_of<T> b{};   ///< [E, columns, length], or [E, length, columns]
  int columns = 0;     ///< of the result
  int length = 0;      ///< of the sum
  bool whole = false;  ///< the epilogue may use accesses of 16 bytes
  Epilogue epilogue{};
};

/// Arguments of grouped_weights_kernel and grouped_reduce_kernel.
template <class T>
struct weights_args {
  segments rows{};
  rows_of<T> dy{};  ///< [rows, n] in slot order; its index fields are not used
  rows_of<T> x{};   ///< [.., k]
  int n = 0, k = 0;
  int chunk = 0;               ///< rows of one sum
  compute_t<T>* dw = nullptr;  ///< [E, n, k], added to
  compute_t<T>* db = nullptr;  ///< [E, n], added to; or null
  compute_t<T>* parts =
      nullptr;         ///< [(rows - 1) / chunk][n * k + n] sums of chunks that are not the first of an expert
  bool whole = false;  ///< dw and parts allow accesses of 16 bytes

  /// Numbers of one entry of parts, rounded so that every entry starts on 16 bytes.
  POLYMOE_HD constexpr index part_size() const { return round_up(index{n} * k + n, 4); }
};
/// The entry of a chunk that starts at row `row` and is not the first of its expert: two such chunks never lie in one
/// multiple of `chunk`, so the entry needs no table.
POLYMOE_HD constexpr index part_of(index row, int chunk) { return row / chunk - 1; }

namespace detail {

/// Fills prefix[0..table_entries] with the numbers of strips before each entry.  Two barriers; one warp adds up.
POLYMOE_DEVICE inline void fill_table(const strip_finder& f, int* prefix, int threads) {
  if (!f.rows.first) return;
  for (int b = device::thread_rank(); b < table_entries; b += threads) prefix[b + 1] = f.strips_of_entry(b);
  device::sync_block();
  if (device::warp() == 0) {
    constexpr int own = table_entries / device::warp_size;
    int* mine = prefix + 1 + device::lane() * own;
    int sum = 0;
    for (int i = 0; i < own; ++i) sum = mine[i] += sum;
    int before = sum;
    for (int delta = 1; delta < device::warp_size; delta *= 2) {
      const int other = device::shuffle_up(before, delta);
      if (device::lane() >= delta) before += other;
    }
    before -= sum;
    for (int i = 0; i < own; ++i) mine[i] += before;
    if (device::lane() == 0) prefix[0] = 0;
  }
  device::sync_block();
}

/// What the end of a tile needs of its beginning.  It waits in shared memory, so that the loop over the sum has the
/// registers; the barriers of the pipeline order the accesses.
struct place_of_tile {
  int row0 = 0, end = 0, expert = 0, strip = 0, n = 0;
};
POLYMOE_DEVICE inline place_of_tile& place_in(int* table) {
  return *reinterpret_cast<place_of_tile*>(table + table_entries + 1);
}

/// Calls f(row of the tile, column of the tile, values) for runs of Width columns, spread over the block; every thread
/// takes the same number of turns, and the lanes of one row are neighbours.
template <class Tile, int Width, class C, class F>
POLYMOE_DEVICE void for_each_run(const C* tile, F f) {
  constexpr int runs = Tile::n / Width, turns = Tile::m * runs / Tile::threads;
  static_assert(Tile::m * runs % Tile::threads == 0 && device::warp_size % runs == 0,
                "polymoe: the result does not divide among the threads of its block");
  // Two turns at a time: all of them unrolled, their addresses would take registers from the loop over the sum.
  POLYMOE_UNROLL_BY(2)
  for (int turn = 0; turn < turns; ++turn) {
    const int i = device::thread_rank() + turn * Tile::threads, row = i / runs, column = i % runs * Width;
    C v[Width];
    constexpr int step = Width * sizeof(C) > 16 ? 16 / sizeof(C) : Width;
    POLYMOE_UNROLL
    for (int j = 0; j < Width; j += step) {
      const auto x = *reinterpret_cast<const pack<C, step>*>(tile + row * Tile::out_stride + column + j);
      POLYMOE_UNROLL
      for (int q = 0; q < step; ++q) v[j + q] = x.v[q];
    }
    f(row, column, v);
  }
}

}  // namespace detail

/// One launch of forward or data gradient; `Slab`: B lies as [length, columns].
template <class Tile, class Epilogue, bool Slab, bool Wide>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Tile::threads, Tile::blocks)
    grouped_rows_kernel(rows_args<typename Tile::scalar, Epilogue> a) {
  using T = typename Tile::scalar;
  using C = typename Tile::compute;
  constexpr int width = chunk_bytes / static_cast<int>(sizeof(typename Epilogue::out));
  T* stages = device::shared<T>();
  C* out = device::shared<C>();
  int* prefix = device::shared<int>(Tile::table_at);
  const strip_finder finder{a.rows, Tile::m, prefix};
  detail::fill_table(finder, prefix, Tile::threads);

  const int n_tiles = (a.columns + Tile::n - 1) / Tile::n, steps = (a.length + Tile::depth - 1) / Tile::depth;
  for (int l = device::block_index().x; l < finder.total() * n_tiles; l += device::grid_size().x) {
    const auto owner = finder.find(l / n_tiles);
    const tile_at place = place_tile(l - (l / n_tiles - owner.strip) * n_tiles, owner.strips, n_tiles);
    const int row0 = static_cast<int>(a.rows.begin(owner.expert)) + place.m * Tile::m;
    const int end = static_cast<int>(a.rows.end(owner.expert)), column0 = place.n * Tile::n;
    if (device::thread_rank() == 0) detail::place_in(prefix) = {row0, end, owner.expert, owner.strip, place.n};
    const T* weights = a.b.data + owner.expert * a.b.expert_stride;

    using rows = line_tile<T, Tile::m, Tile::threads, Wide>;
    int source[rows::count];
    POLYMOE_UNROLL
    for (int i = 0; i < rows::count; ++i) {
      const int row = row0 + rows::first() + i * rows::step;
      source[i] = row < end ? a.a.source_row(a.rows, row) : -1;
    }
    product<Tile, true, !Slab> sum;
    sum.clear();
    run_pipeline<Tile::stages>(
        steps,
        [&](int s, int step) {
          T* stage = stages + s * Tile::stage_elements;
          const int k0 = step * Tile::depth;
          rows::fetch(stage, a.a.data, a.a.stride, k0, a.length, [&](int i, int) { return source[i]; });
          T* other = stage + Tile::m * Tile::depth;
          if constexpr (Slab) {
            slab_tile<T, Tile::n, Tile::depth, Tile::threads, Wide>::fetch(
                other, weights, a.b.stride, column0, a.columns,
                [&](int, int r) { return k0 + r < a.length ? k0 + r : -1; });
          } else {
            line_tile<T, Tile::n, Tile::threads, Wide>::fetch(
                other, weights, a.b.stride, k0, a.length,
                [&](int, int n) { return column0 + n < a.columns ? column0 + n : -1; });
          }
        },
        [&](int s) {
          const T* stage = stages + s * Tile::stage_elements;
          sum.multiply(stage, stage + Tile::m * Tile::depth);
        });

    sum.spread(out);
    device::sync_block();
    const detail::place_of_tile at = detail::place_in(prefix);
    detail::for_each_run<Tile, width>(out, [&](int r, int c, C(&v)[width]) {
      run<C, width> x;
      POLYMOE_UNROLL
      for (int i = 0; i < width; ++i) x.v[i] = v[i];
      x.expert = at.expert;
      x.row = at.row0 + r;
      x.column = at.n * Tile::n + c;
      const int left = a.columns - x.column;
      x.count = at.end > x.row && left > 0 ? (left < width ? left : width) : 0;
      if (x.count > 0) {
        x.slot = a.rows.slot_of(x.row);
        a.epilogue(x, a.whole && x.count == width);
      }
      if constexpr (Epilogue::dots) {
        // The lanes of a row add up 64 columns as a butterfly: one order, whatever the tile.
        constexpr int lanes = dot_columns / width;
        static_assert(Tile::n % dot_columns == 0, "polymoe: row dots need tiles of a multiple of 64 columns");
        for (int flip = lanes / 2; flip > 0; flip /= 2) x.dot += device::shuffle_xor(x.dot, flip);
        if (c % dot_columns == 0 && x.count > 0)
          a.epilogue.dot[x.row * dot_parts(a.columns) + x.column / dot_columns] = x.dot;
      }
    });
    device::sync_block();  // the next tile overwrites the result
  }
}

/// dW and db, one chunk of rows per tile.  The first chunk of an expert adds to the gradient itself, later ones go to
/// `parts`.  Slots whose source is -1 add nothing.
template <class Tile, bool Wide>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Tile::threads, Tile::blocks)
    grouped_weights_kernel(weights_args<typename Tile::scalar> a) {
  using T = typename Tile::scalar;
  using C = typename Tile::compute;
  constexpr int width = chunk_bytes / static_cast<int>(sizeof(C));
  constexpr int readers = Tile::threads / Tile::m;  // threads that share a column of dY
  static_assert(Tile::threads % Tile::m == 0 && Tile::depth % readers == 0,
                "polymoe: the columns of a tile do not divide among the threads of its block");
  T* stages = device::shared<T>();
  C* out = device::shared<C>();
  C* column_sums = device::shared<C>(Tile::out_bytes);
  int* prefix = device::shared<int>(Tile::table_at);
  const strip_finder finder{a.rows, a.chunk, prefix};
  detail::fill_table(finder, prefix, Tile::threads);

  const int n_tiles = (a.n + Tile::m - 1) / Tile::m, k_tiles = (a.k + Tile::n - 1) / Tile::n;
  const int per_chunk = n_tiles * k_tiles;
  for (int l = device::block_index().x; l < finder.total() * per_chunk; l += device::grid_size().x) {
    const auto owner = finder.find(l / per_chunk);
    const tile_at place = place_tile(l % per_chunk, n_tiles, k_tiles);
    const int row0 = static_cast<int>(a.rows.begin(owner.expert)) + owner.strip * a.chunk;
    const int end = static_cast<int>(a.rows.end(owner.expert)), stop = end - row0 < a.chunk ? end : row0 + a.chunk;
    const int n0 = place.m * Tile::m, k0 = place.n * Tile::n;
    const bool bias = a.db && place.n == 0;
    if (device::thread_rank() == 0) detail::place_in(prefix) = {row0, stop, owner.expert, owner.strip, place.n};

    using dy = slab_tile<T, Tile::m, Tile::depth, Tile::threads, Wide>;
    using x = slab_tile<T, Tile::n, Tile::depth, Tile::threads, Wide>;
    static_assert(dy::step == x::step, "polymoe: a weight gradient needs square tiles, its operands share row numbers");
    // The rows that a step reads are looked up one step early, so that nobody waits for the index.
    int source[x::count];
    const auto look = [&](int row) {
      POLYMOE_UNROLL
      for (int i = 0; i < x::count; ++i) {
        const int r = row + x::first() + i * x::step;
        source[i] = r < stop ? a.x.source_row(a.rows, r) : -1;
      }
    };
    product<Tile, false, false> sum;
    sum.clear();
    C column_sum = C(0);
    look(row0);
    run_pipeline<Tile::stages>(
        (stop - row0 + Tile::depth - 1) / Tile::depth,
        [&](int s, int step) {
          T* stage = stages + s * Tile::stage_elements;
          const int row = row0 + step * Tile::depth;
          dy::fetch(stage, a.dy.data, a.dy.stride, n0, a.n,
                    [&](int i, int r) { return source[i] >= 0 ? row + r : -1; });
          x::fetch(stage + Tile::m * Tile::depth, a.x.data, a.x.stride, k0, a.k, [&](int i, int) { return source[i]; });
          look(row + Tile::depth);
        },
        [&](int s) {
          const T* stage = stages + s * Tile::stage_elements;
          sum.multiply(stage, stage + Tile::m * Tile::depth);
          if (bias) {
            // The chunk of row r is the one of row 0 with the address bits of r mod 8 flipped.
            constexpr int share = Tile::depth / readers;
            static_assert(share % 8 == 0, "polymoe: the rows of a step do not divide among the readers of a column");
            const int column = device::thread_rank() % Tile::m, first = device::thread_rank() / Tile::m * share;
            const auto p = reinterpret_cast<std::uintptr_t>(stage + first * Tile::m + column);
            POLYMOE_UNROLL_BY(4)
            for (int r = 0; r < share; ++r)
              column_sum += static_cast<C>(
                  reinterpret_cast<const T*>(p ^ static_cast<std::uintptr_t>(r % 8 * chunk_bytes))[r * Tile::m]);
          }
        });

    sum.spread(out);
    if (bias) column_sums[device::thread_rank()] = column_sum;
    device::sync_block();
    const detail::place_of_tile at = detail::place_in(prefix);
    const bool first = at.strip == 0;
    C* part = first ? nullptr : a.parts + part_of(at.row0, a.chunk) * a.part_size();
    C* to = first ? a.dw + at.expert * (index{a.n} * a.k) : part;
    detail::for_each_run<Tile, width>(out, [&](int r, int c, C(&v)[width]) {
      const int n = n0 + r, k = k0 + c, left = a.k - k;
      if (n >= a.n || left <= 0) return;
      const int count = left < width ? left : width;
      const bool whole = a.whole && count == width;
      C* p = to + (index{n} * a.k + k);
      if (first) {
        C before[width];
        detail::read_run(p, count, whole, before);
        POLYMOE_UNROLL
        for (int i = 0; i < width; ++i) v[i] += before[i];
      }
      detail::write_run(p, count, whole, v);
    });
    if (bias && device::thread_rank() < Tile::m && n0 + device::thread_rank() < a.n) {
      const int n = n0 + device::thread_rank();
      C s = C(0);
      for (int i = 0; i < readers; ++i) s += column_sums[device::thread_rank() + i * Tile::m];
      if (first) a.db[at.expert * index{a.n} + n] += s;
      else part[index{a.n} * a.k + n] = s;
    }
    device::sync_block();
  }
}

inline constexpr int reduce_threads = 256;

/// dW_e += chunk 1, += chunk 2, ... of the experts that have more than one chunk; db the same.  Block row y looks at
/// one entry of parts and works if an expert's second chunk lies there, so experts with one chunk cost nothing.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(reduce_threads) grouped_reduce_kernel(weights_args<T> a, index entries) {
  using C = compute_t<T>;
  const index size = index{a.n} * a.k, all = size + (a.db ? a.n : 0);
  for (index entry = device::block_index().y; entry < entries; entry += device::grid_size().y) {
    // A second chunk of this entry starts before row (entry + 2) * chunk, and its expert owns row (entry + 1) * chunk.
    const index row = (entry + 1) * a.chunk;
    if (row >= a.rows.end(a.rows.experts - 1)) return;
    int low = 0, high = a.rows.experts;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (a.rows.begin(middle) <= row) low = middle;
      else high = middle;
    }
    const index begin = a.rows.begin(low), end = a.rows.end(low);
    if (begin + a.chunk >= end || part_of(begin + a.chunk, a.chunk) != entry) continue;
    const int chunks = static_cast<int>(ceil_div(end - begin, a.chunk));
    const C* part = a.parts + entry * a.part_size();
    for (index i = index{device::block_index().x} * reduce_threads + device::thread_rank(); i < all;
         i += index{device::grid_size().x} * reduce_threads) {
      C* to = i < size ? a.dw + low * size + i : a.db + low * index{a.n} + (i - size);
      const C* p = part + i;
      C s = *to;
      for (int c = 1; c < chunks; ++c, p += a.part_size()) s += *p;
      *to = s;
    }
  }
}

/// d_gate[s] += sum over the rows of slot s and over runs of 64 columns of dot[row, part], in this order.
template <class C>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(reduce_threads)
    grouped_dots_kernel(segments rows, const C* dot, int parts, C* d_gate) {
  const index owned = rows.end(rows.experts - 1) / rows.unit_rows;
  for (index slot = device::block_rank() * reduce_threads + device::thread_rank(); slot < owned;
       slot += index{device::grid_size().x} * reduce_threads) {
    C s = d_gate[slot];
    for (index i = slot * rows.unit_rows * parts; i < (slot + 1) * rows.unit_rows * parts; ++i) s += dot[i];
    d_gate[slot] = s;
  }
}

}  // namespace polymoe::grouped
