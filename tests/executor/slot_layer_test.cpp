// Soft MoE over images on CUDA against the CPU's: plan, slots, outputs, every gradient, statistics; odd sizes, bad
// units, calls smaller than what was bound.
// timeout: 600
// with: slots
#include "slot_cases.hpp"

namespace {
using namespace slot_test;
#if !defined(__CUDACC__)
namespace executor = polymoe::executor;
#endif
}  // namespace

TEST_CASE("images: slots, combine and every gradient, odd sizes") {
  check<soft_spec<double>>({.units = 35, .experts = 3, .dim = 10, .hidden = 7, .group_size = 7, .seed = 1, .slots = 3});
  check<soft_spec<double>>(
      {.units = 66, .experts = 5, .dim = 24, .group_size = 33, .with_bad = true, .seed = 2, .logit_noise = 0.4f});
  check<soft_spec<float>>(
      {.units = 40, .experts = 9, .dim = 20, .group_size = 20, .with_bad = true, .seed = 3, .slots = 4});
  check<soft_spec<bf16>>(
      {.units = 48, .experts = 6, .dim = 40, .group_size = 16, .with_bad = true, .seed = 4, .slots = 2});
  check<soft_spec<bf16>>({.units = 9, .experts = 1, .dim = 9, .hidden = 17, .group_size = 9, .seed = 5});
}
TEST_CASE("one unit in a group, one slot, fewer units than were bound, evaluation") {
  check<soft_spec<double>>({.units = 5, .experts = 3, .dim = 10, .group_size = 1, .seed = 12});
  check<soft_spec<float>>(
      {.units = 14, .experts = 3, .dim = 12, .group_size = 7, .mode = run_mode::eval, .seed = 14, .max_units = 30});
}
TEST_CASE("equal logits, a scale of zero, no units") {
  using layer = polymoe::layer<soft_spec<double>, cuda>;
  layer::config c;
  c.dim = 6, c.hidden = 4, c.experts = 3, c.group_size = 5, c.router.slots = 2, c.router.first_scale = 0;
  polymoe::workspace<layer> w(layer(c), {.max_rows = 10});
  tensor<double> x(10, 6, 1), dy(10, 6, 2), y(10, 6), dx(10, 6);
  w.forward(x.v.rows_at(0, 0), y.v.rows_at(0, 0));
  w.backward(dy.v.rows_at(0, 0), dx.v.rows_at(0, 0));
  w.forward(x.v, y.v);
  const auto plan = w.module().plan(w.ctx(), w.saved());
  for (polymoe::index t = 0; t < 10; ++t)
    for (polymoe::index s = 0; s < 6; ++s) {
      CHECK(plan.dispatch.get(t, s) == doctest::Approx(1.0 / 5));
      CHECK(plan.combine.get(t, s) == doctest::Approx(1.0 / 6));
    }
  const auto stats = w.module().stats(w.ctx(), w.saved());
  CHECK(stats.entropy == doctest::Approx(std::log(6.0)));
  CHECK(stats.margin == doctest::Approx(0));
  w.zero_grads();
  w.backward(dy.v, dx.v);
  const auto grads = w.grads_on_host();
  for (const auto& e : w.entries())
    if (e.name == "router.scale") CHECK(grads[static_cast<std::size_t>(e.offset)] != 0);
}

#if !defined(__CUDACC__)
TEST_CASE("logits that do not fit shared memory give the same bits as held ones") {
  using layer = polymoe::layer<soft_spec<float>, cuda>;
  layer::config c;
  c.dim = 12, c.hidden = 8, c.experts = 5, c.group_size = 40, c.router.slots = 9, c.router.noise_std = 0.5f;
  const auto run = [&](std::size_t bytes) {
    executor::settings options;
    options.shared_limit = bytes;
    executor::scope with(options);
    polymoe::workspace<layer> w(layer(c), {.max_rows = 80, .seed = 3});
    tensor<float> x(80, 12, 1), dy(80, 12, 2), y(80, 12), dx(80, 12);
    w.forward(x.v, y.v);
    w.zero_grads();
    w.backward(dy.v, dx.v);
    auto all = y.host();
    for (const auto& v : {dx.host(), w.grads_on_host()}) all.insert(all.end(), v.begin(), v.end());
    return all;
  };
  const std::size_t held = polymoe::backend::kernel::slot_softmax_bytes<float>(40, 45, true);
  CHECK(same_bits(run(232448), run(held - 1)));
}
#endif
