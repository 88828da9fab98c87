// The frame of experts on CUDA: a tile is all rows of a call, every step of an expert's maths one product, its
// activation fused into the product that makes (or receives) it.
//
// Two kinds of product, chosen when the expert is made (expert/product_path.hpp): our grouped kernel, or one batched
// product of cuBLASLt where every expert has as many rows (batched.cuh).  An expert whose shapes the library has no
// product for at all runs grouped, and describe() says so.
//
// Weights of bf16 layers are rounded once per optimiser step; float and double products read the parameters themselves.
#pragma once

#include <array>
#include <utility>

#include "../../../expert/tiled.hpp"
#include "batched.cuh"
#include "pointwise.cuh"
#include "rows.cuh"

namespace polymoe::inline v0::detail {

template <class Body, class T>
class tiled_expert<Body, T, backend::cuda_device> : public tiled_expert_base<Body> {
 public:
  using scalar = T;
  using backend = polymoe::backend::cuda_device;
  using M = master_t<T>;
  using C = compute_t<T>;
  using rows_type = grouped::rows_of<T>;
  using products_type = polymoe::backend::batched::products<Body, T>;
  static constexpr bool chooses_products = true;  ///< Spec::products decides
  static_assert(std::is_same_v<M, compute_t<T>>, "polymoe: experts on CUDA keep parameters in their compute type");
  struct saved {
    view<T> kept[Body::kept];  ///< [rows, H], null where it does not stay
    rows_type x;
    std::shared_ptr<const products_type> products;  ///< batched; null: grouped
  };

