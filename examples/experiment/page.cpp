// Tables and charts of the page that an experiment ends in.
#include "experiment.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

namespace experiment {
namespace {

std::string formatted(const char* format, double x) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}
/// Those that have a result.
std::vector<const arm*> arms_of(const std::vector<arm>& arms, const std::vector<result>& all) {
  std::vector<const arm*> ran;
  for (const arm& a : arms)
    if (std::any_of(all.begin(), all.end(), [&](const result& r) { return r.arm == a.name; })) ran.push_back(&a);
  return ran;
}

/// Figures of every arm over its seeds, as JSON.
std::string summary_of(const std::vector<result>& all, const std::string& identity,
                       const std::function<void(polymoe::json_writer&)>& own) {
  std::vector<std::string> names;
  for (const result& r : all)
    if (std::find(names.begin(), names.end(), r.arm) == names.end()) names.push_back(r.arm);
  polymoe::json_writer w;
  w.begin_object().field("identity", identity).key("arms").begin_object();
  for (const std::string& arm : names) {
    std::set<std::string> figures;
    for (const result& r : all)
      if (r.arm == arm)
        for (const auto& [figure, value] : r.figures) figures.insert(figure);
    w.key(arm).begin_object();
    for (const std::string& figure : figures) {
      const auto s = polymoe::analysis::summarise(values_of(all, arm, figure));
      w.key(figure).begin_object().field("mean", s.mean).field("standard_error", s.standard_error).field("seeds", s.n);
      w.end_object();
    }
    w.end_object();
  }
  w.end_object();
  if (own) own(w);
  w.end_object();
  return w.str();
}

}  // namespace

std::vector<double> values_of(const std::vector<result>& all, const std::string& arm, const std::string& figure) {
  std::vector<double> v;
  for (const result& r : all)
    if (r.arm == arm)
      if (const auto it = r.figures.find(figure); it != r.figures.end()) v.push_back(it->second);
  return v;
}

std::vector<double> mean_list(const std::vector<result>& all, const std::string& arm, const std::string& name) {
  std::vector<double> sum;
  double n = 0;
  for (const result& r : all)
    if (const auto it = r.lists.find(name); r.arm == arm && it != r.lists.end()) {
      if (sum.empty()) sum.assign(it->second.size(), 0.0);
      for (std::size_t i = 0; i < std::min(sum.size(), it->second.size()); ++i) sum[i] += it->second[i];
      ++n;
    }
  for (double& x : sum) x /= n;
  return sum;
}

std::string text_of(const std::vector<double>& v, const char* format, double scale) {
  if (v.empty()) return "-";
  const auto s = polymoe::analysis::summarise(v);
  if (v.size() == 1) return formatted(format, scale * s.mean);
  std::string error = formatted(format, scale * s.standard_error);
  if (error.starts_with('+')) error.erase(0, 1);  // a format that shows the sign of a difference
  return formatted(format, scale * s.mean) + " \u00b1 " + error + " (" + std::to_string(v.size()) + ")";
}

std::string duration(double seconds) {
  const auto [scale, unit] = seconds < 120    ? std::pair{1.0, " s"}
                             : seconds < 7200 ? std::pair{60.0, " min"}
                                              : std::pair{3600.0, " h"};
  return formatted("%.1f", seconds / scale) + unit;
}

void show_table(polymoe::report& page, const std::string& title, const std::vector<std::string>& header,
                const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return;
  page.table(title, header, rows);
  // A letter of several bytes takes one column.
  const auto columns = [](const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  };
  std::vector<std::size_t> widths;
  for (const std::string& title_of : header) widths.push_back(columns(title_of));
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], columns(row[c]));
  const auto print = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - columns(row[c]), ' ');
      line += c == 0 ? row[c] + space : "  " + space + row[c];
    }
    std::printf("%s\n", line.c_str());
  };
  std::printf("\n%s\n", title.c_str());
  print(header);
  for (const auto& row : rows) print(row);
}

