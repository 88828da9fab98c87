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

namespace polymoe::inline v0::detail {

template <class Body, class T, class Maths>
class tiled_expert<Body, T, backend::cpu_with<Maths>> : public tiled_expert_base<Body> {
 public:
  using scalar = T;
  using backend = polymoe::backend::cpu_with<Maths>;
  struct saved {
    view<T> kept[Body::kept];  ///< [rows, H]
    view<const T> x;
  };

  tiled_expert() = default;
  explicit tiled_expert(expert_config c)
      : tiled_expert_base<Body>(c), maps_{make_maps(c, std::make_index_sequence<Body::maps>{})} {}

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) maps_[i].visit(v, Body::map(i, config_).name);
  }
  saved bind(binder<backend>& b, index max_rows) const {
    std::size_t library = 0;
    for (const auto& m : maps_) library = std::max(library, m.worker_bytes());
    b.need_worker(spare_bytes() + library);
    saved s;
    for (view<T>& v : s.kept) v = b.saved.template take<T>(max_rows, config_.hidden);
    return s;
  }
  void refresh(context<backend>& c) {
    for (auto& m : maps_) m.refresh(c.stream);
  }

  /// x in the caller's order of rows, y in slot order.
  void forward(context<backend>& c, const expert_work& work, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      Body::forward(tile{*this, work.tiles[i], w, s, x, y, {}, {}, {}});
    });
  }
  /// dx gets one row per output row (slot order).  With x_by_y the input lies in slot order too.
  void backward(context<backend>& c, const expert_work& work, view<const T> dy, view<T> dx, saved& s,
                bool x_by_y) const {
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& run = work.tiles[i];
      view<T> spare;
      auto* base = reinterpret_cast<real_t<T>*>(w.scratch);
      for (int p = 0; p < view<T>::planes; ++p) spare.ptr[p] = base + p * run.rows * config_.hidden;
      spare.rows = run.rows, spare.cols = spare.stride = config_.hidden;
      worker library{w.id, w.scratch + spare_bytes(), w.bytes - spare_bytes()};
      Body::backward(tile{*this, run, library, s, {}, {}, dy, dx, spare});
    });
    index tasks = 0;
    for (const auto& m : maps_) tasks += m.tasks();
    parallel_for(c.stream, tasks, [&](index task, worker& w) {
      int i = 0;
      for (; task >= maps_[i].tasks(); ++i) task -= maps_[i].tasks();
      const linear_map m = Body::map(i, config_);
      const bool from_x = m.input == linear_map::end;
      maps_[i].weight_gradient(w, task, work, m.gradient == linear_map::end ? dy : view<const T>(s.kept[m.gradient]),
                               from_x ? s.x : view<const T>(s.kept[m.input]), x_by_y || !from_x);
    });
  }

 private:
  using tiled_expert_base<Body>::config_;
  using linear = expert_linear<T, Maths>;

  /// What the maths of an expert sees: the rows of one tile.
  struct tile {
    const tiled_expert& e;
    const expert_run& run;
    worker& w;
    const saved& s;
    view<const T> all_x;
    view<T> all_y;
    view<const T> all_dy;
    view<T> all_dx;
    view<T> spare_rows;

    view<const T> x() const { return all_x.rows_at(run.x_row, run.rows); }
    view<T> y() const { return all_y.rows_at(run.y_row, run.rows); }
    view<const T> dy() const { return all_dy.rows_at(run.y_row, run.rows); }
    view<T> dx() const { return all_dx.rows_at(run.y_row, run.rows); }
    view<T> kept(int i) const { return s.kept[i].rows_at(run.y_row, run.rows); }
    view<T> spare() const { return spare_rows; }
    /// out = W_i in (+ bias).
    void apply(int i, view<const T> in, view<T> out) const { e.maps_[i].forward(w, run.expert, in, out); }
    /// d_in = d_out W_i, or += with accumulate.
    void data_gradient(int i, view<const T> d_out, view<T> d_in, bool accumulate = false) const {
      e.maps_[i].data_gradient(w, run.expert, d_out, d_in, accumulate);
    }
    template <class Act>
    void apply_activated(int i, view<const T> in, view<T> pre, view<T> out, Act act) const {
      apply(i, in, pre);
      activate<T>(pre, out, act);
    }
    template <class Act>
    void data_gradient_activated(int i, view<const T> d_out, view<T> pre, Act act) const {
      data_gradient(i, d_out, spare());
      activate_backward<T>(spare(), pre, pre, act);
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

  template <std::size_t... I>
  static std::array<linear, sizeof...(I)> make_maps(const expert_config& c, std::index_sequence<I...>) {
    return {linear(c.experts, Body::map(I, c).in, Body::map(I, c).out, Body::bias)...};
  }
  std::size_t spare_bytes() const {
    return static_cast<std::size_t>(
        round_up(256 * config_.hidden * static_cast<index>(sizeof(real_t<T>)) * view<T>::planes, 64));
  }

  std::array<linear, Body::maps> maps_;
};

}  // namespace polymoe::detail
