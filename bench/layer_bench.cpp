// What one Mixture-of-Experts layer costs on the CPU, beside what it could cost.
//
//   layer      forward and backward of layer<top_k<K, softmax>, unlimited, mlp<gelu_tanh>, affinity>
//   stages     the same work called stage by stage: router, gather, experts, combine, and back
//   ceilings   the matrix products of a pass alone: same library, tiles and expert segments, nothing else
//   dense      nn::mlp_block with hidden K * H: equal active FLOPs, no routing
//   loop       one expert after the other: gather, product, activation, product, scatter-add, with the same products
//   dual       the layer over dual<float>, forward and backward: one Hessian-vector product (fp32, K = 2)
//
// Cases of a row take turns, one run each, until every one has its repeats and the time is used, so that ratios compare
// medians of the same stretch of time.  Data are random; FLOPs count 4 T K D H for a forward, three times that for both
// passes, without the router.  bench/README.md explains the output.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/train/json.hpp>

#include "layer_parts.hpp"

namespace layer_bench {
namespace {

// ---- one row --------------------------------------------------------------------------------------------------------

template <class T, int K>
using bench_layer = polymoe::layer<bench_spec<T, K>, cpu>;

template <class T, int K>
typename bench_layer<T, K>::config config_of(const row_shape& r) {
  typename bench_layer<T, K>::config c;
  c.dim = r.dim, c.hidden = r.hidden, c.experts = r.experts;
  return c;
}

struct result {
  row_shape shape;
  std::string dtype;
  double load_ratio = 0;  ///< slots of the fullest expert over the mean
  samples ms;
};

/// Everything about one row except the layer and its stages: what does not depend on K at compile time.
template <class T>
struct surroundings {
  using C = compute_t<T>;
  using plan = polymoe::sparse_plan<C>;
  surroundings(const row_shape& r, const polymoe::expert_work* work, const settings& o)
      : shape(r),
        slots(r.tokens * r.k),
        stage(expert_stage<T>(r, work), {slots, o.threads, o.seed}),
        loop(expert_loop<T>(r), {slots, o.threads, o.seed}),
        top(r, o),
        dense(polymoe::nn::mlp_block<T>({r.dim, r.k * r.hidden}), r.tokens, o),
        d_out(slots, r.dim, "", o, false),
        d_slots(slots, r.dim, "", o, false) {}
  row_shape shape;
  index slots;
  polymoe::workspace<expert_stage<T>> stage;
  polymoe::workspace<expert_loop<T>> loop;
  ceiling<T> top;
  bench_module<polymoe::nn::mlp_block<T>> dense;
  tensor<T> d_out, d_slots;
};

template <class T, int K>
result run_row(const row_shape& r, const char* dtype, const settings& o) {
  using layer = bench_layer<T, K>;
  result out{r, dtype, 0, {}};
  bench_module<layer> moe(layer(config_of<T, K>(r)), r.tokens, o);
  auto& memory = moe.w.saved();
  auto& routing = memory.routing;
  auto& work = memory.apply.work;
  samples ignored;
  moe.run("layer", ignored);  // makes the plan and its tiles, which the other cases use
  std::vector<timed_case> cases;

  std::unique_ptr<surroundings<T>> s;
  // Compiled for K = 2 only, to keep the compile time of this program down.
  constexpr bool has_dual = std::is_same_v<T, float> && K == 2;
  using dual_layer = bench_layer<std::conditional_t<has_dual, dual<float>, T>, K>;
  std::unique_ptr<bench_module<dual_layer>> second;
  if (o.parts) {
    s = std::make_unique<surroundings<T>>(r, &work, o);
    // The loop comes first, because weight gradients and ceilings work on its buffers; other cases stand between them,
    // so that none finds its operands in cache.
    cases.push_back([&](samples& ms) {
      const auto& router = moe.w.module().router();
      auto& c = s->loop.ctx();
      lap_clock lap;
      router.forward(moe.w.ctx(), moe.x.v, routing);
      s->loop.module().forward(c, routing.plan, moe.x.v, moe.y.v, s->loop.saved());
      const double f = lap();
      router.open_backward(moe.w.ctx(), routing);
      s->loop.module().backward(c, routing.plan, work, moe.dy.v, routing.d_gate, moe.dx.v, s->loop.saved());
      router.backward(moe.w.ctx(), moe.dx.v, routing, true);
      const double b = lap();
      ms.add("loop.forward", f), ms.add("loop.backward", b), ms.add("loop.both", f + b);
    });
  }
  cases.push_back([&](samples& ms) { moe.run("layer", ms); });
  if (o.parts) {
    cases.push_back([&](samples& ms) {
      lap_clock lap;
      s->loop.module().weight_gradients(s->loop.ctx(), work, s->loop.saved()), ms.add("weight_gradient", lap());
    });
    cases.push_back([&](samples& ms) {
      const auto& router = moe.w.module().router();
      auto& c = moe.w.ctx();
      const auto& p = routing.plan;
      lap_clock lap;
      router.forward(c, moe.x.v, routing), ms.add("stage.router", lap());
      polymoe::backend::gather<T>(c, p, moe.x.v, 1, memory.apply.gathered), ms.add("stage.gather", lap());
      s->stage.forward(memory.apply.gathered, memory.apply.out), ms.add("stage.experts", lap());
      polymoe::backend::combine_slots<T>(c, p, memory.apply.out, moe.x.v, 1, moe.y.v), ms.add("stage.combine", lap());
      router.open_backward(c, routing);
      polymoe::backend::combine_backward<T>(c, p, moe.dy.v, memory.apply.out, moe.x.v, 1, s->d_out.v, routing.d_gate,
                                   routing.d_skip);
      ms.add("stage.combine_backward", lap());
      s->stage.backward(s->d_out.v, s->d_slots.v), ms.add("stage.experts_backward", lap());
      polymoe::backend::gather_backward<T>(c, p, s->d_slots.v, moe.dy.v, 1, moe.dx.v),
          ms.add("stage.gather_backward", lap());
      router.backward(c, moe.dx.v, routing, true), ms.add("stage.router_backward", lap());
    });
    cases.push_back([&](samples& ms) {
      auto& b = s->loop.saved();
      lap_clock lap;
      s->loop.module().activations(s->loop.ctx(), work, b), ms.add("activation.forward", lap());
      s->loop.module().activations_backward(s->loop.ctx(), work, b), ms.add("activation.backward", lap());
    });
    cases.push_back([&](samples& ms) { s->dense.run("dense", ms); });
    cases.push_back([&](samples& ms) {
      auto& b = s->loop.saved();
      lap_clock lap;
      s->top.forward(work, b), ms.add("ceiling.forward", lap());
      s->top.data_gradient(work, b), ms.add("ceiling.data_gradient", lap());
      s->top.weight_gradient(work, b), ms.add("ceiling.weight_gradient", lap());
    });
    if constexpr (has_dual)
      if (o.dual) {
        second = std::make_unique<bench_module<dual_layer>>(dual_layer(config_of<dual<float>, K>(r)), r.tokens, o);
        cases.push_back([&](samples& ms) { second->run("dual", ms); });
      }
  }
  take_turns(cases, o, out.ms);
  for (int e = 0; e < r.experts; ++e)
    out.load_ratio = std::max(out.load_ratio, static_cast<double>(routing.plan.count[e]) *
                                                  static_cast<double>(r.experts) / static_cast<double>(r.tokens * K));
  moe.run("layer", ignored);  // other cases wrote over y and dx
  moe.check("layer");
  if (s) s->dense.check("dense");
  if (second) second->check("dual layer");
  return out;
}

// ---- output ---------------------------------------------------------------------------------------------------------

double flops(const row_shape& r) { return 4.0 * static_cast<double>(r.tokens * r.k * r.dim * r.hidden); }
double gflops(double flop, double ms) { return flop / ms * 1e-6; }

/// Figures that are computed from the times; peers are given as their time over ours.
std::vector<std::pair<std::string, double>> derive(const result& x) {
  const samples& m = x.ms;
  const double f = flops(x.shape);
  std::vector<std::pair<std::string, double>> d{{"gflops.forward", gflops(f, m["layer.forward"])},
                                                {"gflops.both", gflops(3 * f, m["layer.both"])}};
  if (!m.has("ceiling.forward")) return d;
  const double moving = m["stage.router"] + m["stage.gather"] + m["stage.combine"], weight = m["weight_gradient"];
  // The products' own time in a pass: the experts' time less what the activations take alone.
  const auto pass = [&](const std::string& name, double layer_ms, double expert_ms, double other_ms) {
    const double top = m["ceiling." + name];
    d.insert(d.end(), {{"ms.layer." + name, layer_ms},
                       {"ms.experts." + name, expert_ms},
                       {"gflops.layer." + name, gflops(f, layer_ms)},
                       {"gflops.experts." + name, gflops(f, expert_ms)},
                       {"gflops.ceiling." + name, gflops(f, top)},
                       {"of_ceiling.layer." + name, top / layer_ms},
                       {"of_ceiling.experts." + name, top / expert_ms},
                       {"of_ceiling.products." + name, top / (expert_ms - other_ms)}});
  };
  pass("forward", m["layer.forward"], m["stage.experts"], m["activation.forward"]);
  pass("data_gradient", m["layer.backward"] - weight, m["stage.experts_backward"] - weight, m["activation.backward"]);
  pass("weight_gradient", weight, weight, 0);
  d.insert(d.end(), {{"routing_share", moving / (moving + m["stage.experts"])},
                     {"stages_over_layer", (moving + m["stage.experts"]) / m["layer.forward"]}});
  for (const char* peer : {"dense", "loop"})
    for (const char* part : {"forward", "both"})
      d.emplace_back(std::string(peer) + "_over_ours." + part,
                     m[std::string(peer) + "." + part] / m[std::string("layer.") + part]);
  if (m.has("dual.both")) d.emplace_back("hvp_over_gradient", m["dual.both"] / m["layer.both"]);
  return d;
}

void print(const result& x, const settings& o) {
  const row_shape& r = x.shape;
  const samples& m = x.ms;
  std::map<std::string, double> d;
  for (const auto& [name, value] : derive(x)) d[name] = value;
  std::printf("\nT %ld  D %ld  H %ld  E %ld  K %d  %s  %d threads  fullest expert %.2f of the mean\n", long{r.tokens},
              long{r.dim}, long{r.hidden}, long{r.experts}, r.k, x.dtype.c_str(), o.threads, x.load_ratio);
  const auto timed = [&](const char* label, const std::string& name, double flop, double peer) {
    const figure t = m.of(name);
    std::printf("  %-26s %10.3f ms  (least %10.3f, %zu runs)", label, t.median, t.least, t.count);
    if (flop > 0) std::printf("  %8.1f GFLOP/s", gflops(flop, t.median));
    if (peer > 0) std::printf("  %5.2f of the layer's time", peer);
    std::printf("\n");
  };
  const double f = flops(r);
  timed("layer forward", "layer.forward", f, 0), timed("layer backward", "layer.backward", 2 * f, 0);
  timed("layer both", "layer.both", 3 * f, 0);
  if (m.has("ceiling.forward")) {
    timed("dense MLP forward", "dense.forward", f, d["dense_over_ours.forward"]);
    timed("dense MLP both", "dense.both", 3 * f, d["dense_over_ours.both"]);
    timed("loop over experts forward", "loop.forward", f, d["loop_over_ours.forward"]);
    timed("loop over experts both", "loop.both", 3 * f, d["loop_over_ours.both"]);
    if (m.has("dual.both")) timed("Hessian-vector product", "dual.both", 0, d["hvp_over_gradient"]);
    timed("  activations alone", "activation.forward", 0, 0);
    for (const char* name : {"router", "gather", "experts", "combine", "combine_backward", "experts_backward",
                             "gather_backward", "router_backward"})
      timed((std::string("  stage ") + name).c_str(), std::string("stage.") + name, 0, 0);
    std::printf("  router + gather + combine: %.1f %% of forward (stages add up to %.2f of the layer)\n",
                100 * d["routing_share"], d["stages_over_layer"]);
    std::printf("  GFLOP/s               layer  experts  ceiling   layer/ceiling  experts/ceiling  products/ceiling\n");
    for (const std::string pass : {"forward", "data_gradient", "weight_gradient"})
      std::printf("    %-16s %8.1f %8.1f %8.1f %15.3f %16.3f %17.3f\n", pass.c_str(), d["gflops.layer." + pass],
                  d["gflops.experts." + pass], d["gflops.ceiling." + pass], d["of_ceiling.layer." + pass],
                  d["of_ceiling.experts." + pass], d["of_ceiling.products." + pass]);
  }
  std::fflush(stdout);
}

std::string to_json(const std::vector<result>& all, const settings& o) {
  polymoe::json_writer w;
  w.begin_object().field("threads", o.threads).field("isa", maths::isa_name()).field("compiler", __VERSION__);
  w.field("maths_fp32", maths::resolved<float>::name)
      .field("maths_bf16", maths::resolved<bf16>::name)
      .key("rows")
      .begin_array();
  for (const result& x : all) {
    const row_shape& r = x.shape;
    w.begin_object().field("T", r.tokens).field("D", r.dim).field("H", r.hidden).field("E", r.experts).field("K", r.k);
    w.field("dtype", x.dtype)
        .field("load_ratio", x.load_ratio)
        .field("flops_forward", flops(r))
        .key("ms")
        .begin_object();
    for (const auto& entry : x.ms.all()) {
      const figure t = x.ms.of(entry.first);
      w.key(entry.first)
          .begin_object()
          .field("median", t.median)
          .field("least", t.least)
          .field("runs", t.count)
          .end_object();
    }
    w.end_object().key("derived").begin_object();
    for (const auto& [name, value] : derive(x)) w.field(name, value);
    w.end_object().end_object();
  }
  w.end_array().end_object();
  return w.str();
}

row_shape parse_row(const std::string& text) {
  row_shape r;
  long t = 0, d = 0, h = 0, e = 0;
  char rest = 0;
  const int got = std::sscanf(text.c_str(), "%ld,%ld,%ld,%ld,%d%c", &t, &d, &h, &e, &r.k, &rest);
  polymoe::require(got == 5, "--row wants T,D,H,E,K, it is ", text);
  polymoe::require(t > 0 && d > 0 && h > 0 && e > 0 && (r.k == 1 || r.k == 2), "--row ", text,
                   ": sizes must be positive and K 1 or 2");
  r.tokens = t, r.dim = d, r.hidden = h, r.experts = e;
  return r;
}

std::vector<std::string> all_rows() {
  std::vector<std::string> rows;
  for (int t : {256, 2048, 16384})
    for (int d : {192, 384})
      for (int h : {1, 4})
        for (int e : {8, 32})
          for (int k : {1, 2})
            rows.push_back(std::to_string(t) + "," + std::to_string(d) + "," + std::to_string(d * h) + "," +
                           std::to_string(e) + "," + std::to_string(k));
  return rows;
}

result run_any(const row_shape& r, const std::string& dtype, const settings& o) {
  if (dtype == "fp32") return r.k == 1 ? run_row<float, 1>(r, "fp32", o) : run_row<float, 2>(r, "fp32", o);
  return r.k == 1 ? run_row<bf16, 1>(r, "bf16", o) : run_row<bf16, 2>(r, "bf16", o);
}

}  // namespace
}  // namespace layer_bench

