// expert::gated_mlp<Act, Bias>: y = W_down (act(W_gate x) * (W_up x)) for each expert (Shazeer 2020, "GLU variants").
//
// Names: experts.<e>.gate.weight [H, D], .up.weight [H, D], .down.weight [D, H] (and .bias of each with Bias).
#pragma once

#include "mlp.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class Act, bool Bias, class T, class Backend>
class gated_mlp_module {
 public:
  using scalar = T;
  using backend = Backend;
  using Maths = typename Backend::maths;
  struct saved {
    view<T> gate, up, hidden;  ///< [rows, H]
    view<const T> x;
  };

  gated_mlp_module() = default;
  explicit gated_mlp_module(expert_config c)
      : config_(checked(c)), gate_(c.experts, c.in, c.hidden, Bias), up_(c.experts, c.in, c.hidden, Bias),
        down_(c.experts, c.hidden, c.out, Bias) {}
  template <class V>
  void visit(V& v) {
    gate_.visit(v, "gate"), up_.visit(v, "up"), down_.visit(v, "down");
  }
  saved bind(binder<Backend>& b, index max_rows) const {
    b.need_worker(tile_bytes() + std::max({gate_.worker_bytes(), up_.worker_bytes(), down_.worker_bytes()}));
    saved s;
    for (view<T>* v : {&s.gate, &s.up, &s.hidden}) *v = b.saved.template take<T>(max_rows, config_.hidden);
    return s;
  }
  void refresh(context<Backend>& c) { gate_.refresh(c.stream), up_.refresh(c.stream), down_.refresh(c.stream); }

  void forward(context<Backend>& c, const expert_work& work, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& t = work.tiles[i];
      const view<T> g = s.gate.rows_at(t.y_row, t.rows), u = s.up.rows_at(t.y_row, t.rows),
                    h = s.hidden.rows_at(t.y_row, t.rows);
      const view<const T> in = x.rows_at(t.x_row, t.rows);
      gate_.forward(w, t.expert, in, g);
      up_.forward(w, t.expert, in, u);
      detail::activate<T>(g, h, Act{});
      for (index r = 0; r < t.rows; ++r)
        for (index j = 0; j < h.cols; ++j) h.set(r, j, h.get(r, j) * u.get(r, j));
      down_.forward(w, t.expert, h, y.rows_at(t.y_row, t.rows));
    });
  }
  void backward(context<Backend>& c, const expert_work& work, view<const T> dy, view<T> dx, saved& s, bool x_by_y) const {
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& t = work.tiles[i];
      view<T> d;
      auto* base = reinterpret_cast<real_t<T>*>(w.scratch);
      for (int p = 0; p < view<T>::planes; ++p) d.ptr[p] = base + p * t.rows * config_.hidden;
      d.rows = t.rows, d.cols = d.stride = config_.hidden;
      worker lib{w.id, w.scratch + tile_bytes(), w.bytes - tile_bytes()};
      const view<T> g = s.gate.rows_at(t.y_row, t.rows), u = s.up.rows_at(t.y_row, t.rows);
      down_.data_gradient(lib, t.expert, dy.rows_at(t.y_row, t.rows), d);
      const Act act{};
      for (index r = 0; r < t.rows; ++r)
        for (index j = 0; j < d.cols; ++j) {
          const auto dh = d.get(r, j), a = g.get(r, j), b = u.get(r, j);
          g.set(r, j, dh * b * act.grad(a));
          u.set(r, j, dh * act(a));
        }
      const view<T> out = dx.rows_at(t.y_row, t.rows);
      gate_.data_gradient(lib, t.expert, g, out);
      up_.data_gradient(lib, t.expert, u, out, true);
    });
    const index one = gate_.tasks(), two = one + up_.tasks();
    parallel_for(c.stream, two + down_.tasks(), [&](index task, worker& w) {
      if (task < one)
        gate_.weight_gradient(w, task, work, s.gate, s.x, x_by_y);
      else if (task < two)
        up_.weight_gradient(w, task - one, work, s.up, s.x, x_by_y);
      else
        down_.weight_gradient(w, task - two, work, dy, s.hidden, true);
    });
  }
  static constexpr cost count_one(const expert_config& c) {
    const index macs = 2 * c.in * c.hidden + c.hidden * c.out, params = macs + (Bias ? 2 * c.hidden + c.out : 0);
    return {params, params, macs, macs};
  }

 private:
  static const expert_config& checked(const expert_config& c) {
    require(c.hidden >= 1, "expert gated_mlp: hidden is ", c.hidden, ", it must be at least 1");
    return c;
  }
  std::size_t tile_bytes() const {
    return static_cast<std::size_t>(round_up(256 * config_.hidden * static_cast<index>(sizeof(real_t<T>)) * view<T>::planes, 64));
  }
  expert_config config_;
  expert_linear<T, Maths> gate_, up_, down_;
};

}  // namespace detail

namespace expert {
template <class Act = act::silu, bool Bias = false>
struct gated_mlp {
  static constexpr const char* name = "gated_mlp";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  using module = polymoe::detail::gated_mlp_module<Act, Bias, T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
