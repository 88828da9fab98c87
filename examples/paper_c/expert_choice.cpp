// Routers 3, 4 and 5: every expert takes its C best tokens, by softmax, by a Sinkhorn plan, by a sparse transport plan;
// and router 6, Soft MoE.
#include "run_arm.hpp"

namespace paper_c {
namespace {

template <class Score>
struct picked_spec : polymoe::spec {
  using router = polymoe::expert_choice<Score>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};
struct soft_spec : polymoe::spec {
  using router = polymoe::soft_slots<>;
  static constexpr int most_experts = 32;
};

}  // namespace

result run_expert_choice(int kind, int capacity, const std::string& name, const settings& s, const options& o,
                         std::uint64_t seed, const images& data, const images& probe) {
  const auto factor = [capacity](auto& c, const nn::vit_sizes&) { c.capacity.factor = static_cast<float>(capacity); };
  if (kind == 3) return run_layer<picked_spec<polymoe::score::noisy_constant<>>>(name, s, o, seed, data, probe, factor);
  if (kind == 4) return run_layer<picked_spec<polymoe::score::sinkhorn<>>>(name, s, o, seed, data, probe, factor);
  return run_layer<picked_spec<polymoe::score::sparse_transport<>>>(name, s, o, seed, data, probe, factor);
}
result run_soft(int capacity, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
                const images& data, const images& probe) {
  return run_layer<soft_spec>(name, s, o, seed, data, probe, [capacity](auto& c, const nn::vit_sizes& z) {
    c.group_size = z.tokens();  // one image mixes with itself only
    c.router.slots = std::max<index>(1, (capacity * z.tokens() + c.experts / 2) / c.experts);
  });
}

}  // namespace paper_c