int main(int argc, char** argv) try {
  using namespace layer_bench;
  settings o;
  o.threads = polymoe::hardware_threads();
  std::vector<std::string> rows{"256,192,768,8,2", "2048,384,1536,8,2", "16384,192,768,8,2", "16384,384,1536,8,1",
                                "16384,384,384,32,2"};
  std::vector<std::string> dtypes{"fp32", "bf16"};
  std::string json;
  bool full = false, layer_only = false, no_hvp = false;
  CLI::App app{"Times one Mixture-of-Experts layer on the CPU, its stages, ceilings and peers"};
  app.add_option("--row", rows, "T,D,H,E,K; may be given several times (default: five rows)");
  app.add_option("--dtype", dtypes, "fp32, bf16 or both")->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--threads", o.threads, "threads")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--seconds", o.seconds, "time per case")->check(CLI::Range(0.0, 3600.0))->capture_default_str();
  app.add_option("--repeats", o.repeats, "least number of runs per case")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "seed of data and weights")->capture_default_str();
  app.add_option("--json", json, "file for the figures");
  app.add_flag("--layer-only", layer_only, "leave out stages, ceilings, peers and the Hessian-vector product");
  app.add_flag("--no-hvp", no_hvp, "leave out the Hessian-vector product");
  app.add_flag("--full", full, "T 256, 2048, 16384; D 192, 384; H D, 4D; E 8, 32; K 1, 2");
  CLI11_PARSE(app, argc, argv);
  o.parts = !layer_only, o.dual = !no_hvp;
  if (full) rows = all_rows();
  std::vector<result> all;
  for (const std::string& row : rows)
    for (const std::string& dtype : dtypes) {
      all.push_back(run_any(parse_row(row), dtype, o));
      print(all.back(), o);
      if (json.empty()) continue;
      std::ofstream file(json);  // after every row, so that a broken run keeps what it has
      file << to_json(all, o) << "\n";
      polymoe::require(static_cast<bool>(file), "cannot write ", json);
    }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "layer_bench: %s\n", e.what());
  return 1;
}
