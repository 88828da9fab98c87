// Rearranging operands for oneDNN: blocked weights and transposed rows, at memory speed.
//
// Both move 32-bit words: a float, or two neighbours along the reduction that bf16 instructions want side by side.
#pragma once

#include <dnnl.hpp>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "maths_builtin.hpp"

namespace polymoe::inline v0::maths::detail {

/// Sixteen rows of sixteen words.
using word_square = std::uint32_t[16][16];

inline std::uint32_t low_bits(float x) { return std::uint32_t{bf16(x).bits}; }
inline std::uint32_t low_bits(bf16 x) { return x.bits; }

/// out[j] = the word made of entry j of V rows, `row` apart.
template <int V, class S>
void join_rows(const S* w, index row, index n, std::uint32_t* out) {
  if constexpr (V == 1) {
    std::memcpy(out, w, static_cast<std::size_t>(n) * 4);
  } else {
    const S* next = w + row;
    POLYMOE_SIMD
    for (index j = 0; j < n; ++j) out[j] = low_bits(w[j]) | low_bits(next[j]) << 16;
  }
}
/// out[i] = the word made of V neighbours of one row.
template <int V, class S>
void join_pairs(const S* w, index n, std::uint32_t* out) {
  if constexpr (V == 1) {
    std::memcpy(out, w, static_cast<std::size_t>(n) * 4);
  } else {
    POLYMOE_SIMD
    for (index i = 0; i < n; ++i) out[i] = low_bits(w[2 * i]) | low_bits(w[2 * i + 1]) << 16;
  }
}
#if defined(__AVX512F__)
/// out[j * ld + i] = word j of load(i), i and j in [0, 16).
template <class Load>
POLYMOE_ALWAYS_INLINE void turn_square(Load load, std::uint32_t* out, index ld) {
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  __m512i v[16];
POLYMOE_UNROLL_LOOP(16)
  for (int i = 0; i < 16; ++i) v[i] = load(i);
    // Four rounds; round s exchanges the off-diagonal s x s squares of every 2s x 2s square: lane l of the upper row is
    // l of the upper where bit s of l is clear, else l - s of the lower; and the mirror.
POLYMOE_UNROLL_LOOP(4)
  for (int s = 8; s >= 1; s /= 2) {
    const auto high = static_cast<__mmask16>(s == 8 ? 0xff00 : s == 4 ? 0xf0f0 : s == 2 ? 0xcccc : 0xaaaa);
    const __m512i step = _mm512_set1_epi32(s), other = _mm512_set1_epi32(16);
    const __m512i up = _mm512_mask_add_epi32(lane, high, _mm512_sub_epi32(lane, step), other);
    const __m512i down = _mm512_mask_add_epi32(_mm512_add_epi32(lane, step), high, lane, other);
POLYMOE_UNROLL_LOOP(16)
    for (int i = 0; i < 16; ++i)
      if (!(i & s)) {
        const __m512i a = v[i], b = v[i + s];
        v[i] = _mm512_permutex2var_epi32(a, up, b);
        v[i + s] = _mm512_permutex2var_epi32(a, down, b);
      }
  }
POLYMOE_UNROLL_LOOP(16)
  for (int j = 0; j < 16; ++j) _mm512_storeu_si512(out + j * ld, v[j]);
}
#endif

/// out[j * ld + i] = in[i][j] for i < rows, j < cols.
inline void turn_words(const word_square& in, index rows, index cols, std::uint32_t* out, index ld) {
#if defined(__AVX512F__)
  if (rows == 16 && cols == 16) return turn_square([&](int i) { return _mm512_loadu_si512(in[i]); }, out, ld);
#endif
  for (index j = 0; j < cols; ++j)
    for (index i = 0; i < rows; ++i) out[j * ld + i] = in[i][j];
}

/// out[n, width] = a[rows, n]^T, columns from `rows` on are zero.
template <class R>
void transpose(const R* a, index lda, index rows, index n, R* out, index width) {
  constexpr int V = 4 / sizeof(R);
  const index full = width % V ? 0 : rows / V;
  auto* words = reinterpret_cast<std::uint32_t*>(out);
  word_square in;
  for (index p = 0; p < full; p += 16)
    for (index j = 0; j < n; j += 16) {
      const index ps = std::min<index>(16, full - p), js = std::min<index>(16, n - j);
#if defined(__AVX512F__)
      if (ps == 16 && js == 16) {
        turn_square(
            [from = a + p * V * lda + j, lda](int i) {
              const R* row = from + i * V * lda;
              if constexpr (V == 1) return _mm512_loadu_si512(row);
              // The zero-masked forms: g++ 12 warns about its own header in the plain ones.
              const auto half = [](const R* r) {
                return _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(r)));
              };
              return _mm512_or_si512(half(row), _mm512_maskz_slli_epi32(0xffff, half(row + lda), 16));
            },
            words + j * (width / V) + p, width / V);
        continue;
      }
#endif
      for (index i = 0; i < ps; ++i) join_rows<V>(a + (p + i) * V * lda + j, lda, js, in[i]);
      turn_words(in, ps, js, words + j * (width / V) + p, width / V);
    }
  for (index j = 0; j < n; ++j) {
    for (index i = full * V; i < rows; ++i) out[j * width + i] = a[i * lda + j];
    std::fill_n(out + j * width + rows, width - rows, static_cast<R>(0.0f));
  }
}

