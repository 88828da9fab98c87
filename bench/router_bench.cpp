// What every router costs by itself on the CPU, beside the memory it has to touch and beside a ViT-S layer.
//
//   forward    router input [T, 384] -> logits, scores, plan, gates
//   backward   gradients of the gates -> gradients of the router's input and weights
//   floor      bytes that any implementation moves (router_bytes) over the stream bandwidth measured in the same run
//   layer      nn::mlp_block D 384, H 1536 on the same T units: the layer of ViT-S that a MoE layer replaces
//
// Cases of a row take turns, one run each; times are the least of all runs, and the median beside it in the JSON. Units
// compete in groups of `--group` (0: all of a call).  bench/README.md explains the columns.  Two routers always work on
// images of 256 units (or `--group`): balanced assignment, whose work grows faster than a group, and soft slots.  What
// soft slots do is to mix, so they are timed with it: units into slots, slots into units, and both ways back, around
// experts that do nothing.
#include <CLI/CLI.hpp>
#include <polymoe/nn/mlp_block.hpp>

#include "router_report.hpp"

namespace router_bench {
namespace {

namespace score = polymoe::score;
namespace balance = polymoe::balance;

// ---- the routers ----------------------------------------------------------------------------------------------------

template <class Router, class Capacity = polymoe::capacity::bounded<>, class Balance = balance::none>
struct routed : polymoe::spec {
  using router = Router;
  using capacity = Capacity;
  using balance = Balance;
};
using unlimited = polymoe::capacity::unlimited;
using by_gate = polymoe::capacity::bounded<polymoe::overflow::drop, polymoe::priority::gate>;
using spread = balance::sum<balance::importance, balance::load>;
template <class Solver, class Weights = score::by_score, class Start = score::start::cold>
using transport = polymoe::expert_choice<score::sparse_transport<Solver, Weights, Start>>;

using softmax_1 = routed<polymoe::top_k<1>>;
using softmax_2 = routed<polymoe::top_k<2>>;
using noisy_bpr = routed<polymoe::top_k<2, score::noisy_constant<>>, by_gate, spread>;
using expert_choice = routed<polymoe::expert_choice<>>;
using sinkhorn_tokens = routed<polymoe::top_k<2, score::sinkhorn<>>>;
using sinkhorn_experts = routed<polymoe::expert_choice<score::sinkhorn<>>>;
using sinkhorn_plan = routed<polymoe::top_k<2, score::sinkhorn<score::by_plan>>>;
using transport_adam = routed<transport<score::solver::adam>>;
using transport_lbfgs = routed<transport<score::solver::lbfgs>>;
using transport_newton = routed<transport<score::solver::newton>>;
using transport_warm = routed<transport<score::solver::newton, score::by_score, score::start::last_step>>;
using transport_plan = routed<transport<score::solver::newton, score::by_plan>>;
using transport_tokens = routed<polymoe::top_k<2, score::sparse_transport<score::solver::newton>>>;
/// Without a limit on the non-zeros: the plan of quadratically regularised transport.
struct transport_dense : transport_newton {};
using sinkhorn_clean = routed<polymoe::top_k<2, score::noisy_constant<score::sinkhorn<score::by_clean_score>>>>;
using loss_free = routed<polymoe::top_k<2, score::sigmoid>, polymoe::capacity::bounded<>, balance::loss_free_bias>;
using positive = routed<polymoe::positive<>, unlimited, balance::relu_l1>;
using hashed = routed<polymoe::hashed<>>;
using fixed = routed<polymoe::fixed<>>;
using mixture = routed<polymoe::mixture<>, unlimited>;
using group_limited = routed<polymoe::group_limited<2, 4, 2>>;
using strictly_balanced = routed<polymoe::strictly_balanced<>>;
using assignment = routed<polymoe::top_k<1, score::balanced_assignment<>>, unlimited>;
using cosine = routed<polymoe::with_cosine<polymoe::top_k<2>>>;
using cosine_of_units = routed<polymoe::with_cosine<polymoe::top_k<2>, false>>;
using standardised = routed<polymoe::top_k<2, score::standardized<>>>;
/// The sparse gate of paper B, with its noise, dropouts and biases.
using paper_b_gate =
    routed<polymoe::with_bias<polymoe::top_k<2, score::gate_dropout<score::standardized<score::logit_dropout<
                                                    score::noisy_learned<score::largest_softmax<2>>>>>>>,
           unlimited>;
template <class Axis>
struct soft_slots : polymoe::spec {
  using router = polymoe::soft_slots<Axis>;
  using expert = polymoe::expert::identity;
};
using slots_of_images = soft_slots<polymoe::axis::image>;
using slots_of_batch = soft_slots<polymoe::axis::batch>;
template <class Spec>
inline constexpr bool mixes = Spec::router::k == polymoe::mixed_into_slots;

// ---- what has to be moved -------------------------------------------------------------------------------------------

constexpr double bytes_of(index numbers) { return 4.0 * static_cast<double>(numbers); }
/// Bytes that a pass cannot do without in fp32: the router's input and parameters once, the numbers per unit that
/// backward needs ([T, E] logits, a second projection, the projection that cosines are of) written once and read once,
/// the plan's `slots` with gate and unit; gradients of input and parameters.  Passes over numbers that a cache could
/// hold (iterations of a plan) are not counted.
constexpr traffic router_bytes(index units, const polymoe::cost& n, index slots) {
  const double input = bytes_of(units * dim), weights = bytes_of(n.params), rows = bytes_of(n.activations),
               plan = bytes_of(2 * slots);
  return {input + weights + 2 * rows + plan, 2 * input + 3 * weights + 2 * rows + plan};
}
static_assert(router_bytes(1, polymoe::cost::dense(384, 384, 1), 1).forward == 4 * (384 + 384 + 2 + 2),
              "polymoe: one unit, one expert, by hand");
/// The same of units that are mixed into `slots` rows: input, output and what goes into and comes out of every slot,
/// once; backward their gradients as well, and the rows of slots again.  Logits need not be kept.
constexpr traffic mixing_bytes(index units, index params, index slots) {
  const double rows = bytes_of(units * dim), weights = bytes_of(params), mixed = bytes_of(slots * dim);
  return {2 * rows + weights + 2 * mixed, 3 * rows + 3 * weights + 4 * mixed};
}
static_assert(mixing_bytes(2, 385, 1).backward == 4 * (3 * 768 + 3 * 385 + 4 * 384), "polymoe: two units, one slot");

// ---- cases ----------------------------------------------------------------------------------------------------------

/// Units of an image: `--group`, or the largest number up to 256 that divides the units.
index image_of(const shape& s, const options& o) {
  index n = std::min(o.group ? o.group : index{256}, s.tokens);
  while (s.tokens % n) --n;
  return n;
}

/// One router alone, in its own memory.
template <class Spec>
struct router_case {
  using module = polymoe::routing<Spec, cpu>;
  using T = float;

