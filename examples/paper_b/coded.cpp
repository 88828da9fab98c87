// The heads as the paper's code has them.
#include "heads.hpp"
#include "network.hpp"

namespace paper_b {

template layer<float, polymoe::cpu>::config coded_head<float, polymoe::cpu>(head, index features, index classes);
template layer<float, polymoe::cpu>::config noisy_head<float, polymoe::cpu>(index features, index classes);

// The published models have exactly these parameters.
template <class Spec>
constexpr index params_with() {
  const nn::resnet_sizes z;
  return nn::resnet_features<float>::count(nn::resnet_features_config<float>(z), 1).params +
         head_params<Spec>(z.features(), 10);
}
static_assert(dense_classifier<float>::count(dense_model<float>({}, 10), 1).params == 11'436'618);
static_assert(params_with<soft_coded<float>>() == 11'440'792);
static_assert(params_with<sparse_coded<float>>() == 11'444'896);

}  // namespace paper_b
