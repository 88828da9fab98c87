// Routers that look at columns, on the sizes of a row, beside token choice: forward (router input to plan) and backward
// (gate gradients to those of the input and of the router's weights) of the routing module alone.
//
//   top-1, top-2             K experts a unit (2 where the row has 4), no bound
//   expert choice            every expert its T K / E best units of the call; in groups of 196 units, an image each
//   Sinkhorn top-2           20 iterations over the call, gates of the scores
//   Sinkhorn picks by plan   20 iterations over groups of 196 units, gates of the plan and its gradient
//   transport picks          20 steps of sparse transport over the call
//   transport picks, Newton  the plan with both sums; the input says in how many steps
//
// The floor is that of rows and plan (rows.hpp), and of iterations one by one, whose numbers L2 holds: their bytes over
// the rate of a copy within L2, their FLOP over the rate of multiply-adds in float, both measured in the same run.
//
//   of an iteration         FLOP        bytes in L2
//   Sinkhorn                4TE         8TE           P times its columns' factors, its rows' sums; times
//                                                     rows', columns' sums
//     the first plan        4TE         8TE           exponentials of the logits (counted as one FLOP each)
//     back through one      8TE         12TE          logits in, the plan's gradient in and out; columns, then rows
//   transport               5TE + 12T   4TE + 24T     scores in, a line's threshold off, sums of units; alpha and
//                                                     two moments
//     Newton, once          5TE         8TE           scores in, rows for the prices out: no plan takes less
//
// Meetings of blocks are not in it; blocks that kept their part of P on the chip would move less.  Targets, for
// forwards of 65536 units of at most 64 experts on an H200, count them: expert choice over the call 12 us (three passes
// of a radix select, each with a barrier, and the compaction); Sinkhorn 4 us and 2 us an
// iteration; transport 10 us a step.
#include <polymoe/analysis/transport_costs.hpp>
#include <polymoe/cuda.cuh>

#include "data.cuh"
#include "timing.cuh"

namespace gpu_bench {
namespace {

using polymoe::bf16;
using polymoe::view;
namespace score = polymoe::score;

template <class Router, bool Bounded = true>
struct router_spec : polymoe::spec {
  using scalar = bf16;
  using router = Router;
  using capacity = std::conditional_t<Bounded, polymoe::capacity::bounded<>, polymoe::capacity::unlimited>;
  static constexpr int most_experts = 64;
};

/// The routing of a spec on drawn input, with drawn gate gradients.
template <class Spec>
class router_case {
 public:
  using module = polymoe::routing<Spec, polymoe::cuda>;
  router_case(const row_shape& r, index group, const char* name)
      : r_(r),
        name_(name),
        w_(module(config(r, group)), {.max_rows = r.tokens, .threads = 1, .seed = 1}),
        x_(bytes(r)),
        dx_(bytes(r)) {
    fill_normal(stream(), of(x_), 1, "x");
    device::clear(dx_.data(), dx_.size(), stream());  // gradients are added to it
    forward();
    auto& saved = w_.saved();
    placed_ = static_cast<double>(w_.module().stats(w_.ctx(), saved).placed);
    polymoe::require(placed_ > 0, r.name, ", ", name, ": no expert got a unit");
    w_.module().open_backward(w_.ctx(), saved);
    fill_normal(stream(), saved.d_gate, 1, "d_gate");
  }
  void add(std::vector<timed_case>& cases) {
    const auto need = [&](stage s) {
      std::vector<work> all{work_of(s, r_, placed_)};
      all.front().product = true;  // the rate that is shown is that of the router's own products
      for (const work& more : iterations(s == stage::router_backward)) all.push_back(more);
      return all;
    };
    cases.push_back({name_ + ", forward", batch::graphs, [this] { forward(); }, need(stage::router_forward)});
    cases.push_back({name_ + ", backward", batch::graphs,
                     [this] { w_.module().backward(w_.ctx(), of(dx_), w_.saved(), true); },
                     need(stage::router_backward)});
  }
  cudaStream_t stream() { return w_.ctx().stream.handle; }

