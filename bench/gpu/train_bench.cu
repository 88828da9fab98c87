// A training step of a vision transformer on a GPU: dense, and with an MoE layer in every block, as one CUDA graph and
// step by step.  peers/train_torch_gpu.py times the same models in PyTorch.
//
// Images are made up (train/synthetic.hpp) and lie on the GPU whole, so that a step is what is timed: fetch and augment
// a batch, forward, loss, backward, norm and clipping, AdamW, rounding of weights to bf16.  The MoE arm is dropless
// top-2 of 8 with experts of width H; the dense arm has width 2 H: equal active FLOPs.  No balance loss, no noise.
//
//   gpu_train_bench [--dim 192] [--depth 12] [--heads 3] [--batch 256] [--seconds 3] [--json FILE]
#include <chrono>
#include <cstdio>
#include <cstring>
#include <polymoe/cuda_nn.cuh>
#include <polymoe/nn/vit.hpp>
#include <polymoe/train/json.hpp>
#include <polymoe/train/synthetic.hpp>
#include <polymoe/train/trainer.hpp>

namespace {

using polymoe::bf16;
using polymoe::index;

struct options {
  index dim = 192, depth = 12, heads = 3, batch = 256;
  double seconds = 3;
  std::string json;
};

struct dropless : polymoe::spec {
  using scalar = bf16;
  static constexpr int most_experts = 32;
};
using moe = polymoe::nn::named<"moe", polymoe::layer<dropless, polymoe::cuda>>;
using mlp = polymoe::nn::named<"mlp", polymoe::nn::mlp_block<bf16, polymoe::act::gelu_tanh, polymoe::cuda>>;

struct result {
  std::string arm, how;
  std::string recipe;  ///< how products run, line by line; "NOT" where the library lacks a fused kernel or any
  bool fused() const { return recipe.find("NOT ") == recipe.npos; }
  index images_per_step = 0, params = 0, macs = 0;
  double milliseconds = 0, least = 0;  ///< of a step: median and least over rounds
  int rounds = 0;
};

polymoe::nn::vit_sizes sizes(const options& o) {
  polymoe::nn::vit_sizes s;
  s.channels = 3, s.height = s.width = 32, s.patch = 4, s.dim = o.dim, s.heads = o.heads, s.depth = o.depth;
  return s;
}

/// describe() of the layers of experts and of dense products, each text once.
template <class Model>
std::string recipe_of(polymoe::workspace<Model>& w) {
  std::string all;
  const auto add = [&](const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const std::string line = text.substr(at, end - at) + "\n";
      if (all.find(line) == all.npos) all += line;
      at = end + 1;
    }
  };
  polymoe::nn::each_module(w.module(), w.saved(), [&](auto& m, auto&) {
    if constexpr (requires { m.describe(); }) add(m.describe());
    else if constexpr (requires { m.kernel().describe(); }) add(m.kernel().describe());
    else if constexpr (requires { m.up().kernel().describe(); })
      add(m.up().kernel().describe() + m.down().kernel().describe());
  });
  return all;
}

template <class Model>
result measure(const char* arm, const typename Model::config& config, const options& o, const polymoe::train_test& data,
               bool graph) {
  polymoe::train_options t;
  t.batch = o.batch, t.epochs = 1 << 20, t.learning_rate = 1e-4, t.graph = graph;
  t.augment.mirror = polymoe::flip::random, t.augment.pad = 4;
  polymoe::trainer<Model> run(Model(config), t, data);
  const auto steps = [&](index n) {
    const auto start = std::chrono::steady_clock::now();
    for (index done = 0; done < n;) {
      const index before = run.step_count();
      run.advance(n - done);  // ends with the epoch
      done += run.step_count() - before;
    }
    return 1e3 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
           static_cast<double>(n);
  };
  steps(5);
  result r;
  r.arm = arm, r.how = graph ? "graph" : "eager", r.images_per_step = o.batch;
  r.recipe = recipe_of(run.work());
  if (graph) std::printf("# %s%s, products:\n%s", r.fused() ? "" : "NOT FUSED: ", arm, r.recipe.c_str());
  const auto cost = Model::count(config, 1);
  r.params = cost.params, r.macs = cost.macs;
  const index each = 20;
  std::vector<double> times;
  for (double spent = 0; times.size() < 5 || (spent < o.seconds && times.size() < 200);) {
    times.push_back(steps(each));
    spent += 1e-3 * times.back() * static_cast<double>(each);
  }
  std::sort(times.begin(), times.end());
  r.milliseconds = times[times.size() / 2], r.least = times.front(), r.rounds = static_cast<int>(times.size());
  std::printf("%-6s %-6s %9.3f ms a step (least %.3f, %d rounds of %lld)  %9.0f images/s  %6.2f TFLOP/s\n", arm,
              r.how.c_str(), r.milliseconds, r.least, r.rounds, static_cast<long long>(each),
              1e3 * static_cast<double>(o.batch) / r.milliseconds,
              6e-9 * static_cast<double>(r.macs) * static_cast<double>(o.batch) / r.milliseconds);
  return r;
}

