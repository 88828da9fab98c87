// The page's part about gates: the mean gate of each expert, and of each class, beside what the paper's result files
// have.
#include <algorithm>
#include <numeric>

#include "pages.hpp"
#include "reported.hpp"

namespace paper_b {
namespace {

using rows_of_text = std::vector<std::vector<std::string>>;

/// Columns beside one another; short ones are filled up.
void add_column(std::vector<std::string>& header, rows_of_text& rows, const std::string& title,
                const std::vector<std::string>& cells) {
  header.push_back(title);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].push_back(i < cells.size() ? cells[i] : "");
}
/// Largest first, with the number of its expert.
std::vector<std::string> ranked(const std::vector<double>& of_expert) {
  std::vector<std::size_t> order(of_expert.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return of_expert[a] > of_expert[b]; });
  std::vector<std::string> cells;
  for (const std::size_t e : order)
    cells.push_back(experiment::text_of({of_expert[e]}, "%.4f") + " (" + std::to_string(e) + ")");
  return cells;
}
/// What each expert has of the images: sums over classes of [classes, E].
std::vector<double> over_classes(const std::vector<double>& class_expert, const std::vector<double>& weight) {
  const std::size_t E = class_expert.size() / weight.size();
  std::vector<double> sum(E, 0.0);
  for (std::size_t i = 0; i < class_expert.size(); ++i) sum[i % E] += class_expert[i] * weight[i / E];
  return sum;
}

}  // namespace

void add_gate_tables(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
                     const std::vector<std::string>& class_names) {
  std::vector<std::string> gate_header{"rank"}, class_header{"class"};
  rows_of_text gate_rows, class_rows;
  for (index e = 0; e < experts; ++e) gate_rows.push_back({std::to_string(e + 1)});
  for (const std::string& name : class_names) class_rows.push_back({name});
  std::vector<std::pair<const result*, polymoe::matrix>> maps;
  for (const experiment::arm& a : arms) {
    // Experts of different seeds are not the same ones.
    const auto first = std::find_if(all.begin(), all.end(),
                                    [&](const result& r) { return r.arm == a.name && r.lists.count("class_gate"); });
    if (first == all.end()) continue;
    const std::vector<double>&gate = first->lists.at("class_gate"), &images = first->lists.at("class_images");
    if (images.size() != class_names.size() || gate.size() != images.size() * static_cast<std::size_t>(experts))
      continue;
    const reported& paper = reported_of(a.name);
    const double total = std::accumulate(images.begin(), images.end(), 0.0);
    std::vector<double> share(images);
    for (double& x : share) x /= total;
    add_column(gate_header, gate_rows, a.name + ", mean gate", ranked(over_classes(gate, share)));
    if (!paper.gates.empty()) add_column(gate_header, gate_rows, a.name + ", paper", ranked(paper.gates));
    // Sparse plans are counted by choices.
    if (const auto counts = first->lists.find("class_expert");
        first->lists.count("together") && counts != first->lists.end()) {
      add_column(gate_header, gate_rows, a.name + ", share of the images",
                 ranked(over_classes(counts->second, std::vector<double>(images.size(), 1 / total))));
      if (!paper.chosen.empty()) add_column(gate_header, gate_rows, a.name + ", paper", ranked(paper.chosen));
    }
    std::vector<std::string> strongest, published;
    for (std::size_t c = 0; c < images.size(); ++c) {
      const auto row = gate.begin() + static_cast<std::ptrdiff_t>(c) * experts,
                 best = std::max_element(row, row + experts);
      strongest.push_back(std::to_string(best - row) + " (" + experiment::text_of({*best}, "%.2f") + ")");
      const auto named = paper.class_gates.find(class_names[c]);
      published.push_back(named == paper.class_gates.end() ? "" : named->second);
    }
    add_column(class_header, class_rows, a.name, strongest);
    if (!paper.class_gates.empty()) add_column(class_header, class_rows, a.name + ", paper", published);
    polymoe::matrix m{class_names, {}, gate};
    for (index e = 0; e < experts; ++e) m.cols.push_back(std::to_string(e));
    maps.emplace_back(&*first, std::move(m));
  }
  if (maps.empty()) return;
  page.section("Gates");
  page.text(
      "Of the test images, the last epoch, the first seed, without noise. Numbers of experts are arbitrary, so a "
      "column "
      "is sorted by itself, with the number of the expert behind it; a mean gate is what images give an expert of "
      "their "
      "weight, 0 where it is not chosen. The paper's columns are of its best epoch; the sparse ones were made with the "
      "gate's noise switched on. Of classes it names the strongest expert alone, and of its text's own forms "
      "(soft_published, sparse_published) it has no run.");
  page.table("Gate of each expert", gate_header, gate_rows);
  page.table("Strongest expert of each class, and the mean gate that the class gives it", class_header, class_rows);
  for (const auto& [r, m] : maps)
    page.heatmap({.title = r->arm + ": mean gate of a class, seed " + std::to_string(r->seed),
                  .x_label = "expert",
                  .y_label = "class",
                  .share = true},
                 m);
}

}  // namespace paper_b
