// hello_layer: compose a Mixture-of-Experts layer, run it forward and backward, look at what the router did.
// Prints the composition, the drop rate and the spread of the load; takes a few milliseconds.
// ctest: --
#include <cmath>
#include <cstdio>
#include <polymoe/polymoe.hpp>

struct vit_moe : polymoe::spec {  // every axis has a default; override by name
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
using moe_layer = polymoe::layer<vit_moe, polymoe::cpu>;

int main() {
  const polymoe::index tokens = 4 * 196, dim = 192;  // four images of 14 x 14 tokens
  moe_layer::config config{.dim = dim, .hidden = 768, .experts = 8, .group_size = 196};
  config.capacity.factor = 1.05f;
  polymoe::workspace<moe_layer> moe(moe_layer(config), {.max_rows = tokens, .seed = 1});
  std::puts(moe.module().describe().c_str());

  std::vector<float> x(tokens * dim), y(x.size()), dy(x.size(), 1.0f), dx(x.size());
  const polymoe::random_stream noise = polymoe::random_root{7}.stream(polymoe::stream_id("tokens"), 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = noise.normal(i);
  moe.forward({x.data(), tokens, dim}, {y.data(), tokens, dim});
  moe.backward({dy.data(), tokens, dim}, {dx.data(), tokens, dim});

  const polymoe::routing_stats stats = moe.module().stats(moe.ctx(), moe.saved());
  const double loss = static_cast<double>(moe.module().balance_loss(moe.ctx(), moe.saved()));
  std::printf("drop rate %.3f, load CV %.3f, balance loss %.5f\n", stats.drop_rate(), stats.load_cv(), loss);
  const bool sound = stats.choices == 2 * tokens && stats.drop_rate() < 0.5 && std::isfinite(dx[0]) && loss > 0;
  return sound ? 0 : 1;
}
