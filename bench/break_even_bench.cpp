// When is sparse faster than dense?  One sparse layer beside three dense ways to spend the same weights or FLOPs, over
// the number of units T.
//
//   sparse   layer<top_k<K, softmax>, unlimited, mlp>: E experts of hidden width H, K of them for a unit
//   total    nn::mlp_block of hidden width E H: the same parameters, E / K times the FLOPs
//   active   nn::mlp_block of hidden width K H: the same FLOPs, K / E of the parameters
//   soft     layer<mixture<softmax>, mlp>: every expert for every unit, weighted
//
// --head takes classifier heads instead (paper B: --head --row 512,64,8,2 --classes 10): experts D-H-classes against
// linear, ReLU, linear of hidden width E H and K H.
//
// For each alternative the table has its time over that of the sparse layer: above 1 sparse is faster.  The break-even
// point is the least T from which on that holds, by interpolation over log T between the measured ones.  Beside it the
// point that a model gives, fitted to the same times by least squares of the relative error:
//
//   t_sparse = s0 + s1 T + s2 A(T)      A(T) = E (1 - (1 - K / E)^T): experts with a unit, whose weights are read
//   t_dense  = d0 + d1 T
//
// Cases of one T take turns, as in layer_bench.cpp; times are medians.
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <polymoe/analysis/break_even.hpp>
#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/nn/sequential.hpp>
#include <polymoe/train/file.hpp>
#include <polymoe/train/json.hpp>

#include "layer_parts.hpp"

namespace layer_bench {
namespace {

namespace nn = polymoe::nn;
namespace act = polymoe::act;
namespace analysis = polymoe::analysis;

struct sizes {
  index dim = 0, hidden = 0, experts = 0, classes = 0;
  int k = 0;
};

template <class T, class Router>
struct block_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
};
template <class T, class Router>
struct head_spec : polymoe::spec {
  using scalar = T;
  using router = Router;
  using expert = polymoe::expert::head<act::relu>;
};
template <class T>
using dense_head = nn::sequential<nn::linear<T>, nn::activation<act::relu, T>, nn::linear<T>>;

/// One alternative: its time for a forward (inference) or for forward and backward (training).
class alternative {
 public:
  virtual ~alternative() = default;
  virtual void run(const std::string& name, bool training, samples& out) = 0;
};
template <class Module>
class alternative_of : public alternative {
 public:
  alternative_of(Module m, index rows, const settings& o)
      : w_(std::move(m), {.max_rows = rows, .threads = o.threads, .seed = o.seed}),
        x_(rows, w_.module().in_cols(), "x", o),
        dy_(rows, w_.module().out_cols(), "dy", o),
        y_(rows, w_.module().out_cols(), "", o, false),
        dx_(rows, w_.module().in_cols(), "", o, false) {}
  void run(const std::string& name, bool training, samples& out) override {
    w_.ctx().mode = training ? polymoe::run_mode::train : polymoe::run_mode::eval;
    lap_clock lap;
    w_.forward(x_.v, y_.v);
    if (training) w_.backward(dy_.v, dx_.v);
    out.add(name, lap());
    require_finite(name.c_str(), y_.v.rows_at(0, 1));
  }

