// The parts of the program: arms that train, and the Hessian of what they trained.
#pragma once

#include "../experiment/experiment.hpp"

namespace paper_b {

using experiment::images;
using experiment::index;
using experiment::result;
using experiment::settings;

struct options {
  index base = 64;            ///< channels of the first stage; 64 is the paper's ResNet-18
  index hessian_images = 0;   ///< images of the training and of the test set that the Hessian is taken over; 0: none
  index hessian_pairs = 5;    ///< largest eigenvalues
  index trace_probes = 10;
  index hessian_products = 120;  ///< at most so many products for the eigenvalues
};

result run_dense(const settings&, const options&, std::uint64_t seed, const images&);
result run_soft_coded(const settings&, const options&, std::uint64_t seed, const images&);
result run_sparse_coded(const settings&, const options&, std::uint64_t seed, const images&);
result run_soft_published(const settings&, const options&, std::uint64_t seed, const images&);
result run_sparse_published(const settings&, const options&, std::uint64_t seed, const images&);

/// A trained model as its numbers.
struct trained {
  std::vector<float> values, state;  ///< flat, as a workspace keeps them
};
enum class head { dense, soft, sparse };
/// Adds figures "<part>.lambda", "<part>.trace", ... and lists "<part>.eigenvalues", "<part>.loss_along" for the training
/// and the test images; in evaluation mode, as the paper.  Power iteration, the paper's instrument, stands beside Lanczos.
void add_hessian(head, const trained&, const settings&, const options&, const images&, result&);

}  // namespace paper_b
