// The page's part about probabilities and mistakes.
#include "experiment.hpp"

#include <algorithm>
#include <cmath>

namespace experiment {
namespace {

/// Share of right answers over the confidence, bins of all seeds together; bins without an image are left out.
polymoe::series reliability(const std::vector<result>& all, const std::string& arm, index color) {
  std::vector<double> count, confidence, right;
  for (const result& r : all) {
    const auto n = r.lists.find("reliability_count");
    if (r.arm != arm || n == r.lists.end()) continue;
    const std::size_t bins = n->second.size();
    count.resize(bins, 0), confidence.resize(bins, 0), right.resize(bins, 0);
    for (std::size_t b = 0; b < bins; ++b) {
      count[b] += n->second[b];
      confidence[b] += n->second[b] * r.lists.at("reliability_confidence")[b];
      right[b] += n->second[b] * r.lists.at("reliability_accuracy")[b];
    }
  }
  polymoe::series s{.name = arm, .y = {}, .color = color};
  for (std::size_t b = 0; b < count.size(); ++b)
    if (count[b] > 0) s.x.push_back(confidence[b] / count[b]), s.y.push_back(right[b] / count[b]);
  return s;
}

/// The pairs of classes that are taken for one another most often: a grid of a hundred classes cannot be read.
void add_mistakes(polymoe::report& page, const std::string& title, const std::vector<std::string>& classes,
                  const std::vector<index>& counts) {
  const std::size_t n = classes.size();
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (i / n != i % n && counts[i] > 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return counts[a] > counts[b]; });
  order.resize(std::min<std::size_t>(order.size(), 15));
  std::vector<std::vector<std::string>> rows;
  for (const std::size_t i : order) {
    const auto row = counts.begin() + static_cast<std::ptrdiff_t>(i / n * n);
    index of = 0;
    for (auto it = row; it != row + static_cast<std::ptrdiff_t>(n); ++it) of += *it;
    rows.push_back({classes[i / n], classes[i % n], std::to_string(counts[i]) + " of " + std::to_string(of)});
  }
  page.table(title, {"class", "taken for", "images"}, rows);
}

}  // namespace

void add_calibration(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all,
                     const std::vector<std::string>& class_names) {
  std::vector<polymoe::series> curves;
  for (std::size_t i = 0; i < arms.size(); ++i)
    if (auto s = reliability(all, arms[i].name, static_cast<index>(i)); !s.y.empty()) curves.push_back(std::move(s));
  if (curves.empty()) return;
  page.section("Calibration and mistakes");
  add_figures(page, arms, all,
              {{"negative log-likelihood, test (nats)", "nll"},
               {"Brier score, test", "brier"},
               {"expected calibration error, test, %", "ece", "%.2f", 100}});
  page.text(
      "Of the probabilities of the test images, without label smoothing. Expected calibration error: how far the share "
      "of "
      "right answers is from the mean confidence, over 15 bins of confidence (Guo et al. 2017).");
  curves.push_back(
      {.name = "as it should be", .y = {0, 1}, .x = {0, 1}, .color = static_cast<index>(arms.size()), .dashed = true});
  page.lines({.title = "Reliability: right answers over confidence, test images of all seeds",
              .x_label = "mean probability of the predicted class",
              .y_label = "right answers",
              .share = true,
              .note = "Below the dashed line a model is surer than it is right."},
             curves);
  for (const arm& a : arms)
    for (const result& r : all) {
      const auto it = r.lists.find("confusion");
      if (r.arm != a.name || it == r.lists.end() || it->second.size() != class_names.size() * class_names.size())
        continue;
      std::vector<index> counts;
      for (const double x : it->second) counts.push_back(static_cast<index>(std::llround(x)));
      const std::string of = a.name + ", seed " + std::to_string(r.seed);
      if (class_names.size() <= 20)
        page.confusion(of + ": test images by class and answer", class_names, counts);
      else
        add_mistakes(page, of + ": what is taken for what most often", class_names, counts);
      break;
    }
}

}  // namespace experiment
