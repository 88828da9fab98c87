// What multiplies two tiles in shared memory: matrix instructions (bf16, or float rounded to tf32) or plain fused
// multiply-adds (float and double, exact products of the stored numbers).
//
// An engine keeps a block's part of the result in registers: clear(), multiply(a, b) once per step of the sum, and
// spread(tile) which lays the result out in rows.  LineA and LineB say how a tile lies: rows along the sum, or the sum
// along rows (grouped_load.cuh).  Every element of the result is one sum in rising order, in whatever tile it lies, so
// the choice of a tile does not change bits.
#pragma once

#include "../../../core/dtype.hpp"
#include "grouped_tiles.hpp"
#include "mma.cuh"

namespace polymoe::inline v0::grouped {

namespace engine {
/// mma.sync: bf16 as stored; float rounded to tf32 (10 mantissa bits).
struct tensor {};
/// Multiply-adds in the type itself.
struct fma {};
}  // namespace engine

/// f(i, j) for all i < M and j < N, unrolled: the numbers are constants to what is indexed by them.
template <int M, int N, class F>
POLYMOE_DEVICE void unrolled(F f) {
  POLYMOE_UNROLL
  for (int i = 0; i < M; ++i) {
    POLYMOE_UNROLL
    for (int j = 0; j < N; ++j) f(i, j);
  }
}

/// N values that move together.
template <class T, int N>
struct alignas(sizeof(T) * N) pack {
  T v[N];
};

/// The shape of a block's work: a tile of m x n results by warps_m x warps_n warps, through a pipeline of stages of 128
/// bytes of the sum each.
template <class T, class Engine, int M, int N, int WarpsM, int WarpsN, int Stages, int Blocks>
struct tile_shape {
  using scalar = T;
  using compute = compute_t<T>;
  using engine = Engine;
  static constexpr int m = M, n = N, warps_m = WarpsM, warps_n = WarpsN, stages = Stages;
  static constexpr int blocks = Blocks;  ///< per multiprocessor, that registers have to allow
  static constexpr int threads = 32 * WarpsM * WarpsN;
  static constexpr int depth = line_bytes / static_cast<int>(sizeof(T));  ///< of one step
  static constexpr int stage_elements = (M + N) * depth;
  /// Row stride of the result in shared memory: 8 more than a multiple of 32 words, so that fragments are stored
  /// without bank conflicts.
  static constexpr int out_stride = N + 8;
  static constexpr std::size_t pipeline_bytes = std::size_t{Stages} * stage_elements * sizeof(T);
  static constexpr std::size_t out_bytes = std::size_t{M} * out_stride * sizeof(compute);
  /// Result, and one number per thread behind it.
  static constexpr std::size_t table_at = pipeline_bytes > out_bytes + threads * sizeof(compute)
                                              ? pipeline_bytes
                                              : out_bytes + threads * sizeof(compute);
  /// Dynamic shared memory of a block.
  static constexpr std::size_t shared_bytes = table_at + table_words * sizeof(int);
  static_assert(M % (16 * WarpsM) == 0 && N % (16 * WarpsN) == 0, "polymoe: a tile does not divide among its warps");
};

template <class Tile, bool LineA, bool LineB, class Engine = typename Tile::engine>
class product;

// ---- matrix instructions --------------------------------------------------------------------------------------------

template <class Tile, bool LineA, bool LineB>
class product<Tile, LineA, LineB, engine::tensor> {
  using T = typename Tile::scalar;
  static constexpr bool half = sizeof(T) == 2;
  static_assert(half || std::is_same_v<T, float>, "polymoe: matrix instructions work on bf16 and on float as tf32");
  static constexpr int fm = Tile::m / Tile::warps_m / 16, fn = Tile::n / Tile::warps_n / 8;
  static constexpr int each = chunk_bytes / static_cast<int>(sizeof(T)), k_step = 2 * each;

  float c_[fm][fn][4];

