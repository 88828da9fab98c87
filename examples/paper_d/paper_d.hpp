// Mobile V-MoE (paper D, arXiv 2309.04354): whole images routed by one router, which is told super-classes.
#pragma once

#include "../experiment/any_layer.hpp"
#include "../experiment/experiment.hpp"

namespace paper_d {

using experiment::images, experiment::index, experiment::result, experiment::settings;
using layer = experiment::any_layer<float>;

struct options {
  index dim = 96, depth = 8, heads = 3, patch = 4;
  index experts = 10;     ///< E
  index moe_blocks = 2;   ///< L: the last L blocks
  int k = 1;              ///< experts of an image or token
  double lambda = 0.3;    ///< weight of the router's cross-entropy
  std::string clustering = "spectral";  ///< of the confusion graph
};

/// How images reach experts.
enum class routing {
  dense,         ///< they do not
  learned_token, ///< end to end, every token by itself, one router a block
  learned_image, ///< end to end, whole images, one router
  super_class,   ///< whole images; the router learns super-classes of the dense model's confusions
  random_class,  ///< the same with super-classes drawn at random
  coarse_class,  ///< the same with the data set's own coarse labels (CIFAR-100)
  oracle         ///< super-classes known, no router: the upper bound
};

struct layer_sizes {
  index dim = 0, heads = 0, tokens = 0;  ///< tokens of an image
  index experts = 0;
  index blocks = 0, first = 0;           ///< L, and the number of the first of them
};
/// A layer that routes tokens to k experts.
layer::config token_layer(const layer_sizes&, int k);
/// L blocks that route whole images by one router: end to end, told super-classes, or by a table.
layer::config learned_blocks(const layer_sizes&, int k);
layer::config told_blocks(const layer_sizes&, int k, double lambda);
layer::config oracle_blocks(const layer_sizes&);
/// The table of oracle_blocks: the expert of every image of a call.
void set_experts(layer& blocks, const int* of_image);

/// Trains one arm under one seed.
result run(routing, const std::string& name, const settings&, const options&, std::uint64_t seed, const images&);

}  // namespace paper_d