  tiled_expert() = default;
  explicit tiled_expert(expert_config c)
      : tiled_expert_base<Body>(c),
        maps_{make_maps(c, std::make_index_sequence<Body::maps>{})},
        choice_(choose_products(c.products, c.even)) {
    require(choice_.path != product_path::automatic, "expert ", Body::name,
            ": batched products need a plan in which every expert owns as many slots (padded without a fallback "
            "expert, or a mixture): ",
            choice_.reason);
  }

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) {
      map& m = maps_[i];
      m.visit(v, Body::map(i, config_).name);
      if constexpr (rounds) {
        v.add_derived(m.rounded, static_cast<std::size_t>(m.elements()) * sizeof(T));
        if (Body::bias && batched())
          v.add_derived(m.rounded_bias, static_cast<std::size_t>(m.experts * m.bias_stride()) * sizeof(T));
      }
    }
    v.add_stream(dropout_stream_, "dropout");
  }
  /// True when the rows have to lie in slot order (or be the units' own, of mixtures): products are batched.
  bool reads_slots() const { return batched(); }

  saved bind(binder<backend>& b, index max_rows) const {
    saved s;
    for (int k = 0; k < Body::kept; ++k)
      if (Body::stays(k)) s.kept[k] = b.saved.template take<T>(max_rows, config_.hidden);
    s.products = prepare(max_rows);
    arena_scope call(b.scratch);
    rows_of_call(b.scratch, s, max_rows);
    if (Body::spare || (s.products && s.products->writes_elsewhere))
      b.scratch.template take<T>(max_rows, config_.hidden);
    if (s.products) {
      for (const auto& m : s.products->maps) {
        arena_scope one(b.scratch);
        m.take(b.scratch, s.products->rows);
      }
    } else {
      b.scratch.template take_raw<std::byte>(static_cast<index>(workspace_bytes(max_rows)));
      if (Body::spare) b.scratch.template take_raw<C>(dot_numbers(max_rows, config_.hidden));
    }
    return s;
  }
  void refresh(context<backend>& c) {
    if constexpr (rounds)
      for (const map& m : maps_) {
        using polymoe::backend::detail::convert_rows;
        convert_rows<T>(c.stream, m.weight.value, view<T>(reinterpret_cast<T*>(m.rounded), m.weight.value.rows, m.in));
        if (m.rounded_bias)
          convert_rows<T>(c.stream, m.bias.value,
                          view<T>(reinterpret_cast<T*>(m.rounded_bias), m.experts, m.out, m.bias_stride()));
      }
  }
  /// How products run, in one line; batched ones are looked for by bind.
  std::string describe() const {
    const std::string in = std::is_same_v<precision, grouped::tf32> ? " in tf32" : "";
    const std::string why = std::string(" (") + choice_.reason;
    if (!batched()) return "grouped kernel" + in + why + ")";
    if (!bound_) return "cuBLASLt batched" + in + why + "), looked for at bind";
    if (!bound_->prepared()) return "grouped kernel" + in + " (NOT batched: cuBLASLt has no product of these shapes)";
    return "cuBLASLt batched" + in + why + "; " + bound_->describe() + ")";
  }

  /// x in the order of the input, or through the plan; y in slot order.
  void forward(context<backend>& c, const polymoe::backend::grouped_work& work, const rows_type& x, view<T> y,
               saved& s) const {
    s.x = x;
    arena_scope call(c.scratch);
    kept_rows rows = rows_of_call(c.scratch, s, work.rows.rows());
    if (!s.products) return Body::forward(tile{{*this, c, work, x, rows, y, {}, {}, {}}});
    check_even(work, s);
    if (work.each > 0) Body::forward(batch_tile{{*this, c, work, x, rows, y, {}, {}, {}}, *s.products});
  }
  /// dx gets one row per row of the slots.
  void backward(context<backend>& c, const polymoe::backend::grouped_work& work, view<const T> dy, view<T> dx, saved& s,
                bool, const expert_gates<T>& gates = {}) const {
    arena_scope call(c.scratch);
    const index total = work.rows.rows();
    kept_rows rows = rows_of_call(c.scratch, s, total);
    view<T> spare;
    if (Body::spare || (s.products && s.products->writes_elsewhere))
      spare = c.scratch.template take<T>(total, config_.hidden);
    if (s.products) {
      check_even(work, s);
      if (work.each == 0) return;
      const batch_tile t{{*this, c, work, s.x, rows, {}, dy, dx, spare, &gates}, *s.products};
      Body::recompute(t), Body::backward(t);
    } else {
      const tile t{{*this, c, work, s.x, rows, {}, dy, dx, spare, &gates}};
      Body::recompute(t), Body::backward(t);
    }
    weight_gradients(c, work, dy, rows, s);
  }

 private:
  using tiled_expert_base<Body>::config_, tiled_expert_base<Body>::dropout_stream_;
  using kept_rows = std::array<view<T>, Body::kept>;
  static constexpr bool rounds = !std::is_same_v<T, M>;
  /// Of activate_gradient with sums.
  static constexpr index dot_numbers(index rows, index columns) { return rows * grouped::dot_parts(columns); }
  using precision = std::conditional_t<Body::products == float_products::tf32 && std::is_same_v<T, float>,
                                       grouped::tf32, grouped::exact>;

  struct map : expert_map<M> {
    std::byte* rounded = nullptr;       ///< the weights as T
    std::byte* rounded_bias = nullptr;  ///< the biases as T, `bias_stride()` apart

    index elements() const { return this->experts * this->out * this->in; }
    index bias_stride() const { return products_type::stride_of_bias(this->out); }
    const T* weight_data() const {
      if constexpr (rounds)
        return reinterpret_cast<const T*>(rounded);
      else
        return this->weight.value.ptr[0];
    }
    const T* bias_data() const {
      if (!Body::bias) return nullptr;
      if constexpr (rounds)
        return reinterpret_cast<const T*>(rounded_bias);
      else
        return this->bias.value.ptr[0];
    }
    grouped::weights_of<T> weights() const { return {weight_data(), static_cast<int>(this->in), this->out * this->in}; }
    grouped::affine<M> affine() const { return {Body::bias ? this->bias.value.ptr[0] : nullptr, this->out}; }
    polymoe::backend::batched::map_memory<T> memory() const {
      return {weight_data(), bias_data(), bias_stride(), this->weight.grad.ptr[0],
              Body::bias ? this->bias.grad.ptr[0] : nullptr};
    }
  };

  /// What both kinds of tile share: views, and elementwise steps over the rows experts own.
  struct tile_rows {
    const tiled_expert& e;
    context<backend>& c;
    const polymoe::backend::grouped_work& work;
    rows_type in_rows;
    kept_rows& rows;
    view<T> out_rows;
    view<const T> out_gradient;
    view<T> in_gradient;
    mutable view<T> spare_rows;
    const expert_gates<T>* gates = nullptr;

    view<T> y() const { return out_rows; }
    view<const T> dy() const { return out_gradient; }
    view<T> dx() const { return in_gradient; }
    view<T> kept(int i) const { return rows[static_cast<std::size_t>(i)]; }
    view<T> spare() const { return spare_rows; }

    void drop(view<T> v) const {
      if (c.training() && e.config_.dropout > 0)
        polymoe::backend::dropout_apply<T>(c, e.dropout_stream_, e.config_.dropout, view<const T>(v), v);
    }
    template <class Act>
    void activate(int pre, int out, Act) const {
      polymoe::backend::activate<Act, T>(c, work, kept(pre), kept(out));
    }
    void fold_gates(int i, view<T> d, int in) const { fold_gates(i, d, kept(in)); }
    void fold_gates(int i, view<T> d, view<const T> in) const {
      polymoe::backend::fold_gates<T>(c, work, gates->plan, Body::bias ? e.maps_[i].bias.value.ptr[0] : nullptr, d, in,
                                      gates->d_out, gates->d_gate);
    }
    template <class Act>
    void activate_gated(view<const T> a, view<const T> b, view<T> h, Act) const {
      polymoe::backend::activate_gated<Act, T>(c, work, a, b, h);
    }
    template <class Act>
    void activate_gated_backward(view<const T> d, view<T> a, view<T> b, Act) const {
      polymoe::backend::activate_gated_backward<Act, T>(c, work, d, a, b);
    }
  };

  /// Products by the grouped kernel.
  struct tile : tile_rows {
    using tile_rows::e, tile_rows::c, tile_rows::work, tile_rows::kept;

    rows_type x() const { return this->in_rows; }
    static rows_type rows_of(const rows_type& r) { return r; }
    static rows_type rows_of(view<const T> v) { return grouped::in_slot_order(v); }
    static rows_type rows_of(view<T> v) { return grouped::in_slot_order(v); }

    template <class Rows>
    void apply(int i, const Rows& in, view<T> out) const {
      forward_into(i, in, grouped::epilogue::plain<T>{out.ptr[0], out.stride, e.maps_[i].affine(), false});
    }
    template <class Rows, class Act>
    void apply_activated(int i, const Rows& in, int pre, int out, Act) const {
      const view<T> z = kept(pre), h = kept(out);
      forward_into(i, in,
                   grouped::epilogue::activate<Act, T>{h.ptr[0], h.stride, z.ptr[0], z.stride, e.maps_[i].affine()});
    }
    void data_gradient(int i, view<const T> d_out, view<T> d_in, bool accumulate = false) const {
      back_into(i, d_out, grouped::epilogue::plain<T>{d_in.ptr[0], d_in.stride, {}, accumulate});
    }
    template <class Act>
    void activate_backward(view<const T> d, int pre, int /*out*/, Act) const {
      polymoe::backend::activation_backward<Act, T>(c, d, kept(pre), kept(pre));
    }
    template <class Act>
    void data_gradient_activated(int i, view<const T> d_out, int pre, int /*out*/, Act) const {
      const view<T> z = kept(pre);
      back_into(i, d_out, grouped::epilogue::activate_gradient<Act, T>{z.ptr[0], z.stride, z.ptr[0], z.stride});
    }
    /// A dropped hidden row is not act(pre): then the steps have to be taken one by one.
    template <class Act>
    bool data_gradient_folded(int i, view<const T> d_out, int pre, Act) const {
      if (c.training() && e.config_.dropout > 0) return false;
      const view<T> z = kept(pre);
      arena_scope dots(c.scratch);
      C* const dot = c.scratch.template take_raw<C>(dot_numbers(z.rows, z.cols));
      back_into(i, d_out,
                grouped::epilogue::activate_gradient<Act, T, true, grouped::epilogue::gates_of_plan<C>>{
                    z.ptr[0], z.stride, z.ptr[0], z.stride, {this->gates->plan}, dot});
      grouped::sum_dots(c.stream.handle, work.rows, static_cast<const C*>(dot), z.cols, this->gates->d_gate.ptr[0]);
      this->fold_gates(i, view<T>{}, view<const T>{});
      return true;
    }

   private:
    template <class Rows, class Epilogue>
    void forward_into(int i, const Rows& in, const Epilogue& epilogue) const {
      const map& m = e.maps_[i];
      grouped::forward<precision>(c.stream.handle, work.rows, rows_of(in), m.weights(), m.out, m.in, epilogue);
    }
    template <class Epilogue>
    void back_into(int i, view<const T> d, const Epilogue& epilogue) const {
      const map& m = e.maps_[i];
      grouped::data_gradient<precision>(c.stream.handle, work.rows, rows_of(d), m.weights(), m.out, m.in, epilogue);
    }
  };

  /// Products by cuBLASLt.
  struct batch_tile : tile_rows {
    const products_type& p;
    using tile_rows::e, tile_rows::c, tile_rows::work, tile_rows::kept;

    view<const T> x() const { return e.input(this->in_rows, work); }
    void apply(int i, view<const T> in, view<T> out) const {
      p.maps[i].forward(c.stream, c.scratch, work.each, e.maps_[i].memory(), in, out);
    }
    template <class Act>
    void apply_activated(int i, view<const T> in, int pre, int out, Act act) const {
      using polymoe::backend::blaslt_epilogue;
      const auto& m = p.maps[i];
      const auto own = e.maps_[i].memory();
      if constexpr (std::is_same_v<Act, act::gelu_tanh>)
        return m.forward(c.stream, c.scratch, work.each, own, in, kept(out), kept(pre));
      if (m.forward_epilogue() == blaslt_epilogue::relu || m.forward_epilogue() == blaslt_epilogue::bias_relu)
        return m.forward(c.stream, c.scratch, work.each, own, in, kept(out));
      m.forward(c.stream, c.scratch, work.each, own, in, kept(pre));
      this->activate(pre, out, act);
    }
    void data_gradient(int i, view<const T> d_out, view<T> d_in, bool accumulate = false) const {
      p.maps[i].data_gradient(c.stream, c.scratch, work.each, e.maps_[i].memory(), d_out, d_in, accumulate);
    }
    template <class Act>
    void activate_backward(view<const T> d, int pre, int out, Act) const {
      const bool by_output = polymoe::backend::batched::derivative_by_output<Body, Act>(pre, out);
      polymoe::backend::activation_backward<Act, T>(c, d, kept(by_output ? out : pre), kept(pre));
    }
    template <class Act>
    void data_gradient_activated(int i, view<const T> d_out, int pre, int out, Act) const {
      const auto& m = p.maps[i];
      const auto own = e.maps_[i].memory();
      if (polymoe::backend::batched::derivative_by_output<Body, Act>(pre, out)) {
        const view<T> z = kept(pre);
        m.data_gradient(c.stream, c.scratch, work.each, own, d_out, z, false);
        return polymoe::backend::activation_backward<Act, T>(c, z, kept(out), z);
      }
      // Into the spare tensor, which then takes the place of `pre`: nothing says that the library may write where it
      // reads the GELU's input.
      const view<T> d = this->spare_rows;
      if constexpr (std::is_same_v<Act, act::gelu_tanh>) {
        m.data_gradient(c.stream, c.scratch, work.each, own, d_out, d, false, kept(pre));
      } else {
        m.data_gradient(c.stream, c.scratch, work.each, own, d_out, d, false);
        polymoe::backend::activation_backward<Act, T>(c, d, kept(pre), d);
      }
      std::swap(this->rows[static_cast<std::size_t>(pre)], this->spare_rows);
    }
  };

  bool batched() const { return choice_.path == product_path::batched; }

  /// Asks the library for all products; null when there is one it does not have, or when none is wanted.
  std::shared_ptr<const products_type> prepare(index max_rows) const {
    if (!batched()) return nullptr;
    const index rows = std::max<index>(1, max_rows / config_.experts);
    if (!bound_ || bound_->rows != rows) bound_ = std::make_shared<const products_type>(config_, rows);
    if (bound_->prepared()) return bound_;
    require(config_.products != product_path::batched, "expert ", Body::name,
            ": batched products were asked for, but cuBLASLt has none for ", config_.experts, " experts of ", rows,
            " rows, widths ", config_.in, ", ", config_.hidden, ", ", config_.out);
    return nullptr;
  }
  void check_even(const polymoe::backend::grouped_work& work, const saved& s) const {
    require(work.each >= 0 && work.each <= s.products->rows, "expert ", Body::name, ": the plan gives every expert ",
            work.each, " rows (-1: different numbers), products were prepared for at most ", s.products->rows,
            " rows of each");
  }
  /// The rows that batched products read.
  view<const T> input(const rows_type& r, const polymoe::backend::grouped_work& work) const {
    require(!r.source, "expert ", Body::name, ": batched products read rows in slot order, these are in another");
    return {r.data, config_.shared_input ? work.each : work.each * config_.experts, config_.in, r.stride};
  }
  kept_rows rows_of_call(arena& scratch, const saved& s, index rows) const {
    kept_rows all;
    for (int k = 0; k < Body::kept; ++k)
      all[static_cast<std::size_t>(k)] =
          Body::stays(k) ? s.kept[k].rows_at(0, rows) : scratch.template take<T>(rows, config_.hidden);
    return all;
  }
  void weight_gradients(context<backend>& c, const polymoe::backend::grouped_work& work, view<const T> dy,
                        const kept_rows& rows, const saved& s) const {
    const std::size_t bytes = s.products ? 0 : workspace_bytes(work.rows.rows());
    std::byte* workspace = s.products ? nullptr : c.scratch.template take_raw<std::byte>(static_cast<index>(bytes));
    for (int i = 0; i < Body::maps; ++i) {
      const linear_map m = Body::map(i, config_);
      const map& own = maps_[i];
      const auto kept = [&](int k) { return view<const T>(rows[static_cast<std::size_t>(k)]); };
      const view<const T> d = m.gradient == linear_map::end ? dy : kept(m.gradient);
      if (s.products) {
        s.products->maps[i].weight_gradient(c.stream, c.scratch, work.each, own.memory(), d,
                                            m.input == linear_map::end ? input(s.x, work) : kept(m.input));
        continue;
      }
      grouped::weight_gradient<precision>(c.stream.handle, work.rows, grouped::in_slot_order(d),
                               m.input == linear_map::end ? s.x : grouped::in_slot_order(kept(m.input)), own.out,
                               own.in, own.weight.grad.ptr[0], Body::bias ? own.bias.grad.ptr[0] : nullptr, workspace,
                               bytes);
    }
  }

  template <std::size_t... I>
  static std::array<map, sizeof...(I)> make_maps(const expert_config& c, std::index_sequence<I...>) {
    return {map{{c.experts, Body::map(I, c).in, Body::map(I, c).out, Body::bias, {}, {}}, nullptr, nullptr}...};
  }
  std::size_t workspace_bytes(index rows) const {
    std::size_t most = 0;
    for (const map& m : maps_) most = std::max(most, grouped::weight_workspace<T>(rows, m.out, m.in));
    return most;
  }

  std::array<map, Body::maps> maps_;
  product_choice choice_;
  mutable std::shared_ptr<const products_type> bound_;  ///< the last that bind prepared
};

}  // namespace polymoe::detail
