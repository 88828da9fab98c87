// custom_capacity: a capacity of one's own: the mean load plus z standard deviations of a random assignment.
// A constant factor gives small groups too little room and large ones too much; this rule follows the spread of the
// load.  The program measures the drop rate of random tokens for several z.
// ctest: --device auto
// cuda: yes
#include <cmath>
#include <cstdio>

#include <polymoe/testing/check_capacity.hpp>

#include "toy_task.hpp"

/// C = ceil(m + z sqrt(m)), m = T K / E: the load of an expert is close to Poisson when tokens choose at random.
struct mean_plus_spread {
  static constexpr bool limited = true;
  static constexpr const char* name = "mean_plus_spread";
  using overflow_policy = polymoe::overflow::drop;
  using priority_policy = polymoe::priority::gate;
  float z = 2;
  polymoe::index slots(const polymoe::capacity_query& q) const {
    const double mean = static_cast<double>(q.tokens) * static_cast<double>(q.k) / static_cast<double>(q.experts);
    return std::min(q.tokens, static_cast<polymoe::index>(std::ceil(mean + static_cast<double>(z) * std::sqrt(mean))));
  }
};

struct spread_moe : polymoe::spec {
  using capacity = mean_plus_spread;
  using expert = polymoe::expert::identity;
  static constexpr int most_experts = 64;  // on a GPU: kernels for more are not compiled
};

/// On either backend.
template <class Backend>
int run_on() {
  using moe_layer = polymoe::layer<spread_moe, Backend>;
  const polymoe::index tokens = 4096, dim = 32;
  std::vector<float> x(tokens * dim);
  const polymoe::random_stream r = polymoe::random_root{5}.stream(polymoe::stream_id("tokens"), 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = r.normal(i);

  bool sound = true;
  double last = 1;
  for (const float z : {0.0f, 1.0f, 2.0f, 3.0f}) {
    typename moe_layer::config config;
    config.dim = dim, config.experts = 16, config.group_size = 256, config.capacity.z = z;
    polymoe::workspace<moe_layer> moe(moe_layer(config), {.max_rows = tokens, .seed = 1});
    if (z == 0) std::printf("%s\n", moe.module().describe().c_str());
    toy::rows<moe_layer> in(moe, tokens, dim), out(moe, tokens, dim);
    in.put(x);
    moe.forward(in, out);
    const double dropped = moe.module().stats(moe.ctx(), moe.saved()).drop_rate();
    const auto report = polymoe::testing::check_capacity(config.capacity);
    std::printf("z = %.0f: C = %ld of 256 tokens, drop rate %.4f\n", static_cast<double>(z),
                static_cast<long>(config.capacity.slots({256, 16, 2, true})), dropped);
    std::fputs(report.text.c_str(), stdout);
    sound = sound && report.ok && dropped < last;
    last = dropped;
  }
  return sound && last < 0.01 ? 0 : 1;
}

int main(int argc, char** argv) {
  return toy::on_device(argc, argv, [](auto backend) { return run_on<decltype(backend)>(); });
}
