// paper_b: dense, soft and sparse heads on a ResNet-18, after "Mixture-of-Experts Models in Vision: Routing,
// Optimization, and Generalization" (arXiv 2601.15021).
//
// Arms: dense, soft, sparse (as the paper's code has them), soft_published, sparse_published (as its text says).  The
// report sets test accuracy, utilisation of experts, gates of experts and classes, the Hessian's largest eigenvalues
// and trace, the loss along the first eigenvector and inference time over batch sizes beside the paper's figures.
// Defaults are the paper's recipe (SGD 0.1, momentum 0.9, decay 5e-4 on everything, batch 128, 50 epochs, rate / 10
// after 60 and 80 per cent, no augmentation); --base makes the network narrower.
// ctest: --images 256 --validation 64 --test-images 64 --epochs 1 --batch 32 --base 4 --hessian-images 32 --hessian-products 12 --hessian-pairs 2 --trace-probes 2 --density-probes 1 --landscape-images 32 --landscape-points 3 --threads 1 --out build/paper_b-test
#include <sstream>

#include <CLI/CLI.hpp>

#include "pages.hpp"
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
      "the rows that say so, means over five draws. Its figures of test images (accuracy, loss, gates, Hessian) are of "
      "the epoch that was best on the validation images; which epoch ours are of stands in their rows, and where "
      "nothing stands it is the last one. One seed; differences of 0.4 points on 5000 images are below one standard "
      "error.");
}

/// What the paper finds, as pairs of arms.
std::vector<experiment::claim> claims() {
  std::vector<experiment::claim> all{
      {"best epoch: the soft head is above the dense one (86.44, 87.23)", "soft", "dense", "best_test_accuracy"},
      {"best epoch: the sparse head is above the dense one (86.44, 87.17)", "sparse", "dense", "best_test_accuracy"},
      {"best epoch: the dense head has the largest test loss", "dense", "soft", "best_test_loss", "nats", 1, "%+.4f"},
      {"best epoch: the dense head has the largest test loss", "dense", "sparse", "best_test_loss", "nats", 1, "%+.4f"},
      {"sparse routing is no faster", "dense", "sparse", "inference_images_per_second", "images/s", 1, "%+.0f"}};
  const auto sharper = [&](const char* text, const char* more, const char* less, const char* figure) {
    all.push_back({text, more, less, figure, "", 1, "%+.4g"});
  };
  sharper("training images: dense is sharper than soft (2.38, 1.10)", "dense", "soft", "train.lambda");
  sharper("training images: soft is sharper than sparse (1.10, 0.72)", "soft", "sparse", "train.lambda");
  sharper("test images: soft is sharper than dense (92.2, 63.9)", "soft", "dense", "test.lambda");
  sharper("test images: soft is sharper than sparse (92.2, 68.7)", "soft", "sparse", "test.lambda");
  sharper("training images: dense has a larger trace than sparse (22.8, 15.2)", "dense", "sparse", "train.trace");
  // The paper's networks all reach a training accuracy of 100 %; those of shorter runs differ in how far they are
  // trained.
  sharper("dense is sharper than soft, here at about equal training loss", "dense", "soft", "equal.train.lambda");
  sharper("soft is sharper than sparse, here at about equal training loss", "soft", "sparse", "equal.train.lambda");
  return all;
}

void add_options(CLI::App& app, paper_b::options& o) {
  app.add_option("--base", o.base, "channels of the first stage; 64 is ResNet-18")->check(CLI::Range(1, 1024));
  app.add_option("--hessian-images", o.hessian_images, "training and test images for the Hessian; 0: none")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--hessian-of", o.hessian_of,
                 "the epoch that Hessian and landscapes are of: best on the validation images, or last")
      ->check(CLI::IsMember({"best", "last"}));
  app.add_option("--hessian-at-loss", o.hessian_at_loss,
                 "a second Hessian, of the first epoch whose training loss is below this (nats); 0: none")
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
  std::ostringstream t;
  t << "base " << o.base << ", Hessian " << o.hessian_images << '/' << o.hessian_pairs << '/' << o.hessian_products
    << '/' << o.trace_probes << '/' << o.density_probes << ", landscape " << o.landscape_images << '/'
    << o.landscape_points;
  if (o.hessian_images > 0 || o.landscape_images > 0) t << ", of the " << o.hessian_of << " epoch";
  if (o.hessian_at_loss > 0) t << ", at loss " << o.hessian_at_loss;
  return t.str();
}

