// The router's backward on CUDA, in three launches, or five where gates are made of a group plan:
//
//   gates     such routers: one warp (or block) per unit, gate gradients through the combine rule to the plan; then the
//             plan's own way back (columns.cuh)
//   rows      one warp (or block) per unit: gate gradients through the combine rule onto the experts that served,
//   balance
//             gradients, back to the logits; the texts of router/ that the CPU runs with one lane
//   products  dW_r in fixed pieces of units, and d_input, as tiles of one launch
//   pieces    the pieces added to the gradient in order
//
// Logits that are cosines have more launches behind the rows, see route_cosine.cuh.
//
// Rows of bad units give nothing: their logit gradients are zero, and their inputs, which may hold anything, count as
// zero in dW_r.
#pragma once

#include "logits.cuh"
#include "route_args.cuh"

namespace polymoe::inline v0 {

/// Memory of one call for what flows through cosines, and where gradients go.
template <class C>
struct cosine_backward_args {
  C* d_rows = nullptr;                ///< [T, P] gradient of h
  C* unit_share = nullptr;            ///< [T] sum over experts of d_z z
  C* shares = nullptr;                ///< [ceil(T / tile_units), E] sum over the units of a tile
  C* projection_grad = nullptr;       ///< [P, D] +=, null without a projection
  C* projection_bias_grad = nullptr;  ///< [P] +=, or null
  C* log_scale_grad = nullptr;        ///< [1] +=
};

template <class T>
struct route_backward_args {
  using C = compute_t<T>;
  using M = master_t<T>;
  route_args<T> forward{};         ///< as the forward call had them
  const C* d_gate = nullptr;       ///< [S]
  const C* d_skip = nullptr;       ///< [T], null where the plan has no skip
  C* d_logits = nullptr;           ///< [T, E] written; of cosines, then those of their products
  C* d_raw = nullptr;              ///< [T, E] written; null with one projection
  C* pieces = nullptr;             ///< [route_tuning::pieces(T), logits_piece_numbers()] scratch
  M* weight_grad = nullptr;        ///< [E, D] +=
  M* noise_weight_grad = nullptr;  ///< [E, D] +=, null with one projection
  M* bias_grad = nullptr;          ///< [E] +=, null without a bias
  M* noise_bias_grad = nullptr;    ///< [E] +=, likewise
  T* d_input = nullptr;            ///< [T, D] written or added to; null where nobody asks
  index d_input_stride = 0;
  bool accumulate = false;  ///< d_input += instead of =
  cosine_backward_args<C> cosine{};