void add_figures(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all,
                 const std::vector<figure_row>& rows) {
  // One line of `cells` a figure, the first its title; one column an arm, and one for what the paper reports of it.
  std::vector<std::vector<std::string>> cells{{"figure"}};
  for (const figure_row& f : rows) cells.push_back({f.title});
  for (const arm* a : arms_of(arms, all)) {
    cells[0].push_back(a->name);
    for (std::size_t i = 0; i < rows.size(); ++i)
      cells[i + 1].push_back(text_of(values_of(all, a->name, rows[i].figure), rows[i].format, rows[i].scale));
    if (std::none_of(rows.begin(), rows.end(), [&](const figure_row& f) { return a->paper.count(f.figure); })) continue;
    cells[0].push_back(a->name + ", paper");
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto it = a->paper.find(rows[i].figure);
      cells[i + 1].push_back(it == a->paper.end() ? "" : it->second);
    }
  }
  // Dozens of arms are lines instead.
  if (cells[0].size() > 12) {
    std::vector<std::vector<std::string>> turned(cells[0].size());
    for (const auto& line : cells)
      for (std::size_t i = 0; i < line.size(); ++i) turned[i].push_back(line[i]);
    cells = std::move(turned), cells[0][0] = "arm";
  }
  show_table(page, "Mean, standard error and number of seeds", cells[0], {cells.begin() + 1, cells.end()});
}

paired_values paired(const std::vector<result>& all, const std::string& a, const std::string& b,
                     const std::string& figure) {
  paired_values v;
  for (const result& r : all)
    for (const result& q : all)
      if (r.arm == a && q.arm == b && r.seed == q.seed && r.figures.count(figure) && q.figures.count(figure))
        v.a.push_back(r.figures.at(figure)), v.b.push_back(q.figures.at(figure));
  return v;
}

void add_claims(polymoe::report& page, const std::vector<claim>& claims, const std::vector<result>& all) {
  std::vector<std::vector<std::string>> rows;
  for (const claim& c : claims) {
    const auto [a, b] = paired(all, c.more, c.less, c.figure);
    if (a.empty()) continue;
    const std::vector<double> d = polymoe::analysis::detail::differences(a, b);
    const double mean = c.scale * polymoe::analysis::summarise(d).mean;
    std::string range = "-", verdict = mean > 0 ? "one seed: the same sign" : "one seed: not the same sign";
    if (d.size() > 1) {
      const auto in = polymoe::analysis::mean_interval(d);
      range = formatted(c.format, c.scale * in.low) + " .. " + formatted(c.format, c.scale * in.high);
      verdict = !(in.high > in.low) ? "open: all seeds differ by the same"  // a few test images, or too few seeds
                : in.low > 0        ? "as in the paper"
                : in.high < 0       ? "not as in the paper"
                                    : "open: zero is in the interval";
    }
    rows.push_back({c.text, c.more + " - " + c.less, formatted(c.format, mean) + " " + c.unit, range,
                    std::to_string(d.size()), verdict});
  }
  if (rows.empty()) return;
  page.table("What the paper says, and what was found here",
             {"the paper", "pair", "difference", "95 % (t)", "seeds", "here"}, rows);
  std::printf("\n");
  for (const auto& r : rows)
    std::printf("Paper: %s. Here %s: %s (95 %% %s, seeds: %s), %s\n", r[0].c_str(), r[1].c_str(), r[2].c_str(),
                r[3].c_str(), r[4].c_str(), r[5].c_str());
}

void add_tables(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all,
                const std::vector<figure_row>& rows) {
  add_figures(page, arms, all, rows);
  const std::vector<const arm*> ran = arms_of(arms, all);
  if (ran.size() < 2) return;
  const bool published =
      std::any_of(ran.begin() + 1, ran.end(), [](const arm* a) { return a->paper.count("difference"); });
  std::vector<std::vector<std::string>> pairs;
  for (std::size_t i = 1; i < ran.size(); ++i) {
    const auto [a, b] = paired(all, ran[i]->name, ran[0]->name, "test_accuracy");
    if (a.empty()) continue;
    const auto d = polymoe::analysis::paired_difference(a, b);
    std::string range = "-", sign = "-";
    if (a.size() > 1) {
      const auto in = polymoe::analysis::bootstrap_mean(polymoe::analysis::detail::differences(a, b));
      range = formatted("%+.2f", 100 * in.low) + " .. " + formatted("%+.2f", 100 * in.high);
      const auto t = polymoe::analysis::sign_test(a, b);
      sign = std::to_string(t.positive) + " up, " + std::to_string(t.negative) + " down, p " + formatted("%.3f", t.p);
    }
    pairs.push_back({ran[i]->name + " - " + ran[0]->name, formatted("%+.2f", 100 * d.mean),
                     a.size() > 1 ? formatted("%.2f", 100 * d.standard_error) : "-", range, sign});
    if (const auto it = ran[i]->paper.find("difference"); published)
      pairs.back().push_back(it == ran[i]->paper.end() ? "" : it->second);
  }
  std::vector<std::string> header{"pair", "difference", "standard error", "95 % bootstrap", "signs"};
  if (published) header.push_back("paper");
  page.table("Test accuracy, paired over seeds, in percentage points", header, pairs);
  for (const auto& p : pairs)
    std::printf("%s: %s pp (standard error %s, 95 %% %s, %s)\n", p[0].c_str(), p[1].c_str(), p[2].c_str(), p[3].c_str(),
                p[4].c_str());
}

