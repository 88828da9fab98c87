// Arms over values, and values over arms.
#include "sweeps.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

namespace paper_d {

namespace {

/// A way to route; `paper`: points over the dense model that its ablations report, on ImageNet-1k.
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

/// Top-1 accuracies on ImageNet-1k that the paper has for a network of so many blocks and such a width: dense, and with
/// super-classes, E = 10, L = 2, k = 1.
struct published_size {
  index depth, dim;
  const char *dense, *experts, *gap;
};
constexpr published_size published[] = {{12, 192, "59.51", "62.90", "+3.39"}, {6, 64, "36.64", "41.30", "+4.66"}};

/// What the paper reports of an arm.
std::map<std::string, std::string> reported(routing how, const char* ablation, const polymoe::nn::vit_sizes& z) {
  std::map<std::string, std::string> figures;
  if (ablation) figures["difference"] = ablation;
  for (const published_size& p : published)
    if (p.depth == z.depth && p.dim == z.dim && z.mlp_hidden() == 4 * z.dim) {
      const char* const where = " (ImageNet-1k)";
      if (how == routing::dense) figures["test_accuracy"] = std::string(p.dense) + where;
      if (how == routing::super_class)
        figures["test_accuracy"] = std::string(p.experts) + where, figures["difference"] = std::string(p.gap) + where;
    }
  return figures;
}

/// L of "last-L"; throws for a placement of other blocks than the last, and where no block would stay dense.
index blocks_of(const std::string& where, index depth) {
  const auto p = polymoe::nn::placement::named(where, depth);
  const index n = p.count();
  polymoe::require(n >= 1 && n < depth && p == polymoe::nn::placement::last(n, depth), "--placement ", where, ": of ",
                   depth, " blocks it takes ", n, "; blocks behind one router are the last ones, last-1 to last-",
                   depth - 1);
  return n;
}
bool has_clusters(routing how) {
  return how == routing::super_class || how == routing::oracle || how == routing::semantic_class;
}

constexpr const char *over_experts = "experts E", *over_blocks = "blocks with experts L",
                     *over_k = "experts of an image k", *over_clusterings = "clustering";

}  // namespace

std::vector<swept_arm> arms_of(const options& asked, bool coarse) {
  std::vector<swept_arm> arms;
  const auto add = [&](routing how, const std::string& name, const char* about, const options& o) -> swept_arm& {
    const auto train = [o, how, name](const experiment::settings& t, std::uint64_t seed, const experiment::images& d) {
      if constexpr (experiment::has_gpu_arms)
        if (t.on_gpu()) return run_on_gpu(how, name, t, o, seed, d);
      return run(how, name, t, o, seed, d);
    };
    arms.push_back({.arm = {name, about, train}, .how = how, .way = name, .o = o});
    return arms.back();
  };
  const polymoe::nn::vit_sizes sizes = asked.sizes();
  add(routing::dense, "dense", "no experts", asked).arm.paper = reported(routing::dense, nullptr, sizes);
  const swept& sweep = asked.sweep;
  for (const way& w : ways) {
    if (w.how == routing::coarse_class && !coarse) continue;
    if (w.how == routing::semantic_class && asked.hierarchy.empty()) continue;
    const bool clusters = has_clusters(w.how), twin = w.how == routing::dense_twin;
    const bool choices = w.how != routing::oracle;  // which names one expert for an image
    for (const index experts : sweep.experts)
      for (const std::string& where : sweep.placement)
        for (const int k : sweep.k)
          for (const std::string& clustering : sweep.clustering) {
            const bool other_experts = experts != sweep.experts.front(),
                       other_blocks = where != sweep.placement.front(), other_k = k != sweep.k.front(),
                       other_clusters = clustering != sweep.clustering.front();
            if ((!clusters && other_clusters) || (!choices && other_k)) continue;
            if (twin && (k == 1 || other_experts)) continue;
            const int others = other_experts + other_blocks + other_k + other_clusters;
            if (sweep.one_by_one() && others > 1) continue;
            options o = asked;
            const index blocks = blocks_of(where, sizes.depth);
            o.experts = experts, o.moe_blocks = blocks, o.k = k, o.clustering = clustering;
            // A value is in the name where there are several.
            const std::string e = sweep.experts.size() > 1 && !twin ? "-e" + std::to_string(experts) : "",
                              l = sweep.placement.size() > 1 ? "-l" + std::to_string(blocks) : "",
                              n = choices && sweep.k.size() > 1 ? "-k" + std::to_string(k) : "",
                              c = clusters && sweep.clustering.size() > 1 ? "-" + clustering : "";
            swept_arm& a = add(w.how, w.name + e + l + n + c, w.about, o);
            a.way = w.name;
            a.twin = twin || k == 1 || !choices ? "dense" : "dense_twin" + l + n;
            // The paper's figures are those of E = 10, L = 2, k = 1: in a sweep they stand beside these.
            if ((e.empty() || experts == 10) && (l.empty() || blocks == 2) && (n.empty() || k == 1))
              a.arm.paper = reported(w.how, w.paper, sizes);
            // One by one, an arm is a point on the axis that it left the first values on; the first values are on all.
            const auto stands = [&](const std::string& value, bool other) {
              return !value.empty() && (!sweep.one_by_one() || others == (other ? 1 : 0));
            };
            if (stands(e, other_experts))
              a.places.push_back({over_experts, w.name + l + n + c, static_cast<double>(experts)});
            if (stands(l, other_blocks))
              a.places.push_back({over_blocks, w.name + e + n + c, static_cast<double>(blocks)});
            if (stands(n, other_k)) a.places.push_back({over_k, w.name + e + l + c, static_cast<double>(k)});
            if (stands(c, other_clusters)) a.places.push_back({over_clusterings, w.name + e + l + n});
          }
  }
  return arms;
}

void spell_out(experiment::settings& s, const std::vector<swept_arm>& arms) {
  std::vector<std::string> names;
  for (const std::string& wish : s.arms) {
    const std::size_t before = names.size();
    for (const swept_arm& a : arms)
      if (a.arm.name == wish || a.way == wish) names.push_back(a.arm.name);
    if (names.size() == before) names.push_back(wish);  // run_all says what there is
  }
  s.arms = names;
}

void add_published(polymoe::report& page) {
  std::vector<std::vector<std::string>> rows;
  for (const published_size& p : published)
    rows.push_back({std::to_string(p.depth) + "x" + std::to_string(p.dim) + ", super-classes, per image", p.dense,
                    p.experts, p.gap});
  for (const auto& [comparison, gap] :
       {std::pair{"ablation: learned, per image", "+1.87"}, std::pair{"ablation: super-classes, per image", "+2.72"},
        std::pair{"ablation: learned, per token (up to 11.05M active parameters against 6.31M)", "+3.15"}})
    rows.push_back({comparison, "-", "-", gap});
  page.table("What the paper reports (ImageNet-1k)",
             {"comparison", "dense, top-1 %", "with experts, top-1 %", "points over the dense model"}, rows);
  page.text(
      "E = 10 and L = 2 are best in the paper; beyond them the router's accuracy falls. Beside dense models of equal "
      "cost "
      "k = 1 and 2 are best. It names no accuracies over E, L and k.");
}

namespace {

using curves =
    std::map<std::string, std::map<double, std::pair<double, double>>>;  ///< name, x, mean and standard error

void add_point(curves& to, const std::string& name, double x, const std::vector<double>& values, double scale = 1) {
  if (values.empty()) return;
  const auto mean = polymoe::analysis::summarise(values);
  to[name][x] = {scale * mean.mean, scale * mean.standard_error};
}
/// Those of more than one point.
std::vector<polymoe::series> lines_of(const curves& all) {
  std::vector<polymoe::series> lines;
  for (const auto& [name, points] : all) {
    if (points.size() < 2) continue;
    polymoe::series s{.name = name, .y = {}, .dashed = name == "dense"};
    for (const auto& [x, y] : points) s.x.push_back(x), s.y.push_back(y.first), s.errors.push_back(y.second);
    lines.push_back(s);
  }
  return lines;
}
/// Of one arm over another, seed by seed.
std::vector<double> gap_to(const std::string& other, const std::string& arm, const std::vector<result>& all) {
  const auto [mine, others] = experiment::paired(all, arm, other, "test_accuracy");
  return mine.empty() ? mine : polymoe::analysis::detail::differences(mine, others);
}

void add_charts(polymoe::report& page, const std::string& axis, const std::vector<swept_arm>& arms,
                const std::vector<result>& all) {
  curves accuracy, gaps, equal, routers;
  for (const swept_arm& a : arms)
    for (const place& at : a.places) {
      if (at.axis != axis) continue;
      add_point(accuracy, at.beside, at.value, experiment::values_of(all, a.arm.name, "test_accuracy"));
      add_point(gaps, at.beside, at.value, gap_to("dense", a.arm.name, all), 100);
      if (axis == over_k && a.how != routing::dense_twin)
        add_point(equal, at.beside, at.value, gap_to(a.twin, a.arm.name, all), 100);
      add_point(routers, at.beside, at.value, experiment::values_of(all, a.arm.name, "router_accuracy"));
      // The dense arm is the same everywhere.
      add_point(accuracy, "dense", at.value, experiment::values_of(all, "dense", "test_accuracy"));
    }
  const auto chart = [&](const std::string& title, const curves& of, const char* y, bool share,
                         const std::string& note) {
    if (const auto lines = lines_of(of); !lines.empty())
      page.lines({.title = title + " over " + axis,
                  .x_label = axis,
                  .y_label = y,
                  .share = share,
                  .note = note + "Whiskers: the standard error."},
                 lines);
  };
  const std::string paired = "Test accuracy, paired over seeds. ";
  chart("Test accuracy", accuracy, "test images", true, "");
  chart("Gap to the dense arm", gaps, "percentage points", false, paired);
  chart("Gap to the dense arm of equal compute", equal, "percentage points", false,
        "As the paper compares: for k > 1 with dense_twin, whose last blocks are as wide as k experts. " + paired);
  chart("Accuracy of the router", routers, "validation images", true, "");
}

void add_clusterings(polymoe::report& page, const std::vector<swept_arm>& arms, const std::vector<result>& all) {
  std::vector<std::string> names;
  std::vector<double> means, errors;
  const auto bar = [&](const std::string& arm) {
    const std::vector<double> values = experiment::values_of(all, arm, "test_accuracy");
    if (values.empty()) return;
    const auto mean = polymoe::analysis::summarise(values);
    names.push_back(arm), means.push_back(mean.mean), errors.push_back(values.size() > 1 ? mean.standard_error : 0);
  };
  for (const swept_arm& a : arms)
    for (const place& at : a.places)
      if (at.axis == over_clusterings) bar(a.arm.name);
  if (names.empty()) return;
  bar("dense");
  page.bars({.title = "Test accuracy by clustering",
             .x_label = "test images",
             .share = true,
             .note = "Arms with clusters, and the dense one. Whiskers: the standard error."},
            names, means, errors);
}

}  // namespace

void add_sweeps(polymoe::report& page, const options& asked, const std::vector<swept_arm>& arms,
                const std::vector<result>& all) {
  const swept& s = asked.sweep;
  if (std::max({s.experts.size(), s.placement.size(), s.k.size(), s.clustering.size()}) < 2) return;
  page.section("Over E, L, k and clusterings");
  const std::vector<std::string> header{"arm",
                                        "E",
                                        "L",
                                        "k",
                                        "clusters",
                                        "test accuracy, %",
                                        "over dense, points",
                                        "over dense of equal compute, points",
                                        "router accuracy, %",
                                        "confusion inside, %",
                                        "MMACs",
                                        "active parameters",
                                        "paper, points over dense"};
  std::vector<std::vector<std::string>> rows;
  for (const swept_arm& a : arms) {
    const auto figure = [&](const char* name, const char* format, double scale) {
      return experiment::text_of(experiment::values_of(all, a.arm.name, name), format, scale);
    };
    if (experiment::values_of(all, a.arm.name, "test_accuracy").empty()) continue;
    const auto gap = [&](const std::string& other) {
      return a.arm.name == other ? "-" : experiment::text_of(gap_to(other, a.arm.name, all), "%+.2f", 100);
    };
    const bool experts = a.how != routing::dense && a.how != routing::dense_twin;
    const auto it = a.arm.paper.find("difference");
    rows.push_back({a.arm.name, experts ? std::to_string(a.o.experts) : "-",
                    a.how == routing::dense ? "-" : std::to_string(a.o.moe_blocks),
                    a.how == routing::dense ? "-" : std::to_string(a.how == routing::oracle ? 1 : a.o.k),
                    has_clusters(a.how) ? a.o.clustering : "-", figure("test_accuracy", "%.2f", 100), gap("dense"),
                    a.twin.empty() ? "-" : gap(a.twin), figure("router_accuracy", "%.2f", 100),
                    figure("confusion_inside", "%.1f", 100), figure("macs", "%.2f", 1e-6),
                    figure("active_parameters", "%.0f", 1), it == a.arm.paper.end() ? "" : it->second});
  }
  page.table("Every arm: mean, standard error and number of seeds", header, rows);
  std::printf("\nOver E, L, k and clusterings:\n");
  const auto print = [](const std::vector<std::string>& line) {
    for (std::size_t i = 0; i < line.size(); ++i) std::printf("%s%s", i ? " | " : "", line[i].c_str());
    std::printf("\n");
  };
  print(header);
  for (const auto& line : rows) print(line);
  for (const char* axis : {over_experts, over_blocks, over_k}) add_charts(page, axis, arms, all);
  add_clusterings(page, arms, all);
}

}  // namespace paper_d
