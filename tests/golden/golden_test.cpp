// Layers, a vision transformer and optimisers against PyTorch in float64: the golden files that generate.py wrote.
//
// Inputs and parameters come from their names on both sides, exact in float64.  A file holds scalars, choices, and of
// each tensor its size, its norm, two sums under pseudo-random signs and six elements; all have to agree to 1e-10 of
// the tensor's norm, and every line of a file has to be used.
// specs: mixtures token_choice
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <polymoe/nn/cross_entropy.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/specs.hpp>
#include <polymoe/train/optimizer.hpp>

#ifndef POLYMOE_SOURCE_DIR
#define POLYMOE_SOURCE_DIR "."
#endif

namespace polymoe {
namespace {

constexpr double tolerance = 1e-10;

// ---- numbers both sides can make ------------------------------------------------------------------------------------

/// FNV-1a.
std::uint64_t name_hash(const std::string& name) {
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return h;
}
/// The splitmix64 finaliser of hash + (i + 1) * golden ratio.
std::uint64_t hashed(std::uint64_t hash, index i) {
  std::uint64_t z = hash + static_cast<std::uint64_t>(i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
/// offset + scale * u, u in [-1, 1) a multiple of 2^-23.
void numbers(const std::string& name, double* out, index n, double scale, double offset = 0) {
  const std::uint64_t h = name_hash(name);
  for (index i = 0; i < n; ++i) out[i] = offset + scale * (static_cast<double>(hashed(h, i) >> 40) / 8388608.0 - 1.0);
}
std::vector<double> numbers(const std::string& name, index n, double scale) {
  std::vector<double> v(static_cast<std::size_t>(n));
  numbers(name, v.data(), n, scale);
  return v;
}
/// Overwrites the parameters with those of the case.
template <class Workspace>
void fill_parameters(Workspace& w, const std::string& name_of_case) {
  for (const param_entry& e : w.entries()) {
    const bool bias = e.name.size() >= 4 && e.name.compare(e.name.size() - 4, 4, "bias") == 0;
    const bool norm = e.name.find("norm") != std::string::npos, router = e.name.find("router") != std::string::npos;
    const double scale = bias || norm ? 0.25 : (router ? 1.0 : 0.5);
    numbers(name_of_case + "/" + e.name, w.values().ptr[0] + e.offset, e.size, scale, norm && !bias ? 1.0 : 0.0);
  }
  w.refresh();
}

// ---- golden files ---------------------------------------------------------------------------------------------------

class golden {
 public:
  explicit golden(const std::string& name) {
    const std::string path = std::string(POLYMOE_SOURCE_DIR) + "/tests/golden/" + name + ".txt";
    std::ifstream in(path);
    REQUIRE_MESSAGE(in.good(), "cannot read ", path);
    for (std::string line, key, word; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      std::istringstream words(line);
      words >> key;
      auto& values = lines_[key];
      REQUIRE_MESSAGE(values.empty(), path, " has ", key, " twice");
      while (words >> word) values.push_back(std::strtod(word.c_str(), nullptr));
    }
  }
  /// Numbers that were stored as they are.
  const std::vector<double>& values(const std::string& key, std::size_t n) {
    const auto it = lines_.find(key);
    REQUIRE_MESSAGE(it != lines_.end(), "no golden ", key);
    REQUIRE_MESSAGE(it->second.size() == n, "golden ", key, " has ", it->second.size(), " numbers, not ", n);
    used_.insert(key);
    return it->second;
  }
  void check(const std::string& key, double got) {
    const double want = values(key, 1)[0];
    CHECK_MESSAGE(std::abs(got - want) <= tolerance * std::abs(want), key, ": ", got, ", PyTorch ", want);
  }
  void check_values(const std::string& key, const std::vector<double>& got) {
    const std::vector<double>& want = values(key, got.size());
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      error += (got[i] - want[i]) * (got[i] - want[i]), norm += want[i] * want[i];
    CHECK_MESSAGE(std::sqrt(error) <= tolerance * std::sqrt(norm), key);
  }
  /// A tensor by its digest.
  void check_tensor(const std::string& key, const double* x, index n) {
    const std::vector<double>& want = values(key, 4 + samples);
    REQUIRE_MESSAGE(static_cast<double>(n) == want[0], key, " has ", n, " elements");
    const std::uint64_t h = name_hash("signs");
    double norm = 0, sums[2] = {};
    for (index i = 0; i < n; ++i) {
      norm += x[i] * x[i];
      for (int s = 0; s < 2; ++s) sums[s] += (hashed(h, i) >> (20 + 20 * s)) & 1 ? -x[i] : x[i];
    }
    const auto compare = [&](const std::string& what, double got, double expected) {
      CHECK_MESSAGE(std::abs(got - expected) <= tolerance * want[1], key, " ", what, ": ", got, ", PyTorch ", expected,
                    ", norm ", want[1]);
    };
    compare("norm", std::sqrt(norm), want[1]);
    compare("first sum", sums[0], want[2]), compare("second sum", sums[1], want[3]);
    for (int i = 0; i < samples; ++i)
      compare("element", x[i * (n - 1) / (samples - 1)], want[static_cast<std::size_t>(4 + i)]);
  }
  /// All parameters, or all their gradients.
  template <class Workspace>
  void check_all(const std::string& what, const Workspace& w, const double* flat) {
    for (const param_entry& e : w.entries()) check_tensor(what + ":" + e.name, flat + e.offset, e.size);
  }
  /// Nothing PyTorch has is missing here.
  void check_complete() const {
    for (const auto& [key, values] : lines_) CHECK_MESSAGE(used_.count(key), key, " was not compared");
  }

 private:
  static constexpr int samples = 6;
  std::map<std::string, std::vector<double>> lines_;
  std::set<std::string> used_;
};

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
