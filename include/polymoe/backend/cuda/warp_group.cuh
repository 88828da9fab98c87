// warp_group: a row of experts spread over the 32 threads of a warp.
//
// Every reduction is a butterfly of exchanges, so that all lanes end with the same bits.
#pragma once

#include "../../core/row.hpp"
#include "device.cuh"

namespace polymoe::inline v0 {

struct warp_group {
  static constexpr int width = 32;
  POLYMOE_DEVICE int lane() const { return device::lane(); }
  template <class S>
  POLYMOE_DEVICE S sum(S x) const {
    for (int flip = 16; flip; flip >>= 1) x += device::shuffle_xor(x, flip);
    return x;
  }
  template <class S>
  POLYMOE_DEVICE S max(S x) const {
    for (int flip = 16; flip; flip >>= 1) {
      const S y = device::shuffle_xor(x, flip);
      // The lane with the lower number wins among equals, so dual numbers agree in their tangents on every lane.
      const bool lower = (lane() & flip) == 0;
      x = y > x || (y == x && !lower) ? y : x;
    }
    return x;
  }
  POLYMOE_DEVICE int min(int x) const {
    for (int flip = 16; flip; flip >>= 1) {
      const int y = device::shuffle_xor(x, flip);
      x = y < x ? y : x;
    }
    return x;
  }
  POLYMOE_DEVICE bool any(bool x) const { return device::ballot(x) != 0; }
};

}  // namespace polymoe
