// Softmax cross-entropy on CUDA: value, gradient and hits in one pass over the logits, the report in a second launch.
#pragma once

#include "../kernel/loss.cuh"
#include "pointwise.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// As on the CPU; labels, table and `to` lie in device memory.
inline void look_up_labels(context<cuda_device>& c, std::span<const std::int32_t> labels, const int* table,
                           index per_row, int* to) {
  const index units = static_cast<index>(labels.size()) * per_row;
  if (units == 0) return;
  constexpr int threads = 128;
  device::launch({.kernel = "look up labels",
                  .grid = static_cast<int>(std::min<index>(ceil_div(units, threads), index{c.stream.blocks} * 8)),
                  .block = threads,
                  .shared = 0,
                  .stream = c.stream.handle},
                 kernel::look_up_labels_kernel<threads>, labels.data(), units, table, per_row, to);
}

/// Measures the scratch of softmax_cross_entropy: a loss and a hit per row.
template <class T>
void cross_entropy_bind(binder<cuda_device>& b, index max_rows) {
  arena_scope all(b.scratch);
  b.scratch.template take_raw<double>(max_rows);
  b.scratch.template take_raw<std::int32_t>(max_rows);
}

/// Mean over rows of -sum_k q_k log softmax(logits)_k with q = (1 - smoothing) onehot(label) + smoothing / classes
/// (Szegedy et al. 2016, eq. 5..8); with `mix` the onehot is own * onehot(label) + (1 - own) * onehot(second).  dlogits
/// = weight * d mean / d logits, unless empty.  Labels, share and report lie in device memory.  Nothing can be thrown
/// for a label outside [0, classes) or a share outside [0, 1]: the loss and the gradient of its row become NaN, and
/// with them the mean; `rows` still counts the row, `correct` does not.  A row with a NaN is not correct either.  The
/// mean is a sum in a fixed order in double, which is not the order of the CPU.
template <class T>
void softmax_cross_entropy(context<cuda_device>& c, view<const T> logits, std::span<const std::int32_t> labels,
                           double smoothing, double weight, view<T> dlogits, loss_report* report,
                           const label_mix& mix = {}) {
  using C = compute_t<T>;
  const index rows = logits.rows, classes = logits.cols;
  require(static_cast<index>(labels.size()) == rows, "cross_entropy: ", labels.size(), " labels for ", rows, " rows");
  const bool mixed = !mix.second.empty();
  require(!mixed || mix.own, "cross_entropy: ", mix.second.size(),
          " second labels without the share of the first ones");
  require(!mixed || static_cast<index>(mix.second.size()) == rows, "cross_entropy: ", mix.second.size(),
          " second labels for ", rows, " rows");
  arena_scope all(c.scratch);
  double* losses = c.scratch.template take_raw<double>(rows);
  std::int32_t* hits = c.scratch.template take_raw<std::int32_t>(rows);
  kernel::loss_targets targets;
  targets.labels = labels.data(), targets.on = 1.0 - smoothing;
  if (mixed) targets.second = mix.second.data(), targets.own = mix.own;
  const C off = static_cast<C>(smoothing / static_cast<double>(classes));
  const C scale = static_cast<C>(rows ? weight / static_cast<double>(rows) : 0.0);
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("cross_entropy", c.stream, rows), kernel::cross_entropy_kernel<T, V::value>,
                       logits, targets, off, scale, dlogits, losses, hits);
      },
      logits, dlogits);
  device::launch({.kernel = "loss report",
                  .grid = 1,
                  .block = 32 * kernel::report_warps,
                  .shared = kernel::report_warps * (sizeof(double) + sizeof(index)),
                  .stream = c.stream.handle},
                 kernel::loss_report_kernel<kernel::report_warps>, losses, hits, rows, report);
}

}  // namespace backend
}  // namespace polymoe
