// Plans of slots on CUDA: between units and slots by cuBLASLt, one batched product for all groups a step.
//
//   slots = dispatch^T x,  y = combine out;  backward  d_combine += dy out^T, d_out = combine^T dy,
//   d_dispatch += x d_slots^T, dx = dispatch d_slots
//
// The rows of a group's slots lie G apart in the payload (dense_plan.hpp), which a product takes as the distance of its
// rows: nothing is moved into an order.  Sums over units read copies in which rows of bad units are zeros: a product
// cannot leave rows out.
#pragma once

#include "../../../layer/mover.hpp"
#include "slots.cuh"

namespace polymoe::inline v0 {
namespace backend::slots {

/// The products between units and slots with payloads of one width, for all groups at once.
template <class T>
class side_products {
 public:
  using C = compute_t<T>;
  side_products(index groups, index group_size, index slots, index width) : width_(width) {
    const index ld = slot_matrices<T>::stride(slots), rows = groups * width;
    blaslt_policy roomy;
    roomy.roomy = true;
    blaslt_shape s;
    s.m = slots, s.n = width, s.k = group_size, s.transpose_a = true, s.lda = ld, s.ldd = rows;
    s.batch = groups, s.stride_a = group_size * ld, s.stride_b = group_size * width, s.stride_d = width;
    blaslt_policy cut = roomy;
    cut.split = groups == 1;  // one long sum instead of many
    to_slots_ = blaslt_product<T>(s, cut);
    s = {};
    s.m = group_size, s.n = width, s.k = slots, s.lda = ld, s.ldb = rows;
    s.batch = groups, s.stride_a = group_size * ld, s.stride_b = width, s.stride_d = group_size * width;
    to_units_ = blaslt_product<T>(s, roomy);
    s = {};
    s.m = group_size, s.n = slots, s.k = width, s.transpose_b = true, s.ldb = rows, s.ldd = ld;
    s.batch = groups, s.stride_a = group_size * width, s.stride_b = width, s.stride_d = group_size * ld;
    to_weights_ = blaslt_product<T, C>(s, roomy);
  }
  index width() const { return width_; }
  std::size_t workspace_bytes() const {
    return std::max({to_slots_.workspace_bytes(), to_units_.workspace_bytes(), to_weights_.workspace_bytes()});
  }
  /// slots = weights^T rows.
  void to_slots(const cuda_device::stream& s, blaslt_workspace w, const slot_layout& p, view<const T> weights,
                view<const T> rows, view<T> slots) const {
    auto e = extras<T>(p, w);
    e.strides.a = p.group_size * weights.stride, e.strides.b = p.group_size * rows.stride, e.strides.d = slots.stride;
    to_slots_.run(s, group(p, weights), group(p, rows), of_group(p, slots), e);
  }
  /// rows = weights slots.
  void to_units(const cuda_device::stream& s, blaslt_workspace w, const slot_layout& p, view<const T> weights,
                view<const T> slots, view<T> rows) const {
    auto e = extras<T>(p, w);
    e.strides.a = p.group_size * weights.stride, e.strides.b = slots.stride, e.strides.d = p.group_size * rows.stride;
    to_units_.run(s, group(p, weights), of_group(p, slots), group(p, rows), e);
  }
  /// weights += rows slots^T.
  void to_weights(const cuda_device::stream& s, blaslt_workspace w, const slot_layout& p, view<const T> rows,
                  view<const T> slots, view<C> weights) const {
    auto e = extras<C>(p, w);
    e.add = group(p, weights);
    e.strides.a = p.group_size * rows.stride, e.strides.b = slots.stride, e.strides.d = p.group_size * weights.stride;
    to_weights_.run(s, group(p, rows), of_group(p, slots), group(p, weights), e);
  }

 private:
  template <class Out>
  static blaslt_extras<T, Out> extras(const slot_layout& p, blaslt_workspace w) {
    blaslt_extras<T, Out> e;
    e.batch = p.groups, e.workspace = w;
    return e;
  }
  /// The first group's units.
  template <class U>
  static view<U> group(const slot_layout& p, view<U> rows) {
    return rows.rows_at(0, p.group_size);
  }
  /// The first group's slots.
  template <class U>
  static view<U> of_group(const slot_layout& p, view<U> slots) {
    slots.rows = p.group_slots(), slots.stride *= p.groups;
    return slots;
  }

  index width_ = 0;
  blaslt_product<T> to_slots_, to_units_;
  blaslt_product<T, C> to_weights_;
};

}  // namespace backend::slots

template <class T>
class mover<backend::slot_matrices<T>, T, backend::cuda_device> {
 public:
  using plan = backend::slot_matrices<T>;
  using ctx = context<backend::cuda_device>;
  using C = compute_t<T>;

