// Matrix instructions of a warp behind small functions: loads of 8 x 8 matrices from shared memory, and products of
// 16-row fragments with float accumulation.
//
// On the device they are ldmatrix and mma.sync (compute capability 8.0 and later).  Under the host executor the lanes
// meet in a collective, and one of them does the work by the fragment tables of grouped_tiles.hpp.  All 32 lanes of a
// warp take part in every function here, except round_tf32.
#pragma once

#include "../device.cuh"
#include "grouped_tiles.hpp"

namespace polymoe::inline v0::device {

#if defined(__CUDACC__)

/// Four 8 x 8 matrices of 16-bit elements.  Lane l names with `row` the 16 bytes of row l % 8 of matrix l / 8; r[j] of
/// lane l gets elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of matrix j.
__device__ inline void load_matrices(unsigned (&r)[4], const void* row) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
/// The same, each matrix transposed.
__device__ inline void load_matrices_transposed(unsigned (&r)[4], const void* row) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}

/// c[j] += a b[j] for bf16 fragments 16 x 16 and 16 x 8.
template <int N>
__device__ inline void multiply_bf16(float (&c)[N][4], const unsigned (&a)[4], const unsigned (&b)[N][2]) {
  POLYMOE_UNROLL
  for (int j = 0; j < N; ++j)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[j][0]), "r"(b[j][1]));
}
/// c[j] += a b[j] for tf32 fragments 16 x 8 and 8 x 8.
template <int N>
__device__ inline void multiply_tf32(float (&c)[N][4], const unsigned (&a)[4], const unsigned (&b)[N][2]) {
  POLYMOE_UNROLL
  for (int j = 0; j < N; ++j)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[j][0]), "r"(b[j][1]));
}
/// The bits of the nearest tf32 number (10 mantissa bits, ties away from zero) to the float with these bits.
__device__ inline unsigned round_tf32(unsigned bits) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(bits)));
  return r;
}

#else

namespace detail {
struct matrix_load {
  unsigned* r;
  const void* row;
};
template <bool Transposed>
void load_matrices_of_warp(void* const (&lanes)[32]) {
  const auto lane = [&](int l) -> const matrix_load& { return *static_cast<const matrix_load*>(lanes[l]); };
  const auto at = [&](int matrix, int row, int column) -> unsigned {
    return static_cast<const std::uint16_t*>(lane(8 * matrix + row).row)[column];
  };
  for (int l = 0; l < 32; ++l)
    for (int j = 0; j < 4; ++j) {
      const int row = l / 4, column = l % 4 * 2;
      lane(l).r[j] = Transposed ? at(j, column, row) | at(j, column + 1, row) << 16
                                : at(j, row, column) | at(j, row, column + 1) << 16;
    }
}

struct fragment_product {
  float* c;
  const unsigned *a, *b;
};
/// One product of a warp's fragments; Depth is the length of the sum: 16 (bf16) or 8 (tf32).
template <int N, int Depth>
void multiply_of_warp(void* const (&lanes)[32]) {
  const auto lane = [&](int l) -> const fragment_product& { return *static_cast<const fragment_product*>(lanes[l]); };
  constexpr bool halves = Depth == 16;
  const auto number = [](unsigned word, int h) {
    if constexpr (halves) return v0::bit_cast<float>(h ? word & 0xffff0000u : word << 16);
    else return v0::bit_cast<float>(h ? 0u : word & 0xffffe000u);  // the unit does not see the low 13 bits
  };
  float a[16][Depth];
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i)
      for (int h = 0; h < (halves ? 2 : 1); ++h) {
        const grouped::element e = halves ? grouped::bf16_a(l, i, h) : grouped::tf32_a(l, i);
        a[e.row][e.column] = number(lane(l).a[i], h);
      }
  for (int j = 0; j < N; ++j) {
    float b[Depth][8], c[16][8] = {};
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 2; ++i)
        for (int h = 0; h < (halves ? 2 : 1); ++h) {
          const grouped::element e = halves ? grouped::bf16_b(l, i, h) : grouped::tf32_b(l, i);
          b[e.row][e.column] = number(lane(l).b[j * 2 + i], h);
        }
    for (int r = 0; r < 16; ++r)
      for (int k = 0; k < Depth; ++k)
        for (int n = 0; n < 8; ++n) c[r][n] += a[r][k] * b[k][n];
    for (int l = 0; l < 32; ++l)
      for (int i = 0; i < 4; ++i) {
        const grouped::element e = grouped::fragment_c(l, i);
        lane(l).c[j * 4 + i] += c[e.row][e.column];
      }
  }
}
}  // namespace detail

inline void load_matrices(unsigned (&r)[4], const void* row) {
  detail::matrix_load mine{r, row};
  collective(&mine, detail::load_matrices_of_warp<false>);
}
inline void load_matrices_transposed(unsigned (&r)[4], const void* row) {
  detail::matrix_load mine{r, row};
  collective(&mine, detail::load_matrices_of_warp<true>);
}
template <int N>
void multiply_bf16(float (&c)[N][4], const unsigned (&a)[4], const unsigned (&b)[N][2]) {
  detail::fragment_product mine{&c[0][0], a, &b[0][0]};
  collective(&mine, detail::multiply_of_warp<N, 16>);
}
template <int N>
void multiply_tf32(float (&c)[N][4], const unsigned (&a)[4], const unsigned (&b)[N][2]) {
  detail::fragment_product mine{&c[0][0], a, &b[0][0]};
  collective(&mine, detail::multiply_of_warp<N, 8>);
}
inline unsigned round_tf32(unsigned bits) { return (bits + 0x1000u) & 0xffffe000u; }

#endif

}  // namespace polymoe::device
