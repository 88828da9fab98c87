// What bench/gpu measures, as a table of text and as JSON.
#pragma once

#include <cstdio>
#include <fstream>
#include <polymoe/train/json.hpp>

#include "rows.hpp"

namespace gpu_bench {

struct figure {
  std::string name;
  double us = 0, least = 0;  ///< of one call: median and least of the batches
  int batches = 0, calls = 0;
  work need;  ///< flop and bytes of the floors, summed over the stages
  double floor_us = 0;
  bool by_bytes = false;  ///< which of the two made the floor (of a pass: most of it)
  double target_us = 0;   ///< what the call should take; 0: nothing was set
};

/// One layer under one capacity and one routing.
struct block {
  row_shape row;
  std::string capacity, routing;
  std::string recipe;  ///< the layer's describe(): which products, which of their epilogues are fused
  double fullest_over_mean = 0, placed = 0, drop_rate = 0;
  int dead = 0;
  std::vector<figure> figures;
  /// False: the library had no kernel for something, and one of ours or another way of products took its place.
  bool fused() const { return recipe.find("NOT ") == recipe.npos; }
};

struct machine {
  std::string gpu;
  int multiprocessors = 0, capability = 0, driver = 0, runtime = 0;
  double memory_gib = 0, l2_mib = 0;
};

struct report {
  machine on;
  ceilings start;
  std::optional<ceilings> end;
  std::vector<block> blocks;
  std::vector<block> routers;    ///< one per row: routers that look at columns
  std::vector<block> libraries;  ///< one per row: CUB and Thrust
  std::vector<std::string> failures;
};

inline void print_head() {
  std::printf("%-6s %-9s %-7s %-28s %11s %11s %5s %7s %9s %7s\n", "row", "capacity", "routing", "stage", "us",
              "floor us", "bound", "ratio", "TFLOP/s", "TB/s");
}
inline void print(const block& b) {
  if (b.capacity == "libraries")
    std::printf("# %s: CUB and Thrust\n", b.row.name.c_str());
  else if (b.capacity == "routers")
    std::printf("# %s: routers on columns\n", b.row.name.c_str());
  else
    std::printf("# %s: T %lld D %lld H %lld E %lld K %d, %s, %s: fullest/mean %.2f, without rows %d, dropped %.2f %%\n",
              b.row.name.c_str(), static_cast<long long>(b.row.tokens), static_cast<long long>(b.row.dim),
              static_cast<long long>(b.row.hidden), static_cast<long long>(b.row.experts), b.row.k, b.capacity.c_str(),
              b.routing.c_str(), b.fullest_over_mean, b.dead, 100 * b.drop_rate);
  if (!b.recipe.empty()) std::printf("# %s%s\n", b.fused() ? "" : "NOT FUSED: ", b.recipe.c_str());
  for (const figure& f : b.figures)
    std::printf("%-6s %-9s %-7s %-28s %11.1f %11.1f %5s %7.2f %9.1f %7.2f\n", b.row.name.c_str(), b.capacity.c_str(),
                b.routing.c_str(), f.name.c_str(), f.us, f.floor_us, f.by_bytes ? "bytes" : "flop", f.us / f.floor_us,
                1e-6 * f.need.flop / f.us, 1e-6 * f.need.bytes / f.us);
  std::fflush(stdout);
}

inline void put(polymoe::json_writer& w, const char* key, const ceilings& c) {
  w.key(key).begin_object();
  w.field("bf16_product_tflops", 1e-12 * c.flops);
  w.field("copy_memcpy_tbs", 1e-12 * c.copy_api).field("copy_kernel_tbs", 1e-12 * c.copy_kernel);
  w.field("float_tflops", 1e-12 * c.scalar_flops).field("copy_cached_tbs", 1e-12 * c.copy_cached).end_object();
}

inline std::string json(const report& r) {
  polymoe::json_writer w;
  w.begin_object().field("program", "gpu_bench").field("gpu", r.on.gpu).field("capability", r.on.capability);
  w.field("multiprocessors", r.on.multiprocessors).field("memory_gib", r.on.memory_gib).field("l2_mib", r.on.l2_mib);
  w.field("driver", r.on.driver).field("runtime", r.on.runtime);
  put(w, "ceilings", r.start);
  if (r.end) put(w, "ceilings_at_the_end", *r.end);
  const auto put_figures = [&w](const block& b) {
    w.key("figures").begin_array();
    for (const figure& f : b.figures) {
      w.begin_object().field("stage", f.name).field("us", f.us).field("least_us", f.least).field("batches", f.batches);
      w.field("calls_per_batch", f.calls).field("flop", f.need.flop).field("bytes", f.need.bytes);
      w.field("floor_us", f.floor_us).field("bound", f.by_bytes ? "bytes" : "flop").field("ratio", f.us / f.floor_us);
      if (f.target_us > 0) w.field("target_us", f.target_us);
      if (f.need.scalar_flop > 0) w.field("scalar_flop", f.need.scalar_flop);
      if (f.need.cached_bytes > 0) w.field("cached_bytes", f.need.cached_bytes);
      w.end_object();
    }
    w.end_array();
  };
  w.key("blocks").begin_array();
  for (const block& b : r.blocks) {
    w.begin_object().field("row", b.row.name).field("T", b.row.tokens).field("D", b.row.dim).field("H", b.row.hidden);
    w.field("E", b.row.experts).field("K", b.row.k).field("capacity", b.capacity).field("routing", b.routing);
    w.field("fullest_over_mean", b.fullest_over_mean).field("placed", b.placed).field("drop_rate", b.drop_rate);
    w.field("experts_without_rows", b.dead).field("recipe", b.recipe).field("fused", b.fused());
    put_figures(b);
    w.end_object();
  }
  w.end_array();
  const auto put_blocks = [&](const char* key, const std::vector<block>& blocks) {
    w.key(key).begin_array();
    for (const block& b : blocks) {
      w.begin_object().field("row", b.row.name);
      put_figures(b);
      w.end_object();
    }
    w.end_array();
  };
  put_blocks("routers", r.routers), put_blocks("libraries", r.libraries);
  w.key("failures").begin_array();
  for (const std::string& f : r.failures) w.value(f);
  w.end_array().end_object();
  return w.str();
}

/// Through a second file, so that a run that is stopped leaves the last whole one.
inline void write_json(const report& r, const std::string& path) {
  if (path.empty()) return;
  const std::string next = path + ".part";
  {
    std::ofstream f(next);
    f << json(r) << "\n";
    polymoe::require(f.good(), "cannot write '", next, "'");
  }
  polymoe::require(std::rename(next.c_str(), path.c_str()) == 0, "cannot rename '", next, "' to '", path, "'");
}

}  // namespace gpu_bench
