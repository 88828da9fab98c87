// paper_a: when does sparse help?  The gap between sparse and dense over the routed share rho of the FLOPs, after "When
// Does Sparse MoE Help in Vision?" (arXiv 2605.15484).
//
// --hidden sweeps the experts' hidden width and with it rho, --rho asks for the shares themselves, --placement says which
// blocks have experts; every width and every placement has its own dense twins, and so has every backbone.  Arms: dense
// (active FLOPs of k = 2), dense_one (of k = 1), dense_wide (the parameters), dense_total (all slots), k1, k2, k2_free,
// k2_reroute, k2_fallback, k2 with falling temperatures (k2_linear_01, k2_linear_03, k2_sigmoid, k2_floor), soft; and with
// experts in the head alone: head_k2, head_k2_free, head_k2_fallback, head_soft, head_batch.  The paper does not publish its
// networks; these are ours.
// ctest: --images 128 --validation 32 --test-images 32 --epochs 1 --batch 32 --width 8 --blocks 1 --experts 3 --hidden 8 --threads 1 --out build/paper_a-test
#include <algorithm>
#include <cmath>
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
  const char* paper = "";  ///< points over the dense model that the paper reports, on ImageNet-1k
  const char* temperature = nullptr;  ///< in the place of --temperature, to `least`
  double least = 0;
  bool floor = false;  ///< stops falling where the router's entropy is half of what it can be
};
constexpr named_kind kinds[] = {{kind::dense, "dense", "no experts, active FLOPs of k = 2, width 2 H"},
                                {kind::dense_wide, "dense_wide", "no experts, its parameters, width E H"},
                                {kind::dense_one, "dense_one", "no experts, active FLOPs of k = 1, width H"},
                                {kind::dense_total, "dense_total", "no experts, FLOPs of all its slots"},
                                {kind::k1, "k1", "one of E experts, hard capacity", "-2.08 at rho 0.38"},
                                {kind::k2, "k2", "two of E experts, hard capacity", "+1.17 at rho 0.38"},
                                {kind::k2_free, "k2_free", "two of E experts, no capacity"},
                                {kind::k2_reroute, "k2_reroute", "overflow goes to the next best expert"},
                                {kind::k2_fallback, "k2_fallback", "overflow goes to one more expert"},
                                {kind::k2, "k2_linear_01", "k2, temperature falls linearly to 0.1", "", "linear", 0.1},
                                {kind::k2, "k2_linear_03", "k2, temperature falls linearly to 0.3", "", "linear", 0.3},
                                {kind::k2, "k2_sigmoid", "k2, temperature falls to 0.1 by a sigmoid", "", "sigmoid", 0.1},
                                {kind::k2, "k2_floor", "as k2_linear_01, until the router's entropy is half of log E", "",
                                 "linear", 0.1, true},
                                {kind::soft, "soft", "all experts, weighted per image"},
                                {kind::head_k2, "head_k2", "experts in the head only, hard capacity", "-1.29 to -1.90"},
                                {kind::head_k2_free, "head_k2_free", "experts in the head only, no capacity"},
                                {kind::head_k2_fallback, "head_k2_fallback", "head only, overflow goes to one more expert"},
                                {kind::head_soft, "head_soft", "all experts in the head only"},
                                {kind::head_batch, "head_batch", "slots mixed over the batch, in the head only"}};

/// One backbone with experts at one placement, and the widths that are swept there.
struct sweep {
  paper_a::options o;  ///< with its backbone and placement
  polymoe::routed_shape shape;
  std::vector<index> widths;
  bool in_body = true, in_head = true;  ///< which kinds of experts it has
  std::string where{};  ///< in the names of arms that depend on the placement: "", or of several which it is
  std::string mark{};   ///< at their end: "", or where there are several backbones which it is
  std::vector<std::vector<std::string>> solved{};  ///< rows: what came of --rho

