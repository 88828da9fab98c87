// Dense products through CBLAS (f32, f64), held to one thread.
//
// OpenBLAS has threads of its own; they are switched off for the whole process at the first use, because the number of
// threads of a library call decides how it cuts the reduction, and with it the bits of the result.
#pragma once

#include <cblas.h>

#include "maths_builtin.hpp"

/// Only OpenBLAS has it; another CBLAS leaves it null.
extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace polymoe::inline v0::maths::detail {

/// Idempotent; constructors call it, so that run paths never do.
inline void hold_cblas_to_one_thread() {
  static const bool once = [] {
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(once);
}

/// C[m, n] = alpha * op(A) op(B) + beta * C, row-major.
template <class R>
void cblas_multiply(bool trans_a, bool trans_b, index m, index n, index k, R alpha, const R* a, index lda, const R* b,
                    index ldb, R beta, R* c, index ldc) {
  const auto ta = trans_a ? CblasTrans : CblasNoTrans, tb = trans_b ? CblasTrans : CblasNoTrans;
  const auto i = [](index x) { return static_cast<int>(x); };
  if constexpr (std::is_same_v<R, float>)
    cblas_sgemm(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
  else
    cblas_dgemm(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
}

/// product (maths.hpp).  The packed weight is [k, n], dense.
template <class R>
class cblas_product {
 public:
  static constexpr index tile_rows = 256;

  cblas_product() = default;
  cblas_product(index k, index n) : k_(k), n_(n) {
    require(k > 0 && n > 0, "product: k, n = ", k, ", ", n, " must be positive");
    hold_cblas_to_one_thread();
  }
  index k() const { return k_; }
  index n() const { return n_; }
  std::size_t packed_bytes() const { return static_cast<std::size_t>(k_ * n_) * sizeof(R); }
  std::size_t worker_bytes() const { return 0; }
  void pack(const R* w, index ldw, bool transposed, void* packed, worker&) const {
    R* out = static_cast<R*>(packed);
    if (!transposed) {
      for (index i = 0; i < k_; ++i) std::copy_n(w + i * ldw, n_, out + i * n_);
      return;
    }
    constexpr index side = 16;  // a 16 x 16 square of either matrix stays in the first cache
    for (index j0 = 0; j0 < n_; j0 += side)
      for (index i0 = 0; i0 < k_; i0 += side)
        for (index i = i0; i < std::min(i0 + side, k_); ++i)
          for (index j = j0; j < std::min(j0 + side, n_); ++j) out[i * n_ + j] = w[j * ldw + i];
  }
  void run(worker&, const R* x, index ldx, index rows, const void* packed, const R* bias, R* y, index ldy,
           bool accumulate = false) const {
    require(rows <= tile_rows, "product: ", rows, " rows in one call, at most ", tile_rows, " are allowed");
    if (rows <= 0) return;
    if (bias && !accumulate)
      for (index i = 0; i < rows; ++i) std::copy_n(bias, n_, y + i * ldy);
    cblas_multiply<R>(false, false, rows, n_, k_, R(1), x, ldx, static_cast<const R*>(packed), n_,
                      accumulate || bias ? R(1) : R(0), y, ldy);
  }
  void run_to_master(worker& w, const R* x, index ldx, index rows, const void* packed, const R* bias, R* y, index ldy,
                     bool accumulate = false) const {
    run(w, x, ldx, rows, packed, bias, y, ldy, accumulate);
  }

 private:
  index k_ = 0, n_ = 0;
};

/// outer_product (maths.hpp).
template <class R>
class cblas_outer_product {
  static constexpr index chunk = 512;

 public:
  cblas_outer_product() = default;
  cblas_outer_product(index n, index k) : blocks_(n, k, 384, 384) { hold_cblas_to_one_thread(); }
  index blocks() const { return blocks_.count(); }
  index preferred_pieces(index rows) const { return blocks_.preferred_pieces(rows); }
  std::size_t worker_bytes() const { return 0; }
  void run(worker&, index block, const R* a, index lda, const R* x, index ldx, index rows, R* g, index ldg) const {
    const index n0 = blocks_.first_n(block), k0 = blocks_.first_k(block);
    for (index r = 0; r < rows; r += chunk)
      cblas_multiply<R>(true, false, blocks_.size_n(block), blocks_.size_k(block), std::min(chunk, rows - r), R(1),
                        a + r * lda + n0, lda, x + r * ldx + k0, ldx, R(1), g + n0 * ldg + k0, ldg);
  }

 private:
  output_blocks blocks_;
};

/// batched_product (maths.hpp).
template <class R>
class cblas_batched_product {
 public:
  cblas_batched_product() = default;
  explicit cblas_batched_product(const batched_shape& shape) : s_(shape.resolved()) { hold_cblas_to_one_thread(); }
  std::size_t worker_bytes() const { return 0; }
  void run(worker&, const R* a, const R* b, R* c) const {
    for (index e = 0; e < s_.batch; ++e)
      cblas_multiply<R>(s_.trans_a, s_.trans_b, s_.m, s_.n, s_.k, static_cast<R>(s_.alpha), a + e * s_.stride_a, s_.lda,
                        b + e * s_.stride_b, s_.ldb, s_.accumulate ? R(1) : R(0), c + e * s_.stride_c, s_.ldc);
  }

 private:
  batched_shape s_;
};

}  // namespace polymoe::inline v0::maths::detail
