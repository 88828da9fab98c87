// Misuse found at run time: polymoe::error, before any work, with both numbers.  Sizes beyond 32 bits are counted in a
// dry pass without allocating anything.  And what can be known while compiling.
// with: mixtures
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

using polymoe::cpu;
using polymoe::layer;

struct pair : polymoe::spec {
  using router = polymoe::top_k<2>;
  using capacity = polymoe::capacity::bounded<>;
  using balance = polymoe::balance::loss_free_bias;
};
struct misused_images : polymoe::spec {
  using unit = polymoe::unit::image<>;
  using expert = polymoe::expert::head<>;
};
struct gated_mixture : polymoe::spec {
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::gated_mlp<>;
};
using pair_layer = layer<pair, cpu>;
using misused_heads = layer<misused_images, cpu>;
using mixture_layer = layer<gated_mixture, cpu>;
using polymoe::cost;

constexpr pair_layer::config sizes(index dim, index hidden, index experts) {
  pair_layer::config c;
  c.dim = dim, c.hidden = hidden, c.experts = experts;
  return c;
}
template <class F>
pair_layer::config with(F change) {
  auto c = sizes(8, 16, 4);
  change(c);
  return c;
}

// ---- known while compiling ------------------------------------------------------------------------------------------
constexpr index one_mlp = 384 * 1536 * 2 + 1536 + 384;
static_assert(pair_layer::count(sizes(384, 1536, 8), 196).params == 8 * one_mlp + 8 * 384);
static_assert(pair_layer::count(sizes(384, 1536, 8), 196).active_params == 2 * one_mlp + 8 * 384);
static_assert(pair_layer::count(sizes(384, 1536, 8), 196).routed_macs == 2 * 196 * 2 * 384 * 1536);
static_assert(pair_layer::count(sizes(384, 1536, 8), 196).macs == 2 * 196 * 2 * 384 * 1536 + 196 * 8 * 384);
static_assert(pair_layer::recipe.capacity_binds && !pair_layer::recipe.noisy &&
              pair_layer::recipe.router_matrices == 1);
static_assert(mixture_layer::recipe.dispatch == polymoe::dispatch_path::no_copy);
constexpr mixture_layer::config mixture_sizes() {
  mixture_layer::config c;
  c.dim = 10, c.hidden = 20, c.experts = 3;
  return c;
}
// A mixture runs every expert: three products each, no biases.
constexpr cost mixture_cost = mixture_layer::count(mixture_sizes(), 7);
static_assert(mixture_cost.params == 3 * 600 + 30 && mixture_cost.active_params == 3 * 600 + 30);
static_assert(mixture_cost.macs == 7 * (3 * 600 + 30) && mixture_cost.routed_macs == 7 * 3 * 600);
static_assert(mixture_cost.router_macs == 7 * 30 && mixture_cost.expert_macs == 7 * 600 &&
              mixture_cost.slot_macs == 7 * 3 * 600);

}  // namespace

TEST_CASE("a configuration that cannot work is refused when the layer is made") {
  CHECK(refuses([] { pair_layer l(sizes(8, 16, 1)); }, {"K = 2", "only 1"}));
  CHECK(refuses([] { pair_layer l(sizes(8, 16, 0)); }, {"experts is 0", "1"}));
  CHECK(refuses([] { pair_layer l(sizes(8, 16, -3)); }, {"experts is -3", "1"}));
  CHECK(refuses([] { pair_layer l(sizes(8, 16, 1025)); }, {"1025", "1024"}));
  CHECK(refuses([] { pair_layer l(sizes(0, 16, 4)); }, {"dim is 0", "1"}));
  CHECK(refuses([] { pair_layer l(sizes(-8, 16, 4)); }, {"dim is -8", "1"}));
  CHECK(refuses([] { pair_layer l(sizes(8, 0, 4)); }, {"hidden is 0", "1"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.unit_rows = 2; })); }, {"unit_rows is 2", "1 row"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.unit_rows = 0; })); }, {"unit_rows is 0", "1"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.classes = 10; })); }, {"classes is 10"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.group_size = -1; })); }, {"group_size is -1"}));
  misused_heads::config head;
  head.dim = 8, head.hidden = 4, head.experts = 4, head.unit_rows = 3;
  CHECK(refuses([&] { misused_heads l(head); }, {"classes", "0"}));
  head.classes = 5;
  CHECK_NOTHROW(misused_heads{head});
}

TEST_CASE("capacities that make no sense are refused") {
  const auto factor = [](float f) { return [f] { pair_layer l(with([f](auto& c) { c.capacity.factor = f; })); }; };
  CHECK(refuses(factor(1e9f), {"1e+09", "1e+06"}));
  CHECK(refuses(factor(-1.0f), {"-1"}));
  CHECK(refuses(factor(0.0f), {"capacity factor 0"}));
  CHECK(refuses(factor(std::nanf("")), {"nan"}));
  CHECK(refuses(factor(HUGE_VALF), {"inf"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.capacity.eval_factor = 1e9f; })); }, {"1e+09"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.capacity.eval_factor = std::nanf(""); })); }, {"nan"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.capacity.eval_factor = -2.0f; })); }, {"-2", "evaluation"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.capacity.absolute = -1; })); }, {"-1"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.capacity.multiple_of = 0; })); }, {"multiple_of is 0"}));
  CHECK(refuses([] { pair_layer l(with([](auto& c) { c.capacity.multiple_of = index{1} << 33; })); },
                {"8589934592", "1048576"}));
}

