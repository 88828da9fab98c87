// When does sparse help?  A small CNN whose body is convolution experts, after paper A (arXiv 2605.15484).
#pragma once

#include <algorithm>

#include <polymoe/layer/rho_solver.hpp>
#include <polymoe/nn/placement.hpp>

#include "../experiment/any_layer.hpp"
#include "../experiment/any_module.hpp"
#include "../experiment/experiment.hpp"

namespace paper_a {

using experiment::images, experiment::index, experiment::result, experiment::settings;
template <class T, class B>
using layer = experiment::any_layer<T, B>;
template <class T, class B>
using dense = experiment::any_module<T, B>;

struct options {
  std::vector<std::string> backbones{"standard"};
  std::string backbone{};  ///< of an arm: standard or depthwise
  index width = 32;                   ///< channels of the first stage; the body has twice as many
  index blocks = 2;                   ///< of the body
  index experts = 8;
  std::vector<std::string> placements{"every-1", "head"};  ///< where experts are: sets of arms
  std::string placement = "every-1";                       ///< of an arm: which of the body's blocks have experts
  std::vector<index> hidden{8, 16, 32, 64, 128};  ///< widths H of an expert
  std::vector<double> rho{};                      ///< rho_static; H are found for it
  double capacity = 1.25;
  std::string temperature = "constant";  ///< linear or sigmoid: from 1 to least_temperature over the run
  double least_temperature = 0.1, entropy_floor = 0;
};

/// What the body's blocks at the placement, or the head, are made of.
enum class kind {
  dense,        ///< no experts: the twin of k = 2 by active FLOPs (hidden width near 2 H), and what rho is taken against
  dense_wide,   ///< its twin by parameters (near E H)
  dense_one,    ///< the twin of k = 1 by active FLOPs (near H)
  dense_total,  ///< its twin by all slots that the capacity buys (near 2 H times the capacity factor)
  k1,
  k2,       ///< K of E experts of hidden width H, hard capacity, overflow dropped
  k2_free,  ///< without a capacity: how much of a gap is dropping?
  k2_reroute,
  k2_fallback,
  soft,              ///< every expert for every map, weighted (per-sample Soft MoE)
  head_k2,           ///< experts in the head alone, hard capacity: an image that one has no place for gets zeros of it
  head_k2_free,      ///< without a capacity
  head_k2_fallback,  ///< overflow goes to one more expert
  head_soft,         ///< all experts weighted
  head_batch         ///< slots mixed over the batch (batch-axis Soft MoE)
};
constexpr bool is_dense(kind k) { return k <= kind::dense_total; }
constexpr bool is_head(kind k) { return k >= kind::head_k2; }

/// Sizes of a block's experts: maps of `channels` channels.
struct block_sizes {
  index channels = 0, hidden = 0, experts = 1, map_height = 0, map_width = 0;
  double capacity = 1.25;
};
/// The layer of the body's blocks: experts of two 3 x 3 convolutions, or of a depthwise and two pointwise ones.
template <class T, class B>
typename layer<T, B>::config standard_experts(kind, const block_sizes&);
template <class T, class B>
typename layer<T, B>::config depthwise_experts(kind, const block_sizes&);
/// The same without experts.
template <class T, class B>
typename dense<T, B>::config standard_block(const block_sizes&);
template <class T, class B>
typename dense<T, B>::config depthwise_block(const block_sizes&);

struct head_sizes {
  index features = 0, hidden = 0, experts = 1, classes = 0;
  double capacity = 1.25;
};
/// Experts as the classifier, for the kinds head_*.
template <class T, class B>
typename layer<T, B>::config expert_head(kind, const head_sizes&);

/// Compute and parameters of the network around its blocks.
polymoe::routed_shape shape_of(const options&, const images&);
/// The experts that the dense arms are twins of: k of them, 2 but for dense_one, with a capacity.
constexpr polymoe::expert_sizes twin_sizes(const options& o, index hidden, int k = 2) {
  return {hidden, static_cast<int>(o.experts), k, k * o.capacity};
}

/// Share of the body's blocks that have experts.
inline double routed_part(const options& o) {
  return static_cast<double>(polymoe::nn::placement::named(o.placement, o.blocks).count()) / static_cast<double>(o.blocks);
}
/// The dense network with as much of `m` as the one with experts, whose other blocks are as wide as the twin by active MACs:
/// all its own blocks are equally wide.
inline polymoe::dense_twin dense_twin_of(const polymoe::routed_shape& s, polymoe::match m, const options& o, index hidden,
                                         int k = 2) {
  const polymoe::dense_twin everywhere = twin_of(s, m, twin_sizes(o, hidden, k));
  const double part = routed_part(o);
  if (part == 1) return everywhere;
  const auto amount = [&](index h) {
    const auto width = static_cast<double>(h);
    return m == polymoe::match::parameters ? s.rest_params + s.params(width) : s.rest + s.macs(width);
  };
  const double other = amount(twin_of(s, polymoe::match::active_macs, twin_sizes(o, hidden)).hidden);
  const double wanted = (1 - part) * other + part * everywhere.wanted;
  const double exact = (wanted - amount(0)) / (amount(8) - amount(0));  // in eights
  const index low = std::max<index>(8, 8 * static_cast<index>(exact)), high = low + 8;
  const index nearest = wanted - amount(low) <= amount(high) - wanted ? low : high;
  return {nearest, wanted, amount(nearest)};
}

/// Trains one arm under one seed.
result run(kind, const std::string& name, index hidden, const settings&, const options&, std::uint64_t seed,
           const images&);
/// The same on a GPU, of the library paper_a_cuda.
EXPERIMENT_OF_LIBRARY result run_on_gpu(kind, const std::string& name, index hidden, const settings&, const options&,
                                        std::uint64_t seed, const images&);
EXPERIMENT_OF_LIBRARY std::string find_gpu(std::string& missing);

}  // namespace paper_a