  /// Columns of a weight gradient: a bias is the weight of one more input, which is 1 in every unit.
  POLYMOE_HD index width() const { return forward.dim + (bias_grad ? 1 : 0); }
};

template <class Router, class Balance, class Combine, class T>
struct route_backward_call {
  Router router;
  Balance balance;
  Combine combine;
  route_backward_args<T> args;
};

/// Bytes of dynamic shared memory of the kernels over rows.
template <class Router, int Tier, class C>
constexpr std::size_t route_backward_shared() {
  std::size_t bytes = route_lanes<Tier>::reserved;
  if (Router::k == every_expert || Router::k == picked_by_experts)
    bytes += static_cast<std::size_t>(route_lanes<Tier>::units) *
             static_cast<std::size_t>(round_up(sizeof(mixture_choice<Tier, C>), 16));
  return bytes;
}

/// Gradients of the scores that gates are made of, from those of unit t's gates: back through the combine rule, onto
/// the experts that really served.  All lanes of the unit.
template <class Router, class Capacity, class Row, class Balance, class Combine, class T>
POLYMOE_DEVICE void add_gate_gradients(const route_backward_call<Router, Balance, Combine, T>& call, index t, Row& d) {
  using C = compute_t<T>;
  using schedule = route_schedule<Router, Capacity>;
  constexpr int Tier = Row::tier, K = schedule::K;
  using lanes = route_lanes<Tier>;
  const route_args<T>& a = call.args.forward;
  const route_backward_args<T>& b = call.args;
  const C* const scores = gate_scores<Router>(a);
  [[maybe_unused]] const auto shared_choice = [&] {
    return reinterpret_cast<mixture_choice<Tier, C>*>(device::shared<std::byte>(lanes::reserved) +
                                                      lanes::unit() * round_up(sizeof(mixture_choice<Tier, C>), 16));
  };
  if constexpr (schedule::mixture) {
    auto* const m = shared_choice();
    lanes::sync();
    for (int i = 0; i < Row::per_lane; ++i)
      if (d.present(i)) {
        const int e = d.expert(i);
        m->c.score[e] = scores[t * a.plan.experts + e], m->c.kept[e] = true;
        m->weight[e] = b.d_gate[index{e} * a.plan.tokens + t];
      }
    lanes::sync();
    if (d.g.lane() == 0) {
      m->c.n = a.plan.experts;
      if constexpr (rest_to_unit<Combine>) rest_vjp(m->c, b.d_skip[t], m->weight);
      call.combine.vjp(m->c, m->weight, m->d_score);
    }
    lanes::sync();
    for (int i = 0; i < Row::per_lane; ++i)
      if (d.present(i)) d.v[i] += m->d_score[d.expert(i)];
  } else if constexpr (schedule::picked) {
    const int first = a.plan.slots_begin[t], n = a.plan.slots_begin[t + 1] - first;
    if (n == 0) return;
    auto* const m = shared_choice();
    load_picks<Row>(a, scores, t, first, n, m);
    for (int j = d.g.lane(); j < n; j += Row::lanes::width) m->weight[j] = b.d_gate[a.plan.slot_of[first + j]];
    lanes::sync();
    if (d.g.lane() == 0) {
      if constexpr (rest_to_unit<Combine>) rest_vjp(m->c, b.d_skip[t], m->weight);
      call.combine.vjp(m->c, m->weight, m->d_score);
    }
    lanes::sync();
    // The weights' place becomes the row of experts.
    for (int i = 0; i < Row::per_lane; ++i)
      if (d.present(i)) m->weight[d.expert(i)] = C(0);
    lanes::sync();
    for (int j = d.g.lane(); j < n; j += Row::lanes::width)
      m->weight[expert_of_slot(a.plan, a.plan.slot_of[first + j])] = m->d_score[j];
    lanes::sync();
    for (int i = 0; i < Row::per_lane; ++i)
      if (d.present(i)) d.v[i] += m->weight[d.expert(i)];
  } else {
    const chosen_scores<K, C> c = served_choices<K>(a, scores, t);
    C d_weight[K], d_score[K] = {};
    POLYMOE_UNROLL
    for (int j = 0; j < K; ++j) {
      d_weight[j] = C(0);
      if (!c.kept[j]) continue;
      if (a.position[t * K + j] >= 0)
        d_weight[j] = b.d_gate[a.plan.slot_of[t * K + j]];
      else if (schedule::fallback)
        d_weight[j] = b.d_gate[a.plan.fallback_slot[t]];
      else if (schedule::identity)
        d_weight[j] = b.d_skip[t];
    }
    if constexpr (rest_to_unit<Combine>) rest_vjp(c, b.d_skip[t], d_weight);
    call.combine.vjp(c, d_weight, d_score);
    POLYMOE_UNROLL
    for (int j = 0; j < K; ++j) {
      const int served = a.plan.expert_of[t * K + j];
      d.add_at(served >= 0 ? served : a.wish[t * K + j], d_score[j]);
    }
  }
}

/// d_affinity from the gradients of the gates; `plan_words` [G, 2] of the plan's way back become zeros.
template <class Router, class Capacity, class Balance, class Combine, int Tier, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads, route_tuning::least_blocks(Tier))
    route_gates_kernel(const POLYMOE_GRID_CONSTANT route_backward_call<Router, Balance, Combine, T> call,
                       unsigned* plan_words) {
  using C = compute_t<T>;
  using lanes = route_lanes<Tier>;
  using Row = row<typename lanes::type, Tier, C>;
  const route_args<T>& a = call.args.forward;
  const int E = a.plan.experts, units = a.plan.tokens;
  if (device::block_index().x == 0)
    for (index i = device::thread_rank(); i < index{2} * a.plan.groups; i += route_tuning::threads) plan_words[i] = 0;
  for (index t = index{device::block_index().x} * lanes::units + lanes::unit(); t < units;
       t += index{device::grid_size().x} * lanes::units) {
    Row d = zero_route_row<Row>(E);
    if (!a.plan.bad[t]) add_gate_gradients<Router, Capacity>(call, t, d);
    store_route_row(d, a.d_affinity + t * E);
  }
}

