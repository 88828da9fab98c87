// Softmax cross-entropy on the CPU: value, gradient and hit count in one pass over the logits.
#pragma once

#include <span>

#include "simd.hpp"

namespace polymoe::inline v0 {

/// What a loss call reports, in the backend's memory.
struct loss_report {
  double loss = 0;          ///< mean over rows
  double loss_tangent = 0;  ///< its derivative along the direction of dual inputs
  index rows = 0;
  index correct = 0;  ///< rows whose largest logit (the first one of equals) is the label
};

/// A second label for every row, as mixup and CutMix make them: the loss is own * CE(label) + (1 - own) * CE(second).
/// Both lie in the backend's memory, as labels do, so that a captured step finds those of its batch.
struct label_mix {
  std::span<const std::int32_t> second{};  ///< [rows]; empty: no row has one
  const double* own = nullptr;             ///< one number in [0, 1]
};

namespace backend {

/// to[u] = table[label of the row that unit u belongs to], `per_row` units a row; labels are in the table's range.
template <class Maths>
void look_up_labels(context<cpu_with<Maths>>&, std::span<const std::int32_t> labels, const int* table, index per_row,
                    int* to) {
  for (std::size_t r = 0; r < labels.size(); ++r)
    for (index j = 0; j < per_row; ++j) *to++ = table[labels[r]];
}

/// Measures the scratch of cross_entropy: one double per row and plane, one hit per row.
template <class T, class Maths>
void cross_entropy_bind(binder<cpu_with<Maths>>& b, index max_rows) {
  arena_scope all(b.scratch);
  b.scratch.template take_raw<double>(2 * max_rows);
  b.scratch.template take_raw<std::int32_t>(max_rows);
}

/// Mean over rows of -sum_k q_k log softmax(logits)_k with q = (1 - smoothing) onehot(label) + smoothing / classes
/// (Szegedy et al. 2016, eq. 5..8); with `mix` the onehot is own * onehot(label) + (1 - own) * onehot(second).  dlogits
/// = weight * d mean / d logits, unless empty.  The mean is a sum in row order in double.  A label outside [0, classes)
/// throws.  Hits are those of `labels`.
template <class T, class Maths>
POLYMOE_NOINLINE void softmax_cross_entropy(context<cpu_with<Maths>>& c, view<const T> logits,
                                            std::span<const std::int32_t> labels, double smoothing, double weight,
                                            view<T> dlogits, loss_report* report, const label_mix& mix = {}) {
  using S = compute_t<T>;
  using R = real_t<S>;
  const index rows = logits.rows, classes = logits.cols;
  const bool mixed = !mix.second.empty();
  require(!mixed || mix.own, "cross_entropy: ", mix.second.size(),
          " second labels without the share of the first ones");
  const double share = mixed ? *mix.own : 1.0;
  require(share >= 0 && share <= 1, "cross_entropy: the own label's share ", share, " is not in [0, 1]");
  const auto check = [&](std::span<const std::int32_t> all) {
    require(static_cast<index>(all.size()) == rows, "cross_entropy: ", all.size(), " labels for ", rows, " rows");
    for (index r = 0; r < rows; ++r)
      require(all[static_cast<std::size_t>(r)] >= 0 && all[static_cast<std::size_t>(r)] < classes,
              "cross_entropy: label ", all[static_cast<std::size_t>(r)], " of row ", r, " is not in [0, ", classes,
              ")");
  };
  check(labels);
  if (mixed) check(mix.second);
  arena_scope all(c.scratch);
  double* losses = c.scratch.template take_raw<double>(2 * rows);
  std::int32_t* hits = c.scratch.template take_raw<std::int32_t>(rows);
  const R off = static_cast<R>(smoothing / static_cast<double>(classes)), on = static_cast<R>(1.0 - smoothing);
  const R other = static_cast<R>(mixed ? (1.0 - smoothing) * (1.0 - share) : 0.0), own = mixed ? on - other : on;
  const R scale = static_cast<R>(rows ? weight / static_cast<double>(rows) : 0.0);
  parallel_rows(c.stream, rows, simd::rows_per_tile(classes), [&](index r0, index n, worker&) {
    const view<const T> x = logits;
    const view<T> g = dlogits;
    for (index r = r0; r < r0 + n; ++r) {
      const index label = labels[static_cast<std::size_t>(r)];
      const R top = simd::largest<R>(value_of(x.get(r, 0)), classes, [=](index k) { return value_of(x.get(r, k)); });
      const S total = simd::sum<S>(classes, [=](index k) { return math::exp(x.get(r, k) - S(top)); });
      const S sum_x = simd::sum<S>(classes, [=](index k) { return x.get(r, k) - S(top); });
      const S log_total = math::log(total);
      // -sum q (x - top - log total), the q summing to 1.
      S loss = log_total - S(own) * (x.get(r, label) - S(top)) - S(off) * sum_x;
      const index second = mixed ? mix.second[static_cast<std::size_t>(r)] : label;
      if (mixed) loss = loss - S(other) * (x.get(r, second) - S(top));
      if constexpr (is_dual<S>) {
        losses[2 * r] = static_cast<double>(loss.v);
        losses[2 * r + 1] = static_cast<double>(loss.t);
      } else {
        losses[2 * r] = static_cast<double>(loss);
        losses[2 * r + 1] = 0;
      }
      index first = 0;
      while (first < classes && !(value_of(x.get(r, first)) == top)) ++first;
      hits[r] = first == label;
      if (!g.ptr[0]) continue;
      const S inverse = S(1) / total;
      simd::each(classes,
                 [=](index k) { g.set(r, k, S(scale) * (math::exp(x.get(r, k) - S(top)) * inverse - S(off))); });
      // The labels' own columns again, from the logits: bf16 would round twice otherwise.
      const auto column = [&](index k, R q) {
        g.set(r, k, S(scale) * (math::exp(x.get(r, k) - S(top)) * inverse - S(off) - S(q)));
      };
      column(label, second == label ? on : own);
      if (second != label) column(second, other);
    }
  });
  loss_report out;
  for (index r = 0; r < rows; ++r) {
    out.loss += losses[2 * r];
    out.loss_tangent += losses[2 * r + 1];
    out.correct += hits[r];
  }
  out.rows = rows;
  if (rows) {
    out.loss /= static_cast<double>(rows);
    out.loss_tangent /= static_cast<double>(rows);
  }
  *report = out;
}

}  // namespace backend
}  // namespace polymoe
