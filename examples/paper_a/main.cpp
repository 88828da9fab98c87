// paper_a: when does sparse help?  The gap between sparse and dense over the routed share rho of the FLOPs, after "When
// Does Sparse MoE Help in Vision?" (arXiv 2605.15484).
//
// --hidden sweeps the experts' hidden width and with it rho, --rho asks for the shares themselves; every width has its
// own dense twins.  Arms: dense (active FLOPs of k = 2), dense_wide (its parameters), dense_total (all its slots), k1,
// k2, k2_free, k2_reroute, k2_fallback, soft, and heads only: head_k2, head_soft, head_batch.  The paper does not
// publish its networks; these are ours.
// ctest: --images 128 --validation 32 --test-images 32 --epochs 1 --batch 32 --width 8 --blocks 1 --experts 3 --hidden 8 --threads 1 --out build/paper_a-test
#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "paper_a.hpp"

namespace {

using experiment::index;
using experiment::result;
using paper_a::kind;

struct named_kind {
  kind which;
  const char* name;
  const char* about;
};
constexpr named_kind kinds[] = {{kind::dense, "dense", "one block with the active FLOPs of k = 2, width 2 H"},
                                {kind::dense_wide, "dense_wide", "one block with its parameters, width E H"},
                                {kind::dense_total, "dense_total", "one block with the FLOPs of all its slots"},
                                {kind::k1, "k1", "one of E experts, hard capacity"},
                                {kind::k2, "k2", "two of E experts, hard capacity"},
                                {kind::k2_free, "k2_free", "two of E experts, no capacity"},
                                {kind::k2_reroute, "k2_reroute", "overflow goes to the next best expert"},
                                {kind::k2_fallback, "k2_fallback", "overflow goes to one more expert"},
                                {kind::soft, "soft", "all experts, weighted per image"},
                                {kind::head_k2, "head_k2", "experts in the head only"},
                                {kind::head_soft, "head_soft", "all experts in the head only"},
                                {kind::head_batch, "head_batch", "slots mixed over the batch, in the head only"}};

/// Mean paired difference of test accuracy to the dense arm of the same width, with its standard error.
void add_gaps(polymoe::report& page, const std::vector<result>& all, const std::vector<index>& widths) {
  std::vector<polymoe::series> curves;
  std::vector<std::vector<std::string>> rows;
  index color = 0;
  for (const named_kind& k : kinds) {
    if (k.which == kind::dense) continue;
    polymoe::series s{.name = k.name, .y = {}, .x = {}, .color = color++};
    for (const index h : widths) {
      const std::string mine = std::string(k.name) + "-h" + std::to_string(h), twin = "dense-h" + std::to_string(h);
      std::vector<double> a, b;
      for (const result& r : all)
        for (const result& q : all)
          if (r.arm == mine && q.arm == twin && r.seed == q.seed)
            a.push_back(r.figures.at("test_accuracy")), b.push_back(q.figures.at("test_accuracy"));
      const auto rho = experiment::values_of(all, mine, "rho_static"),
                 active = experiment::values_of(all, mine, "rho_active");
      if (a.empty() || rho.empty()) continue;
      const auto d = polymoe::analysis::paired_difference(a, b);
      s.x.push_back(rho[0]), s.y.push_back(100 * d.mean);
      char text[5][40];
      std::snprintf(text[0], 40, "%lld", static_cast<long long>(h));
      std::snprintf(text[1], 40, "%.3f", rho[0]), std::snprintf(text[2], 40, "%.3f", active[0]);
      std::snprintf(text[3], 40, "%+.2f", 100 * d.mean);
      if (a.size() > 1)
        std::snprintf(text[4], 40, "%.2f (%zu seeds)", 100 * d.standard_error, a.size());
      else
        std::snprintf(text[4], 40, "one seed");
      rows.push_back({k.name, text[0], text[1], text[2], text[3], text[4]});
    }
    if (!s.x.empty()) curves.push_back(s);
  }
  page.lines({.title = "Gap to the dense twin over rho",
              .x_label = "rho_static",
              .y_label = "percentage points",
              .wide = true,
              .note = "rho_static: MACs of the dense blocks that experts replace, over those of the dense model; it "
                      "does not depend on k."},
             curves);
  page.table("Gaps, paired over seeds",
             {"arm", "H", "rho_static", "rho_active, measured drops", "gap, points", "standard error"}, rows);
  std::printf("\n%-14s %6s %11s %11s %12s  %s\n", "arm", "H", "rho_static", "rho_active", "gap, points",
              "standard error");
  for (const auto& r : rows)
    std::printf("%-14s %6s %11s %11s %12s  %s\n", r[0].c_str(), r[1].c_str(), r[2].c_str(), r[3].c_str(), r[4].c_str(),
                r[5].c_str());
}

void add_options(CLI::App& app, paper_a::options& o) {
  app.add_option("--backbone", o.backbone, "standard or depthwise convolutions")
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
  app.add_option("--temperature", o.temperature, "constant, linear or sigmoid")
      ->check(CLI::IsMember({"constant", "linear", "sigmoid"}));
  app.add_option("--least-temperature", o.least_temperature, "where the schedule ends")->check(CLI::PositiveNumber);
  app.add_option("--entropy-floor", o.entropy_floor,
                 "router entropy below which the temperature stops falling; 0: none")
      ->check(CLI::NonNegativeNumber);
}

/// The program's own options that change a result.
std::string variant_of(const paper_a::options& o) {
  return o.backbone + ", width " + std::to_string(o.width) + ", blocks " + std::to_string(o.blocks) + ", E " +
         std::to_string(o.experts) + ", capacity " + std::to_string(o.capacity) + ", temperature " + o.temperature +
         " " + std::to_string(o.least_temperature) + " " + std::to_string(o.entropy_floor);
}

/// The widths of --rho, said and put on the page; throws when a share is out of reach.
std::vector<index> solved_widths(const paper_a::options& o, const polymoe::routed_shape& shape,
                                 std::vector<std::vector<std::string>>& rows) {
  std::vector<index> widths;
  for (const double rho : o.rho) {
    const auto a = polymoe::solve_rho(shape, {.rho = rho, .experts = static_cast<int>(o.experts), .k = 2});
    polymoe::require_reached(a, "--rho, with --width " + std::to_string(o.width) + " (more of it lowers all shares)");
    char text[4][40];
    std::snprintf(text[0], 40, "%g", rho), std::snprintf(text[1], 40, "%lld", static_cast<long long>(a.hidden));
    std::snprintf(text[2], 40, "%.4f", a.achieved), std::snprintf(text[3], 40, "%+.4f", a.error());
    std::printf("rho %s: H = %s, which has rho %s (%s)\n", text[0], text[1], text[2], text[3]);
    rows.push_back({text[0], text[1], text[2], text[3]});
    if (std::find(widths.begin(), widths.end(), a.hidden) == widths.end()) widths.push_back(a.hidden);
  }
  return widths;
}

/// What the dense arms have of k = 2, and how nearly.
void add_twins(polymoe::report& page, const paper_a::options& o, const polymoe::routed_shape& shape,
               const std::vector<index>& widths) {
  using polymoe::match;
  std::vector<std::vector<std::string>> rows;
  for (const index h : widths) {
    rows.push_back({std::to_string(h)});
    for (const match m : {match::active_macs, match::parameters, match::total_macs}) {
      const auto t = twin_of(shape, m, paper_a::twin_sizes(o, h));
      char text[60];
      std::snprintf(text, sizeof text, "%lld (%+.2f %%)", static_cast<long long>(t.hidden), 100 * t.error());
      rows.back().push_back(text);
    }
  }
  page.table("Hidden widths of the dense twins of k = 2, and what the whole model has more than it should",
             {"H", "dense: active MACs", "dense_wide: parameters", "dense_total: MACs of all slots"}, rows);
}

int run(experiment::settings& s, const paper_a::options& asked, const experiment::images& data) {
  polymoe::require(data.test.height % 4 == 0 && data.test.width % 4 == 0, "paper_a: images of ", data.test.height,
                   " x ", data.test.width, " cannot be halved twice");
  paper_a::options o = asked;
  const polymoe::routed_shape shape = paper_a::shape_of(o, data);
  std::vector<std::vector<std::string>> solved;
  if (!o.rho.empty()) o.hidden = solved_widths(o, shape, solved);
  // --arms takes kinds as well as whole names: k2 is k2 at every width.
  std::vector<experiment::arm> arms;
  std::vector<std::string> wanted;
  for (const index h : o.hidden)
    for (const named_kind& k : kinds) {
      const std::string name = std::string(k.name) + "-h" + std::to_string(h);
      arms.push_back({name, k.about,
                      [&o, h, which = k.which, name](const experiment::settings& t, std::uint64_t seed,
                                                     const experiment::images& d) {
                        return paper_a::run(which, name, h, t, o, seed, d);
                      }});
      for (const std::string& wish : s.arms)
        if (wish == k.name) wanted.push_back(name);
    }
  for (const std::string& wish : s.arms)
    if (std::none_of(std::begin(kinds), std::end(kinds), [&](const named_kind& k) { return wish == k.name; }))
      wanted.push_back(wish);
  s.arms = wanted;
  std::vector<result> all;
  if (const int status = experiment::run_all(s, s.variant, arms, data, all); status >= 0) return status;
  polymoe::report page("Sparse against dense over the routed share", "After arXiv 2605.15484 (paper A); " + s.variant);
  page.section("Result");
  add_gaps(page, all, o.hidden);
  add_twins(page, o, shape, o.hidden);
  if (!solved.empty())
    page.table("Widths for the shares asked for", {"rho wanted", "H", "rho_static", "error"}, solved);
  page.table("What the paper reports (ImageNet-1k)", {"setting", "gap, points"},
             {{"experts in the head only, routed FLOPs below 1 %", "-1.29 to -1.90"},
              {"experts in the backbone, rho about 0.38, k = 2", "+1.17"},
              {"the same, k = 1", "-2.08"},
              {"temperature falling linearly to 0.1", "+0.92 at its peak, then collapse"},
              {"temperature by a sigmoid; linearly to 0.3", "no collapse"}});
  experiment::add_tables(page, arms, all,
                         {{"test accuracy, %", "test_accuracy", "%.2f", 100},
                          {"rho_static", "rho_static", "%.3f"},
                          {"rho_active (measured drops)", "rho_active", "%.3f"},
                          {"parameters", "parameters", "%.0f"},
                          {"MMACs of an image", "macs", "%.2f", 1e-6},
                          {"drop rate, test", "drop_rate", "%.3f"},
                          {"load CV, test", "load_cv", "%.3f"},
                          {"router entropy, test (nats)", "entropy", "%.3f"},
                          {"accuracy, one image a call, %", "accuracy_at_batch_1", "%.2f", 100},
                          {"accuracy, eight images a call, %", "accuracy_at_batch_8", "%.2f", 100},
                          {"training time, s", "train_seconds", "%.0f"}});
  page.section("Learning");
  experiment::add_curves(page, arms, all);
  // Of the largest width: the others' pictures would be dozens more.
  const std::vector<experiment::arm> widest(arms.end() - static_cast<std::ptrdiff_t>(std::size(kinds)), arms.end());
  experiment::add_routing(page, widest, all, data.test.class_names);
  experiment::add_calibration(page, widest, all, data.test.class_names);
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_a", .epochs = 20, .learning_rate = 2e-3, .weight_decay = 0.05,
                         .augment = "crop"};
  s.no_gpu = "its experts convolve, and such experts are not there on CUDA yet";
  return experiment::main_of(argc, argv, s, "The gap between sparse and dense over the routed share of the FLOPs (paper A).",
                             add_options, variant_of, run);
}
