// Mobile V-MoE (paper D, arXiv 2309.04354): whole images routed by one router, which is told super-classes.
#pragma once

#include "../experiment/any_layer.hpp"
#include "../experiment/vit_options.hpp"

namespace paper_d {

using experiment::images, experiment::index, experiment::result, experiment::settings;
template <class T, class B>
using layer = experiment::any_layer<T, B>;

/// Values that are swept.
struct swept {
  std::vector<index> experts{10};
  std::vector<std::string> placement{"last-2"};
  std::vector<int> k{1};
  std::vector<std::string> clustering{"spectral"};
  std::string how = "all";  ///< combinations; or one-by-one: one of these at a time, the others at their first value
  bool one_by_one() const { return how == "one-by-one"; }
};
/// Of one arm, but for `sweep`.
struct options : experiment::vit_options {
  options() { vit = "8x96/4"; }
  swept sweep{};
  std::string router_input = "mean";  ///< over tokens; or class-token, which all arms then have, and their head takes
  bool class_token() const { return router_input == "class-token"; }
  std::string hierarchy{};  ///< file of what classes mean, for semantic_class
  index experts = 10;       ///< E
  index moe_blocks = 2;   ///< L: the last L blocks
  int k = 1;              ///< experts of an image or token
  double lambda = 0.3;    ///< weight of the router's cross-entropy
  std::string clustering = "spectral";  ///< of the confusion graph
};

/// How images reach experts.
enum class routing {
  dense,           ///< they do not
  dense_twin,      ///< they do not; the last L blocks are as wide as k experts, the dense model of equal compute
  learned_token,   ///< end to end, every token by itself, one router a block
  learned_image,   ///< end to end, whole images, one router
  super_class,     ///< whole images; the router learns super-classes of the dense model's confusions
  random_class,    ///< the same with super-classes drawn at random
  coarse_class,    ///< the same with the data set's own coarse labels (CIFAR-100)
  semantic_class,  ///< the same with clusters of a hierarchy of meanings
  oracle           ///< super-classes known, no router: the upper bound
};

struct layer_sizes {
  index dim = 0, hidden = 0, heads = 0, tokens = 0;  ///< tokens of an image
  index experts = 0;
  index blocks = 0, first = 0;           ///< L, and the number of the first of them
};
/// A layer that routes tokens to k experts, which is 1, 2 or 4 here and below.
template <class T, class B>
typename layer<T, B>::config token_layer(const layer_sizes&, int k);
/// A layer of one expert that is as wide as k of them: no choice is left.
template <class T, class B>
typename layer<T, B>::config wide_layer(const layer_sizes&, int k);
/// L blocks that route whole images by one router: end to end (learned_image), told super-classes (all others), or by a
/// table.  `Seen` is what the router sees of an image, unit::mean or unit::class_token.
template <class T, class B, class Seen>
typename layer<T, B>::config image_blocks(routing, const layer_sizes&, int k, double lambda);
template <class T, class B>
typename layer<T, B>::config oracle_blocks(const layer_sizes&);
/// The table of oracle_blocks, in the backend's memory: the expert of every image of a call.
template <class T, class B>
void set_experts(layer<T, B>& blocks, const int* of_image);

/// The groups of every class in a file with a line "class: widest group/.../narrowest group" for each; throws unless it
/// names every class of `names` once.  Lines that begin with # say nothing.
std::vector<std::vector<std::string>> read_hierarchy(const std::string& path, const std::vector<std::string>& names);

/// The classes' clusters: which expert each class is meant for.  Adds what they are worth to the result.
std::vector<int> clusters_of(routing, const settings&, const options&, std::uint64_t seed, const images&, result&);

/// Trains one arm under one seed.
result run(routing, const std::string& name, const settings&, const options&, std::uint64_t seed, const images&);
/// The same on a GPU, of the library paper_d_cuda.
EXPERIMENT_OF_LIBRARY result run_on_gpu(routing, const std::string& name, const settings&, const options&,
                                        std::uint64_t seed, const images&);
EXPERIMENT_OF_LIBRARY std::string find_gpu(std::string& missing);

}  // namespace paper_d
