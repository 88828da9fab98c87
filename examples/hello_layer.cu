// hello_layer_gpu: the spec of hello_layer.cpp, compiled by nvcc and trained on the toy task; --device auto|cpu|cuda.
#define main run_hello_layer
#include "hello_layer.cpp"
#undef main

#include "toy_task.hpp"

template <class Backend>
int run_on() {
  using layer = polymoe::layer<vit_moe, Backend>;
  typename layer::config config;
  config.dim = toy::dim, config.hidden = 16, config.experts = 4, config.capacity.factor = 1.05f;
  polymoe::workspace<layer> moe(layer(config), {.max_rows = toy::points, .seed = 1});
  std::puts(moe.module().describe().c_str());
  const std::vector<double> losses = toy::train(moe, 400, 0.05f);
  const polymoe::routing_stats stats = moe.module().stats(moe.ctx(), moe.saved());
  std::printf("loss %.3f -> %.3f in %zu steps, drop rate %.3f, load CV %.3f\n", losses.front(), losses.back(),
              losses.size(), stats.drop_rate(), stats.load_cv());
  return losses.back() < 0.5 * losses.front() ? 0 : 1;
}

int main(int argc, char** argv) {
  return toy::on_device(argc, argv, [](auto backend) { return run_on<decltype(backend)>(); });
}
