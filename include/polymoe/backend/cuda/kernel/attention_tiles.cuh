// What the attention kernels are made of: sizes and places, tiles in shared memory, products of a warp, and a softmax
// that takes its scores piece by piece.
//
// All matrices a warp holds are fragments of 16 rows by 8 columns: lane l has columns 2 (l % 4) and the next of rows
// l / 4 and l / 4 + 8, the layout of mma.sync.  For bf16 the products are matrix instructions with float accumulation,
// with probabilities and score gradients rounded to bf16; for float and double they are multiply-adds on that layout.
#pragma once

#include "mma.cuh"
#include "pointwise.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

template <class T>
inline constexpr int attention_warps = sizeof(T) == 8 ? 2 : 4;
/// Blocks that a multiprocessor shall hold at least: 168 registers a thread, 255 for double and for two sums at once.
template <class T>
inline constexpr int attention_blocks = sizeof(T) == 8 ? 2 : 3;
/// Rows a block owns.
template <class T>
inline constexpr int attention_rows = 16 * attention_warps<T>;
/// Rows of the other side in one step, and in fragments.
inline constexpr int attention_step = 32;
inline constexpr int attention_columns = attention_step / 8;

/// What lies in the memory kept from forward to backward, per head of each image: three numbers for every row, so that
/// p = exp(scale (s - top)) inverse for its scores s, and delta = <d_o, o>.  Top and inverse, not one logarithm,
/// because top subtracts from a large score without rounding.
template <class T>
struct attention_kept {
  using C = compute_t<T>;
  T* base = nullptr;
  index stride = 0;  ///< elements of T from one head to the next
  index tokens = 0;

  /// Elements of T of one head.
  static constexpr index elements(index tokens) {
    return round_up(3 * tokens * static_cast<index>(sizeof(C)), 16) / static_cast<index>(sizeof(T));
  }
  POLYMOE_DEVICE C* top(index item) const { return reinterpret_cast<C*>(base + item * stride); }
  POLYMOE_DEVICE C* inverse(index item) const { return top(item) + tokens; }
  POLYMOE_DEVICE C* delta(index item) const { return top(item) + 2 * tokens; }
};

/// Sizes of one call.
template <class T>
struct attention_args {
  view<const T> qkv;  ///< [images * tokens, 3D]
  index items = 0;    ///< images * heads
  int tokens = 0, heads = 1, head_dim = 0;
  int width = 0;      ///< head_dim rounded up to whole slices: columns of a tile in shared memory
  int slices = 1;     ///< blocks that share one tile of rows and write a part of its columns each
  bool wide = false;  ///< rows of heads begin and end on 16-byte borders
  compute_t<T> scale = 1;

  POLYMOE_HD constexpr int tiles() const { return (tokens + attention_rows<T> - 1) / attention_rows<T>; }
  /// Elements between rows of a tile: eight rows of one 16-byte column lie in all 32 banks.
  POLYMOE_HD constexpr int ld() const { return width + 16 / static_cast<int>(sizeof(T)); }
  POLYMOE_HD constexpr int depth() const { return (head_dim + 15) / 16 * 16; }
  POLYMOE_HD constexpr index dim() const { return index{heads} * head_dim; }
  /// Shared memory of a kernel with `own` tiles of the block's rows and `other` of the other side.
  constexpr std::size_t shared_bytes(int own, int other) const {
    return sizeof(T) * static_cast<std::size_t>((own * attention_rows<T> + other * attention_step) * ld());
  }
};

/// Which part of the work this block has.
template <class T>
struct attention_place {
  index item, row0;  ///< head of an image; first row of the image
  int head, first;   ///< first of the block's rows in the image
  int slice;

  POLYMOE_DEVICE explicit attention_place(const attention_args<T>& a) {
    index rank = device::block_rank();
    slice = static_cast<int>(rank % a.slices), rank /= a.slices;
    first = static_cast<int>(rank % a.tiles()) * attention_rows<T>;
    item = rank / a.tiles();
    head = static_cast<int>(item % a.heads);
    row0 = item / a.heads * a.tokens;
  }
};

// ---- tiles ----------------------------------------------------------------------------------------------------------

