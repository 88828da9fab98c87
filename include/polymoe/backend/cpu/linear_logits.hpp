// Logits that are linear in the unit, on the CPU: z = x W^T + b.  With `second`, the other projection of a router whose
// noise is learned.
//
// What makes logits for the router of the CPU backend, this or cosine_logits.hpp, has
//   memory                                          what it keeps of a call beside the logits
//   visit, bind, refresh                            as a module
//   piece_columns()                                 columns of the partial weight gradients
//   forward(c, router, p, x, factors, z, memory)    z [T, E] from units x [T, D] and the factors on them
//   backward(c, router, p, x, factors, g, dx, add, memory)   parameter gradients +=; dx = or +=, unless it is empty
#pragma once

#include "../../layer/routing_memory.hpp"
#include "router_products.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// What a router's backward has for what made the logits.
template <class C>
struct logits_gradient {
  index units = 0;
  const unsigned char* bad = nullptr;  ///< [T] marks units without a gradient; null: there are none
  view<const C> z;                     ///< [T, E]
  view<C> d;                           ///< [T, E] gradient of z, zero for bad units; may be overwritten
  view<C> pieces;                      ///< room for partial weight gradients
};

template <class Router, class T, class Maths>
class linear_logits {
 public:
  using C = compute_t<T>;
  using M = master_t<T>;
  using parameters = routing_parameters<M>;
  using product_type = router_products<T, Maths, perturbs_input<Router>>;
  using ctx = context<cpu_with<Maths>>;
  /// The library of dense products, for describe().
  static const char* products() { return product_type::name(); }
  struct memory {};

  linear_logits() = default;
  linear_logits(const Router&, index dim, index experts, bool second = false)
      : dim_(dim), experts_(experts), second_(second), products_(dim, experts) {}

  template <class V>
  void visit(V& v) {
    v.add_derived(packed_, products_.packed_bytes());
    v.add_derived(packed_back_, products_.packed_back_bytes());
  }
  void bind(binder<cpu_with<Maths>>& b, const memory&, index /*max_units*/) const { products_.need_workers(b); }
  index piece_columns() const { return experts_ * (dim_ + (has_projection_bias<Router> ? 1 : 0)); }
  void refresh(ctx& c, const parameters& p) {
    worker w = c.stream.at(0);
    products_.pack(weight(p).value, packed_, packed_back_, w);
  }

  void forward(ctx& c, const Router&, const parameters& p, view<const T> x, const input_noise& factors, view<C> z,
               const memory&) const {
    products_.multiply(c, x, packed_, z, bias(p).value, factors);
  }
  void backward(ctx& c, const Router&, const parameters& p, view<const T> x, const input_noise& factors,
                const logits_gradient<C>& g, view<T> dx, bool add, const memory&) const {
    products_.weight_gradient(c, g.units, g.bad, g.pieces, x, g.d, weight(p).grad, bias(p).grad, factors);
    if (dx.ptr[0]) products_.input_gradient(c, g.units, g.d, packed_back_, dx, add, factors);
  }

 private:
  const param<M>& weight(const parameters& p) const { return second_ ? p.noise_weight : p.weight; }
  const param<M>& bias(const parameters& p) const { return second_ ? p.noise_bias : p.weight_bias; }

  index dim_ = 0, experts_ = 0;
  bool second_ = false;
  std::byte* packed_ = nullptr;
  std::byte* packed_back_ = nullptr;
  product_type products_;
};

}  // namespace backend
}  // namespace polymoe
