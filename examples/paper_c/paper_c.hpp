// The routers of paper C (arXiv 2401.15969) in one vision transformer, and what an arm measures.
#pragma once

#include "../experiment/experiment.hpp"

namespace paper_c {

using experiment::images;
using experiment::index;
using experiment::result;
using experiment::settings;

struct options {
  index dim = 96, depth = 6, heads = 3, patch = 4, mlp = 384;
  index experts = 8, moe_blocks = 2;  ///< Mixture-of-Experts blocks: the last of the odd ones, as V-MoE's "last n"
  index group_images = 8;             ///< images whose tokens compete for slots; Soft MoE always mixes one image
  std::vector<index> shots{1, 5, 10, 25};
  std::string probe_data{};           ///< images of the few-shot probe; empty: those of the run
};

/// One arm: a router at a capacity c.  Token choice takes K = c experts a token with capacity factor 1, expert choice
/// the capacity factor c, Soft MoE as many slots as tokens times c.
result run_dense(const std::string& name, const settings&, const options&, std::uint64_t seed, const images&, const images& probe);
result run_token_choice(bool sinkhorn, int capacity, const std::string& name, const settings&, const options&, std::uint64_t seed, const images&, const images& probe);
result run_expert_choice(int kind, int capacity, const std::string& name, const settings&, const options&, std::uint64_t seed, const images&, const images& probe);
result run_soft(int capacity, const std::string& name, const settings&, const options&, std::uint64_t seed, const images&, const images& probe);

}  // namespace paper_c