/// Copies a [k, n] matrix into the format that a primitive wants: blocked, or plain where oneDNN has no AVX-512.
template <class R>
class weight_packer {
 public:
  weight_packer() = default;
  weight_packer(const dnnl::memory::desc& md, index k, index n) : k_(k), n_(n), size_(md.get_size()) {
    const auto& f = md.data.format_desc.blocking;
    row_ = f.strides[0], col_ = f.strides[1];
    index unit = 1;
    for (int i = f.inner_nblks - 1; i >= 0; --i) {
      levels_.push_back({f.inner_idxs[i] == 0, f.inner_blks[i], unit});
      (f.inner_idxs[i] == 0 ? block_k_ : block_n_) *= f.inner_blks[i];
      unit *= f.inner_blks[i];
    }
    // From the inside out: (pairs of rows,) 64 columns, rows.
    const bool pairs = levels_.size() == 3 && levels_[0].is_k && levels_[0].size == 2;
    known_ = (levels_.size() == 2 || pairs) && !levels_[pairs].is_k && levels_[pairs ? 2 : 1].is_k;
    vnni_ = pairs ? 2 : 1;
  }
  std::size_t size() const { return size_; }

  /// Entry (p, j) of the source is at w[p * row + j * col]; one of row, col is 1.
  template <class S>
  void pack(const S* w, index row, index col, index k_rows, R* out) const {
    if (levels_.empty()) return unblocked(w, row, col, k_rows, out);
    const index k_all = round_up(k_, block_k_), n_all = round_up(n_, block_n_);
    for (index j0 = 0; j0 < n_all; j0 += block_n_)
      for (index p0 = 0; p0 < k_all; p0 += block_k_) {
        R* to = out + p0 / block_k_ * row_ + j0 / block_n_ * col_;
        const index ks = std::clamp<index>(k_rows - p0, 0, block_k_), ns = std::min(block_n_, n_ - j0);
        const S* from = w + p0 * row + j0 * col;
        if (!known_)
          general(from, row, col, ks, ns, to);
        else if (vnni_ == 2)
          block<2>(from, row, col, ks, ns, to);
        else
          block<1>(from, row, col, ks, ns, to);
      }
  }

 private:
  struct level {
    bool is_k;
    index size, unit;
  };
  index offset(index p, index j) const {
    index o = 0;
    for (const level& l : levels_) {
      index& i = l.is_k ? p : j;
      o += i % l.size * l.unit, i /= l.size;
    }
    return o;
  }
  /// Rows one after another, or columns.
  template <class S>
  void unblocked(const S* w, index row, index col, index k_rows, R* out) const {
    const bool rows = col_ == 1;
    const index lines = rows ? k_rows : n_, length = rows ? n_ : k_rows, stride = rows ? row_ : col_;
    const index line = rows ? row : col, step = rows ? col : row;
    if constexpr (std::is_same_v<S, R>) {
      if (step == 1)
        for (index i = 0; i < lines; ++i) std::copy_n(w + i * line, length, out + i * stride);
      else
        transpose(w, step, length, lines, out, stride);
    } else {
      for (index i = 0; i < lines; ++i)
        for (index j = 0; j < length; ++j) out[i * stride + j] = static_cast<R>(w[i * line + j * step]);
    }
    if (rows)
      std::fill(out + lines * stride, out + k_ * stride, static_cast<R>(0.0f));
    else
      for (index i = 0; i < lines; ++i)
        std::fill(out + i * stride + length, out + i * stride + k_, static_cast<R>(0.0f));
  }
  template <class S>
  void general(const S* w, index row, index col, index ks, index ns, R* out) const {
    for (index p = 0; p < block_k_; ++p)
      for (index j = 0; j < block_n_; ++j)
        out[offset(p, j)] = p < ks && j < ns ? static_cast<R>(w[p * row + j * col]) : static_cast<R>(0.0f);
  }
  /// out[p / V][j][p % V].
  template <int V, class S>
  void block(const S* w, index row, index col, index ks, index ns, R* out) const {
    if (ks < block_k_ || ns < block_n_) std::fill_n(out, block_k_ * block_n_, static_cast<R>(0.0f));
    auto* words = reinterpret_cast<std::uint32_t*>(out);  // V numbers of one column, R is float or bf16
    const index full = ks / V;
    if (col == 1) {
      for (index p = 0; p < full; ++p) join_rows<V>(w + p * V * row, row, ns, words + p * block_n_);
    } else {
      word_square in;
      for (index p = 0; p < full; p += 16)
        for (index j = 0; j < ns; j += 16) {
          const index ps = std::min<index>(16, full - p), js = std::min<index>(16, ns - j);
#if defined(__AVX512F__)
          if (V == 1 && ps == 16 && js == 16) {
            turn_square([from = w + p + j * col, col](int i) { return _mm512_loadu_si512(from + i * col); },
                        words + p * block_n_ + j, block_n_);
            continue;
          }
#endif
          for (index i = 0; i < js; ++i) join_pairs<V>(w + p * V + (j + i) * col, ps, in[i]);
          turn_words(in, js, ps, words + p * block_n_ + j, block_n_);
        }
    }
    for (index p = full * V; p < ks; ++p)
      for (index j = 0; j < ns; ++j) out[full * V * block_n_ + V * j + p % V] = static_cast<R>(w[p * row + j * col]);
  }

  index k_ = 0, n_ = 0, row_ = 0, col_ = 0, block_k_ = 1, block_n_ = 1;
  std::size_t size_ = 0;
  std::vector<level> levels_;
  bool known_ = false;
  int vnni_ = 1;
};

}  // namespace polymoe::inline v0::maths::detail
