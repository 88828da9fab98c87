// paper_c: six routers, and one of them with other weights, at several capacities in one vision transformer, after
// "Routers in Vision Mixture of Experts: An Empirical Study" (arXiv 2401.15969): accuracy against cost, at equal steps
// and at equal time, and few-shot probes.
//
// --equal-time SECONDS, or the name of an arm, trains every arm once more as "<name>-timed": as many steps as fit into
// that time, or into what that arm takes for --epochs, by a short calibration.
//
// The paper pre-trains on JFT-300M, which is private: orderings can be compared, numbers cannot.
// ctest: --images 192 --validation 64 --test-images 64 --epochs 1 --batch 32 --dim 24 --mlp 24 --depth 2 --placement last-odd-1 --patch 8 --experts 4 --shots 1,2 --threads 1 --out build/paper_c-test
#include <cmath>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "../experiment/equal_time.hpp"
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
std::vector<polymoe::series> curves_over_time(const std::vector<experiment::arm>& arms,
                                              const std::vector<result>& all) {
  std::vector<polymoe::series> curves;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    polymoe::series curve = over_time(all, arms[i].name, static_cast<index>(i));
    if (!curve.x.empty()) curves.push_back(std::move(curve));
  }
  return curves;
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
  experiment::add_vit_options(app, o);
  app.add_option("--pool", o.pool, "what the head sees: the mean of the tokens or the class token")
      ->check(CLI::IsMember({"mean", "class_token"}));
  app.add_option("--experts", o.experts, "experts of a layer")->check(CLI::Range(2, 32));
  app.add_option("--placement", o.placement,
                 "blocks with experts: every-N, last-N, last-odd-N (V-MoE's last N) or a list such as 1+3");
  app.add_option("--group-images", o.group_images, "images whose tokens compete for slots")->check(CLI::PositiveNumber);
  app.add_option("--capacities", o.capacities,
                 "capacity factors of expert choice, slots over tokens of Soft MoE, and K of token choice where 1 or 2")
      ->delimiter(',')
      ->check(CLI::Range(0.01, 32.0));
  app.add_option("--shots", o.shots, "labelled examples of a class for the probe")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  app.add_option("--probe-data", o.probe_data, "other images for the probe, as --data");
  app.add_option("--equal-time", o.equal_time,
                 "train every arm once more for the same time: seconds of training steps, or the name of an arm, as "
                 "long as that one takes for --epochs; steps by a short calibration");
}

/// The program's own options that change a result.
std::string variant_of(const paper_c::options& o) {
  std::string shots = ", shots";
  for (const index n : o.shots) shots += ' ' + std::to_string(n);
  return o.text() + ", " + o.pool + ", E " + std::to_string(o.experts) + ", experts in " + o.placement + ", group " +
         std::to_string(o.group_images) + ", probe " + o.probe_data + shots;
}

