// Convolutions of the CPU backend: which library does them, on maps whose rows are pixels.
//
//   forward          Y = conv(X, W) (+ bias)
//   backward         dX = the gradient of the input
//   weight_gradient  G += the gradient of W, in a layout of the library's own; add_gradient brings it to PyTorch's
//
// A map of C channels is [pixels, C], pixels row by row, images one after another: everything that works on rows of
// tokens works on pixels, and libraries know the layout as "channels last".
//
// A library call runs on one thread and on at most `most_images` images, a number that depends on the shape only.
// Objects are prepared in the constructor and are immutable after: one object serves all threads.
#pragma once

#include "maths_conv_plain.hpp"
#if defined(POLYMOE_WITH_ONEDNN)
#include "maths_conv_onednn.hpp"
#endif

namespace polymoe::inline v0::maths {

namespace detail {
template <class R, class Maths>
struct convolution_of {
  using type = plain_convolution<R, Maths>;
};
#if defined(POLYMOE_WITH_ONEDNN)
template <class R>
struct convolution_of<R, onednn> {
  using type = onednn_convolution<R>;
};
#endif
}  // namespace detail

/// The convolution of a library with numbers of type R (float, double, bf16): oneDNN's own, or windows and products
/// (double through CBLAS where compiled in).  A library of your own gets the latter.  M is master_t<R>.  Members:
///
///   convolution(convolution_shape)
///   packed_bytes(), worker_bytes(), gradient_size()     the last in numbers of M
///   pack(const M* w, void* packed, worker&, int part)   w is [out, in, kernel, kernel] ([C, 1, ...] when depthwise);
///                                                       parts 0 (forward) and 1 (backward) are independent
///   forward(worker&, const R* x, index images, const void* packed, const M* bias, R* y)       bias may be null
///   backward(worker&, const R* dy, index images, const void* packed, R* dx)
///   weight_gradient(worker&, const R* dy, const R* x, index images, M* g, bool first)
///                                                       g +=, or g = when first
///   add_gradient(worker&, const M* g, M* dw)            dw += g, in the layout of w
///
/// At most shape.most_images() images in one call.  x and y must not overlap.  images = 0 does nothing (weight_gradient
/// must get an image).
template <class R, class Maths = automatic>
using convolution = typename detail::convolution_of<R, resolved<R, Maths>>::type;

}  // namespace polymoe::inline v0::maths