  bool has(kind k) const { return k == kind::dense || (paper_a::is_head(k) ? in_head : in_body); }
  std::string title() const {
    return o.backbone + " convolutions" + (where.empty() ? "" : ", experts in " + o.placement);
  }
};
std::string name_of(const sweep& w, const named_kind& k, index h) {
  const bool placed = k.which != kind::dense && !paper_a::is_head(k.which);
  return std::string(k.name) + "-h" + std::to_string(h) + (placed ? w.where : "") + w.mark;
}
std::string name_of(const sweep& w, const char* kind_name, index h) {
  for (const named_kind& k : kinds)
    if (k.name == std::string(kind_name)) return name_of(w, k, h);
  return kind_name;
}

/// Mean paired difference of test accuracy of two arms, in points, with its standard error; no seeds in common: n is 0.
struct gap {
  std::size_t n = 0;
  double mean = 0, error = 0;
  std::string error_text() const {
    return n > 1 ? experiment::text_of({error}, "%.2f") + " (" + std::to_string(n) + " seeds)" : "one seed";
  }
};
gap gap_of(const std::vector<result>& all, const std::string& arm, const std::string& to) {
  std::vector<double> a, b;
  for (const result& r : all)
    for (const result& q : all)
      if (r.arm == arm && q.arm == to && r.seed == q.seed)
        a.push_back(r.figures.at("test_accuracy")), b.push_back(q.figures.at("test_accuracy"));
  if (a.empty()) return {};
  const auto d = polymoe::analysis::paired_difference(a, b);
  return {a.size(), 100 * d.mean, 100 * d.standard_error};
}
/// A table of the page, printed as well.
void show(polymoe::report& page, const std::string& title, const std::vector<std::string>& header,
          const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return;
  page.table(title, header, rows);
  std::printf("\n%s\n", title.c_str());
  for (std::size_t i = 0; i <= rows.size(); ++i) {
    const auto& row = i == 0 ? header : rows[i - 1];
    for (std::size_t c = 0; c < row.size(); ++c) std::printf(c ? "  %18s" : "%-14s", row[c].c_str());
    std::printf("\n");
  }
}

void add_gaps(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  std::vector<polymoe::series> curves;
  std::vector<std::vector<std::string>> rows;
  index color = 0;
  for (const named_kind& k : kinds) {
    if (k.which == kind::dense || !w.has(k.which)) continue;
    polymoe::series s{.name = k.name, .y = {}, .x = {}, .color = color++};
    for (const index h : w.widths) {
      const std::string mine = name_of(w, k, h);
      const auto rho = experiment::values_of(all, mine, "rho_static"),
                 active = experiment::values_of(all, mine, "rho_active");
      for (const char* twin : {"dense", "dense_one", "dense_wide", "dense_total"}) {
        if (twin == std::string("dense_one") && k.which != kind::k1) continue;
        if (twin != std::string("dense") && paper_a::is_head(k.which)) continue;  // twins of experts in the body
        if (mine == name_of(w, twin, h)) continue;
        const gap d = gap_of(all, mine, name_of(w, twin, h));
        if (d.n == 0 || rho.empty()) continue;
        if (twin == std::string("dense")) s.x.push_back(rho[0]), s.y.push_back(d.mean), s.errors.push_back(d.error);
        rows.push_back({k.name, twin, std::to_string(h), experiment::text_of({rho[0]}, "%.3f"),
                        active.empty() ? "-" : experiment::text_of({active[0]}, "%.3f"),
                        experiment::text_of({d.mean}, "%+.2f"), d.error_text(),
                        twin == std::string("dense") ? k.paper : ""});
      }
    }
    if (!s.x.empty()) curves.push_back(s);
  }
  page.lines({.title = "Gap to the dense twin over rho, " + w.title(),
              .x_label = "rho_static",
              .y_label = "percentage points",
              .wide = true,
              .note = "rho_static: MACs of the dense blocks that experts replace, over those of the dense model; it "
                      "does not depend on k. Whiskers: the standard error over seeds."},
             curves);
  show(page, "Gaps, paired over seeds, " + w.title(),
       {"arm", "against", "H", "rho_static", "rho_active", "gap, points", "standard error", "paper, ImageNet-1k"}, rows);
}

