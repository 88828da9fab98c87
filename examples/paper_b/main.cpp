// paper_b: dense, soft and sparse heads on a ResNet-18, after "Mixture-of-Experts Models in Vision: Routing,
// Optimization, and Generalization" (arXiv 2601.15021).
//
// Arms: dense, soft, sparse (as the paper's code has them), soft_published, sparse_published (as its text says).  The
// report sets test accuracy, utilisation of experts, who serves which class, the Hessian's largest eigenvalues and trace,
// the loss along the first eigenvector and inference time over batch sizes beside the paper's figures.
// Defaults are the paper's recipe (SGD 0.1, momentum 0.9, decay 5e-4 on everything, batch 128, 50 epochs, rate / 10 after
// 60 and 80 per cent, no augmentation); --base makes the network narrower.
// ctest: --images 256 --validation 64 --test-images 64 --epochs 1 --batch 32 --base 4 --hessian-images 32 --hessian-products 12 --hessian-pairs 2 --trace-probes 2 --density-probes 1 --landscape-images 32 --landscape-points 3 --threads 1 --out build/paper_b-test
#include <cmath>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "paper_b.hpp"
#include "reported.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_b::head;

void add_remarks(polymoe::report& page) {
  page.text(
      "The paper's columns are of its result files: CIFAR-10, ResNet-18, seed 42. Its eigenvalues come from power "
      "iteration with a relative tolerance of 1e-3, 1000 images each; in two of six cases its second estimate is "
      "larger "
      "than its first. Its sparse figures were made with the gate's noise switched on in evaluation: compare them with "
      "the rows that say so, means over five draws. Its test accuracies are of the epoch that was best on the "
      "validation "
      "images: the second row. One seed; differences of 0.4 points on 5000 images are below one standard error.");
}

/// What the paper finds, as pairs of arms.
std::vector<experiment::claim> claims() {
  std::vector<experiment::claim> all{
      {"the soft head is above the dense one (86.44, 87.23)", "soft", "dense"},
      {"the sparse head is above the dense one (86.44, 87.17)", "sparse", "dense"},
      {"the dense head has the largest test loss", "dense", "soft", "test_loss", "nats", 1, "%+.4f"},
      {"the dense head has the largest test loss", "dense", "sparse", "test_loss", "nats", 1, "%+.4f"},
      {"sparse routing is no faster", "dense", "sparse", "inference_images_per_second", "images/s", 1, "%+.0f"}};
  const auto sharper = [&](const char* text, const char* more, const char* less, const char* figure) {
    all.push_back({text, more, less, figure, "", 1, "%+.4g"});
  };
  sharper("training images: dense is sharper than soft (2.38, 1.10)", "dense", "soft", "train.lambda");
  sharper("training images: soft is sharper than sparse (1.10, 0.72)", "soft", "sparse", "train.lambda");
  sharper("test images: soft is sharper than dense (92.2, 63.9)", "soft", "dense", "test.lambda");
  sharper("test images: soft is sharper than sparse (92.2, 68.7)", "soft", "sparse", "test.lambda");
  sharper("training images: dense has a larger trace than sparse (22.8, 15.2)", "dense", "sparse", "train.trace");
  return all;
}

/// Of the first seed of every arm: axes differ from seed to seed.
void add_densities(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
                   const std::string& part) {
  std::vector<polymoe::series> lines;
  for (std::size_t i = 0; i < arms.size(); ++i)
    for (const result& r : all) {
      const auto y = r.lists.find(part + ".density");
      if (r.arm != arms[i].name || y == r.lists.end()) continue;
      polymoe::series s{.name = arms[i].name, .y = {}, .x = r.lists.at(part + ".density_at"), .color = static_cast<index>(i)};
      for (const double d : y->second) s.y.push_back(std::max(d, 1e-6));
      lines.push_back(std::move(s));
      break;
    }
  if (lines.empty()) return;
  page.lines({.title = "Density of the Hessian's eigenvalues, " + part + " images",
              .x_label = "eigenvalue",
              .y_label = "share per unit",
              .log_y = true,
              .note = "Stochastic Lanczos quadrature, the first seed; smoothed by a hundredth of the range, below 1e-6 cut."},
             lines);
}

