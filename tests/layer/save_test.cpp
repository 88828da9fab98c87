// Save policies: the memory that lives from forward to backward, gradients against central differences, and the same
// bits as when everything is kept.
// thread: yes
// with: tokens
#include "support/moe_layer.hpp"

#include <polymoe/expert/gated_mlp.hpp>
#include <polymoe/expert/identity.hpp>

namespace moe_test {
namespace {

namespace act = polymoe::act;
namespace expert = polymoe::expert;
namespace save = polymoe::save;
using polymoe::cpu;
using polymoe::layer;

template <class T, class Expert, class Save>
struct saving : polymoe::spec {
  using scalar = T;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using expert = Expert;
  using save = Save;
};
template <class T, class Save>
struct mixture : polymoe::spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using save = Save;
};

template <class Spec>
typename layer<Spec, cpu>::config small(index hidden = 6) {
  typename layer<Spec, cpu>::config c;
  c.dim = 5, c.hidden = hidden, c.experts = 4;
  if constexpr (requires { c.capacity.factor; }) c.capacity.factor = 0.75f;
  return c;
}
template <class Spec>
void check_against_differences() {
  layer_case<layer<Spec, cpu>> c(small<Spec>(), 13, 3);
  poison_saved(c);
  const auto r = check_gradients(c);
  INFO(Spec::save::name);
  CHECK(r.worst < 1e-6);
  CHECK(r.checked > 100);
}

/// Images routed as a whole, classifier heads: units of several rows, outputs of another width than the input.
template <class Save>
struct images : polymoe::spec {
  using scalar = double;
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using save = Save;
};
template <class Save>
struct heads : polymoe::spec {
  using scalar = double;
  using expert = polymoe::expert::head<act::relu>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using save = Save;
};

/// Output and all gradients, with memory poisoned before each call.
template <class Spec>
struct outcome {
  using T = typename Spec::scalar;
  std::vector<polymoe::real_t<T>> y, dx;
  std::vector<polymoe::real_t<polymoe::master_t<T>>> grads;
  std::size_t bytes = 0;
  explicit outcome(index rows, index hidden) {
    layer_case<layer<Spec, cpu>> c(small<Spec>(hidden), rows, 7, 2);
    poison_saved(c);
    c.forward(), c.backward();
    y.assign(c.y.plane[0].begin(), c.y.plane[0].end()), dx.assign(c.dx.plane[0].begin(), c.dx.plane[0].end());
    grads = c.w.grads_on_host();
    bytes = c.w.saved_bytes();
  }
};
template <class V>
bool same_bits(const V& a, const V& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
}
/// The policy's layer has the bits of save::everything, and keeps `fewer` numbers of T less.
template <template <class> class SpecOf, class Save>
void check_same(const outcome<SpecOf<save::everything>>& all, index rows, index hidden, index fewer) {
  const outcome<SpecOf<Save>> some(rows, hidden);
  INFO(Save::name);
  CHECK(same_bits(some.y, all.y));
  CHECK(same_bits(some.dx, all.dx));
  CHECK(same_bits(some.grads, all.grads));
  CHECK(all.bytes - some.bytes ==
        static_cast<std::size_t>(fewer) * sizeof(polymoe::real_t<typename SpecOf<Save>::scalar>));
}
template <template <class> class SpecOf>
void check_policies(index rows, index hidden, index slots, index gathered_rows, index before) {
  const outcome<SpecOf<save::everything>> all(rows, hidden);
  const index H = slots * hidden;
  check_same<SpecOf, save::pre_activation>(all, rows, hidden, H);
  check_same<SpecOf, save::input>(all, rows, hidden, H * (1 + before));
  check_same<SpecOf, save::nothing>(all, rows, hidden, H * (1 + before) + gathered_rows * 5);
}

template <class Save>
using mlp_float = saving<float, expert::mlp<>, Save>;
template <class Save>
using mlp_erf_bf16 = saving<polymoe::bf16, expert::mlp<act::gelu_erf>, Save>;
template <class Save>
using gated_double = saving<double, expert::gated_mlp<act::silu, true>, Save>;
template <class Save>
using mixture_double = mixture<double, Save>;

struct hidden_alone {
  static constexpr const char* name = "hidden alone";
  static constexpr bool keeps_pre = false, keeps_hidden = true, keeps_input = true;
};

}  // namespace

TEST_CASE("gradients under every save policy: MLP, gated, mixtures") {
  using mlp = expert::mlp<act::gelu_tanh>;
  check_against_differences<saving<double, mlp, save::everything>>();
  check_against_differences<saving<double, mlp, save::pre_activation>>();
  check_against_differences<saving<double, mlp, save::input>>();
  check_against_differences<saving<double, mlp, save::nothing>>();
  check_against_differences<gated_double<save::pre_activation>>();
  check_against_differences<gated_double<save::input>>();
  check_against_differences<gated_double<save::nothing>>();
  check_against_differences<mixture_double<save::nothing>>();
}

TEST_CASE("what is not kept is made again with the same bits, and the kept memory shrinks by its size") {
  // Slots: 2 choices a unit (packed), 4 experts for every unit of a mixture.  Rows, so that sizes are whole 64 bytes.
  check_policies<mlp_float>(640, 16, 2 * 640, 2 * 640, 1);
  check_policies<mlp_erf_bf16>(320, 32, 2 * 320, 2 * 320, 1);
  check_policies<gated_double>(320, 8, 2 * 320, 2 * 320, 2);
  check_policies<mixture_double>(64, 8, 4 * 64, 64, 1);
}

