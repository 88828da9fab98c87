// Layers, a vision transformer and optimisers against PyTorch in float64: the golden files that generate.py wrote.
//
// Inputs and parameters come from their names on both sides, exact in float64.  A file holds scalars, choices, and of
// each tensor its size, its norm, two sums under pseudo-random signs and six elements; all have to agree to 1e-10 of
// the tensor's norm, and every line of a file has to be used.
// specs: mixtures token_choice
#include <doctest/doctest.h>

#include "golden.hpp"

#include <polymoe/nn/cross_entropy.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/specs.hpp>
#include <polymoe/train/optimizer.hpp>

namespace polymoe {
namespace {

// ---- layers ---------------------------------------------------------------------------------------------------------

using dropless = specs::dropless_top2<double>;
struct limited : spec {
  using scalar = double;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using balance =
      polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::switch_loss, polymoe::balance::z_loss>;
};
using soft_head = specs::soft_head<double>;
using limited_layer = layer<limited, cpu>;

limited_layer::config limited_config(index dim, index hidden, float factor) {
  limited_layer::config c;
  c.dim = dim, c.hidden = hidden, c.experts = 5;
  c.capacity.factor = factor;
  c.balance.get<balance::importance>().weight = 0.125f;
  c.balance.get<balance::switch_loss>().weight = 0.5f;
  c.balance.get<balance::z_loss>().weight = 0.0625f;
  return c;
}

/// y, dx and parameter gradients of sum(y * dy) + balance loss.
template <class Layer>
void check_layer(const std::string& name, const typename Layer::config& config, index rows) {
  golden g(name);
  workspace<Layer> w(Layer(config), {.max_rows = rows});
  fill_parameters(w, name);
  const index in = w.module().in_cols(), out = w.module().out_cols();
  const std::vector<double> x = numbers(name + "/x", rows * in, 2), dy = numbers(name + "/dy", rows * out, 1);
  std::vector<double> y(dy.size(), std::nan("")), dx(x.size(), std::nan(""));
  w.forward({x.data(), rows, in}, {y.data(), rows, out});
  w.backward({dy.data(), rows, out}, {dx.data(), rows, in});
  g.check("balance", w.module().balance_loss(w.ctx(), w.saved()));
  if (const auto& plan = w.saved().routing.plan; plan.expert_of) {
    const std::vector<double> got(plan.expert_of, plan.expert_of + plan.tokens * plan.k);
    CHECK(got == g.values("expert_of", got.size()));
  }
  g.check_tensor("y", y.data(), rows * out);
  g.check_tensor("dx", dx.data(), rows * in);
  g.check_all("grad", w, w.grads().ptr[0]);
  g.check_complete();
}

// ---- vision transformer ---------------------------------------------------------------------------------------------

using moe = nn::named<"moe", limited_layer>;
using model = nn::vit<moe>;
constexpr index batch = 6, pixels = 144, classes = 5;

/// The model of a case with its loss: cross-entropy (smoothing 0.1) plus all balance losses.
struct vit_run {
  std::string name;
  workspace<model> w;
  nn::cross_entropy<double> loss{{classes, 0.1}};
  aligned_block saved_block, scratch_block;
  nn::cross_entropy<double>::saved saved;
  context<cpu> c;
  std::vector<double> logits = std::vector<double>(batch * classes), dlogits = logits, dx;