void add_curves(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all) {
  std::vector<polymoe::series> accuracy, loss;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    std::vector<const result*> of;
    for (const result& r : all)
      if (r.arm == arms[i].name && !r.epochs.empty()) of.push_back(&r);
    if (of.empty()) continue;
    const auto curve = [&](auto member, bool dashed, const char* what) {
      polymoe::series s{.name = arms[i].name + what, .y = {}, .color = static_cast<index>(i), .dashed = dashed};
      for (std::size_t e = 0; e < of[0]->epochs.size(); ++e) {
        double sum = 0;
        for (const result* r : of) sum += r->epochs[e].*member;
        s.x.push_back(static_cast<double>(e + 1)), s.y.push_back(sum / static_cast<double>(of.size()));
      }
      return s;
    };
    accuracy.push_back(curve(&epoch_figures::validation_accuracy, false, ", validation"));
    accuracy.push_back(curve(&epoch_figures::train_accuracy, true, ", training"));
    loss.push_back(curve(&epoch_figures::validation_loss, false, ", validation"));
    loss.push_back(curve(&epoch_figures::train_loss, true, ", training"));
  }
  page.lines({.title = "Accuracy, mean over seeds", .x_label = "epoch", .y_label = "right answers", .share = true},
             accuracy);
  page.lines({.title = "Loss, mean over seeds", .x_label = "epoch", .y_label = "cross-entropy (nats)", .log_y = true},
             loss);
}

void add_descriptions(polymoe::report& page, const std::vector<arm>& arms, const std::vector<result>& all) {
  for (const arm& a : arms)
    for (const result& r : all)
      if (r.arm == a.name && !r.description.empty()) {
        page.text(a.name + " (" + a.about + "): " + r.description);
        break;
      }
}

int finish(polymoe::report& page, const settings& s, const images& data, const std::vector<result>& all,
           const std::function<void(polymoe::json_writer&)>& own) {
  page.section("How this was made");
  page.text("Command:").code(s.command);
  page.text("Commit: " + s.commit);
  for (const result& r : all)
    if (r.commit != s.commit)
      page.text("Kept from an earlier run: " + r.arm + ", seed " + std::to_string(r.seed) + ", of commit " +
                (r.commit.empty() ? "unknown" : r.commit));
  page.text("Data: " + data.name + ", " + std::to_string(data.fit.train.size()) + " training, " +
            std::to_string(data.fit.test.size()) + " validation and " + std::to_string(data.test.size()) +
            " test images. Options: " + identity_of(s));
  if (!data.skipped.empty()) {
    page.text(std::to_string(data.skipped.size()) + " pictures could not be read and were left out. The first:");
    page.code(data.skipped.front());
  }
  page.text("The effective configuration; --config reads it back, and so config.toml beside this page.").code(s.config);
  const std::string path = s.out + "/report.html";
  page.write(path);
  const std::string summary = s.out + "/summary.json";
  polymoe::write_text(summary, summary_of(all, identity_of(s), own) + "\n");
  std::printf("\nResults of every run: %s/<arm>/seed-<n>/result.json\nWritten: %s\nWritten: %s\n", s.out.c_str(),
              summary.c_str(), path.c_str());
  return 0;
}

}  // namespace experiment