TEST_CASE("without outputs: the gates' gradients from the hidden layer, against differences") {
  using save::without_output;
  check_against_differences<saving<double, expert::mlp<>, without_output<save::everything>>>();
  check_against_differences<saving<double, expert::mlp<act::gelu_erf, false>, without_output<save::nothing>>>();
  check_against_differences<gated_double<without_output<save::pre_activation>>>();
  check_against_differences<mixture_double<without_output<save::everything>>>();
}

namespace {
/// Gradients with and without kept outputs: equal but for rounding, the router's among them; `fewer` numbers less kept.
template <template <class> class SpecOf>
void check_without_output(typename layer<SpecOf<save::everything>, cpu>::config c, index rows, index fewer) {
  using All = layer<SpecOf<save::everything>, cpu>;
  using Some = layer<SpecOf<save::without_output<save::everything>>, cpu>;
  layer_case<All> all(c, rows, 9);
  typename Some::config d;
  d.dim = c.dim, d.hidden = c.hidden, d.experts = c.experts, d.classes = c.classes, d.unit_rows = c.unit_rows;
  layer_case<Some> some(d, rows, 9, 2), again(d, rows, 9, 3);
  poison_saved(some), poison_saved(again);
  for (auto* v : {&all.x, &some.x, &again.x})
    v->plane[0][static_cast<std::size_t>(rows / 2 * c.dim + 1)] = not_a_number;  // a unit that is routed nowhere
  all.forward(), all.backward();
  some.forward(), some.backward();
  again.forward(), again.backward();
  CHECK(some.y.same_bits(all.y));
  const auto want = grads_of(all.w), got = grads_of(some.w);
  for (const auto& [name, g] : want) CHECK_MESSAGE(norm_ratio(got.at(name), g) < 1e-12, name);
  const auto numbers = [](const auto& t) {
    std::vector<double> v(t.plane[0].begin(), t.plane[0].end());
    for (double& x : v) CHECK(std::isfinite(x));
    return v;
  };
  CHECK(norm_ratio(numbers(some.dx), numbers(all.dx)) < 1e-12);
  CHECK(norm_ratio(got.at("router.weight"), std::vector<double>(got.at("router.weight").size(), 0.0)) > 0);
  CHECK(same_bits(some.w.grads_on_host(), again.w.grads_on_host()));  // for any number of threads
  CHECK(all.w.saved_bytes() - some.w.saved_bytes() == static_cast<std::size_t>(fewer) * sizeof(double));
}
template <class Save>
using mlp_double = saving<double, expert::mlp<>, Save>;
}  // namespace
TEST_CASE("without outputs: the same gradients, tiles that cut units, less memory by slots times width") {
  using All = save::everything;
  check_without_output<mlp_double>({.dim = 8, .hidden = 6, .experts = 4}, 640, 2 * 640 * 8);
  check_without_output<gated_double>({.dim = 8, .hidden = 6, .experts = 4}, 64, 2 * 64 * 8);
  check_without_output<mixture_double>({.dim = 8, .hidden = 5, .experts = 3}, 320, 3 * 320 * 8);
  check_without_output<images>({.dim = 8, .hidden = 6, .experts = 2, .unit_rows = 7}, 7 * 160, 2 * 7 * 160 * 8);
  check_without_output<heads>({.dim = 5, .hidden = 6, .experts = 4, .classes = 16}, 64, 2 * 64 * 16);
  static_assert(!polymoe::apply<mlp_double<save::without_output<All>>, cpu>::keeps_output);
  static_assert(polymoe::apply<saving<double, expert::identity, save::without_output<All>>, cpu>::keeps_output);
}

TEST_CASE("dual numbers under every policy: values and tangents of a layer that keeps everything") {
  using D = polymoe::dual<double>;
  const auto run = [](auto c) {
    c.forward(), c.backward();
    std::vector<double> all;
    for (int p = 0; p < 2; ++p) {
      all.insert(all.end(), c.dx.plane[p].begin(), c.dx.plane[p].end());
      for (const double g : c.w.grads_on_host(p)) all.push_back(g);
    }
    return all;
  };
  const auto of = [&]<class Spec>(Spec) { return run(layer_case<layer<Spec, cpu>>(small<Spec>(), 30, 5)); };
  const auto mlp = of(saving<D, expert::mlp<>, save::everything>{});
  CHECK(norm_ratio(of(saving<D, expert::mlp<>, save::nothing>{}), mlp) == 0);
  CHECK(norm_ratio(of(saving<D, expert::mlp<>, save::without_output<save::input>>{}), mlp) < 1e-12);
  const auto gated = of(saving<D, expert::gated_mlp<>, save::everything>{});
  CHECK(norm_ratio(of(saving<D, expert::gated_mlp<>, save::without_output<save::nothing>>{}), gated) < 1e-12);
}

TEST_CASE("identity experts keep nothing under any policy, user-made policies may not keep A' without H") {
  using none = saving<double, expert::identity, save::nothing>;
  layer_case<layer<none, cpu>> c(small<none>(), 20, 3);
  c.forward(), c.backward();
  CHECK(norm_ratio(std::vector<double>(c.dx.plane[0].begin(), c.dx.plane[0].end()), std::vector<double>(100, 0.0)) > 0);
  static_assert(!polymoe::save_policy<hidden_alone>);
  static_assert(polymoe::support<saving<float, expert::mlp<>, hidden_alone>, cpu>() == polymoe::verdict::M027_save);
  CHECK(c.w.module().describe().find("saved nothing") != std::string::npos);
}

}  // namespace moe_test
