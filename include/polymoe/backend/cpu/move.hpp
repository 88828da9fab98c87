// Gather and combine on the CPU: rows between unit order and slot order.  Both directions are gathers, so no two tasks
// write one row, and sums run in a fixed order.
//
// A unit has `unit_rows` rows of payload (1 for tokens, a whole token block for images); slot s owns rows
// [s * unit_rows, +unit_rows).
#pragma once

#include <algorithm>
#include <limits>

#include "../../plan/sparse_plan.hpp"
#include "parallel.hpp"

namespace polymoe::inline v0 {

namespace backend {

/// Units per task of the loops below: about 16 thousand numbers.
inline index move_grain(index row_cols) { return std::max<index>(1, 16384 / std::max<index>(1, row_cols)); }

/// slots[s] = x[token(s)] for every occupied slot of a padded or packed plan.
template <class T, class C, class Maths>
void gather(const context<cpu_with<Maths>>& c, const sparse_plan<C>& p, view<const T> x, index unit_rows,
            view<T> slots) {
  const index n = unit_rows * x.cols;
  parallel_rows(c.stream, p.begin[p.all_experts], move_grain(n), [&](index first, index count, worker&) {
    for (index s = first; s < first + count; ++s) {
      const int t = p.token[s];
      if (t < 0) continue;
      for (int i = 0; i < view<T>::planes; ++i)
        for (index r = 0; r < unit_rows; ++r)
          std::copy_n(x.row(index{t} * unit_rows + r, i), x.cols, slots.row(s * unit_rows + r, i));
    }
  });
}

namespace detail {
/// out[0, :] = sum_i w[i] * in_i[0, :] over the rows `rows[i]` of `from`; compute precision, rounded once.
template <class T, class W>
void weighted_rows(view<const T> from, const index* rows, const W* w, int n, view<T> to, index to_row) {
  using C = compute_t<T>;
  if constexpr (is_dual<T>) {
    // (w x)' = w x' + w' x, plane by plane.
    using R = real_t<T>;
    R *out_v = to.row(to_row, 0), *out_t = to.row(to_row, 1);
    std::fill_n(out_v, to.cols, R(0)), std::fill_n(out_t, to.cols, R(0));
    for (int i = 0; i < n; ++i) {
      const R *v = from.row(rows[i], 0), *t = from.row(rows[i], 1);
      const R wv = w[i].v, wt = w[i].t;
      POLYMOE_SIMD
      for (index j = 0; j < to.cols; ++j) {
        out_v[j] += wv * v[j];
        out_t[j] += wv * t[j] + wt * v[j];
      }
    }
  } else {
    constexpr index width = 128;
    for (index j0 = 0; j0 < to.cols; j0 += width) {
      const index m = std::min(width, to.cols - j0);
      C acc[width] = {};
      for (int i = 0; i < n; ++i) {
        const auto* in = from.row(rows[i]) + j0;
        const C weight = w[i];
        POLYMOE_SIMD
        for (index j = 0; j < m; ++j) acc[j] += weight * static_cast<C>(in[j]);
      }
      auto* out = to.row(to_row) + j0;
      POLYMOE_SIMD
      for (index j = 0; j < m; ++j) store(out[j], acc[j]);
    }
  }
}
/// <a[ra, :], b[rb, :]>; 16 interleaved partial sums, added in order.
template <class T>
compute_t<T> row_dot(view<const T> a, index ra, view<const T> b, index rb) {
  using C = compute_t<T>;
  if constexpr (is_dual<T>) {
    using R = real_t<T>;
    const R *av = a.row(ra, 0), *at = a.row(ra, 1), *bv = b.row(rb, 0), *bt = b.row(rb, 1);
    R v = 0, t = 0;
    POLYMOE_SIMD_SUM(v, t)
    for (index j = 0; j < a.cols; ++j) {
      v += av[j] * bv[j];
      t += at[j] * bv[j] + av[j] * bt[j];
    }
    return C(v, t);
  } else {
    C lane[16] = {};
    const auto *x = a.row(ra), *y = b.row(rb);
    index j = 0;
    for (; j + 16 <= a.cols; j += 16) {
      POLYMOE_SIMD
      for (int i = 0; i < 16; ++i) lane[i] += static_cast<C>(x[j + i]) * static_cast<C>(y[j + i]);
    }
    for (; j < a.cols; ++j) lane[0] += static_cast<C>(x[j]) * static_cast<C>(y[j]);
    C sum(0);
    for (int i = 0; i < 16; ++i) sum += lane[i];
    return sum;
  }
}
/// Calls f(slots, gates, n) in batches of at most 32 for the slots of unit t.
template <class C, class F>
void for_slots(const sparse_plan<C>& p, int t, F f) {
  index slot[32];
  C gate[32];
  int n = 0;
  bool first = true;
  for (int j = 0; j < p.choices(t); ++j) {
    const int s = p.slot_at(t, j);
    if (s < 0) continue;
    slot[n] = s, gate[n] = p.gate.get(0, s);
    if (++n == 32) f(slot, gate, n, first), n = 0, first = false;
  }
  if (n > 0 || first) f(slot, gate, n, first);
}
}  // namespace detail

/// y[t] = sum over the unit's slots of gate * out[slot] (+ skip[t] * x[t]); NaN for units that were not finite.
template <class T, class C, class Maths>
void combine_slots(const context<cpu_with<Maths>>& c, const sparse_plan<C>& p, view<const T> out, view<const T> x,
                   index unit_rows, view<T> y) {
  parallel_rows(c.stream, p.tokens, move_grain(unit_rows * y.cols), [&](index first_unit, index count, worker&) {
    for (index t = first_unit; t < first_unit + count; ++t) {
      for (index r = 0; r < unit_rows; ++r) {
        const index row = t * unit_rows + r;
        if (p.bad[t]) {
          for (index j = 0; j < y.cols; ++j) y.set(row, j, compute_t<T>(std::numeric_limits<float>::quiet_NaN()));
          continue;
        }
        detail::for_slots(p, static_cast<int>(t), [&](const index* slot, const C* gate, int n, bool fresh) {
          index rows[32];
          for (int i = 0; i < n; ++i) rows[i] = slot[i] * unit_rows + r;
          if (fresh) {
            detail::weighted_rows(out, rows, gate, n, y, row);
          } else {
            for (index j = 0; j < y.cols; ++j) {
              compute_t<T> sum = y.get(row, j);
              for (int i = 0; i < n; ++i) sum += gate[i] * out.get(rows[i], j);
              y.set(row, j, sum);
            }
          }
        });
        if (p.skip.ptr[0]) {
          const C w = p.skip.get(0, t);
          if (value_of(w) != 0)
            for (index j = 0; j < y.cols; ++j) y.add(row, j, w * x.get(row, j));
        }
      }
    }
  });
}

/// d_out[slot] = gate * dy[t];  d_gate[slot] += <dy[t], out[slot]>;  d_skip[t] += <dy[t], x[t]>.  With an empty `out`,
/// d_out[slot] = dy[t] and d_gate is left alone: the experts find it (save::without_output).
template <class T, class C, class Maths>
void combine_backward(const context<cpu_with<Maths>>& c, const sparse_plan<C>& p, view<const T> dy, view<const T> out,
                      view<const T> x, index unit_rows, view<T> d_out, view<C> d_gate, view<C> d_skip) {
  parallel_rows(c.stream, p.tokens, move_grain(unit_rows * dy.cols), [&](index first, index count, worker&) {
    for (index t = first; t < first + count; ++t) {
      if (p.bad[t]) {
        if (p.layout == plan_layout::identity)
          for (int e = 0; e < p.all_experts; ++e)
            for (index r = 0; r < unit_rows; ++r)
              for (int i = 0; i < view<T>::planes; ++i)
                std::fill_n(d_out.row((index{e} * p.tokens + t) * unit_rows + r, i), d_out.cols, real_t<T>(0.0f));
        continue;
      }
      for (int j = 0; j < p.choices(static_cast<int>(t)); ++j) {
        const index s = p.slot_at(static_cast<int>(t), j);
        if (s < 0) continue;
        const C gate = out.ptr[0] ? p.gate.get(0, s) : C(1);
        C dot(0);
        for (index r = 0; r < unit_rows; ++r) {
          const index row = t * unit_rows + r;
          detail::weighted_rows<T, C>(dy, &row, &gate, 1, d_out, s * unit_rows + r);
          if (out.ptr[0]) dot += detail::row_dot(dy, row, out, s * unit_rows + r);
        }
        if (out.ptr[0]) d_gate.add(0, s, dot);
      }
      if (p.skip.ptr[0]) {
        C dot(0);
        for (index r = 0; r < unit_rows; ++r) dot += detail::row_dot(dy, t * unit_rows + r, x, t * unit_rows + r);
        d_skip.add(0, t, dot);
      }
    }
  });
}

/// dx[t] = sum over the unit's slots of d_slots[slot] (+ skip[t] * dy[t]); zero for units that were not finite.
template <class T, class C, class Maths>
void gather_backward(const context<cpu_with<Maths>>& c, const sparse_plan<C>& p, view<const T> d_slots,
                     view<const T> dy, index unit_rows, view<T> dx) {
  parallel_rows(c.stream, p.tokens, move_grain(unit_rows * dx.cols), [&](index first_unit, index count, worker&) {
    C one[32];
    for (C& x : one) x = C(1);
    for (index t = first_unit; t < first_unit + count; ++t) {
      for (index r = 0; r < unit_rows; ++r) {
        const index row = t * unit_rows + r;
        if (p.bad[t]) {
          for (int i = 0; i < view<T>::planes; ++i) std::fill_n(dx.row(row, i), dx.cols, real_t<T>(0.0f));
          continue;
        }
        detail::for_slots(p, static_cast<int>(t), [&](const index* slot, const C*, int n, bool fresh) {
          index rows[32];
          for (int i = 0; i < n; ++i) rows[i] = slot[i] * unit_rows + r;
          if (fresh) {
            detail::weighted_rows(d_slots, rows, one, n, dx, row);
          } else {
            for (index j = 0; j < dx.cols; ++j) {
              compute_t<T> sum = dx.get(row, j);
              for (int i = 0; i < n; ++i) sum += d_slots.get(rows[i], j);
              dx.set(row, j, sum);
            }
          }
        });
        if (p.skip.ptr[0]) {
          const C w = p.skip.get(0, t);
          if (value_of(w) != 0)
            for (index j = 0; j < dx.cols; ++j) dx.add(row, j, w * dy.get(row, j));
        }
      }
    }
  });
}

/// The rows experts read, in slot order; for mixtures the units' own rows, those of bad units as zeros.  `gathered` has
/// room for either.
template <class T, class C, class Maths>
view<const T> expert_input(const context<cpu_with<Maths>>& c, const sparse_plan<C>& p, view<const T> x, index unit_rows,
                           view<T> gathered) {
  if (p.layout != plan_layout::identity) {
    gather(c, p, x, unit_rows, gathered);
    return gathered;
  }
  if (*p.bad_count == 0) return x;
  parallel_rows(c.stream, x.rows, move_grain(x.cols), [&](index first, index n, worker&) {
    for (index row = first; row < first + n; ++row)
      for (int i = 0; i < view<T>::planes; ++i)
        if (p.bad[row / unit_rows]) std::fill_n(gathered.row(row, i), x.cols, real_t<T>(0.0f));
        else std::copy_n(x.row(row, i), x.cols, gathered.row(row, i));
  });
  return gathered.rows_at(0, x.rows);
}

/// The router's input for units of several rows: the rows, each with the share the unit policy gives it.
template <class Unit, class T, class Maths>
void pool_units(const context<cpu_with<Maths>>& c, view<const T> x, index unit_rows, view<T> pooled) {
  using C = compute_t<T>;
  const index n = unit_rows;
  parallel_rows(c.stream, pooled.rows, move_grain(n * x.cols), [&](index first, index count, worker&) {
    for (index u = first; u < first + count; ++u)
      for (index j = 0; j < x.cols; ++j) {
        C sum(0);
        for (index r = 0; r < n; ++r)
          if (const double w = Unit::share(r, n); w != 0) sum += x.get(u * n + r, j) * C(w);
        pooled.set(u, j, sum);
      }
    // A bad number in a row that has no share still makes the whole unit bad: its payload must not reach an expert.
    for (index u = first; u < first + count; ++u)
      for (index r = 0; r < n; ++r) {
        if (Unit::share(r, n) != 0) continue;
        bool finite = true;
        for (index j = 0; j < x.cols; ++j) finite = finite && math::is_finite(x.get(u * n + r, j));
        if (!finite) pooled.set(u, 0, C(std::numeric_limits<float>::quiet_NaN()));
      }
  });
}
/// dx[rows of a unit] += share * d[unit].
template <class Unit, class T, class Maths>
void spread_units(const context<cpu_with<Maths>>& c, view<const T> d, index unit_rows, view<T> dx) {
  using C = compute_t<T>;
  parallel_rows(c.stream, d.rows, move_grain(unit_rows * dx.cols), [&](index first, index count, worker&) {
    for (index u = first; u < first + count; ++u)
      for (index r = 0; r < unit_rows; ++r)
        if (const double w = Unit::share(r, unit_rows); w != 0)
          for (index j = 0; j < dx.cols; ++j) dx.add(u * unit_rows + r, j, d.get(u, j) * C(w));
  });
}

}  // namespace backend
}  // namespace polymoe
