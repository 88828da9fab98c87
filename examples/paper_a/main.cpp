// paper_a: when does sparse help?  The gap between sparse and dense over the routed share rho of the FLOPs, after "When
// Does Sparse MoE Help in Vision?" (arXiv 2605.15484).
//
// --hidden sweeps the experts' hidden width and with it rho, --rho asks for the shares themselves, --placement says
// which blocks have experts; every width and every placement has its own dense twins, and so has every backbone.
// kinds.hpp lists the arms.  The paper does not publish its networks; these are ours.
// ctest: --images 128 --validation 32 --test-images 32 --epochs 1 --batch 32 --width 8 --blocks 1 --experts 3 --hidden 8 --backbone standard,depthwise --threads 1 --out build/paper_a-test
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "pages.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_a::kind, paper_a::kinds, paper_a::named_kind, paper_a::sweep;

void add_options(CLI::App& app, paper_a::options& o) {
  app.add_option("--backbone", o.backbones, "standard or depthwise convolutions, or both")
      ->delimiter(',')
      ->check(CLI::IsMember({"standard", "depthwise"}));
  app.add_option("--hidden", o.hidden, "hidden widths H of an expert, multiples of 8")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  app.add_option("--rho", o.rho, "routed shares rho_static, in the place of --hidden: the widths that come nearest")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--width", o.width, "channels of the first stage, a multiple of 8")->check(CLI::PositiveNumber);
  app.add_option("--blocks", o.blocks, "blocks of the body")->check(CLI::PositiveNumber);
  app.add_option("--experts", o.experts, "experts of a block")->check(CLI::Range(2, 32));
  app.add_option("--capacity", o.capacity, "capacity factor")->check(CLI::PositiveNumber);
  app.add_option("--slots", o.slots,
                 "slots over the images of a training call, of the arms that mix them (soft_batch, head_batch)")
      ->check(CLI::Range(0.001, 32.0));
  app.add_option("--placement", o.placements,
                 "where the experts are, a set of arms each: head, or which of the body's blocks: every-N, last-N, "
                 "last-odd-N, 1+3")
      ->delimiter(',');
  app.add_option("--temperature", o.temperature, "constant, linear or sigmoid")
      ->check(CLI::IsMember({"constant", "linear", "sigmoid"}));
  app.add_option("--least-temperature", o.least_temperature, "where the schedule ends")->check(CLI::PositiveNumber);
  app.add_option("--entropy-floor", o.entropy_floor,
                 "router entropy below which the temperature stops falling; 0: none")
      ->check(CLI::NonNegativeNumber);
}

/// The program's own options that change a result.
std::string variant_of(const paper_a::options& o) {
  const auto words = [](const std::vector<std::string>& all) {
    std::string text;
    for (const std::string& word : all) text += (text.empty() ? "" : " ") + word;
    return text;
  };
  return words(o.backbones) + ", experts in " + words(o.placements) + ", width " + std::to_string(o.width) +
         ", blocks " + std::to_string(o.blocks) + ", E " + std::to_string(o.experts) + ", capacity " +
         std::to_string(o.capacity) + ", slots " + std::to_string(o.slots) + ", temperature " + o.temperature + " " +
         std::to_string(o.least_temperature) + " " + std::to_string(o.entropy_floor);
}

/// The widths of --rho, said and kept for the page; throws when a share is out of reach.
void solve_widths(sweep& w) {
  const paper_a::options& o = w.o;
  const double part = w.in_body ? paper_a::routed_part(o) : 1;
  w.widths.clear();
  for (const double rho : o.rho) {
    // Of experts in all blocks, and then of this part of them.
    auto a = polymoe::solve_rho(w.shape, {.rho = rho / part, .experts = static_cast<int>(o.experts), .k = 2});
    for (double* share : {&a.wanted, &a.achieved, &a.least_rho, &a.most_rho}) *share *= part;
    polymoe::require_reached(a, "--rho, with --width " + std::to_string(o.width) +
                                    " (more of it lowers all shares) and --placement " + o.placement);
    char text[4][40];
    std::snprintf(text[0], 40, "%g", rho), std::snprintf(text[1], 40, "%lld", static_cast<long long>(a.hidden));
    std::snprintf(text[2], 40, "%.4f", a.achieved), std::snprintf(text[3], 40, "%+.4f", a.error());
    std::printf("%s, rho %s: H = %s, which has rho %s (%s)\n", w.title().c_str(), text[0], text[1], text[2], text[3]);
    w.solved.push_back({text[0], text[1], text[2], text[3]});
    if (std::find(w.widths.begin(), w.widths.end(), a.hidden) == w.widths.end()) w.widths.push_back(a.hidden);
  }
}

/// Every backbone with every placement in its body.  Experts in the head alone do not depend
/// on that: the first has them.
std::vector<sweep> sweeps_of(const paper_a::options& asked, const experiment::images& data) {
  std::vector<std::string> bodies;
  bool head = false;
  for (const std::string& p : asked.placements) {
    const auto where = polymoe::nn::placement::named(p, asked.blocks);
    polymoe::require(where.in_head() || where.count() > 0, "--placement ", p, ": 0 of ", asked.blocks,
                     " blocks have experts");
    if (where.in_head()) head = true;
    else bodies.push_back(p);
  }
  const bool in_body = !bodies.empty();
  if (!in_body) bodies.push_back("head");
  std::vector<sweep> sweeps;
  for (const std::string& backbone : asked.backbones)
    for (const std::string& p : bodies) {
      sweep w{.o = asked, .shape = {}, .widths = asked.hidden};
      w.o.backbone = backbone, w.o.placement = p, w.in_body = in_body, w.in_head = head && p == bodies.front();
      if (bodies.size() > 1) w.where = "-" + p;
      if (asked.backbones.size() > 1) w.mark = "-" + backbone;
      w.shape = paper_a::shape_of(w.o, data);
      if (!asked.rho.empty()) solve_widths(w);
      sweeps.push_back(std::move(w));
    }
  return sweeps;
}

