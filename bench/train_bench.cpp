// Whole training steps on the CPU: a batch, forward, loss, backward, clipping, optimiser, commit and refresh, as
// trainer::step runs them.  peers/train_torch.py times the same models and steps in PyTorch, peers/train_compare.py
// both.
//
//   resnet         ResNet-18 for 32 x 32 images with paper B's dense head (512-512-10); SGD with momentum, batch 128
//   resnet_sparse  the same with its sparse head: 8 experts 512-64-10, two an image, as published
//   vit            ViT-Ti/4: 64 tokens, D 192, 12 blocks, 3 heads, MLPs of width 768; AdamW, norm 1 at most, batch 256
//   vit_moe        an MoE layer in every block: 8 experts of width 384, two a token (equal active FLOPs), V-MoE's gate,
//                  capacity 1.25 and losses
//
// Images are made up and not augmented.  Networks are compiled once for each number type: what differs stands behind
// any_layer.
// specs: vit_moe_f32 vit_moe_bf16
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <polymoe/nn/vit.hpp>
#include <polymoe/specs.hpp>
#include <polymoe/train/json.hpp>
#include <polymoe/train/synthetic.hpp>
#include <polymoe/train/trainer.hpp>

#include "../examples/paper_b/heads.hpp"
#include "../examples/paper_b/network.hpp"