 private:
  /// Of the group plans, over all units of the call.
  std::vector<work> iterations([[maybe_unused]] bool backward) {
    std::vector<work> all;
    if constexpr (polymoe::plans_groups<typename Spec::router>) {
      const auto T = static_cast<double>(r_.tokens), cells = T * static_cast<double>(r_.experts);
      const auto of = [](double times, double flop, double bytes) {
        return work{0, 0, false, times * flop, times * bytes};
      };
      const auto& router = w_.module().settings().router;
      const auto times = static_cast<double>(router.iterations);
      if constexpr (polymoe::analysis::makes_transport_plans<typename Spec::router>) {
        static_assert(!Spec::router::weighs_plan,
                      "polymoe: the floor of a way back through transport is not written down");
        if (backward) return all;
        if constexpr (std::is_base_of_v<score::solver::newton, typename Spec::router>)
          all.push_back(of(1, 5 * cells, 8 * cells));
        else  // the last step makes lines only: one pass more
          all.push_back(of(times + 1, 5 * cells + 12 * T, 4 * cells + 24 * T));
      } else if (!backward) {
        all.push_back(of(times + 1, 4 * cells, 8 * cells));
      } else if (Spec::router::weighs_plan) {
        all.push_back(of(times, 8 * cells, 12 * cells));
      }
    }
    return all;
  }
  static typename module::config config(const row_shape& r, index group) {
    typename module::config c;
    c.dim = r.dim, c.experts = r.experts, c.group_size = group;
    if constexpr (Spec::router::k == polymoe::picked_by_experts) c.capacity.factor = static_cast<float>(r.k);
    return c;
  }
  static std::size_t bytes(const row_shape& r) { return static_cast<std::size_t>(r.tokens * r.dim) * sizeof(bf16); }
  view<bf16> of(const polymoe::backend::device_block& b) const {
    return {static_cast<bf16*>(b.data()), r_.tokens, r_.dim};
  }
  void forward() { w_.module().forward(w_.ctx(), of(x_), w_.saved()); }

  row_shape r_;
  std::string name_;
  polymoe::workspace<module> w_;
  polymoe::backend::device_block x_, dx_;
  double placed_ = 0;
};

}  // namespace

/// One block of figures, of no routing.
block measure_routers(const row_shape& r, const ceilings& top, double seconds) {
  block b;
  b.row = r, b.capacity = "routers", b.routing = "-";
  const auto measure = [&]<class Spec>(Spec, index group, const char* name, double target_us = 0) {
    router_case<Spec> one(r, group, name);
    std::vector<timed_case> cases;
    one.add(cases);
    for (figure& f : take_turns(one.stream(), cases, top, seconds / 6)) {
      if (r.tokens == 65536 && r.experts <= 64 && f.name.ends_with("forward")) f.target_us = target_us;
      b.figures.push_back(std::move(f));
    }
  };
  constexpr index image = 196;
  if (r.k == 1)
    measure(router_spec<polymoe::top_k<1>, false>{}, 0, "top-1");
  else
    measure(router_spec<polymoe::top_k<2>, false>{}, 0, "top-2");
  measure(router_spec<polymoe::expert_choice<>>{}, 0, "expert choice", 12);
  measure(router_spec<polymoe::expert_choice<>>{}, image, "expert choice, images");
  measure(router_spec<polymoe::top_k<2, score::sinkhorn<>>, false>{}, 0, "Sinkhorn top-2", 4 + 2 * 20);
  measure(router_spec<polymoe::expert_choice<score::sinkhorn<score::by_plan>>>{}, image, "Sinkhorn picks by plan");
  measure(router_spec<polymoe::expert_choice<score::sparse_transport<>>>{}, 0, "transport picks", 10 * 20);
  measure(router_spec<polymoe::expert_choice<score::sparse_transport<score::solver::newton>>>{}, 0,
          "transport picks, Newton");
  return b;
}

}  // namespace gpu_bench