/// How much of the gap of k = 2 is dropping: what the same experts gain where nothing, or less, is dropped.
void add_dropping(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  std::vector<std::vector<std::string>> rows;
  for (const std::string kept : {"k2_free", "k2_reroute", "k2_fallback", "head_k2_free", "head_k2_fallback"})
    for (const index h : w.widths) {
      const std::string hard = kept.substr(0, kept.rfind('_')), limited = name_of(w, hard.c_str(), h);
      const gap d = gap_of(all, name_of(w, kept.c_str(), h), limited), whole = gap_of(all, limited, name_of(w, "dense", h));
      if (d.n == 0) continue;
      rows.push_back({kept + " - " + hard, std::to_string(h),
                      experiment::text_of(experiment::values_of(all, limited, "drop_rate"), "%.3f"),
                      experiment::text_of({d.mean}, "%+.2f"), d.error_text(),
                      whole.n > 0 ? experiment::text_of({whole.mean}, "%+.2f") : "-"});
    }
  show(page, "What dropping takes, paired over seeds, " + w.title(),
       {"pair", "H", "drop rate with a capacity, test", "points", "standard error", "its gap to dense"}, rows);
}

/// Accuracy over the images of a call, for the heads that were evaluated that way.
void add_calls(polymoe::report& page, const std::vector<experiment::arm>& arms, const std::vector<result>& all,
               index batch) {
  std::vector<polymoe::series> curves;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    polymoe::series s{.name = arms[i].name, .y = {}, .color = static_cast<index>(i)};
    for (const index b : {index{1}, index{8}, batch}) {
      const auto right = experiment::values_of(all, arms[i].name, "accuracy_at_batch_" + std::to_string(b));
      if (right.empty()) continue;
      const auto mean = polymoe::analysis::summarise(right);
      s.x.push_back(std::log2(static_cast<double>(b))), s.y.push_back(mean.mean), s.errors.push_back(mean.standard_error);
    }
    if (!s.y.empty()) curves.push_back(std::move(s));
  }
  if (curves.empty()) return;
  page.lines({.title = "Test accuracy over the images of a call",
              .x_label = "log2 of the images",
              .y_label = "right answers",
              .share = true,
              .note = "Slots that mix the batch (head_batch) see other images, places that run out (head_k2) go to the "
                      "first; weights per image (head_soft) do neither."},
             curves);
}

/// What the paper finds, as pairs of arms.  It gives two shares, "below 1 %" and "about 38 %": where little ends and
/// much begins, 0.1 and 0.3, is ours.
std::vector<experiment::claim> claims_of(const std::vector<sweep>& sweeps, const std::vector<result>& all) {
  std::vector<experiment::claim> claims;
  for (const sweep& w : sweeps)
    for (const index h : w.widths) {
      const auto arm = [&](const char* kind_name) { return name_of(w, kind_name, h); };
      const auto rho = experiment::values_of(all, arm("k2"), "rho_static");
      const std::string at = rho.empty() ? "" : ", rho_static " + experiment::text_of({rho[0]}, "%.2f");
      if (!rho.empty() && rho[0] >= 0.3)
        claims.push_back(
            {"k = 2 is above its dense twin where much is routed (+1.17 at rho 0.38)" + at, arm("k2"), arm("dense")});
      if (!rho.empty() && rho[0] < 0.1)
        claims.push_back({"k = 2 is not above its dense twin where little is routed" + at, arm("dense"), arm("k2")});
      claims.push_back({"k = 1 is below its dense twin (-2.08 at rho 0.38)" + at, arm("dense_one"), arm("k1")});
      claims.push_back({"k = 2 is above k = 1 at the same rho" + at, arm("k2"), arm("k1")});
      if (w.in_head) {
        claims.push_back({"experts in the head only are below the dense model (-1.29 to -1.90)", arm("dense"),
                          arm("head_k2")});
        claims.push_back({"Soft MoE per image is above Soft MoE over the batch", arm("head_soft"), arm("head_batch")});
      }
      claims.push_back({"Soft MoE per image is above the dense model (on CIFAR-100)", arm("soft"), arm("dense")});
      claims.push_back(
          {"linear decay to 0.1 collapses late, to 0.3 it does not", arm("k2_linear_03"), arm("k2_linear_01")});
    }
  return claims;
}

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
         ", blocks " + std::to_string(o.blocks) + ", E " +
         std::to_string(o.experts) + ", capacity " + std::to_string(o.capacity) + ", temperature " + o.temperature +
         " " + std::to_string(o.least_temperature) + " " + std::to_string(o.entropy_floor);
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

