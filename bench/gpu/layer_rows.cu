// The layers of the rows with one K and one capacity.  Compiled once for each, so that the compilations run side by
// side:
//   POLYMOE_BENCH_K        1, 2 or 4
//   POLYMOE_BENCH_BOUNDED  1: capacity factor 1.0, 0: unlimited
#include "layer_case.cuh"
#include "timing.cuh"

#if !defined(POLYMOE_BENCH_K)
#define POLYMOE_BENCH_K 1
#define POLYMOE_BENCH_BOUNDED 0
#endif

namespace gpu_bench {

/// A layer and the time of its parts.
template <class Spec>
class timed_layer : public layer_case<Spec> {
 public:
  using layer_case<Spec>::layer_case;

  block measure(const std::string& routing, const ceilings& top, double seconds) {
    const auto stats = this->w_.module().stats(this->w_.ctx(), this->w_.saved());
    block b;
    b.row = this->r_, b.routing = routing,
    b.capacity = this->padded_             ? "padded"
                 : Spec::capacity::limited ? "1.0"
                                           : "unlimited";
    b.fullest_over_mean = stats.load_max_over_mean(), b.placed = static_cast<double>(stats.placed);
    b.drop_rate = stats.drop_rate(), b.dead = stats.dead_experts();
    b.recipe = this->w_.module().describe();
    std::vector<timed_case> cases;
    std::vector<work> passes[2];
    const auto add = [&](stage s, std::vector<work>* pass) {
      const work w = work_of(s, this->r_, b.placed);
      const char* const name = this->padded_ && s == stage::gather ? "gather" : name_of(s);
      cases.push_back({name, batch::one_graph, [this, s] { this->run(s); }, {w}});
      if (pass) pass->push_back(w);
    };
    const auto whole = [&](const char* name, std::vector<work> need, std::function<void()> call) {
      cases.push_back({std::string(name) + ", graph", batch::graphs, call, need});
      cases.push_back({std::string(name) + ", eager", batch::eager, call, std::move(need)});
    };
    add(stage::router_forward, &passes[0]), add(stage::gather, nullptr);
    for (const stage s : {stage::fc1, stage::fc2, stage::combine}) add(s, &passes[0]);
    whole("forward", passes[0], [this] { this->forward(); });
    for (const stage s : backward_stages()) add(s, &passes[1]);
    whole("backward", passes[1], [this] { this->backward(); });
    std::vector<work> both = passes[0];
    both.insert(both.end(), passes[1].begin(), passes[1].end());
    whole("forward + backward", both, [this] { this->forward(), this->backward(); });
    this->forward(), this->backward();
    b.figures = take_turns(this->stream(), cases, top, seconds);
    return b;
  }
};

/// One row under one capacity, both routings.
template <int K, bool Bounded>
void measure_row(const row_shape& r, bool padded, const std::vector<std::string>& routings, const ceilings& top,
                 double seconds, const std::function<void(block)>& done) {
  timed_layer<bench_spec<K, Bounded>> layer(r, padded, 1);
  for (const std::string& routing : routings) {
    layer.route(routing == "zipf" ? 1.0 : 0.0);
    layer.check();
    done(layer.measure(routing, top, seconds));
  }
}
template void measure_row<POLYMOE_BENCH_K, POLYMOE_BENCH_BOUNDED>(const row_shape&, bool,
                                                                  const std::vector<std::string>&, const ceilings&,
                                                                  double, const std::function<void(block)>&);

}  // namespace gpu_bench
