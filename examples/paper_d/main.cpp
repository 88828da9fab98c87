// paper_d: whole images routed by one router that is told super-classes, after "Mobile V-MoEs" (arXiv 2309.04354).
//
// Arms: dense; learned_token, learned_image (end to end); super_class (confusions of the dense arm), random_class,
// coarse_class (CIFAR-100's own), oracle (super-classes known: the upper bound).  --experts, --moe-blocks and --k are the
// paper's sweeps; runs in different folders are compared by their result.json.
// ctest: --images 192 --validation 64 --test-images 64 --epochs 1 --batch 32 --dim 24 --depth 3 --patch 8 --experts 3 --arms dense,learned_token,learned_image,super_class,random_class,oracle --threads 1 --out build/paper_d-test
#include <cstdio>

#include <CLI/CLI.hpp>

#include "paper_d.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_d::routing;

void add_options(CLI::App& app, paper_d::options& o) {
  app.add_option("--dim", o.dim, "width D; experts are D - 4 D - D")->check(CLI::PositiveNumber);
  app.add_option("--depth", o.depth, "blocks")->check(CLI::Range(2, 64));
  app.add_option("--heads", o.heads, "attention heads")->check(CLI::PositiveNumber);
  app.add_option("--patch", o.patch, "pixels of a patch's side")->check(CLI::PositiveNumber);
  app.add_option("--experts", o.experts, "experts E, and super-classes")->check(CLI::Range(2, 32));
  app.add_option("--moe-blocks", o.moe_blocks, "L, the last blocks, which have experts")->check(CLI::PositiveNumber);
  app.add_option("--k", o.k, "experts of an image or token")->check(CLI::Range(1, 2));
  app.add_option("--lambda", o.lambda, "weight of the router's cross-entropy")->check(CLI::NonNegativeNumber);
  app.add_option("--clustering", o.clustering, "spectral, balanced, agglomerative or modularity")
      ->check(CLI::IsMember({"spectral", "balanced", "agglomerative", "modularity"}));
}

/// The program's own options that change a result.
std::string variant_of(const paper_d::options& o) {
  return "ViT " + std::to_string(o.depth) + "x" + std::to_string(o.dim) + "/" + std::to_string(o.patch) + ", heads " +
         std::to_string(o.heads) + ", E " + std::to_string(o.experts) + ", L " + std::to_string(o.moe_blocks) + ", k " +
         std::to_string(o.k) + ", lambda " + std::to_string(o.lambda) + ", " + o.clustering;
}

int run(experiment::settings& s, const paper_d::options& o, const experiment::images& data) {
  std::vector<experiment::arm> arms;
  // `paper`: points over the dense model that it reports, on ImageNet-1k.
  const auto add = [&](routing how, const char* name, const char* about, const char* paper = nullptr) {
    arms.push_back(
        {name, about, [&o, how, name](const experiment::settings& t, std::uint64_t seed, const experiment::images& d) {
#if defined(POLYMOE_DEMO_CUDA)
           if (t.on_gpu()) return paper_d::run_on_gpu(how, name, t, o, seed, d);
#endif
           return paper_d::run(how, name, t, o, seed, d);
         }});
    if (paper) arms.back().paper["difference"] = paper;
  };
  add(routing::dense, "dense", "no experts");
  add(routing::learned_token, "learned_token", "end to end, token by token", "+3.15 (ablation)");
  add(routing::learned_image, "learned_image", "end to end, one router for whole images", "+1.87 (ablation)");
  add(routing::super_class, "super_class", "told the super-classes of the dense model's confusions",
      "+2.72 (ablation), +3.39 (12x192), +4.66 (6x64)");
  add(routing::random_class, "random_class", "told random super-classes");
  if (!data.test.coarse.empty()) add(routing::coarse_class, "coarse_class", "told the data set's coarse labels");
  add(routing::oracle, "oracle", "super-classes known: the upper bound");
  std::vector<result> all;
  if (const int status = experiment::run_all(s, s.variant, arms, data, all); status >= 0) return status;
  polymoe::report page("Routing whole images by super-classes", "After arXiv 2309.04354 (paper D); " + s.variant);
  page.section("Result");
  experiment::add_tables(page, arms, all,
                         {{"test accuracy, %", "test_accuracy", "%.2f", 100},
                          {"test loss", "test_loss"},
                          {"router accuracy, validation, %", "router_accuracy", "%.2f", 100},
                          {"confusion inside super-classes, %", "confusion_inside", "%.1f", 100},
                          {"modularity of the clustering", "modularity", "%.3f"},
                          {"parameters", "parameters", "%.0f"},
                          {"active parameters", "active_parameters", "%.0f"},
                          {"MMACs of an image", "macs", "%.2f", 1e-6},
                          {"routed share of the MACs", "routed_share", "%.3f"},
                          {"load CV, test", "load_cv", "%.3f"},
                          {"router entropy, test (nats)", "entropy", "%.3f"},
                          {"training time, s", "train_seconds", "%.0f"},
                          {"images/s, inference", "inference_images_per_second", "%.0f"}});
  page.table("What the paper reports (ImageNet-1k)", {"comparison", "points over the dense model"},
             {{"12x192, super-classes, per image", "+3.39"},
              {"6x64, super-classes, per image", "+4.66"},
              {"ablation: learned, per image", "+1.87"},
              {"ablation: super-classes, per image", "+2.72"},
              {"ablation: learned, per token (up to 11.05M active parameters against 6.31M)", "+3.15"}});
  page.text("E = 10 and L = 2 are best in the paper; beyond them the router's accuracy falls.");
  page.section("Learning");
  experiment::add_curves(page, arms, all);
  experiment::add_routing(page, arms, all, data.test.class_names);
  experiment::add_calibration(page, arms, all, data.test.class_names);
  page.section("Super-classes");
  for (const result& r : all) {
    const auto it = r.lists.find("expert_of_class");
    if (it == r.lists.end() || r.arm == "oracle") continue;
    std::vector<std::vector<std::string>> rows;
    for (index e = 0; e < o.experts; ++e) {
      std::string names;
      for (std::size_t c = 0; c < it->second.size(); ++c)
        if (static_cast<index>(it->second[c]) == e) names += (names.empty() ? "" : ", ") + data.test.class_names[c];
      rows.push_back({std::to_string(e), names});
    }
    page.table(r.arm + ", seed " + std::to_string(r.seed), {"expert", "classes"}, rows);
  }
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_d", .epochs = 30, .learning_rate = 1e-3, .weight_decay = 0.05,
                         .augment = "crop"};
#if defined(POLYMOE_DEMO_CUDA)
  s.find_gpu = &paper_d::find_gpu;
#endif
  return experiment::main_of(argc, argv, s, "Whole images routed by one router that is told super-classes (paper D).",
                             add_options, variant_of, run);
}
