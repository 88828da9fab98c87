// expert::mlp<Act, Bias>: y = W2 act(W1 x + b1) + b2 for each expert   (V-MoE, paper C).
// expert::head<Act, Bias>: the same with `classes` outputs: the classifier head of paper B (D-H-classes).
//
// Names of parameters: experts.<e>.fc1.weight [H, D], .fc1.bias [H], .fc2.weight [D_out, H], .fc2.bias [D_out].
// A tile of 256 rows goes through both products while its hidden rows are in cache.  Saved for backward: pre-activation
// and hidden rows; the gradient of the pre-activation is written over the former.
#pragma once

#include "../backend/cpu/expert_rows.hpp"
#include "../core/cost.hpp"
#include "activation.hpp"

namespace polymoe::inline v0 {

/// Sizes every expert module gets.
struct expert_config {
  index experts = 0;  ///< with the fallback expert, if any
  index in = 0;       ///< D
  index hidden = 0;   ///< H
  index out = 0;      ///< D, or the number of classes
};

namespace detail {

template <class Act, bool Bias, class T, class Backend>
class mlp_module {
 public:
  using scalar = T;
  using backend = Backend;
  using Maths = typename Backend::maths;
  struct saved {
    view<T> pre, hidden;  ///< [rows, H]
    view<const T> x;
  };

  mlp_module() = default;
  explicit mlp_module(expert_config c)
      : config_(checked(c)), fc1_(c.experts, c.in, c.hidden, Bias), fc2_(c.experts, c.hidden, c.out, Bias) {}

  template <class V>
  void visit(V& v) {
    fc1_.visit(v, "fc1");
    fc2_.visit(v, "fc2");
  }
  saved bind(binder<Backend>& b, index max_rows) const {
    b.need_worker(tile_bytes() + std::max(fc1_.worker_bytes(), fc2_.worker_bytes()));
    saved s;
    s.pre = b.saved.template take<T>(max_rows, config_.hidden);
    s.hidden = b.saved.template take<T>(max_rows, config_.hidden);
    return s;
  }
  void refresh(context<Backend>& c) { fc1_.refresh(c.stream), fc2_.refresh(c.stream); }

  void forward(context<Backend>& c, const expert_work& work, view<const T> x, view<T> y, saved& s) const {
    s.x = x;
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& t = work.tiles[i];
      const view<T> pre = s.pre.rows_at(t.y_row, t.rows), hidden = s.hidden.rows_at(t.y_row, t.rows);
      fc1_.forward(w, t.expert, x.rows_at(t.x_row, t.rows), pre);
      detail::activate<T>(pre, hidden, Act{});
      fc2_.forward(w, t.expert, hidden, y.rows_at(t.y_row, t.rows));
    });
  }
  /// dx gets one row per output row (slot order).  With x_by_y the input lies in slot order too.
  void backward(context<Backend>& c, const expert_work& work, view<const T> dy, view<T> dx, saved& s, bool x_by_y) const {
    parallel_for(c.stream, work.tile_count, [&](index i, worker& w) {
      const expert_run& t = work.tiles[i];
      view<T> d_hidden;
      auto* base = reinterpret_cast<real_t<T>*>(w.scratch);
      for (int p = 0; p < view<T>::planes; ++p) d_hidden.ptr[p] = base + p * t.rows * config_.hidden;
      d_hidden.rows = t.rows, d_hidden.cols = d_hidden.stride = config_.hidden;
      worker lib{w.id, w.scratch + tile_bytes(), w.bytes - tile_bytes()};
      const view<T> pre = s.pre.rows_at(t.y_row, t.rows);
      fc2_.data_gradient(lib, t.expert, dy.rows_at(t.y_row, t.rows), d_hidden);
      detail::activate_backward<T>(d_hidden, pre, Act{});
      fc1_.data_gradient(lib, t.expert, pre, dx.rows_at(t.y_row, t.rows));
    });
    const index first = fc1_.tasks();
    parallel_for(c.stream, first + fc2_.tasks(), [&](index task, worker& w) {
      if (task < first)
        fc1_.weight_gradient(w, task, work, s.pre, s.x, x_by_y);
      else
        fc2_.weight_gradient(w, task - first, work, dy, s.hidden, true);
    });
  }
  static constexpr cost count_one(const expert_config& c) {
    const index macs = c.in * c.hidden + c.hidden * c.out, params = macs + (Bias ? c.hidden + c.out : 0);
    return {params, params, macs, macs};
  }

 private:
  static const expert_config& checked(const expert_config& c) {
    require(c.hidden >= 1, "expert mlp: hidden is ", c.hidden, ", it must be at least 1");
    return c;
  }
  std::size_t tile_bytes() const {
    return static_cast<std::size_t>(round_up(256 * config_.hidden * static_cast<index>(sizeof(real_t<T>)) * view<T>::planes, 64));
  }
  expert_config config_;
  expert_linear<T, Maths> fc1_, fc2_;
};

}  // namespace detail

namespace expert {

template <class Act = act::gelu_tanh, bool Bias = true>
struct mlp {
  static constexpr const char* name = "mlp";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  using module = polymoe::detail::mlp_module<Act, Bias, T, Backend>;
};

/// Needs layer_config::classes.  A head has no residual to carry dropped units, so overflow::drop is refused with it.
template <class Act = act::relu, bool Bias = true>
struct head {
  static constexpr const char* name = "head";
  static constexpr bool head_of_classes = true;
  template <class T, class Backend>
  using module = polymoe::detail::mlp_module<Act, Bias, T, Backend>;
};

}  // namespace expert
}  // namespace polymoe
