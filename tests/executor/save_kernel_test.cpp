// Save policies of layers on CUDA under the host executor, against the CPU backend under the same policy: what is
// computed again, and the gates' gradients without the experts' outputs; by the grouped kernel and batched. timeout:
// 600
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace act = polymoe::act;
namespace expert = polymoe::expert;
namespace save = polymoe::save;

/// Few experts: fewer kernels to compile.
template <class T, class Expert, class Save>
struct bounded_spec : polymoe::spec {
  using scalar = T;
  using expert = Expert;
  using save = Save;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};
template <class T, class Save>
struct mixture_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using save = Save;
  static constexpr int most_experts = 32;
};
template <class Save>
struct image_spec : bounded_spec<float, expert::mlp<act::silu>, Save> {
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
  using grouped_input = bounded_spec<double, expert::mlp<act::gelu_tanh>, save::input>;
  check<grouped_input>({.units = 40, .with_bad = true, .seed = 1});
  check<grouped_input>({.units = 40, .padded = true, .with_bad = true, .seed = 2});
  using gated = bounded_spec<float, expert::gated_mlp<act::silu, true>, save::nothing>;
  check<gated>({.units = 60, .with_bad = true, .factor = 0.8f, .seed = 3});
  check<gated>({.units = 60, .dim = 32, .hidden = 48, .padded = true, .with_bad = true, .factor = 0.8f, .seed = 4});
}

TEST_CASE("outputs that are not kept: the gates' gradients from the hidden layer, grouped and batched") {
  using save::without_output;
  using relu_alone = bounded_spec<double, expert::mlp<act::relu>, without_output<save::everything>>;
  check<relu_alone>({.units = 50, .padded = true, .with_bad = true, .factor = 0.7f, .seed = 23});
  check<relu_alone>({.units = 50, .with_bad = true, .factor = 0.7f, .seed = 24});
  check<mixture_spec<float, without_output<save::nothing>>>(
      {.units = 33, .experts = 5, .dim = 32, .with_bad = true, .seed = 25});
  using gated = bounded_spec<bf16, expert::gated_mlp<act::silu, true>, without_output<save::pre_activation>>;
  check<gated>({.units = 64, .dim = 48, .hidden = 80, .padded = true, .factor = 0.9f, .seed = 26});
  using images = image_spec<without_output<save::input>>;
  check<images>({.units = 21, .unit_rows = 5, .with_bad = true, .factor = 0.7f, .seed = 27});
  check<images>({.units = 21, .unit_rows = 5, .padded = true, .with_bad = true, .factor = 0.7f, .seed = 28});
}
