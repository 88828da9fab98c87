// paper_d: whole images routed by one router that is told super-classes, after "Mobile V-MoEs" (arXiv 2309.04354).
//
// Arms: dense; learned_token, learned_image (end to end); super_class (confusions of the dense arm), random_class,
// coarse_class (CIFAR-100's own), semantic_class (clusters of a hierarchy of meanings, --hierarchy), oracle
// (super-classes known: the upper bound); for k > 1 dense_twin, the dense model of equal compute.  --experts,
// --placement, --k and
// --clustering take several values, the paper's sweeps: every combination is a set of arms
// beside one dense arm, or with
// --sweep one-by-one every value beside the first ones of the others.
// ctest: --images 192 --validation 64 --test-images 64 --epochs 1 --batch 32 --dim 24 --depth 3 --patch 8 --experts 3 --arms dense,learned_token,learned_image,super_class,random_class,oracle --threads 1 --out build/paper_d-test
#include <algorithm>
#include <sstream>

#include <CLI/CLI.hpp>

#include "sweeps.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_d::routing, paper_d::swept_arm;

void add_options(CLI::App& app, paper_d::options& o) {
  experiment::add_vit_options(app, o);
  app.add_option("--experts", o.sweep.experts, "experts E, and super-classes")
      ->delimiter(',')
      ->check(CLI::Range(2, 32));
  app.add_option("--placement", o.sweep.placement, "blocks with experts: last-L, as they are behind one router")
      ->delimiter(',');
  app.add_option("--k", o.sweep.k, "experts of an image or token: 1, 2 or 4")
      ->delimiter(',')
      ->check(CLI::IsMember({1, 2, 4}));
  app.add_option("--lambda", o.lambda, "weight of the router's cross-entropy")->check(CLI::NonNegativeNumber);
  app.add_option("--clustering", o.sweep.clustering, "spectral, balanced, agglomerative or modularity")
      ->delimiter(',')
      ->check(CLI::IsMember({"spectral", "balanced", "agglomerative", "modularity"}));
  app.add_option("--sweep", o.sweep.how,
                 "of several values all combinations, or one-by-one: one option at a time, the others at their first")
      ->check(CLI::IsMember({"all", "one-by-one"}));
  app.add_option("--hierarchy", o.hierarchy,
                 "file with a line \"class: widest group/.../narrowest group\" for every class, for semantic_class");
  app.add_option(
         "--router-input", o.router_input,
         "what the router of whole images sees: the mean over tokens, or a class token, which the head takes too")
      ->check(CLI::IsMember({"mean", "class-token"}));
}

template <class T>
std::string joined(const std::vector<T>& all) {
  std::ostringstream text;
  for (std::size_t i = 0; i < all.size(); ++i) text << (i ? "/" : "") << all[i];
  return text.str();
}

/// The program's own options that change a result.
std::string variant_of(const paper_d::options& o) {
  return o.text() + ", E " + joined(o.sweep.experts) + ", experts in " + joined(o.sweep.placement) + ", k " +
         joined(o.sweep.k) + ", lambda " + std::to_string(o.lambda) + ", " + joined(o.sweep.clustering) +
         (o.class_token() ? ", class token" : "") + (o.hierarchy.empty() ? "" : ", meanings of " + o.hierarchy);
}

/// What the paper finds, as pairs of arms.
std::vector<experiment::claim> claims_of(const std::vector<swept_arm>& arms) {
  std::vector<experiment::claim> all;
  // The arm of another way at the same place; "" where there is none.
  const auto beside = [&](const swept_arm& a, routing how) -> std::string {
    for (const swept_arm& b : arms)
      if (b.how == how && b.o.experts == a.o.experts && b.o.moe_blocks == a.o.moe_blocks && b.o.k == a.o.k)
        return b.arm.name;
    return "";
  };
  for (const swept_arm& a : arms) {
    if (a.how == routing::learned_image)
      all.push_back({"learned end to end, whole images are above the dense model (+1.87)", a.arm.name, a.twin});
    if (a.how != routing::super_class) continue;
    all.push_back({"super-classes are above the dense model (+2.72, +3.39, +4.66)", a.arm.name, a.twin});
    all.push_back({"super-classes are above whole images learned end to end (+2.72 and +1.87)", a.arm.name,
                   beside(a, routing::learned_image)});
    all.push_back({"tokens learned end to end are above super-classes, with more parameters (+3.15 and +2.72)",
                   beside(a, routing::learned_token), a.arm.name});
    // Its best are E = 10 and L = 2; the next value of the sweep.
    for (const swept_arm& b : arms) {
      if (b.how != a.how || b.o.k != a.o.k || b.o.clustering != a.o.clustering) continue;
      if (b.o.moe_blocks == a.o.moe_blocks && b.o.experts <= 10 && b.o.experts > a.o.experts)
        all.push_back({"up to E = 10 accuracy rises", b.arm.name, a.arm.name});
      if (b.o.moe_blocks == a.o.moe_blocks && a.o.experts >= 10 && b.o.experts > a.o.experts)
        all.push_back({"beyond E = 10 the router's accuracy falls", a.arm.name, b.arm.name, "router_accuracy"});
      if (b.o.experts == a.o.experts && a.o.moe_blocks >= 2 && b.o.moe_blocks > a.o.moe_blocks)
        for (const char* figure : {"test_accuracy", "router_accuracy"})
          all.push_back({figure == std::string("test_accuracy") ? "beyond L = 2 accuracy falls"
                                                                : "beyond L = 2 the router's accuracy falls",
                         a.arm.name, b.arm.name, figure});
    }
  }
  return all;
}

int run(experiment::settings& s, const paper_d::options& o, const experiment::images& data) {
  const std::vector<swept_arm> swept = paper_d::arms_of(o, !data.test.coarse.empty());
  paper_d::spell_out(s, swept);
  // Before anything is trained.
  for (const swept_arm& a : swept) {
    if (a.how == routing::learned_token || a.how == routing::learned_image)
      polymoe::require(a.o.k <= a.o.experts, "--k ", a.o.k, ": there are only ", a.o.experts, " experts");
    if (a.how == routing::semantic_class && experiment::is_wanted(s, a.arm.name))
      paper_d::read_hierarchy(o.hierarchy, data.test.class_names);
  }
  std::vector<experiment::arm> arms;
  for (const swept_arm& a : swept) arms.push_back(a.arm);
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
  paper_d::add_published(page);
  experiment::add_claims(page, claims_of(swept), all);
  paper_d::add_sweeps(page, o, swept, all);
  page.section("Learning");
  experiment::add_curves(page, arms, all);
  experiment::add_routing(page, arms, all, data.test.class_names);
  experiment::add_calibration(page, arms, all, data.test.class_names);
  page.section("Super-classes");
  for (const result& r : all) {
    const auto it = r.lists.find("expert_of_class");
    if (it == r.lists.end() || r.arm.starts_with("oracle")) continue;
    std::vector<std::vector<std::string>> rows;
    const double last = *std::max_element(it->second.begin(), it->second.end());
    for (index e = 0; static_cast<double>(e) <= last; ++e) {
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
  if constexpr (experiment::has_gpu_arms) s.find_gpu = &paper_d::find_gpu;
  return experiment::main_of(argc, argv, s, "Whole images routed by one router that is told super-classes (paper D).",
                             add_options, variant_of, run);
}
