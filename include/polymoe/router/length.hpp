// The length by which routers divide that compare directions (soft_slots, with_cosine): |v| = sqrt(v.v + 1e-6), which
// is never 0 and has a derivative everywhere.
#pragma once

#include "../core/math.hpp"

namespace polymoe::inline v0 {

/// 1 / |v| from v.v.
template <class C>
POLYMOE_HD POLYMOE_ALWAYS_INLINE C inverse_length(const C& square) {
  return C(1) / math::sqrt(square + C(1e-6f));
}

}  // namespace polymoe
