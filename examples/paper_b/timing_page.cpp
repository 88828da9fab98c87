// The page's part about inference: times of whole models, when one is faster than another, and what FLOPs and bytes
// promise.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <polymoe/analysis/break_even.hpp>

#include "pages.hpp"

namespace paper_b {
namespace {

namespace analysis = polymoe::analysis;

/// One arm's times, means over seeds, and what the model asks of it.
struct timed_arm {
  std::vector<double> ms{}, low{}, high{};
  double parameters = 0, active = 0, macs = 0;
  /// Parameters that a batch reads: of experts, those that an image has.
  double read(double batch) const {
    if (active >= parameters) return parameters;
    const double unread = static_cast<double>(experts) - analysis::experts_met(experts, experts_of_image, batch);
    return parameters - (parameters - active) * unread / static_cast<double>(experts - experts_of_image);
  }
};
timed_arm timed_arm_of(const std::vector<result>& all, const std::string& name) {
  const auto figure = [&](const char* of) {
    const std::vector<double> v = experiment::values_of(all, name, of);
    return v.empty() ? 0.0 : v.front();
  };
  const double parameters = figure("parameters"), active = figure("active_parameters"), macs = figure("macs");
  if (!(parameters > 0 && active > 0 && macs > 0)) return {};  // a result of before there were all of them
  return {experiment::mean_list(all, name, "inference_ms"),
          experiment::mean_list(all, name, "inference_low_ms"),
          experiment::mean_list(all, name, "inference_high_ms"),
          parameters,
          active,
          macs};
}

}  // namespace

std::vector<crossing> crossings_of(const std::vector<result>& all) {
  const timed_arm dense = timed_arm_of(all, "dense");
  if (dense.ms.size() < 2) return {};
  std::vector<double> batches;
  std::vector<std::array<double, 2>> terms;
  for (std::size_t i = 0; i < dense.ms.size(); ++i)
    batches.push_back(static_cast<double>(timed_batches[i])), terms.push_back({1, batches.back()});
  const auto fitted = analysis::fit_times<2>(terms, dense.ms);
  const auto modelled = [&](const timed_arm& a, double batch) {
    return fitted({a.read(batch) / dense.parameters, batch * a.macs / dense.macs});
  };
  std::vector<crossing> found;
  const auto add = [&](const std::string& name, const std::string& other) {
    const timed_arm a = timed_arm_of(all, name), b = timed_arm_of(all, other);
    if (a.ms.size() != batches.size() || b.ms.size() != batches.size()) return;
    crossing c{.arm = name, .against = other, .batches = batches};
    for (std::size_t i = 0; i < batches.size(); ++i) {
      c.measured.push_back(b.ms[i] / a.ms[i]);
      c.modelled.push_back(modelled(b, batches[i]) / modelled(a, batches[i]));
      c.open.push_back(a.low[i] <= b.high[i] && b.low[i] <= a.high[i]);
      c.worst = std::max(c.worst, std::abs(modelled(a, batches[i]) / a.ms[i] - 1));
    }
    c.from = analysis::break_even(batches, c.measured);
    c.modelled_from = analysis::break_even(batches.front(), batches.back(),
                                           [&](double batch) { return modelled(b, batch) / modelled(a, batch); });
    found.push_back(std::move(c));
  };
  for (const std::string form : {"", "_published"}) {
    add("sparse" + form, "dense"), add("sparse" + form, "soft" + form), add("soft" + form, "dense");
  }
  return found;
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
      s.x.push_back(std::log2(static_cast<double>(timed_batches[k]))),
          s.y.push_back(1e3 * static_cast<double>(timed_batches[k]) / v[k]);
    time.push_back(s);
  }
  for (std::size_t k = 0; !ms.empty() && k < ms[0].size(); ++k) {
    rows.push_back({std::to_string(timed_batches[k])});
    for (const auto& v : ms) rows.back().push_back(experiment::text_of({v[k]}, "%.3f"));
  }
  page.table("Median of 20 forwards, evaluation mode", header, rows);
  page.lines({.title = "Images per second",
              .x_label = "log2 of the batch",
              .y_label = "images/s",
              .note = "break_even_bench takes heads and blocks by themselves."},
             time);
  const std::vector<crossing> pairs = crossings_of(all);
  if (pairs.empty()) return;
  page.text(
      "From which batch on is one whole model faster than another? The model has the times of the dense arm alone, as "
      "a + b B for a batch of B: an arm takes a times its share of the weights that are read (of sparse heads the "
      "experts "
      "that one of B random images chooses) and b B times its share of the MACs. Of all the MACs the heads are few: "
      "where "
      "the quartiles of both times overlap (~) the ratio shows the noise of the machine, and so does a break-even "
      "point.");
  std::vector<std::vector<std::string>> points, ratios;
  std::vector<std::string> ratio_header{"batch"};
  std::printf("\n");
  for (const crossing& c : pairs) {
    const auto text = [&](double at) { return analysis::break_even_text(at, c.batches.front(), c.batches.back()); };
    index open = 0;
    for (const bool o : c.open) open += o;
    points.push_back({c.arm + " faster than " + c.against, text(c.from), text(c.modelled_from),
                      experiment::text_of({100 * c.worst}, "%.1f"),
                      std::to_string(open) + " of " + std::to_string(c.open.size())});
    const auto& p = points.back();
    std::printf("%s, whole models, by batch: measured %s, by FLOPs and bytes %s; quartiles overlap at %s batches\n",
                p[0].c_str(), p[1].c_str(), p[2].c_str(), p[4].c_str());
    ratio_header.push_back(c.against + " / " + c.arm), ratio_header.push_back("by FLOPs and bytes");
  }
  for (std::size_t k = 0; k < pairs[0].batches.size(); ++k) {
    ratios.push_back({experiment::text_of({pairs[0].batches[k]}, "%.0f")});
    for (const crossing& c : pairs) {
      ratios.back().push_back(experiment::text_of({c.measured[k]}, "%.4f") + (c.open[k] ? " ~" : ""));
      ratios.back().push_back(experiment::text_of({c.modelled[k]}, "%.4f"));
    }
  }
  page.table("From which batch on",
             {"whole models", "measured", "by FLOPs and bytes", "the model's largest error, %",
              "batches whose quartiles overlap"},
             points);
  page.table("Ratio of the times: above 1 the second is faster", ratio_header, ratios);
}

void write_crossings(polymoe::json_writer& w, const std::vector<result>& all) {
  // A point that is never reached is written as -1.
  const auto point = [](double at) { return at == HUGE_VAL ? -1.0 : at; };
  w.key("break_even").begin_array();
  for (const crossing& c : crossings_of(all)) {
    w.begin_object().field("arm", c.arm).field("against", c.against);
    w.field("measured_from", point(c.from))
        .field("modelled_from", point(c.modelled_from))
        .field("model_worst", c.worst);
    const auto list = [&](const char* name, const auto& v) {
      w.key(name).begin_array();
      for (const auto x : v) w.value(x);
      w.end_array();
    };
    list("batches", c.batches), list("measured", c.measured), list("modelled", c.modelled);
    w.key("quartiles_overlap").begin_array();
    for (const bool open : c.open) w.value(open);
    w.end_array();
    w.end_object();
  }
  w.end_array();
}

}  // namespace paper_b