void add_hessians(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all) {
  bool any = false;
  for (const result& r : all) any = any || r.figures.count("train.lambda");
  if (!any) return;
  page.section("Sharpness");
  experiment::add_figures(page, arms, all,
                          {{"largest eigenvalue, training images", "train.lambda", "%.4g"},
                           {"  its error bound", "train.lambda_residual", "%.2g"},
                           {"  by power iteration, as the paper", "train.lambda_power", "%.4g"},
                           {"  with the router held fixed", "train.lambda_frozen", "%.4g"},
                           {"  with the gate's noise in evaluation", "train.lambda_noisy", "%.4g"},
                           {"trace, training images", "train.trace", "%.4g"},
                           {"  its standard error", "train.trace_error", "%.2g"},
                           {"largest eigenvalue, test images", "test.lambda", "%.4g"},
                           {"  its error bound", "test.lambda_residual", "%.2g"},
                           {"  by power iteration, as the paper", "test.lambda_power", "%.4g"},
                           {"  with the router held fixed", "test.lambda_frozen", "%.4g"},
                           {"  with the gate's noise in evaluation", "test.lambda_noisy", "%.4g"},
                           {"trace, test images", "test.trace", "%.4g"},
                           {"  its standard error", "test.trace_error", "%.2g"}});
  for (const std::string part : {"train", "test"}) {
    std::vector<polymoe::series> along, spectrum;
    bool paper_along = false;
    for (std::size_t i = 0; i < arms.size(); ++i) {
      const auto alpha = experiment::mean_list(all, arms[i].name, part + ".alpha"),
                 loss = experiment::mean_list(all, arms[i].name, part + ".loss_along");
      const auto color = static_cast<index>(i);
      const paper_b::reported& paper = paper_b::reported_of(arms[i].name);
      if (!loss.empty()) {
        along.push_back({.name = arms[i].name, .y = loss, .x = alpha, .color = color});
        if (const auto frozen = experiment::mean_list(all, arms[i].name, part + ".loss_along_frozen"); !frozen.empty())
          along.push_back(
              {.name = arms[i].name + ", gates frozen", .y = frozen, .x = alpha, .color = color, .dashed = true});
        if (part == "train" && !paper.loss_along.empty())
          along.push_back({.name = arms[i].name + ", paper",
                           .y = paper.loss_along,
                           .x = paper_b::reported_alpha,
                           .color = color,
                           .dashed = true}),
              paper_along = true;
      }
      const auto values = experiment::mean_list(all, arms[i].name, part + ".eigenvalues");
      if (values.empty()) continue;
      const auto ranked = [&](const std::string& name, const std::vector<double>& y, bool dashed) {
        polymoe::series s{.name = name, .y = y, .x = {}, .color = color, .dashed = dashed};
        for (std::size_t k = 0; k < y.size(); ++k) s.x.push_back(static_cast<double>(k + 1));
        spectrum.push_back(std::move(s));
      };
      ranked(arms[i].name, values, false);
      const auto& published = part == "train" ? paper.train_eigenvalues : paper.test_eigenvalues;
      if (!published.empty()) ranked(arms[i].name + ", paper", published, true);
    }
    page.lines({.title = "Loss along the first eigenvector, " + part + " images",
                .x_label = "step along the normalised vector",
                .y_label = "loss",
                .log_y = true,
                .note = std::string("A jump is a gate that changes its choice; the Hessian does not see it, and there is "
                                    "none where gates are frozen (dashed).") +
                        (paper_along ? " Dashed as well: what the paper reports." : "")},
               along);
    add_densities(page, arms, all, part);
    page.lines({.title = "Largest eigenvalues, " + part + " images",
                .x_label = "rank",
                .y_label = "eigenvalue",
                .note = "Dashed: what the paper reports, in its order."},
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

void add_timing(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all) {
  page.section("Inference time of the whole model");
  std::vector<polymoe::series> time;
  std::vector<std::string> header{"batch"};
  std::vector<std::vector<std::string>> rows;
  std::vector<std::vector<double>> ms;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    const auto v = experiment::mean_list(all, arms[i].name, "inference_ms");
    if (v.empty()) continue;
    header.push_back(arms[i].name + ", ms"), ms.push_back(v);
    polymoe::series s{.name = arms[i].name, .y = {}, .x = {}, .color = static_cast<index>(i)};
    for (std::size_t k = 0; k < v.size(); ++k)
      s.x.push_back(static_cast<double>(k)), s.y.push_back(std::ldexp(1e3 / v[k], static_cast<int>(k)));
    time.push_back(s);
  }
  for (std::size_t k = 0; !ms.empty() && k < ms[0].size(); ++k) {
    rows.push_back({std::to_string(index{1} << k)});
    for (const auto& v : ms) rows.back().push_back(experiment::text_of({v[k]}, "%.3f"));
  }
  page.table("Median of 20 forwards, evaluation mode", header, rows);
  page.lines({.title = "Images per second",
              .x_label = "log2 of the batch",
              .y_label = "images/s",
              .note = "The head is 0.05 % of the model's FLOPs: no routing can be seen here. break_even_bench takes "
                      "heads and blocks by themselves."},
             time);
}

void add_options(CLI::App& app, paper_b::options& o) {
  app.add_option("--base", o.base, "channels of the first stage; 64 is ResNet-18")->check(CLI::Range(1, 1024));
  app.add_option("--hessian-images", o.hessian_images, "training and test images for the Hessian; 0: none")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--hessian-pairs", o.hessian_pairs, "largest eigenvalues")->check(CLI::Range(1, 50));
  app.add_option("--hessian-products", o.hessian_products, "at most so many products for them")
      ->check(CLI::PositiveNumber);
  app.add_option("--trace-probes", o.trace_probes, "random probes of the trace")->check(CLI::PositiveNumber);
  app.add_option("--density-probes", o.density_probes, "random starts of the density of eigenvalues; 0: none")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--landscape-images", o.landscape_images, "training images for the loss along random directions")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--landscape-points", o.landscape_points, "points of a plane's axis")->check(CLI::Range(2, 101));
}

/// The program's own options that change a result.
std::string variant_of(const paper_b::options& o) {
  return "base " + std::to_string(o.base) + ", Hessian " + std::to_string(o.hessian_images) + "/" +
         std::to_string(o.hessian_pairs) + "/" + std::to_string(o.hessian_products) + "/" +
         std::to_string(o.trace_probes) + "/" + std::to_string(o.density_probes) + ", landscape " + std::to_string(o.landscape_images) + "/" +
         std::to_string(o.landscape_points);
}

int run(experiment::settings& s, const paper_b::options& o, const experiment::images& data) {
  polymoe::require(!s.on_gpu() || o.landscape_images == 0, "paper_b: --landscape-images is ", o.landscape_images,
                   ", the loss along random directions is for --device cpu");
  const auto arm = [&o](head which, const char* name, const char* about) {
    const auto train = [&o, which, name](const experiment::settings& t, std::uint64_t seed, const experiment::images& d) {
      if constexpr (experiment::has_gpu_arms)
        if (t.on_gpu()) return paper_b::run_on_gpu(which, name, t, o, seed, d, &paper_b::add_hessian);
      return paper_b::run(which, name, t, o, seed, d);
    };
    return experiment::arm{name, about, train, paper_b::reported_of(name).figures};
  };
  const std::vector<experiment::arm> arms{
      arm(head::dense, "dense", "two linear layers"), arm(head::soft, "soft", "all experts, as coded"),
      arm(head::sparse, "sparse", "two of eight experts, as coded"),
      arm(head::soft_published, "soft_published", "all experts, as the text says"),
      arm(head::sparse_published, "sparse_published", "two of eight experts, as the text says")};
  std::vector<result> all;
  if (const int status =
          experiment::run_all(s, "ResNet-18 with " + std::to_string(o.base) + " channels", arms, data, all);
      status >= 0)
    return status;

  polymoe::report page("Dense, soft and sparse heads on a ResNet", "After arXiv 2601.15021 (paper B)");
  page.section("Result");
  experiment::add_tables(page, arms, all,
                         {{"test accuracy, %", "test_accuracy", "%.2f", 100},
                          {"  at the epoch of the best validation accuracy, %", "best_test_accuracy", "%.2f", 100},
                          {"  with the gate's noise in evaluation, %", "noisy_test_accuracy", "%.2f", 100},
                          {"  spread of that over draws, points", "noisy_test_spread", "%.2f", 100},
                          {"test loss", "test_loss"},
                          {"  with the gate's noise in evaluation", "noisy_test_loss"},
                          {"best validation accuracy, %", "best_validation_accuracy", "%.2f", 100},
                          {"  its epoch", "best_validation_epoch", "%.1f"},
                          {"last, with the gate's noise in evaluation, %", "noisy_validation_accuracy", "%.2f", 100},
                          {"best training accuracy, %", "best_train_accuracy", "%.2f", 100},
                          {"  its epoch", "best_train_epoch", "%.1f"},
                          {"parameters", "parameters", "%.0f"},
                          {"MMACs of an image", "macs", "%.2f", 1e-6},
                          {"routed share of the MACs", "routed_share", "%.5f"},
                          {"gate entropy, test (nats)", "entropy", "%.3f"},
                          {"  with the gate's noise in evaluation", "noisy_entropy", "%.3f"},
                          {"load CV, test", "load_cv", "%.3f"},
                          {"experts without a test image", "dead_experts", "%.1f"},
                          {"training time, s", "train_seconds", "%.0f"},
                          {"images/s, inference", "inference_images_per_second", "%.0f"}});
  add_remarks(page);
  experiment::add_claims(page, claims(), all);
  experiment::add_descriptions(page, arms, all);
  page.section("Learning");
  experiment::add_curves(page, arms, all);
  experiment::add_routing(page, arms, all, data.test.class_names);
  experiment::add_calibration(page, arms, all, data.test.class_names);
  add_hessians(page, arms, all);
  add_landscapes(page, arms, all);
  add_timing(page, arms, all);
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_b", .epochs = 50, .milestones = {0.6, 0.8}, .keep_best = true};
  if constexpr (experiment::has_gpu_arms) s.find_gpu = &paper_b::find_gpu;
  return experiment::main_of(argc, argv, s, "Dense, soft and sparse heads on a ResNet-18 (paper B).",
                             add_options, variant_of, run);
}
