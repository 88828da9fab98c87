// soft_slots<Axis, Normalised>: Soft MoE (Puigcerver et al. 2023; paper C, router 6): slots are mixtures of the units
// of a group, units are mixtures of the slots' outputs.
//
//   U_ts     = <x_t, phi_s>                                      plain
//            = <x_t, phi_s> / (|x_t| |phi_s|), |v| = sqrt(v.v + 1e-6)   normalised (the default, as in V-MoE's code)
//   L        = (scale U + noise_std eps) / temperature           scale is learned, only where normalised; eps is
//                                                                normal, in training, by (seed, step, unit, slot)
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
  index slots = 1;           ///< of each expert, in each group; 0: as many as `factor` says, which needs a group_size
  float factor = 1.0f;       ///< with slots = 0: slots of all experts over units of a group, as a capacity factor
  float first_scale = 1.0f;  ///< first value of the learned scale
  float noise_std = 0.0f;    ///< deviation of the noise on the logits, multiplied by step_state::noise

  void validate() const {
    require(slots >= 0, "soft_slots: slots is ", slots, ", it must not be negative");
    require(slots > 0 || (factor > 0 && factor <= 1e6f), "soft_slots: factor ", factor, " is outside (0, ", 1e6f, "]");
    require(slots > 0 || std::is_same_v<Axis, polymoe::axis::image>, "soft_slots: slots is ", slots,
            " over the batch, whose size is no setting; write their number");
    require(noise_std >= 0, "soft_slots: noise_std is ", noise_std, ", it must not be negative");
  }
  /// Slots of an expert: round(n factor / E), at least 1, where `slots` does not say   (V-MoE's code).
  constexpr index slots_of_expert(index group_size, index experts) const {
    if (slots > 0) return slots;
    const double exact = static_cast<double>(factor) * static_cast<double>(group_size) / static_cast<double>(experts);
    return exact < 1.5 ? 1 : static_cast<index>(exact + 0.5);
  }
};

}  // namespace polymoe
