// Tables and charts of paper A's page.
#include "pages.hpp"

#include <cmath>

namespace paper_a {
namespace {

using experiment::show_table;
using rows = std::vector<std::vector<std::string>>;

/// Mean paired difference of test accuracy of two arms, in points, with its standard error; no seeds in common: n is 0.
struct gap {
  std::size_t n = 0;
  double mean = 0, error = 0;
  std::string text() const { return n > 0 ? experiment::text_of({mean}, "%+.2f") : "-"; }
  std::string error_text() const {
    return n == 0   ? "-"
           : n == 1 ? "one seed"
                    : experiment::text_of({error}, "%.2f") + " (" + std::to_string(n) + " seeds)";
  }
};
gap gap_of(const std::vector<result>& all, const std::string& arm, const std::string& to) {
  const auto [a, b] = experiment::paired(all, arm, to, "test_accuracy");
  if (a.empty()) return {};
  const auto d = polymoe::analysis::paired_difference(a, b);
  return {a.size(), 100 * d.mean, 100 * d.standard_error};
}
/// A figure that is the same, or nearly, under every seed.
std::string share_text(const std::vector<result>& all, const std::string& arm, const char* figure) {
  const auto v = experiment::values_of(all, arm, figure);
  return v.empty() ? "-" : experiment::text_of({polymoe::analysis::summarise(v).mean}, "%.4f");
}

}  // namespace

void add_gaps(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  std::vector<polymoe::series> curves;
  rows table;
  index color = 0;
  for (const named_kind& k : kinds) {
    if (k.which == kind::dense || !w.has(k.which)) continue;
    polymoe::series s{.name = k.name, .y = {}, .x = {}, .color = color++};
    const std::vector<std::string> twins = twins_of(k.which);
    for (const index h : w.widths) {
      const std::string mine = w.name_of(k, h);
      const auto rho = experiment::values_of(all, mine, "rho_static");
      for (const std::string& twin : twins) {
        const gap d = gap_of(all, mine, w.name_of(twin, h));
        if (d.n == 0 || rho.empty()) continue;
        const bool first = twin == twins.front();
        if (first) s.x.push_back(rho[0]), s.y.push_back(d.mean), s.errors.push_back(d.error);
        table.push_back({k.name, twin, std::to_string(h), experiment::text_of({rho[0]}, "%.4f"),
                         share_text(all, mine, "rho_active"), d.text(), d.error_text(),
                         first && !k.temperature ? k.paper : ""});
      }
    }
    if (!s.x.empty()) curves.push_back(s);
  }
  page.lines(
      {.title = "Gap to the dense twin over rho, " + w.title(),
       .x_label = "rho_static",
       .y_label = "percentage points",
       .wide = true,
       .note = "rho_static: MACs of the dense blocks that experts replace, over those of the dense model; it does not "
               "depend on k. The twin is dense, and head_dense of experts in the head. Whiskers: the standard error, "
               "paired over seeds."},
      curves);
  show_table(page, "Gaps, paired over seeds, " + w.title(),
             {"arm", "against", "H", "rho_static", "rho_active", "gap, points", "standard error", "paper, ImageNet-1k"},
             table);
}

void add_places(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  rows table;
  for (const auto& [body, head, paper] : {std::tuple{"k1", "head_k1", ""},
                                          {"k2", "head_k2", "+1.17 at rho 0.38; -1.29 to -1.90 below 0.01"},
                                          {"k2_free", "head_k2_free", ""},
                                          {"soft", "head_soft", ""}})
    for (const index h : w.widths) {
      const std::string inside = w.name_of(body, h), outside = w.name_of(head, h);
      const gap a = gap_of(all, inside, w.name_of("dense", h)), b = gap_of(all, outside, w.name_of("head_dense", h));
      if (a.n == 0 || b.n == 0) continue;
      table.push_back({std::string(body) + ", " + head, std::to_string(h), share_text(all, inside, "rho_static"),
                       a.text(), a.error_text(), share_text(all, outside, "rho_static"), b.text(), b.error_text(),
                       paper});
    }
  show_table(page, "Experts in the body against experts in the head, each beside its dense twin, " + w.title(),
             {"arms", "H", "rho, body", "gap, points", "standard error", "rho, head", "gap, points", "standard error",
              "paper, ImageNet-1k"},
             table);
}

void add_choices_of_k(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  const struct {
    const char *one, *two;
    kind sizes;
    const char *about, *paper;
  } pairs[] = {{"k1", "k2", kind::k1, "the same experts, rho_static the same", "+1.17 - (-2.08) = +3.25"},
               {"k1_free", "k2_free", kind::k1_free, "the same without a capacity", ""},
               {"k1_wide", "k2", kind::k1_wide, "wider experts, rho_active the same", ""},
               {"k1_few", "k2", kind::k1_few, "fewer, wider experts, parameters the same too", ""},
               {"head_k1", "head_k2", kind::head_k1, "the same experts, in the head", ""}};
  rows table;
  for (const auto& p : pairs)
    for (const index h : w.widths) {
      const std::string one = w.name_of(p.one, h), two = w.name_of(p.two, h);
      const gap d = gap_of(all, two, one);
      if (d.n == 0) continue;
      const polymoe::expert_sizes e = experts_of(p.sizes, w.shape, w.o, h);
      table.push_back(
          {std::string(p.two) + " - " + p.one, p.about, std::to_string(w.o.experts) + " x " + std::to_string(h),
           std::to_string(e.experts) + " x " + std::to_string(e.hidden), share_text(all, two, "rho_static"),
           share_text(all, two, "rho_active"), share_text(all, one, "rho_active"), d.text(), d.error_text(), p.paper});
    }
  show_table(page, "k = 2 against k = 1 at the same share, paired over seeds, " + w.title(),
             {"pair", "what is the same", "E x H of k = 2", "of k = 1", "rho_static", "rho_active of k = 2, measured",
              "of k = 1, measured", "points", "standard error", "paper, ImageNet-1k, rho 0.38"},
             table);
}

void add_dropping(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  const struct {
    const char *kept, *limited, *dense;
  } pairs[] = {{"k1_free", "k1", "dense_one"},
               {"k2_free", "k2", "dense"},
               {"k2_identity", "k2", "dense"},
               {"k2_reroute", "k2", "dense"},
               {"k2_fallback", "k2", "dense"},
               {"head_k2_free", "head_k2", "head_dense"},
               {"head_k2_fallback", "head_k2", "head_dense"}};
  rows table;
  for (const auto& p : pairs)
    for (const index h : w.widths) {
      const std::string kept = w.name_of(p.kept, h), limited = w.name_of(p.limited, h);
      const gap d = gap_of(all, kept, limited), whole = gap_of(all, limited, w.name_of(p.dense, h));
      if (d.n == 0) continue;
      const bool behind = whole.n > 0 && whole.mean < 0;
      table.push_back(
          {std::string(p.kept) + " - " + p.limited, std::to_string(h), share_text(all, limited, "drop_rate"),
           share_text(all, kept, "drop_rate"), share_text(all, kept, "overflow_rate"), d.text(), d.error_text(),
           whole.text() + " to " + p.dense, behind ? experiment::text_of({-100 * d.mean / whole.mean}, "%.0f") : "-"});
    }
  show_table(page, "What dropping takes, paired over seeds, " + w.title(),
             {"pair", "H", "dropped of the second", "of the first", "overflow served by the first", "points",
              "standard error", "gap of the second", "of a negative gap, %"},
             table);
}

void add_temperatures(polymoe::report& page, const std::vector<result>& all, const sweep& w) {
  rows table;
  std::vector<polymoe::series> curves;
  for (const named_kind& k : kinds) {
    if (!k.temperature) continue;
    for (const index h : w.widths) {
      const std::string mine = w.name_of(k, h), constant = w.name_of("k2", h);
      // Points of validation accuracy above the constant temperature at the end of each epoch, mean over seeds.
      std::vector<double> above;
      double seeds = 0;
      for (const result& r : all)
        for (const result& q : all) {
          if (r.arm != mine || q.arm != constant || r.seed != q.seed || r.epochs.empty()) continue;
          ++seeds, above.resize(r.epochs.size());
          for (std::size_t e = 0; e < std::min(above.size(), q.epochs.size()); ++e)
            above[e] += 100 * (r.epochs[e].validation_accuracy - q.epochs[e].validation_accuracy);
        }
      if (above.empty()) continue;
      for (double& x : above) x /= seeds;
      const auto peak = std::max_element(above.begin(), above.end());
      const gap test = gap_of(all, mine, constant);
      table.push_back({k.name, std::to_string(h),
                       experiment::text_of({*peak}, "%+.2f") + " in epoch " + std::to_string(peak - above.begin() + 1),
                       experiment::text_of({above.back()}, "%+.2f"), test.text(), test.error_text(),
                       share_text(all, mine, "entropy"), share_text(all, constant, "entropy"),
                       share_text(all, mine, "load_cv"), k.paper});
      if (h != w.widths.back()) continue;
      polymoe::series s{.name = k.name, .y = above, .x = {}, .color = static_cast<index>(curves.size())};
      for (std::size_t e = 0; e < above.size(); ++e) s.x.push_back(static_cast<double>(e + 1));
      curves.push_back(std::move(s));
    }
  }
  if (curves.empty()) return;
  page.lines(
      {.title =
           "Falling temperatures above the constant one, H = " + std::to_string(w.widths.back()) + ", " + w.title(),
       .x_label = "epoch",
       .y_label = "points, validation",
       .note = "Mean over seeds. Published: a linear fall to 0.1 is +0.92 at its peak and collapses late; a sigmoid, "
               "and a fall to 0.3, do not."},
      curves);
  show_table(page, "Falling temperatures against the constant one, paired over seeds, " + w.title(),
             {"arm", "H", "peak, points, validation", "at the end, validation", "at the end, test", "standard error",
              "router entropy, nats", "of the constant one", "load CV", "paper"},
             table);
}

void add_twins(polymoe::report& page, const sweep& w, const images& data) {
  using polymoe::match;
  constexpr match by[] = {match::active_macs, match::parameters, match::total_macs};
  const auto add = [&](const std::string& name, auto twin) {
    rows table;
    for (const index h : w.widths) {
      table.push_back({std::to_string(h)});
      for (const match m : by) {
        const polymoe::dense_twin t = twin(m, h);
        table.back().push_back(std::to_string(t.hidden) + " (" + experiment::text_of({100 * t.error()}, "%+.2f") +
                               " %)");
      }
    }
    page.table(
        "Hidden widths of the dense twins of k = 2, and what the whole model has more than it should, " + w.title(),
        {"H", name + ": active MACs", name + "_wide: parameters", name + "_total: MACs of all slots"}, table);
  };
  if (w.in_body) add("dense", [&](match m, index h) { return dense_twin_of(w.shape, m, w.o, h); });
  if (w.in_head)
    add("head_dense", [&](match m, index h) { return twin_of(head_shape_of(w.o, data, h), m, twin_sizes(w.o, h)); });
}

void add_calls(polymoe::report& page, const std::vector<experiment::arm>& arms,
               const std::vector<experiment::arm>& drawn, const std::vector<result>& all, index batch) {
  const std::vector<index> sizes = call_sizes(batch);
  const auto right = [&](const experiment::arm& a, index n) {
    return experiment::values_of(all, a.name, figure_of_calls(n));
  };
  std::vector<polymoe::series> curves;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    polymoe::series s{.name = drawn[i].name, .y = {}, .color = static_cast<index>(i)};
    for (const index n : sizes) {
      const auto values = right(drawn[i], n);
      if (values.empty()) continue;
      const auto mean = polymoe::analysis::summarise(values);
      s.x.push_back(std::log2(static_cast<double>(n))), s.y.push_back(mean.mean),
          s.errors.push_back(mean.standard_error);
    }
    if (!s.y.empty()) curves.push_back(std::move(s));
  }
  std::vector<std::string> header{"arm"};
  for (const index n : sizes) header.push_back(std::to_string(n) + (n == 1 ? " image a call" : " images a call"));
  rows table;
  for (const experiment::arm& a : arms) {
    if (right(a, batch).empty()) continue;
    table.push_back({a.name});
    for (const index n : sizes) table.back().push_back(experiment::text_of(right(a, n), "%.2f", 100));
  }
  if (table.empty()) return;
  if (!curves.empty())
    page.lines(
        {.title = "Test accuracy over the images of a call",
         .x_label = "log2 of the images",
         .y_label = "right answers",
         .share = true,
         .note = "Slots that mix the batch (soft_batch, head_batch) see other images, places that run out (head_k2) "
                 "go to the first; weights per image (soft, head_soft) do neither."},
        curves);
  show_table(page,
             "Test accuracy over the images of a call, %, of the first " + std::to_string(most_of_calls) + " images",
             header, table);
}

