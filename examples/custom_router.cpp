// custom_router: a router of one's own in twenty lines, checked and trained.
// The router knows its experts by index (a price), so the checker is told that it is not symmetric.
// ctest: --device auto
// cuda: yes
#include <polymoe/testing/check_router.hpp>

#include "toy_task.hpp"

/// Sigmoid scores of priced experts: expert e asks price * e of its logit, so the cheap ones serve where they can.
struct priced_sigmoid {
  static constexpr int k = 2;
  static constexpr const char* name = "priced_sigmoid";
  float price = 0.05f;

  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    using S = typename Row::scalar;
    const S p(price);
    return z.map([=](S x, int e) { return polymoe::math::sigmoid(x - p * S(static_cast<float>(e))); });
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<k> select(const Row& scores) const {
    return polymoe::largest<k>(scores);
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& d_scores) const {
    using S = typename Row::scalar;
    return scores(z).zip(d_scores, [](S p, S d, int) { return p * (S(1) - p) * d; });
  }
};

struct priced_moe : polymoe::spec {
  using router = priced_sigmoid;
  static constexpr int most_experts = 64;  // on a GPU: kernels for more are not compiled
};
/// On either backend.
template <class Backend>
int run_on() {
  using moe_layer = polymoe::layer<priced_moe, Backend>;
  typename moe_layer::config config;
  config.dim = toy::dim, config.hidden = 16, config.experts = 4, config.router.price = 0.1f;
  polymoe::workspace<moe_layer> moe(moe_layer(config), {.max_rows = toy::points, .seed = 1});
  std::printf("%s\n", moe.module().describe().c_str());
  const auto report = polymoe::testing::check_router(config.router, {.symmetric = false});
  return toy::judge(report, toy::train(moe, 400, 0.05f), 0.2) ? 0 : 1;
}

int main(int argc, char** argv) {
  return toy::on_device(argc, argv, [](auto backend) { return run_on<decltype(backend)>(); });
}