/// Starts bringing rows [first, first + rows) of a matrix of `total` rows and `cols` columns to shared memory, `width`
/// columns a row; what lies outside becomes zero.  Seen after tiles_arrived().
template <class T>
POLYMOE_DEVICE inline void fetch_tile(const T* from, index stride, int first, int rows, int total, int cols, int width,
                                      int ld, bool wide, T* to) {
  constexpr int threads = 32 * attention_warps<T>;
  if (wide) {
    constexpr int each = 16 / static_cast<int>(sizeof(T));
    const int chunks = width / each;
    for (int i = device::thread_rank(); i < rows * chunks; i += threads) {
      const int r = i / chunks, j = (i - r * chunks) * each;
      const bool inside = first + r < total && j < cols;
      device::copy_async(to + r * ld + j, inside ? from + (first + r) * stride + j : from, inside ? 16 : 0);
    }
  } else {
    for (int i = device::thread_rank(); i < rows * width; i += threads) {
      const int r = i / width, j = i - r * width;
      to[r * ld + j] = first + r < total && j < cols ? from[(first + r) * stride + j] : static_cast<T>(0.0f);
    }
  }
}
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void tiles_arrived() {
  device::copy_commit();
  device::copy_wait<0>();
  device::sync_block();
}

/// Puts the fragments of a warp, rows times their factor, to its 16 rows of shared memory, over what lay there.
template <class T, int M>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void stage_rows(const compute_t<T> (&o)[M][4], compute_t<T> low, compute_t<T> high,
                                                     T* own, int ld) {
  device::sync_warp();
  T* to = own + device::lane() / 4 * ld + device::lane() % 4 * 2;
  POLYMOE_UNROLL
  for (int m = 0; m < M; ++m) {
    store(to[8 * m], o[m][0] * low), store(to[8 * m + 1], o[m][1] * low);
    store(to[8 * ld + 8 * m], o[m][2] * high), store(to[8 * ld + 8 * m + 1], o[m][3] * high);
  }
  device::sync_warp();
}
/// Writes a warp's 16 rows of shared memory to rows [first, ...) of a matrix of `total` rows and `cols` columns.
template <class T>
POLYMOE_DEVICE inline void write_rows(const T* own, int ld, T* to, index stride, int first, int total, int cols,
                                      bool wide) {
  constexpr int each = 16 / static_cast<int>(sizeof(T));
  const int chunks = wide ? cols / each : cols;
  for (int i = device::lane(); i < 16 * chunks; i += 32) {
    const int r = i / chunks, j = i - r * chunks;
    if (first + r >= total) break;
    if (wide)
      store_pack<T, each>(to + (first + r) * stride + j * each, load_pack<T, each>(own + r * ld + j * each));
    else
      to[(first + r) * stride + j] = own[r * ld + j];
  }
}

// ---- products of a warp ---------------------------------------------------------------------------------------------

/// Two floats as one word of bf16, the first in the low half.
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE unsigned two_bf16(float low, float high) {
#if defined(__CUDA_ARCH__)
  unsigned r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
#else
  return bf16::round(low) | static_cast<unsigned>(bf16::round(high)) << 16;
#endif
}

/// c += a b^T with a [16, depth] and b [8N, depth] in shared memory, rows `ld` apart; depth is a multiple of 16.
template <class T, int N>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void multiply_rows(compute_t<T> (&c)[N][4], const T* a, const T* b, int depth,
                                                        int ld) {
  const int l = device::lane();
  if constexpr (std::is_same_v<T, bf16>) {
    const T* from_a = a + (l / 8 % 2 * 8 + l % 8) * ld + l / 16 * 8;
    const T* from_b = b + (l / 16 * 8 + l % 8) * ld + l / 8 % 2 * 8;
    for (int k = 0; k < depth; k += 16) {
      unsigned x[4], y[N][2];
      device::load_matrices(x, from_a + k);
      POLYMOE_UNROLL
      for (int j = 0; j < N; j += 2) {
        unsigned r[4];
        device::load_matrices(r, from_b + j * 8 * ld + k);
        y[j][0] = r[0], y[j][1] = r[1], y[j + 1][0] = r[2], y[j + 1][1] = r[3];
      }
      device::multiply_bf16<N>(c, x, y);
    }
  } else {
    constexpr int V = 16 / static_cast<int>(sizeof(T));
    const T *low = a + l / 4 * ld, *high = low + 8 * ld, *from_b = b + l % 4 * 2 * ld;
    for (int k = 0; k < depth; k += V) {
      T x[V], z[V];
      load_wide<V>(low + k, x);
      load_wide<V>(high + k, z);
      POLYMOE_UNROLL
      for (int j = 0; j < N; ++j) POLYMOE_UNROLL
      for (int h = 0; h < 2; ++h) {
        T y[V];
        load_wide<V>(from_b + (8 * j + h) * ld + k, y);
        POLYMOE_UNROLL
        for (int v = 0; v < V; ++v) c[j][h] += x[v] * y[v], c[j][2 + h] += z[v] * y[v];
      }
    }
  }
}

