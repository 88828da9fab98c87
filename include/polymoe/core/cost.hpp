// What a module costs, as a function of its configuration: usable in static_assert.
//
// Convention: one multiply-accumulate (MAC) is 2 FLOPs; the library counts MACs and says so wherever it prints.
// Additions, activations, norms and softmax are not counted, as in the papers' tables.
#pragma once

#include "dtype.hpp"

namespace polymoe::inline v0 {

/// Of one forward pass over a number of rows.  layer/flops.hpp makes the three rho of it.
struct cost {
  index params = 0;         ///< trained scalars
  index active_params = 0;  ///< of these, the ones one routed unit meets
  index macs = 0;           ///< forward multiply-accumulates
  index routed_macs = 0;    ///< of these, the ones inside experts
  index router_macs = 0;    ///< of `macs`, the ones of routers: logits, and what mixes units into slots
  index shared_macs = 0;    ///< of `macs`, the ones of experts that every unit meets (nn::shared_experts)
  index expert_macs = 0;    ///< inside experts if exactly one served every unit
  index slot_macs = 0;      ///< inside experts if every slot that a capacity buys were computed, filled or not
  /// Numbers that modules write: their outputs, and the hidden rows of blocks and experts.  Copies (patches, gathered
  /// rows) and what only some backends keep (attention's probabilities) do not count.
  index activations = 0;

  /// Of a module without experts: everybody meets all of its parameters.
  static constexpr cost dense(index params, index macs, index activations) {
    cost n;
    n.params = n.active_params = params, n.macs = macs, n.activations = activations;
    return n;
  }
  constexpr cost operator+(const cost& o) const {
    cost n = *this;
    for (const auto m : members) n.*m += o.*m;
    return n;
  }
  /// `n` modules of this cost, one after another.
  constexpr cost times(index n) const {
    cost all = *this;
    for (const auto m : members) all.*m *= n;
    return all;
  }
  constexpr double flops() const { return 2.0 * static_cast<double>(macs); }
  /// Bytes of the trained values of a model over T (of the fp32 masters for bf16); an optimiser's moments take as much
  /// each, gradients too.
  template <class T>
  constexpr index param_bytes() const {
    return params * bytes_of<master_t<T>>;
  }
  template <class T>
  constexpr index active_param_bytes() const {
    return active_params * bytes_of<master_t<T>>;
  }
  template <class T>
  constexpr index activation_bytes() const {
    return activations * bytes_of<T>;
  }
  friend constexpr bool operator==(const cost&, const cost&) = default;

 private:
  template <class T>
  static constexpr index bytes_of = plane_count<T>* static_cast<index>(sizeof(storage_t<T>));
  using member = index cost::*;  // nvcc writes the type out with parentheses that GCC warns of
  static constexpr member members[] = {&cost::params,      &cost::active_params, &cost::macs,
                                       &cost::routed_macs, &cost::router_macs,   &cost::shared_macs,
                                       &cost::expert_macs, &cost::slot_macs,     &cost::activations};
};

}  // namespace polymoe