template <class Router, class Capacity, class Balance, class Combine, int Tier, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads, route_tuning::least_blocks(Tier))
    route_backward_rows_kernel(const POLYMOE_GRID_CONSTANT route_backward_call<Router, Balance, Combine, T> call) {
  using C = compute_t<T>;
  using lanes = route_lanes<Tier>;
  using Row = row<typename lanes::type, Tier, C>;
  using schedule = route_schedule<Router, Capacity>;
  constexpr int columns = Balance::columns;
  const route_args<T>& a = call.args.forward;
  const route_backward_args<T>& b = call.args;
  const int E = a.plan.experts, units = a.plan.tokens;
  const Row zero = zero_route_row<Row>(E);
  // Never true; see route_forward_kernel.
  if (units < 0) a.scores[0] = call.router.vjp(zero, zero).v[0];
  const route_values values = route_values_of(a);
  const bool balanced = columns > 0 && a.mode == run_mode::train;

  for (index t = index{device::block_index().x} * lanes::units + lanes::unit(); t < units;
       t += index{device::grid_size().x} * lanes::units) {
    if (a.plan.bad[t]) {
      store_route_row(zero, b.d_logits + t * E);
      if constexpr (projections < Router >> 1) store_route_row(zero, b.d_raw + t * E);
      continue;
    }
    const Row logits = load_route_row<Row>(a.logits + t * E, E);
    const Row raw = projections<Router> > 1 ? load_route_row<Row>(a.raw + t * E, E) : logits;
    const Row noisy = perturbs_logits<Router, Row> ? load_route_row<Row>(a.noisy + t * E, E) : logits;
    const auto r = reloaded_row(call.router, values, logits, raw, noisy, load_route_row<Row>(a.scores + t * E, E),
                                schedule::by_unit ? a.wish + t * schedule::K : nullptr);
    row_grad<Row> g{zero, zero, zero, zero, zero};
    if constexpr (weighs_plan<Router>)
      g.noisy.add_scaled(C(values.inverse_temperature), load_route_row<Row>(a.d_affinity + t * E, E));
    else
      add_gate_gradients<Router, Capacity>(call, t, g.scores);
    Row cot[columns > 0 ? columns : 1];
    for (int i = 0; i < columns; ++i)
      cot[i] = balanced ? load_route_row<Row>(a.cotangents + (t / a.plan.group_size * columns + i) * E, E) : zero;
    const auto d = routed_row_vjp(call.router, call.balance, values, r, logits, raw, cot, balanced, g, t,
                                  a.target ? a.target[t] : -1);
    store_route_row(d.logits, b.d_logits + t * E);
    if constexpr (projections < Router >> 1) store_route_row(d.raw, b.d_raw + t * E);
  }
}

/// How the tiles of both products are numbered: dW_r by (matrix, piece, experts, width), then d_input by (units,
/// width).
struct route_products {
  static constexpr int rows = product_shape::rows,
                       columns = product_shape::column_threads * product_shape::most_columns;
  int expert_tiles = 0, width_rows = 0, pieces = 0, width_columns = 0;
  index weight_blocks = 0, input_blocks = 0;

  route_products() = default;
  /// `width`: columns of the weight gradients, D or one more.
  route_products(int experts, index dim, index width, index units, int matrices, bool input)
      : expert_tiles(static_cast<int>(ceil_div(experts, columns))),
        width_rows(static_cast<int>(ceil_div(width, rows))),
        pieces(route_tuning::pieces(units)),
        width_columns(static_cast<int>(ceil_div(dim, columns))),
        weight_blocks(index{matrices} * pieces * expert_tiles * width_rows),
        input_blocks(input ? ceil_div(units, rows) * width_columns : 0) {}
  index blocks() const { return weight_blocks + input_blocks; }
};

