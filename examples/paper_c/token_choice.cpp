// Routers 1 and 2: every token takes its K best experts, by softmax or by a Sinkhorn plan; and the dense model.
#include "run_arm.hpp"

namespace paper_c {
namespace {

template <int K>
struct softmax_spec : polymoe::spec {
  using router = polymoe::top_k<K, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};
template <int K>
struct sinkhorn_spec : polymoe::spec {
  using router = polymoe::top_k<K, polymoe::score::sinkhorn<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};

}  // namespace

result run_dense(const std::string& name, const settings& s, const options& o, std::uint64_t seed, const images& data, const images& probe) {
  return run_model<nn::vit<dense_mlp>>(name, nn::vit_config<dense_mlp>(sizes_of(o, data), {o.dim, o.mlp}), s, o, seed, data, probe);
}
result run_token_choice(bool sinkhorn, int capacity, const std::string& name, const settings& s, const options& o,
                        std::uint64_t seed, const images& data, const images& probe) {
  const auto exact = [](auto& c, const nn::vit_sizes&) { c.capacity.factor = 1.0f; };
  if (sinkhorn)
    return capacity == 1 ? run_layer<sinkhorn_spec<1>>(name, s, o, seed, data, probe, exact) : run_layer<sinkhorn_spec<2>>(name, s, o, seed, data, probe, exact);
  return capacity == 1 ? run_layer<softmax_spec<1>>(name, s, o, seed, data, probe, exact) : run_layer<softmax_spec<2>>(name, s, o, seed, data, probe, exact);
}

}  // namespace paper_c
