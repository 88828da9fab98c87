// Dense products on tensors of any scalar: plain numbers in one call, dual numbers plane by plane.
//
// For dual numbers a product has a value and a tangent plane, (X W)' = X' W + X W', so a library that knows only plain
// numbers runs at full speed: three calls forward, six backward.
#pragma once

#include "../../core/param.hpp"
#include "maths.hpp"

namespace polymoe::inline v0 {

/// Y[m, n] = X[m, k] W[k, n] for tensors of T; W is packed once per optimiser step.
template <class T, class Maths>
class planar_product {
 public:
  using R = real_t<T>;
  using M = master_t<T>;
  static constexpr int planes = plane_count<T>;
  static constexpr index tile_rows = maths::product<R, Maths>::tile_rows;

  planar_product() = default;
  planar_product(index k, index n) : product_(k, n) {}

  /// Bytes of one packed matrix.
  std::size_t packed_bytes() const {
    return static_cast<std::size_t>(round_up(static_cast<index>(product_.packed_bytes()), arena::alignment)) * planes;
  }
  std::size_t worker_bytes() const { return product_.worker_bytes(); }

  /// `w` is [k, n], or [n, k] when transposed (a PyTorch weight used as W^T).
  void pack(view<const M> w, bool transposed, std::byte* packed, worker& wk) const {
    for (int i = 0; i < planes; ++i)
      product_.pack(w.ptr[i], w.stride, transposed, packed + static_cast<std::size_t>(i) * packed_bytes() / planes, wk);
  }
  /// At most tile_rows rows.  `bias` ([1, n], may be empty) only without accumulate.
  void run(worker& wk, view<const T> x, const std::byte* packed, view<const M> bias, view<T> y,
           bool accumulate = false) const {
    const std::byte* w1 = packed + packed_bytes() / planes;
    product_.run(wk, x.ptr[0], x.stride, x.rows, packed, bias.ptr[0], y.ptr[0], y.stride, accumulate);
    if constexpr (planes == 2) {
      product_.run(wk, x.ptr[1], x.stride, x.rows, packed, bias.ptr[1], y.ptr[1], y.stride, accumulate);
      product_.run(wk, x.ptr[0], x.stride, x.rows, w1, nullptr, y.ptr[1], y.stride, true);
    }
  }
  /// One plane, output in master numbers.
  void run_to_master(worker& wk, view<const T> x, const std::byte* packed, view<M> y, bool accumulate = false) const
    requires(planes == 1)
  {
    product_.run_to_master(wk, x.ptr[0], x.stride, x.rows, packed, nullptr, y.ptr[0], y.stride, accumulate);
  }

 private:
  maths::product<R, Maths> product_;
};

/// G[n, k] += A[rows, n]^T X[rows, k]: the weight gradient, in master numbers.
template <class T, class Maths>
class planar_outer_product {
 public:
  using R = real_t<T>;
  using M = master_t<T>;
  planar_outer_product() = default;
  planar_outer_product(index n, index k) : product_(n, k) {}

  index blocks() const { return product_.blocks(); }
  index preferred_pieces(index rows) const { return product_.preferred_pieces(rows); }
  std::size_t worker_bytes() const { return product_.worker_bytes(); }
  void run(worker& wk, index block, view<const T> a, view<const T> x, view<M> g) const {
    product_.run(wk, block, a.ptr[0], a.stride, x.ptr[0], x.stride, a.rows, g.ptr[0], g.stride);
    if constexpr (plane_count<T> == 2) {
      product_.run(wk, block, a.ptr[1], a.stride, x.ptr[0], x.stride, a.rows, g.ptr[1], g.stride);
      product_.run(wk, block, a.ptr[0], a.stride, x.ptr[1], x.stride, a.rows, g.ptr[1], g.stride);
    }
  }

 private:
  maths::outer_product<R, Maths> product_;
};

}  // namespace polymoe