/// c += p b with p [16, 8N] the fragments of an earlier product and b [8N, 8M] in shared memory, rows `ld` apart.
template <class T, int N, int M>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void multiply_columns(compute_t<T> (&c)[M][4], const compute_t<T> (&p)[N][4],
                                                           const T* b, int ld) {
  const int l = device::lane();
  if constexpr (std::is_same_v<T, bf16>) {
    const T* from = b + (l / 8 % 2 * 8 + l % 8) * ld + l / 16 * 8;
    POLYMOE_UNROLL
    for (int i = 0; i < N; i += 2) {
      const unsigned x[4] = {two_bf16(p[i][0], p[i][1]), two_bf16(p[i][2], p[i][3]), two_bf16(p[i + 1][0], p[i + 1][1]),
                             two_bf16(p[i + 1][2], p[i + 1][3])};
      unsigned y[M][2];
      POLYMOE_UNROLL
      for (int m = 0; m < M; m += 2) {
        unsigned r[4];
        device::load_matrices_transposed(r, from + 8 * i * ld + 8 * m);
        y[m][0] = r[0], y[m][1] = r[1], y[m + 1][0] = r[2], y[m + 1][1] = r[3];
      }
      device::multiply_bf16<M>(c, x, y);
    }
  } else {
    const T* from = b + l % 4 * 2;
    POLYMOE_UNROLL
    for (int j = 0; j < N; ++j) POLYMOE_UNROLL
    for (int k = 0; k < 8; ++k) {
      const T low = device::shuffle_idx(p[j][k % 2], k / 2, 4), high = device::shuffle_idx(p[j][2 + k % 2], k / 2, 4);
      POLYMOE_UNROLL
      for (int m = 0; m < M; ++m) {
        T y[2];
        load_wide<2>(from + (8 * j + k) * ld + 8 * m, y);
        c[m][0] += low * y[0], c[m][1] += low * y[1];
        c[m][2] += high * y[0], c[m][3] += high * y[1];
      }
    }
  }
}

/// Sum over the four lanes that share a row.
template <class C>
POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE C sum_of_row(C x) {
  x += device::shuffle_xor(x, 1);
  x += device::shuffle_xor(x, 2);
  return x;
}

/// The softmax of two rows of a warp (l / 4 and l / 4 + 8) as their scores come in.
template <class C>
struct running_softmax {
  C top[2] = {-C(__builtin_inff()), -C(__builtin_inff())};  ///< largest score, not scaled
  C total[2] = {C(0), C(0)};                                ///< this lane's part of the sum

  /// Scores of keys [first, first + 8N) become exp(scale (s - top)); those of keys from `keys` on become 0.  shrink is
  /// what sums so far have to be multiplied by.
  template <int N>
  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void take(C (&s)[N][4], C scale, int first, int keys, C (&shrink)[2]) {
    const int column = first + device::lane() % 4 * 2;
    POLYMOE_UNROLL
    for (int q = 0; q < 2; ++q) {
      C most = top[q];
      POLYMOE_UNROLL
      for (int j = 0; j < N; ++j) POLYMOE_UNROLL
      for (int h = 0; h < 2; ++h) {
        C& x = s[j][2 * q + h];
        x = column + 8 * j + h < keys ? x : -C(__builtin_inff());
        most = x > most ? x : most;
      }
      C other = device::shuffle_xor(most, 1);
      most = other > most ? other : most;
      other = device::shuffle_xor(most, 2);
      most = other > most ? other : most;
      shrink[q] = math::exp((top[q] - most) * scale);
      top[q] = most;
      C sum(0);
      POLYMOE_UNROLL
      for (int j = 0; j < N; ++j) POLYMOE_UNROLL
      for (int h = 0; h < 2; ++h) {
        C& x = s[j][2 * q + h];
        x = column + 8 * j + h < keys ? math::exp((x - most) * scale) : C(0);
        sum += x;
      }
      total[q] = total[q] * shrink[q] + sum;
    }
  }
  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE C inverse(int q) const { return C(1) / total[q]; }
  POLYMOE_DEVICE POLYMOE_ALWAYS_INLINE void finish() {
    total[0] = sum_of_row(total[0]), total[1] = sum_of_row(total[1]);
  }
};

}  // namespace backend::kernel
}  // namespace polymoe
