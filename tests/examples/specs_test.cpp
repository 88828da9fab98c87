// specs: vit_moe_bf16 vit_moe_f32 vit_moe_bpr token_choice mixtures
// The shipped specs: what each promises in its comment, and that its compiled instantiation runs.
#include <doctest/doctest.h>

#include <cmath>
#include <polymoe/specs.hpp>

namespace polymoe {
namespace {

constexpr index rows = 24, dim = 6, classes = 5;

template <class Spec>
using cpu_layer = layer<Spec, cpu>;

/// Forward and backward on random rows; `look` sees the workspace.
template <class Spec, class Look>
void run(float factor, Look look) {
  using Layer = cpu_layer<Spec>;
  typename Layer::config c;
  c.dim = dim, c.hidden = 8, c.experts = 4;
  if constexpr (Spec::capacity::limited) {
    CHECK(c.capacity.factor == 1.25f);
    c.capacity.factor = factor;
  }
  if constexpr (Spec::expert::head_of_classes) c.classes = classes;
  workspace<Layer> w(Layer(c), {.max_rows = rows, .seed = 3});
  const index out = w.module().out_cols();
  CHECK(out == (Spec::expert::head_of_classes ? classes : dim));
  using T = typename Layer::scalar;
  const auto filled = [](index n, double x) {
    return std::vector<T>(static_cast<std::size_t>(n), T(static_cast<float>(x)));
  };
  std::vector<T> x = filled(rows * dim, 0), y = filled(rows * out, NAN), dy = filled(rows * out, 1),
                 dx = filled(rows * dim, NAN);
  const random_stream noise = random_root{11}.stream(stream_id("rows"), 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = T(noise.normal(i));
  w.forward({x.data(), rows, dim}, {y.data(), rows, out});
  w.backward({dy.data(), rows, out}, {dx.data(), rows, dim});
  for (const T v : y) CHECK(std::isfinite(static_cast<float>(v)));
  for (const T v : dx) CHECK(std::isfinite(static_cast<float>(v)));
  look(w);
}

}  // namespace

TEST_CASE_TEMPLATE("specs: V-MoE drops at a small capacity, with and without batch priority", Spec,
                   specs::vit_moe<float>, specs::vit_moe<bf16>, specs::vit_moe_bpr<float>, specs::vit_moe_bpr<bf16>) {
  run<Spec>(0.5f, [](auto& w) {
    const routing_stats s = w.module().stats(w.ctx(), w.saved());
    CHECK(s.choices == 2 * rows);
    CHECK(s.drop_rate() >= 0.5);
    CHECK(w.module().balance_loss(w.ctx(), w.saved()) > 0);
  });
  run<Spec>(100, [](auto& w) { CHECK(w.module().stats(w.ctx(), w.saved()).drop_rate() == 0); });
}

TEST_CASE("specs: priority is all that batch prioritised routing changes") {
  // Whoever keeps a place under batch priority has a first score at least as large as those who keep none.
  run<specs::vit_moe_bpr<float>>(0.25f, [](auto& w) {
    const auto& p = w.saved().routing.plan;
    const auto& scores = w.saved().routing.scores;
    for (int expert = 0; expert < 4; ++expert) {
      double least_kept = 2, largest_lost = -1;
      for (int t = 0; t < p.tokens; ++t) {
        double first = -1;
        int best = 0;
        for (int e = 0; e < 4; ++e)
          if (const double s = scores.get(t, e); s > first) first = s, best = e;
        if (best != expert) continue;
        if (p.expert_of[t * p.k] == expert)
          least_kept = std::min(least_kept, first);
        else
          largest_lost = std::max(largest_lost, first);
      }
      CHECK(least_kept >= largest_lost);
    }
  });
  CHECK(std::is_same_v<specs::vit_moe<float>::router, specs::vit_moe_bpr<float>::router>);
  CHECK(std::is_same_v<specs::vit_moe<float>::balance, specs::vit_moe_bpr<float>::balance>);
}

TEST_CASE("specs: Switch sends each token to one expert and drops what does not fit") {
  run<specs::switch_top1<float>>(0.5f, [](auto& w) {
    const routing_stats s = w.module().stats(w.ctx(), w.saved());
    CHECK(s.choices == rows);
    CHECK(s.drop_rate() >= 0.5);
  });
}

TEST_CASE_TEMPLATE("specs: dropless top-2 serves every choice", Spec, specs::dropless_top2<float>,
                   specs::dropless_top2<double>) {
  run<Spec>(0, [](auto& w) {
    CHECK(w.module().stats(w.ctx(), w.saved()).choices == 2 * rows);
    CHECK(w.module().stats(w.ctx(), w.saved()).drop_rate() == 0);
  });
}

TEST_CASE_TEMPLATE("specs: mixtures use every expert for every row without a copy", Spec, specs::soft_mixture<float>,
                   specs::soft_head<float>, specs::soft_head<double>) {
  CHECK(cpu_layer<Spec>::recipe.dispatch == dispatch_path::no_copy);
  run<Spec>(0, [](auto& w) { CHECK(w.module().stats(w.ctx(), w.saved()).load_cv() < 1); });
}

TEST_CASE("specs: the sparse head gives logits of the served experts with gates that add up to one") {
  run<specs::sparse_head<float>>(0, [](auto& w) {
    const auto& p = w.saved().routing.plan;
    for (int t = 0; t < p.tokens; ++t) {
      float sum = 0;
      for (int j = 0; j < p.k; ++j) sum += p.gate.get(0, p.slot_of[t * p.k + j]);
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    }
  });
}

TEST_CASE("specs: an inherited spec changes one axis and keeps the others") {
  struct unlimited : specs::vit_moe<float> {
    using capacity = polymoe::capacity::unlimited;
  };
  CHECK(support<unlimited, cpu>() == verdict::ok);
  CHECK(std::is_same_v<unlimited::router, specs::vit_moe<float>::router>);
}

}  // namespace polymoe
