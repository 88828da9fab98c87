// The cases of the golden files on backend B: layers, a vision transformer and optimisers against PyTorch in float64.
// golden_test.cpp runs them on the CPU, executor/golden_cuda_test.cpp on CUDA.
#pragma once

#include "golden.hpp"

#include <polymoe/nn/cross_entropy.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/specs.hpp>
#include <polymoe/train/training.hpp>

namespace polymoe::inline v0 {
namespace golden_cases {

// ---- layers ---------------------------------------------------------------------------------------------------------

/// On CUDA kernels for few experts; the CPU's layers are those of specs.hpp, which are compiled elsewhere.
template <class Spec>
struct few_experts : Spec {
  static constexpr int most_experts = 32;
};
template <class Spec, class B>
using layer_on = layer<std::conditional_t<B::memory::on_host, Spec, few_experts<Spec>>, B>;

struct limited : spec {
  using scalar = double;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using balance =
      polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::switch_loss, polymoe::balance::z_loss>;
};

template <class Config>
Config limited_config(index dim, index hidden, float factor) {
  Config c;
  c.dim = dim, c.hidden = hidden, c.experts = 5;
  c.capacity.factor = factor;
  c.balance.template get<balance::importance>().weight = 0.125f;
  c.balance.template get<balance::switch_loss>().weight = 0.5f;
  c.balance.template get<balance::z_loss>().weight = 0.0625f;
  return c;
}

/// y, dx and parameter gradients of sum(y * dy) + balance loss.
template <class Layer>
void check_layer(const std::string& name, const typename Layer::config& config, index rows) {
  using B = typename Layer::backend;
  golden g(name);
  workspace<Layer> w(Layer(config), {.max_rows = rows});
  fill_parameters(w, name);
  const auto& stream = w.ctx().stream;
  const index in = w.module().in_cols(), out = w.module().out_cols();
  const std::vector<double> nothing_in(static_cast<std::size_t>(rows * in), std::nan("")),
      nothing_out(static_cast<std::size_t>(rows * out), std::nan(""));
  const numbers_on<B, double> x(stream, numbers(name + "/x", rows * in, 2)),
      dy(stream, numbers(name + "/dy", rows * out, 1)), y(stream, nothing_out), dx(stream, nothing_in);
  w.forward(x.rows(rows), y.rows(rows));
  w.backward(dy.rows(rows), dx.rows(rows));
  g.check("balance", w.module().balance_loss(w.ctx(), w.saved()));
  if (const auto plan = w.module().plan(w.ctx(), w.saved()); plan.expert_of) {
    const std::vector<double> got(plan.expert_of, plan.expert_of + plan.tokens * plan.k);
    CHECK(got == g.values("expert_of", got.size()));
  }
  g.check_tensor("y", y.host(stream).data(), rows * out);
  g.check_tensor("dx", dx.host(stream).data(), rows * in);
  g.check_all("grad", w, w.grads_on_host());
  g.check_complete();
}

template <class B>
void dropless_layer() {
  using moe = layer_on<specs::dropless_top2<double>, B>;
  typename moe::config c;
  c.dim = 12, c.hidden = 20, c.experts = 5;
  c.balance.template get<balance::importance>().weight = 0.7f;
  check_layer<moe>("moe_dropless", c, 37);
}
/// Hard capacity by position with importance, Switch and z-loss, one group and groups of ten.
template <class B>
void limited_layers() {
  using moe = layer_on<limited, B>;
  auto c = limited_config<typename moe::config>(12, 20, 0.8f);
  check_layer<moe>("moe_capacity", c, 37);
  c.group_size = 10;
  check_layer<moe>("moe_groups", c, 37);
  c.padded = true;
  check_layer<moe>("moe_groups", c, 37);
}
/// Of classifier heads, with the KL loss of paper B.
template <class B>
void mixture_of_heads() {
  using moe = layer_on<specs::soft_head<double>, B>;
  typename moe::config c;
  c.dim = 24, c.hidden = 16, c.experts = 8, c.classes = 10;
  c.balance.template get<balance::kl_from_uniform>().weight = 0.5f;
  check_layer<moe>("mixture", c, 29);
}

// ---- vision transformer ---------------------------------------------------------------------------------------------

inline constexpr index batch = 6, pixels = 144, classes = 5;

/// The model of a case with its loss: cross-entropy (smoothing 0.1) plus all balance losses.
template <class B>
struct vit_run {
  using moe = nn::named<"moe", layer_on<limited, B>>;
  using model = nn::vit<moe>;
  using loss_type = nn::cross_entropy<double, B>;
  using block = owned_block<typename B::memory>;
  template <class N>
  using array = numbers_on<B, N>;

