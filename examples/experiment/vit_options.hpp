// Options of the programs whose network is a vision transformer.
#pragma once

#include <polymoe/nn/placement.hpp>
#include <polymoe/nn/vit_sizes.hpp>

#include "experiment.hpp"

namespace experiment {

struct vit_options {
  std::string vit{};                                        ///< a name that nn::vit_named knows
  index dim = 0, depth = 0, heads = 0, patch = 0, mlp = 0;  ///< in the place of its own; 0: those

  /// Without the sizes of images, and without a class token.
  polymoe::nn::vit_sizes sizes() const {
    polymoe::nn::vit_sizes z = polymoe::nn::vit_named(vit);
    if (dim) z.dim = dim;
    if (depth) z.depth = depth;
    if (heads) z.heads = heads;
    if (patch) z.patch = patch;
    z.mlp = mlp, z.class_token = false;
    return z;
  }
  polymoe::nn::vit_sizes sizes(const images& data) const {
    polymoe::nn::vit_sizes z = sizes();
    z.channels = data.test.channels, z.height = data.test.height, z.width = data.test.width;
    z.classes = data.test.classes();
    return z;
  }
  /// "ViT 8x96/4, heads 3, mlp 384".
  std::string text() const;
};

/// --vit, --dim, --depth, --heads, --patch, --mlp.
void add_vit_options(CLI::App&, vit_options&);

}  // namespace experiment
