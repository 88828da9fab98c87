// Elementwise kernels, and how the lanes of a warp read and write a row several numbers at a time.
//
// A warp takes one stretch of a row; every element is read and written by one thread, so that the result may lie where
// an input lies.
#pragma once

#include "../../../core/context.hpp"
#include "move.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// v = p[0 .. V), in accesses of at most 16 bytes; p is aligned to them.
template <int V, class T>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void load_wide(const T* p, compute_t<T> (&v)[V]) {
  constexpr int each = V * static_cast<int>(sizeof(T)) <= 16 ? V : 16 / static_cast<int>(sizeof(T));
  static_assert(V % each == 0, "polymoe: a wide load is made of whole accesses of 16 bytes");
  POLYMOE_UNROLL
  for (int i = 0; i < V; i += each) {
    const auto a = load_pack<T, each>(p + i);
    POLYMOE_UNROLL
    for (int k = 0; k < each; ++k) v[i + k] = static_cast<compute_t<T>>(a.v[k]);
  }
}
/// p[0 .. V) = v, rounded to T.
template <int V, class T>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void store_wide(T* p, const compute_t<T> (&v)[V]) {
  constexpr int each = V * static_cast<int>(sizeof(T)) <= 16 ? V : 16 / static_cast<int>(sizeof(T));
  static_assert(V % each == 0, "polymoe: a wide store is made of whole accesses of 16 bytes");
  POLYMOE_UNROLL
  for (int i = 0; i < V; i += each) {
    pack<T, each> a;
    POLYMOE_UNROLL
    for (int k = 0; k < each; ++k) store(a.v[k], v[i + k]);
    store_pack<T, each>(p + i, a);
  }
}

/// N rows of equal length spread over a warp, V elements a lane at a time.  Their first parts stay in registers, so
/// that several passes over rows of usual width read memory once; what is longer is read again in every pass.
template <class T, int V, int N>
struct held_rows {
  static constexpr int packs = V == 1 ? 8 : (sizeof(T) == 2 ? 4 : 8);
  const T* row[N];
  index cols;
  pack<T, V> held[packs][N];

  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void load() {
    POLYMOE_UNROLL
    for (int i = 0; i < packs; ++i) {
      const index j = (i * 32 + device::lane()) * V;
      POLYMOE_UNROLL
      for (int n = 0; n < N; ++n)
        if (j < cols) held[i][n] = load_pack<T, V>(row[n] + j);
    }
  }
  /// f(first column, N packs) for every pack of this lane, in order of columns.
  template <class F>
  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void each(F f) const {
    POLYMOE_UNROLL
    for (int i = 0; i < packs; ++i) {
      const index j = (i * 32 + device::lane()) * V;
      if (j < cols) f(j, held[i]);
    }
    for (index j = (index{packs} * 32 + device::lane()) * V; j < cols; j += 32 * V) {
      pack<T, V> rest[N];
      POLYMOE_UNROLL
      for (int n = 0; n < N; ++n) rest[n] = load_pack<T, V>(row[n] + j);
      f(j, rest);
    }
  }
};

/// What map_kernel applies; `inputs` says whether the second tensor is read.
template <class Act>
struct activate {
  static constexpr int inputs = 1;
  template <class C>
  POLYMOE_DEVICE C operator()(C x, C) const {
    return Act{}(x);
  }
};
template <class Act>
struct activate_gradient {
  static constexpr int inputs = 2;
  template <class C>
  POLYMOE_DEVICE C operator()(C g, C x) const {
    return g * Act{}.grad(x);
  }
};
struct plus {
  static constexpr int inputs = 2;
  template <class C>
  POLYMOE_DEVICE C operator()(C x, C z) const {
    return x + z;
  }
};
struct unchanged {
  static constexpr int inputs = 1;
  template <class C>
  POLYMOE_DEVICE C operator()(C x, C) const {
    return x;
  }
};

