// The router of slots (Soft MoE) on CUDA: products by cuBLASLt around the kernels of kernel/slots.cuh.
//
//   forward    U = r phi^T, then dispatch and combine in one kernel
//   backward   d_U in one kernel, then d_r and d_phi
//
// Matrices between units and slots are [T, S] with rows on 16-byte borders.  bf16 logits are as exact as float's: phi
// is the exact sum of three bf16 matrices, made once per optimiser step, and three products add up in float.  Its
// gradients take the first of them alone. Sums over units read copies in which rows of bad units are zeros: a product
// cannot leave rows out.
#pragma once

#include <memory>
#include <vector>

#include "../../../layer/soft_routing.hpp"
#include "../kernel/slot_stats.cuh"
#include "../kernel/slots.cuh"
#include "blaslt.cuh"
#include "rows.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// The plan of a router of slots on CUDA, in device memory.
template <class T>
struct slot_matrices : slot_layout {
  using C = compute_t<T>;
  using gate_type = C;
  view<const T> input;  ///< r [T, D_r]
  view<T> finite;       ///< the same with zeros in the rows of bad units
  view<T> dispatch;     ///< [T, S], rows `stride` apart
  view<T> combine;      ///< [T, S]

  /// Elements from row to row of a matrix between units and slots.
  static constexpr index stride(index slots) { return round_up(slots, static_cast<index>(16 / sizeof(T))); }
  template <class U>
  static view<U> matrix(arena& a, index units, index slots) {
    view<U> v = a.take<U>(units, stride(slots));
    v.cols = slots;
    return v;
  }
};

}  // namespace backend

template <class T>
struct plan_grad<backend::slot_matrices<T>> {
  using C = compute_t<T>;
  view<C> dispatch;       ///< [T, S]
  view<C> combine;        ///< [T, S]
  C* slot_dot = nullptr;  ///< [G, S] sum over units of the dispatch matrix times its gradient
};

namespace backend {
namespace slots {

/// Blocks that a group's softmax is cut into: a function of its size only.
constexpr index pieces_of(index group_size) {
  const index wanted = ceil_div(group_size, 256);
  return group_size <= 1024 ? 1 : wanted < 128 ? wanted : 128;
}

/// The products of a router with phi.
template <class T>
class router_products {
 public:
  using C = compute_t<T>;
  static constexpr int parts = std::is_same_v<T, bf16> ? 3 : 1;

  router_products(index units, index slots, index dim) : units_(units) {
    const index ld = slot_matrices<T>::stride(slots);
    blaslt_shape s;
    s.m = units, s.n = slots, s.k = dim, s.transpose_b = true, s.ldd = ld;
    logits_ = blaslt_product<T, C>(s, roomy());
    s = {};
    s.m = units, s.n = dim, s.k = slots, s.lda = ld;
    input_ = blaslt_product<T>(s, roomy());
    s = {};
    s.m = slots, s.n = dim, s.k = units, s.transpose_a = true, s.lda = ld;
    blaslt_policy cut;
    cut.split = true;
    phi_ = blaslt_product<T, C>(s, cut);
  }
  index units() const { return units_; }
  std::size_t workspace_bytes() const {
    return std::max({logits_.workspace_bytes(), input_.workspace_bytes(), phi_.workspace_bytes()});
  }
  /// u = r phi^T, phi [parts * S, D].
  void logits(const cuda_device::stream& s, blaslt_workspace w, view<const T> r, view<const T> phi, view<C> u) const {
    for (int i = 0; i < parts; ++i) {
      blaslt_extras<T, C> e;
      if (i > 0) e.add = u;
      e.workspace = w;
      logits_.run(s, r, phi.rows_at(i * u.cols, u.cols), u, e);
    }
  }
  /// dr = d_u phi, or += .
  void input_gradient(const cuda_device::stream& s, blaslt_workspace w, view<const T> d_u, view<const T> phi,
                      view<T> dr, bool accumulate) const {
    blaslt_extras<T, T> e;
    if (accumulate) e.add = dr;
    e.workspace = w;
    input_.run(s, d_u, phi.rows_at(0, d_u.cols), dr, e);
  }
  /// d_phi = d_u^T r, or += .
  void phi_gradient(const cuda_device::stream& s, blaslt_workspace w, view<const T> d_u, view<const T> r, view<C> d_phi,
                    bool accumulate) const {
    blaslt_extras<T, C> e;
    if (accumulate) e.add = d_phi;
    e.workspace = w;
    phi_.run(s, d_u, r, d_phi, e);
  }