  explicit vit_run(const std::string& n) : name(n), w(make(), {.max_rows = batch}), dx(batch * pixels) {
    fill_parameters(w, name);
    binder<cpu> dry, real;
    loss.bind(dry, batch);
    saved_block = aligned_block(dry.saved.peak()), scratch_block = aligned_block(dry.scratch.peak());
    real.saved = saved_block.as_arena();
    saved = loss.bind(real, batch);
    c.scratch = scratch_block.as_arena();
  }
  static model make() {
    nn::vit_sizes s;
    s.channels = 1, s.height = 12, s.width = 12, s.patch = 4, s.dim = 16, s.heads = 2, s.depth = 2, s.classes = classes;
    return model(nn::vit_config<moe>(s, limited_config(16, 24, 1.0f)));
  }
  /// Forward and backward of one step; the cross-entropy.
  double run(index step = 0) {
    const std::vector<double> x = numbers(name + "/x" + std::to_string(step), batch * pixels, 2);
    std::vector<std::int32_t> labels;
    for (index i = 0; i < batch; ++i) labels.push_back(static_cast<std::int32_t>((3 * i + step) % classes));
    w.forward({x.data(), batch, pixels}, {logits.data(), batch, classes});
    loss.run(c, {logits.data(), batch, classes}, labels, {dlogits.data(), batch, classes}, saved);
    w.backward({dlogits.data(), batch, classes}, {dx.data(), batch, pixels});
    return saved.report->loss;
  }
  /// Calls f(layer, its saved memory) for the Mixture of Experts of each block.
  template <class F>
  void each_moe(F f) {
    nn::each_module(w.module(), w.saved(), [&](auto& m, auto& s) {
      if constexpr (requires { m.balance_loss(w.ctx(), s); }) f(m, s);
    });
  }
  double balance() {
    double sum = 0;
    each_moe([&](auto& m, auto& s) { sum += m.balance_loss(w.ctx(), s); });
    return sum;
  }
};

/// The losses of five steps and the parameters after them.
template <class Optimizer>
void check_optimizer(const std::string& name, const Optimizer& optimizer) {
  golden g(name);
  vit_run v(name);
  const auto n = static_cast<std::size_t>(v.w.values().cols);
  std::vector<double> moments[2] = {std::vector<double>(n), std::vector<double>(n)};
  double* moment[2] = {moments[0].data(), moments[1].data()};
  std::vector<double> losses;
  for (index step = 0; step < 5; ++step) {
    v.w.step().step = step, v.w.step().learning_rate = 0.0078125f;
    v.w.zero_grads();
    losses.push_back(v.run(step));
    losses.back() += v.balance();
    optimizer.step(v.w.ctx().stream, v.w.entries(), v.w.values().ptr[0], v.w.grads().ptr[0], moment, v.w.step());
    v.w.refresh();
  }
  g.check_values("losses", losses);
  g.check_all("param", v.w, v.w.values().ptr[0]);
  g.check_complete();
}

}  // namespace

TEST_CASE("golden: a dropless layer with importance loss") {
  layer<dropless, cpu>::config c;
  c.dim = 12, c.hidden = 20, c.experts = 5;
  c.balance.get<balance::importance>().weight = 0.7f;
  check_layer<layer<dropless, cpu>>("moe_dropless", c, 37);
}

TEST_CASE("golden: hard capacity by position with importance, Switch and z-loss, one group and groups of ten") {
  limited_layer::config c = limited_config(12, 20, 0.8f);
  check_layer<limited_layer>("moe_capacity", c, 37);
  c.group_size = 10;
  check_layer<limited_layer>("moe_groups", c, 37);
  c.padded = true;
  check_layer<limited_layer>("moe_groups", c, 37);
}

TEST_CASE("golden: a mixture of classifier heads with the KL loss of paper B") {
  layer<soft_head, cpu>::config c;
  c.dim = 24, c.hidden = 16, c.experts = 8, c.classes = 10;
  c.balance.get<balance::kl_from_uniform>().weight = 0.5f;
  check_layer<layer<soft_head, cpu>>("mixture", c, 29);
}

TEST_CASE("golden: a vision transformer with a Mixture of Experts in both blocks") {
  golden g("vit");
  vit_run v("vit");
  g.check("loss", v.run());
  g.check("balance", v.balance());
  std::vector<double> dropped;
  v.each_moe([&](auto& m, auto& s) {
    const routing_stats stats = m.stats(v.w.ctx(), s);
    dropped.push_back(static_cast<double>(stats.choices - stats.placed));
  });
  CHECK(dropped == g.values("dropped", 2));
  g.check_values("logits", v.logits);
  g.check_tensor("dx", v.dx.data(), batch * pixels);
  g.check_all("grad", v.w, v.w.grads().ptr[0]);
  g.check_complete();
}

// eps is above rounding because the gradient of the bias of k is nothing else: softmax ignores a shift of its logits.
TEST_CASE("golden: five steps of AdamW") { check_optimizer("adamw", adamw{0.9, 0.999, 1e-5, 0.05}); }

TEST_CASE("golden: five steps of SGD with Nesterov momentum") { check_optimizer("sgd", sgd{0.9, 0.05, true}); }

}  // namespace polymoe
