// The parts of the program: arms that train, what looks at the models they trained, and the page's own sections.
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
  std::string hessian_of = "best";  ///< best or last: the epoch whose parameters Hessian and landscapes are of
  double hessian_at_loss = 0;  ///< also the Hessian of the first epoch whose training loss is below; 0: none
  index landscape_images = 0;  ///< training images that the loss along random directions is taken over; 0: none
  index landscape_points = 11;  ///< of a plane's axis; a line has twice as many, less one
};

enum class head { dense, soft, sparse, soft_published, sparse_published };
inline constexpr index experts = 8, expert_hidden = 64;
inline constexpr int experts_of_image = 2;  ///< of sparse heads
/// Batches that inference is timed over.
inline const std::vector<index> timed_batches{1, 2, 4, 8, 16, 32, 64, 128, 256};
/// Share of dropped numbers, in every head.
inline constexpr double dropout = 0.1;

constexpr bool published(head h) { return h == head::soft_published || h == head::sparse_published; }

/// Heads of experts for vectors of `features` numbers.
template <class T, class B>
typename layer<T, B>::config coded_head(head, index features, index classes);
template <class T, class B>
typename layer<T, B>::config published_head(head, index features, index classes);
template <class T, class B>
typename layer<T, B>::config head_of(head which, index features, index classes) {
  return published(which) ? published_head<T, B>(which, features, classes) : coded_head<T, B>(which, features, classes);
}
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
/// What a model is on the CPU besides its accuracy: Hessian and landscapes, as far as the options ask for them.
///
/// Adds figures "<part>.lambda", "<part>.trace", ... and lists "<part>.eigenvalues", "<part>.loss_along", ... for the
/// training and the test images, in evaluation mode, as the paper; power iteration, the paper's instrument, stands
/// beside Lanczos.  With settings::plan it only times the parts and adds figure "plan_look": seconds
/// that all would take at most.
void look_at(head, const trained&, const settings&, const options&, const images&, result&);
using look_function = decltype(&look_at);
/// Lists "landscape.*", of look_at(), and its seconds.
void add_landscape(head, const trained&, const settings&, const options&, const images&, result&);
/// The loss along a direction, all parameters one after the other, with gates as they are, over the Hessian's images.
std::vector<double> frozen_curve(head, const trained&, const settings&, const options&, const images&,
                                 const polymoe::dataset& from, const std::vector<float>& along,
                                 const std::vector<double>& alphas);

/// run() on a GPU, of the library paper_b_cuda.  What looks at a model stays on the CPU, which has dual numbers: the
/// program gives its function.
EXPERIMENT_OF_LIBRARY result run_on_gpu(head, const std::string& name, const settings&, const options&,
                                        std::uint64_t seed, const images&, look_function);
EXPERIMENT_OF_LIBRARY std::string find_gpu(std::string& missing);

}  // namespace paper_b
