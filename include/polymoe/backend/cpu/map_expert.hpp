// The frame of feature map experts on the CPU.
//
// A tile is some whole maps of one expert, about 1024 pixels; it goes through the whole expert on one worker.  Weight
// gradients come after all tiles, one task per expert and convolution, each over its maps in order; those of the norm
// are kept per tile and added in order.  The same bits for any number of threads.
#pragma once

#include <array>
#include <utility>

#include "../../expert/map_expert.hpp"
#include "conv.hpp"
#include "group_norm.hpp"

namespace polymoe::inline v0::detail {

/// The weights of one convolution per expert: forward, data gradient and weight gradient of some maps.
template <class T, class Maths>
class expert_conv {
 public:
  using M = master_t<T>;

  expert_conv() = default;
  expert_conv(index experts, const conv_map& m, index height, index width)
      : experts_(experts), map_(m), one_(shape_of(m, height, width).checked("expert")) {}

  template <class V>
  void visit(V& v) {
    params_.visit(v, experts_, map_);
    v.add_derived(packed_, one_.packed_bytes() * static_cast<std::size_t>(experts_));
  }
  const planar_convolution<T, Maths>& one() const { return one_; }
  void pack(worker& w, index e, int part) const {
    one_.pack(weight_of(params_.weight.value, e), packed_of(e), w, part);
  }
  void forward(worker& w, int e, view<const T> x, view<T> y) const {
    one_.forward(w, x, packed_of(e), map_.bias ? params_.bias.value.rows_at(e, 1) : view<const M>{}, y);
  }
  void data_gradient(worker& w, int e, view<const T> dy, view<T> dx) const { one_.backward(w, dy, packed_of(e), dx); }
  /// dW[e] += g in the layout of weight_gradient.
  void add_gradient(worker& w, int e, view<const M> g) const {
    one_.add_gradient(w, g, weight_of(params_.weight.grad, e));
  }
  void bias_gradient(int e, view<const T> dy) const {
    if (map_.bias) add_column_sums(dy, params_.bias.grad.rows_at(e, 1));
  }

 private:
  static maths::convolution_shape shape_of(const conv_map& m, index height, index width) {
    return {height, width, m.in, m.out, m.kernel, 1, m.kernel / 2, m.depthwise};
  }
  template <class V>
  V weight_of(V all, index e) const {
    return all.rows_at(e * params_.weight.block_rows, params_.weight.block_rows).reshaped(map_.out, map_.fan_in());
  }
  std::byte* packed_of(index e) const { return packed_ + static_cast<std::size_t>(e) * one_.packed_bytes(); }

  index experts_ = 0;
  conv_map map_;
  conv_params<M> params_;
  std::byte* packed_ = nullptr;
  planar_convolution<T, Maths> one_;
};

template <class Body, class T, class Maths>
class map_expert<Body, T, backend::cpu_with<Maths>> : public map_expert_base<Body> {
  using base = map_expert_base<Body>;
  using base::config_, base::height_, base::width_;
  using M = master_t<T>;
  using C = compute_t<T>;
  using conv = expert_conv<T, Maths>;

 public:
  using scalar = T;
  using backend = polymoe::backend::cpu_with<Maths>;
  struct saved {
    view<T> kept[Body::kept];
    view<C> stats;  ///< [maps * groups, 2] of the norm
    view<const T> x;
    expert_run* tiles = nullptr;
    index tile_count = 0, max_maps = 0;
  };

