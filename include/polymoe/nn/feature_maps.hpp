// What the modules of feature maps have in common: a backend that can compute on them.
#pragma once

#include "../backend/cpu/conv.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Base of modules on feature maps; `Everywhere`: on every backend that has some of them.
template <class B, bool Everywhere = true>
struct feature_maps {
  static_assert(Everywhere ? polymoe::backend::has_feature_maps<B>() : polymoe::backend::has_convolutions<B>(),
                "polymoe M028: this backend has no experts that convolve (or, for a module of nn, no such module of feature "
                "maps); they run on polymoe::cpu. See docs/errors.md#M028");
};

}  // namespace nn
}  // namespace polymoe
