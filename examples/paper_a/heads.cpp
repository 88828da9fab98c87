// Experts in the classifier head.
#include <polymoe/polymoe.hpp>

#include "paper_a.hpp"

namespace paper_a {
namespace {

template <class Router, class Balance = polymoe::balance::none>
struct head_spec : polymoe::spec {
  using router = Router;
  using expert = polymoe::expert::head<polymoe::act::relu>;
  using balance = Balance;
  static constexpr int most_experts = 32;
};

template <class Spec>
layer::config with(index features, index hidden, index experts, index classes) {
  using own = polymoe::layer<Spec, polymoe::cpu>;
  typename own::config c;
  c.dim = features, c.hidden = hidden, c.experts = experts, c.classes = classes;
  return layer::of<own>(c);
}

}  // namespace

layer::config expert_head(kind which, index features, index hidden, index experts, index classes) {
  using namespace polymoe;
  using two_best = head_spec<top_k<2, score::noisy_constant<>>, balance::sum<balance::importance, balance::load>>;
  if (which == kind::head_k2) return with<two_best>(features, hidden, experts, classes);
  if (which == kind::head_soft) return with<head_spec<mixture<>>>(features, hidden, experts, classes);
  return with<head_spec<soft_slots<axis::batch>>>(features, hidden, experts, classes);
}

}  // namespace paper_a
