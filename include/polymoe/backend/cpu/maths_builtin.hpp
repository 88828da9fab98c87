// Dense products without any library: register-blocked loops that every C++20 compiler of the GNU family vectorises.
//
// One micro kernel serves all three operations.  It multiplies a few rows of A with one packed panel of B (`panel`
// columns, the reduction index outermost) and keeps the sums in registers.  The reduction index runs in order from
// first to last, so a result depends on its own row and column only, never on the tile it was computed in.
#pragma once

#include <algorithm>
#include <cstring>

#include "../../core/dtype.hpp"
#include "simd.hpp"

namespace polymoe::inline v0::maths {

/// What a batched_product is prepared for.  Element i of the batch: C_i[m, n] = alpha * op(A_i) op(B_i) (+ C_i), with
/// A_i at a + i * stride_a; op(A) is [m, k], op(B) is [k, n].  A is stored [m, k] with leading dimension lda, or [k, m]
/// when trans_a; B is stored [k, n], or [n, k] when trans_b.
struct batched_shape {
  index m = 0, n = 0, k = 0;
  bool trans_a = false, trans_b = false;
  index batch = 1;
  index lda = 0, ldb = 0, ldc = 0;                 ///< 0: rows lie next to each other
  index stride_a = 0, stride_b = 0, stride_c = 0;  ///< 0: elements lie next to each other
  float alpha = 1;
  bool accumulate = false;  ///< true: C is added to

  /// The same with every 0 replaced by its meaning, checked.
  batched_shape resolved() const {
    batched_shape s = *this;
    require(m > 0 && n > 0 && k > 0 && batch > 0, "batched_product: m, n, k, batch = ", m, ", ", n, ", ", k, ", ",
            batch, " must all be positive");
    const index a_cols = trans_a ? m : k, b_cols = trans_b ? k : n;
    if (s.lda == 0) s.lda = a_cols;
    if (s.ldb == 0) s.ldb = b_cols;
    if (s.ldc == 0) s.ldc = n;
    require(s.lda >= a_cols && s.ldb >= b_cols && s.ldc >= n, "batched_product: leading dimensions ", s.lda, ", ",
            s.ldb, ", ", s.ldc, " are below the row lengths ", a_cols, ", ", b_cols, ", ", n);
    if (s.stride_a == 0) s.stride_a = s.lda * (trans_a ? k : m);
    if (s.stride_b == 0) s.stride_b = s.ldb * (trans_b ? n : k);
    if (s.stride_c == 0) s.stride_c = s.ldc * m;
    return s;
  }
};

}  // namespace polymoe::inline v0::maths

namespace polymoe::inline v0::maths::detail {

/// Hands out 64-byte aligned pieces of a worker's scratch; counts when there is none.
class pieces {
 public:
  explicit pieces(std::byte* base) : at_(reinterpret_cast<std::uintptr_t>(base)), first_(at_) {}
  pieces(const worker& w, std::size_t needed) : pieces(w.scratch) {
    require(w.bytes >= needed && (needed == 0 || w.scratch), "maths: the worker has ", w.bytes,
            " bytes of scratch, this call needs ", needed);
  }
  template <class U>
  U* take(index n) {
    at_ = (at_ + 63) / 64 * 64;
    U* p = first_ ? reinterpret_cast<U*>(at_) : nullptr;
    at_ += static_cast<std::size_t>(n) * sizeof(U);
    return p;
  }
  /// Bytes taken, with room for a base that is not aligned.
  std::size_t bytes() const { return (at_ - first_ + 127) / 64 * 64; }