int run(experiment::settings& s, const paper_a::options& asked, const experiment::images& data) {
  const std::vector<sweep> sweeps = sweeps_of(asked, data);
  // --arms takes kinds as well as whole names: k2 is k2 at every width.
  std::vector<experiment::arm> arms, widest;  // all; those of the last backbone, placement and width
  std::vector<std::string> wanted;
  for (const sweep& w : sweeps)
    for (const index h : w.widths) {
      widest.clear();
      for (const named_kind& k : kinds) {
        if (!w.has(k.which)) continue;
        const std::string name = w.name_of(k, h);
        paper_a::options o = w.o;
        if (k.temperature) o.temperature = k.temperature, o.least_temperature = k.least;
        if (k.floor) o.entropy_floor = 0.5 * std::log(static_cast<double>(o.experts));
        widest.push_back({name, k.about,
                          [o, h, which = k.which, name](const experiment::settings& t, std::uint64_t seed,
                                                        const experiment::images& d) {
                            if constexpr (experiment::has_gpu_arms)
                              if (t.on_gpu()) return paper_a::run_on_gpu(which, name, h, t, o, seed, d);
                            return paper_a::run(which, name, h, t, o, seed, d);
                          }});
        if (std::find(s.arms.begin(), s.arms.end(), k.name) != s.arms.end()) wanted.push_back(name);
        // The dense network is the same beside every placement, where the widths are.
        const auto same = [&](const experiment::arm& a) { return a.name == name; };
        if (k.which == kind::dense && !w.where.empty() && std::any_of(arms.begin(), arms.end(), same)) continue;
        arms.push_back(widest.back());
      }
    }
  for (const std::string& wish : s.arms) {
    const auto it =
        std::find_if(std::begin(kinds), std::end(kinds), [&](const named_kind& k) { return wish == k.name; });
    if (it == std::end(kinds)) wanted.push_back(wish);
    else
      polymoe::require(std::any_of(sweeps.begin(), sweeps.end(), [&](const sweep& w) { return w.has(it->which); }),
                       "--arms ", wish, ": --placement names no place for its experts");
  }
  s.arms = wanted;
  std::vector<result> all;
  if (const int status = experiment::run_all(s, s.variant, arms, data, all); status >= 0) return status;
  polymoe::report page("Sparse against dense over the routed share", "After arXiv 2605.15484 (paper A); " + s.variant);
  page.section("Result");
  for (const sweep& w : sweeps) {
    paper_a::add_gaps(page, all, w);
    paper_a::add_places(page, all, w);
    paper_a::add_choices_of_k(page, all, w);
    paper_a::add_dropping(page, all, w);
    paper_a::add_temperatures(page, all, w);
    paper_a::add_twins(page, w, data);
    if (!w.solved.empty())
      page.table("Widths for the shares asked for, " + w.title(), {"rho wanted", "H", "rho_static", "error"}, w.solved);
  }
  page.table("What the paper reports (ImageNet-1k)", {"setting", "gap, points"},
             {{"experts in the head only, routed FLOPs below 1 %", "-1.29 to -1.90"},
              {"experts in the backbone, rho about 0.38, k = 2", "+1.17"},
              {"the same, k = 1", "-2.08"},
              {"temperature falling linearly to 0.1", "+0.92 at its peak, then collapse"},
              {"temperature by a sigmoid; linearly to 0.3", "+0.03, no collapse; no collapse"}});
  experiment::add_claims(page, paper_a::claims_of(sweeps, all), all);
  experiment::add_figures(page, arms, all,
                          {{"test accuracy, %", "test_accuracy", "%.2f", 100},
                          {"rho_static", "rho_static", "%.3f"},
                          {"rho_active (measured drops)", "rho_active", "%.3f"},
                          {"parameters", "parameters", "%.0f"},
                          {"MMACs of an image", "macs", "%.2f", 1e-6},
                          {"drop rate, test", "drop_rate", "%.3f"},
                          {"load CV, test", "load_cv", "%.3f"},
                          {"router entropy, test (nats)", "entropy", "%.3f"},
                          {"training time, s", "train_seconds", "%.0f"}});
  paper_a::add_calls(page, arms, widest, all, s.batch);
  // The others' curves and pictures would be dozens more.
  page.section("Learning");
  experiment::add_curves(page, widest, all);
  experiment::add_routing(page, widest, all, data.test.class_names);
  experiment::add_calibration(page, widest, all, data.test.class_names);
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_a", .epochs = 20, .learning_rate = 2e-3, .weight_decay = 0.05,
                         .augment = "crop"};
  if constexpr (experiment::has_gpu_arms) s.find_gpu = &paper_a::find_gpu;
  return experiment::main_of(argc, argv, s,
                             "The gap between sparse and dense over the routed share of the FLOPs (paper A).",
                             add_options, variant_of, run);
}
