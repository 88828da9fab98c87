// What a module costs, as a function of its configuration: usable in static_assert.
//
// Convention: one multiply-accumulate (MAC) is 2 FLOPs; the library counts MACs and says so wherever it prints.
// Additions, activations, norms and softmax are not counted, as in the papers' tables.
#pragma once

#include "config.hpp"

namespace polymoe::inline v0 {

struct cost {
  index params = 0;         ///< trained scalars
  index active_params = 0;  ///< of these, the ones one routed unit meets
  index macs = 0;           ///< forward multiply-accumulates
  index routed_macs = 0;    ///< of these, the ones inside experts

  constexpr cost operator+(const cost& o) const {
    return {params + o.params, active_params + o.active_params, macs + o.macs, routed_macs + o.routed_macs};
  }
  /// `n` modules of this cost, one after another.
  constexpr cost times(index n) const { return {params * n, active_params * n, macs * n, routed_macs * n}; }
  constexpr double flops() const { return 2.0 * static_cast<double>(macs); }
  friend constexpr bool operator==(const cost&, const cost&) = default;
};

}  // namespace polymoe
