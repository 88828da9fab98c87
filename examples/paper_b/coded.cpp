// The heads as the paper's code has them.
#include "heads.hpp"
#include "network.hpp"

namespace paper_b {

layer::config coded_head(head which, index features, index classes) {
  if (which == head::sparse)
    return any_head<sparse_coded<float>>(experts_config<sparse_coded<float>>(features, classes));
  auto c = experts_config<soft_coded<float>>(features, classes);
  c.balance.get<balance::kl_from_uniform>().weight = 0.2f / static_cast<float>(experts);
  return any_head<soft_coded<float>>(c);
}

// The published models have exactly these parameters.
template <class Spec>
constexpr index params_with() {
  const nn::resnet_sizes z;
  return nn::resnet_features<float>::count(nn::resnet_features_config<float>(z), 1).params +
         head_layer<Spec>::count(experts_config<Spec>(z.features(), 10), 1).params;
}
static_assert(dense_classifier<float>::count(dense_model<float>({}, 10), 1).params == 11'436'618);
static_assert(params_with<soft_coded<float>>() == 11'440'792);
static_assert(params_with<sparse_coded<float>>() == 11'444'896);

}  // namespace paper_b