  POLYMOE_DEVICE static int row0() { return device::warp() / Tile::warps_n * (fm * 16); }
  POLYMOE_DEVICE static int column0() { return device::warp() % Tile::warps_n * (fn * 8); }
  // Fragments are 32 bytes apart along a row, and the swizzle is an exclusive or inside 128 aligned bytes.  So all
  // places of a lane follow from one by flipping address bits, which costs one instruction and no register.
  static_assert((fm & (fm - 1)) == 0 && (fn & (fn - 1)) == 0 && fn >= 2,
                "polymoe: the fragments of a warp have to be a power of two in both directions");
  POLYMOE_DEVICE static const T* flip(const T* p, int fragments) {
    return reinterpret_cast<const T*>(reinterpret_cast<std::uintptr_t>(p) ^
                                      static_cast<std::uintptr_t>(32 * fragments));
  }
  POLYMOE_DEVICE static unsigned word(const T* tile, int row, int column, int chunks) {
    if constexpr (half) return 0;
    else return v0::bit_cast<unsigned>(tile[element_offset(row, column, chunks, sizeof(T))]);
  }

  /// The i-th A fragment of a step.
  POLYMOE_DEVICE static void load_a(unsigned (&a)[4], const T* tile, int step, int i) {
    const int lane = device::lane();
    if constexpr (LineA) {
      const matrix_row r = a_rows(lane);
      const T* p = tile + element_offset(row0() + r.row, r.chunk * each, 8, sizeof(T));
      device::load_matrices(a, flip(p, step) + i * 16 * Tile::depth);
    } else if constexpr (half) {
      const matrix_row r = a_rows_transposed(lane);
      const T* p = tile + element_offset(r.row, row0() + r.chunk * each, Tile::m / each, sizeof(T));
      device::load_matrices_transposed(a, flip(p, i) + step * k_step * Tile::m);
    } else {
      POLYMOE_UNROLL
      for (int q = 0; q < 4; ++q) {
        const element e = tf32_a(lane, q);
        a[q] = word(tile, step * k_step + e.column, row0() + i * 16 + e.row, Tile::m / each);
      }
    }
    if constexpr (!half) {
      POLYMOE_UNROLL
      for (int q = 0; q < 4; ++q) a[q] = device::round_tf32(a[q]);
    }
  }
  /// All B fragments of a step.
  POLYMOE_DEVICE static void load_b(unsigned (&b)[fn][2], const T* tile, int step) {
    const int lane = device::lane();
    if constexpr (!half && !LineB) {
      unrolled<fn, 2>([&](int j, int q) {
        const element e = tf32_b(lane, q);
        b[j][q] = word(tile, step * k_step + e.row, column0() + j * 8 + e.column, Tile::n / each);
      });
    } else {
      const matrix_row w = LineB ? b_rows(lane) : b_rows_transposed(lane);
      const T* p = LineB ? tile + element_offset(column0() + w.row, w.chunk * each, 8, sizeof(T))
                         : tile + element_offset(w.row, column0() + w.chunk * each, Tile::n / each, sizeof(T));
      POLYMOE_UNROLL
      for (int j = 0; j < fn; j += 2) {
        unsigned r[4];
        if constexpr (LineB) device::load_matrices(r, flip(p, step) + j * 8 * Tile::depth);
        else device::load_matrices_transposed(r, flip(p, j / 2) + step * k_step * Tile::n);
        b[j][0] = r[0], b[j][1] = r[1], b[j + 1][0] = r[2], b[j + 1][1] = r[3];
      }
    }
    if constexpr (!half) unrolled<fn, 2>([&](int j, int q) { b[j][q] = device::round_tf32(b[j][q]); });
  }