// The paper gives two shares, "below 1 %" and "about 38 %": where little ends and much begins, 0.1 and 0.3, is ours.
std::vector<experiment::claim> claims_of(const std::vector<sweep>& sweeps, const std::vector<result>& all) {
  std::vector<experiment::claim> claims;
  for (const sweep& w : sweeps)
    for (const index h : w.widths) {
      const auto says = [&](const std::string& text, const char* more, const char* less) {
        claims.push_back({text, w.name_of(more, h), w.name_of(less, h)});
      };
      const auto rho = experiment::values_of(all, w.name_of("k2", h), "rho_static");
      const std::string at = rho.empty() ? "" : ", rho_static " + experiment::text_of({rho[0]}, "%.2f");
      if (!rho.empty() && rho[0] >= 0.3)
        says("k = 2 is above its dense twin where much is routed (+1.17 at rho 0.38)" + at, "k2", "dense");
      if (!rho.empty() && rho[0] < 0.1)
        says("k = 2 is not above its dense twin where little is routed" + at, "dense", "k2");
      says("k = 1 is below its dense twin (-2.08 at rho 0.38)" + at, "dense_one", "k1");
      says("k = 2 is above k = 1 at the same rho" + at, "k2", "k1");
      says("Soft MoE per image is above the dense model (on CIFAR-100)", "soft", "dense");
      says("Soft MoE per image is above Soft MoE over the batch", "soft", "soft_batch");
      says("linear decay to 0.1 collapses late, to 0.3 it does not", "k2_linear_03", "k2_linear_01");
      if (!w.in_head) continue;
      says("experts in the head only are below the dense model (-1.29 to -1.90)", "head_dense", "head_k2");
      says("Soft MoE per image is above Soft MoE over the batch", "head_soft", "head_batch");
    }
  return claims;
}

}  // namespace paper_a
