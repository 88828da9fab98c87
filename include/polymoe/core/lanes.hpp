// Lane groups: the threads that share one token's row of experts.
//
// scalar_group is one thread that owns the whole row: the CPU backend and the readable reference.  warp_group
// (backend/cuda/warp_group.cuh) spreads the row over 32 CUDA threads.  Policies never see either; they see row<>.
#pragma once

#include "dual.hpp"

namespace polymoe::inline v0 {

struct scalar_group {
  static constexpr int width = 1;
  POLYMOE_HD constexpr int lane() const { return 0; }
  /// Sum over the lanes, the same bits on every lane.
  template <class S>
  POLYMOE_HD S sum(S x) const {
    return x;
  }
  /// Largest over the lanes.
  template <class S>
  POLYMOE_HD S max(S x) const {
    return x;
  }
  POLYMOE_HD int min(int x) const { return x; }
  /// True when any lane says so.
  POLYMOE_HD bool any(bool x) const { return x; }
};

}  // namespace polymoe
