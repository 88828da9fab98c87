// The sparse arm for one scalar type; instantiated in one source file per type.
#pragma once

#include "arm.hpp"

namespace demo {

template <class Spec, class Backend, class First = std::nullptr_t>
arm_result run_moe_arm(const settings& s, const polymoe::train_test& data, First first = nullptr) {
  using layer = polymoe::nn::named<"moe", polymoe::layer<Spec, Backend>>;
  using model = polymoe::nn::vit<layer>;
  typename layer::config moe;
  moe.dim = s.vit.dim, moe.hidden = s.hidden, moe.experts = s.experts;
  moe.capacity.factor = capacity_factor;
  moe.balance.template get<polymoe::balance::importance>().weight = 0.005f;
  moe.balance.template get<polymoe::balance::load>().weight = 0.005f;
  const auto config = polymoe::nn::vit_config<layer>(s.vit, moe);
  arm_result r = run_arm<model>("moe", config, s, data, first);
  // Shares of compute against the dense twin of hidden width K * H; the tokens of a batch compete for slots.
  const polymoe::compute_share share = polymoe::share_of(model::count(config, s.batch));
  // The mean number of choices that were served is measured, not taken from the settings.
  double served = 0, calls = 0;
  for (const auto& l : r.test.experts.layers)
    served += static_cast<double>(l.placed), calls += static_cast<double>(l.units);
  r.rho_static = share.rho_static();
  r.rho_active = share.rho_active(calls > 0 ? served / calls : 0);
  r.rho_capacity = share.rho_capacity();
  return r;
}

template <class T>
arm_result run_moe(const settings& s, const polymoe::train_test& data) {
  return run_moe_arm<vit_moe<T>, polymoe::cpu>(s, data);
}

}  // namespace demo