  std::string name;
  workspace<model> w;
  loss_type loss{{classes, 0.1}};
  block saved_block, scratch_block;
  typename loss_type::saved saved;
  context<B> c;
  array<double> logits, dlogits, dx;

  explicit vit_run(const std::string& n)
      : name(n),
        w(make(), {.max_rows = batch}),
        logits(w.ctx().stream, std::vector<double>(batch * classes)),
        dlogits(w.ctx().stream, std::vector<double>(batch * classes)),
        dx(w.ctx().stream, std::vector<double>(batch * pixels)) {
    fill_parameters(w, name);
    binder<B> dry, real;
    loss.bind(dry, batch);
    saved_block = block(dry.saved.peak()), scratch_block = block(dry.scratch.peak());
    real.saved = saved_block.as_arena();
    saved = loss.bind(real, batch);
    c.stream = w.ctx().stream;
    c.scratch = scratch_block.as_arena();
  }
  static model make() {
    nn::vit_sizes s;
    s.channels = 1, s.height = 12, s.width = 12, s.patch = 4, s.dim = 16, s.heads = 2, s.depth = 2, s.classes = classes;
    return model(nn::vit_config<moe>(s, limited_config<typename moe::config>(16, 24, 1.0f)));
  }
  /// Forward and backward of one step; the cross-entropy.
  double run(index step = 0) {
    const array<double> x(c.stream, numbers(name + "/x" + std::to_string(step), batch * pixels, 2));
    std::vector<std::int32_t> kinds;
    for (index i = 0; i < batch; ++i) kinds.push_back(static_cast<std::int32_t>((3 * i + step) % classes));
    const array<std::int32_t> labels(c.stream, kinds);
    w.forward(x.rows(batch), logits.rows(batch));
    loss.run(c, logits.rows(batch), {labels.data(), kinds.size()}, dlogits.rows(batch), saved);
    w.backward(dlogits.rows(batch), dx.rows(batch));
    loss_report report;
    B::memory::read(c.stream, &report, saved.report, sizeof report);
    return report.loss;
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

/// With a Mixture of Experts in both blocks.
template <class B>
void vision_transformer() {
  golden g("vit");
  vit_run<B> v("vit");
  g.check("loss", v.run());
  g.check("balance", v.balance());
  std::vector<double> dropped;
  v.each_moe([&](auto& m, auto& s) {
    const routing_stats stats = m.stats(v.w.ctx(), s);
    dropped.push_back(static_cast<double>(stats.choices - stats.placed));
  });
  CHECK(dropped == g.values("dropped", 2));
  g.check_values("logits", v.logits.host(v.c.stream));
  g.check_tensor("dx", v.dx.host(v.c.stream).data(), batch * pixels);
  g.check_all("grad", v.w, v.w.grads_on_host());
  g.check_complete();
}

/// The losses of five steps and the parameters after them.
template <class B, class Rule>
void check_optimizer(const std::string& name, const Rule& rule) {
  golden g(name);
  vit_run<B> v(name);
  backend::optimizer_memory<Rule, double, B> optimizer(v.w.ctx(), v.w.entries(), v.w.values(), false);
  std::vector<double> losses;
  for (index step = 0; step < 5; ++step) {
    v.w.step().step = step, v.w.step().learning_rate = 0.0078125f;
    v.w.zero_grads();
    losses.push_back(v.run(step));
    losses.back() += v.balance();
    optimizer.step(v.w.ctx(), rule, 0, v.w.values().ptr[0], v.w.grads().ptr[0], {});
    v.w.refresh();
  }
  g.check_values("losses", losses);
  g.check_all("param", v.w, v.w.values_on_host());
  g.check_complete();
}
// eps is above rounding because the gradient of the bias of k is nothing else: softmax ignores a shift of its logits.
template <class B>
void five_steps_of_adamw() {
  check_optimizer<B>("adamw", adamw{0.9, 0.999, 1e-5, 0.05});
}
/// With Nesterov momentum.
template <class B>
void five_steps_of_sgd() {
  check_optimizer<B>("sgd", sgd{0.9, 0.05, true});
}

}  // namespace golden_cases
}  // namespace polymoe
