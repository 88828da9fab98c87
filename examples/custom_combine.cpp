// custom_combine: weights of one's own: squared scores over their sum, so that the best expert counts more.
// ctest: --device auto
// cuda: yes
#include <polymoe/testing/check_combine.hpp>

#include "toy_task.hpp"

/// w_j = s_j^2 / sum over kept i of s_i^2.  With t that sum, dL/ds_i = 2 s_i (d_i - [kept] sum_j d_j w_j) / t.
struct squared_share {
  static constexpr const char* name = "squared_share";
  template <int K, class S>
  POLYMOE_HD S total(const polymoe::chosen_scores<K, S>& c) const {
    S t(1e-12f);  // a row of zeros gives zero weights
    for (int j = 0; j < c.n; ++j)
      if (c.kept[j]) t += c.score[j] * c.score[j];
    return t;
  }
  template <int K, class S>
  POLYMOE_HD void weigh(const polymoe::chosen_scores<K, S>& c, S* weight) const {
    const S t = total(c);
    for (int j = 0; j < c.n; ++j) weight[j] = c.score[j] * c.score[j] / t;
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const polymoe::chosen_scores<K, S>& c, const S* d_weight, S* d_score) const {
    const S t = total(c);
    S mean(0);
    for (int j = 0; j < c.n; ++j) mean += d_weight[j] * (c.score[j] * c.score[j] / t);
    for (int j = 0; j < c.n; ++j) d_score[j] = S(2) * c.score[j] * (d_weight[j] - (c.kept[j] ? mean : S(0))) / t;
  }
};

struct squared_moe : polymoe::spec {
  using combine = squared_share;
  static constexpr int most_experts = 64;  // on a GPU: kernels for more are not compiled
};
/// On either backend.
template <class Backend>
int run_on() {
  using moe_layer = polymoe::layer<squared_moe, Backend>;
  typename moe_layer::config config;
  config.dim = toy::dim, config.hidden = 16, config.experts = 4;
  polymoe::workspace<moe_layer> moe(moe_layer(config), {.max_rows = toy::points, .seed = 1});
  std::printf("%s\n", moe.module().describe().c_str());
  const auto report = polymoe::testing::check_combine<squared_share>();
  return toy::judge(report, toy::train(moe, 400, 0.05f), 0.2) ? 0 : 1;
}

int main(int argc, char** argv) {
  return toy::on_device(argc, argv, [](auto backend) { return run_on<decltype(backend)>(); });
}