  /// The products of a bind, prepared for its sizes.
  struct both_sides {
    backend::slots::side_products<T> in, out;
    index units;
    std::size_t workspace_bytes() const { return std::max(in.workspace_bytes(), out.workspace_bytes()); }
  };
  using bound = std::shared_ptr<const both_sides>;

  explicit mover(const mover_config& s) : config_(s) {}

  bound bind(binder<backend::cuda_device>& b, index units, index groups) const {
    using side = backend::slots::side_products<T>;
    const index group_size = config_.group_size ? config_.group_size : std::max<index>(units, 1);
    if (!last_ || last_->units != units) {
      const side in(groups, group_size, config_.group_slots, config_.in);
      last_ = std::make_shared<const both_sides>(both_sides{
          in, config_.in == config_.out ? in : side(groups, group_size, config_.group_slots, config_.out), units});
    }
    arena_scope call(b.scratch);
    backend::blaslt_workspace::take(b.scratch, last_->workspace_bytes());
    b.scratch.template take<T>(units, std::max(config_.in, config_.out));
    return last_;
  }

  grouped::rows_of<T> input(ctx& c, const bound& by, const plan& p, view<const T> x, index unit_rows,
                            view<T> gathered) const {
    if (p.tokens > 0) {
      arena_scope call(c.scratch);
      const auto w = workspace(c, by);
      by->in.to_slots(c.stream, w, p, p.dispatch, finite_payload(c, p, x, unit_rows),
                      plan::by_units(gathered, unit_rows));
    }
    return grouped::in_slot_order(gathered);
  }
  void combine(ctx& c, const bound& by, const plan& p, view<const T> out, view<const T>, index unit_rows,
               view<T> y) const {
    if (p.tokens == 0) return;
    arena_scope call(c.scratch);
    const view<T> to = plan::by_units(y, unit_rows);
    by->out.to_units(c.stream, workspace(c, by), p, p.combine, plan::by_units(out, unit_rows), to);
    device::launch(backend::detail::warp_rows("mark bad units", c.stream, to.rows), backend::kernel::mark_bad_kernel<T>,
                   p.bad, to);
  }
  void combine_vjp(ctx& c, const bound& by, const plan& p, view<const T> dy, view<const T> out, view<const T>,
                   index unit_rows, view<T> d_out, const plan_grad<plan>& d) const {
    if (p.tokens == 0) return;
    arena_scope call(c.scratch);
    const auto w = workspace(c, by);
    const view<const T> rows = copy_finite(c, p, dy, unit_rows);
    by->out.to_weights(c.stream, w, p, rows, plan::by_units(out, unit_rows), d.combine);
    by->out.to_slots(c.stream, w, p, p.combine, rows, plan::by_units(d_out, unit_rows));
  }
  void input_vjp(ctx& c, const bound& by, const plan& p, const slot_side<T>& side, view<const T>, view<const T> x,
                 index unit_rows, view<T> dx, const plan_grad<plan>& d) const {
    if (p.tokens == 0) return;
    arena_scope call(c.scratch);
    const auto w = workspace(c, by);
    const view<const T> d_slots = plan::by_units(side.d_slots, unit_rows),
                        slots = plan::by_units(side.slots, unit_rows);
    backend::detail::with_access<T>(
        [&]<class V>(V) {
          device::launch(backend::detail::warp_rows("sums of slots", c.stream, p.max_slots),
                         backend::kernel::slot_dots_kernel<T, V::value>, p, d_slots, slots, d.slot_dot);
        },
        d_slots, slots);
    by->in.to_weights(c.stream, w, p, plan::by_units(x, unit_rows), d_slots, d.dispatch);
    if (dx.ptr[0]) by->in.to_units(c.stream, w, p, p.dispatch, d_slots, plan::by_units(dx, unit_rows));
  }

 private:
  static backend::blaslt_workspace workspace(ctx& c, const bound& by) {
    return backend::blaslt_workspace::take(c.scratch, by->workspace_bytes());
  }
  /// The payload with zeros for bad units; the router has made it where the payload is its input.
  view<const T> finite_payload(ctx& c, const plan& p, view<const T> x, index unit_rows) const {
    if (x.ptr[0] == p.input.ptr[0] && unit_rows == 1) return p.finite;
    return copy_finite(c, p, x, unit_rows);
  }
  view<const T> copy_finite(ctx& c, const plan& p, view<const T> rows, index unit_rows) const {
    const view<T> copy = c.scratch.template take<T>(rows.rows, rows.cols);
    backend::detail::with_access<T>(
        [&]<class V>(V) {
          device::launch(backend::detail::warp_rows("good rows", c.stream, rows.rows),
                         backend::kernel::good_rows_kernel<T, V::value>, p.bad, unit_rows, rows, copy);
        },
        rows, copy);
    return plan::by_units(view<const T>(copy), unit_rows);
  }

  mover_config config_;
  mutable bound last_;  ///< of the last bind
};

}  // namespace polymoe
