// The routers of paper C (arXiv 2401.15969) in one vision transformer, and what an arm measures.
#pragma once

#include "../experiment/any_layer.hpp"
#include "../experiment/vit_options.hpp"

namespace paper_c {

using experiment::images, experiment::index, experiment::result, experiment::settings;
template <class T, class B>
using layer = experiment::any_layer<T, B>;

struct options : experiment::vit_options {
  options() { vit = "6x96/4"; }
  std::string pool = "mean";  ///< what the head sees: the mean of all tokens, or the class_token
  index experts = 8;
  std::string placement = "last-odd-2";  ///< of the Mixture-of-Experts blocks: V-MoE's "last n"
  index group_images = 8;  ///< images whose tokens compete for slots; Soft MoE always mixes one image
  std::vector<double> capacities{1, 2};
  std::vector<index> shots{1, 5, 10, 25};
  std::string probe_data{};  ///< images of the few-shot probe; empty: those of the run
  std::string equal_time{};  ///< seconds of training, or an arm's name; see experiment/equal_time.hpp
};

/// By softmax, a Sinkhorn plan or a sparse transport plan; token choice (tc), expert choice (ec), Soft MoE.
/// sinkhorn_plan_tc weighs experts by the plan instead of by softmax (figure 3 of the paper).
enum class router { dense, softmax_tc, sinkhorn_tc, sinkhorn_plan_tc, softmax_ec, sinkhorn_ec, sparse_ec, soft };

struct layer_sizes {
  index dim = 0, hidden = 0, experts = 0, group_images = 0;
  index tokens = 0;  ///< of an image
};
/// Layers of experts at a capacity c.  Token choice takes K = c experts a token, 1 or 2, with capacity factor 1, expert
/// choice the capacity factor c, Soft MoE as many slots as tokens times c.
template <class T, class B>
typename layer<T, B>::config token_choice(router, int capacity, const layer_sizes&);
template <class T, class B>
typename layer<T, B>::config expert_choice(router, double capacity, const layer_sizes&);
template <class T, class B>
typename layer<T, B>::config soft(double capacity, const layer_sizes&);

/// What the model's pooling gives for some images.
struct features {
  std::vector<float> rows;  ///< [labels.size(), D]
  std::vector<std::int32_t> labels;
};
/// Adds the accuracy of linear probes that learn from `known`.
void add_probes(const features& known, const features& asked, index classes, const options&, result&);

/// Trains one arm under one seed and probes it with the images `probe`.
result run(router, double capacity, const std::string& name, const settings&, const options&, std::uint64_t seed,
           const images&, const images& probe);
/// The same on a GPU, of the library paper_c_cuda.
EXPERIMENT_OF_LIBRARY result run_on_gpu(router, double capacity, const std::string& name, const settings&,
                                        const options&, std::uint64_t seed, const images&, const images& probe);
EXPERIMENT_OF_LIBRARY std::string find_gpu(std::string& missing);

}  // namespace paper_c
