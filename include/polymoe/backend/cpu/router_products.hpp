// The products of a router with its weights W [columns, D] on the CPU: logits, input gradient, weight gradient.
//
// A router that perturbs its input (router/input_noise.hpp) has it multiplied by the factors in tiles, as it is read.
// Rows of units that are not finite count as zeros in the weight gradient.  Partial weight gradients of row ranges are
// added in order, so that bits do not depend on the number of threads.
#pragma once

#include "../../core/param.hpp"
#include "../../router/input_noise.hpp"
#include "../../router/length.hpp"
#include "draws.hpp"
#include "logits.hpp"
#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// 1 / temperature of a step; throws unless it is a positive number.
inline float inverse_temperature_of(const step_state& step) {
  require(step.temperature > 0 && math::is_finite(1.0f / step.temperature), "routing: temperature is ",
          step.temperature, ", it must be positive");
  return 1.0f / step.temperature;
}
/// The first n numbers of v [1, n or more] become 0; an empty view stays so.
template <class C, class Maths>
void clear_numbers(context<cpu_with<Maths>>& c, view<C> v, index n) {
  if (!v.ptr[0]) return;
  parallel_rows(c.stream, n, 1 << 16, [&](index first, index count, worker&) {
    for (int i = 0; i < view<C>::planes; ++i) std::fill_n(v.ptr[i] + first, count, real_t<C>(0));
  });
}

/// 1 / |v| of row i, by the rule of inverse_length.
template <class V>
typename V::compute inverse_row_length(const V& v, index i) {
  using C = typename V::compute;
  const V row = v.rows_at(i, 1);
  return inverse_length(simd::sum<C>(v.cols, [&](index j) {
    const C x = row.get(0, j);
    return x * x;
  }));
}

/// `Perturbed`: calls may come with factors on x, which are exact in compute precision: products
/// then take their input in it.
template <class T, class Maths, bool Perturbed = false>
class router_products {
 public:
  using M = master_t<T>;
  using C = compute_t<T>;
  using input_type = std::conditional_t<Perturbed, C, T>;
  /// The library of dense products, for describe().
  static const char* name() { return maths::resolved<real_t<input_type>, Maths>::name; }

  router_products() = default;
  router_products(index dim, index columns)
      : dim_(dim), columns_(columns), logits_(dim, columns), back_(columns, dim), outer_(columns, dim) {}

  std::size_t packed_bytes() const { return logits_.packed_bytes(); }
  std::size_t packed_back_bytes() const { return back_.packed_bytes(); }
  void pack(view<const M> weight, std::byte* packed, std::byte* packed_back, worker& w) const {
    logits_.pack(weight, packed, w);
    back_.pack(weight, false, packed_back, w);
  }
  /// Row ranges with partial weight gradients of their own, [pieces, columns * D], and
  /// columns more where a bias has one.
  static index pieces(index units) { return std::clamp<index>(ceil_div(units, piece_rows), 1, 16); }
  void need_workers(binder<cpu_with<Maths>>& b) const {
    b.need_worker(logits_.worker_bytes() + (Perturbed ? row_buffer_bytes() : 0));
    b.need_worker(std::max(back_.worker_bytes(), outer_.worker_bytes()) + row_buffer_bytes());
  }

