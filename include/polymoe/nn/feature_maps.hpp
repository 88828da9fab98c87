// What the modules of feature maps have in common: a backend that can compute on them.
#pragma once

#include "../backend/cpu/conv.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Base of modules on feature maps.
template <class B>
struct feature_maps {
  static_assert(
      polymoe::backend::has_convolutions<B>(),
      "polymoe M028: this backend has no experts that convolve (or, for a module of nn, no such module of feature "
      "maps); they run on polymoe::cpu and polymoe::cuda. See docs/errors.md#M028");
};

}  // namespace nn
}  // namespace polymoe
