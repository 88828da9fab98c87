// The page's part about the Hessian, and about the loss around a model.
#include <algorithm>
#include <cmath>

#include "pages.hpp"
#include "reported.hpp"

namespace paper_b {
namespace {

/// Of the first seed of every arm: axes differ from seed to seed.
void add_densities(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
                   const std::string& before, const std::string& part) {
  std::vector<polymoe::series> lines;
  for (std::size_t i = 0; i < arms.size(); ++i)
    for (const result& r : all) {
      const auto y = r.lists.find(before + part + ".density");
      if (r.arm != arms[i].name || y == r.lists.end()) continue;
      polymoe::series s{.name = arms[i].name,
                        .y = {},
                        .x = r.lists.at(before + part + ".density_at"),
                        .color = static_cast<index>(i)};
      for (const double d : y->second) s.y.push_back(std::max(d, 1e-6));
      lines.push_back(std::move(s));
      break;
    }
  if (lines.empty()) return;
  page.lines({.title = "Density of the Hessian's eigenvalues, " + part + " images",
              .x_label = "eigenvalue",
              .y_label = "share per unit",
              .log_y = true,
              .note = "Stochastic Lanczos quadrature, the first seed; smoothed by a hundredth of the range, cut below "
                      "1e-6."},
             lines);
}

/// Rows of both parts; `before` as in add_sharpness().
std::vector<experiment::figure_row> sharpness_rows(const std::string& before) {
  std::vector<experiment::figure_row> rows{{"epoch of these parameters", before + "look_epoch", "%.1f"}};
  if (!before.empty()) rows.push_back({"  its training loss, mean over the epoch", before + "epoch_loss"});
  for (const auto& [part, images] :
       {std::pair<std::string, std::string>{"train", "training images"}, {"test", "test images"}}) {
    const std::string of = before + part;
    rows.insert(rows.end(), {{"loss of the " + images, of + ".loss", "%.4g"},
                             {"largest eigenvalue, " + images, of + ".lambda", "%.4g"},
                             {"  its error bound", of + ".lambda_residual", "%.2g"},
                             {"  by power iteration, as the paper", of + ".lambda_power", "%.4g"},
                             {"  with the router held fixed", of + ".lambda_frozen", "%.4g"},
                             {"  with the gate's noise in evaluation", of + ".lambda_noisy", "%.4g"},
                             {"trace, " + images, of + ".trace", "%.4g"},
                             {"  its standard error", of + ".trace_error", "%.2g"}});
  }
  rows.push_back({"time of all this, s", before + "look_seconds", "%.0f"});
  return rows;
}

}  // namespace

void add_sharpness(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
                   const std::string& before, const std::string& title, const std::string& text) {
  if (std::none_of(all.begin(), all.end(), [&](const result& r) { return r.figures.count(before + "train.lambda"); }))
    return;
  page.section(title).text(text);
  experiment::add_figures(page, arms, all, sharpness_rows(before));
  for (const std::string part : {"train", "test"}) {
    std::vector<polymoe::series> along, spectrum;
    bool paper_along = false;
    for (std::size_t i = 0; i < arms.size(); ++i) {
      const auto alpha = experiment::mean_list(all, arms[i].name, before + part + ".alpha"),
                 loss = experiment::mean_list(all, arms[i].name, before + part + ".loss_along");
      const auto color = static_cast<index>(i);
      const paper_b::reported& paper = paper_b::reported_of(arms[i].name);
      if (!loss.empty()) {
        along.push_back({.name = arms[i].name, .y = loss, .x = alpha, .color = color});
        if (const auto frozen = experiment::mean_list(all, arms[i].name, before + part + ".loss_along_frozen");
            !frozen.empty())
          along.push_back(
              {.name = arms[i].name + ", gates frozen", .y = frozen, .x = alpha, .color = color, .dashed = true});
        if (before.empty() && part == "train" && !paper.loss_along.empty())
          along.push_back({.name = arms[i].name + ", paper",
                           .y = paper.loss_along,
                           .x = paper_b::reported_alpha,
                           .color = color,
                           .dashed = true}),
              paper_along = true;
      }
      const auto values = experiment::mean_list(all, arms[i].name, before + part + ".eigenvalues");
      if (values.empty()) continue;
      const auto ranked = [&](const std::string& name, const std::vector<double>& y, bool dashed) {
        polymoe::series s{.name = name, .y = y, .x = {}, .color = color, .dashed = dashed};
        for (std::size_t k = 0; k < y.size(); ++k) s.x.push_back(static_cast<double>(k + 1));
        spectrum.push_back(std::move(s));
      };
      ranked(arms[i].name, values, false);
      const auto& published = part == "train" ? paper.train_eigenvalues : paper.test_eigenvalues;
      if (before.empty() && !published.empty()) ranked(arms[i].name + ", paper", published, true);
    }
    page.lines(
        {.title = "Loss along the first eigenvector, " + part + " images",
         .x_label = "step along the normalised vector",
         .y_label = "loss",
         .log_y = true,
         .note = std::string("A jump is a gate that changes its choice; the Hessian does not see it, and there is "
                             "none where gates are frozen (dashed).") +
                 (paper_along ? " Dashed as well: what the paper reports." : "")},
        along);
    add_densities(page, arms, all, before, part);
    page.lines({.title = "Largest eigenvalues, " + part + " images",
                .x_label = "rank",
                .y_label = "eigenvalue",
                .note = before.empty() ? "Dashed: what the paper reports, in its order." : ""},
               spectrum);
  }
}

void add_landscapes(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all) {
  std::vector<polymoe::series> lines;
  for (std::size_t i = 0; i < arms.size(); ++i)
    for (const std::string how : {"free", "frozen"}) {
      polymoe::series s{.name = arms[i].name + (how == "frozen" ? ", gates frozen" : ""),
                        .y = experiment::mean_list(all, arms[i].name, "landscape.line_" + how),
                        .x = experiment::mean_list(all, arms[i].name, "landscape.alpha"),
                        .color = static_cast<index>(i),
                        .dashed = how == "frozen"};
      if (!s.y.empty()) lines.push_back(std::move(s));
    }
  if (lines.empty()) return;
  page.section("Loss around the trained model");
  page.text(
      "Mean loss of training images along random directions whose filters are as long as the model's own (Li et al. "
      "2018); biases and norms stay. Frozen gates keep the plan of the model in the middle, choices and weights: the "
      "difference to free ones is what routing does. The running statistics of batch norms stay, too.");
  page.lines({.title = "Loss along a random direction, mean over seeds",
              .x_label = "filter lengths",
              .y_label = "loss",
              .log_y = true},
             lines);
  for (const auto& a : arms)
    for (const std::string how : {"free", "frozen"})
      for (const result& r : all) {
        const auto plane = r.lists.find("landscape.plane_" + how);
        if (r.arm != a.name || plane == r.lists.end()) continue;
        polymoe::matrix m;
        for (const double x : r.lists.at("landscape.side")) m.rows.push_back(experiment::text_of({x}, "%.1f"));
        m.cols = m.rows;
        for (const double loss : plane->second) m.values.push_back(std::log10(loss));
        page.heatmap({.title = a.name + (how == "frozen" ? ", gates frozen" : "") + ": log10 of the loss over two " +
                               "directions, seed " + std::to_string(r.seed),
                      .x_label = "filter lengths along the second",
                      .y_label = "along the first"},
                     m);
        break;
      }
}

}  // namespace paper_b
