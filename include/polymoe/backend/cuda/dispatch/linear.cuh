// Fully connected layers on CUDA: products by cuBLASLt with bias, residual and tanh-GELU in their epilogues, rounded
// copies of weights and biases, and bias gradients.
//
// `dense<T, cuda_device>` has the members of the CPU's dense.  Products are prepared at bind, for the row count given
// there, and shared by copies of the module.  A call with fewer rows uses the same algorithms.
#pragma once

#include <array>

#include "../../cpu/linear.hpp"
#include "blaslt.cuh"
#include "column_sums.cuh"
#include "pointwise.cuh"
#include "rows.cuh"

namespace polymoe::inline v0 {
namespace backend {
template <class T>
class dense<T, cuda_device> {
 public:
  using M = master_t<T>;
  using C = cuda_device;
  /// bf16 layers compute with rounded copies of weights and bias, others with the parameters themselves.
  static constexpr bool copies = !std::is_same_v<T, M>;

  dense() = default;
  /// y = x W^T with W [out, in].
  dense(index in, index out, float_products how = float_products::exact) : in_(in), out_(out) {
    policy_.tf32 = how == float_products::tf32;
  }

  index in() const { return in_; }
  index out() const { return out_; }
  std::size_t derived_bytes() const {
    return copies ? bias_offset() + static_cast<std::size_t>(out_) * sizeof(T) : std::size_t{0};
  }

  /// Prepares the products (the first time for this number of rows) and measures the scratch of a call.
  void bind(binder<C>& b, index max_rows) const {
    const index rows = std::max<index>(max_rows, 1);
    if (!products_ || products_->rows != rows) products_ = std::make_shared<const prepared>(in_, out_, rows, policy_);
    arena_scope all(b.scratch);
    take_gradient(b.scratch, rows);
  }
  /// The products and how each is computed, one a line.  After bind.
  std::string describe() const {
    std::string text;
    for (const auto* p : products().all()) text += p->describe() + "\n";
    text += products().gradient.describe() + "\n";
    if (products().long_gradient.prepared()) text += products().long_gradient.describe() + "\n";
    return text;
  }
  /// True when tanh-GELU is computed inside the product, in forward and in backward.
  bool fuses_gelu() const { return products().forward_gelu.fused() && products().backward_gelu.fused(); }

  /// Rounds W and the bias (empty: none) for bf16; float and double remember where W is, which has to stay there until
  /// the next pack.
  void pack(context<C>& c, view<const M> w, view<const M> bias, std::byte* derived) const {
    if constexpr (copies) {
      detail::convert_rows<T>(c.stream, w, view<T>(reinterpret_cast<T*>(derived), out_, in_));
      if (bias.ptr[0]) detail::convert_rows<T>(c.stream, bias, view<T>(packed_bias(derived), 1, out_));
    } else {
      static_cast<void>(c), static_cast<void>(bias), static_cast<void>(derived);
      weight_ = w;
    }
  }

  /// y = x W^T + bias (+ skip).  `bias` is the one that was packed, or empty.
  void forward(context<C>& c, view<const T> x, const std::byte* derived, view<const M> bias, view<T> y,
               view<const T> skip = {}) const {
    if (x.rows == 0) return;
    const auto& p = bias.ptr[0] ? products().forward_bias : products().forward;
    p.run(c.stream, x, weight(derived), y, {.add = skip, .bias = rounded(derived, bias)});
  }
  /// pre = x W^T + bias, y = gelu_tanh(pre), which may be computed from pre before it is rounded.
  void forward_gelu(context<C>& c, view<const T> x, const std::byte* derived, view<const M> bias, view<T> pre,
                    view<T> y) const {
    if (x.rows == 0) return;
    products().forward_gelu.run(c.stream, x, weight(derived), y, {.bias = rounded(derived, bias), .before = pre});
  }
  /// dx = dy W.
  void backward(context<C>& c, view<const T> dy, const std::byte* derived, view<T> dx) const {
    if (dy.rows > 0) products().backward.run(c.stream, dy, weight(derived), dx);
  }
  /// d_pre = (dy W) gelu_tanh'(pre).
  void backward_gelu(context<C>& c, view<const T> dy, const std::byte* derived, view<const T> pre,
                     view<T> d_pre) const {
    if (dy.rows > 0) products().backward_gelu.run(c.stream, dy, weight(derived), d_pre, {.pre = pre});
  }
  /// dW += dy^T x, dbias += column sums of dy (db may be empty).  The sums are a kernel of ours: in the product they
  /// would rule out the algorithms that cut a long inner dimension, and these are what keeps the GPU busy here.
  void weight_gradient(context<C>& c, view<const T> dy, view<const T> x, view<M> dw, view<M> db) const {
    if (dy.rows == 0) return;
    arena_scope all(c.scratch);
    const gradient_scratch s = take_gradient(c.scratch, dy.rows);
    // The cut was chosen for the prepared number of rows; it does not fit far fewer.
    const bool many = products().long_gradient.prepared() && 2 * dy.rows >= products().rows;
    const auto& p = many ? products().long_gradient : products().gradient;
    p.run(c.stream, dy, x, dw, {.add = dw, .workspace = s.workspace});
    if (db.ptr[0]) detail::add_column_sums<T>(c.stream, dy, dy.rows, s.partial, db);
  }

