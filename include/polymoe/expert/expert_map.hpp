// The trained tensors of one linear map of all experts: names, shapes and first values, the same on every backend.
#pragma once

#include "../core/param.hpp"

namespace polymoe::inline v0::detail {

/// The trained tensors of one linear map of all experts.
template <class M>
struct expert_map {
  index experts = 0, in = 0, out = 0;
  bool with_bias = true;
  param<M> weight, bias;  ///< [experts * out, in], [experts, out]

  template <class V>
  void visit(V& v, const std::string& name) {
    const auto named = [&](const char* what) {
      return [=](index e) { return std::to_string(e) + "." + name + "." + what; };
    };
    v.add_stack(weight, experts, named("weight"), {out, in}, init_rule::xavier(in, out));
    if (with_bias) v.add_stack(bias, experts, named("bias"), {out}, init_rule::zeros(), decay::no);
  }
};

}  // namespace polymoe::detail