namespace train_bench {
namespace {

using polymoe::bf16;
using polymoe::cpu;
using polymoe::index;
namespace nn = polymoe::nn;

struct settings {
  index steps = 3, warmup = 1;
  index resnet_batch = 128, vit_batch = 256;
  int threads = 1;
};

struct result {
  std::string row, dtype;
  index batch = 0, params = 0, macs = 0;
  double loss = 0;         ///< of the last step
  std::vector<double> ms;  ///< of every timed step
};

/// A dense module where any_layer expects a layer of experts: it answers that there are none.
template <class Module>
class without_experts : public Module {
 public:
  using config = typename Module::config;
  using scalar = typename Module::scalar;
  using context = polymoe::context<cpu>;
  struct saved {
    typename Module::saved own;
    struct {
      struct {
        index experts = 0;
      } plan;
    } routing{};
  };
  explicit without_experts(const config& c) : Module(c) {}
  saved bind(polymoe::binder<cpu>& b, index rows) const { return {Module::bind(b, rows)}; }
  void forward(context& c, polymoe::view<const scalar> x, polymoe::view<scalar> y, saved& s) const {
    Module::forward(c, x, y, s.own);
  }
  void backward(context& c, polymoe::view<const scalar> dy, polymoe::view<scalar> dx, saved& s) const {
    Module::backward(c, dy, dx, s.own);
  }
  void commit(context&) {}  // neither an MLP nor a linear head has state
  float balance_loss(context&, const saved&) const { return 0; }
  polymoe::routing_stats stats(context&, const saved&) const { return {}; }
  polymoe::sparse_plan<float> plan(context&, const saved&) const { return {}; }
};

polymoe::train_test made_up(index images) {
  polymoe::synthetic_options o;
  o.classes = 10, o.per_class = polymoe::ceil_div(images, index{10});
  polymoe::train_test data;
  data.train = polymoe::synthetic_images(o);
  o.per_class = 1, o.part = 1;
  data.test = polymoe::synthetic_images(o);
  data.train.measure();
  data.test.mean = data.train.mean, data.test.stddev = data.train.stddev;
  return data;
}

template <class Model, class Rule>
void measure(result& r, const typename Model::config& config, const polymoe::train_options& t, Rule rule,
             const settings& s) {
  const polymoe::train_test data = made_up(4 * t.batch);  // epochs of four steps, so that their ends are part of it
  polymoe::trainer<Model, Rule> run(Model(config), t, data, rule);
  const polymoe::cost cost = Model::count(config, 1);
  r.batch = t.batch, r.params = cost.params, r.macs = cost.macs;
  for (index i = 0; i < s.warmup + s.steps; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    r.loss = run.step().loss;
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    if (i >= s.warmup) r.ms.push_back(ms);
  }
}

polymoe::train_options options(const settings& s, index batch) {
  polymoe::train_options t;
  t.batch = batch, t.epochs = 1 << 20, t.threads = s.threads, t.warmup_epochs = 0;
  return t;
}

/// Paper B's recipe; one trainer for both heads.
template <class T>
result run_resnet(result r, bool sparse, const settings& s) {
  const nn::resnet_sizes z;
  using head = experiment::any_layer<T>;
  using spec = paper_b::sparse_published<T>;
  using dense = without_experts<paper_b::dense_head<T>>;
  auto experts = paper_b::experts_config<spec>(z.features(), 10);
  experts.balance.template get<polymoe::balance::importance>().weight = 0.2f;
  experts.balance.template get<polymoe::balance::load_shazeer>().weight = 0.2f;
  const typename head::config chosen =
      sparse ? paper_b::any_head<spec>(experts) : head::template of<dense>(paper_b::dense_config<T>(z.features(), 10));
  polymoe::train_options t = options(s, s.resnet_batch);
  t.learning_rate = 0.1, t.weight_decay = 5e-4, t.decay_all = true, t.clip_norm = 0;
  using model = paper_b::experts_classifier<T>;
  measure<model>(r, paper_b::experts_model<T>(z, chosen), t, polymoe::sgd{.momentum = 0.9}, s);
  return r;
}

template <class T>
result run_vit(result r, bool moe, const settings& s) {
  nn::vit_sizes z;
  z.channels = 3, z.height = z.width = 32, z.patch = 4, z.dim = 192, z.heads = 3, z.depth = 12;
  using block = nn::named<"mlp", experiment::any_layer<T>>;
  using experts = polymoe::layer<polymoe::specs::vit_moe<T>, cpu>;
  using dense = without_experts<nn::mlp_block<T>>;
  typename experts::config e;
  e.dim = z.dim, e.hidden = 2 * z.dim, e.experts = 8;
  typename dense::config d;
  d.dim = z.dim, d.hidden = 4 * z.dim;
  const typename block::config chosen = moe ? block::template of<experts>(e) : block::template of<dense>(d);
  polymoe::train_options t = options(s, s.vit_batch);
  t.learning_rate = 1e-3, t.weight_decay = 0.05, t.clip_norm = 1;
  measure<nn::vit<block>>(r, nn::vit_config<block>(z, chosen), t, polymoe::adamw{}, s);
  return r;
}

template <class T>
result run_row(const std::string& row, const char* dtype, const settings& s) {
  result r;
  r.row = row, r.dtype = dtype;
  if (row.starts_with("resnet")) return run_resnet<T>(std::move(r), row != "resnet", s);
  return run_vit<T>(std::move(r), row != "vit", s);
}

void print(const result& r) {
  std::vector<double> sorted = r.ms;
  std::sort(sorted.begin(), sorted.end());
  const double ms = sorted[sorted.size() / 2];
  std::printf("%-14s %-5s %9.1f ms a step (least %.1f, %zu steps)  %8.1f images/s  %7.1f GFLOP/s  loss %.4f\n",
              r.row.c_str(), r.dtype.c_str(), ms, sorted.front(), sorted.size(),
              1e3 * static_cast<double>(r.batch) / ms,
              6e-6 * static_cast<double>(r.macs) * static_cast<double>(r.batch) / ms, r.loss);
  std::fflush(stdout);
}

std::string to_json(const std::vector<result>& all, const settings& s) {
  namespace maths = polymoe::maths;
  polymoe::json_writer w;
  w.begin_object().field("threads", s.threads).field("isa", maths::isa_name()).field("compiler", __VERSION__);
  w.field("maths_fp32", maths::resolved<float>::name).field("maths_bf16", maths::resolved<bf16>::name);
  w.key("rows").begin_array();
  for (const result& r : all) {
    w.begin_object().field("row", r.row).field("dtype", r.dtype).field("batch", r.batch).field("params", r.params);
    w.field("macs", r.macs).field("loss", r.loss).key("ms").begin_array();
    for (const double x : r.ms) w.value(x);
    w.end_array().end_object();
  }
  w.end_array().end_object();
  return w.str();
}

int main_of(int argc, char** argv) {
  settings s;
  s.threads = polymoe::hardware_threads();
  const std::vector<std::string> known{"resnet", "resnet_sparse", "vit", "vit_moe"};
  std::vector<std::string> rows = known, dtypes{"fp32", "bf16"};
  std::string json;
  CLI::App app{"Times training steps of whole classifiers on the CPU"};
  app.option_defaults()->always_capture_default();
  app.add_option("--row", rows, "rows to run; may be given several times")->check(CLI::IsMember(known));
  app.add_option("--dtype", dtypes, "fp32, bf16 or both")->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--threads", s.threads, "threads")->check(CLI::Range(1, 1024));
  app.add_option("--steps", s.steps, "timed steps of a row")->check(CLI::Range(1, 100000));
  app.add_option("--warmup", s.warmup, "steps before them")->check(CLI::Range(0, 1000));
  app.add_option("--resnet-batch", s.resnet_batch, "images of a step")->check(CLI::Range(1, 16384));
  app.add_option("--vit-batch", s.vit_batch, "images of a step")->check(CLI::Range(1, 16384));
  app.add_option("--json", json, "file for the figures");
  CLI11_PARSE(app, argc, argv);
  std::vector<result> all;
  for (const std::string& row : rows)
    for (const std::string& dtype : dtypes) {
      all.push_back(dtype == "fp32" ? run_row<float>(row, "fp32", s) : run_row<bf16>(row, "bf16", s));
      print(all.back());
      if (!json.empty())
        polymoe::write_text(json, to_json(all, s) + "\n");  // after every row: a broken run keeps what it has
    }
  return 0;
}

}  // namespace
}  // namespace train_bench

int main(int argc, char** argv) {
  try {
    return train_bench::main_of(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "train_bench: %s\n", e.what());
    return 1;
  }
}