 private:
  std::uintptr_t at_, first_;
};

/// Where blocks of an [n, k] weight gradient begin and how large they are: a function of n and k only.
class output_blocks {
 public:
  output_blocks() = default;
  output_blocks(index n, index k, index n_limit, index k_limit) : n_(n), k_(k) {
    require(n > 0 && k > 0, "outer_product: n, k = ", n, ", ", k, " must be positive");
    n_step_ = step(n, n_limit), k_step_ = step(k, k_limit);
    across_ = ceil_div(k, k_step_);
  }
  index count() const { return n_ ? ceil_div(n_, n_step_) * across_ : 0; }
  index first_n(index b) const { return b / across_ * n_step_; }
  index first_k(index b) const { return b % across_ * k_step_; }
  index size_n(index b) const { return std::min(n_step_, n_ - first_n(b)); }
  index size_k(index b) const { return std::min(k_step_, k_ - first_k(b)); }
  index step_n() const { return n_step_; }
  index step_k() const { return k_step_; }
  /// Pieces that give at least eight tasks, none of them under 2048 rows.
  index preferred_pieces(index rows) const {
    return std::clamp<index>(std::min(rows / 2048, ceil_div(8, std::max<index>(count(), 1))), 1, 8);
  }

 private:
  static index step(index size, index limit) {
    return std::min(size, round_up(ceil_div(size, ceil_div(size, limit)), 64));
  }
  index n_ = 0, k_ = 0, n_step_ = 1, k_step_ = 1, across_ = 1;
};

/// Rows whose sums fit the registers: AVX-512 has 32 of them, the others 16.
inline constexpr int micro_rows = simd::vector_bytes == 64 ? 8 : 6;
/// Columns of one packed panel: two vectors.
template <class C>
inline constexpr index panel = 2 * simd::lanes<C>;

/// out[micro_rows, panel] = rows of A times one panel of B.  a[i] points to row i, whose entries lie a_step apart.
template <class C>
POLYMOE_ALWAYS_INLINE void micro_kernel(const C* const* a, index a_step, const C* b, index k, C* out) {
  using vec = typename simd::detail::vector_of<C>::type;
  constexpr index lanes = panel<C> / 2;
  vec sum[micro_rows][2] = {};
  for (index p = 0; p < k; ++p) {
    vec b0, b1;
    std::memcpy(&b0, b + p * panel<C>, sizeof(vec));
    std::memcpy(&b1, b + p * panel<C> + lanes, sizeof(vec));
POLYMOE_UNROLL_LOOP(8)
    for (int i = 0; i < micro_rows; ++i) {
      const C x = a[i][p * a_step];
      sum[i][0] += x * b0;
      sum[i][1] += x * b1;
    }
  }
POLYMOE_UNROLL_LOOP(8)
  for (int i = 0; i < micro_rows; ++i) std::memcpy(out + i * panel<C>, &sum[i], sizeof(sum[i]));
}

/// The arithmetic type, from and to storage.
template <class C, class S>
C widen(S x) {
  return static_cast<C>(x);
}
/// Rounds a master number to what R can hold, kept in the arithmetic type.
template <class R>
compute_t<R> rounded(master_t<R> x) {
  return static_cast<compute_t<R>>(static_cast<R>(x));
}

inline index panels_size(index k, index n, index width) { return round_up(n, width) * k; }

/// Packs B[k, n] (entry (p, j) at b[p * row + j * col], passed through f) into panels; missing columns are zero.
template <class C, class S, class F>
void pack_panels(const S* b, index row, index col, index k, index n, C* out, F f) {
  for (index j0 = 0; j0 < n; j0 += panel<C>) {
    const index width = std::min(panel<C>, n - j0);
    for (index p = 0; p < k; ++p, out += panel<C>) {
      const S* src = b + p * row + j0 * col;
      for (index j = 0; j < width; ++j) out[j] = f(src[j * col]);
      for (index j = width; j < panel<C>; ++j) out[j] = C(0);
    }
  }
}

/// For every row i of m and every panel: store(i, first column, columns, sums).  Row i of A starts at a + i * a_row.
template <class C, class Store>
void multiply_panels(const C* a, index a_row, index a_step, index m, const C* b, index n, index k, Store store) {
  alignas(64) C out[micro_rows * panel<C>];
  for (index j0 = 0; j0 < n; j0 += panel<C>, b += k * panel<C>) {
    const index width = std::min(panel<C>, n - j0);
    for (index i0 = 0; i0 < m; i0 += micro_rows) {
      const C* rows[micro_rows];
      for (index i = 0; i < micro_rows; ++i) rows[i] = a + std::min(i0 + i, m - 1) * a_row;
      micro_kernel<C>(rows, a_step, b, k, out);
      for (index i = 0; i < std::min<index>(micro_rows, m - i0); ++i) store(i0 + i, j0, width, out + i * panel<C>);
    }
  }
}

/// Copies [rows, cols] with leading dimension ld to a dense [rows, cols] in the arithmetic type.
template <class C, class S>
void widen_rows(const S* x, index ld, index rows, index cols, C* out) {
  for (index i = 0; i < rows; ++i) POLYMOE_SIMD
  for (index j = 0; j < cols; ++j) out[i * cols + j] = widen<C>(x[i * ld + j]);
}

/// product (maths.hpp) by plain loops.  The packed weight holds the arithmetic type.
template <class R>
class builtin_product {
  using C = compute_t<R>;
  using M = master_t<R>;

