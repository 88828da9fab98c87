// Products of experts that all have the same number of rows, through cuBLASLt: one product of E equal matrices a step.
//
//   [E, R, in] activations, rows of experts one after the other, the plan's empty slots included
//   [E, out, in] weights, [E, out] biases
//
// Which epilogues are part of a product is decided at bind, by asking the library for each (blaslt.cuh); bias,
// tanh-GELU with its input, ReLU, the GELU's derivative and bias gradients are asked for.  What it has no kernel for
// runs as a kernel of ours after the plain product, and describe() says so.
//
// Rows of empty slots.  Forward finds zeros there (gather writes them), so hidden rows are act(b1) and outputs
// W2 act(b1) + b2: finite, and read by nobody.  Backward finds zeros in dy (combine_backward writes them), so they add
// 0 times something finite to weight gradients and 0 to bias gradients.
#pragma once

#include <array>

#include "../../../expert/tiled.hpp"
#include "blaslt.cuh"
#include "column_sums.cuh"

namespace polymoe::inline v0 {
namespace backend::batched {

// ---- layout: what runs on the host alone
// -------------------------------------------------------------------------------

/// Numbers of one linear map in a batch.
struct map_sizes {
  index experts = 0, rows = 0;  ///< E, and R rows of each
  index in = 0, out = 0;
  bool shared_input = false;  ///< all experts read the same R rows
};

/// Elements between the biases of two experts: the next 16-byte border, which fused epilogues want.
constexpr index bias_stride(index out, std::size_t element) {
  return round_up(out, static_cast<index>(16 / (element < 16 ? element : 16)));
}
/// out = in W^T: [R, in] [out, in]^T, E times.
constexpr blaslt_shape forward_shape(const map_sizes& s, blaslt_epilogue epilogue, index bias) {
  return {.m = s.rows,
          .n = s.out,
          .k = s.in,
          .transpose_b = true,
          .epilogue = epilogue,
          .batch = s.experts,
          .stride_a = s.shared_input ? 0 : s.rows * s.in,
          .stride_b = s.out * s.in,
          .stride_d = s.rows * s.out,
          .stride_bias = bias};
}
/// d_in = d_out W: [R, out] [out, in], E times.
constexpr blaslt_shape data_shape(const map_sizes& s, blaslt_epilogue epilogue) {
  return {.m = s.rows,
          .n = s.in,
          .k = s.out,
          .epilogue = epilogue,
          .batch = s.experts,
          .stride_a = s.rows * s.out,
          .stride_b = s.out * s.in,
          .stride_d = s.rows * s.in};
}
/// dW = d_out^T in: [R, out]^T [R, in], E times.
constexpr blaslt_shape weight_shape(const map_sizes& s, blaslt_epilogue epilogue, index bias) {
  return {.m = s.out,
          .n = s.in,
          .k = s.rows,
          .transpose_a = true,
          .epilogue = epilogue,
          .batch = s.experts,
          .stride_a = s.rows * s.out,
          .stride_b = s.shared_input ? 0 : s.rows * s.in,
          .stride_d = s.out * s.in,
          .stride_bias = bias};
}
/// The epilogue of a product whose result z goes through Act.  `output`: backward has act(z) and did not make it from
/// z. ReLU's derivative needs no more than that, so z is not written: the library's forms with a bit mask for it would
/// need rows of 128 bits.  Other activations (erf, SiLU) are a kernel of their own after bias.
template <class Act>
constexpr blaslt_epilogue activation_epilogue(bool bias, bool output) {
  if (std::is_same_v<Act, act::gelu_tanh>) return bias ? blaslt_epilogue::bias_gelu : blaslt_epilogue::gelu;
  if (std::is_same_v<Act, act::relu> && output) return bias ? blaslt_epilogue::bias_relu : blaslt_epilogue::relu;
  return bias ? blaslt_epilogue::bias : blaslt_epilogue::none;
}
/// That of a data gradient which is multiplied by Act's derivative.
template <class Act>
constexpr blaslt_epilogue gradient_epilogue() {
  return std::is_same_v<Act, act::gelu_tanh> ? blaslt_epilogue::dgelu : blaslt_epilogue::none;
}
/// True when ReLU's input is not written in forward: see activation_epilogue.
template <class Body, class Act>
constexpr bool derivative_by_output(int pre, int out) {
  return std::is_same_v<Act, act::relu> && Body::stays(out) == Body::stays(pre);
}

// ---- products -------------------------------------------------------------------------------------------------------

/// Weights, biases and gradients of one linear map of all experts.
template <class T>
struct map_memory {
  using M = compute_t<T>;
  const T* weight = nullptr;  ///< [E, out, in]
  const T* bias = nullptr;    ///< [E, out], `bias_stride` apart; null without
  index bias_stride = 0;
  M* weight_gradient = nullptr;  ///< [E, out, in]
  M* bias_gradient = nullptr;    ///< [E, out], contiguous; null without
};

/// One linear map of all experts: its three products.
template <class T>
class map_products {
 public:
  using M = compute_t<T>;
  using tall = view<const T>;