 private:
  using T = typename Module::scalar;
  polymoe::workspace<Module> w_;
  tensor<T> x_, dy_, y_, dx_;
};
template <class Module>
std::unique_ptr<alternative> make(Module m, index rows, const settings& o) {
  return std::make_unique<alternative_of<Module>>(std::move(m), rows, o);
}
template <class Spec>
std::unique_ptr<alternative> make_layer(const sizes& z, index rows, const settings& o) {
  typename polymoe::layer<Spec, cpu>::config c;
  c.dim = z.dim, c.hidden = z.hidden, c.experts = z.experts;
  if constexpr (Spec::expert::head_of_classes) c.classes = z.classes;
  return make(polymoe::layer<Spec, cpu>(c), rows, o);
}

constexpr std::array<const char*, 4> names{"sparse", "total", "active", "soft"};

template <class T, int K, template <class, class> class Spec>
std::array<std::unique_ptr<alternative>, 4> alternatives(const sizes& z, index rows, const settings& o) {
  const auto dense = [&](index hidden) {
    if (z.classes > 0) return make(dense_head<T>({{{z.dim, hidden}, {hidden}, {hidden, z.classes}}}), rows, o);
    return make(nn::mlp_block<T>({z.dim, hidden}), rows, o);
  };
  return {make_layer<Spec<T, polymoe::top_k<K>>>(z, rows, o), dense(z.experts * z.hidden), dense(K * z.hidden),
          make_layer<Spec<T, polymoe::mixture<>>>(z, rows, o)};
}
template <class T>
std::array<std::unique_ptr<alternative>, 4> alternatives(const sizes& z, index rows, const settings& o) {
  if (z.classes > 0)
    return z.k == 1 ? alternatives<T, 1, head_spec>(z, rows, o) : alternatives<T, 2, head_spec>(z, rows, o);
  return z.k == 1 ? alternatives<T, 1, block_spec>(z, rows, o) : alternatives<T, 2, block_spec>(z, rows, o);
}

// ---- the model ------------------------------------------------------------------------------------------------------

/// s0 + s1 T + s2 A(T); dense alternatives have no third term.
struct model {
  analysis::time_model<3> of{};
  static std::array<double, 3> terms(const sizes& z, double units) {
    return {1, units, analysis::experts_met(static_cast<double>(z.experts), z.k, units)};
  }
  double at(const sizes& z, double units) const { return of(terms(z, units)); }
};
model fit(const sizes& z, const std::vector<double>& units, const std::vector<double>& ms, bool sparse) {
  if (sparse) {
    std::vector<std::array<double, 3>> x;
    for (const double t : units) x.push_back(model::terms(z, t));
    return {analysis::fit_times<3>(x, ms)};
  }
  std::vector<std::array<double, 2>> x;
  for (const double t : units) x.push_back({1, t});
  const auto m = analysis::fit_times<2>(x, ms);
  return {{.c = {m.c[0], m.c[1], 0}, .worst = m.worst}};
}

// ---- rows -----------------------------------------------------------------------------------------------------------

struct result {
  sizes shape;
  std::string dtype, mode;
  std::vector<double> units;
  std::array<std::vector<double>, 4> ms;
  double measured[4] = {}, modelled[4] = {};  ///< break-even T against each dense alternative
  model models[4];
};

result run_row(const sizes& z, const std::string& dtype, bool training, const std::vector<long>& units,
               const settings& o) {
  result r;
  r.shape = z, r.dtype = dtype, r.mode = training ? "training" : "inference";
  std::printf("\nD %ld  H %ld  E %ld  K %d%s  %s  %s  %d threads\n", long{z.dim}, long{z.hidden}, long{z.experts}, z.k,
              z.classes ? (", head of " + std::to_string(z.classes) + " classes").c_str() : "", dtype.c_str(),
              r.mode.c_str(), o.threads);
  std::printf("%8s %12s %12s %12s %12s %9s %9s %9s\n", "T", "sparse ms", "total ms", "active ms", "soft ms", "total/s",
              "active/s", "soft/s");
  for (const long t : units) {
    auto all = dtype == "bf16" ? alternatives<bf16>(z, t, o) : alternatives<float>(z, t, o);
    std::vector<timed_case> cases;
    for (std::size_t i = 0; i < all.size(); ++i)
      cases.push_back([&, i](samples& out) { all[i]->run(names[i], training, out); });
    samples s;
    take_turns(cases, o, s);
    r.units.push_back(static_cast<double>(t));
    for (std::size_t i = 0; i < 4; ++i) r.ms[i].push_back(s[names[i]]);
    const auto ms = [&](std::size_t i) { return r.ms[i].back(); };
    std::printf("%8ld %12.4f %12.4f %12.4f %12.4f %9.2f %9.2f %9.2f\n", t, ms(0), ms(1), ms(2), ms(3), ms(1) / ms(0),
                ms(2) / ms(0), ms(3) / ms(0));
    std::fflush(stdout);
  }
  r.models[0] = fit(z, r.units, r.ms[0], true);
  for (std::size_t i = 1; i < 4; ++i) {
    r.models[i] = fit(z, r.units, r.ms[i], false);
    std::vector<double> ratio;
    for (std::size_t k = 0; k < r.units.size(); ++k) ratio.push_back(r.ms[i][k] / r.ms[0][k]);
    r.measured[i] = analysis::break_even(r.units, ratio);
    r.modelled[i] = analysis::break_even(r.units.front(), r.units.back(),
                                         [&](double t) { return r.models[i].at(z, t) / r.models[0].at(z, t); });
    const auto text = [&](double at) { return analysis::break_even_text(at, r.units.front(), r.units.back()); };
    std::printf("  sparse is faster than %-7s for T: measured %s, modelled %s\n", names[i], text(r.measured[i]).c_str(),
                text(r.modelled[i]).c_str());
  }
  const auto &sparse = r.models[0].of, &total = r.models[1].of;
  std::printf("  model: sparse %.3g + %.3g T + %.3g A(T) us (worst %.0f %%); total %.3g + %.3g T us (worst %.0f %%)\n",
              1e3 * sparse.c[0], 1e3 * sparse.c[1], 1e3 * sparse.c[2], 100 * sparse.worst, 1e3 * total.c[0],
              1e3 * total.c[1], 100 * total.worst);
  return r;
}

std::string to_json(const std::vector<result>& all, const settings& o) {
  polymoe::json_writer w;
  w.begin_object().field("threads", o.threads).field("isa", maths::isa_name()).field("compiler", __VERSION__);
  w.key("rows").begin_array();
  for (const result& r : all) {
    w.begin_object().field("D", r.shape.dim).field("H", r.shape.hidden).field("E", r.shape.experts);
    w.field("K", r.shape.k).field("classes", r.shape.classes).field("dtype", r.dtype).field("mode", r.mode);
    const auto list = [&](const char* name, const std::vector<double>& v) {
      w.key(name).begin_array();
      for (const double x : v) w.value(x);
      w.end_array();
    };
    list("T", r.units);
    for (std::size_t i = 0; i < 4; ++i) list(names[i], r.ms[i]);
    // A point that is never reached is written as -1.
    const auto point = [](double t) { return t == HUGE_VAL ? -1.0 : t; };
    for (std::size_t i = 1; i < 4; ++i)
      w.field(std::string("break_even_") + names[i], point(r.measured[i]))
          .field(std::string("modelled_") + names[i], point(r.modelled[i]));
    w.end_object();
  }
  w.end_array().end_object();
  return w.str();
}

sizes parse(const std::string& text, index classes) {
  sizes z;
  long d = 0, h = 0, e = 0;
  char rest = 0;
  const int got = std::sscanf(text.c_str(), "%ld,%ld,%ld,%d%c", &d, &h, &e, &z.k, &rest);
  polymoe::require(got == 4 && d > 0 && h > 0 && e > 0 && (z.k == 1 || z.k == 2) && z.k <= e,
                   "--row wants D,H,E,K with K 1 or 2 and at most E, it is ", text);
  z.dim = d, z.hidden = h, z.experts = e, z.classes = classes;
  return z;
}

}  // namespace
}  // namespace layer_bench

