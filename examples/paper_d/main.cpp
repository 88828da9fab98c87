// paper_d: whole images routed by one router that is told super-classes, after "Mobile V-MoEs" (arXiv 2309.04354).
//
// Arms: dense; learned_token, learned_image (end to end); super_class (confusions of the dense arm), random_class,
// coarse_class (CIFAR-100's own), semantic_class (clusters of a hierarchy of meanings, --hierarchy), oracle (super-classes
// known: the upper bound); for k > 1 dense_twin, the dense model of equal compute.  --experts, --placement, --k and
// --clustering take several values, the paper's sweeps: every combination is a set of arms beside one dense arm.
// ctest: --images 192 --validation 64 --test-images 64 --epochs 1 --batch 32 --dim 24 --depth 3 --patch 8 --experts 3 --arms dense,learned_token,learned_image,super_class,random_class,oracle --threads 1 --out build/paper_d-test
#include <algorithm>
#include <cstdio>
#include <sstream>

#include <CLI/CLI.hpp>

#include "paper_d.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_d::routing;

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

/// A way to route; `paper`: points over the dense model that it reports, on ImageNet-1k.
struct way {
  routing how;
  const char* name;
  const char* about;
  const char* paper = nullptr;
};
constexpr way ways[] = {
    {routing::dense_twin, "dense_twin", "no experts, the last blocks as wide as k of them"},
    {routing::learned_token, "learned_token", "end to end, token by token", "+3.15 (ablation)"},
    {routing::learned_image, "learned_image", "end to end, one router for whole images", "+1.87 (ablation)"},
    {routing::super_class, "super_class", "told the super-classes of the dense model's confusions",
     "+2.72 (ablation), +3.39 (12x192), +4.66 (6x64)"},
    {routing::random_class, "random_class", "told random super-classes"},
    {routing::coarse_class, "coarse_class", "told the data set's coarse labels"},
    {routing::semantic_class, "semantic_class", "told clusters of what classes mean"},
    {routing::oracle, "oracle", "super-classes known: the upper bound"}};

/// Where an arm stands on an axis of the sweep.
struct place {
  std::string axis;    ///< "experts E"
  std::string beside;  ///< the arm without its value there
  double value = 0;
};
struct swept_arm {
  experiment::arm arm;
  std::vector<place> places{};  ///< on axes of several values
  routing how = routing::dense;
  paper_d::options o{};  ///< its own values
  std::string twin{};    ///< the dense arm of equal compute
};

/// L of "last-L"; throws for a placement of other blocks than the last, and where no block would stay dense.
index blocks_of(const std::string& where, index depth) {
  const auto p = polymoe::nn::placement::named(where, depth);
  const index n = p.count();
  polymoe::require(n >= 1 && n < depth && p == polymoe::nn::placement::last(n, depth), "--placement ", where, ": of ", depth,
                   " blocks it takes ", n, "; blocks behind one router are the last ones, last-1 to last-", depth - 1);
  return n;
}

/// The dense arm, then every way at every combination of what matters to it.
std::vector<swept_arm> arms_of(const paper_d::options& asked, bool coarse) {
  std::vector<swept_arm> arms;
  const auto add = [&](const way& w, const std::string& name, const paper_d::options& o, std::vector<place> places,
                       const std::string& twin) {
    const auto train = [o, how = w.how, name](const experiment::settings& t, std::uint64_t seed,
                                              const experiment::images& d) {
#if defined(POLYMOE_DEMO_CUDA)
      if (t.on_gpu()) return paper_d::run_on_gpu(how, name, t, o, seed, d);
#endif
      return paper_d::run(how, name, t, o, seed, d);
    };
    arms.push_back({{name, w.about, train}, std::move(places), w.how, o, twin});
    if (w.paper) arms.back().arm.paper["difference"] = w.paper;
  };
  add({routing::dense, "dense", "no experts"}, "dense", asked, {}, "");
  const paper_d::swept& sweep = asked.sweep;
  const index depth = asked.sizes().depth;
  for (const way& w : ways) {
    if (w.how == routing::coarse_class && !coarse) continue;
    if (w.how == routing::semantic_class && asked.hierarchy.empty()) continue;
    const bool clusters = w.how == routing::super_class || w.how == routing::oracle || w.how == routing::semantic_class;
    const bool twin = w.how == routing::dense_twin;
    // An oracle names one expert for an image.
    const bool choices = w.how != routing::oracle;
    for (const index experts : sweep.experts)
      for (const std::string& where : sweep.placement)
        for (const int k : sweep.k)
          for (const std::string& clustering : sweep.clustering) {
            if ((!clusters && clustering != sweep.clustering.front()) || (!choices && k != sweep.k.front())) continue;
            if (twin && (k == 1 || experts != sweep.experts.front())) continue;
            paper_d::options o = asked;
            const index blocks = blocks_of(where, depth);
            o.experts = experts, o.moe_blocks = blocks, o.k = k, o.clustering = clustering;
            // A value is in the name where there are several.
            const std::string e = sweep.experts.size() > 1 && !twin ? "-e" + std::to_string(experts) : "",
                              l = sweep.placement.size() > 1 ? "-l" + std::to_string(blocks) : "",
                              n = choices && sweep.k.size() > 1 ? "-k" + std::to_string(k) : "",
                              c = clusters && sweep.clustering.size() > 1 ? "-" + clustering : "";
            std::vector<place> places;
            if (!e.empty()) places.push_back({"experts E", w.name + l + n + c, static_cast<double>(experts)});
            if (!l.empty())
              places.push_back({"blocks with experts L", w.name + e + n + c, static_cast<double>(blocks)});
            if (!n.empty()) places.push_back({"experts of an image k", w.name + e + l + c, static_cast<double>(k)});
            add(w, w.name + e + l + n + c, o, std::move(places),
                twin || k == 1 || !choices ? "dense" : "dense_twin" + l + n);
          }
  }
  return arms;
}

