// custom_score: a score of one's own, two members, composed with expert choice: every
// expert takes its best units by it.
// ctest: --device auto
// cuda: yes
#include <polymoe/testing/check_router.hpp>

#include "toy_task.hpp"

/// p_e = softplus(z_e)^2: never zero, grows with the square of the logit, every expert on its own.
struct squared_softplus {
  static constexpr const char* name = "squared_softplus";
  template <class Row>
  POLYMOE_HD Row forward(const Row& z) const {
    return z.map([](typename Row::scalar x, int) { const auto p = polymoe::math::softplus(x); return p * p; });
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& d_scores) const {
    using S = typename Row::scalar;
    return z.zip(d_scores,
                 [](S x, S d, int) { return S(2) * polymoe::math::softplus(x) * polymoe::math::sigmoid(x) * d; });
  }
};

struct picked_moe : polymoe::spec {
  using router = polymoe::expert_choice<squared_softplus>;
  using capacity = polymoe::capacity::bounded<>;  // factor: experts of a unit in the mean
  // Such scores have no scale of their own.
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  static constexpr int most_experts = 64;  // on a GPU: kernels for more are not compiled
};
/// On either backend.
template <class Backend>
int run_on() {
  using moe_layer = polymoe::layer<picked_moe, Backend>;
  typename moe_layer::config config;
  config.dim = toy::dim, config.hidden = 16, config.experts = 4, config.capacity.factor = 2;
  polymoe::workspace<moe_layer> moe(moe_layer(config), {.max_rows = toy::points, .seed = 1});
  std::printf("%s\n", moe.module().describe().c_str());
  const auto report = polymoe::testing::check_router(config.router);
  const auto losses = toy::train(moe, 400, 0.05f);
  std::printf("%.1f %% of the points are picked by nobody\n",
              100 * moe.module().stats(moe.ctx(), moe.saved()).unpicked_rate());
  return toy::judge(report, losses, 0.2) ? 0 : 1;
}

int main(int argc, char** argv) {
  return toy::on_device(argc, argv, [](auto backend) { return run_on<decltype(backend)>(); });
}