  typename module::config config_of(const shape& s, const options& o) {
    typename module::config c;
    c.dim = dim, c.experts = s.experts, c.group_size = o.group && o.group < s.tokens ? o.group : 0;
    if constexpr (std::is_same_v<Spec, assignment>) c.group_size = image_of(s, o);
    if constexpr (std::is_same_v<Spec, transport_dense>) c.router.nonzeros = Spec::router::everything;
    if constexpr (requires { c.capacity.factor; }) c.capacity.factor = 1;
    if constexpr (requires { c.router.floor; }) c.router.floor = 0.3f;  // paper B's
    if constexpr (requires { c.router.ids; }) {
      for (index t = 0; t < s.tokens; ++t) table.push_back(static_cast<int>(7 * t % s.experts));
      c.router.ids = table.data();
    }
    return c;
  }
  router_case(const shape& s, const options& o)
      : w(module(config_of(s, o)), {.max_rows = s.tokens, .threads = o.threads, .seed = o.seed}),
        x(s.tokens, dim, "x", o),
        dx(s.tokens, dim, "", o, false) {
    if constexpr (polymoe::carries_prices<typename Spec::router>) {  // as in training: the steps before left prices
      for (int i = 0; i < 2; ++i) w.module().forward(w.ctx(), x.v, w.saved()), w.module().commit(w.ctx());
    }
  }
  void run(const std::string& name, const options& o, samples& out) {
    auto& s = w.saved();
    lap_clock lap;
    w.module().forward(w.ctx(), x.v, s);
    const double f = lap();
    fill_gradients(o);
    lap();
    w.module().backward(w.ctx(), dx.v, s);
    const double b = lap();
    out.add(name + ".forward", f), out.add(name + ".backward", b), out.add(name + ".both", f + b);
  }
  void fill_gradients(const options& o) {
    if (filled) return;
    filled = true;
    tensor<T>::fill(w.saved().d_gate, "d", o);
  }
  traffic bytes(const shape& s) {
    const auto& plan = w.saved().plan;
    return router_bytes(s.tokens, module::count(w.module().settings(), s.tokens), plan.begin[plan.all_experts]);
  }
  /// Of the plans of the last call, for routers of sparse transport.
  std::optional<polymoe::analysis::transport_costs> costs() {
    if constexpr (polymoe::analysis::makes_transport_plans<typename Spec::router>)
      return polymoe::analysis::costs_of(w.module().settings().router, w.module().plans(w.ctx(), w.saved()));
    return std::nullopt;
  }
  void check(const std::string& name) { require_finite(name.c_str(), dx.v), require_finite(name.c_str(), w.grads()); }
  std::vector<int> table;  ///< experts of units, for routers that are told them
  polymoe::workspace<module> w;
  tensor<T> x, dx;
  bool filled = false;
};

/// Soft slots: a layer whose experts do nothing, as many slots an image as it has units (one an expert at least); over
/// the batch as many as an image of 256 units would have.
template <class Spec>
struct mixing_case {
  using module = polymoe::layer<Spec, cpu>;
  static constexpr bool of_batch = std::is_same_v<Spec, slots_of_batch>;

