// The dense twin for one scalar type: the same model with one MLP of hidden width K * H per block.
#pragma once

#include "arm.hpp"

namespace demo {

template <class T, class Backend, class First = std::nullptr_t>
arm_result run_dense_arm(const settings& s, const polymoe::train_test& data, First first = nullptr) {
  using mlp = polymoe::nn::named<"mlp", polymoe::nn::mlp_block<T, polymoe::act::gelu_tanh, Backend>>;
  using model = polymoe::nn::vit<mlp>;
  typename mlp::config config;
  config.dim = s.vit.dim, config.hidden = s.hidden * choices_per_token;
  arm_result r = run_arm<model>("dense", polymoe::nn::vit_config<mlp>(s.vit, config), s, data, first);
  char text[160];
  std::snprintf(text, sizeof text, "dense twin: one MLP of hidden width K*H = %lld per block, no capacity factor",
                static_cast<long long>(config.hidden));
  r.description = text;
  return r;
}

template <class T>
arm_result run_dense(const settings& s, const polymoe::train_test& data) {
  return run_dense_arm<T, polymoe::cpu>(s, data);
}

}  // namespace demo
