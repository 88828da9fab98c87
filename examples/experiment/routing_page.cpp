// The page's part about experts: how evenly they are used, which units switch, who works together, for which classes.
#include "experiment.hpp"

#include <algorithm>
#include <cmath>

#include <polymoe/analysis/expert_use.hpp>

namespace experiment {
namespace {

/// The first run of an arm that has a list: experts of different seeds are not the same ones.
const result* first_with(const std::vector<result>& all, const std::string& arm, const char* list) {
  for (const result& r : all)
    if (r.arm == arm && r.lists.count(list)) return &r;
  return nullptr;
}
std::vector<std::string> numbers(std::size_t n, const char* before = "") {
  std::vector<std::string> names;
  for (std::size_t e = 0; e < n; ++e) names.push_back(before + std::to_string(e));
  return names;
}
/// A list over epochs, one line an arm, mean over seeds.
std::vector<polymoe::series> over_epochs(const std::vector<arm>& arms, const std::vector<result>& all,
                                         const char* list) {
  std::vector<polymoe::series> curves;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    polymoe::series s{
        .name = arms[i].name, .y = mean_list(all, arms[i].name, list), .x = {}, .color = static_cast<index>(i)};
    if (std::none_of(s.y.begin(), s.y.end(), [](double y) { return std::isfinite(y); })) continue;
    for (std::size_t e = 0; e < s.y.size(); ++e) s.x.push_back(static_cast<double>(e + 1));
    curves.push_back(std::move(s));
  }
  return curves;
}

void add_load(polymoe::report& page, const result& r) {
  const std::vector<double>& load = r.lists.at("load");
  page.bars({.title = r.arm + ": load on the test images, seed " + std::to_string(r.seed),
             .x_label = "share of the weight or of the choices",
             .share = true},
            numbers(load.size(), "expert "), polymoe::analysis::utilisation_of(load).share);
}
/// Rows of the counts as shares.
void add_classes(polymoe::report& page, const result& r, const std::vector<std::string>& classes) {
  const std::vector<double>& counts = r.lists.at("class_expert");
  const std::size_t E = r.lists.at("load").size();
  if (counts.size() != classes.size() * E) return;
  polymoe::matrix m{classes, numbers(E), {}};
  for (std::size_t c = 0; c < classes.size(); ++c) {
    const auto row = polymoe::analysis::utilisation_of(std::span(counts).subspan(c * E, E)).share;
    m.values.insert(m.values.end(), row.begin(), row.end());
  }
  page.heatmap({.title = r.arm + ": who serves which class, seed " + std::to_string(r.seed),
                .x_label = "expert",
                .y_label = "class",
                .share = true},
               m);
}
void add_pairs(polymoe::report& page, const result& r) {
  const std::vector<double>& together = r.lists.at("together");
  const auto E = static_cast<std::size_t>(std::lround(std::sqrt(static_cast<double>(together.size()))));
  if (E < 3) return;
  const auto c = polymoe::analysis::coactivation_of(together, static_cast<int>(E));
  if (c.pairs == 0) return;
  page.heatmap(
      {.title = r.arm + ": experts of one unit, seed " + std::to_string(r.seed),
       .x_label = "expert",
       .y_label = "expert",
       .note = "How often two experts serve one unit, over what it would be if each met the others as often as "
               "they meet anyone. 1: independent.",
       .darkest = 2},
      {numbers(E), numbers(E), c.lift});
}

}  // namespace

void add_routing(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all,
                 const std::vector<std::string>& class_names) {
  const char* const has_experts = "classes_of_expert";
  if (std::none_of(all.begin(), all.end(), [=](const result& r) { return r.lists.count(has_experts); })) return;
  page.section("Experts");
  add_figures(page, arms, all,
              {{"experts in effect", "effective_experts", "%.2f"},
               {"experts without a test image", "dead_experts", "%.1f"},
               {"first expert switched, last epoch, %", "switched_first", "%.2f", 100},
               {"experts switched, last epoch, %", "switched_set", "%.2f", 100},
               {"told of the class, 0 to 1", "class_information", "%.3f"},
               {"  by chance, at most", "class_information_chance", "%.3f"},
               {"pairs unlike independent ones, %", "coactivation_distance", "%.1f", 100}});
  page.text(
      "Means over layers, read from plans. In effect: exp of the entropy of the load. Switched: share of the "
      "validation "
      "units, against the epoch before. Told of the class: mutual information of class and expert over the mean of "
      "both "
      "entropies; by chance is what so few images give where experts know nothing and an image's units agree. Pictures "
      "are "
      "of the last layer and one seed, as experts of different seeds are not the same ones.");
  if (const auto curves = over_epochs(arms, all, "switched_first"); !curves.empty())
    page.lines({.title = "Units whose first expert switched since the epoch before",
                .x_label = "epoch",
                .y_label = "validation units",
                .share = true},
               curves);
  if (const auto curves = over_epochs(arms, all, "class_information"); !curves.empty())
    page.lines(
        {.title = "What experts tell of the class", .x_label = "epoch", .y_label = "normalised mutual information"},
        curves);
  for (const arm& a : arms) {
    const result* r = first_with(all, a.name, has_experts);
    if (r == nullptr) continue;
    add_load(page, *r);
    add_classes(page, *r, class_names);
    if (r->lists.count("together")) add_pairs(page, *r);
  }
}

}  // namespace experiment
