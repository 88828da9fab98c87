// Save policies of layers on CUDA under the host executor, against the CPU backend under the same policy: what is
// computed again, and the gates' gradients without the experts' outputs; by the grouped kernel and batched.
// timeout: 600
// with: experts
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace act = polymoe::act;
namespace expert = polymoe::expert;
namespace save = polymoe::save;

template <class T, class Save>
struct mixture_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using save = Save;
  static constexpr int most_experts = 32;
};
template <class Save>
struct image_spec : expert_spec<float, expert::mlp<act::silu>, Save> {
  using unit = polymoe::unit::image<polymoe::unit::mean>;
};

template <class Spec>
void check(const setup& s) {
  both<Spec> b(s);
  const std::string text = b.device().module().describe();
  const auto says = [&](const char* part) { return text.find(part) != std::string::npos; };
  INFO(text);
  CHECK(says(Spec::save::name));
  CHECK(says("without outputs") != polymoe::apply<Spec, cpu>::keeps_output);
  CHECK(says("cuBLASLt batched") == (s.padded || both<Spec>::mixture));
}
}  // namespace

TEST_CASE("what is not kept is computed again: grouped, batched, mixtures") {
  using grouped_input = expert_spec<double, expert::mlp<act::gelu_tanh>, save::input>;
  check<grouped_input>({.units = 40, .with_bad = true, .seed = 1});
  check<grouped_input>({.units = 40, .padded = true, .with_bad = true, .seed = 2});
  using gated = expert_spec<float, expert::gated_mlp<act::silu, true>, save::nothing>;
  check<gated>({.units = 60, .with_bad = true, .factor = 0.8f, .seed = 3});
  check<gated>({.units = 60, .dim = 32, .hidden = 48, .padded = true, .with_bad = true, .factor = 0.8f, .seed = 4});
}

TEST_CASE("dropout of hidden rows: the CPU's masks, grouped, batched, made again, of gated experts and mixtures") {
  using remade = expert_spec<float, expert::mlp<act::relu>, save::input>;
  check<remade>({.units = 50, .dim = 24, .hidden = 32, .with_bad = true, .factor = 0.8f, .seed = 40, .dropout = 0.3});
  check<remade>({.units = 50, .dim = 24, .hidden = 33, .padded = true, .with_bad = true, .seed = 41, .dropout = 0.3});
  using gated = expert_spec<float, expert::gated_mlp<act::silu, true>, save::nothing>;
  check<gated>({.units = 40, .with_bad = true, .seed = 42, .dropout = 0.3});
  check<mixture_spec<float, save::without_output<save::nothing>>>(
      {.units = 33, .experts = 5, .dim = 32, .seed = 43, .dropout = 0.3});
}

TEST_CASE("outputs that are not kept: the gates' gradients from the hidden layer, grouped and batched") {
  using save::without_output;
  using relu_alone = expert_spec<double, expert::mlp<act::relu>, without_output<save::everything>>;
  check<relu_alone>({.units = 50, .padded = true, .with_bad = true, .factor = 0.7f, .seed = 23});
  check<relu_alone>({.units = 50, .with_bad = true, .factor = 0.7f, .seed = 24});
  check<relu_alone>({.units = 50, .with_bad = true, .factor = 0.7f, .seed = 32, .dropout = 0.3});
  // Fewer units than memory is bound for, and none.
  check<relu_alone>({.units = 20, .padded = true, .seed = 29, .max_units = 64});
  check<relu_alone>({.units = 20, .seed = 30, .max_units = 64});
  check<relu_alone>({.units = 0, .seed = 31, .max_units = 10});
  check<mixture_spec<float, without_output<save::nothing>>>(
      {.units = 33, .experts = 5, .dim = 32, .with_bad = true, .seed = 25});
  using gated = expert_spec<bf16, expert::gated_mlp<act::silu, true>, without_output<save::pre_activation>>;
  check<gated>({.units = 64, .dim = 48, .hidden = 80, .padded = true, .factor = 0.9f, .seed = 26});
  using images = image_spec<without_output<save::input>>;
  check<images>({.units = 21, .unit_rows = 5, .with_bad = true, .factor = 0.7f, .seed = 27});
  check<images>({.units = 21, .unit_rows = 5, .padded = true, .with_bad = true, .factor = 0.7f, .seed = 28});
}