  map_expert() = default;
  explicit map_expert(expert_config c) : base(c), maps_{make_maps(c, std::make_index_sequence<Body::maps>{})} {}

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) {
      maps_[i].visit(v);
      if (i == 0) norm_params_.visit(v, config_.experts, norm().channels);
    }
  }
  saved bind(binder<backend>& b, index max_rows) const {
    // A norm's own scratch, and its gradients of one map more.
    arena two;
    two.take<M>(2, norm().channels);
    std::size_t library = polymoe::backend::detail::group_norm_scratch<T>::bytes(norm().channels) + two.used();
    std::size_t gradient = 0;
    for (const conv& m : maps_) {
      library = std::max(library, m.one().worker_bytes());
      gradient = std::max(gradient, gradient_bytes(m) + m.one().worker_bytes());
    }
    b.need_worker(std::max(spare_bytes() + library, gradient));
    saved s;
    for (int i = 0; i < Body::kept; ++i) s.kept[i] = b.saved.template take<T>(max_rows, Body::width(i, config_));
    s.max_maps = max_rows / pixels();
    s.stats = b.saved.template take<C>(s.max_maps * Body::groups, 2);
    s.tiles = b.saved.template take_raw<expert_run>(s.max_maps);
    arena_scope call(b.scratch);
    b.scratch.template take<M>(2 * s.max_maps, norm().channels);
    return s;
  }
  void refresh(context<backend>& c) {
    const index experts = config_.experts;
    parallel_for(c.stream, experts * Body::maps * 2, [&](index i, worker& w) {
      maps_[static_cast<std::size_t>(i / 2 / experts)].pack(w, i / 2 % experts, static_cast<int>(i % 2));
    });
  }

  /// x in the caller's order of rows, y in slot order.
  void forward(context<backend>& c, const expert_work& work, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    s.tile_count = 0;
    const index most = maps_per_tile() * pixels();
    for (index i = 0; i < work.run_count; ++i) {
      const expert_run& r = work.runs[i];
      for (index at = 0; at < r.rows; at += most)
        s.tiles[s.tile_count++] = {r.expert, r.x_row + at, r.y_row + at, std::min(most, r.rows - at)};
    }
    parallel_for(c.stream, s.tile_count, [&](index i, worker& w) {
      Body::forward(tile{*this, s.tiles[i], w, w, s, x, y, {}, {}, {}, {}});
    });
  }
  /// dx gets one row per output row (slot order).  With x_by_y the input lies in slot order too.
  void backward(context<backend>& c, const expert_work&, view<const T> dy, view<T> dx, saved& s, bool x_by_y) const {
    arena_scope call(c.scratch);
    const view<M> norm_grads = c.scratch.template take<M>(2 * s.tile_count, norm().channels);
    parallel_for(c.stream, s.tile_count, [&](index i, worker& w) {
      worker library{w.id, w.scratch + spare_bytes(), w.bytes - spare_bytes()};
      Body::backward(tile{*this,
                          s.tiles[i],
                          w,
                          library,
                          s,
                          {},
                          {},
                          dy,
                          dx,
                          norm_grads.rows_at(2 * i, 1),
                          norm_grads.rows_at(2 * i + 1, 1)});
    });
    parallel_for(c.stream, config_.experts * (Body::maps + 1), [&](index task, worker& w) {
      const int e = static_cast<int>(task % config_.experts), i = static_cast<int>(task / config_.experts);
      if (i < Body::maps)
        weight_gradient(w, e, i, dy, s, x_by_y);
      else
        norm_gradient(e, norm_grads, s);
    });
  }

 private:
  /// What the maths of an expert sees: some maps of one expert.
  struct tile {
    const map_expert& e;
    const expert_run& run;
    worker& w;
    worker& library;
    const saved& s;
    view<const T> all_x;
    view<T> all_y;
    view<const T> all_dy;
    view<T> all_dx;
    view<M> norm_dweight, norm_dbias;

    view<const T> x() const { return all_x.rows_at(run.x_row, run.rows); }
    view<T> y() const { return all_y.rows_at(run.y_row, run.rows); }
    view<const T> dy() const { return all_dy.rows_at(run.y_row, run.rows); }
    view<T> dx() const { return all_dx.rows_at(run.y_row, run.rows); }
    view<T> kept(int i) const { return s.kept[i].rows_at(run.y_row, run.rows); }
    view<T> spare(int i, index cols) const {
      view<T> v;
      auto* base = reinterpret_cast<real_t<T>*>(w.scratch + static_cast<std::size_t>(i) * e.spare_bytes() / 2);
      for (int p = 0; p < view<T>::planes; ++p) v.ptr[p] = base + p * run.rows * cols;
      v.rows = run.rows, v.cols = v.stride = cols;
      return v;
    }
    void apply(int i, view<const T> in, view<T> out) const { e.maps_[i].forward(library, run.expert, in, out); }
    void data_gradient(int i, view<const T> d_out, view<T> d_in) const {
      e.maps_[i].data_gradient(library, run.expert, d_out, d_in);
    }
    template <class Act>
    void norm(view<const T> in, view<T> out, Act) const {
      each_map([&](index at, index image) {
        polymoe::backend::group_norm_image<Act, T>(library, e.norm(), in.rows_at(at, e.pixels()), weight(), bias(),
                                                   out.rows_at(at, e.pixels()), stats(image));
      });
    }
    template <class Act>
    void norm_backward(view<const T> d, view<T> in, Act) const {
      // The first map writes the tile's gradients, the others add theirs through scratch behind the norm's own.
      arena a(library.scratch, library.bytes);
      const auto used = polymoe::backend::detail::group_norm_scratch<T>::bytes(e.norm().channels);
      a.take_raw<std::byte>(static_cast<index>(used));
      const view<M> more = a.take<M>(2, e.norm().channels);
      each_map([&](index at, index image) {
        const view<M> dw = at == 0 ? norm_dweight : more.rows_at(0, 1), db = at == 0 ? norm_dbias : more.rows_at(1, 1);
        const view<T> x = in.rows_at(at, e.pixels());
        polymoe::backend::group_norm_image_backward<Act, T>(library, e.norm(), d.rows_at(at, e.pixels()), x,
                                                            stats(image), weight(), bias(), dw, db, x, {});
        if (at == 0) return;
        const view<M> sum_w = norm_dweight, sum_b = norm_dbias;
        simd::each(dw.cols, [=](index k) {
          sum_w.set(0, k, sum_w.get(0, k) + dw.get(0, k));
          sum_b.set(0, k, sum_b.get(0, k) + db.get(0, k));
        });
      });
    }
    template <class Act>
    void activate(view<const T> a, view<T> h, Act act) const {
      detail::activate<T>(a, h, act);
    }
    template <class Act>
    void activate_backward(view<const T> d, view<const T> a, view<T> out, Act act) const {
      detail::activate_backward<T>(d, a, out, act);
    }
    void add(view<const T> from, view<T> to) const { add_rows<T>(from, to); }

   private:
    /// f(first row in the tile, map number in the call).
    template <class F>
    void each_map(F f) const {
      for (index at = 0; at < run.rows; at += e.pixels()) f(at, (run.y_row + at) / e.pixels());
    }
    view<C> stats(index image) const { return s.stats.rows_at(image * Body::groups, Body::groups); }
    view<const M> weight() const { return e.norm_params_.weight.value_of_block(run.expert); }
    view<const M> bias() const { return e.norm_params_.bias.value_of_block(run.expert); }
  };

  void weight_gradient(worker& w, int e, int i, view<const T> dy, const saved& s, bool x_by_y) const {
    const conv& m = maps_[i];
    const conv_map operands = Body::map(i, config_);
    const bool from_x = operands.input == linear_map::end;
    arena a(w.scratch, w.bytes);
    const view<M> g = a.take<M>(1, m.one().gradient_size());
    worker library{w.id, w.scratch + a.used(), w.bytes - a.used()};
    bool first = true;
    for (index k = 0; k < s.tile_count; ++k) {
      const expert_run& r = s.tiles[k];
      if (r.expert != e) continue;
      const view<const T> up = (operands.gradient == linear_map::end ? dy : view<const T>(s.kept[operands.gradient]))
                                   .rows_at(r.y_row, r.rows);
      const view<const T> in = from_x ? s.x.rows_at(x_by_y ? r.y_row : r.x_row, r.rows)
                                      : view<const T>(s.kept[operands.input]).rows_at(r.y_row, r.rows);
      m.one().weight_gradient(library, up, in, g, first);
      m.bias_gradient(e, up);
      first = false;
    }
    if (!first) m.add_gradient(library, e, g);
  }
  void norm_gradient(int e, view<const M> parts, const saved& s) const {
    const view<M> dw = norm_params_.weight.grad_of_block(e), db = norm_params_.bias.grad_of_block(e);
    for (index k = 0; k < s.tile_count; ++k)
      if (s.tiles[k].expert == e)
        simd::each(dw.cols, [=](index j) {
          dw.set(0, j, dw.get(0, j) + parts.get(2 * k, j));
          db.set(0, j, db.get(0, j) + parts.get(2 * k + 1, j));
        });
  }

  template <std::size_t... I>
  std::array<conv, sizeof...(I)> make_maps(const expert_config& c, std::index_sequence<I...>) const {
    return {conv(c.experts, Body::map(I, c), height_, width_)...};
  }
  index pixels() const { return height_ * width_; }
  index maps_per_tile() const { return maps_[0].one().shape().most_images(); }
  polymoe::backend::group_norm_shape norm() const { return {Body::norm_channels(config_), Body::groups, pixels()}; }
  /// Two tensors of a tile, of the widest width.
  std::size_t spare_bytes() const {
    const index cols = std::max(config_.in, config_.hidden);
    const index bytes = maps_per_tile() * pixels() * cols * static_cast<index>(sizeof(real_t<T>)) * view<T>::planes;
    return static_cast<std::size_t>(2 * round_up(bytes, 64));
  }
  static std::size_t gradient_bytes(const conv& m) {
    arena dry;
    dry.take<M>(1, m.one().gradient_size());
    return dry.used();
  }

  std::array<conv, Body::maps> maps_;
  norm_params<M> norm_params_;
};

}  // namespace polymoe::detail