  map_products() = default;
  map_products(const char* name, const map_sizes& s, bool bias, index stride_of_bias, blaslt_epilogue up,
               blaslt_epilogue down, float_products how = float_products::exact)
      : name_(name), sizes_(s), bias_(bias) {
    blaslt_policy policy{.roomy = true}, cut{.split = true};
    policy.tf32 = cut.tf32 = how == float_products::tf32;
    forward_ = blaslt_product<T>::offered(forward_shape(s, up, stride_of_bias), policy);
    data_ = blaslt_product<T>::offered(data_shape(s, down), policy);
    if (bias)
      weight_ = blaslt_product<T, M>::offered(
          weight_shape(s, blaslt_epilogue::bias_gradient, batched::bias_stride(s.out, sizeof(M))), policy);
    // Without sums in the epilogue the inner dimension may be cut, which keeps a GPU busy when results are small.
    if (!bias || !weight_.prepared() || !weight_.fused())
      weight_ = blaslt_product<T, M>::offered(weight_shape(s, blaslt_epilogue::none, 0), cut);
  }
  bool prepared() const { return forward_.prepared() && data_.prepared() && weight_.prepared(); }
  bool sums_bias() const { return weight_.shape().epilogue == blaslt_epilogue::bias_gradient; }
  std::size_t workspace_bytes() const {
    return std::max({forward_.workspace_bytes(), data_.workspace_bytes(), weight_.workspace_bytes()});
  }
  blaslt_epilogue forward_epilogue() const { return forward_.shape().epilogue; }
  /// "fc1: bias_gelu fused, dgelu NOT fused, bias gradient fused".
  std::string describe() const {
    std::string s = std::string(name_) + ":";
    const auto add = [&](const char* what, bool fused) {
      s += std::string(" ") + what + (fused ? " fused," : " NOT fused,");
    };
    if (forward_.shape().epilogue != blaslt_epilogue::none) add(name_of(forward_.shape().epilogue), forward_.fused());
    if (data_.shape().epilogue != blaslt_epilogue::none) add(name_of(data_.shape().epilogue), data_.fused());
    if (bias_) add("bias gradient", sums_bias());
    if (s.back() == ':') return s + " plain";
    s.pop_back();
    return s;
  }

  /// Room of a call: workspace and the bias gradients before they are added.
  struct memory {
    blaslt_workspace workspace;
    view<M> sums;
  };
  memory take(arena& a, index rows) const {
    memory m;
    m.workspace = blaslt_workspace::take(a, workspace_bytes());
    if (bias_) {
      const index parts = sums_bias() ? 1 : detail::most_row_pieces(rows, sizes_.experts);
      m.sums = a.template take<M>(sizes_.experts * parts, batched::bias_stride(sizes_.out, sizeof(M)));
    }
    return m;
  }

  /// out = epilogue(in W^T); `rows` of each expert, `before` is what a GELU gets.
  void forward(const cuda_device::stream& s, arena& scratch, index rows, const map_memory<T>& own, tall in, view<T> out,
               view<T> before = {}) const {
    arena_scope call(scratch);
    blaslt_extras<T, T> e;
    e.bias = own.bias;
    if (before.ptr[0]) e.before = before.rows_at(0, rows);
    e.strides.a = sizes_.shared_input ? 0 : rows * in.stride, e.strides.d = rows * out.stride;
    e.workspace = blaslt_workspace::take(scratch, forward_.workspace_bytes());
    forward_.run(s, in.rows_at(0, rows), weight_of(own), out.rows_at(0, rows), e);
  }
  /// d_in = d_out W (times the GELU's derivative at `pre`), or += with accumulate.
  void data_gradient(const cuda_device::stream& s, arena& scratch, index rows, const map_memory<T>& own, tall d_out,
                     view<T> d_in, bool accumulate, tall pre = {}) const {
    arena_scope call(scratch);
    blaslt_extras<T, T> e;
    if (accumulate) e.add = d_in.rows_at(0, rows);
    if (pre.ptr[0]) e.pre = pre.rows_at(0, rows);
    e.strides.a = rows * d_out.stride, e.strides.d = rows * d_in.stride;
    e.workspace = blaslt_workspace::take(scratch, data_.workspace_bytes());
    data_.run(s, d_out.rows_at(0, rows), weight_of(own), d_in.rows_at(0, rows), e);
  }
  /// dW += d_out^T in, db += the sums of d_out's rows.
  void weight_gradient(const cuda_device::stream& s, arena& scratch, index rows, const map_memory<T>& own, tall d_out,
                       tall in) const {
    arena_scope call(scratch);
    const memory room = take(scratch, rows);
    const view<M> dw(own.weight_gradient, sizes_.out, sizes_.in);
    blaslt_extras<T, M> e;
    e.add = dw;
    e.strides.a = rows * d_out.stride, e.strides.b = sizes_.shared_input ? 0 : rows * in.stride;
    e.workspace = room.workspace;
    if (sums_bias()) e.bias_gradient = room.sums.ptr[0];
    weight_.run(s, d_out.rows_at(0, rows), in.rows_at(0, rows), dw, e);
    if (bias_) add_bias_gradient(s, rows, own, d_out, room.sums);
  }