/// For every axis of several values: the gap to the dense arm, paired over seeds, and the router's accuracy.
void add_sweeps(polymoe::report& page, const std::vector<swept_arm>& arms, const std::vector<result>& all) {
  for (const char* axis : {"experts E", "blocks with experts L", "experts of an image k"}) {
    std::vector<polymoe::series> gaps, equal, routers;
    const auto point = [](std::vector<polymoe::series>& to, const place& at, const std::vector<double>& values,
                          double scale) {
      if (values.empty()) return;
      auto it = std::find_if(to.begin(), to.end(), [&](const polymoe::series& s) { return s.name == at.beside; });
      if (it == to.end()) it = to.insert(to.end(), {.name = at.beside, .y = {}});
      const auto mean = polymoe::analysis::summarise(values);
      it->x.push_back(at.value), it->y.push_back(scale * mean.mean), it->errors.push_back(scale * mean.standard_error);
    };
    for (const swept_arm& a : arms)
      for (const place& at : a.places) {
        if (at.axis != axis) continue;
        const auto gap_to = [&](const std::string& other) {
          const auto [mine, others] = experiment::paired(all, a.arm.name, other, "test_accuracy");
          return mine.empty() ? mine : polymoe::analysis::detail::differences(mine, others);
        };
        point(gaps, at, gap_to("dense"), 100);
        if (axis == std::string("experts of an image k") && a.how != routing::dense_twin)
          point(equal, at, gap_to(a.twin), 100);
        point(routers, at, experiment::values_of(all, a.arm.name, "router_accuracy"), 1);
      }
    if (gaps.empty() && routers.empty()) continue;
    page.lines({.title = std::string("Gap to the dense arm over ") + axis,
                .x_label = axis,
                .y_label = "percentage points",
                .note = "Test accuracy, paired over seeds. Whiskers: the standard error."},
               gaps);
    if (!equal.empty())
      page.lines(
          {.title = std::string("Gap to the dense arm of equal compute over ") + axis,
           .x_label = axis,
           .y_label = "percentage points",
           .note = "As the paper compares: for k > 1 with dense_twin, whose last blocks are as wide as k experts. "
                   "Test accuracy, paired over seeds. Whiskers: the standard error."},
          equal);
    page.lines({.title = std::string("Accuracy of the router over ") + axis,
                .x_label = axis,
                .y_label = "validation images",
                .share = true},
               routers);
  }
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
  for (const index experts : o.sweep.experts)
    for (const int k : o.sweep.k) polymoe::require(k <= experts, "--k ", k, ": there are only ", experts, " experts");
  const std::vector<swept_arm> swept = arms_of(o, !data.test.coarse.empty());
  // Before anything is trained.
  for (const swept_arm& a : swept)
    if (a.how == routing::semantic_class && experiment::is_wanted(s, a.arm.name))
      paper_d::read_hierarchy(o.hierarchy, data.test.class_names);
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
  page.table("What the paper reports (ImageNet-1k)", {"comparison", "points over the dense model"},
             {{"12x192, super-classes, per image", "+3.39"},
              {"6x64, super-classes, per image", "+4.66"},
              {"ablation: learned, per image", "+1.87"},
              {"ablation: super-classes, per image", "+2.72"},
              {"ablation: learned, per token (up to 11.05M active parameters against 6.31M)", "+3.15"}});
  page.text("E = 10 and L = 2 are best in the paper; beyond them the router's accuracy falls.");
  experiment::add_claims(page, claims_of(swept), all);
  add_sweeps(page, swept, all);
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
#if defined(POLYMOE_DEMO_CUDA)
  s.find_gpu = &paper_d::find_gpu;
#endif
  return experiment::main_of(argc, argv, s, "Whole images routed by one router that is told super-classes (paper D).",
                             add_options, variant_of, run);
}