 private:
  static blaslt_policy roomy() {
    blaslt_policy p;
    p.roomy = true;
    return p;
  }
  index units_ = 0;
  blaslt_product<T, C> logits_, phi_;
  blaslt_product<T> input_;
};

}  // namespace slots

// ---- router ---------------------------------------------------------------------------------------------------------

template <class Spec>
requires makes_slot_plan<typename Spec::router> class router_kernel<Spec, cuda_device> {
 public:
  using traits = routing_traits<Spec, cuda_device>;
  using T = typename traits::T;
  using C = typename traits::C;
  using M = master_t<T>;
  using Router = typename traits::Router;
  using config = routing_config<Spec>;
  using parameters = slot_parameters<M>;
  using plan_type = slot_matrices<T>;
  using products_type = slots::router_products<T>;
  static_assert(std::is_same_v<M, C>, "polymoe: routers on CUDA keep parameters in their compute type");
  static constexpr bool normalised = Router::normalised;
  static constexpr bool rounds = !std::is_same_v<T, M>;
  static const char* products() { return rounds ? "cuBLASLt (three bf16 parts)" : "cuBLASLt"; }
  /// How the matrices of a plan are used, for describe().
  static const char* matrices() { return "by batched products"; }

  /// What the host reads of a call, after it.
  struct host_copy {
    routing_stats stats;
    std::vector<double> gate_mass;
    std::vector<index> wished, served;
    std::vector<C> values;
    std::vector<unsigned char> bad;
    int bad_count = 0;
  };
  struct memory : slot_memory<plan_type> {
    slot_softmax<C> softmax;
    view<C> u, d_dispatch, d_combine;  ///< [T, S]
    C* slot_dot = nullptr;             ///< [G, S]
    C *part_top = nullptr, *part_sum = nullptr, *mass = nullptr, *totals = nullptr;
    routing_stats* on_device = nullptr;
    std::size_t shared_limit = 0;
    std::shared_ptr<const products_type> products;
    std::shared_ptr<host_copy> host;

    plan_grad<plan_type> d_plan() const { return {d_dispatch, d_combine, slot_dot}; }
  };

  router_kernel() = default;
  router_kernel(index dim, index slots) : dim_(dim), slots_(slots) {}

  template <class V>
  void visit(V& v) {
    if constexpr (rounds)
      v.add_derived(parts_, static_cast<std::size_t>(products_type::parts * slots_ * dim_) * sizeof(T));
    if constexpr (normalised) v.add_derived(lengths_, static_cast<std::size_t>(slots_) * sizeof(C));
  }
  void bind(binder<cuda_device>& b, memory& s, index max_units, const config&) const {
    plan_type& p = s.plan;
    const index blocks = p.groups * slots::pieces_of(p.group_size), slots_of_groups = p.groups * slots_;
    p.bad = b.saved.template take_raw<unsigned char>(max_units);
    p.finite = b.saved.template take<T>(max_units, dim_);
    p.dispatch = plan_type::template matrix<T>(b.saved, max_units, slots_);
    p.combine = plan_type::template matrix<T>(b.saved, max_units, slots_);
    for (view<C>* v : {&s.u, &s.d_dispatch, &s.d_combine})
      *v = plan_type::template matrix<C>(b.saved, max_units, slots_);
    if (normalised) s.softmax.unit_length = b.saved.template take_raw<C>(max_units);
    s.softmax.unit_top = b.saved.template take_raw<C>(max_units);
    s.softmax.unit_share = b.saved.template take_raw<C>(max_units);
    for (C** v : {&s.softmax.slot_top, &s.softmax.slot_share, &s.slot_dot})
      *v = b.saved.template take_raw<C>(slots_of_groups);
    for (C** v : {&s.part_top, &s.part_sum, &s.mass}) *v = b.saved.template take_raw<C>(blocks * slots_);
    s.totals = b.saved.template take_raw<C>(2 * blocks);
    s.on_device = b.saved.template take_raw<routing_stats>(1);
    s.shared_limit = device::shared_limit();
    if (!last_ || last_->units() != std::max<index>(max_units, 1))
      last_ = std::make_shared<const products_type>(std::max<index>(max_units, 1), slots_, dim_);
    s.products = last_;
    s.host = std::make_shared<host_copy>();
    arena_scope call(b.scratch);
    blaslt_workspace::take(b.scratch, s.products->workspace_bytes());
    take(b.scratch, max_units);
  }
  void refresh(context<cuda_device>& c, const parameters& own) {
    if constexpr (normalised || rounds)
      device::launch(detail::warp_rows("parts of phi", c.stream, slots_), kernel::phi_parts_kernel<T>,
                     view<const C>(own.phi.value), reinterpret_cast<C*>(lengths_),
                     rounds ? reinterpret_cast<T*>(parts_) : nullptr, index{products_type::parts});
  }

  void forward(context<cuda_device>& c, const config& g, const parameters& own, view<const T> r, memory& s) const {
    plan_type& p = s.plan;
    p.input = r;
    for (view<T>* v : {&p.finite, &p.dispatch, &p.combine}) v->rows = r.rows;
    for (view<C>* v : {&s.u, &s.d_dispatch, &s.d_combine}) v->rows = r.rows;
    s.softmax.u = s.u, s.softmax.step = c.step;
    s.softmax.noise_std = c.training() ? g.router.noise_std : 0.0f;
    s.softmax.random = c.random, s.softmax.noise_stream = own.noise_stream;
    if constexpr (normalised)
      s.softmax.scale = own.scale.value.ptr[0], s.softmax.slot_length = reinterpret_cast<const C*>(lengths_);
    if (r.rows == 0) return count(c, s, 0);
    arena_scope call(c.scratch);
    s.products->logits(c.stream, blaslt_workspace::take(c.scratch, s.products->workspace_bytes()), r, phi(own), s.u);
    kernel::slot_softmax_args<T> a;
    a.plan = p, a.softmax = s.softmax, a.input = r, a.finite = p.finite, a.dispatch = p.dispatch, a.combine = p.combine;
    a.part_top = s.part_top, a.part_sum = s.part_sum, a.mass = s.mass, a.totals = s.totals;
    a.pieces = static_cast<int>(slots::pieces_of(p.group_size));
    a.held = a.pieces == 1 && kernel::slot_softmax_bytes<C>(p.group_size, slots_, true) <= s.shared_limit;
    const device::launch_shape shape{.kernel = "softmax over slots and units",
                                     .grid = p.groups * a.pieces,
                                     .block = 32 * kernel::slot_warps,
                                     .shared = kernel::slot_softmax_bytes<C>(p.group_size, slots_, a.held),
                                     .stream = c.stream.handle};
    detail::with_access<T>(
        [&]<class V>(V) {
          if (a.pieces == 1) return device::launch(shape, kernel::slot_softmax_kernel<T, V::value, true, true>, a);
          device::launch(shape, kernel::slot_softmax_kernel<T, V::value, true, false>, a);
          device::launch(shape, kernel::slot_softmax_kernel<T, 1, false, true>, a);
        },
        r, p.finite);
    count(c, s, p.groups * a.pieces);
  }

  void open_backward(context<cuda_device>& c, memory& s, view<T>, bool) const {
    const auto clear = [&](C* at, index n) {
      device::clear(at, static_cast<std::size_t>(n) * sizeof(C), c.stream.handle);
    };
    clear(s.d_dispatch.ptr[0], s.plan.tokens * s.d_dispatch.stride);
    clear(s.d_combine.ptr[0], s.plan.tokens * s.d_combine.stride);
    clear(s.slot_dot, index{s.plan.groups} * slots_);
  }
  void backward(context<cuda_device>& c, const config&, const parameters& own, view<const T> r, view<T> dr, memory& s,
                bool accumulate) const {
    const plan_type& p = s.plan;
    if (p.tokens == 0) return;
    arena_scope call(c.scratch);
    const auto workspace = blaslt_workspace::take(c.scratch, s.products->workspace_bytes());
    const scratch m = take(c.scratch, p.tokens);
    kernel::slot_gradient_args<T> a;
    a.plan = p, a.softmax = s.softmax, a.d_combine = s.d_combine, a.d_dispatch = s.d_dispatch, a.slot_dot = s.slot_dot;
    a.d_u = m.d_u, a.unit_dot = m.unit_dot, a.totals = m.totals;
    const index blocks = ceil_div(index{p.tokens}, kernel::slot_tile_units);
    device::launch({.kernel = "gradient of logits of slots",
                    .grid = static_cast<int>(blocks),
                    .block = 32 * kernel::move_warps,
                    .shared = kernel::move_warps * sizeof(C),
                    .stream = c.stream.handle},
                   kernel::slot_gradient_kernel<T>, a);
    const view<C> d_phi = normalised ? m.d_phi : own.phi.grad;
    s.products->phi_gradient(c.stream, workspace, m.d_u, p.finite, d_phi, !normalised);
    if constexpr (normalised)
      device::launch({.kernel = "gradients of phi through its lengths",
                      .grid = static_cast<int>(ceil_div(slots_, kernel::move_warps)) + 1,
                      .block = 32 * kernel::move_warps,
                      .shared = kernel::move_warps * sizeof(C),
                      .stream = c.stream.handle},
                     kernel::slot_length_gradient_kernel<C>, s.softmax, view<const C>(m.d_phi),
                     view<const C>(own.phi.value), m.totals, blocks, own.phi.grad, own.scale.grad.ptr[0]);
    if (!dr.ptr[0]) return;
    s.products->input_gradient(c.stream, workspace, m.d_u, phi(own), dr, accumulate);
    if constexpr (normalised)
      detail::with_access<T>(
          [&]<class V>(V) {
            device::launch(detail::warp_rows("gradient through lengths", c.stream, p.tokens),
                           kernel::unit_length_gradient_kernel<T, V::value>, p.bad, s.softmax, m.unit_dot, r, dr);
          },
          r, dr);
  }

  routing_stats stats(context<cuda_device>& c, const memory& s) const {
    host_copy& h = *s.host;
    const index E = s.plan.experts;
    device::download(&h.stats, s.on_device, sizeof h.stats, c.stream.handle);
    fetch(c, h.gate_mass, s.stats.gate_mass, E), fetch(c, h.wished, s.stats.wished, E);
    fetch(c, h.served, s.stats.served, E);
    h.stats.gate_mass = h.gate_mass.data(), h.stats.wished = h.wished.data(), h.stats.served = h.served.data();
    return h.stats;
  }
  view<C> values(context<cuda_device>& c, const memory& s) const {
    fetch(c, s.host->values, s.values.ptr[0], 1);
    return {s.host->values.data(), 1, 1};
  }
  owned_dense_plan<C> plan(context<cuda_device>& c, const memory& s) const {
    host_copy& h = *s.host;
    owned_dense_plan<C> to(s.plan);
    fetch(c, h.bad, s.plan.bad, s.plan.tokens);
    h.bad_count = 0;
    for (const unsigned char x : h.bad) h.bad_count += x;
    to.bad = h.bad.data(), to.bad_count = &h.bad_count;
    std::vector<T> rows;
    const auto read = [&](view<const T> from, view<C> into) {
      fetch(c, rows, from.ptr[0], from.rows * from.stride);
      for (index t = 0; t < from.rows; ++t)
        for (index i = 0; i < from.cols; ++i)
          into.set(t, i, static_cast<C>(rows[static_cast<std::size_t>(t * from.stride + i)]));
    };
    read(s.plan.dispatch, to.dispatch), read(s.plan.combine, to.combine);
    return to;
  }

 private:
  struct scratch {
    view<T> d_u;
    C *unit_dot, *totals;
    view<C> d_phi;
  };
  /// The statistics of the call, from what its `blocks` blocks of the softmax left.
  void count(context<cuda_device>& c, memory& s, index blocks) const {
    kernel::slot_stats_args<C> a;
    a.plan = s.plan, a.mass = s.mass, a.totals = s.totals, a.blocks = blocks;
    a.arrays = s.stats, a.to = s.on_device, a.balance = s.values.ptr[0];
    device::launch({.kernel = "statistics of slots",
                    .grid = s.plan.experts + 1,
                    .block = 32 * kernel::slot_stats_warps,
                    .shared = kernel::slot_stats_warps * sizeof(double),
                    .stream = c.stream.handle},
                   kernel::slot_stats_kernel<C>, a);
  }
  scratch take(arena& a, index units) const {
    scratch m;
    m.d_u = plan_type::template matrix<T>(a, units, slots_);
    m.unit_dot = a.take_raw<C>(units), m.totals = a.take_raw<C>(ceil_div(units, kernel::slot_tile_units));
    if (normalised) m.d_phi = a.take<C>(slots_, dim_);
    return m;
  }
  /// phi as numbers that multiply, [parts * S, D].
  view<const T> phi(const parameters& own) const {
    if constexpr (rounds)
      return {reinterpret_cast<const T*>(parts_), products_type::parts * slots_, dim_};
    else
      return own.phi.value;
  }
  template <class V>
  static void fetch(context<cuda_device>& c, std::vector<V>& to, const V* from, index n) {
    to.resize(static_cast<std::size_t>(n));
    device::download(to.data(), from, to.size() * sizeof(V), c.stream.handle);
  }

  index dim_ = 0, slots_ = 0;
  std::byte* parts_ = nullptr;                         ///< phi as bf16 matrices
  std::byte* lengths_ = nullptr;                       ///< [S] 1 / |phi_s|
  mutable std::shared_ptr<const products_type> last_;  ///< of the last bind
};

}  // namespace backend

}  // namespace polymoe
