// Sizes of vision transformers, and the published ones by their names.
#pragma once

#include <numeric>

#include "../core/error.hpp"
#include "../core/float_products.hpp"
#include "../core/number_text.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Sizes of a vision transformer apart from its experts.
struct vit_sizes {
  index channels = 1, height = 28, width = 28;
  index patch = 4, stride = 0, padding = 0;  ///< stride 0: patches do not overlap
  index dim = 64, heads = 4, depth = 4, classes = 10;
  bool class_token = false;  ///< in front of the patches, and what the head sees; else it sees the mean of all tokens
  /// Of every dense product, the MLP blocks' too; the experts of a Mixture-of-Experts layer stay exact.
  float_products products = float_products::exact;
  index mlp = 0;  ///< hidden width of the dense MLP blocks; 0: 4 dim

  constexpr index mlp_hidden() const { return mlp ? mlp : 4 * dim; }
  constexpr index tokens() const {
    const index s = stride ? stride : patch;
    return ((height + 2 * padding - patch) / s + 1) * ((width + 2 * padding - patch) / s + 1) + (class_token ? 1 : 0);
  }
};

/// Published sizes, for RGB images of 224 x 224, 1000 classes and a class token (a caller may change these); after the
/// slash the side of a patch:
///
///   "B/16", "L/16", "H/14"    Dosovitskiy et al. 2021
///   "Ti/16", "S/16"           Touvron et al. 2021; the Ti and S of Soft MoE
///   "V-MoE-S/32"              the S of Riquelme et al. 2021: 8 x 512
///   "12x192/32"               layers x width, as Mobile V-MoE (paper D) names its models: any
///
/// Hidden widths are 4 dim.  Heads have 64 numbers (80 in H); where 64 does not divide the width, which no source says,
/// as many as it shares with the width: 3 heads of 32 for 96.  Throws polymoe::error for another name.
constexpr vit_sizes vit_named(std::string_view name) {
  struct shape {
    std::string_view name;
    index depth, dim, heads;
  };
  constexpr shape known[] = {{"Ti", 12, 192, 3},  {"S", 12, 384, 6},   {"B", 12, 768, 12},
                             {"L", 24, 1024, 16}, {"H", 32, 1280, 16}, {"V-MoE-S", 8, 512, 8}};
  const auto slash = name.find('/');
  const std::string_view model = name.substr(0, slash);
  vit_sizes s;
  s.channels = 3, s.height = s.width = 224, s.classes = 1000, s.class_token = true, s.depth = 0;
  s.patch = slash == name.npos ? -1 : polymoe::detail::number_in(name.substr(slash + 1));
  for (const shape& k : known)
    if (model == k.name) s.depth = k.depth, s.dim = k.dim, s.heads = k.heads;
  if (const auto times = model.find('x'); s.depth == 0 && times != model.npos) {
    s.depth = polymoe::detail::number_in(model.substr(0, times));
    s.dim = polymoe::detail::number_in(model.substr(times + 1));
    s.heads = s.dim > 0 ? s.dim / std::gcd(s.dim, index{64}) : 0;
  }
  if (s.depth < 1 || s.dim < 1 || s.patch < 1)
    polymoe::detail::fail("vit '", name,
                          "': expected Ti, S, B, L, H, V-MoE-S or layers x width such as 12x192, and after ",
                          "a slash the side of a patch: Ti/16");
  return s;
}

}  // namespace nn
}  // namespace polymoe
