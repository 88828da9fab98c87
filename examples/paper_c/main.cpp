// paper_c: six routers, and one of them with other weights, at two capacities in one vision transformer, after "Routers
// in Vision Mixture of Experts: An Empirical Study" (arXiv 2401.15969): accuracy against cost, at equal steps and at
// equal time, and few-shot probes.
//
// The paper pre-trains on JFT-300M, which is private: orderings can be compared, numbers cannot.
// ctest: --images 192 --validation 64 --test-images 64 --epochs 1 --batch 32 --dim 24 --mlp 24 --depth 2 --moe-blocks 1 --patch 8 --experts 4 --shots 1,2 --threads 1 --out build/paper_c-test
#include <cmath>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "paper_c.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_c::router;

/// Seconds of training up to the end of each epoch, mean over the seeds of an arm, and the accuracy there.
polymoe::series over_time(const std::vector<result>& all, const std::string& arm, index color) {
  polymoe::series s{.name = arm, .y = {}, .x = {}, .color = color};
  double runs = 0;
  for (const result& r : all) {
    if (r.arm != arm) continue;
    ++runs;
    s.x.resize(std::max(s.x.size(), r.epochs.size())), s.y.resize(s.x.size());
    double seconds = 0;
    for (std::size_t e = 0; e < r.epochs.size(); ++e)
      seconds += r.epochs[e].seconds, s.x[e] += seconds, s.y[e] += r.epochs[e].validation_accuracy;
  }
  for (std::size_t e = 0; e < s.x.size(); ++e) s.x[e] /= runs, s.y[e] /= runs;
  return s;
}
/// Accuracy at `seconds`, by interpolation between epochs.
double at_time(const polymoe::series& s, double seconds) {
  for (std::size_t e = 0; e < s.x.size(); ++e)
    if (s.x[e] >= seconds) {
      if (e == 0) return s.y[0] * seconds / s.x[0];
      return s.y[e - 1] + (s.y[e] - s.y[e - 1]) * (seconds - s.x[e - 1]) / (s.x[e] - s.x[e - 1]);
    }
  return s.y.empty() ? 0 : s.y.back();
}

void add_options(CLI::App& app, paper_c::options& o) {
  app.add_option("--dim", o.dim, "width D")->check(CLI::PositiveNumber);
  app.add_option("--depth", o.depth, "blocks")->check(CLI::Range(1, 64));
  app.add_option("--heads", o.heads, "attention heads")->check(CLI::PositiveNumber);
  app.add_option("--patch", o.patch, "pixels of a patch's side")->check(CLI::PositiveNumber);
  app.add_option("--mlp", o.mlp, "hidden width of a block's MLP and of an expert")->check(CLI::PositiveNumber);
  app.add_option("--experts", o.experts, "experts of a layer")->check(CLI::Range(2, 32));
  app.add_option("--moe-blocks", o.moe_blocks, "how many blocks have experts: the last odd ones")
      ->check(CLI::PositiveNumber);
  app.add_option("--group-images", o.group_images, "images whose tokens compete for slots")->check(CLI::PositiveNumber);
  app.add_option("--shots", o.shots, "labelled examples of a class for the probe")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  app.add_option("--probe-data", o.probe_data, "other images for the probe, as --data");
}

/// The program's own options that change a result.
std::string variant_of(const paper_c::options& o) {
  std::string shots = ", shots";
  for (const index n : o.shots) shots += ' ' + std::to_string(n);
  return "ViT " + std::to_string(o.depth) + "x" + std::to_string(o.dim) + "/" + std::to_string(o.patch) + ", heads " +
         std::to_string(o.heads) + ", mlp " + std::to_string(o.mlp) + ", E " + std::to_string(o.experts) + ", last " +
         std::to_string(o.moe_blocks) + ", group " + std::to_string(o.group_images) + ", probe " + o.probe_data + shots;
}

/// A router's capacities as points that are joined: what it costs, and the test accuracy.
void add_costs(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
               const char* title, const char* figure, double scale, const char* label) {
  std::vector<polymoe::series> routers;
  for (const experiment::arm& a : arms) {
    const auto cost = experiment::values_of(all, a.name, figure),
               right = experiment::values_of(all, a.name, "test_accuracy");
    if (cost.empty() || right.empty()) continue;
    const std::string name = a.name == "dense" ? a.name : a.name.substr(0, a.name.rfind('_'));
    if (routers.empty() || routers.back().name != name)
      routers.push_back({.name = name, .y = {}, .color = static_cast<index>(routers.size())});
    const auto accuracy = polymoe::analysis::summarise(right);
    routers.back().x.push_back(scale * polymoe::analysis::summarise(cost).mean);
    routers.back().y.push_back(accuracy.mean), routers.back().errors.push_back(accuracy.standard_error);
  }
  page.lines({.title = title,
              .x_label = label,
              .y_label = "right answers",
              .share = true,
              .note = "A line joins the capacities of one router. Whiskers: the standard error over seeds."},
             routers);
}

