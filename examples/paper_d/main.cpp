// paper_d: whole images routed by one router that is told super-classes, after "Mobile V-MoEs" (arXiv 2309.04354).
//
// Arms: dense; learned_token, learned_image (end to end); super_class (confusions of the dense arm), random_class,
// coarse_class (CIFAR-100's own), oracle (super-classes known: the upper bound).  --experts, --moe-blocks and --k are the
// paper's sweeps; runs in different folders are compared by their result.json.
// ctest: --images 192 --validation 64 --test-images 64 --epochs 1 --batch 32 --dim 24 --depth 3 --patch 8 --experts 3 --arms dense,learned_token,learned_image,super_class,random_class,oracle --threads 1 --out build/paper_d-test
#include <cstdio>

#include "paper_d.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_d::routing;

volatile std::sig_atomic_t stop_requested = 0;
extern "C" void on_interrupt(int signal) {
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}

int run(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  experiment::settings s;
  paper_d::options o;
  s.program = "paper_d";
  s.epochs = 30, s.learning_rate = 1e-3, s.weight_decay = 0.05, s.threads = polymoe::hardware_threads(), s.augment = "crop";
  CLI::App app{"Whole images routed by one router that is told super-classes (paper D)."};
  experiment::add_options(app, s);
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
  if (const int status = experiment::parse(app, s, argc, argv); status >= 0) return status;
  s.variant = "ViT " + std::to_string(o.depth) + "x" + std::to_string(o.dim) + "/" + std::to_string(o.patch) + ", heads " + std::to_string(o.heads) + ", E " +
              std::to_string(o.experts) + ", L " + std::to_string(o.moe_blocks) + ", k " + std::to_string(o.k) + ", lambda " + std::to_string(o.lambda) + ", " + o.clustering;
  s.stop_requested = &stop_requested;
  std::signal(SIGINT, on_interrupt), std::signal(SIGTERM, on_interrupt);

  const experiment::images data = experiment::read_images(s);
  std::vector<experiment::arm> arms;
  const auto add = [&](routing how, const char* name, const char* about) {
    arms.push_back({name, about, [&o, how, name](const experiment::settings& t, std::uint64_t seed, const experiment::images& d) { return paper_d::run(how, name, t, o, seed, d); }});
  };
  add(routing::dense, "dense", "no experts");
  add(routing::learned_token, "learned_token", "end to end, token by token");
  add(routing::learned_image, "learned_image", "end to end, one router for whole images");
  add(routing::super_class, "super_class", "told the super-classes of the dense model's confusions");
  add(routing::random_class, "random_class", "told random super-classes");
  if (!data.test.coarse.empty()) add(routing::coarse_class, "coarse_class", "told the data set's coarse labels");
  add(routing::oracle, "oracle", "super-classes known: the upper bound");
  std::printf("paper_d: %s, %lld training, %lld validation, %lld test images; %s; %zu seeds, %d threads\n", data.name.c_str(),
              static_cast<long long>(data.fit.train.size()), static_cast<long long>(data.fit.test.size()), static_cast<long long>(data.test.size()),
              s.variant.c_str(), s.seeds.size(), s.threads);
  std::vector<result> all;
  if (!experiment::run_all(s, arms, data, all)) {
    std::printf("Stopped. The same options and --resume continue the run.\n");
    return 130;
  }
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
  experiment::add_provenance(page, s, data);
  const std::string path = s.out + "/report.html";
  page.write(path);
  std::printf("\nResults of every run: %s/<arm>/seed-<n>/result.json\nWritten: %s\n", s.out.c_str(), path.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "paper_d: %s\n", e.what());
    return 1;
  }
}