 private:
  struct prepared {
    using product = blaslt_product<T>;
    index rows;
    product forward, forward_bias, forward_gelu, backward, backward_gelu;
    blaslt_product<T, M> gradient, long_gradient;

    prepared(index in, index out, index r, blaslt_policy policy)
        : rows(r),
          forward(up(in, out, r, blaslt_epilogue::none), policy),
          forward_bias(up(in, out, r, blaslt_epilogue::bias), policy),
          forward_gelu(up(in, out, r, blaslt_epilogue::bias_gelu), policy),
          backward(down(in, out, r, blaslt_epilogue::none), policy),
          backward_gelu(down(in, out, r, blaslt_epilogue::dgelu), policy),
          gradient(outer(in, out, r), policy) {
      if (r < 1024) return;
      policy.split = true;
      long_gradient = blaslt_product<T, M>(outer(in, out, r), policy);
    }
    std::array<const product*, 5> all() const {
      return {&forward, &forward_bias, &forward_gelu, &backward, &backward_gelu};
    }
    static blaslt_shape up(index in, index out, index r, blaslt_epilogue e) {
      return {.m = r, .n = out, .k = in, .transpose_b = true, .epilogue = e};
    }
    static blaslt_shape down(index in, index out, index r, blaslt_epilogue e) {
      return {.m = r, .n = in, .k = out, .epilogue = e};
    }
    static blaslt_shape outer(index in, index out, index r) { return {.m = out, .n = in, .k = r, .transpose_a = true}; }
  };
  struct gradient_scratch {
    blaslt_workspace workspace;
    view<M> partial;
  };

  const prepared& products() const {
    require(products_ != nullptr, "dense [", in_, " -> ", out_, "]: bind has to come before the first product");
    return *products_;
  }
  view<const T> weight(const std::byte* derived) const {
    if constexpr (copies) {
      return {reinterpret_cast<const T*>(derived), out_, in_};
    } else {
      require(weight_.ptr[0], "dense [", in_, " -> ", out_, "]: pack has to come before the first product");
      return weight_;
    }
  }
  /// Bytes of derived memory before the bias, which starts on a border of its own.
  std::size_t bias_offset() const {
    const std::size_t weights = static_cast<std::size_t>(in_ * out_) * sizeof(T);
    return (weights + arena::alignment - 1) / arena::alignment * arena::alignment;
  }
  T* packed_bias(std::byte* derived) const { return reinterpret_cast<T*>(derived + bias_offset()); }
  /// The bias as the library takes it: in the type of the result.
  const T* rounded(const std::byte* derived, view<const M> bias) const {
    if (!bias.ptr[0]) return nullptr;
    if constexpr (copies)
      return reinterpret_cast<const T*>(derived + bias_offset());
    else
      return bias.ptr[0];
  }
  gradient_scratch take_gradient(arena& a, index rows) const {
    const std::size_t bytes = products().long_gradient.prepared() ? products().long_gradient.workspace_bytes() : 0;
    gradient_scratch s;
    s.workspace = blaslt_workspace::take(a, bytes);
    s.partial = a.take<M>(detail::most_row_pieces(rows), out_);
    return s;
  }

  index in_ = 0, out_ = 0;
  blaslt_policy policy_;
  mutable std::shared_ptr<const prepared> products_;  ///< made by bind
  mutable view<const M> weight_;                      ///< remembered by pack
};

/// pre = x W1^T + b1, hidden = act(pre), y = hidden W2^T + b2 (+ skip).  Tanh-GELU is part of the first product; other
/// activations are a kernel after it.  ReLU as well: the library's fused form stores a bit mask where pre has to be,
/// and its max(x, 0) is not said to keep NaN.
template <class Act, class T>
void mlp_forward(context<cuda_device>& c, bound_dense<T, cuda_device> up, bound_dense<T, cuda_device> down,
                 view<const T> x, view<T> pre, view<T> hidden, view<T> y, view<const T> skip) {
  if (std::is_same_v<Act, act::gelu_tanh> && up.bias.ptr[0]) {
    up.kernel.forward_gelu(c, x, up.derived, up.bias, pre, hidden);
  } else {
    up.kernel.forward(c, x, up.derived, up.bias, pre);
    activation_forward<Act, T>(c, pre, hidden);
  }
  down.kernel.forward(c, hidden, down.derived, down.bias, y, skip);
}
/// d_pre = (dy W2) act'(pre) and, unless dx is empty, dx = d_pre W1.
template <class Act, class T>
void mlp_backward(context<cuda_device>& c, bound_dense<T, cuda_device> up, bound_dense<T, cuda_device> down,
                  view<const T> dy, view<const T> pre, view<T> d_pre, view<T> dx) {
  if constexpr (std::is_same_v<Act, act::gelu_tanh>) {
    down.kernel.backward_gelu(c, dy, down.derived, pre, d_pre);
  } else {
    down.kernel.backward(c, dy, down.derived, d_pre);
    activation_backward<Act, T>(c, d_pre, pre, d_pre);
  }
  if (dx.ptr[0]) up.kernel.backward(c, d_pre, up.derived, dx);
}

}  // namespace backend
}  // namespace polymoe