/// Blocks of elementwise kernels that a multiprocessor shall hold at least: 64 registers a thread, 128 for double.
template <class T>
inline constexpr int map_blocks = sizeof(T) == 8 ? 4 : 8;
/// Accesses of a lane to one stretch of a row.
inline constexpr int map_accesses = 4;
/// Columns of a stretch.
template <int V>
inline constexpr index map_span = index{32} * V* map_accesses;

/// y = f(a, b) element by element; y may be a or b.
template <class F, class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, map_blocks<T>)
    map_kernel(F f, view<const T> a, view<const T> b, view<T> y) {
  using C = compute_t<T>;
  const index stretches = ceil_div(y.cols, map_span<V>), units = y.rows * stretches;
  for (index u = warp_rank(); u < units; u += warp_total()) {
    const index r = y.rows == 1 ? 0 : u / stretches, first = (u - r * stretches) * map_span<V>;
    POLYMOE_UNROLL
    for (int i = 0; i < map_accesses; ++i) {
      const index j = first + (i * 32 + device::lane()) * V;
      if (j + V <= y.cols) {
        C x[V], z[V];
        load_wide<V>(a.row(r) + j, x);
        if constexpr (F::inputs == 2) load_wide<V>(b.row(r) + j, z);
        POLYMOE_UNROLL
        for (int k = 0; k < V; ++k) {
          if constexpr (F::inputs == 2)
            x[k] = f(x[k], z[k]);
          else
            x[k] = f(x[k], C(0));
        }
        store_wide<V>(y.row(r) + j, x);
      } else {
        for (index k = j; k < y.cols; ++k) {
          if constexpr (F::inputs == 2)
            y.set(r, k, f(a.get(r, k), b.get(r, k)));
          else
            y.set(r, k, f(a.get(r, k), C(0)));
        }
      }
    }
  }
}

/// y = x * scale where the draw of the element is at least `threshold`, else 0.  Four neighbours of a row share one
/// block of random bits, the block's number is the row's times the blocks of a row plus its place: as on the CPU.
template <class T, int V, bool Wide>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, map_blocks<T>)
    dropout_kernel(random_root root, std::uint64_t id, const step_state* step, std::uint64_t threshold,
                   compute_t<T> scale, view<const T> x, view<T> y) {
  using C = compute_t<T>;
  static_assert(V % 4 == 0, "polymoe: a block of random bits has four words");
  const step_state now = step ? *step : step_state{};
  const random_stream random =
      root.stream(id, static_cast<std::uint64_t>(now.step) << 20 | static_cast<std::uint64_t>(now.micro));
  const index stretches = ceil_div(y.cols, map_span<V>), units = y.rows * stretches, blocks = ceil_div(y.cols, 4);
  for (index u = warp_rank(); u < units; u += warp_total()) {
    const index r = y.rows == 1 ? 0 : u / stretches, first = (u - r * stretches) * map_span<V>;
    for (int i = 0; i < map_accesses; ++i) {
      const index j = first + (i * 32 + device::lane()) * V;
      if (j >= y.cols) break;
      const bool whole = Wide && j + V <= y.cols;
      C v[V];
      if (whole) {
        load_wide<V>(x.row(r) + j, v);
      } else {
        POLYMOE_UNROLL
        for (int k = 0; k < V; ++k) v[k] = j + k < y.cols ? x.get(r, j + k) : C(0);
      }
      POLYMOE_UNROLL
      for (int k = 0; k < V; k += 4) {
        const words4 w = random.bits(static_cast<std::uint64_t>(r * blocks + (j + k) / 4));
        const std::uint32_t draws[4] = {w.a, w.b, w.c, w.d};
        POLYMOE_UNROLL
        for (int q = 0; q < 4; ++q) v[k + q] = draws[q] >= threshold ? v[k + q] * scale : C(0);
      }
      if (whole) {
        store_wide<V>(y.row(r) + j, v);
      } else {
        POLYMOE_UNROLL
        for (int k = 0; k < V; ++k)
          if (j + k < y.cols) y.set(r, j + k, v[k]);
      }
    }
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
