// soft_slots<Axis, Normalised>: Soft MoE (Puigcerver et al. 2023; paper C, router 6): slots are mixtures of the units
// of a group, units are mixtures of the slots' outputs.
//
//   U_ts     = <x_t, phi_s>                                      plain
//            = <x_t, phi_s> / (|x_t| |phi_s|), |v| = sqrt(v.v + 1e-6)   normalised (the default, as in V-MoE's code)
//   L        = scale U / temperature                             scale is learned, only where normalised
//   dispatch = softmax over the units of a group, for each slot
//   combine  = softmax over all slots, for each unit
//   input of slot s = sum_t dispatch_ts x_t;   y_t = sum_s combine_ts output_s
//
// The axis says which units mix, and group_size of the layer must agree:
//   axis::image  the tokens of one image: group_size is their number                      (Soft MoE)
//   axis::batch  all units of a call: group_size is 0; outputs then depend on who else is in the batch
//                (paper A, section 1.5 of which calls it the main failure of Soft MoE in per-sample settings)
#pragma once

#include "../core/error.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

namespace axis {
struct image {
  static constexpr const char* name = "image";
};
struct batch {
  static constexpr const char* name = "batch";
};
}  // namespace axis

template <class Axis = polymoe::axis::image, bool Normalised = true>
struct soft_slots {
  static constexpr const char* name =
      std::is_same_v<Axis, polymoe::axis::batch>
          ? (Normalised ? "soft slots over the batch" : "plain soft slots over the batch")
          : (Normalised ? "soft slots" : "plain soft slots");
  static constexpr int k = mixed_into_slots;
  static constexpr bool normalised = Normalised;
  using axis = Axis;
  index slots = 1;           ///< of each expert, in each group
  float first_scale = 1.0f;  ///< first value of the learned scale

  void validate() const { require(slots >= 1, "soft_slots: slots is ", slots, ", it must be at least 1"); }
};

}  // namespace polymoe
