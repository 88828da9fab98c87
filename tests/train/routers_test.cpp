// Every kind of router trains a vision transformer, is measured by the trainer, and resumes from a checkpoint with the
// same bits.
// with: trainer
#include <doctest/doctest.h>

#include <polymoe/plan/expand.hpp>

#include "support/close_to.hpp"
#include "temp_folder.hpp"
#include "tiny_vit.hpp"

namespace polymoe {
namespace {

template <class Router, class Capacity = capacity::unlimited, class Balance = balance::none>
struct routed : spec {
  using router = Router;
  using capacity = Capacity;
  using balance = Balance;
};
using picked = routed<expert_choice<>, capacity::bounded<>>;
using balanced = routed<top_k<2, score::sinkhorn<score::by_plan>>, capacity::bounded<>>;
using rectified = routed<positive<>, capacity::unlimited, balance::relu_l1>;
using transported =
    routed<expert_choice<score::sparse_transport<score::solver::newton, score::by_score, score::start::last_step>>,
           capacity::bounded<>>;
using strict = routed<strictly_balanced<>, capacity::bounded<>>;
using assigned = routed<top_k<1, score::balanced_assignment<>>>;
using slots = routed<soft_slots<>>;

struct unchanged {
  template <class Config>
  void operator()(Config&) const {}
};
/// `change` is given the layers' configuration.
template <class Spec, class Change = unchanged>
auto model_of(Change change = {}) {
  using moe = nn::named<"moe", layer<Spec, cpu>>;
  typename moe::config c;
  c.dim = 16, c.hidden = 16, c.experts = tiny::experts, c.group_size = tiny::tokens;
  if constexpr (requires { c.router.slots; }) c.router.slots = 2;
  if constexpr (requires { c.router.iterations; }) c.router.iterations = 5;
  change(c);
  return nn::vit<moe>(nn::vit_config<moe>(tiny::sizes(), c));
}

}  // namespace

TEST_CASE_TEMPLATE("each router: images are learned, experts are counted, training resumes", Spec, picked, balanced,
                   rectified, transported, strict, assigned, slots) {
  temp_folder folder;
  const train_test data = tiny::images();
  train_options o = tiny::options(12);
  o.augment = {};
  using model = decltype(model_of<Spec>());
  using run = trainer<model>;
  run t(model_of<Spec>(), o, data);
  for (int i = 0; i < 36; ++i) t.step();
  const auto part = tiny::everything(t, folder.file("part"));
  while (!t.finished()) {
    const train_step s = t.step();
    REQUIRE(std::isfinite(s.loss));
    CHECK(s.has_experts);
  }
  CHECK(t.epoch_summary().loss < 0.8);
  // What classes took from experts, counted once more from the dense form of every plan.
  std::vector<double> want_counts(tiny::depth * data.test.class_names.size() * tiny::experts, 0.0);
  index at = 0;
  const auto held = t.work().state_on_host();
  const train_summary test = t.evaluate([&](index, index n) {
    std::size_t l = 0;
    each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      const auto add = [&](const auto& plan) {
        for (index u = 0; u < plan.tokens; ++u)
          for (index s = 0; s < plan.combine.cols; ++s) {
            const double weight = static_cast<double>(plan.combine.get(u, s));
            const auto label =
                static_cast<std::size_t>(data.test.labels[static_cast<std::size_t>(at + u / (plan.tokens / n))]);
            want_counts[(l * data.test.class_names.size() + label) * tiny::experts +
                        static_cast<std::size_t>(s / plan.capacity)] +=
                std::is_same_v<Spec, slots> ? weight : weight != 0;
          }
      };
      const auto plan = layer.plan(t.work().ctx(), saved);
      if constexpr (std::is_same_v<Spec, slots>) add(plan);
      else add(expand(plan));
      ++l;
    });
    at += n;
  });
  CHECK(t.work().state_on_host() == held);
  CHECK(test.accuracy > 0.6);
  REQUIRE(test.class_expert.size() == tiny::depth);
  for (std::size_t l = 0; l < tiny::depth; ++l)
    for (std::size_t i = 0; i < test.class_expert[l].size(); ++i)
      CHECK(test.class_expert[l][i] == doctest::Approx(want_counts[l * test.class_expert[l].size() + i]));
  const auto want = tiny::everything(t, folder.file("whole"));
  CHECK(want.count("state.blocks.0.moe.router.coefficient") == (std::is_same_v<Spec, rectified> ? 1 : 0));
  CHECK(want.count("state.blocks.0.moe.router.price") == (std::is_same_v<Spec, transported> ? 1 : 0));
  CHECK(want.count("state.blocks.0.moe.router.threshold") == (std::is_same_v<Spec, strict> ? 1 : 0));
  // Thresholds move with every step, so what goes on from the middle has to have read them.
  if constexpr (std::is_same_v<Spec, strict>)
    for (const char* name : {"state.blocks.0.moe.router.threshold", "state.blocks.1.moe.router.threshold"})
      CHECK(want.at(name) != part.at(name));
  CHECK(want.count("blocks.0.moe.router.phi") == (std::is_same_v<Spec, slots> ? 1 : 0));

  run second(
      model_of<Spec>(),
      [&] {
        auto p = o;
        p.threads = 2;
        return p;
      }(),
      data);
  second.load(folder.file("part"));
  while (!second.finished()) second.step();
  CHECK(tiny::difference(want, tiny::everything(second, folder.file("second"))) == "");
}

TEST_CASE("micro-batches are counted each, and state is moved once per step") {
  const train_test data = tiny::images();
  train_options o = tiny::options(2);
  o.batch = 8, o.accumulate = 2;
  using model = decltype(model_of<rectified>());
  // A unit has more than a hundredth of an expert in the mean, and never more than all: up and down.
  for (const float target : {0.01f, static_cast<float>(tiny::experts)}) {
    CAPTURE(target);
    const auto change = [&](auto& c) { c.balance.template get<balance::relu_l1>().target = target; };
    trainer<model> t(model_of<rectified>(change), o, data);
    for (int step = 0; step < 3; ++step) {
      const auto before = t.work().state_on_host();
      t.step();
      int moved = 0;
      for (const auto& e : t.work().state_entries()) {
        const auto at = static_cast<std::size_t>(e.offset);
        const float now = t.work().state()[at];
        if (e.name.ends_with("coefficient")) {
          const double by = static_cast<double>(now) / static_cast<double>(before[at]);
          CHECK(by == moe_test::close_to(target < 1 ? 1.2 : 1 / 1.2, 1e-6));
          ++moved;
        } else if (e.name.ends_with("active")) {
          CHECK((now == 0 && t.work().state()[at + 1] == 0));
        }
      }
      CHECK(moved == tiny::depth);
    }
  }
}

TEST_CASE("a step that is refused leaves adaptive state alone") {
  const train_test data = tiny::images();
  using model = decltype(model_of<rectified>());
  trainer<model> t(model_of<rectified>(), tiny::options(2), data);
  t.step();
  const auto before = t.work().state_on_host();
  t.work().values().ptr[0][t.work().entries().back().offset] = std::numeric_limits<float>::quiet_NaN();
  t.work().refresh();
  CHECK_THROWS_AS(t.step(), error);
  CHECK(t.work().state_on_host() == before);
}

}  // namespace polymoe