int run(experiment::settings& s, const paper_b::options& o, const experiment::images& data) {
  const bool looks = o.hessian_images > 0 || o.landscape_images > 0;
  polymoe::require(!looks || s.keep_best || o.hessian_of != "best",
                   "paper_b: --hessian-of best and --best false: the best epoch is not kept; take --hessian-of last");
  polymoe::require(o.hessian_at_loss <= 0 || o.hessian_images > 0, "paper_b: --hessian-at-loss is ", o.hessian_at_loss,
                   " and --hessian-images ", o.hessian_images, ", at least 1 is needed");
  s.keep_at_loss = o.hessian_at_loss;
  const auto arm = [&o](head which, const char* name, const char* about) {
    const auto train = [&o, which, name](const experiment::settings& t, std::uint64_t seed,
                                         const experiment::images& d) {
      if constexpr (experiment::has_gpu_arms)
        if (t.on_gpu()) return paper_b::run_on_gpu(which, name, t, o, seed, d, &paper_b::look_at);
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
                         {{"test accuracy, last epoch, %", "test_accuracy", "%.2f", 100},
                          {"  with the gate's noise in evaluation, %", "noisy_test_accuracy", "%.2f", 100},
                          {"  spread of that over draws, points", "noisy_test_spread", "%.2f", 100},
                          {"test accuracy, best validation epoch, %", "best_test_accuracy", "%.2f", 100},
                          {"  with the gate's noise in evaluation, %", "noisy_best_test_accuracy", "%.2f", 100},
                          {"test loss, last epoch", "test_loss"},
                          {"  with the gate's noise in evaluation", "noisy_test_loss"},
                          {"test loss, best validation epoch", "best_test_loss"},
                          {"  with the gate's noise in evaluation", "noisy_best_test_loss"},
                          {"best validation accuracy, %", "best_validation_accuracy", "%.2f", 100},
                          {"  its epoch", "best_validation_epoch", "%.1f"},
                          {"last, with the gate's noise in evaluation, %", "noisy_validation_accuracy", "%.2f", 100},
                          {"best training accuracy, %", "best_train_accuracy", "%.2f", 100},
                          {"  its epoch", "best_train_epoch", "%.1f"},
                          {"parameters", "parameters", "%.0f"},
                          {"MMACs of an image", "macs", "%.2f", 1e-6},
                          {"routed share of the MACs", "routed_share", "%.5f"},
                          {"gate entropy, test, last epoch (nats)", "entropy", "%.3f"},
                          {"  with the gate's noise in evaluation", "noisy_entropy", "%.3f"},
                          {"  best validation epoch, with the noise", "noisy_best_entropy", "%.3f"},
                          {"load CV, test, last epoch", "load_cv", "%.3f"},
                          {"experts without a test image", "dead_experts", "%.1f"},
                          {"training time, s", "train_seconds", "%.0f"},
                          {"images/s, inference", "inference_images_per_second", "%.0f"}});
  add_remarks(page);
  experiment::add_claims(page, claims(), all);
  experiment::add_descriptions(page, arms, all);
  page.section("Learning");
  experiment::add_curves(page, arms, all);
  experiment::add_routing(page, arms, all, data.test.class_names);
  paper_b::add_gate_tables(page, arms, all, data.test.class_names);
  experiment::add_calibration(page, arms, all, data.test.class_names);
  paper_b::add_sharpness(
      page, arms, all, "", "Sharpness",
      "Of the parameters of the " + o.hessian_of +
          " epoch, in evaluation mode. The paper's are of the epoch that was best on the validation images.");
  paper_b::add_sharpness(
      page, arms, all, "equal.", "Sharpness at equal training loss",
      "Of the first epoch whose training loss (with dropout and noise, mean over the epoch) is below " +
          experiment::text_of({o.hessian_at_loss}, "%.4g") +
          ": the networks are about equally far trained, as far as whole epochs allow.");
  paper_b::add_landscapes(page, arms, all);
  paper_b::add_timing(page, arms, all);
  return experiment::finish(page, s, data, all, [&](polymoe::json_writer& w) { paper_b::write_crossings(w, all); });
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_b", .epochs = 50, .milestones = {0.6, 0.8}, .keep_best = true};
  if constexpr (experiment::has_gpu_arms) s.find_gpu = &paper_b::find_gpu;
  return experiment::main_of(argc, argv, s, "Dense, soft and sparse heads on a ResNet-18 (paper B).",
                             add_options, variant_of, run);
}