int main_of(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&]() -> const char* {
      polymoe::require(i + 1 < argc, "gpu_train_bench: ", a, " needs a value");
      return argv[++i];
    };
    if (a == "--dim") o.dim = std::atoll(value());
    else if (a == "--depth") o.depth = std::atoll(value());
    else if (a == "--heads") o.heads = std::atoll(value());
    else if (a == "--batch") o.batch = std::atoll(value());
    else if (a == "--seconds") o.seconds = std::atof(value());
    else if (a == "--json") o.json = value();
    else
      polymoe::require(false, "gpu_train_bench: unknown argument ", a,
                       " (--dim, --depth, --heads, --batch, --seconds, --json)");
  }
  polymoe::require(o.dim > 0 && o.depth > 0 && o.heads > 0 && o.dim % o.heads == 0 && o.batch > 0 && o.batch <= 16384,
                   "gpu_train_bench: dim ", o.dim, ", depth ", o.depth, ", heads ", o.heads, ", batch ", o.batch);
  const auto gpu = polymoe::device::find_gpu();
  polymoe::require(gpu.usable, "gpu_train_bench: ", gpu.text);
  polymoe::synthetic_options images;
  // Twenty steps an epoch, so that its end is part of every round.
  images.classes = 10, images.per_class = polymoe::ceil_div(20 * o.batch, index{10});
  polymoe::train_test data;
  data.train = polymoe::synthetic_images(images);
  images.per_class = 1, images.part = 1;
  data.test = polymoe::synthetic_images(images);
  data.test.mean = data.train.mean, data.test.stddev = data.train.stddev;

  std::printf("# %s\n# ViT %lldx%lld, patch 4 of 32x32, batch %lld, bf16\n", gpu.text.c_str(),
              static_cast<long long>(o.depth), static_cast<long long>(o.dim), static_cast<long long>(o.batch));
  typename moe::config experts;
  experts.dim = o.dim, experts.hidden = 2 * o.dim, experts.experts = 8;
  typename mlp::config twin;
  twin.dim = o.dim, twin.hidden = 4 * o.dim;
  const auto sparse = polymoe::nn::vit_config<moe>(sizes(o), experts);
  const auto dense = polymoe::nn::vit_config<mlp>(sizes(o), twin);
  std::vector<result> all;
  // In turns, so that a drifting clock meets both.
  for (const bool graph : {true, false}) {
    all.push_back(measure<polymoe::nn::vit<mlp>>("dense", dense, o, data, graph));
    all.push_back(measure<polymoe::nn::vit<moe>>("moe", sparse, o, data, graph));
  }
  if (!o.json.empty()) {
    polymoe::json_writer w;
    w.begin_object().key("gpu").value(gpu.text).key("dim").value(o.dim).key("depth").value(o.depth).key("batch").value(
        o.batch);
    w.key("results").begin_array();
    for (const result& r : all)
      w.begin_object()
          .key("arm")
          .value(r.arm)
          .key("how")
          .value(r.how)
          .key("ms")
          .value(r.milliseconds)
          .key("least_ms")
          .value(r.least)
          .key("images_per_second")
          .value(1e3 * static_cast<double>(r.images_per_step) / r.milliseconds)
          .key("params")
          .value(r.params)
          .key("macs")
          .value(r.macs)
          .key("recipe")
          .value(r.recipe)
          .key("fused")
          .value(r.fused())
          .end_object();
    w.end_array().end_object();
    polymoe::write_text(o.json, w.str());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_of(argc, argv);
  } catch (const polymoe::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
