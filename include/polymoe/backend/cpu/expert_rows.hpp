// What expert modules on the CPU share: runs of rows, their tiles, and the loops around the matrix products.
//
// A run is a stretch of rows that one expert computes.  Tiles of at most 256 rows are the unit of parallel work in
// forward and in the data gradient; weight gradients take an expert's runs in order, one output block per task.
#pragma once

#include <algorithm>

#include "../../expert/expert_map.hpp"
#include "../../plan/dense_plan.hpp"
#include "activate.hpp"
#include "planar.hpp"

namespace polymoe::inline v0 {

/// Rows [x_row, +rows) of the input and [y_row, +rows) of the output belong to one expert.
struct expert_run {
  int expert = 0;
  index x_row = 0, y_row = 0, rows = 0;
};

/// A list of runs, sorted by expert, and the same cut into tiles.
struct expert_work {
  expert_run* runs = nullptr;
  expert_run* tiles = nullptr;
  int* first_run = nullptr;  ///< [experts + 1]
  index run_count = 0, tile_count = 0;
  index max_runs = 0, max_tiles = 0;
  int experts = 0;

  template <class Binder>
  void bind(Binder& b, int expert_count, index most_runs, index most_rows) {
    experts = expert_count;
    max_runs = most_runs;
    max_tiles = most_runs + most_rows / 256 + 1;
    runs = b.saved.template take_raw<expert_run>(max_runs);
    tiles = b.saved.template take_raw<expert_run>(max_tiles);
    first_run = b.saved.template take_raw<int>(expert_count + 1);
  }
  void clear() { run_count = tile_count = 0; }
  /// Experts must come in rising order.  A run that continues the last one is merged with it.
  void add(expert_run r) {
    if (r.rows == 0) return;
    if (run_count > 0) {
      expert_run& last = runs[run_count - 1];
      if (last.expert == r.expert && last.x_row + last.rows == r.x_row && last.y_row + last.rows == r.y_row) {
        last.rows += r.rows;
        return;
      }
    }
    runs[run_count++] = r;
  }
  /// The runs of a plan; units have `unit_rows` rows.
  template <class C>
  void list(const sparse_plan<C>& p, index unit_rows) {
    clear();
    for (int e = 0; e < p.all_experts; ++e) {
      if (p.layout == plan_layout::identity) {
        add({e, 0, index{e} * p.tokens * unit_rows, p.tokens * unit_rows});
      } else {
        for (int g = 0; g < p.groups; ++g) {
          const index at = p.run_begin[e * p.groups + g] * unit_rows;
          add({e, at, at, p.count[e * p.groups + g] * unit_rows});
        }
      }
    }
    finish();
  }
  /// The same for a plan of slots: every expert owns the slots of all groups.
  void list(const slot_layout& p, index unit_rows) {
    clear();
    const index rows = index{p.groups} * p.capacity * unit_rows;
    for (int e = 0; e < p.experts; ++e) add({e, e * rows, e * rows, rows});
    finish();
  }
  void finish() {
    int e = 0;
    for (index i = 0; i < run_count; ++i)
      for (; e <= runs[i].expert; ++e) first_run[e] = static_cast<int>(i);
    for (; e <= experts; ++e) first_run[e] = static_cast<int>(run_count);
    for (index i = 0; i < run_count; ++i)
      for (index at = 0; at < runs[i].rows; at += 256)
        tiles[tile_count++] = {runs[i].expert, runs[i].x_row + at, runs[i].y_row + at,
                               std::min<index>(256, runs[i].rows - at)};
  }
};

namespace backend {
/// to = from for the rows experts own; `from` in the order of the input, or in slot order as `to`.
template <class T, class Maths>
void copy_rows(const context<cpu_with<Maths>>& c, const expert_work& work, view<const T> from, view<T> to,
               bool slot_order = false) {
  parallel_for(c.stream, work.tile_count, [&](index i, worker&) {
    const expert_run& t = work.tiles[i];
    for (int p = 0; p < view<T>::planes; ++p)
      for (index r = 0; r < t.rows; ++r)
        std::copy_n(from.row((slot_order ? t.y_row : t.x_row) + r, p), from.cols, to.row(t.y_row + r, p));
  });
}
template <class T, class Maths>
void copy_slots(const context<cpu_with<Maths>>& c, const expert_work& work, view<const T> from, view<T> to) {
  copy_rows(c, work, from, to, true);
}
}  // namespace backend

namespace detail {

/// g[0, j] += sum over rows of a[r, j]: chunks of 64 rows, summed in order.
template <class T, class M>
void add_column_sums(view<const T> a, view<M> g) {
  constexpr index width = 64;
  for (index j0 = 0; j0 < a.cols; j0 += width) {
    const index n = std::min(width, a.cols - j0);
    for (int p = 0; p < view<T>::planes; ++p) {
      using R = real_t<M>;
      for (index r0 = 0; r0 < a.rows; r0 += 64) {
        R acc[width] = {};
        for (index r = r0; r < std::min(a.rows, r0 + 64); ++r) {
          const auto* in = a.row(r, p) + j0;
          POLYMOE_SIMD
          for (index j = 0; j < n; ++j) acc[j] += static_cast<R>(in[j]);
        }
        R* out = g.ptr[p] + j0;
        for (index j = 0; j < n; ++j) out[j] += acc[j];
      }
    }
  }
}

}  // namespace detail

/// The weights of one linear map per expert: forward, data gradient and weight gradient over expert tiles.
template <class T, class Maths>
class expert_linear : public detail::expert_map<master_t<T>> {
 public:
  using M = master_t<T>;
  using map = detail::expert_map<M>;
  using map::weight, map::bias;