  /// y = x W^T + bias; `bias` [1, columns] may be empty.
  void multiply(context<cpu_with<Maths>>& c, view<const T> x, const std::byte* packed, view<C> y,
                view<const M> bias = {}, const input_noise& noise = {}) const {
    parallel_rows(c.stream, x.rows, 256, [&](index first, index n, worker& w) {
      if constexpr (Perturbed) {
        worker lib = library_worker(w);
        logits_.run(lib, rows_as_compute(w, x.rows_at(first, n), nullptr, noise, first), packed, y.rows_at(first, n));
      } else {
        logits_.run(w, x.rows_at(first, n), packed, y.rows_at(first, n));
      }
      if (!bias.ptr[0]) return;
      for (index t = first; t < first + n; ++t)
        for (index e = 0; e < columns_; ++e) y.add(t, e, bias.get(0, e));
    });
  }
  /// The same for at most 256 rows, as part of a caller's task.
  void multiply_rows(worker& w, view<const T> x, const std::byte* packed, view<C> y) const {
    logits_.run(w, x, packed, y);
  }
  /// d W of at most 256 rows -> dr, in compute numbers, as part of a caller's task.
  void input_gradient_rows(worker& w, view<const C> d, const std::byte* packed, view<C> dr) const {
    back_.run(w, d, packed, {}, dr);
  }
  /// part [columns, D] += d^T r of at most 256 rows, as part of a caller's task; rows whose
  /// `bad` is set count as zeros.
  void weight_gradient_rows(worker& w, view<const T> r, const unsigned char* bad, view<const C> d, view<C> part,
                            const input_noise& noise = {}, index first_unit = 0) const {
    worker lib = library_worker(w);
    const view<const C> x = rows_as_compute(w, r, bad, noise, first_unit);
    for (index block = 0; block < outer_.blocks(); ++block) outer_.run(lib, block, d, x, part);
  }
  /// dr = d W times the factors, or += with `add`.
  void input_gradient(context<cpu_with<Maths>>& c, index units, view<const C> d, const std::byte* packed, view<T> dr,
                      bool add, const input_noise& noise = {}) const {
    parallel_rows(c.stream, units, 256, [&](index first, index n, worker& w) {
      worker lib = library_worker(w);
      if constexpr (std::is_same_v<T, C>)
        if (!noise.active()) return back_.run(lib, d.rows_at(first, n), packed, {}, dr.rows_at(first, n), add);
      const view<C> tile = row_buffer(w, n);
      back_.run(lib, d.rows_at(first, n), packed, {}, tile);
      multiply_factors(tile, noise, first);
      for (index t = 0; t < n; ++t)
        for (index j = 0; j < dr.cols; ++j)
          dr.set(first + t, j, tile.get(t, j) + (add ? dr.get(first + t, j) : C(0)));
    });
  }
  /// grad += d^T r over `rows` units, bias_grad (where it is not empty) += the sum of d; `bad` marks units to leave out
  /// of r (their d is zero), or is null; `partial` has room for pieces(rows).
  void weight_gradient(context<cpu_with<Maths>>& c, index rows, const unsigned char* bad, view<C> partial,
                       view<const T> r, view<const C> d, view<M> grad, view<M> bias_grad = {},
                       const input_noise& noise = {}) const {
    const index n = pieces(rows), per = round_up(ceil_div(std::max<index>(rows, 1), n), 256);
    parallel_for(c.stream, n, [&](index piece, worker& w) {
      view<C> part = partial.rows_at(piece, 1).reshaped(columns_, dim_);
      for (int i = 0; i < view<C>::planes; ++i) std::fill_n(part.ptr[i], part.size(), real_t<C>(0));
      for (index first = piece * per; first < std::min(rows, (piece + 1) * per); first += 256) {
        const index m = std::min({index{256}, rows - first, (piece + 1) * per - first});
        weight_gradient_rows(w, r.rows_at(first, m), bad ? bad + first : nullptr, d.rows_at(first, m), part, noise,
                             first);
      }
      if (!bias_grad.ptr[0]) return;
      for (index e = 0; e < columns_; ++e) partial.set(piece, columns_ * dim_ + e, C(0));
      for (index t = piece * per; t < std::min(rows, (piece + 1) * per); ++t)
        for (index e = 0; e < columns_; ++e) partial.add(piece, columns_ * dim_ + e, d.get(t, e));
    });
    const auto sum_of = [&](index column) {
      C sum(0);
      for (index piece = 0; piece < n; ++piece) sum += partial.get(piece, column);
      return sum;
    };
    for (index e = 0; e < columns_; ++e)
      for (index j = 0; j < dim_; ++j) grad.add(e, j, sum_of(e * dim_ + j));
    if (bias_grad.ptr[0])
      for (index e = 0; e < columns_; ++e) bias_grad.add(0, e, sum_of(columns_ * dim_ + e));
  }
  /// Rows without gaps times the factors of their units, those of `first` on.
  void multiply_factors(view<C> x, const input_noise& noise, index first) const {
    if (!noise.active()) return;
    draw_tile jitter, dropout;
    const index begin = first * dim_;
    each_draw_tile(
        begin, begin + x.rows * dim_,
        [&](index block, index blocks) {
          if (noise.jitter != 0) jitter.fill(noise.jitter_draw, block, blocks);
          if (noise.dropout != 0) dropout.fill(noise.dropout_draw, block, blocks);
        },
        [&](index from, index n, index base) {
          using R = real_t<C>;
          R factor[4 * draw_tile::most_blocks];
          simd::each(n, [&](index i) {
            factor[i] = noise.template factor<R>(jitter[from - base + i], dropout[from - base + i]);
          });
          for (int plane = 0; plane < view<C>::planes; ++plane) {
            R* numbers = x.ptr[plane] + (from - begin);
            simd::each(n, [&](index i) { numbers[i] *= factor[i]; });
          }
        });
  }

 private:
  static constexpr index piece_rows = 2048;
  std::size_t row_buffer_bytes() const {
    return static_cast<std::size_t>(round_up(256 * dim_ * static_cast<index>(sizeof(real_t<C>)) * view<C>::planes, 64));
  }
  worker library_worker(const worker& w) const {
    return {w.id, w.scratch + row_buffer_bytes(), w.bytes - row_buffer_bytes()};
  }

  /// Room for at most 256 rows of compute numbers, at the start of a worker's scratch.
  view<C> row_buffer(worker& w, index rows) const {
    view<C> out;
    auto* base = reinterpret_cast<real_t<C>*>(w.scratch);
    for (int i = 0; i < view<C>::planes; ++i) out.ptr[i] = base + i * rows * dim_;
    out.rows = rows, out.cols = dim_, out.stride = dim_;
    return out;
  }
  /// At most 256 rows of the input as compute numbers, times their factors; rows of bad units become zero when `mask`
  /// is given.  Row t is unit first + t.
  view<const C> rows_as_compute(worker& w, view<const T> x, const unsigned char* mask, const input_noise& noise,
                                index first) const {
    if constexpr (std::is_same_v<T, C>)
      if (!mask && !noise.active()) return x;
    const view<C> out = row_buffer(w, x.rows);
    for (index t = 0; t < x.rows; ++t) {
      const bool bad = mask && mask[t];
      for (int i = 0; i < view<C>::planes; ++i) {
        const auto* from = x.row(t, i);
        auto* to = out.row(t, i);
        if (bad)
          std::fill_n(to, x.cols, real_t<C>(0));
        else if constexpr (std::is_same_v<T, C>)
          std::copy_n(from, x.cols, to);
        else
          widen(from, to, x.cols);
      }
    }
    multiply_factors(out, noise, first);
    return out;
  }

  index dim_ = 0, columns_ = 0;
  logits_product<input_type, Maths> logits_;
  planar_product<C, Maths> back_;
  planar_outer_product<C, Maths> outer_;
};

}  // namespace backend
}  // namespace polymoe