 private:
  view<const T> weight_of(const map_memory<T>& own) const { return {own.weight, sizes_.out, sizes_.in}; }

  void add_bias_gradient(const cuda_device::stream& s, index rows, const map_memory<T>& own, tall d_out,
                         view<M> sums) const {
    sums.cols = sizes_.out;
    const view<M> to(own.bias_gradient, sizes_.experts, sizes_.out);
    if (sums_bias())
      detail::add_row_pieces<M>(s, sums, 1, to);
    else
      detail::add_column_sums<T>(s, d_out, rows, sums, to);
  }

  const char* name_ = "";
  map_sizes sizes_;
  bool bias_ = false;
  blaslt_product<T> forward_, data_;
  blaslt_product<T, M> weight_;
};

/// What an expert's maths asks of its maps, found by running it on a tile that computes nothing.
template <class Body>
struct needs {
  blaslt_epilogue forward[Body::maps] = {}, data[Body::maps] = {};
  bool writes_elsewhere = false;  ///< a gradient is made in another tensor than the one it takes the place of

  struct nothing {};
  struct tile {
    needs* to;
    nothing x() const { return {}; }
    nothing y() const { return {}; }
    nothing dy() const { return {}; }
    nothing dx() const { return {}; }
    nothing kept(int) const { return {}; }
    nothing spare() const { return {}; }
    void apply(int i, nothing, nothing) const {
      to->forward[i] = Body::bias ? blaslt_epilogue::bias : blaslt_epilogue::none;
    }
    template <class Act>
    void apply_activated(int i, nothing, int pre, int out, Act) const {
      to->forward[i] = activation_epilogue<Act>(Body::bias, derivative_by_output<Body, Act>(pre, out));
    }
    void data_gradient(int i, nothing, nothing, bool = false) const { to->data[i] = blaslt_epilogue::none; }
    template <class Act>
    void data_gradient_activated(int i, nothing, int pre, int out, Act) const {
      to->data[i] = gradient_epilogue<Act>();
      to->writes_elsewhere = to->writes_elsewhere || !derivative_by_output<Body, Act>(pre, out);
    }
    template <class Act>
    void activate(int, int, Act) const {}
    template <class Act>
    void activate_backward(nothing, int, int, Act) const {}
    void fold_gates(int, nothing, int) const {}
    void drop(nothing) const {}
    template <class Act>
    void activate_gated(nothing, nothing, nothing, Act) const {}
    template <class Act>
    void activate_gated_backward(nothing, nothing, nothing, Act) const {}
  };
  static needs of() {
    needs n;
    const tile t{&n};
    Body::forward(t), Body::backward(t);
    return n;
  }
};

/// All products of an expert, prepared for R rows of each of E experts.
template <class Body, class T>
struct products {
  index rows = 0;
  std::array<map_products<T>, Body::maps> maps;
  bool writes_elsewhere = false;

  products(const expert_config& c, index rows_each) : rows(rows_each) {
    const auto n = needs<Body>::of();
    writes_elsewhere = n.writes_elsewhere;
    for (int i = 0; i < Body::maps; ++i) {
      const linear_map m = Body::map(i, c);
      const map_sizes s{c.experts, rows_each, m.in, m.out, c.shared_input && m.input == linear_map::end};
      maps[static_cast<std::size_t>(i)] =
          map_products<T>(m.name, s, Body::bias, stride_of_bias(m.out), n.forward[i], n.data[i], Body::products);
    }
  }
  /// bf16 copies of biases have room for the border; float and double ones are the parameters themselves.
  static constexpr index stride_of_bias(index out) {
    return std::is_same_v<T, master_t<T>> ? out : batched::bias_stride(out, sizeof(T));
  }
  bool prepared() const {
    for (const auto& m : maps)
      if (!m.prepared()) return false;
    return true;
  }
  std::string describe() const {
    std::string s;
    for (const auto& m : maps) s += (s.empty() ? "" : "; ") + m.describe();
    return s;
  }
};

}  // namespace backend::batched
}  // namespace polymoe