/// Every router at both capacities, and the dense model.
std::vector<experiment::arm> arms_of(const paper_c::options& o, const experiment::images& probe) {
  std::vector<experiment::arm> arms;
  const auto add = [&](router which, int capacity, const std::string& name, const std::string& about) {
    arms.push_back({name, about,
                    [&o, &probe, which, capacity, name](const experiment::settings& s, std::uint64_t seed,
                                                        const experiment::images& data) {
#if defined(POLYMOE_DEMO_CUDA)
                      if (s.on_gpu()) return paper_c::run_on_gpu(which, capacity, name, s, o, seed, data, probe);
#endif
                      return paper_c::run(which, capacity, name, s, o, seed, data, probe);
                    }});
  };
  add(router::dense, 0, "dense", "no experts");
  const auto twice = [&](router which, const std::string& name, const std::string& about) {
    for (const int c : {1, 2}) add(which, c, name + "_" + std::to_string(c), about + std::to_string(c));
  };
  twice(router::softmax_tc, "softmax_tc", "token choice, K = ");
  twice(router::sinkhorn_tc, "sinkhorn_tc", "token choice, K = ");
  twice(router::sinkhorn_plan_tc, "sinkhorn_plan_tc", "token choice with the plan as weights, K = ");
  twice(router::softmax_ec, "softmax_ec", "expert choice, capacity factor ");
  twice(router::sinkhorn_ec, "sinkhorn_ec", "expert choice, capacity factor ");
  twice(router::sparse_ec, "sparse_ec", "expert choice, capacity factor ");
  twice(router::soft, "soft", "Soft MoE, slots over tokens = ");
  return arms;
}

int run(experiment::settings& s, const paper_c::options& o, const experiment::images& data) {
  experiment::images other;
  if (!o.probe_data.empty()) {
    experiment::settings p = s;
    p.data = o.probe_data, p.images = p.validation = p.test_images = 0;
    other = experiment::read_images(p);
    polymoe::require(other.test.features() == data.test.features(), "--probe-data: images of ", other.test.features(),
                     " values, the model takes ", data.test.features());
  }
  const experiment::images& probe = o.probe_data.empty() ? data : other;

  const std::vector<experiment::arm> arms = arms_of(o, probe);
  std::vector<result> all;
  if (const int status = experiment::run_all(s, s.variant, arms, data, all); status >= 0) return status;

  // Equal time: as long as the quickest arm took.
  std::vector<polymoe::series> time;
  double shortest = HUGE_VAL;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    polymoe::series curve = over_time(all, arms[i].name, static_cast<index>(i));
    if (curve.x.empty()) continue;
    shortest = std::min(shortest, curve.x.back());
    time.push_back(std::move(curve));
  }
  for (result& r : all) {
    std::vector<result> one{r};
    r.figures["accuracy_at_equal_time"] = at_time(over_time(one, r.arm, 0), shortest);
  }
  polymoe::report page("Six routers in one vision transformer", "After arXiv 2401.15969 (paper C); " + s.variant);
  page.section("Result");
  std::vector<experiment::figure_row> rows{
      {"test accuracy at equal steps, %", "test_accuracy", "%.2f", 100},
      {"validation accuracy at equal time, %", "accuracy_at_equal_time", "%.2f", 100},
      {"test loss", "test_loss"}};
  std::vector<std::string> titles;
  for (const index n : o.shots) titles.push_back("probe_" + std::to_string(n));
  for (std::size_t i = 0; i < titles.size(); ++i)
    rows.push_back({std::to_string(o.shots[i]) + "-shot probe, %", titles[i], "%.2f", 100});
  for (const experiment::figure_row& f : {experiment::figure_row{"training time, s", "train_seconds", "%.0f"},
                                          {"images/s, inference", "inference_images_per_second", "%.0f"},
                                          {"parameters", "parameters", "%.0f"},
                                          {"MMACs of an image", "macs", "%.2f", 1e-6},
                                          {"drop rate, test", "drop_rate", "%.3f"},
                                          {"load CV, test", "load_cv", "%.3f"},
                                          {"router entropy, test (nats)", "entropy", "%.3f"}})
    rows.push_back(f);
  experiment::add_tables(page, arms, all, rows);
  page.text(
      "The paper finds: expert choice above token choice whatever the affinity; Soft MoE best at equal cost; Sinkhorn "
      "a fair balance of "
      "throughput and accuracy; the sparse plan the slow one. Its numbers are of JFT-300M and are not comparable.");
  page.text(
      "Equal time is as long as the quickest arm's training took. The accuracy there is read from the arm's curve of "
      "validation accuracy, between epochs on a straight line: no arm was trained for that time, and its learning rate "
      "had "
      "not come to its end. The first row, at equal steps, is of test images.");
  page.section("Cost against accuracy");
  add_costs(page, arms, all, "Test accuracy over compute", "macs", 1e-6, "MMACs of an image, forward");
  add_costs(page, arms, all, "Test accuracy over training time", "train_seconds", 1, "seconds");
  page.lines({.title = "Validation accuracy over training time, mean over seeds",
              .x_label = "seconds",
              .y_label = "right answers",
              .share = true,
              .wide = true},
             time);
  experiment::add_curves(page, arms, all);
  page.section("Routers");
  experiment::add_descriptions(page, arms, all);
  experiment::add_routing(page, arms, all, data.test.class_names);
  experiment::add_calibration(page, arms, all, data.test.class_names);
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_c", .epochs = 30, .learning_rate = 1e-3, .weight_decay = 0.05,
                         .augment = "crop"};
#if defined(POLYMOE_DEMO_CUDA)
  s.find_gpu = &paper_c::find_gpu;
#endif
  return experiment::main_of(argc, argv, s, "Six routers at two capacities in one vision transformer (paper C).",
                             add_options, variant_of, run);
}
