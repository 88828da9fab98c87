// The frame of experts on CUDA: a tile is all rows of a call, every step of an expert's maths one launch of the grouped
// product, its activation fused into the product that makes (or receives) it.
//
// Weights of bf16 layers are rounded once per optimiser step; float and double products read the parameters themselves.
#pragma once

#include <array>
#include <utility>

#include "../../../expert/tiled.hpp"
#include "rows.cuh"

namespace polymoe::inline v0::detail {

template <class Body, class T>
class tiled_expert<Body, T, backend::cuda_device> : public tiled_expert_base<Body> {
 public:
  using scalar = T;
  using backend = polymoe::backend::cuda_device;
  using M = master_t<T>;
  using rows_type = grouped::rows_of<T>;
  static_assert(std::is_same_v<M, compute_t<T>>, "polymoe: experts on CUDA keep parameters in their compute type");
  struct saved {
    view<T> kept[Body::kept];  ///< [rows, H]
    rows_type x;
  };

  tiled_expert() = default;
  explicit tiled_expert(expert_config c)
      : tiled_expert_base<Body>(c), maps_{make_maps(c, std::make_index_sequence<Body::maps>{})} {}

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) {
      map& m = maps_[i];
      m.visit(v, Body::map(i, config_).name);
      if constexpr (rounds) v.add_derived(m.rounded, static_cast<std::size_t>(m.elements()) * sizeof(T));
    }
  }
  saved bind(binder<backend>& b, index max_rows) const {
    saved s;
    for (view<T>& v : s.kept) v = b.saved.template take<T>(max_rows, config_.hidden);
    if constexpr (Body::spare) {
      arena_scope backward(b.scratch);
      b.scratch.template take<T>(max_rows, config_.hidden);
    }
    arena_scope gradient(b.scratch);
    b.scratch.template take_raw<std::byte>(static_cast<index>(workspace_bytes(max_rows)));
    return s;
  }
  void refresh(context<backend>& c) {
    if constexpr (rounds)
      for (const map& m : maps_)
        polymoe::backend::detail::convert_rows<T>(
            c.stream, m.weight.value, view<T>(reinterpret_cast<T*>(m.rounded), m.weight.value.rows, m.in));
  }

  /// x in the order of the input, or through the plan; y in slot order.
  void forward(context<backend>& c, const polymoe::backend::grouped_work& work, const rows_type& x, view<T> y, saved& s) const {
    s.x = x;
    Body::forward(tile{*this, c, work, s, y, {}, {}, {}});
  }
  /// dx gets one row per row of the slots.
  void backward(context<backend>& c, const polymoe::backend::grouped_work& work, view<const T> dy, view<T> dx, saved& s, bool) const {
    {
      arena_scope scope(c.scratch);
      view<T> spare;
      if constexpr (Body::spare) spare = c.scratch.template take<T>(work.rows.rows(), config_.hidden);
      Body::backward(tile{*this, c, work, s, {}, dy, dx, spare});
    }
    arena_scope scope(c.scratch);
    const std::size_t bytes = workspace_bytes(work.rows.rows());
    auto* workspace = c.scratch.template take_raw<std::byte>(static_cast<index>(bytes));
    for (int i = 0; i < Body::maps; ++i) {
      const linear_map m = Body::map(i, config_);
      const map& own = maps_[i];
      const auto kept = [&](int k) { return grouped::in_slot_order(s.kept[k]); };
      grouped::weight_gradient(c.stream.handle, work.rows, m.gradient == linear_map::end ? grouped::in_slot_order(dy) : kept(m.gradient),
                               m.input == linear_map::end ? s.x : kept(m.input), own.out, own.in, own.weight.grad.ptr[0],
                               Body::bias ? own.bias.grad.ptr[0] : nullptr, workspace, bytes);
    }
  }

 private:
  using tiled_expert_base<Body>::config_;
  static constexpr bool rounds = !std::is_same_v<T, M>;

  struct map : expert_map<M> {
    std::byte* rounded = nullptr;  ///< the weights as T

    index elements() const { return this->experts * this->out * this->in; }
    grouped::weights_of<T> weights() const {
      const T* data = nullptr;
      if constexpr (rounds) data = reinterpret_cast<const T*>(rounded);
      else data = this->weight.value.ptr[0];
      return {data, static_cast<int>(this->in), this->out * this->in};
    }
    grouped::affine<M> affine() const { return {Body::bias ? this->bias.value.ptr[0] : nullptr, this->out}; }
  };

  /// What the maths of an expert sees.
  struct tile {
    const tiled_expert& e;
    context<backend>& c;
    const polymoe::backend::grouped_work& work;
    const saved& s;
    view<T> out_rows;
    view<const T> out_gradient;
    view<T> in_gradient;
    view<T> spare_rows;

    rows_type x() const { return s.x; }
    view<T> y() const { return out_rows; }
    view<const T> dy() const { return out_gradient; }
    view<T> dx() const { return in_gradient; }
    view<T> kept(int i) const { return s.kept[i]; }
    view<T> spare() const { return spare_rows; }

    static rows_type rows(const rows_type& r) { return r; }
    static rows_type rows(view<const T> v) { return grouped::in_slot_order(v); }
    static rows_type rows(view<T> v) { return grouped::in_slot_order(v); }

    template <class Rows>
    void apply(int i, const Rows& in, view<T> out) const {
      forward_into(i, in, grouped::epilogue::plain<T>{out.ptr[0], out.stride, e.maps_[i].affine(), false});
    }
    template <class Rows, class Act>
    void apply_activated(int i, const Rows& in, view<T> pre, view<T> out, Act) const {
      forward_into(i, in,
                   grouped::epilogue::activate<Act, T>{out.ptr[0], out.stride, pre.ptr[0], pre.stride, e.maps_[i].affine()});
    }
    void data_gradient(int i, view<const T> d_out, view<T> d_in, bool accumulate = false) const {
      back_into(i, d_out, grouped::epilogue::plain<T>{d_in.ptr[0], d_in.stride, {}, accumulate});
    }
    template <class Act>
    void data_gradient_activated(int i, view<const T> d_out, view<T> pre, Act) const {
      back_into(i, d_out, grouped::epilogue::activate_gradient<Act, T>{pre.ptr[0], pre.stride, pre.ptr[0], pre.stride});
    }
    template <class Act>
    void activate_gated(view<const T> a, view<const T> b, view<T> h, Act) const {
      polymoe::backend::activate_gated<Act, T>(c, work, a, b, h);
    }
    template <class Act>
    void activate_gated_backward(view<const T> d, view<T> a, view<T> b, Act) const {
      polymoe::backend::activate_gated_backward<Act, T>(c, work, d, a, b);
    }

   private:
    template <class Rows, class Epilogue>
    void forward_into(int i, const Rows& in, const Epilogue& epilogue) const {
      const map& m = e.maps_[i];
      grouped::forward(c.stream.handle, work.rows, rows(in), m.weights(), m.out, m.in, epilogue);
    }
    template <class Epilogue>
    void back_into(int i, view<const T> d, const Epilogue& epilogue) const {
      const map& m = e.maps_[i];
      grouped::data_gradient(c.stream.handle, work.rows, rows(d), m.weights(), m.out, m.in, epilogue);
    }
  };

  template <std::size_t... I>
  static std::array<map, sizeof...(I)> make_maps(const expert_config& c, std::index_sequence<I...>) {
    return {map{{c.experts, Body::map(I, c).in, Body::map(I, c).out, Body::bias, {}, {}}, nullptr}...};
  }
  std::size_t workspace_bytes(index rows) const {
    std::size_t most = 0;
    for (const map& m : maps_) most = std::max(most, grouped::weight_workspace<T>(rows, m.out, m.in));
    return most;
  }

  std::array<map, Body::maps> maps_;
};

}  // namespace polymoe::detail