 public:
  static constexpr index tile_rows = 256;

  builtin_product() = default;
  builtin_product(index k, index n) : k_(k), n_(n) {
    require(k > 0 && n > 0, "product: k, n = ", k, ", ", n, " must be positive");
  }
  index k() const { return k_; }
  index n() const { return n_; }
  std::size_t packed_bytes() const { return static_cast<std::size_t>(panels_size(k_, n_, panel<C>)) * sizeof(C); }
  std::size_t worker_bytes() const {
    if constexpr (std::is_same_v<R, C>) return 0;
    pieces p(nullptr);
    p.take<C>(tile_rows * k_);
    return p.bytes();
  }
  void pack(const M* w, index ldw, bool transposed, void* packed, worker&) const {
    pack_panels(w, transposed ? 1 : ldw, transposed ? ldw : 1, k_, n_, static_cast<C*>(packed), rounded<R>);
  }
  void run(worker& w, const R* x, index ldx, index rows, const void* packed, const M* bias, R* y, index ldy,
           bool accumulate = false) const {
    multiply(w, x, ldx, rows, packed, bias, y, ldy, accumulate);
  }
  void run_to_master(worker& w, const R* x, index ldx, index rows, const void* packed, const M* bias, M* y, index ldy,
                     bool accumulate = false) const {
    multiply(w, x, ldx, rows, packed, bias, y, ldy, accumulate);
  }

 private:
  template <class Y>
  void multiply(worker& w, const R* x, index ldx, index rows, const void* packed, const M* bias, Y* y, index ldy,
                bool accumulate) const {
    require(rows <= tile_rows, "product: ", rows, " rows in one call, at most ", tile_rows, " are allowed");
    const C* a = nullptr;
    index a_row = ldx;
    if constexpr (std::is_same_v<R, C>) {
      a = x;
    } else {
      pieces p(w, worker_bytes());
      C* wide = p.template take<C>(rows * k_);
      widen_rows(x, ldx, rows, k_, wide);
      a = wide, a_row = k_;
    }
    multiply_panels(a, a_row, index{1}, rows, static_cast<const C*>(packed), n_, k_,
                    [&](index i, index j0, index width, const C* sum) {
                      Y* to = y + i * ldy + j0;
                      if (accumulate)
                        for (index j = 0; j < width; ++j) to[j] = static_cast<Y>(widen<C>(to[j]) + sum[j]);
                      else if (bias)
                        for (index j = 0; j < width; ++j) to[j] = static_cast<Y>(sum[j] + bias[j0 + j]);
                      else
                        for (index j = 0; j < width; ++j) to[j] = static_cast<Y>(sum[j]);
                    });
  }
  index k_ = 0, n_ = 0;
};

/// outer_product (maths.hpp) by plain loops: A is read in place (widened for bf16), X is packed into panels.
template <class R>
class builtin_outer_product {
  using C = compute_t<R>;
  using M = master_t<R>;
  static constexpr index chunk = 256;