  static typename module::config config_of(const shape& s, const options& o) {
    typename module::config c;
    c.dim = dim, c.experts = s.experts, c.group_size = of_batch ? 0 : image_of(s, o);
    c.router.slots = of_batch ? static_cast<int>(polymoe::ceil_div(image_of(s, o), s.experts)) : 0;
    return c;
  }
  mixing_case(const shape& s, const options& o) : m(module(config_of(s, o)), s.tokens, o) {}
  void run(const std::string& name, const options&, samples& out) { m.run(name, out); }
  traffic bytes(const shape& s) {
    const auto& c = m.w.module().settings();
    const index together = of_batch ? s.tokens : c.group_size;
    const index slots = c.experts * c.router.slots_of_expert(together, c.experts);
    return mixing_bytes(s.tokens, module::count(c, s.tokens).params, slots * (s.tokens / together));
  }
  void check(const std::string& name) { m.check(name.c_str()); }
  bench_module<module> m;
};

struct dense_case {
  using module = polymoe::nn::mlp_block<float>;
  dense_case(const shape& s, const options& o)
      : w(module({dim, hidden}), {.max_rows = s.tokens, .threads = o.threads, .seed = o.seed}),
        x(s.tokens, dim, "x", o),
        dy(s.tokens, dim, "dy", o),
        y(s.tokens, dim, "", o, false),
        dx(s.tokens, dim, "", o, false) {}
  void run(samples& out) {
    lap_clock lap;
    w.forward(x.v, y.v);
    const double f = lap();
    w.backward(dy.v, dx.v);
    const double b = lap();
    out.add("layer.forward", f), out.add("layer.backward", b), out.add("layer.both", f + b);
  }
  polymoe::workspace<module> w;
  tensor<float> x, dy, y, dx;
};

/// Bytes a second of a copy by all threads, read and written: the best of several.
double stream_bandwidth(const options& o) {
  const index bytes = index{128} << 20, tile = index{1} << 20;
  aligned_block from(static_cast<std::size_t>(bytes)), to(static_cast<std::size_t>(bytes));
  cpu::runtime runtime(o.threads, 0);
  double best = 1e30;
  for (int i = 0; i < 8; ++i) {
    lap_clock lap;
    polymoe::parallel_for(runtime.get(), bytes / tile, [&](index t, worker&) {
      std::memcpy(static_cast<char*>(to.data()) + t * tile, static_cast<const char*>(from.data()) + t * tile,
                  static_cast<std::size_t>(tile));
    });
    const double ms = lap();
    if (i > 0) best = std::min(best, ms);
  }
  return 2.0 * static_cast<double>(bytes) / (best * 1e-3);
}

/// The routers of a row one after the other in memory, their runs beside runs of the dense layer.
class row_run {
 public:
  row_run(const shape& s, const options& o) : shape_(s), o_(o), dense_(s, o) {
    out_.size = s;
    for (int i = 0; i < 2; ++i) dense_.run(all_);
    all_.clear();
  }
  template <class Spec>
  void add(const char* name, bool slow = false) {
    if (!wanted(name)) return;
    // Twenty projections of every column: minutes where both are large.
    if (slow && !o_.all && shape_.tokens * shape_.experts > 16384 * 32) return;
    std::conditional_t<mixes<Spec>, mixing_case<Spec>, router_case<Spec>> c(shape_, o_);
    samples ms;
    take_turns({[&](samples& x) { c.run(name, o_, x); }, [&](samples&) { dense_.run(all_); }}, o_, ms);
    c.check(name);
    const std::string n = name;
    std::optional<polymoe::analysis::transport_costs> costs;
    if constexpr (requires { c.costs(); }) costs = c.costs();
    out_.lines.push_back(
        {n, ms.of(n + ".forward"), ms.of(n + ".backward"), ms.of(n + ".both"), c.bytes(shape_), costs});
  }
  result done() {
    if (!all_.has("layer.both"))
      for (int i = 0; i < o_.repeats; ++i) dense_.run(all_);
    out_.layer_forward = all_.of("layer.forward"), out_.layer_both = all_.of("layer.both");
    return out_;
  }
  std::vector<std::string> only;

