// Pooling of feature maps on CUDA: the CPU's functions (cpu/pool2d.hpp) with the same arguments, one launch each.
#pragma once

#include "../../cpu/pool2d.hpp"
#include "../kernel/maps.cuh"
#include "rows.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// y = the mean of each window, pixels over the border counted as 0.
template <class T>
void mean_pool2d_forward(context<cuda_device>& c, const maths::convolution_shape& s, view<const T> x, view<T> y) {
  using M = master_t<T>;
  const auto per = compute_t<T>(1) / static_cast<compute_t<T>>(s.taps());
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("mean pool2d", c.stream, y.rows), kernel::window_sums_kernel<T, V::value>,
                       kernel::window_map(s, false), kernel::map_owners{}, x, view<const M>(), per, view<const M>(),
                       view<const T>(), y);
      },
      x, y);
}
template <class T>
void mean_pool2d_backward(context<cuda_device>& c, const maths::convolution_shape& s, view<const T> dy, view<T> dx) {
  using M = master_t<T>;
  const auto per = compute_t<T>(1) / static_cast<compute_t<T>>(s.taps());
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("mean pool2d backward", c.stream, dx.rows),
                       kernel::window_sums_kernel<T, V::value>, kernel::window_map(s, true), kernel::map_owners{}, dy,
                       view<const M>(), per, view<const M>(), view<const T>(), dx);
      },
      dy, dx);
}

/// y = the largest of each window, ties to the first pixel, NaN if there is one; `from` [rows of y, channels] receives
/// the tap it came from.
template <class T>
void max_pool2d_forward(context<cuda_device>& c, const maths::convolution_shape& s, view<const T> x, view<T> y,
                        std::uint8_t* from) {
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("max pool2d", c.stream, y.rows), kernel::max_pool2d_kernel<T, V::value>,
                       kernel::window_map(s, false), x, y, from);
      },
      x, y);
}
template <class T>
void max_pool2d_backward(context<cuda_device>& c, const maths::convolution_shape& s, view<const T> dy,
                         const std::uint8_t* from, view<T> dx) {
  detail::with_access<T>(
      [&]<class V>(V) {
        device::launch(detail::warp_rows("max pool2d backward", c.stream, dx.rows),
                       kernel::max_pool2d_backward_kernel<T, V::value>, kernel::window_map(s, true), dy, from, dx);
      },
      dy, dx);
}

}  // namespace backend
}  // namespace polymoe
