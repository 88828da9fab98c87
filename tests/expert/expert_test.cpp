// Expert modules on their own: runs of every length, experts without rows, several runs per expert, input in unit order
// or in slot order.  Forward, data gradient and weight gradient against plain loops; repeated calls add gradients.
// thread: yes
// with: maps
#include "support/moe_reference.hpp"

#include <polymoe/expert/gated_mlp.hpp>
#include <polymoe/expert/identity.hpp>

namespace moe_test {
namespace {

namespace act = polymoe::act;
namespace expert = polymoe::expert;
using polymoe::cpu;

/// An expert module with its runs, as `apply` uses it.
template <class Expert>
struct expert_case {
  using Module = typename Expert::template module<double, cpu>;
  struct module_with_work : Module {
    using scalar = double;
    using backend = cpu;
    struct saved {
      typename Module::saved expert;
      polymoe::expert_work work;
    };
    int experts = 0;
    index runs = 0;
    module_with_work(polymoe::expert_config c, index most_runs)
        : Module(c), experts(static_cast<int>(c.experts)), runs(most_runs) {}
    saved bind(polymoe::binder<cpu>& b, index rows) const {
      saved s;
      s.expert = Module::bind(b, rows);
      s.work.bind(b, experts, runs, rows);
      return s;
    }
  };
  polymoe::workspace<module_with_work> w;
  expert_case(polymoe::expert_config c, index runs, index rows, int threads)
      : w(module_with_work(c, runs), {.max_rows = rows, .threads = threads, .seed = 3}) {
    randomise_parameters(w, 5);
  }
};

double value(act::gelu_tanh, double x) { return reference::gelu_tanh(x); }
double value(act::gelu_erf, double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double value(act::relu, double x) { return x > 0 ? x : 0; }
double value(act::silu, double x) { return x / (1 + std::exp(-x)); }
template <class Act>
double slope(Act a, double x) {
  const double h = 1e-5;
  return (value(a, x + h) - value(a, x - h)) / (2 * h);
}

using lengths = std::vector<int>;

/// The module's runs, one after another in the rows of x and y; run i belongs to expert owner[i].  Returns all rows.
int lay_out(polymoe::expert_work& work, const std::vector<int>& owner, const lengths& rows) {
  work.clear();
  int at = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    work.add({owner[i], at, at, rows[i]});
    at += rows[i];
  }
  work.finish();
  return at;
}

/// Runs laid out one after another; run i belongs to expert owner[i].
template <class Act>
void check_mlp(int experts, const std::vector<int>& owner, const lengths& rows, int D, int H, int O, int threads) {
  int total = 0;
  for (const int n : rows) total += n;
  expert_case<expert::mlp<Act>> c({experts, D, H, O}, static_cast<index>(rows.size()), total, threads);
  auto& s = c.w.saved();
  tensor<double> x(total, D), y(total, O), dy(total, O), dx(total, D);
  x.randomise(11), dy.randomise(12);
  lay_out(s.work, owner, rows);
  const auto p = values_of(c.w);
  std::map<std::string, std::vector<double>> want;
  for (const auto& [name, v] : p) want[name].assign(v.size(), 0.0);
  matrix want_dx(static_cast<std::size_t>(total), std::vector<double>(static_cast<std::size_t>(D), 0.0));
  c.w.ctx().scratch = {};
  c.w.module().forward(c.w.ctx(), s.work, x.get(), y.get(), s.expert);
  int at = 0;
  double worst = 0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (int r = 0; r < rows[i]; ++r, ++at) {
      const std::string e = std::to_string(owner[i]) + ".";
      const auto &w1 = p.at(e + "fc1.weight"), &b1 = p.at(e + "fc1.bias"), &w2 = p.at(e + "fc2.weight"),
                 &b2 = p.at(e + "fc2.bias");
      auto &g1 = want[e + "fc1.weight"], &h1 = want[e + "fc1.bias"], &g2 = want[e + "fc2.weight"],
           &h2 = want[e + "fc2.bias"];
      std::vector<double> pre(static_cast<std::size_t>(H)), dh(static_cast<std::size_t>(H), 0.0);
      for (int h = 0; h < H; ++h) {
        pre[h] = b1[h];
        for (int j = 0; j < D; ++j) pre[h] += w1[h * D + j] * x.at(at, j);
      }
      for (int o = 0; o < O; ++o) {
        double out = b2[o];
        for (int h = 0; h < H; ++h) {
          out += w2[o * H + h] * value(Act{}, pre[h]);
          dh[h] += w2[o * H + h] * dy.at(at, o);
          g2[o * H + h] += dy.at(at, o) * value(Act{}, pre[h]);
        }
        h2[o] += dy.at(at, o);
        worst = std::max(worst, std::abs(out - y.at(at, o)));
      }
      for (int h = 0; h < H; ++h) {
        const double d = dh[h] * slope(Act{}, pre[h]);
        h1[h] += d;
        for (int j = 0; j < D; ++j) g1[h * D + j] += d * x.at(at, j), want_dx[at][j] += d * w1[h * D + j];
      }
    }
  CHECK(worst < 1e-11);
  c.w.module().backward(c.w.ctx(), s.work, dy.get(), dx.get(), s.expert, true);
  worst = 0;
  for (index t = 0; t < total; ++t)
    for (int j = 0; j < D; ++j) worst = std::max(worst, std::abs(dx.at(t, j) - want_dx[t][j]));
  CHECK(worst < 1e-8);
  const auto got = grads_of(c.w);
  for (const auto& [name, g] : want) CHECK_MESSAGE(norm_ratio(got.at(name), g) < 1e-7, name);
  // Experts without rows: exactly zero.
  for (int e = 0; e < experts; ++e)
    if (s.work.first_run[e] == s.work.first_run[e + 1])
      for (const char* n : {".fc1.weight", ".fc1.bias", ".fc2.weight", ".fc2.bias"})
        for (const double v : got.at(std::to_string(e) + n)) CHECK(v == 0);
}

/// The same for y = W_down (act(W_gate x + b) * (W_up x + b)) + b.
template <class Act, bool Bias>
void check_gated(int experts, const std::vector<int>& owner, const lengths& rows, int D, int H, int O, int threads) {
  int total = 0;
  for (const int n : rows) total += n;
  expert_case<expert::gated_mlp<Act, Bias>> c({experts, D, H, O}, static_cast<index>(rows.size()), total, threads);
  auto& s = c.w.saved();
  tensor<double> x(total, D), y(total, O), dy(total, O), dx(total, D);
  x.randomise(11), dy.randomise(12);
  lay_out(s.work, owner, rows);
  const auto p = values_of(c.w);
  named want;
  for (const auto& [name, v] : p) want[name].assign(v.size(), 0.0);
  std::vector<double> want_dx(static_cast<std::size_t>(total * D), 0.0), got_dx;
  c.w.module().forward(c.w.ctx(), s.work, x.get(), y.get(), s.expert);
  int at = 0;
  double worst = 0;
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (int r = 0; r < rows[i]; ++r, ++at) {
      const std::string e = std::to_string(owner[i]) + ".";
      const auto linear = [&](const char* map, int h, int n, const double* in) {
        double v = Bias ? p.at(e + map + ".bias")[static_cast<std::size_t>(h)] : 0;
        for (int j = 0; j < n; ++j) v += p.at(e + map + ".weight")[static_cast<std::size_t>(h * n + j)] * in[j];
        return v;
      };
      const auto grown = [&](const char* map, int h, int n, const double* in, double d) {
        if (Bias) want[e + map + ".bias"][static_cast<std::size_t>(h)] += d;
        for (int j = 0; j < n; ++j) want[e + map + ".weight"][static_cast<std::size_t>(h * n + j)] += d * in[j];
      };
      const double* in = &x.plane[0][static_cast<std::size_t>(at * D)];
      std::vector<double> hidden(static_cast<std::size_t>(H)), dh(hidden), gate(hidden), up(hidden);
      for (int h = 0; h < H; ++h) {
        gate[h] = linear("gate", h, D, in), up[h] = linear("up", h, D, in);
        hidden[h] = value(Act{}, gate[h]) * up[h], dh[h] = 0;
      }
      for (int o = 0; o < O; ++o) {
        worst = std::max(worst, std::abs(linear("down", o, H, hidden.data()) - y.at(at, o)));
        grown("down", o, H, hidden.data(), dy.at(at, o));
        for (int h = 0; h < H; ++h)
          dh[h] += p.at(e + "down.weight")[static_cast<std::size_t>(o * H + h)] * dy.at(at, o);
      }
      for (int h = 0; h < H; ++h) {
        const double d_gate = dh[h] * up[h] * slope(Act{}, gate[h]), d_up = dh[h] * value(Act{}, gate[h]);
        grown("gate", h, D, in, d_gate), grown("up", h, D, in, d_up);
        for (int j = 0; j < D; ++j)
          want_dx[static_cast<std::size_t>(at * D + j)] +=
              d_gate * p.at(e + "gate.weight")[static_cast<std::size_t>(h * D + j)] +
              d_up * p.at(e + "up.weight")[static_cast<std::size_t>(h * D + j)];
      }
    }
  CHECK(worst < 1e-11);
  for (int repeat = 1; repeat <= 2; ++repeat) {  // gradients of parameters are added to
    c.w.module().forward(c.w.ctx(), s.work, x.get(), y.get(), s.expert);
    c.w.module().backward(c.w.ctx(), s.work, dy.get(), dx.get(), s.expert, true);
    for (const auto& [name, g] : grads_of(c.w)) {
      auto times = want.at(name);
      for (double& v : times) v *= repeat;
      CHECK_MESSAGE(norm_ratio(g, times) < 1e-7, name);
    }
  }
  got_dx.assign(dx.plane[0].begin(), dx.plane[0].end());
  CHECK(norm_ratio(got_dx, want_dx) < 1e-7);
}

}  // namespace

TEST_CASE("a gated MLP per expert: with and without bias, several tiles, experts without rows, wide outputs") {
  check_gated<act::silu, false>(4, {0, 1, 3}, {255, 256, 257}, 3, 4, 2, 2);
  check_gated<act::gelu_erf, true>(3, {0, 0, 2}, {1, 513, 7}, 5, 3, 5, 3);
  check_gated<act::silu, true>(2, {1}, {19}, 4, 35, 3, 1);
  check_gated<act::relu, false>(2, {}, {}, 4, 3, 4, 2);
}

TEST_CASE("the cost of an expert is what its maps cost") {
  using mlp = expert::mlp<>::module<double, cpu>;
  using gated = expert::gated_mlp<act::silu, true>::module<double, cpu>;
  static_assert(mlp::count_one({8, 384, 1536, 10}) ==
                polymoe::cost::dense(384 * 1536 + 1536 + 1536 * 10 + 10, 384 * 1536 + 1536 * 10, 2 * 1536 + 10));
  static_assert(gated::count_one({8, 5, 7, 5}).macs == 3 * 35);
  static_assert(gated::count_one({8, 5, 7, 5}).params == 3 * 35 + 2 * 7 + 5);
  CHECK(refuses([] { expert_case<expert::mlp<>>({2, 3, 0, 3}, 1, 8, 1); }, {"expert mlp", "hidden is 0"}));
  CHECK(refuses([] { expert_case<expert::gated_mlp<>>({2, 3, -1, 3}, 1, 8, 1); }, {"gated_mlp", "hidden is -1"}));
}

TEST_CASE("an MLP per expert: run lengths around the tile, experts without rows, several runs per expert") {
  check_mlp<act::gelu_tanh>(4, {0, 1, 3}, {255, 256, 257}, 3, 4, 2, 2);
  check_mlp<act::gelu_erf>(3, {0, 0, 2, 2}, {1, 511, 513, 7}, 5, 3, 5, 1);
  check_mlp<act::relu>(5, {1}, {40}, 4, 6, 4, 2);
  check_mlp<act::silu>(2, {0, 1}, {16, 17}, 4, 6, 3, 3);
  check_mlp<act::gelu_tanh>(3, {}, {}, 4, 2, 4, 2);
}

TEST_CASE("runs that continue each other are merged, tiles cover every row once") {
  polymoe::binder<cpu> dry;
  polymoe::expert_work counted;
  counted.bind(dry, 4, 8, 2000);
  polymoe::aligned_block block(dry.saved.peak());
  polymoe::binder<cpu> real;
  real.saved = block.as_arena();
  polymoe::expert_work w;
  w.bind(real, 4, 8, 2000);
  for (int repeat = 0; repeat < 2; ++repeat) {
    w.clear();
    w.add({0, 0, 0, 100});
    w.add({0, 100, 100, 200});
    w.add({1, 300, 300, 0});
    w.add({2, 300, 300, 700});
    w.add({2, 1100, 1100, 1});
    w.finish();
    CHECK(w.run_count == 3);
    CHECK(w.runs[0].rows == 300);
    CHECK((w.first_run[0] == 0 && w.first_run[1] == 1 && w.first_run[2] == 1 && w.first_run[3] == 3 &&
           w.first_run[4] == 3));
    std::vector<int> seen(2000, 0);
    for (index i = 0; i < w.tile_count; ++i) {
      CHECK((w.tiles[i].rows >= 1 && w.tiles[i].rows <= 256));
      for (index r = 0; r < w.tiles[i].rows; ++r) ++seen[static_cast<std::size_t>(w.tiles[i].y_row + r)];
    }
    for (int r = 0; r < 2000; ++r) CHECK(seen[static_cast<std::size_t>(r)] == (r < 1000 || r == 1100));
    CHECK(w.tile_count <= w.max_tiles);
  }
}

TEST_CASE("identity experts copy") {
  expert_case<expert::identity> c({2, 3, 0, 3}, 2, 300, 2);
  auto& s = c.w.saved();
  tensor<double> x(300, 3), y(300, 3), dx(300, 3);
  x.randomise(1);
  s.work.clear();
  s.work.add({0, 0, 0, 260}), s.work.add({1, 260, 260, 40});
  s.work.finish();
  c.w.module().forward(c.w.ctx(), s.work, x.get(), y.get(), s.expert);
  CHECK(y.same_bits(x));
  c.w.module().backward(c.w.ctx(), s.work, x.get(), dx.get(), s.expert, true);
  CHECK(dx.same_bits(x));
  CHECK(refuses([] { expert_case<expert::identity> wrong({2, 3, 0, 4}, 2, 10, 1); }, {"3", "4"}));
}

TEST_CASE("parameter names and shapes of the experts") {
  expert_case<expert::mlp<>> m({2, 3, 4, 5}, 1, 8, 1);
  CHECK(values_of(m.w).at("1.fc1.weight").size() == 12);
  CHECK(values_of(m.w).at("1.fc2.weight").size() == 20);
  CHECK(values_of(m.w).at("0.fc1.bias").size() == 4);
  CHECK(values_of(m.w).at("0.fc2.bias").size() == 5);
  expert_case<expert::gated_mlp<>> g({2, 3, 4, 3}, 1, 8, 1);
  CHECK(values_of(g.w).at("1.gate.weight").size() == 12);
  CHECK(values_of(g.w).at("1.up.weight").size() == 12);
  CHECK(values_of(g.w).at("1.down.weight").size() == 12);
  CHECK(values_of(g.w).count("1.up.bias") == 0);
}

}  // namespace moe_test
