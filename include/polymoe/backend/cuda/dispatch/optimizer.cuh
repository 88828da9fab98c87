// The optimiser on CUDA: norm, clipping, step and averaged weights of a whole model in three launches, without a host
// read, so that a training step may be captured in a graph.
#pragma once

#include "../backend.cuh"
#include "../kernel/optimizer.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// The tensors of one model as the pieces an optimiser walks, with a step's scratch and report, all in device memory.
/// Made once; `entries` are those of the flat buffers that steps get.
class optimizer_pieces {
 public:
  /// Waits for the upload of the table.
  optimizer_pieces(const cuda_device::stream& s, const std::vector<param_entry>& entries) {
    std::vector<kernel::parameter_piece> table;
    for (const param_entry& e : entries)
      for (index first = 0; first < e.size; first += v0::detail::optimizer_piece) {
        const index n = e.size - first < v0::detail::optimizer_piece ? e.size - first : v0::detail::optimizer_piece;
        table.push_back({e.offset + first, static_cast<std::int32_t>(n), e.decays == decay::yes});
      }
    require(table.size() < 0x7fffffff, "optimizer: ", table.size(), " pieces are more than 31 bits count");
    count_ = static_cast<int>(table.size());
    pieces_ = device_block(table.size() * sizeof(kernel::parameter_piece));
    sums_ = device_block(table.size() * sizeof(double));
    report_ = device_block(sizeof(optimizer_report));
    device::upload(pieces_.data(), table.data(), pieces_.size(), s.handle);
    const optimizer_report fresh;
    device::upload(report_.data(), &fresh, sizeof fresh, s.handle);
  }

  int count() const { return count_; }
  const kernel::parameter_piece* table() const { return static_cast<const kernel::parameter_piece*>(pieces_.data()); }
  double* sums() const { return static_cast<double*>(sums_.data()); }
  /// Of the last step, in device memory: read it with device::download.
  optimizer_report* report() const { return static_cast<optimizer_report*>(report_.data()); }

 private:
  int count_ = 0;
  device_block pieces_, sums_, report_;
};

/// The norm of all gradients to p.report(), and the scale that makes it at most `limit` (0: no clipping).  The
/// gradients stay as they are; optimizer_step applies the scale.  The order of the sum is one for every grid.
template <class R>
void gradient_norm(const context<cuda_device>& c, const optimizer_pieces& p, const R* grads, double limit,
                   bool halts = false) {
  constexpr int halves = 32 * kernel::norm_warps / kernel::norm_lanes;
  const int blocks = static_cast<int>(ceil_div(p.count(), halves)), most = c.stream.blocks * 16;
  device::launch({.kernel = "gradient squares",
                  .grid = blocks < most ? blocks : most,
                  .block = 32 * kernel::norm_warps,
                  .shared = 0,
                  .stream = c.stream.handle},
                 kernel::gradient_squares_kernel<R>, p.table(), p.count(), grads, p.sums());
  device::launch({.kernel = "gradient norm",
                  .grid = 1,
                  .block = kernel::norm_finish_threads,
                  .shared = kernel::norm_stretch * sizeof(double),
                  .stream = c.stream.handle},
                 kernel::gradient_norm_kernel<kernel::norm_stretch>, p.sums(), p.count(), limit, halts,
                 p.report());
}

/// One step of `rule` (sgd or adamw of train/optimizer.hpp): gradient_norm, then parameters and moments, then, with
/// `average`, averaged weights of decay `averaging`.  Learning rate and step are read from c.step on the device.  A
/// norm that is not finite leaves everything as it was and is told in p.report(); with `halts` so do all steps after
/// it, until p.report()->skipped is cleared.  Buffers are flat device memory with the layout of p's entries; gradients
/// are not scaled in place.  An element's update has the bits of the CPU's, compiled with fused multiply-add, for equal
/// norms, up to the last bit of `pow` in AdamW's bias correction.
template <class Rule, class R>
void optimizer_step(const context<cuda_device>& c, const optimizer_pieces& p, const Rule& rule, double clip, R* params,
                    const R* grads, R* const* moments, const ema& averaging = {}, R* average = nullptr,
                    bool halts = false) {
  gradient_norm(c, p, grads, clip, halts);
  kernel::step_buffers<R, Rule::moments> b;
  b.params = params, b.grads = grads, b.average = average;
  const auto on_border = [](const void* at) { return reinterpret_cast<std::uintptr_t>(at) % 16 == 0; };
  bool aligned = on_border(params) && on_border(grads) && on_border(average);
  for (int i = 0; i < Rule::moments; ++i) {
    b.moment[i] = moments[i];
    aligned = aligned && on_border(moments[i]);
  }
  const int most = c.stream.blocks * 8;
  const device::launch_shape shape{.kernel = "optimizer step",
                                   .grid = p.count() < most ? p.count() : most,
                                   .block = kernel::step_threads,
                                   .shared = sizeof(v0::detail::rule_at<Rule, R>),
                                   .stream = c.stream.handle};
  const auto start = [&](auto entry) {
    device::launch(shape, entry, p.table(), p.count(), rule, c.step, p.report(), averaging.decay_rate, b);
  };
  if (aligned)
    start(kernel::optimizer_step_kernel<Rule, R, 16 / static_cast<int>(sizeof(R))>);
  else
    start(kernel::optimizer_step_kernel<Rule, R, 1>);
}

}  // namespace backend
}  // namespace polymoe
