// When does sparse help?  A small CNN whose body is convolution experts, after paper A (arXiv 2605.15484).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

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
  std::string backbone{};             ///< of an arm: standard or depthwise
  index width = 32;                   ///< channels of the first stage; the body has twice as many
  index blocks = 2;                   ///< of the body
  index experts = 8;
  std::vector<std::string> placements{"every-1", "head"};  ///< where experts are: sets of arms
  std::string placement = "every-1";                       ///< of an arm: which of the body's blocks have experts
  std::vector<index> hidden{8, 16, 32, 64, 128};           ///< widths H of an expert
  std::vector<double> rho{};                               ///< rho_static; H are found for it
  double capacity = 1.25;
  double slots = 1;                      ///< of the kinds *_batch: slots over the images of a training call
  std::string temperature = "constant";  ///< linear or sigmoid: from 1 to least_temperature over the run
  double least_temperature = 0.1, entropy_floor = 0;
};

/// What the body's blocks at the placement, or the head, are made of.
enum class kind {
  dense,       ///< no experts: the twin of k = 2 by active FLOPs (hidden width near 2 H), and what rho is taken against
  dense_wide,  ///< its twin by parameters (near E H)
  dense_one,   ///< the twin of k = 1 by active FLOPs (near H)
  dense_total,  ///< its twin by all slots that the capacity buys (near 2 H times the capacity factor)
  k1,           ///< one of E experts of hidden width H, hard capacity, overflow dropped
  k1_free,      ///< without a capacity
  k1_wide,      ///< one of E wider experts: the routed share of k = 2
  k1_few,       ///< one of fewer, wider experts: the routed share and the parameters of k = 2
  k2,           ///< two of E experts, hard capacity, overflow dropped
  k2_free,      ///< without a capacity: how much of a gap is dropping?
  k2_identity,  ///< overflow is its own expert
  k2_reroute,   ///< overflow goes to the next best expert, for two rounds
  k2_fallback,  ///< overflow goes to one more expert
  soft,         ///< every expert for every map, weighted (per-sample Soft MoE)
  soft_batch,   ///< slots mixed of the maps of all images of a call (batch-axis Soft MoE)
  // In the head alone.
  head_dense,        ///< two layers: the twin of head_k2 by active FLOPs
  head_dense_wide,   ///< by parameters
  head_dense_total,  ///< by all slots
  head_k1,
  head_k2,           ///< hard capacity: an image that no expert has a place for gets zeros of it
  head_k2_free,      ///< without a capacity
  head_k2_fallback,  ///< overflow goes to one more expert
  head_soft,         ///< all experts weighted
  head_batch         ///< slots mixed over the batch
};
constexpr bool is_head(kind k) { return k >= kind::head_dense; }
constexpr bool is_dense(kind k) {
  return k <= kind::dense_total || (k >= kind::head_dense && k <= kind::head_dense_total);
}
/// Whose answers are, or are not, those of an image alone: they are evaluated with several images a call.
constexpr bool is_of_calls(kind k) {
  return k == kind::soft || k == kind::soft_batch || (is_head(k) && !is_dense(k));
}
/// The images of these calls, `batch` being those of a training call; and of how many test images.
inline std::vector<index> call_sizes(index batch) {
  std::vector<index> sizes;
  for (const index n : {1, 8, 32})
    if (n < batch) sizes.push_back(n);
  sizes.push_back(batch);
  return sizes;
}
inline constexpr index most_of_calls = 2000;
inline std::string figure_of_calls(index images) { return "accuracy_at_batch_" + std::to_string(images); }

/// Sizes of experts, or of a dense module in their place.
struct layer_sizes {
  index hidden = 0, experts = 1;
  double capacity = 1.25;
  index slots = 1;  ///< of an expert that mixes the batch
};
/// Of a block on maps of `channels` channels.
struct block_sizes : layer_sizes {
  index channels = 0, map_height = 0, map_width = 0;
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

struct head_sizes : layer_sizes {
  index features = 0, classes = 0;
};
/// Experts as the classifier, for the kinds head_*.
template <class T, class B>
typename layer<T, B>::config expert_head(kind, const head_sizes&);
/// A linear classifier, or with a hidden width one of two layers, as an expert is.
template <class T, class B>
typename dense<T, B>::config dense_head(const head_sizes&);

/// Compute and parameters of the network around the blocks of its body, and around the experts of its head beside a
/// body for experts of hidden width `hidden`.
polymoe::routed_shape shape_of(const options&, const images&);
polymoe::routed_shape head_shape_of(const options&, const images&, index hidden);
/// The experts that the dense arms are twins of: k of them, 2 but for dense_one, with a capacity.
constexpr polymoe::expert_sizes twin_sizes(const options& o, index hidden, int k = 2) {
  return {hidden, static_cast<int>(o.experts), k, k * o.capacity};
}
/// How many experts of which width an arm has: E of the width H, but for k1_wide and k1_few, whose sizes are found for
/// the active compute of k = 2.
inline polymoe::expert_sizes experts_of(kind which, const polymoe::routed_shape& s, const options& o, index hidden) {
  const polymoe::expert_sizes two = twin_sizes(o, hidden);
  if (which != kind::k1_wide && which != kind::k1_few) return two;
  using polymoe::rho_kind;
  const polymoe::rho_question q{
      .rho = rho_of(s, rho_kind::active, two), .kind = rho_kind::active, .experts = two.experts};
  constexpr int one[]{1};
  const polymoe::rho_answer a =
      which == kind::k1_wide
          ? solve_rho(s, q)
          : solve_rho(s, q, s.rest_params + s.routed(polymoe::match::parameters, two), two.experts, one);
  return {a.hidden, a.experts, 1, o.capacity};
}

/// Share of the body's blocks that have experts.
inline double routed_part(const options& o) {
  return static_cast<double>(polymoe::nn::placement::named(o.placement, o.blocks).count()) /
         static_cast<double>(o.blocks);
}
/// The dense network with as much of `m` as the one with experts, whose other blocks are as wide as the twin by active
/// MACs: all its own blocks are equally wide.
inline polymoe::dense_twin dense_twin_of(const polymoe::routed_shape& s, polymoe::match m, const options& o,
                                         index hidden, int k = 2) {
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
