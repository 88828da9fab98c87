// The parts of the program: arms that train, and the Hessian of what they trained.
#pragma once

#include "../experiment/any_layer.hpp"
#include "../experiment/experiment.hpp"

namespace paper_b {

using experiment::images, experiment::index, experiment::result, experiment::settings;
template <class T, class B>
using layer = experiment::any_layer<T, B>;

struct options {
  index base = 64;            ///< channels of the first stage; 64 is the paper's ResNet-18
  index hessian_images = 0;   ///< images of the training and of the test set that the Hessian is taken over; 0: none
  index hessian_pairs = 5;    ///< largest eigenvalues
  index trace_probes = 10;
  index density_probes = 0;  ///< random starts of the density of eigenvalues, at most 40 products each; 0: none
  index hessian_products = 120;  ///< at most so many products for the eigenvalues
  index landscape_images = 0;  ///< training images that the loss along random directions is taken over; 0: none
  index landscape_points = 11;  ///< of a plane's axis; a line has twice as many, less one
};

enum class head { dense, soft, sparse, soft_published, sparse_published };
/// Share of dropped numbers, in every head.
inline constexpr double dropout = 0.1;

constexpr bool published(head h) { return h == head::soft_published || h == head::sparse_published; }

/// Heads of experts for vectors of `features` numbers.
template <class T, class B>
typename layer<T, B>::config coded_head(head, index features, index classes);
template <class T, class B>
typename layer<T, B>::config published_head(head, index features, index classes);
/// The sparse head as the paper's code had it when its results were made: the noise of the gate is there in evaluation
/// too. For evaluation only; it has no dropout.
template <class T, class B>
typename layer<T, B>::config noisy_head(index features, index classes);

/// Trains one arm under one seed.
result run(head, const std::string& name, const settings&, const options&, std::uint64_t seed, const images&);

/// A trained model as its numbers.
struct trained {
  std::vector<float> values, state;  ///< flat, as a workspace keeps them
};
/// Adds figures "<part>.lambda", "<part>.trace", ... and lists "<part>.eigenvalues", "<part>.loss_along", ... for the
/// training and the test images; in evaluation mode, as the paper.  Power iteration, the paper's instrument, stands beside
/// Lanczos.  Returns the first eigenvector over the training images, all parameters one after the other.
std::vector<float> add_hessian(head, const trained&, const settings&, const options&, const images&, result&);
using hessian_function = decltype(&add_hessian);

/// run() on a GPU, of the library paper_b_cuda.  The Hessian stays on the CPU, which has dual numbers: the program gives its
/// function.
EXPERIMENT_OF_LIBRARY result run_on_gpu(head, const std::string& name, const settings&, const options&, std::uint64_t seed,
                                        const images&, hessian_function);
EXPERIMENT_OF_LIBRARY std::string find_gpu(std::string& missing);

}  // namespace paper_b
