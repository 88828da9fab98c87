// Attention on CUDA: one launch forward, three backward.
#pragma once

#include "../../cpu/attention.hpp"
#include "../kernel/attention.cuh"
#include "pointwise.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {

/// Columns of a slice: what a warp sums in registers without spilling.
template <class T>
constexpr int attention_slice(index head_dim) {
  return sizeof(T) == 8 || head_dim <= 32 ? 32 : 64;
}

/// The kernels' view of a call; `others` are the tensors besides qkv whose rows are read or written by heads.
template <class T, class... Others>
kernel::attention_args<T> attention_call(const attention_shape& s, view<const T> qkv, const Others&... others) {
  kernel::attention_args<T> a;
  const auto size = static_cast<index>(sizeof(T));
  const int slice = attention_slice<T>(s.head_dim());
  a.qkv = qkv;
  a.items = qkv.rows / s.tokens * s.heads;
  a.tokens = static_cast<int>(s.tokens), a.heads = static_cast<int>(s.heads);
  a.head_dim = static_cast<int>(s.head_dim());
  a.width = static_cast<int>(round_up(a.head_dim, slice)), a.slices = a.width / slice;
  a.wide = s.head_dim() * size % 16 == 0 && starts_aligned(qkv, others...);
  a.scale = static_cast<compute_t<T>>(s.scale());
  return a;
}
template <class T>
kernel::attention_kept<T> attention_memory(const attention_shape& s, view<T> kept) {
  return {kept.ptr[0], kept.stride, s.tokens};
}
/// One block per head of an image, tile of its rows, and slice.
template <class T>
device::launch_shape attention_grid(const char* name, const cuda_device::stream& s, const kernel::attention_args<T>& a,
                                    int own, int other) {
  const index blocks = a.items * a.tiles() * a.slices;
  require(blocks <= 0x7fffffff, name, ": ", blocks, " blocks, the limit is 2147483647; use smaller batches");
  return {.kernel = name,
          .grid = static_cast<int>(blocks),
          .block = 32 * kernel::attention_warps<T>,
          .shared = a.shared_bytes(own, other),
          .stream = s.handle};
}
/// f with the columns of a slice as a constant.
template <class T, class F>
void with_slice(index head_dim, F f) {
  if constexpr (sizeof(T) < 8)
    if (attention_slice<T>(head_dim) == 64) return f(std::integral_constant<int, 64>{});
  f(std::integral_constant<int, 32>{});
}

}  // namespace detail

/// Takes what lies between forward and backward from `saved`: three numbers a row and head.  Probabilities are never
/// kept, `keep` or not: the backward computes them again.  Throws when a head is too wide for a block's shared memory.
template <class T>
view<T> attention_bind(binder<cuda_device>& b, const attention_shape& s, index images, bool /*keep*/) {
  const std::size_t need = detail::attention_call<T>(s, {}).shared_bytes(2, 2), have = device::shared_limit();
  require(need <= have, "attention: heads of width ", s.head_dim(), " need ", need,
          " bytes of shared memory, a block of this device has ", have);
  return b.saved.template take<T>(images * s.heads, kernel::attention_kept<T>::elements(s.tokens));
}

/// o [rows, D] = softmax(q k^T / sqrt(d)) v per head, from qkv [rows, 3D] = q | k | v; rows = images * tokens.
/// `kept` comes from attention_bind; nothing is kept when its pointer is null.
template <class T>
void attention_forward(const context<cuda_device>& c, const attention_shape& s, view<const T> qkv, view<T> o,
                       view<T> kept) {
  const auto a = detail::attention_call<T>(s, qkv, o);
  const auto memory = detail::attention_memory<T>(s, kept);
  detail::with_slice<T>(s.head_dim(), [&]<class Out>(Out) {
    device::launch(detail::attention_grid("attention", c.stream, a, 1, 2),
                   kernel::attention_forward_kernel<T, Out::value>, a, o, memory);
  });
}

/// d_qkv [rows, 3D] from d_o [rows, D].  `o` and `kept` are what the forward of the same qkv left; the sums <d_o, o> of
/// rows are added to `kept`.
template <class T>
void attention_backward(const context<cuda_device>& c, const attention_shape& s, view<const T> qkv, view<const T> o,
                        view<T> kept, view<const T> d_o, view<T> d_qkv) {
  require(kept.ptr[0] || qkv.rows == 0, "attention: the backward on CUDA needs the memory that attention_bind gives");
  const auto a = detail::attention_call<T>(s, qkv, d_o, d_qkv);
  const auto memory = detail::attention_memory<T>(s, kept);
  device::launch(detail::warp_rows("attention delta", c.stream, a.items * s.tokens), kernel::attention_delta_kernel<T>,
                 a, o, d_o, memory);
  detail::with_slice<T>(s.head_dim(), [&]<class Out>(Out) {
    device::launch(detail::attention_grid("attention queries", c.stream, a, 2, 2),
                   kernel::attention_query_kernel<T, Out::value>, a, d_o, memory, d_qkv);
    device::launch(detail::attention_grid("attention keys", c.stream, a, 2, 2),
                   kernel::attention_key_kernel<T, Out::value>, a, d_o, memory, d_qkv);
  });
}

}  // namespace backend
}  // namespace polymoe