template <int Matrices, bool Perturbed, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads, 1)
    route_products_kernel(route_backward_args<T> b, route_products n) {
  using C = compute_t<T>;
  const route_args<T>& a = b.forward;
  const int E = a.plan.experts;
  const index units = a.plan.tokens, dim = a.dim, width = b.width(), block = device::block_index().x;
  C* const shared = device::shared<C>();
  const auto noise = input_noise_of<Perturbed>(a);
  if (block < n.weight_blocks) {
    // Width runs along the rows of the tile: it is the longer side, and neighbours in memory.
    const index d0 = block % n.width_rows * n.rows, at = block / n.width_rows;
    const int e0 = static_cast<int>(at % n.expert_tiles) * n.columns;
    const index piece = at / n.expert_tiles % n.pieces, matrix = at / n.expert_tiles / n.pieces;
    const index per = route_tuning::units_of_piece(units), first = piece * per;
    const index count = first >= units ? 0 : (units - first < per ? units - first : per);
    const C* const d = matrix == 0 ? b.d_logits : b.d_raw;
    C* const out = b.pieces + (matrix * n.pieces + piece) * E * width;
    with_product_columns(E - e0, [&]<class N>(N) {
      product_tile<C, N::value, false, false>(
          shared, count,
          [&](int m, index k) {
            const index t = first + k;
            if (d0 + m >= width || a.plan.bad[t]) return C(0);
            if (d0 + m == dim) return C(1);
            return noise.apply(static_cast<C>(a.input[t * a.input_stride + d0 + m]), t * dim + d0 + m);
          },
          [&](index k, int e) { return e0 + e < E ? d[(first + k) * E + e0 + e] : C(0); },
          [&](int m, int e, C x) {
            if (d0 + m < width && e0 + e < E) out[index{e0 + e} * width + d0 + m] = x;
          });
    });
    return;
  }
  const index at = block - n.weight_blocks, d0 = at % n.width_columns * n.columns, t0 = at / n.width_columns * n.rows;
  // Both projections are one product of twice the depth: the sum is rounded to the input's type once.
  product_tile<C, product_shape::most_columns, true, false>(
      shared, index{Matrices} * E,
      [&](int m, index k) {
        if (t0 + m >= units) return C(0);
        return Matrices == 1 || k < E ? b.d_logits[(t0 + m) * E + k] : b.d_raw[(t0 + m) * E + k - E];
      },
      [&](index k, int d) {
        if (d0 + d >= dim) return C(0);
        return static_cast<C>(Matrices == 1 || k < E ? a.weight[k * dim + d0 + d]
                                                     : a.noise_weight[(k - E) * dim + d0 + d]);
      },
      [&](int m, int d, C x) {
        if (t0 + m >= units || d0 + d >= dim) return;
        T& to = b.d_input[(t0 + m) * b.d_input_stride + d0 + d];
        x = noise.apply(x, (t0 + m) * dim + d0 + d);
        store(to, b.accumulate ? x + static_cast<C>(to) : x);
      });
}

template <int Matrices, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(route_tuning::threads) route_pieces_kernel(route_backward_args<T> b) {
  using C = compute_t<T>;
  const index dim = b.forward.dim, width = b.width(), cells = width * b.forward.plan.experts;
  const index pieces = route_tuning::pieces(b.forward.plan.tokens);
  const index stride = index{device::grid_size().x} * route_tuning::threads;
  for (index i = index{device::block_index().x} * route_tuning::threads + device::thread_rank(); i < Matrices * cells;
       i += stride) {
    const index matrix = i / cells, cell = i % cells;
    C sum(0);
    for (index piece = 0; piece < pieces; ++piece) sum += b.pieces[(matrix * pieces + piece) * cells + cell];
    const index e = cell / width, d = cell % width;
    if (d < dim)
      (matrix == 0 ? b.weight_grad : b.noise_weight_grad)[e * dim + d] += sum;
    else
      (matrix == 0 ? b.bias_grad : b.noise_bias_grad)[e] += sum;
  }
}

}  // namespace polymoe
