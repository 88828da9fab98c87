// Options of a vision transformer.
#include "vit_options.hpp"

#include <CLI/CLI.hpp>

namespace experiment {

std::string vit_options::text() const {
  const polymoe::nn::vit_sizes z = sizes();
  return "ViT " + std::to_string(z.depth) + "x" + std::to_string(z.dim) + "/" + std::to_string(z.patch) + ", heads " +
         std::to_string(z.heads) + ", mlp " + std::to_string(z.mlp_hidden());
}

void add_vit_options(CLI::App& app, vit_options& o) {
  app.add_option(
      "--vit", o.vit,
      "the network: Ti, S, B, L, H, V-MoE-S or layers x width, a slash and the side of a patch: Ti/4, 8x96/4");
  app.add_option("--dim", o.dim, "width D; 0: as --vit says, and so for the next four")->check(CLI::NonNegativeNumber);
  app.add_option("--depth", o.depth, "blocks")->check(CLI::Range(0, 64));
  app.add_option("--heads", o.heads, "attention heads")->check(CLI::NonNegativeNumber);
  app.add_option("--patch", o.patch, "pixels of a patch's side")->check(CLI::NonNegativeNumber);
  app.add_option("--mlp", o.mlp, "hidden width of a block's MLP and of an expert; 0: 4 D")
      ->check(CLI::NonNegativeNumber);
}

}  // namespace experiment