 public:
  builtin_outer_product() = default;
  builtin_outer_product(index n, index k) : blocks_(n, k, 192, 256) {}
  index blocks() const { return blocks_.count(); }
  index preferred_pieces(index rows) const { return blocks_.preferred_pieces(rows); }
  std::size_t worker_bytes() const {
    pieces p(nullptr);
    p.take<C>(panels_size(chunk, blocks_.step_k(), panel<C>));
    p.take<C>(std::is_same_v<R, C> ? 0 : chunk * blocks_.step_n());
    return p.bytes();
  }
  void run(worker& w, index block, const R* a, index lda, const R* x, index ldx, index rows, M* g, index ldg) const {
    const index n0 = blocks_.first_n(block), nb = blocks_.size_n(block);
    const index k0 = blocks_.first_k(block), kb = blocks_.size_k(block);
    pieces p(w, worker_bytes());
    C* packed = p.template take<C>(panels_size(chunk, blocks_.step_k(), panel<C>));
    C* wide = p.template take<C>(std::is_same_v<R, C> ? 0 : chunk * blocks_.step_n());
    g += n0 * ldg + k0;
    for (index r = 0; r < rows; r += chunk) {
      const index len = std::min(chunk, rows - r);
      pack_panels(x + r * ldx + k0, ldx, index{1}, len, kb, packed, widen<C, R>);
      const C* left = nullptr;
      index step = lda;
      if constexpr (std::is_same_v<R, C>) {
        left = a + r * lda + n0;
      } else {
        widen_rows(a + r * lda + n0, lda, len, nb, wide);
        left = wide, step = nb;
      }
      multiply_panels(left, index{1}, step, nb, packed, kb, len, [&](index i, index j0, index width, const C* sum) {
        M* to = g + i * ldg + j0;
        for (index j = 0; j < width; ++j) to[j] += sum[j];
      });
    }
  }

 private:
  output_blocks blocks_;
};

/// batched_product (maths.hpp) by plain loops.
template <class R>
class builtin_batched_product {
  using C = compute_t<R>;

 public:
  builtin_batched_product() = default;
  explicit builtin_batched_product(const batched_shape& shape) : s_(shape.resolved()) {}
  std::size_t worker_bytes() const {
    pieces p(nullptr);
    p.take<C>(panels_size(s_.k, s_.n, panel<C>));
    p.take<C>(std::is_same_v<R, C> ? 0 : s_.m * s_.k);
    return p.bytes();
  }
  void run(worker& w, const R* a, const R* b, R* c) const {
    pieces p(w, worker_bytes());
    C* packed = p.template take<C>(panels_size(s_.k, s_.n, panel<C>));
    C* wide = p.template take<C>(std::is_same_v<R, C> ? 0 : s_.m * s_.k);
    const C alpha = static_cast<C>(s_.alpha);
    for (index e = 0; e < s_.batch; ++e, a += s_.stride_a, b += s_.stride_b, c += s_.stride_c) {
      pack_panels(b, s_.trans_b ? 1 : s_.ldb, s_.trans_b ? s_.ldb : 1, s_.k, s_.n, packed, widen<C, R>);
      const C* left = nullptr;
      index ld = s_.lda;
      if constexpr (std::is_same_v<R, C>) {
        left = a;
      } else {
        const index a_rows = s_.trans_a ? s_.k : s_.m, a_cols = s_.trans_a ? s_.m : s_.k;
        widen_rows(a, s_.lda, a_rows, a_cols, wide);
        left = wide, ld = a_cols;
      }
      multiply_panels(left, s_.trans_a ? 1 : ld, s_.trans_a ? ld : 1, s_.m, packed, s_.n, s_.k,
                      [&](index i, index j0, index width, const C* sum) {
                        R* to = c + i * s_.ldc + j0;
                        for (index j = 0; j < width; ++j) {
                          const C v = alpha * sum[j];
                          to[j] = static_cast<R>(s_.accumulate ? widen<C>(to[j]) + v : v);
                        }
                      });
    }
  }

 private:
  batched_shape s_;
};

}  // namespace polymoe::inline v0::maths::detail