  expert_linear() = default;
  expert_linear(index E, index D, index H, bool biased)
      : map{E, D, H, biased, {}, {}}, forward_(D, H), back_(H, D), outer_(H, D) {}

  template <class V>
  void visit(V& v, const std::string& name) {
    map::visit(v, name);
    v.add_derived(packed_, forward_.packed_bytes() * static_cast<std::size_t>(experts));
    v.add_derived(packed_back_, back_.packed_bytes() * static_cast<std::size_t>(experts));
  }
  std::size_t worker_bytes() const {
    return std::max({forward_.worker_bytes(), back_.worker_bytes(), outer_.worker_bytes()});
  }
  template <class Stream>
  void refresh(const Stream& s) {
    parallel_for(s, experts * 2, [&](index i, worker& w) {
      const index e = i / 2;
      if (i % 2 == 0)
        forward_.pack(weight.value_of_block(e), true, packed_ + static_cast<std::size_t>(e) * forward_.packed_bytes(),
                      w);
      else
        back_.pack(weight.value_of_block(e), false, packed_back_ + static_cast<std::size_t>(e) * back_.packed_bytes(),
                   w);
    });
  }
  void forward(worker& w, int e, view<const T> x, view<T> y) const {
    forward_.run(w, x, packed_ + static_cast<std::size_t>(e) * forward_.packed_bytes(),
                 with_bias ? bias.value.rows_at(e, 1) : view<const M>{}, y);
  }
  /// dx = dy W (or += when accumulate).
  void data_gradient(worker& w, int e, view<const T> dy, view<T> dx, bool accumulate = false) const {
    back_.run(w, dy, packed_back_ + static_cast<std::size_t>(e) * back_.packed_bytes(), {}, dx, accumulate);
  }
  /// Independent tasks of weight_gradient: an output block of one expert each, and the bias with block 0.
  index tasks() const { return experts * outer_.blocks(); }
  /// dW[e] += dy^T x over the expert's runs in order; `dy` rows are output rows; `x_by_y` when x lies in output rows.
  void weight_gradient(worker& w, index task, const expert_work& work, view<const T> dy, view<const T> x,
                       bool x_by_y) const {
    const int e = static_cast<int>(task / outer_.blocks());
    const index block = task % outer_.blocks();
    for (int i = work.first_run[e]; i < work.first_run[e + 1]; ++i) {
      const expert_run& r = work.runs[i];
      const view<const T> d = dy.rows_at(r.y_row, r.rows);
      outer_.run(w, block, d, x.rows_at(x_by_y ? r.y_row : r.x_row, r.rows), weight.grad_of_block(e));
      if (with_bias && block == 0) detail::add_column_sums(d, bias.grad.rows_at(e, 1));
    }
  }

 private:
  using map::experts, map::with_bias;

  std::byte* packed_ = nullptr;
  std::byte* packed_back_ = nullptr;
  planar_product<T, Maths> forward_, back_;
  planar_outer_product<T, Maths> outer_;
};

}  // namespace polymoe