TEST_CASE("calls with wrong shapes are refused before anything is changed") {
  polymoe::workspace<pair_layer> w(pair_layer(sizes(8, 16, 4)), {.max_rows = 10});
  const std::vector<float> state = w.state_on_host();
  tensor<float> x(10, 8, 0.5), y(10, 8), dx(10, 8);
  const auto forward = [&](index rows, index cols, index y_rows, index y_cols) {
    return [&w, rows, cols, y_rows, y_cols] {
      tensor<float> in(rows, cols, 0.5), out(y_rows, y_cols);
      w.forward(in.get(), out.get());
    };
  };
  CHECK(refuses(forward(11, 8, 11, 8), {"11", "10"}));
  CHECK(refuses(forward(10, 7, 10, 8), {"[10, 7]", "8"}));
  CHECK(refuses(forward(10, 8, 10, 7), {"[10, 7]", "8"}));
  CHECK(refuses(forward(10, 8, 9, 8), {"[9, 8]", "10"}));
  CHECK(w.state_on_host() == state);
  w.forward(x.get(), y.get());
  const auto backward = [&](index rows, index cols, index dx_rows, index dx_cols) {
    return [&w, rows, cols, dx_rows, dx_cols] {
      tensor<float> d(rows, cols, 0.5), out(dx_rows, dx_cols);
      w.backward(d.get(), out.get());
    };
  };
  CHECK(refuses(backward(9, 8, 10, 8), {"[9, 8]", "[10, 8]"}));
  CHECK(refuses(backward(10, 7, 10, 8), {"[10, 7]", "[10, 8]"}));
  CHECK(refuses(backward(10, 8, 9, 8), {"[9, 8]", "[10, 8]"}));
  CHECK(refuses(backward(10, 8, 10, 7), {"[10, 7]", "[10, 8]"}));
  for (const auto& [name, g] : grads_of(w))
    for (const double v : g) CHECK(v == 0);
  w.backward(x.get(), dx.get());
  CHECK(dx.all_finite());
}

TEST_CASE("blocks of rows must be whole, and fit") {
  misused_heads::config c;
  c.dim = 4, c.hidden = 3, c.experts = 4, c.classes = 5, c.unit_rows = 3;
  polymoe::workspace<misused_heads> w(misused_heads(c), {.max_rows = 12});
  tensor<float> x(13, 4, 0.5), y(13, 5), more(1500, 4, 0.5), out(1500, 5);
  CHECK(refuses([&] { w.forward(x.get(), y.get()); }, {"[13, 4]", "3"}));
  CHECK(refuses([&] { w.forward(more.get(), out.get()); }, {"1500", "12"}));
}

TEST_CASE("a temperature that is not positive is refused") {
  polymoe::workspace<pair_layer> w(pair_layer(sizes(8, 16, 4)), {.max_rows = 10});
  tensor<float> x(10, 8, 0.5), y(10, 8);
  for (const float t : {0.0f, -1.0f, std::nanf(""), 1e-45f}) {
    w.step().temperature = t;
    CHECK(refuses([&] { w.forward(x.get(), y.get()); }, {"temperature"}));
  }
  w.step().temperature = 2;
  CHECK_NOTHROW(w.forward(x.get(), y.get()));
}

TEST_CASE("sizes beyond the 32-bit ids of a plan are refused by the dry pass") {
  const pair_layer l(sizes(8, 16, 4));
  const auto bind = [](const pair_layer& of, index rows) {
    polymoe::binder<cpu> dry;
    [[maybe_unused]] const auto s = of.bind(dry, rows);
    return dry.saved.peak();
  };
  CHECK(refuses([&] { bind(l, index{1} << 31); }, {"2147483648", "2147483647"}));
  CHECK(refuses([&] { bind(l, index{1} << 30); }, {"1073741824", "2147483647"}));
  CHECK(refuses([&] { bind(l, -1); }, {"-1"}));
  CHECK(refuses([&] { bind(l, std::numeric_limits<index>::max() / 2); }, {"does not fit"}));
  const pair_layer padded(with([](auto& c) { c.padded = true, c.capacity.factor = 1e6f, c.experts = 1024; }));
  CHECK(refuses([&] { bind(padded, 4000000); }, {"2147483647"}));
  const pair_layer runs(with([](auto& c) { c.group_size = 1, c.experts = 1024; }));
  CHECK(refuses([&] { bind(runs, 4000000); }, {"4096000000", "2147483647"}));
}

TEST_CASE("tensors of more than 2^31 elements are counted in 64 bits, nothing is allocated") {
  const pair_layer l(sizes(7168, 64, 8));
  polymoe::binder<cpu> dry;
  auto s = l.bind(dry, 56000 * 8);
  const index slots = 56000 * 8 * 2;
  CHECK(slots * 7168 > index{1} << 31);
  CHECK(s.apply.gathered.rows * s.apply.gathered.cols == slots * 7168);
  CHECK(static_cast<index>(dry.saved.peak()) > 2 * slots * 7168 * 4);  // gathered rows and expert outputs
  // The parameters of 1024 experts of this size: offsets beyond 2^31.
  pair_layer many(sizes(7168, 256, 1024));
  polymoe::visitor<float> count;
  many.visit(count);
  CHECK(count.param_count() == index{1024} * (2 * 7168 * 256 + 256 + 7168) + 1024 * 7168);
  CHECK(count.params().back().offset > index{1} << 31);
}

TEST_CASE("describe names what was chosen") {
  const std::string text = pair_layer(with([](auto& c) { c.group_size = 64; })).describe();
  for (const char* part : {"D=8", "H=16", "E=4", "K=2", "softmax", "drop", "position", "C=40 of 64", "mlp", "affinity",
                           "loss_free_bias", "packed"})
    CHECK_MESSAGE(text.find(part) != std::string::npos, part, " in ", text);
  CHECK(text.find('\n') == std::string::npos);
}

}  // namespace moe_test