/// What the dense arms have of k = 2, and how nearly.
void add_twins(polymoe::report& page, const sweep& w) {
  using polymoe::match;
  std::vector<std::vector<std::string>> rows;
  for (const index h : w.widths) {
    rows.push_back({std::to_string(h)});
    for (const match m : {match::active_macs, match::parameters, match::total_macs}) {
      const auto t = dense_twin_of(w.shape, m, w.o, h);
      char text[60];
      std::snprintf(text, sizeof text, "%lld (%+.2f %%)", static_cast<long long>(t.hidden), 100 * t.error());
      rows.back().push_back(text);
    }
  }
  page.table("Hidden widths of the dense twins of k = 2, and what the whole model has more than it should, " + w.title(),
             {"H", "dense: active MACs", "dense_wide: parameters", "dense_total: MACs of all slots"}, rows);
}

/// Every backbone with every placement in its body.  Experts in the head alone do not depend on that: the first has them.
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
        const std::string name = name_of(w, k, h);
        paper_a::options o = w.o;
        if (k.temperature) o.temperature = k.temperature, o.least_temperature = k.least;
        if (k.floor) o.entropy_floor = 0.5 * std::log(static_cast<double>(o.experts));
        widest.push_back({name, k.about,
                          [o, h, which = k.which, name](const experiment::settings& t, std::uint64_t seed,
                                                        const experiment::images& d) {
#if defined(POLYMOE_DEMO_CUDA)
                            if (t.on_gpu()) return paper_a::run_on_gpu(which, name, h, t, o, seed, d);
#endif
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
    const auto it = std::find_if(std::begin(kinds), std::end(kinds), [&](const named_kind& k) { return wish == k.name; });
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
    add_gaps(page, all, w);
    add_dropping(page, all, w);
    add_twins(page, w);
    if (!w.solved.empty())
      page.table("Widths for the shares asked for, " + w.title(), {"rho wanted", "H", "rho_static", "error"}, w.solved);
  }
  page.table("What the paper reports (ImageNet-1k)", {"setting", "gap, points"},
             {{"experts in the head only, routed FLOPs below 1 %", "-1.29 to -1.90"},
              {"experts in the backbone, rho about 0.38, k = 2", "+1.17"},
              {"the same, k = 1", "-2.08"},
              {"temperature falling linearly to 0.1", "+0.92 at its peak, then collapse"},
              {"temperature by a sigmoid; linearly to 0.3", "no collapse"}});
  experiment::add_claims(page, claims_of(sweeps, all), all);
  experiment::add_figures(page, arms, all,
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
  add_calls(page, arms, all, s.batch);
  page.section("Learning");
  experiment::add_curves(page, arms, all);
  // The others' pictures would be dozens more.
  experiment::add_routing(page, widest, all, data.test.class_names);
  experiment::add_calibration(page, widest, all, data.test.class_names);
  return experiment::finish(page, s, data, all);
}

}  // namespace

int main(int argc, char** argv) {
  experiment::settings s{.program = "paper_a", .epochs = 20, .learning_rate = 2e-3, .weight_decay = 0.05,
                         .augment = "crop"};
#if defined(POLYMOE_DEMO_CUDA)
  s.find_gpu = &paper_a::find_gpu;
#endif
  return experiment::main_of(argc, argv, s, "The gap between sparse and dense over the routed share of the FLOPs (paper A).",
                             add_options, variant_of, run);
}
