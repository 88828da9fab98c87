// What router_bench.cpp found, as JSON and as tables of a page.
#pragma once

#include <cstdio>
#include <ctime>
#include <fstream>
#include <optional>
#include <polymoe/analysis/transport_costs.hpp>
#include <polymoe/train/json.hpp>
#include <sstream>
#include <utility>

#include "layer_parts.hpp"

namespace router_bench {

using polymoe::cpu;
using polymoe::index;
using polymoe::view;
using namespace layer_bench;

inline constexpr index dim = 384, hidden = 1536;

struct shape {
  index tokens = 0, experts = 0;
};
struct options : settings {
  index group = 0;
  bool all = false;
};
/// Bytes of a pass.
struct traffic {
  double forward = 0, backward = 0;
};

struct line {
  std::string router;
  figure forward, backward, both;
  traffic bytes;
  std::optional<polymoe::analysis::transport_costs> costs;
};
struct result {
  shape size;
  figure layer_forward, layer_both;
  std::vector<line> lines;
};

inline double floor_ms(double bytes, double bandwidth) { return bytes / bandwidth * 1e3; }
inline std::string first_line(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string text; std::getline(in, text);)
    if (text.rfind(key, 0) == 0) {
      const std::size_t at = key.empty() ? 0 : text.find(':') + 2;
      return at < text.size() ? text.substr(at) : text;
    }
  return "unknown";
}
struct machine {
  std::string processor = first_line("/proc/cpuinfo", "model name"), load = first_line("/proc/loadavg", "");
  double bandwidth = 0;
};
inline std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

inline std::string to_json(const std::vector<result>& all, const options& o, const machine& m) {
  polymoe::json_writer w;
  const auto put = [&](const char* name, const figure& f) {
    w.key(name).begin_object().field("least", f.least).field("median", f.median).field("runs", f.count).end_object();
  };
  w.begin_object().field("processor", m.processor).field("load_before", m.load).field("threads", o.threads);
  w.field("isa", maths::isa_name()).field("compiler", __VERSION__).field("maths", maths::resolved<float>::name);
  w.field("stream_bytes_per_s", m.bandwidth).field("group", o.group).key("rows").begin_array();
  for (const result& r : all) {
    w.begin_object().field("T", r.size.tokens).field("E", r.size.experts).field("D", dim).field("H", hidden);
    put("layer_forward_ms", r.layer_forward), put("layer_both_ms", r.layer_both);
    w.key("routers").begin_array();
    for (const line& l : r.lines) {
      w.begin_object().field("router", l.router);
      put("forward_ms", l.forward), put("backward_ms", l.backward), put("both_ms", l.both);
      w.field("forward_bytes", l.bytes.forward).field("backward_bytes", l.bytes.backward);
      w.field("forward_over_floor", l.forward.least / floor_ms(l.bytes.forward, m.bandwidth));
      w.field("backward_over_floor", l.backward.least / floor_ms(l.bytes.backward, m.bandwidth));
      w.field("forward_of_layer", l.forward.least / r.layer_forward.least);
      w.field("both_of_layer", l.both.least / r.layer_both.least);
      if (l.costs) {
        const auto& c = *l.costs;
        w.key("plans").begin_object().field("groups", c.groups).field("units", c.units).field("steps", c.steps);
        w.field("transport", c.transport).field("penalty", c.penalty).field("primal", c.primal()).field("dual", c.dual);
        w.field("gap", c.gap()).field("unit_error", c.unit_error).field("expert_error", c.expert_error);
        w.field("nonzeros", c.nonzeros).end_object();
      }
      w.end_object();
    }
    w.end_array().end_object();
  }
  w.end_array().end_object();
  return w.str();
}

inline std::string to_markdown(const std::vector<result>& all, const options& o, const machine& m) {
  std::ostringstream s;
  s.setf(std::ios::fixed);
  const auto number = [&](double x, int digits) {
    std::ostringstream t;
    t.setf(std::ios::fixed), t.precision(digits), t << x;
    return t.str();
  };
  s << "Measured " << today() << " on " << m.processor << ", " << o.threads << " of " << polymoe::hardware_threads()
    << " cores, load before the start " << m.load << "; compiler " << __VERSION__ << ", products by "
    << maths::resolved<float>::name << ", " << maths::isa_name() << ", stream " << number(m.bandwidth * 1e-9, 1)
    << " GB/s. fp32, D 384; groups of ";
  if (o.group)
    s << o.group;
  else
    s << "all";
  s << " units. Least of at least " << o.repeats << " runs.\n";
  for (const result& r : all) {
    s << "\n**T " << r.size.tokens << ", E " << r.size.experts << ".** ViT-S layer (MLP 384-1536-384): forward "
      << number(r.layer_forward.least, 2) << " ms, both passes " << number(r.layer_both.least, 2) << " ms.\n\n";
    s << "| router | forward ms | backward ms | forward over floor | backward over floor | forward of the layer's | "
         "both of "
         "the layer's |\n|---|---|---|---|---|---|---|\n";
    for (const line& l : r.lines)
      s << "| " << l.router << " | " << number(l.forward.least, 2) << " | " << number(l.backward.least, 2) << " | "
        << number(l.forward.least / floor_ms(l.bytes.forward, m.bandwidth), 1) << " | "
        << number(l.backward.least / floor_ms(l.bytes.backward, m.bandwidth), 1) << " | "
        << number(100 * l.forward.least / r.layer_forward.least, 1) << " % | "
        << number(100 * l.both.least / r.layer_both.least, 1) << " % |\n";
    bool any = false;
    for (const line& l : r.lines) {
      if (!l.costs) continue;
      if (!std::exchange(any, true))
        s << "\n| transport plans | steps | cost | primal | dual | gap | unit's sum off | expert's sum off |\n"
             "|---|---|---|---|---|---|---|---|\n";
      const auto& c = *l.costs;
      const auto a_unit = [&](double x) { return number(c.per_unit(x), 5); };
      const auto share = [](double x) {
        char text[16];
        std::snprintf(text, sizeof text, "%.1e", x);
        return std::string(text);
      };
      s << "| " << l.router << " | " << number(c.steps_of_group(), 1) << " | " << a_unit(c.transport) << " | "
        << a_unit(c.primal()) << " | " << a_unit(c.dual) << " | " << a_unit(c.gap()) << " | " << share(c.unit_error)
        << " | " << share(c.expert_error) << " |\n";
    }
  }
  return s.str();
}

/// Puts the tables between the marks of a page.
inline void write_page(const std::string& file, const std::string& tables) {
  const std::string begin = "<!-- router results: begin -->", end = "<!-- router results: end -->";
  std::ifstream in(file);
  polymoe::require(in.good(), "cannot read ", file);
  std::stringstream old;
  old << in.rdbuf();
  const std::string text = old.str();
  const std::size_t from = text.find(begin), to = text.find(end);
  polymoe::require(from != std::string::npos && to != std::string::npos && from < to, file,
                   " has no marks for the tables");
  std::ofstream out(file);
  out << text.substr(0, from + begin.size()) << "\n" << tables << text.substr(to);
  polymoe::require(static_cast<bool>(out), "cannot write ", file);
}

}  // namespace router_bench