/// A router's capacities as points that are joined: what it costs, and the test accuracy.
void add_costs(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
               const char* title, const char* figure, double scale, const char* label) {
  std::vector<polymoe::series> routers;
  for (const experiment::arm& a : arms) {
    const auto cost = experiment::values_of(all, a.name, figure),
               right = experiment::values_of(all, a.name, "test_accuracy");
    if (cost.empty() || right.empty()) continue;
    const std::string name = a.name.substr(0, a.name.rfind('_'));  // without the capacity
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

void add_time(polymoe::report& page, const char* title, const std::vector<polymoe::series>& curves) {
  page.lines({.title = title, .x_label = "seconds", .y_label = "right answers", .share = true, .wide = true}, curves);
}

/// What sparse transport plans cost in the trained layers, as they were made and as each solver makes them: printed,
/// and added to the page.
void add_transport(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all) {
  const std::vector<std::string> head{"arm, plans of",  "primal",           "dual", "gap",
                                      "unit's sum off", "expert's sum off", "steps"};
  std::vector<std::vector<std::string>> lines;
  constexpr std::pair<const char*, const char*> solvers[] = {
      {"layer", "the layer"}, {"adam", "published iterations"}, {"lbfgs", "L-BFGS"}, {"newton", "Newton"}};
  for (const experiment::arm& a : arms)
    for (const auto& [solver, name] : solvers) {
      const std::string key = std::string("transport_") + solver;
      const auto of = [&](const char* figure, const char* format) {
        return experiment::text_of(experiment::values_of(all, a.name, key + figure), format);
      };
      if (of("_primal", "%.4f") == "-") continue;
      lines.push_back({a.name + ", " + std::string(name), of("_primal", "%.4f"), of("_dual", "%.4f"),
                       of("_gap", "%.4f"), of("_unit_error", "%.1e"), of("_expert_error", "%.1e"),
                       of("_steps", "%.1f")});
    }
  if (lines.empty()) return;
  page.section("Transport plans");
  page.text(
      "Plans of one call of test images, all layers, costs a unit. Primal: what the plan moves at the cost of minus "
      "the "
      "scores, and its quadratic term. Dual: what the solver's potentials are worth, a bound from below on every plan "
      "with both sums. Their gap says how good a plan is whose sums are right; one that misses them may cost less than "
      "the bound.");
  experiment::show_table(page, "Costs of transport plans, of a unit in a call of test images", head, lines);
}

/// Every arm at equal steps and at equal time, in one row, with the seconds that both took.
void add_steps_and_time(polymoe::report& page, const std::vector<experiment::arm>& arms,
                        const std::vector<result>& all) {
  std::vector<std::vector<std::string>> rows;
  for (const experiment::arm& a : arms) {
    const std::string timed = a.name + experiment::timed_mark;
    if (experiment::values_of(all, timed, "test_accuracy").empty()) continue;
    std::vector<std::string> row{a.name};
    for (const std::string& name : {a.name, timed})
      for (const auto& [figure, format, scale] :
           {std::tuple{"test_accuracy", "%.2f", 100.0}, {"steps", "%.0f", 1.0}, {"train_seconds", "%.1f", 1.0}})
        row.push_back(experiment::text_of(experiment::values_of(all, name, figure), format, scale));
    rows.push_back(std::move(row));
  }
  experiment::show_table(
      page, "Accuracy at equal steps and at equal time",
      {"arm", "at equal steps, %", "steps", "training, s", "at equal time, %", "steps", "training, s"}, rows);
}

/// An arm before it has its name.
struct choice {
  router which;
  double capacity;
  std::string name, about;
};
std::string text_of(double capacity) { return experiment::text_of({capacity}, "%g"); }
/// The dense model, and every router at every capacity; layers of token choice are there for 1 and 2.
std::vector<choice> choices(const std::vector<double>& capacities) {
  std::vector<choice> all{{router::dense, 0, "dense", "no experts"}};
  const auto at_each = [&](router which, const std::string& name, const std::string& about, bool token) {
    for (const double c : capacities)
      if (!token || c == 1 || c == 2) all.push_back({which, c, name + "_" + text_of(c), about + text_of(c)});
  };
  at_each(router::softmax_tc, "softmax_tc", "token choice, K = ", true);
  at_each(router::sinkhorn_tc, "sinkhorn_tc", "token choice, K = ", true);
  at_each(router::sinkhorn_plan_tc, "sinkhorn_plan_tc", "token choice with the plan as weights, K = ", true);
  at_each(router::softmax_ec, "softmax_ec", "expert choice, capacity factor ", false);
  at_each(router::sinkhorn_ec, "sinkhorn_ec", "expert choice, capacity factor ", false);
  at_each(router::sparse_ec, "sparse_ec", "expert choice, capacity factor ", false);
  at_each(router::soft, "soft", "Soft MoE, slots over tokens = ", false);
  return all;
}
experiment::arm arm_of(const choice& c, const std::string& name, const paper_c::options& o,
                       const experiment::images& probe) {
  return {name, c.about,
          [&o, &probe, which = c.which, capacity = c.capacity, name](const experiment::settings& s, std::uint64_t seed,
                                                                     const experiment::images& data) {
            if constexpr (experiment::has_gpu_arms)
              if (s.on_gpu()) return paper_c::run_on_gpu(which, capacity, name, s, o, seed, data, probe);
            return paper_c::run(which, capacity, name, s, o, seed, data, probe);
          }};
}

/// What the paper finds, as pairs of arms; `mark` is what the names of timed arms end in.
std::vector<experiment::claim> claims_of(const std::vector<double>& capacities, const std::string& mark) {
  std::vector<experiment::claim> all;
  const auto says = [&](const char* text, const std::string& more, const std::string& less, const std::string& c) {
    all.push_back({text, more + "_" + c + mark, less + "_" + c + mark});
  };
  for (const double capacity : capacities) {
    const std::string c = text_of(capacity);
    says("expert choice is above token choice (softmax)", "softmax_ec", "softmax_tc", c);
    says("expert choice is above token choice (Sinkhorn)", "sinkhorn_ec", "sinkhorn_tc", c);
    for (const char* other : {"softmax_ec", "sinkhorn_ec", "sparse_ec", "softmax_tc", "sinkhorn_tc"})
      says("Soft MoE is best", "soft", other, c);
    if (!mark.empty()) continue;  // at equal time no arm is slower
    for (const char* other : {"softmax_ec", "sinkhorn_ec"})
      all.push_back({"the sparse plan is the slow one", std::string("sparse_ec_") + c, std::string(other) + "_" + c,
                     "train_seconds", "s", 1, "%+.1f"});
  }
  return all;
}

int run(experiment::settings& s, const paper_c::options& o, const experiment::images& data) {
  const index depth = o.sizes().depth, blocks = polymoe::nn::placement::named(o.placement, depth).count();
  polymoe::require(blocks > 0, "--placement ", o.placement, ": ", blocks, " of ", depth,
                   " blocks have experts, routers of tokens need one at least");
  experiment::images other;
  if (!o.probe_data.empty()) {
    experiment::settings p = s;
    p.data = o.probe_data, p.images = p.validation = p.test_images = 0;
    other = experiment::read_images(p);
    polymoe::require(other.test.features() == data.test.features(), "--probe-data: images of ", other.test.features(),
                     " values, the model takes ", data.test.features());
  }
  const experiment::images& probe = o.probe_data.empty() ? data : other;

  const std::vector<choice> chosen = choices(o.capacities);
  std::vector<experiment::arm> arms;
  for (const choice& c : chosen) arms.push_back(arm_of(c, c.name, o, probe));
  const experiment::equal_time timed = experiment::arms_of_equal_time(
      s, o.equal_time, arms, [&](std::size_t i, const std::string& name) { return arm_of(chosen[i], name, o, probe); },
      data);
  std::vector<experiment::arm> both = arms;
  both.insert(both.end(), timed.arms.begin(), timed.arms.end());
  std::vector<result> all;
  if (const int status = experiment::run_all(s, s.variant, both, data, all); status >= 0) {
    if (status == 0) experiment::print_equal_time(s, o.equal_time, all, data);
    return status;
  }

  const std::vector<polymoe::series> time = curves_over_time(arms, all), equal = curves_over_time(timed.arms, all);
  double shortest = HUGE_VAL;  // where the quickest arm was done
  for (const polymoe::series& curve : time) shortest = std::min(shortest, curve.x.back());
  for (result& r : all) {
    std::vector<result> one{r};
    r.figures["accuracy_at_shortest"] = at_time(over_time(one, r.arm, 0), shortest);
    if (timed.seconds > 0) r.figures["over_time"] = r.figures.at("train_seconds") / timed.seconds - 1;
  }
  polymoe::report page("Six routers in one vision transformer", "After arXiv 2401.15969 (paper C); " + s.variant);
  page.section("Result");
  const auto rows_with = [&](const experiment::figure_row& extra) {
    std::vector<experiment::figure_row> rows{
        {"test accuracy, %", "test_accuracy", "%.2f", 100}, extra, {"test loss", "test_loss"}};
    for (const index n : o.shots)
      rows.push_back({std::to_string(n) + "-shot probe, %", "probe_" + std::to_string(n), "%.2f", 100});
    for (const experiment::figure_row& f : {experiment::figure_row{"steps", "steps", "%.0f"},
                                            {"training time, s", "train_seconds", "%.0f"},
                                            {"images/s, inference", "inference_images_per_second", "%.0f"},
                                            {"parameters", "parameters", "%.0f"},
                                            {"MMACs of an image", "macs", "%.2f", 1e-6},
                                            {"drop rate, test", "drop_rate", "%.3f"},
                                            {"load CV, test", "load_cv", "%.3f"},
                                            {"router entropy, test (nats)", "entropy", "%.3f"}})
      rows.push_back(f);
    return rows;
  };
  experiment::add_tables(
      page, arms, all,
      rows_with({"validation accuracy where the quickest arm was done, %", "accuracy_at_shortest", "%.2f", 100}));
  page.text(
      "At equal steps. The second row is read from the arm's curve of validation accuracy over training time, between "
      "epochs on a straight line: its learning rate had not come to its end there.");
  experiment::add_claims(page, claims_of(o.capacities, ""), all);
  page.text(
      "The paper finds: expert choice above token choice whatever the affinity; Soft MoE best at equal cost; Sinkhorn "
      "a fair balance of "
      "throughput and accuracy; the sparse plan the slow one. Its numbers are of JFT-300M and are not comparable.");
  if (!timed.arms.empty()) {
    page.section("At equal time");
    add_steps_and_time(page, arms, all);
    experiment::add_tables(page, timed.arms, all,
                           rows_with({"training time over the wanted, %", "over_time", "%.1f", 100}));
    char text[40];
    std::snprintf(text, sizeof text, "%.1f", timed.seconds);
    page.text(std::string("Every arm trained for ") + text +
              " s of steps, as many as a short calibration said would fit; the learning rate came to its end in all of "
              "them. The second row says how far the time was off. Evaluations are not in it.");
    experiment::add_claims(page, claims_of(o.capacities, experiment::timed_mark), all);
    add_costs(page, timed.arms, all, "Test accuracy at equal time over compute", "macs", 1e-6,
              "MMACs of an image, forward");
    add_time(page, "Validation accuracy over training time, at equal time, mean over seeds", equal);
  }
  page.section("Cost against accuracy");
  add_costs(page, arms, all, "Test accuracy over compute", "macs", 1e-6, "MMACs of an image, forward");
  add_costs(page, arms, all, "Test accuracy over training time", "train_seconds", 1, "seconds");
  add_time(page, "Validation accuracy over training time, mean over seeds", time);
  experiment::add_curves(page, arms, all);
  page.section("Routers");
  experiment::add_descriptions(page, arms, all);
  add_transport(page, arms, all);
  experiment::add_routing(page, arms, all, data.test.class_names);
  experiment::add_calibration(page, both, all, data.test.class_names);
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_c", .epochs = 30, .learning_rate = 1e-3, .weight_decay = 0.05,
                         .augment = "crop"};
  if constexpr (experiment::has_gpu_arms) s.find_gpu = &paper_c::find_gpu;
  return experiment::main_of(argc, argv, s, "Six routers at several capacities in one vision transformer (paper C).",
                             add_options, variant_of, run);
}
