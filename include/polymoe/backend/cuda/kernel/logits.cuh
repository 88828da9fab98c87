// Products of the router on CUDA cores: out(m, n) = sum over k of a(m, k) b(k, n), in the compute precision.
//
// One text serves the logits (units x experts), the weight gradient (width x experts) and the input gradient (units x
// width): operands come through functions, so that zero rows of bad units, bf16 inputs and transposes cost nothing
// here. A bf16 input is exact in float and the router matrix stays in float, so these logits are as exact as those of a
// float input.  The sum runs over k in order, whatever the grid.
#pragma once

#include "../../../core/dtype.hpp"
#include "../device.cuh"
#include "../tuning/route.hpp"

namespace polymoe::inline v0 {

/// Shape of one block's product: 64 rows and 8 * Columns columns, a thread holds 4 x Columns of them.
struct product_shape {
  static constexpr int rows = 64, row_threads = 16, column_threads = 8, per_thread = rows / row_threads;
  static constexpr int row_stride = rows + 4;  ///< of shared memory: neighbouring k meet other banks
  static constexpr int most_columns = 4;
  static_assert(row_threads * column_threads == route_tuning::threads,
                "polymoe: a product tile needs one thread per cell");

  /// Bytes of shared memory for scalars of `size` bytes.
  static constexpr std::size_t bytes(std::size_t size) {
    return size * route_tuning::depth_step * (row_stride + column_threads * most_columns);
  }
};

/// `a(m, k)` and `b(k, n)` give 0 outside their matrices in m and n and are not asked beyond `depth`; `out(m, n, sum)`
/// drops what lies outside.  AlongK says that neighbouring k are neighbours in memory.
template <class C, int Columns, bool AAlongK, bool BAlongK, class A, class B, class Out>
POLYMOE_DEVICE void product_tile(C* shared, index depth, A a, B b, Out out) {
  using shape = product_shape;
  constexpr int step = route_tuning::depth_step, columns = shape::column_threads * Columns;
  const int thread = device::thread_rank(), row = thread / shape::column_threads,
            column = thread % shape::column_threads;
  C* as = shared;                             // [step, row_stride]
  C* bs = shared + step * shape::row_stride;  // [step, columns]
  C sum[shape::per_thread][Columns];
  for (auto& line : sum)
    for (C& x : line) x = C(0);
  for (index k0 = 0; k0 < depth; k0 += step) {
    device::sync_block();
    POLYMOE_UNROLL
    for (int i = thread; i < shape::rows * step; i += route_tuning::threads) {
      const int m = AAlongK ? i / step : i % shape::rows, k = AAlongK ? i % step : i / shape::rows;
      as[k * shape::row_stride + m] = k0 + k < depth ? a(m, k0 + k) : C(0);
    }
    POLYMOE_UNROLL
    for (int i = thread; i < columns * step; i += route_tuning::threads) {
      const int n = BAlongK ? i / step : i % columns, k = BAlongK ? i % step : i / columns;
      bs[k * columns + n] = k0 + k < depth ? b(k0 + k, n) : C(0);
    }
    device::sync_block();
    POLYMOE_UNROLL
    for (int k = 0; k < step; ++k) {
      C x[shape::per_thread], y[Columns];
      POLYMOE_UNROLL
      for (int i = 0; i < shape::per_thread; ++i) x[i] = as[k * shape::row_stride + row * shape::per_thread + i];
      POLYMOE_UNROLL
      for (int i = 0; i < Columns; ++i) y[i] = bs[k * columns + column * Columns + i];
      POLYMOE_UNROLL
      for (int i = 0; i < shape::per_thread; ++i) POLYMOE_UNROLL
      for (int j = 0; j < Columns; ++j) sum[i][j] += x[i] * y[j];
    }
  }
  for (int i = 0; i < shape::per_thread; ++i)
    for (int j = 0; j < Columns; ++j) out(row * shape::per_thread + i, column * Columns + j, sum[i][j]);
}

/// Calls f with the number of columns per thread that wastes least for a width of `n`.
template <class F>
POLYMOE_DEVICE void with_product_columns(int n, F f) {
  if (n <= product_shape::column_threads)
    f(std::integral_constant<int, 1>{});
  else if (n <= 2 * product_shape::column_threads)
    f(std::integral_constant<int, 2>{});
  else
    f(std::integral_constant<int, product_shape::most_columns>{});
}

/// What linear logits become on their way out of a product; bias may be null.
template <class C>
struct plus_bias {
  const C* bias;
  POLYMOE_DEVICE C operator()(C x, index /*unit*/, index expert) const { return bias ? x + bias[expert] : x; }
};

/// logits[t, e] = finish(<input row t, weight row e>, t, e) for units [first, end) and all experts, rows
/// `logits_stride` apart; `noise` is what the router does to its input.
template <class T, class Noise, class Finish>
POLYMOE_NOINLINE POLYMOE_DEVICE void logits_tile(compute_t<T>* shared, const T* input, index input_stride, index dim,
                                                 const master_t<T>* weight, const Noise& noise, const Finish& finish,
                                                 compute_t<T>* logits, index logits_stride, int experts, index first,
                                                 index end) {
  using C = compute_t<T>;
  const int units = static_cast<int>(end - first);
  with_product_columns(experts, [&]<class N>(N) {
    constexpr int columns = product_shape::column_threads * N::value;
    for (int e0 = 0; e0 < experts; e0 += columns)
      product_tile<C, N::value, true, true>(
          shared, dim,
          [&](int m, index k) {
            return m < units ? noise.apply(static_cast<C>(input[(first + m) * input_stride + k]), (first + m) * dim + k)
                             : C(0);
          },
          [&](index k, int n) { return e0 + n < experts ? static_cast<C>(weight[index{e0 + n} * dim + k]) : C(0); },
          [&](int m, int n, C x) {
            if (m < units && e0 + n < experts)
              logits[(first + m) * logits_stride + e0 + n] = finish(x, first + m, e0 + n);
          });
  });
}

}  // namespace polymoe
