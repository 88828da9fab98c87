// When does sparse help?  A small CNN whose body is convolution experts, after paper A (arXiv 2605.15484).
#pragma once

#include <polymoe/layer/rho_solver.hpp>

#include "../experiment/any_layer.hpp"
#include "../experiment/experiment.hpp"

namespace paper_a {

using experiment::images, experiment::index, experiment::result, experiment::settings;
template <class T, class B>
using layer = experiment::any_layer<T, B>;

struct options {
  std::vector<std::string> backbones{"standard"};
  std::string backbone{};  ///< of an arm: standard or depthwise
  index width = 32;                   ///< channels of the first stage; the body has twice as many
  index blocks = 2;                   ///< of the body
  index experts = 8;
  std::vector<index> hidden{8, 16, 32, 64, 128};  ///< widths H of an expert
  std::vector<double> rho{};                      ///< rho_static; H are found for it
  double capacity = 1.25;
  std::string temperature = "constant";  ///< linear or sigmoid: from 1 to least_temperature over the run
  double least_temperature = 0.1, entropy_floor = 0;
};

/// What the body's blocks, or the head, are made of.
enum class kind {
  dense,        ///< one block: the twin of k = 2 by active FLOPs (hidden width near 2 H), and what rho is taken against
  dense_wide,   ///< one block: its twin by parameters (near E H)
  dense_one,    ///< one block: the twin of k = 1 by active FLOPs (near H)
  dense_total,  ///< one block: its twin by all slots that the capacity buys (near 2 H times the capacity factor)
  k1,
  k2,       ///< K of E experts of hidden width H, hard capacity, overflow dropped
  k2_free,  ///< without a capacity: how much of a gap is dropping?
  k2_reroute,
  k2_fallback,
  soft,       ///< every expert for every map, weighted (per-sample Soft MoE)
  head_k2,    ///< dense body, experts in the classifier head only
  head_soft,  ///< the same with all experts weighted
  head_batch  ///< the same with slots mixed over the batch (batch-axis Soft MoE)
};

/// Sizes of a block's experts: maps of `channels` channels.
struct block_sizes {
  index channels = 0, hidden = 0, experts = 1, map_height = 0, map_width = 0;
  double capacity = 1.25;
};
/// The layer of the body's blocks: experts of two 3 x 3 convolutions, or of a depthwise and two pointwise ones.
template <class T, class B>
typename layer<T, B>::config standard_body(kind, const block_sizes&);
template <class T, class B>
typename layer<T, B>::config depthwise_body(kind, const block_sizes&);
/// Experts as the classifier, for the kinds head_*.
template <class T, class B>
typename layer<T, B>::config expert_head(kind, index features, index hidden, index experts, index classes);

/// Compute and parameters of the network around its blocks.
polymoe::routed_shape shape_of(const options&, const images&);
/// The experts that the dense arms are twins of: k of them, 2 but for dense_one, with a capacity.
constexpr polymoe::expert_sizes twin_sizes(const options& o, index hidden, int k = 2) {
  return {hidden, static_cast<int>(o.experts), k, k * o.capacity};
}

/// Trains one arm under one seed.
result run(kind, const std::string& name, index hidden, const settings&, const options&, std::uint64_t seed,
           const images&);
/// The same on a GPU, of the library paper_a_cuda.
EXPERIMENT_OF_LIBRARY result run_on_gpu(kind, const std::string& name, index hidden, const settings&, const options&,
                                        std::uint64_t seed, const images&);
EXPERIMENT_OF_LIBRARY std::string find_gpu(std::string& missing);

}  // namespace paper_a
