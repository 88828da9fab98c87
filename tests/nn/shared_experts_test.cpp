// nn::shared_experts: the module contract around a Mixture-of-Experts layer, the sum by hand, names, costs, messages.
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/nn/residual.hpp>
#include <polymoe/nn/shared_experts.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T, class Expert = expert::mlp<>>
struct routed_spec : spec {
  using scalar = T;
  using expert = Expert;
  using router = top_k<2, score::sigmoid>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
};
/// DeepSeekMoE's layer: two shared experts of 3 hidden units are one MLP of 6.
template <class T>
using shared_moe = nn::shared_experts<nn::mlp_block<T>, layer<routed_spec<T>, cpu>>;
/// Experts without kept tensors, which a second backward of one forward would find overwritten.
template <class T>
using plain_moe = nn::shared_experts<nn::mlp_block<T>, layer<routed_spec<T, expert::identity>, cpu>>;
template <class T>
using shared_block = nn::residual<shared_moe<T>>;

template <class T, class Module = shared_moe<T>>
typename Module::config shared_config() {
  typename Module::config c;
  c.shared = {5, 6};
  c.routed.dim = 5, c.routed.hidden = 3, c.routed.experts = 4;
  return c;
}

}  // namespace

TEST_CASE("shared experts keep the module contract, in a residual too") {
  // bf16 rounds the router's input, and a unit near a tie goes elsewhere: the seed has none.
  testing::check_options o{.rows = 12, .seed = 3, .param_scale = 0.5};
  testing::detail::check_memory<plain_moe<double>>(shared_config<double, plain_moe<double>>(), o, 1);
  o.samples = 200;
  testing::check_report r;
  testing::detail::check_gradients<shared_block<double>>(shared_config<double>(), o, r);
  testing::detail::check_tangent<shared_block<dual<double>>, shared_block<double>>(shared_config<dual<double>>(),
                                                                                   shared_config<double>(), o, r);
  testing::detail::check_threads<shared_block<float>>(shared_config<float>(), o);
  CHECK(r.param_gradient > 0);
}

TEST_CASE("shared experts add the dense module's output to the layer's, and both input gradients") {
  constexpr index rows = 9;
  workspace<shared_moe<double>> both(shared_moe<double>(shared_config<double>()), {.max_rows = rows, .seed = 1});
  workspace<nn::mlp_block<double>> dense(nn::mlp_block<double>(shared_config<double>().shared),
                                         {.max_rows = rows, .seed = 2});
  workspace<layer<routed_spec<double>, cpu>> routed(layer<routed_spec<double>, cpu>(shared_config<double>().routed),
                                                    {.max_rows = rows, .seed = 2});
  const auto copy = [&](auto& part, const std::string& prefix) {
    auto values = part.values_on_host();
    const auto all = both.values_on_host();
    index copied = 0;
    for (const param_entry& e : part.entries())
      for (const param_entry& a : both.entries())
        if (a.name == prefix + e.name) std::copy_n(all.begin() + a.offset, e.size, values.begin() + e.offset), ++copied;
    REQUIRE(copied == static_cast<index>(part.entries().size()));
    part.set_values(values), part.refresh();
  };
  copy(dense, "shared."), copy(routed, "");
  using testing::detail::tensor;
  using testing::detail::values_of;
  tensor<double> x(rows, 5), dy(rows, 5), y[3] = {{rows, 5}, {rows, 5}, {rows, 5}},
                                          dx[3] = {{rows, 5}, {rows, 5}, {rows, 5}};
  testing::detail::fill<double>(x, 5, 1, 1), testing::detail::fill<double>(dy, 5, 2, 1);
  const auto run = [&](auto& w, int i) { w.zero_grads(), w.forward(x, y[i]), w.backward(dy, dx[i]); };
  run(both, 0), run(dense, 1), run(routed, 2);
  for (index i = 0; i < rows * 5; ++i) {
    CHECK(y[0].get().ptr[0][i] == doctest::Approx(y[1].get().ptr[0][i] + y[2].get().ptr[0][i]).epsilon(1e-13));
    CHECK(dx[0].get().ptr[0][i] == doctest::Approx(dx[1].get().ptr[0][i] + dx[2].get().ptr[0][i]).epsilon(1e-13));
  }
  // Containers reach the layer inside: for commit and statistics.
  int layers = 0, modules = 0;
  nn::each_module(both.module(), both.saved(), [&]<class Module, class Saved>(Module&, Saved&) {
    ++modules, layers += std::is_same_v<Module, layer<routed_spec<double>, cpu>>;
  });
  CHECK((modules == 2 && layers == 1));
}

TEST_CASE("shared experts: names, costs, messages") {
  shared_moe<float> m(shared_config<float>());
  visitor<float> v;
  m.visit(v);
  CHECK(v.params().front().name == "router.weight");
  CHECK(v.params().back().name == "shared.fc2.bias");
  const cost all = shared_moe<float>::count(shared_config<float>(), 7), dense = nn::mlp_block<float>::count({5, 6}, 7),
             routed = layer<routed_spec<float>, cpu>::count(shared_config<float>().routed, 7);
  cost wanted = dense + routed;
  wanted.shared_macs = dense.macs;
  CHECK(all == wanted);
  CHECK(all.params == v.param_count());
  CHECK(all.routed_macs == routed.routed_macs);
  CHECK(all.active_params == dense.params + routed.active_params);
  auto wrong = shared_config<float>();
  wrong.shared.dim = 4;
  CHECK_THROWS_WITH_AS(shared_moe<float>{wrong}, doctest::Contains("width 4 to 4"), error);
}

}  // namespace polymoe
