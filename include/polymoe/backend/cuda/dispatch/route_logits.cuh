// What makes the router's logits on CUDA, as far as it needs launches of its own: what cosines are made of before the
// rows, and the products of backward behind them.
#pragma once

#include "../kernel/route_cosine.cuh"

namespace polymoe::inline v0 {

/// Launches before the steps of a forward call.
template <class Router>
constexpr int logits_launches() {
  return has_cosine_logits<Router> ? 1 + has_cosine_projection<Router> : 0;
}
/// Launches of a backward call behind its rows: products and the sum of their pieces, of every linear map of cosines by
/// itself; with those, products' gradients and lengths.
template <class Router>
constexpr int logits_backward_launches() {
  if (!has_cosine_logits<Router>) return 2;
  return 2 + 2 * (1 + has_cosine_projection<Router> + (projections<Router> > 1));
}
/// Numbers of one piece of the weight gradients, of those that are there at the same time.  `width`:
/// compared_columns().
template <class Router>
constexpr index logits_piece_numbers(index experts, index dim, index width) {
  const index linear = experts * (dim + has_projection_bias<Router>);
  if (!has_cosine_logits<Router>) return projections<Router> * linear;
  const index of_projection = has_cosine_projection<Router> ? width * (dim + has_projection_bias<Router>) : 0;
  return std::max({experts * width, of_projection, projections<Router> > 1 ? linear : 0});
}

namespace detail {
inline int route_warp_blocks(index rows) {
  return static_cast<int>(std::clamp<index>(ceil_div(rows, route_tuning::warps), 1, route_tuning::most_blocks));
}

/// Before the rows of a forward call.
template <class Router, class T>
void launch_logits_inputs([[maybe_unused]] device::stream_handle stream, [[maybe_unused]] const route_args<T>& a) {
  if constexpr (has_cosine_logits<Router>) {
    using C = compute_t<T>;
    constexpr bool perturbed = perturbs_input<Router>, projected = has_cosine_projection<Router>;
    const index units = a.plan.tokens;
    if (units == 0) return;
    if constexpr (projected) {
      constexpr index columns = product_shape::column_threads * product_shape::most_columns;
      const index tiles = ceil_div(units, index{product_shape::rows}) * ceil_div(a.cosine.width, columns);
      device::launch({.kernel = "route_projection",
                      .grid = static_cast<int>(std::min<index>(tiles, route_tuning::most_blocks)),
                      .block = route_tuning::threads,
                      .shared = product_shape::bytes(sizeof(C)),
                      .stream = stream},
                     route_projection_kernel<perturbed, T>, a);
    }
    device::launch({.kernel = "route_lengths",
                    .grid = route_warp_blocks(units + a.plan.experts),
                    .block = route_tuning::threads,
                    .stream = stream},
                   route_lengths_kernel<perturbed, projected, T>, a);
  }
}

/// The gradients of `Matrices` linear maps of the same input: of the weights in pieces, then added up, and of the
/// input.
template <int Matrices, bool Perturbed, class T>
void launch_route_products(device::stream_handle stream, const route_backward_args<T>& b) {
  const route_args<T>& a = b.forward;
  const int E = a.plan.experts;
  const route_products products(E, a.dim, b.width(), a.plan.tokens, Matrices, b.d_input != nullptr);
  device::launch({.kernel = "route_products",
                  .grid = static_cast<int>(products.blocks()),
                  .block = route_tuning::threads,
                  .shared = product_shape::bytes(sizeof(compute_t<T>)),
                  .stream = stream},
                 route_products_kernel<Matrices, Perturbed, T>, b, products);
  const index cells = Matrices * index{E} * b.width();
  device::launch(
      {.kernel = "route_pieces",
       .grid = static_cast<int>(std::min<index>(ceil_div(cells, route_tuning::threads), route_tuning::most_blocks)),
       .block = route_tuning::threads,
       .stream = stream},
      route_pieces_kernel<Matrices, T>, b);
}

/// From the gradients of logits (and of the second projection) to those of parameters and input.
template <class Router, class T>
void launch_logits_backward(device::stream_handle stream, const route_backward_args<T>& b) {
  constexpr int matrices = projections<Router>;
  constexpr bool perturbed = perturbs_input<Router>;
  if constexpr (!has_cosine_logits<Router>) {
    launch_route_products<matrices, perturbed>(stream, b);
  } else {
    using C = compute_t<T>;
    constexpr bool projected = has_cosine_projection<Router>;
    const route_args<T>& a = b.forward;
    const index units = a.plan.tokens, width = a.cosine.width;
    const index tiles = ceil_div(units, index{route_tuning::tile_units});
    device::launch({.kernel = "route_cosine_gradient",
                    .grid = static_cast<int>(std::min<index>(tiles, route_tuning::most_blocks)),
                    .block = route_tuning::threads,
                    .stream = stream},
                   route_cosine_gradient_kernel<T>, b);
    route_backward_args<C> compared;
    const auto h = compared_rows_of(a);
    compared.forward.plan = a.plan, compared.forward.input = h.data, compared.forward.input_stride = h.stride;
    compared.forward.dim = width, compared.forward.weight = a.weight;
    compared.d_logits = b.d_logits, compared.pieces = b.pieces, compared.weight_grad = b.weight_grad;
    compared.d_input = projected || b.d_input ? b.cosine.d_rows : nullptr, compared.d_input_stride = width;
    launch_route_products<1, false>(stream, compared);
    device::launch({.kernel = "route_lengths_gradient",
                    .grid = route_warp_blocks(units + a.plan.experts) + 1,
                    .block = route_tuning::threads,
                    .shared = route_tuning::warps * sizeof(C),
                    .stream = stream},
                   route_lengths_gradient_kernel<perturbed, projected, T>, b);
    if constexpr (projected) {
      route_backward_args<T> p = b;
      p.forward.plan.experts = static_cast<int>(width), p.forward.weight = a.cosine.projection;
      p.d_logits = b.cosine.d_rows;
      p.weight_grad = b.cosine.projection_grad, p.bias_grad = b.cosine.projection_bias_grad;
      launch_route_products<1, perturbed>(stream, p);
    }
    if constexpr (matrices > 1) {
      route_backward_args<T> n = b;
      n.forward.weight = a.noise_weight, n.d_logits = b.d_raw;
      n.weight_grad = b.noise_weight_grad, n.bias_grad = b.noise_bias_grad, n.accumulate = true;
      launch_route_products<1, perturbed>(stream, n);
    }
  }
}
}  // namespace detail

}  // namespace polymoe
