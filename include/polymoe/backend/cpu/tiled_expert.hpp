// The frame of experts on the CPU.
//
// A tile of 256 rows goes through the whole expert while its hidden rows are in cache.  The weight gradients come after
// all tiles, one task per expert and output block, each over its rows in order: the same bits for any number of
// threads.
#pragma once

#include <array>
#include <utility>

#include "../../expert/tiled.hpp"
#include "expert_rows.hpp"
#include "move.hpp"
#include "pointwise.hpp"

namespace polymoe::inline v0::detail {

template <class Body, class T, class Maths>
class tiled_expert<Body, T, backend::cpu_with<Maths>> : public tiled_expert_base<Body> {
 public:
  using scalar = T;
  using backend = polymoe::backend::cpu_with<Maths>;
  using C = compute_t<T>;
  struct saved {
    view<T> kept[Body::kept];  ///< [rows, H]
    view<const T> x;
  };

  using tiled_expert_base<Body>::keeps_output;

  tiled_expert() = default;
  explicit tiled_expert(expert_config c)
      : tiled_expert_base<Body>(c), maps_{make_maps(c, std::make_index_sequence<Body::maps>{})} {}

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) maps_[i].visit(v, Body::map(i, config_).name);
    v.add_stream(dropout_stream_, "dropout");
  }
  saved bind(binder<backend>& b, index max_rows) const {
    std::size_t library = 0;
    for (const auto& m : maps_) library = std::max(library, m.worker_bytes());
    b.need_worker(spare_bytes() * static_cast<std::size_t>(1 + remade) + library);
    saved s;
    for (int k = 0; k < Body::kept; ++k)
      if (Body::stays(k)) s.kept[k] = b.saved.template take<T>(max_rows, config_.hidden);
    arena_scope backward(b.scratch);
    rows_of_call(b.scratch, s, max_rows);
    if (!keeps_output) b.scratch.template take<C>(1, max_rows);
    return s;
  }
  void refresh(context<backend>& c) {
    for (auto& m : maps_) m.refresh(c.stream);
  }

  /// x in the caller's order of rows, y in slot order.
  void forward(context<backend>& c, const expert_work& work, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    const mask_type mask = mask_of(c);
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& run = work.tiles[i];
      kept_rows rows;
      std::size_t used = 0;
      for (int k = 0; k < Body::kept; ++k)
        rows[static_cast<std::size_t>(k)] =
            Body::stays(k) ? s.kept[k].rows_at(run.y_row, run.rows) : rows_of_worker(w, used++, run.rows);
      Body::forward(tile{*this, run, after(w, used), rows, x, y, {}, {}, {}, mask});
    });
  }
  /// dx gets one row per output row (slot order).  With x_by_y the input lies in slot order too.
  void backward(context<backend>& c, const expert_work& work, view<const T> dy, view<T> dx, saved& s, bool x_by_y,
                const expert_gates<T>& gates = {}) const {
    arena_scope call(c.scratch);
    const kept_rows all = rows_of_call(c.scratch, s, dx.rows);
    view<C> dots;
    if constexpr (!keeps_output) dots = c.scratch.template take<C>(1, dx.rows);
    const mask_type mask = mask_of(c);
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& run = work.tiles[i];
      kept_rows rows;
      for (std::size_t k = 0; k < all.size(); ++k) rows[k] = all[k].rows_at(run.y_row, run.rows);
      const tile t{*this, run, after(w, 1), rows, s.x, {}, dy, dx, rows_of_worker(w, 0, run.rows), mask, &gates, dots};
      Body::recompute(t);
      Body::backward(t);
    });
    if constexpr (!keeps_output) add_dots(c, work, gates, dots);
    index tasks = 0;
    for (const auto& m : maps_) tasks += m.tasks();
    parallel_for(c.stream, tasks, [&](index task, worker& w) {
      int i = 0;
      for (; task >= maps_[i].tasks(); ++i) task -= maps_[i].tasks();
      const linear_map m = Body::map(i, config_);
      const bool from_x = m.input == linear_map::end;
      maps_[i].weight_gradient(w, task, work, m.gradient == linear_map::end ? dy : view<const T>(all[m.gradient]),
                               from_x ? s.x : view<const T>(all[m.input]), x_by_y || !from_x);
    });
  }

 private:
  using tiled_expert_base<Body>::config_, tiled_expert_base<Body>::remade, tiled_expert_base<Body>::dropout_stream_;
  using mask_type = polymoe::backend::dropout_mask<T>;
  using kept_rows = std::array<view<T>, Body::kept>;
  using linear = expert_linear<T, Maths>;

  /// What the maths of an expert sees: the rows of one tile.
  struct tile {
    const tiled_expert& e;
    const expert_run& run;
    mutable worker w;  ///< what is left of its scratch for a library
    kept_rows rows;
    view<const T> all_x;
    view<T> all_y;
    view<const T> all_dy;
    view<T> all_dx;
    view<T> spare_rows;
    const mask_type& mask;
    const expert_gates<T>* gates = nullptr;
    view<C> dots{};  ///< [1, all rows]

    view<const T> x() const { return all_x.rows_at(run.x_row, run.rows); }
    view<T> y() const { return all_y.rows_at(run.y_row, run.rows); }
    view<const T> dy() const { return all_dy.rows_at(run.y_row, run.rows); }
    view<T> dx() const { return all_dx.rows_at(run.y_row, run.rows); }
    view<T> kept(int i) const { return rows[static_cast<std::size_t>(i)]; }
    view<T> spare() const { return spare_rows; }
    /// out = W_i in (+ bias).
    void apply(int i, view<const T> in, view<T> out) const { e.maps_[i].forward(w, run.expert, in, out); }
    /// d_in = d_out W_i, or += with accumulate.
    void data_gradient(int i, view<const T> d_out, view<T> d_in, bool accumulate = false) const {
      e.maps_[i].data_gradient(w, run.expert, d_out, d_in, accumulate);
    }
    template <class Act>
    void apply_activated(int i, view<const T> in, int pre, int out, Act act) const {
      apply(i, in, kept(pre));
      activate(pre, out, act);
    }
    template <class Act>
    void data_gradient_activated(int i, view<const T> d_out, int pre, int /*out*/, Act act) const {
      data_gradient(i, d_out, spare());
      detail::activate_backward<T>(spare(), kept(pre), kept(pre), act);
    }
    template <class Act>
    void activate(int pre, int out, Act act) const {
      detail::activate<T>(kept(pre), kept(out), act);
    }
    template <class Act>
    void activate_backward(view<const T> d, int pre, int /*out*/, Act act) const {
      detail::activate_backward<T>(d, kept(pre), kept(pre), act);
    }
    /// The dots of rows; a slot's rows may lie in two tiles, so add_dots adds them up.
    void fold_gates(int i, view<T> d, int in) const {
      const auto& m = e.maps_[static_cast<std::size_t>(i)];
      for (index r = 0; r < run.rows; ++r) {
        const index row = run.y_row + r;
        const view<T> dy_rows = gates->d_out;
        C dot = polymoe::backend::detail::row_dot<T>(d, r, kept(in), r);
        if (Body::bias)
          for (index j = 0; j < dy_rows.cols; ++j) dot += dy_rows.get(row, j) * C(m.bias.value.get(run.expert, j));
        dots.set(0, row, dot);
        const C gate = gates->plan.gate.get(0, row / gates->unit_rows);
        polymoe::backend::map_row(r, d, [gate](C x) { return gate * x; }, view<const T>(d));
        polymoe::backend::map_row(row, dy_rows, [gate](C x) { return gate * x; }, view<const T>(dy_rows));
      }
    }
    /// The place of a row in the mask is its slot's.
    void drop(view<T> v) const {
      if (!mask.drops()) return;
      for (index r = 0; r < run.rows; ++r) mask.apply(run.y_row + r, r, v, v);
    }
    template <class Act>
    void activate_gated(view<const T> a, view<const T> b, view<T> h, Act act) const {
      detail::activate_gated<T>(a, b, h, act);
    }
    template <class Act>
    void activate_gated_backward(view<const T> d, view<T> a, view<T> b, Act act) const {
      detail::activate_gated_backward<T>(d, a, b, act);
    }
  };

  mask_type mask_of(const context<backend>& c) const {
    return c.training() && config_.dropout > 0 ? mask_type(c.draw(dropout_stream_), config_.dropout) : mask_type{};
  }
  template <std::size_t... I>
  static std::array<linear, sizeof...(I)> make_maps(const expert_config& c, std::index_sequence<I...>) {
    return {linear(c.experts, Body::map(I, c).in, Body::map(I, c).out, Body::bias)...};
  }
  /// d_gate of a slot += the dots of its rows, in order.
  void add_dots(context<backend>& c, const expert_work& work, const expert_gates<T>& gates, view<C> dots) const {
    const index n = gates.unit_rows;
    parallel_for(c.stream, work.tile_count, [&](index i, worker&) {
      const expert_run& run = work.tiles[i];
      // The slots that begin in this tile; their rows may end in the next one.
      for (index slot = ceil_div(run.y_row, n); slot * n < run.y_row + run.rows; ++slot) {
        C sum = dots.get(0, slot * n);
        for (index r = 1; r < n; ++r) sum += dots.get(0, slot * n + r);
        gates.d_gate.add(0, slot, sum);
      }
    });
  }
  /// Tensor `n` of `rows` rows in a worker's scratch, and the worker with what is left behind `n` of them.
  view<T> rows_of_worker(const worker& w, std::size_t n, index rows) const {
    view<T> v;
    auto* base = reinterpret_cast<real_t<T>*>(w.scratch + n * spare_bytes());
    for (int p = 0; p < view<T>::planes; ++p) v.ptr[p] = base + p * rows * config_.hidden;
    v.rows = rows, v.cols = v.stride = config_.hidden;
    return v;
  }
  worker after(const worker& w, std::size_t n) const {
    return {w.id, w.scratch + n * spare_bytes(), w.bytes - n * spare_bytes()};
  }
  /// All tensors in backward: those that stayed, and room for the others.
  kept_rows rows_of_call(arena& scratch, const saved& s, index rows) const {
    kept_rows all;
    for (int k = 0; k < Body::kept; ++k)
      all[static_cast<std::size_t>(k)] = Body::stays(k) ? s.kept[k] : scratch.template take<T>(rows, config_.hidden);
    return all;
  }
  std::size_t spare_bytes() const {
    return static_cast<std::size_t>(
        round_up(256 * config_.hidden * static_cast<index>(sizeof(real_t<T>)) * view<T>::planes, 64));
  }

  std::array<linear, Body::maps> maps_;
};

}  // namespace polymoe::detail