int main(int argc, char** argv) try {
  using namespace layer_bench;
  settings o;
  o.threads = polymoe::hardware_threads(), o.seconds = 0.15, o.repeats = 7;
  std::vector<std::string> rows{"384,1536,8,1", "384,1536,8,2", "384,384,32,2"}, dtypes{"fp32", "bf16"},
      modes{"inference", "training"};
  std::vector<long> units{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
  long classes = 10;
  bool head = false;
  std::string json;
  CLI::App app("When is a sparse layer faster than a dense one?");
  app.add_option("--row", rows, "D,H,E,K; may be given several times");
  app.add_option("--dtype", dtypes, "fp32 and bf16")->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--mode", modes, "inference (forward) and training (forward and backward)")
      ->check(CLI::IsMember({"inference", "training"}));
  app.add_option("--units", units, "numbers of units T, rising")->check(CLI::PositiveNumber)->delimiter(',');
  app.add_flag("--head", head, "experts are classifier heads D-H-classes");
  app.add_option("--classes", classes, "of --head")->check(CLI::PositiveNumber);
  app.add_option("--threads", o.threads, "threads")->check(CLI::PositiveNumber);
  app.add_option("--seconds", o.seconds, "least time for each case of a row");
  app.add_option("--json", json, "write the results here");
  CLI11_PARSE(app, argc, argv);
  polymoe::require(units.size() >= 4 && std::is_sorted(units.begin(), units.end()),
                   "--units wants at least 4 rising numbers, it got ", units.size());
  std::vector<result> all;
  for (const std::string& row : rows)
    for (const std::string& dtype : dtypes)
      for (const std::string& mode : modes)
        all.push_back(run_row(parse(row, head ? classes : 0), dtype, mode == "training", units, o));
  if (!json.empty()) polymoe::write_text(json, to_json(all, o) + "\n");
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "break_even_bench: %s\n", e.what());
  return 1;
}
