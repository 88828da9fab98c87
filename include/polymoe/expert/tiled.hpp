// The frame of experts that are made of linear maps and elementwise functions between them: an expert writes its maths
// for one tile of rows, the frame does the rest (parameters, memory, loops, weight gradients, counting).
//
// A tile of 256 rows goes through the whole expert while its hidden rows are in cache.  The weight gradients come after
// all tiles, one task per expert and output block, each over its rows in order: the same bits for any number of
// threads.
//
// The maths of an expert is a struct without members:
//
//   static constexpr const char* name            for messages
//   static constexpr bool bias                   whether its linear maps add one
//   static constexpr int kept                    tensors [rows, H] that live from forward to backward
//   static constexpr int maps                    linear maps
//   static constexpr linear_map map(int i, const expert_config&)
//                                                name, widths, and where the operands of its weight gradient lie when
//                                                `backward` has run (a kept tensor, or the ends of the expert)
//   template <class Tile> static void forward(const Tile&)
//   template <class Tile> static void backward(const Tile&)
//
// and a tile offers x(), y(), dy(), dx(), kept(i), spare() (one [rows, H] tensor, backward only), and map i as
// apply(i, in, out) and data_gradient(i, d_out, d_in, accumulate).  In forward the inputs of a tile are written by
// nobody; in backward a kept tensor may be overwritten, which is how gradients reach the weight gradients.
#pragma once

#include <array>
#include <utility>

#include "../backend/cpu/expert_rows.hpp"
#include "../core/cost.hpp"

namespace polymoe::inline v0 {

/// Sizes every expert module gets.
struct expert_config {
  index experts = 0;  ///< with the fallback expert, if any
  index in = 0;       ///< D
  index hidden = 0;   ///< H
  index out = 0;      ///< D, or the number of classes
};

/// One linear map of an expert: out = W in, W is [out, in] and has a name per expert.
struct linear_map {
  /// Where an operand of the weight gradient dW = d_out^T in lies: at an end of the expert, or in a kept tensor (>= 0).
  static constexpr int end = -1;

  const char* name = nullptr;
  index in = 0, out = 0;
  int input = end;     ///< kept tensor that holds the map's input; `end`: x
  int gradient = end;  ///< kept tensor that holds the gradient of its output; `end`: dy
};

namespace detail {

template <class Body, class T, class Backend>
class tiled_expert {
 public:
  using scalar = T;
  using backend = Backend;
  using Maths = typename Backend::maths;
  struct saved {
    view<T> kept[Body::kept];  ///< [rows, H]
    view<const T> x;
  };

  tiled_expert() = default;
  explicit tiled_expert(expert_config c)
      : config_(checked(c)), maps_(make_maps(config_, std::make_index_sequence<Body::maps>{})) {}

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) maps_[i].visit(v, Body::map(i, config_).name);
  }
  saved bind(binder<Backend>& b, index max_rows) const {
    std::size_t library = 0;
    for (const auto& m : maps_) library = std::max(library, m.worker_bytes());
    b.need_worker(spare_bytes() + library);
    saved s;
    for (view<T>& v : s.kept) v = b.saved.template take<T>(max_rows, config_.hidden);
    return s;
  }
  void refresh(context<Backend>& c) {
    for (auto& m : maps_) m.refresh(c.stream);
  }

  /// x in the caller's order of rows, y in slot order.
  void forward(context<Backend>& c, const expert_work& work, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      Body::forward(tile{*this, work.tiles[i], w, s, x, y, {}, {}, {}});
    });
  }
  /// dx gets one row per output row (slot order).  With x_by_y the input lies in slot order too.
  void backward(context<Backend>& c, const expert_work& work, view<const T> dy, view<T> dx, saved& s,
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

  static constexpr cost count_one(const expert_config& c) {
    cost one;
    for (int i = 0; i < Body::maps; ++i) {
      const linear_map m = Body::map(i, c);
      one.macs += m.in * m.out;
      one.params += m.in * m.out + (Body::bias ? m.out : 0);
    }
    return {one.params, one.params, one.macs, one.macs};
  }

 private:
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
    using value_type = T;

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
  };

  static const expert_config& checked(const expert_config& c) {
    require(c.hidden >= 1, "expert ", Body::name, ": hidden is ", c.hidden, ", it must be at least 1");
    return c;
  }
  template <std::size_t... I>
  static std::array<linear, sizeof...(I)> make_maps(const expert_config& c, std::index_sequence<I...>) {
    return {linear(c.experts, Body::map(I, c).in, Body::map(I, c).out, Body::bias)...};
  }
  std::size_t spare_bytes() const {
    return static_cast<std::size_t>(
        round_up(256 * config_.hidden * static_cast<index>(sizeof(real_t<T>)) * view<T>::planes, 64));
  }

  expert_config config_;
  std::array<linear, Body::maps> maps_;
};

}  // namespace detail
}  // namespace polymoe
