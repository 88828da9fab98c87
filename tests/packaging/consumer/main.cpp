// A user of the library: one Mixture-of-Experts layer, forward and backward, and a line that says what computes it.
#include <cmath>
#include <cstdio>
#include <polymoe/polymoe.hpp>
#include <vector>

struct vit_moe : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
using moe_layer = polymoe::layer<vit_moe, polymoe::cpu>;

int main() {
  const polymoe::index tokens = 300, dim = 24;
  moe_layer::config config;
  config.dim = dim, config.hidden = 48, config.experts = 4;
  polymoe::workspace<moe_layer> moe(moe_layer(config), {.max_rows = tokens, .threads = 2, .seed = 1});
  std::vector<float> x(tokens * dim), y(x.size(), NAN), dy(x.size(), 1.0f), dx(x.size(), NAN);
  const polymoe::random_stream noise = polymoe::random_root{7}.stream(polymoe::stream_id("tokens"), 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = noise.normal(i);
  moe.forward({x.data(), tokens, dim}, {y.data(), tokens, dim});
  moe.backward({dy.data(), tokens, dim}, {dx.data(), tokens, dim});

  const polymoe::routing_stats stats = moe.module().stats(moe.ctx(), moe.saved());
  bool ok = stats.choices == 2 * tokens && stats.placed > tokens;
  double moved = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    ok = ok && std::isfinite(y[i]) && std::isfinite(dx[i]), moved += std::abs(static_cast<double>(dx[i]));
  for (const float g : moe.grads_on_host()) ok = ok && std::isfinite(g);
  ok = ok && moved > 0;
  std::printf("%s\nthreads %d\n", moe.module().describe().c_str(), moe.ctx().stream.threads);
  std::printf("polymoe %d.%d.%d: %s\n", POLYMOE_VERSION_MAJOR, POLYMOE_VERSION_MINOR, POLYMOE_VERSION_PATCH,
              ok ? "ok" : "wrong");
  return ok ? 0 : 1;
}