 public:
  POLYMOE_DEVICE void clear() {
    unrolled<fm, fn>([&](int i, int j) {
      POLYMOE_UNROLL
      for (int q = 0; q < 4; ++q) c_[i][j][q] = 0.0f;
    });
  }
  POLYMOE_DEVICE void multiply(const T* tile_a, const T* tile_b) {
    // Where several blocks share a multiprocessor their warps hide each other's waits, and registers are short.
    constexpr int steps = Tile::depth / k_step, together = Tile::blocks > 1 ? 2 : steps;
    POLYMOE_UNROLL_BY(together)
    for (int step = 0; step < steps; ++step) {
      unsigned b[fn][2];
      load_b(b, tile_b, step);
      POLYMOE_UNROLL
      for (int i = 0; i < fm; ++i) {
        unsigned a[4];
        load_a(a, tile_a, step, i);
        if constexpr (half) device::multiply_bf16(c_[i], a, b);
        else device::multiply_tf32(c_[i], a, b);
      }
    }
  }
  POLYMOE_DEVICE void spread(float* tile) const {
    unrolled<fm, fn>([&](int i, int j) {
      POLYMOE_UNROLL
      for (int q = 0; q < 4; q += 2) {
        const element e = fragment_c(device::lane(), q);
        float* to = tile + (row0() + i * 16 + e.row) * Tile::out_stride + column0() + j * 8 + e.column;
        *reinterpret_cast<pack<float, 2>*>(to) = {{c_[i][j][q], c_[i][j][q + 1]}};
      }
    });
  }
};

// ---- multiply-adds --------------------------------------------------------------------------------------------------

// A warp is 8 x 4 threads.  From a line tile a thread owns every 8th row (every 4th column): its neighbours read
// neighbouring rows, which the swizzle keeps apart.  From a slab tile it owns runs of 16 bytes.
template <class Tile, bool LineA, bool LineB>
class product<Tile, LineA, LineB, engine::fma> {
  using T = typename Tile::scalar;
  static_assert(std::is_floating_point_v<T>, "polymoe: multiply-adds work on float and double");
  static constexpr int warp_m = Tile::m / Tile::warps_m, warp_n = Tile::n / Tile::warps_n;
  static constexpr int each = chunk_bytes / static_cast<int>(sizeof(T)), fm = warp_m / 8, fn = warp_n / 4;
  static_assert(fm % each == 0 && fn % each == 0, "polymoe: a thread's part of a tile is no multiple of 16 bytes");

  T c_[fm][fn];

  POLYMOE_DEVICE static int row(int i) {
    const int t = device::lane() / 4, at = LineA ? t + 8 * i : (t + i / each * 8) * each + i % each;
    return device::warp() / Tile::warps_n * warp_m + at;
  }
  POLYMOE_DEVICE static int column(int j) {
    const int t = device::lane() % 4, at = LineB ? t + 4 * j : (t + j / each * 4) * each + j % each;
    return device::warp() % Tile::warps_n * warp_n + at;
  }
  /// f[i][v] = element of owner(i) at place k0 + v of the sum.
  template <bool Line, int Count, int Extent, class Owner>
  POLYMOE_DEVICE static void load(T (&f)[Count][each], const T* tile, int chunk, Owner owner) {
    if constexpr (Line) {
      POLYMOE_UNROLL
      for (int i = 0; i < Count; ++i) {
        const T* from = tile + element_offset(owner(i), chunk * each, 8, sizeof(T));
        const auto p = *reinterpret_cast<const pack<T, each>*>(from);
        POLYMOE_UNROLL
        for (int v = 0; v < each; ++v) f[i][v] = p.v[v];
      }
    } else {
      unrolled<each, Count / each>([&](int v, int i) {
        const T* from = tile + element_offset(chunk * each + v, owner(i * each), Extent / each, sizeof(T));
        const auto p = *reinterpret_cast<const pack<T, each>*>(from);
        POLYMOE_UNROLL
        for (int e = 0; e < each; ++e) f[i * each + e][v] = p.v[e];
      });
    }
  }

 public:
  POLYMOE_DEVICE void clear() {
    unrolled<fm, fn>([&](int i, int j) { c_[i][j] = T(0); });
  }
  POLYMOE_DEVICE void multiply(const T* tile_a, const T* tile_b) {
    for (int chunk = 0; chunk < 8; ++chunk) {
      T a[fm][each], b[fn][each];
      load<LineA, fm, Tile::m>(a, tile_a, chunk, [](int i) { return row(i); });
      load<LineB, fn, Tile::n>(b, tile_b, chunk, [](int j) { return column(j); });
      POLYMOE_UNROLL
      for (int v = 0; v < each; ++v) unrolled<fm, fn>([&](int i, int j) { c_[i][j] += a[i][v] * b[j][v]; });
    }
  }
  POLYMOE_DEVICE void spread(T* tile) const {
    unrolled<fm, fn>([&](int i, int j) { tile[row(i) * Tile::out_stride + column(j)] = c_[i][j]; });
  }
};

}  // namespace polymoe::grouped