 private:
  bool wanted(const std::string& name) const {
    if (only.empty()) return true;
    return std::find(only.begin(), only.end(), name) != only.end();
  }
  shape shape_;
  options o_;
  dense_case dense_;
  samples all_;
  result out_;
};

result run_row(const shape& s, const options& o, const std::vector<std::string>& only) {
  row_run r(s, o);
  r.only = only;
  r.add<softmax_1>("token_choice_1"), r.add<softmax_2>("token_choice_2"), r.add<noisy_bpr>("noisy_bpr_2");
  r.add<expert_choice>("expert_choice");
  r.add<sinkhorn_tokens>("sinkhorn_token_choice_2"), r.add<sinkhorn_experts>("sinkhorn_expert_choice");
  r.add<sinkhorn_plan>("sinkhorn_token_choice_2_by_plan");
  r.add<transport_adam>("transport_adam", true), r.add<transport_lbfgs>("transport_lbfgs", true);
  r.add<transport_newton>("transport_newton", true), r.add<transport_warm>("transport_newton_last_step", true);
  r.add<transport_plan>("transport_newton_by_plan", true), r.add<transport_dense>("transport_newton_no_limit", true);
  r.add<transport_tokens>("transport_newton_token_choice_2", true),
      r.add<sinkhorn_clean>("sinkhorn_clean_token_choice_2");
  r.add<positive>("relu_positive"), r.add<hashed>("hashed"), r.add<fixed>("fixed"), r.add<mixture>("mixture");
  if (s.experts % 4 == 0) r.add<group_limited>("group_limited_2");  // four groups of experts
  r.add<strictly_balanced>("strictly_balanced"), r.add<assignment>("balanced_assignment_of_images");
  r.add<cosine>("cosine_2"), r.add<cosine_of_units>("cosine_2_without_projection");
  r.add<standardised>("standardised_2"), r.add<paper_b_gate>("paper_b_gate_2");
  r.add<loss_free>("sigmoid_loss_free_bias_2");
  r.add<slots_of_images>("soft_slots_with_mixing"), r.add<slots_of_batch>("soft_slots_of_batch_with_mixing");
  return r.done();
}

shape parse_row(const std::string& text) {
  shape s;
  long t = 0, e = 0;
  char rest = 0;
  const int got = std::sscanf(text.c_str(), "%ld,%ld%c", &t, &e, &rest);
  polymoe::require(got == 2 && t > 0 && e > 0, "--row wants T,E, it is ", text);
  s.tokens = t, s.experts = e;
  return s;
}

}  // namespace
}  // namespace router_bench

int main(int argc, char** argv) try {
  using namespace router_bench;
  options o;
  o.threads = polymoe::hardware_threads();
  std::vector<std::string> rows{"4096,32", "16384,8", "16384,32", "16384,128", "65536,32"}, only;
  std::string json, markdown;
  bool full = false;
  CLI::App app{"Times every router by itself on the CPU"};
  app.add_option("--row", rows, "T,E; may be given several times (default: five rows)");
  app.add_option("--only", only, "a router; may be given several times");
  app.add_option("--threads", o.threads, "threads")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--seconds", o.seconds, "time per case")->check(CLI::Range(0.0, 3600.0))->capture_default_str();
  app.add_option("--repeats", o.repeats, "least number of runs per case")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--group", o.group, "units that compete, 0: all of a call")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "seed of data and weights")->capture_default_str();
  app.add_option("--json", json, "file for the figures");
  app.add_option("--markdown", markdown, "page whose tables are replaced, such as docs/results/routers.md");
  app.add_flag("--full", full, "T 4096, 16384, 65536; E 8, 32, 128; nothing left out");
  CLI11_PARSE(app, argc, argv);
  o.all = full;
  if (full) {
    rows.clear();
    for (const int t : {4096, 16384, 65536})
      for (const int e : {8, 32, 128}) rows.push_back(std::to_string(t) + "," + std::to_string(e));
  }
  machine m;
  m.bandwidth = stream_bandwidth(o);
  std::vector<result> all;
  for (const std::string& row : rows) {
    all.push_back(run_row(parse_row(row), o, only));
    std::printf("%s\n", to_markdown({all.back()}, o, m).c_str());
    std::fflush(stdout);
    if (!json.empty()) {
      std::ofstream file(json);  // after every row, so that a broken run keeps what it has
      file << to_json(all, o, m) << "\n";
      polymoe::require(static_cast<bool>(file), "cannot write ", json);
    }
  }
  if (!markdown.empty()) write_page(markdown, to_markdown(all, o, m));
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "router_bench: %s\n", e.what());
  return 1;
}
