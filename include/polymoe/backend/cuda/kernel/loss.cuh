// Softmax cross-entropy: a warp owns a row; one block then adds the rows in a fixed order.
#pragma once

#include "../../cpu/loss.hpp"
#include "pointwise.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// to[u] = table[labels[u / per_row]] for units * per_row numbers.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    look_up_labels_kernel(const std::int32_t* labels, index units, const int* table, index per_row, int* to) {
  for (index u = device::block_rank() * Threads + device::thread_rank(); u < units;
       u += device::grid_size().volume() * Threads)
    to[u] = table[labels[u / per_row]];
}

/// What rows are compared with.
struct loss_targets {
  const std::int32_t* labels = nullptr;  ///< [rows]
  const std::int32_t* second = nullptr;  ///< [rows], or null
  const double* own = nullptr;           ///< share of the first label where there is a second one
  double on = 1;                         ///< of the target, what is not spread over all classes
};

/// losses[r] and hits[r] of every row, and dlogits = scale * d loss / d logits unless null.  A label outside
/// [0, classes), or a share outside [0, 1], makes the row's loss and gradient NaN and its hit 0.
template <class T, int V>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * move_warps, 4)
    cross_entropy_kernel(view<const T> logits, loss_targets targets, compute_t<T> off, compute_t<T> scale,
                         view<T> dlogits, double* losses, std::int32_t* hits) {
  using C = compute_t<T>;
  const double share = targets.second ? *targets.own : 1.0;
  const bool fair = share >= 0 && share <= 1;
  const C on = static_cast<C>(targets.on), other = static_cast<C>(targets.on * (1.0 - share));
  for (index r = warp_rank(); r < logits.rows; r += warp_total()) {
    const index label = targets.labels[r], second = targets.second ? targets.second[r] : label;
    const bool known = label >= 0 && label < logits.cols && second >= 0 && second < logits.cols && fair;
    // Lane 1 has the second label and its share of the target, the others the first one.
    const bool last = device::lane() == 1;
    const index mine = last ? second : label;
    const C q = label == second ? (last ? C(0) : on) : last ? other : on - other;
    held_rows<T, V, 1> in{{logits.row(r)}, logits.cols, {}};
    in.load();
    C top = -C(__builtin_inff());
    in.each([&](index, const auto& p) {
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) top = static_cast<C>(p[0].v[k]) > top ? static_cast<C>(p[0].v[k]) : top;
    });
    top = warp_group{}.max(top);
    C total(0), sum(0);
    int best = 0x7fffffff;
    in.each([&](index j, const auto& p) {
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) {
        const C z = static_cast<C>(p[0].v[k]) - top;
        total += math::exp(z);
        sum += z;
        const int column = static_cast<int>(j) + k;
        best = z == C(0) && column < best ? column : best;
      }
    });
    total = warp_group{}.sum(total);
    sum = warp_group{}.sum(sum);
    best = warp_group{}.min(best);
    const C bad = C(__builtin_nanf(""));
    const C part = known && q != C(0) ? q * (logits.get(r, mine) - top) : C(0),
            second_part = device::shuffle_idx(part, 1);
    if (device::lane() == 0) {
      const C loss = known ? math::log(total) - part - off * sum - second_part : bad;
      losses[r] = static_cast<double>(loss);
      hits[r] = known && loss == loss && best == label;
    }
    if (!dlogits.ptr[0]) continue;
    const C inverse = known ? C(1) / total : bad;
    in.each([&](index j, const auto& p) {
      C g[V];
      POLYMOE_UNROLL
      for (int k = 0; k < V; ++k) g[k] = scale * (math::exp(static_cast<C>(p[0].v[k]) - top) * inverse - off);
      store_wide<V>(dlogits.row(r) + j, g);
    });
    // The labels' own columns again, over what another lane has written.
    device::sync_warp();
    if (known && device::lane() < 2 && q != C(0))
      store(dlogits.row(r)[mine], scale * (math::exp(logits.get(r, mine) - top) * inverse - off - q));
  }
}

inline constexpr int report_warps = 8;
/// *report from the rows' losses and hits: with N threads, thread t adds rows t, t + N, ... in order, then threads and
/// warps are joined in a fixed tree.  One block; shared memory: 16 bytes a warp.
template <int Warps>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(32 * Warps)
    loss_report_kernel(const double* losses, const std::int32_t* hits, index rows, loss_report* report) {
  double loss = 0;
  index correct = 0;
  for (index r = device::thread_rank(); r < rows; r += 32 * Warps) loss += losses[r], correct += hits[r];
  loss = warp_group{}.sum(loss);
  correct = warp_group{}.sum(correct);
  double* shared_loss = device::shared<double>();
  index* shared_correct = device::shared<index>(Warps * sizeof(double));
  if (device::lane() == 0) shared_loss[device::warp()] = loss, shared_correct[device::warp()] = correct;
  device::sync_block();
  if (device::thread_rank() > 0) return;
  for (int w = 1; w < Warps; ++w) loss += shared_loss[w], correct += shared_correct[w];
  report->loss = rows > 0 ? loss / static_cast<double>(rows) : 0;
  report->loss_tangent = 0;
  report->rows = rows;
  report->correct = correct;
}

}  // namespace backend::kernel
}  // namespace polymoe
