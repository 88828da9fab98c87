// The shape of a convolution, and convolutions made of the products of any library or of plain loops (maths_conv.hpp).
#pragma once

#include "maths.hpp"

namespace polymoe::inline v0::maths {

/// A convolution of square kernels over images of height x width pixels; `depthwise`: channel c of the output sees
/// channel c of the input only.
struct convolution_shape {
  index height = 0, width = 0, in = 0, out = 0, kernel = 3, stride = 1, padding = 0;
  bool depthwise = false;

  constexpr index down() const { return (height + 2 * padding - kernel) / stride + 1; }
  constexpr index across() const { return (width + 2 * padding - kernel) / stride + 1; }
  constexpr index in_pixels() const { return height * width; }
  constexpr index out_pixels() const { return down() * across(); }
  constexpr index taps() const { return kernel * kernel; }
  /// Numbers one output is a sum of.
  constexpr index fan_in() const { return (depthwise ? 1 : in) * taps(); }
  constexpr index weights() const { return out * fan_in(); }
  constexpr index macs() const { return out_pixels() * weights(); }
  /// Images of one library call, and of one tile of parallel work: 1, 4 or 16, about 1024 pixels.
  constexpr index most_images() const {
    const index fit = 1024 / (in_pixels() > out_pixels() ? in_pixels() : out_pixels());
    return fit >= 16 ? 16 : (fit >= 4 ? 4 : 1);
  }
  /// The same, checked; `what` begins the message.
  const convolution_shape& checked(const char* what) const {
    require(in > 0 && out > 0 && kernel > 0 && stride > 0 && padding >= 0, what, ": channels ", in, " to ", out,
            ", kernel ", kernel, " and stride ", stride, " must be positive, padding ", padding, " not negative");
    require(height > 0 && width > 0 && height + 2 * padding >= kernel && width + 2 * padding >= kernel, what,
            ": a kernel of ", kernel, " does not fit a map of ", height, " x ", width, " with padding ", padding);
    require(padding < kernel, what, ": padding ", padding, " must be below the kernel's ", kernel);
    require(!depthwise || in == out, what, ": a depthwise convolution has as many outputs as inputs, not ", in, " and ",
            out);
    return *this;
  }
};

namespace detail {

/// The window of a convolution seen from either side: the other map's pixel under tap (a, b), or -1.
struct tap_map {
  convolution_shape s;
  bool of_input = false;  ///< false: the input pixel under an output pixel; true: the output pixel over an input pixel

  index height() const { return of_input ? s.height : s.down(); }
  index width() const { return of_input ? s.width : s.across(); }
  index pixel(index i, index j, index a, index b) const {
    if (!of_input) {
      const index h = i * s.stride - s.padding + a, w = j * s.stride - s.padding + b;
      return h >= 0 && h < s.height && w >= 0 && w < s.width ? h * s.width + w : -1;
    }
    const index h = i + s.padding - a, w = j + s.padding - b;
    if (h < 0 || w < 0 || h % s.stride != 0 || w % s.stride != 0) return -1;
    const index oh = h / s.stride, ow = w / s.stride;
    return oh < s.down() && ow < s.across() ? oh * s.across() + ow : -1;
  }
  index other_pixels() const { return of_input ? s.out_pixels() : s.in_pixels(); }
};

/// Convolution as a product: the window of every pixel becomes a row ("im2col"), 256 rows at a time.  The data gradient
/// is the same with the windows of the other side, so every element is one sum, rounded once.
template <class R, class Maths>
class columns_convolution {
  using M = master_t<R>;
  static constexpr index tile = product<R, Maths>::tile_rows;

 public:
  columns_convolution() = default;
  explicit columns_convolution(const convolution_shape& s)
      : s_(s), forward_(s.taps() * s.in, s.out), backward_(s.taps() * s.out, s.in), gradient_(s.out, s.taps() * s.in) {}

  std::size_t packed_bytes() const { return forward_bytes() + backward_.packed_bytes(); }
  std::size_t worker_bytes() const { return room(pieces(nullptr)).bytes; }
  index gradient_size() const { return s_.weights(); }

  void pack(const M* w, void* packed, worker& who, int part) const {
    const buffers at = room(pieces(who, worker_bytes()));
    const index in = s_.in, out = s_.out, taps = s_.taps();
    worker library = at.for_product(who);
    if (part == 0) {
      for (index o = 0; o < out; ++o)
        for (index t = 0; t < taps; ++t)
          for (index c = 0; c < in; ++c) at.turned[(o * taps + t) * in + c] = w[(o * in + c) * taps + t];
      forward_.pack(at.turned, taps * in, true, packed, library);
    } else {
      for (index t = 0; t < taps; ++t)
        for (index o = 0; o < out; ++o)
          for (index c = 0; c < in; ++c) at.turned[(t * out + o) * in + c] = w[(o * in + c) * taps + t];
      backward_.pack(at.turned, in, false, static_cast<std::byte*>(packed) + forward_bytes(), library);
    }
  }
  void forward(worker& who, const R* x, index images, const void* packed, const M* bias, R* y) const {
    multiply(who, {s_, false}, forward_, x, s_.in, images, packed, bias, y, s_.out);
  }
  void backward(worker& who, const R* dy, index images, const void* packed, R* dx) const {
    multiply(who, {s_, true}, backward_, dy, s_.out, images, static_cast<const std::byte*>(packed) + forward_bytes(),
             nullptr, dx, s_.in);
  }
  void weight_gradient(worker& who, const R* dy, const R* x, index images, M* g, bool first) const {
    if (first) std::fill_n(g, gradient_size(), M(0));
    const buffers at = room(pieces(who, worker_bytes()));
    worker library = at.for_product(who);
    const index rows = images * s_.out_pixels(), width = s_.taps() * s_.in;
    for (index r = 0; r < rows; r += tile) {
      const index n = std::min(tile, rows - r);
      const R* from = columns({s_, false}, x, s_.in, r, n, at.columns);
      for (index block = 0; block < gradient_.blocks(); ++block)
        gradient_.run(library, block, dy + r * s_.out, s_.out, from, width, n, g, width);
    }
  }
  /// dw += g.
  void add_gradient(worker&, const M* g, M* dw) const {
    const index taps = s_.taps();
    for (index o = 0; o < s_.out; ++o)
      for (index t = 0; t < taps; ++t)
        for (index c = 0; c < s_.in; ++c) dw[(o * s_.in + c) * taps + t] += g[(o * taps + t) * s_.in + c];
  }

 private:
  struct buffers {
    R* columns;
    M* turned;
    std::byte* rest;
    std::size_t rest_bytes, bytes;
    worker for_product(const worker& w) const { return {w.id, rest, rest_bytes}; }
  };
  buffers room(pieces p) const {
    buffers b{};
    b.columns = p.take<R>(tile * s_.taps() * std::max(s_.in, s_.out));
    b.turned = p.take<M>(s_.weights());
    b.rest_bytes = std::max({forward_.worker_bytes(), backward_.worker_bytes(), gradient_.worker_bytes()});
    b.rest = p.take<std::byte>(static_cast<index>(b.rest_bytes));
    b.bytes = p.bytes();
    return b;
  }
  std::size_t forward_bytes() const { return (forward_.packed_bytes() + 63) / 64 * 64; }
  /// The windows of pixels [first, first + n) as rows; the map itself where a window is one pixel.
  const R* columns(const tap_map& m, const R* x, index channels, index first, index n, R* out) const {
    if (s_.kernel == 1 && s_.stride == 1) return x + first * channels;
    const index pixels = m.height() * m.width();
    R* to = out;
    for (index r = first; r < first + n; ++r) {
      const R* image = x + r / pixels * m.other_pixels() * channels;
      const index i = r % pixels / m.width(), j = r % pixels % m.width();
      for (index a = 0; a < s_.kernel; ++a)
        for (index b = 0; b < s_.kernel; ++b, to += channels) {
          const index p = m.pixel(i, j, a, b);
          if (p >= 0)
            std::copy_n(image + p * channels, channels, to);
          else
            std::fill_n(to, channels, static_cast<R>(0.0f));
        }
    }
    return out;
  }
  void multiply(worker& who, const tap_map& m, const product<R, Maths>& p, const R* x, index channels, index images,
                const void* packed, const M* bias, R* y, index outputs) const {
    const buffers at = room(pieces(who, worker_bytes()));
    worker library = at.for_product(who);
    const index rows = images * m.height() * m.width();
    for (index r = 0; r < rows; r += tile) {
      const index n = std::min(tile, rows - r);
      const R* from = columns(m, x, channels, r, n, at.columns);
      p.run(library, from, p.k(), n, packed, bias, y + r * outputs, outputs);
    }
  }

  convolution_shape s_;
  product<R, Maths> forward_, backward_;
  outer_product<R, Maths> gradient_;
};

/// Depthwise convolution by loops over channels, which lie in vector lanes.  Packed weights and gradients are
/// [taps, C] in master numbers.
template <class R>
class depthwise_convolution {
  using M = master_t<R>;

 public:
  depthwise_convolution() = default;
  explicit depthwise_convolution(const convolution_shape& s) : s_(s) {}

  std::size_t packed_bytes() const { return static_cast<std::size_t>(s_.weights()) * sizeof(M); }
  std::size_t worker_bytes() const { return static_cast<std::size_t>(s_.in) * sizeof(M) + 128; }
  index gradient_size() const { return s_.weights(); }

  void pack(const M* w, void* packed, worker&, int part) const {
    if (part != 0) return;
    M* to = static_cast<M*>(packed);
    for (index t = 0; t < s_.taps(); ++t)
      for (index c = 0; c < s_.in; ++c) to[t * s_.in + c] = static_cast<M>(static_cast<R>(w[c * s_.taps() + t]));
  }
  void forward(worker& who, const R* x, index images, const void* packed, const M* bias, R* y) const {
    gather(who, {s_, false}, x, images, static_cast<const M*>(packed), bias, y);
  }
  void backward(worker& who, const R* dy, index images, const void* packed, R* dx) const {
    gather(who, {s_, true}, dy, images, static_cast<const M*>(packed), nullptr, dx);
  }
  void weight_gradient(worker&, const R* dy, const R* x, index images, M* g, bool first) const {
    if (first) std::fill_n(g, gradient_size(), M(0));
    const tap_map m{s_, false};
    const index C = s_.in;
    for (index image = 0; image < images; ++image, dy += s_.out_pixels() * C, x += s_.in_pixels() * C)
      for (index i = 0; i < m.height(); ++i)
        for (index j = 0; j < m.width(); ++j) {
          const R* up = dy + (i * m.width() + j) * C;
          for (index a = 0; a < s_.kernel; ++a)
            for (index b = 0; b < s_.kernel; ++b) {
              const index p = m.pixel(i, j, a, b);
              if (p < 0) continue;
              const R* at = x + p * C;
              M* to = g + (a * s_.kernel + b) * C;
              POLYMOE_SIMD
              for (index c = 0; c < C; ++c) to[c] += static_cast<M>(up[c]) * static_cast<M>(at[c]);
            }
        }
  }
  void add_gradient(worker&, const M* g, M* dw) const {
    for (index c = 0; c < s_.in; ++c)
      for (index t = 0; t < s_.taps(); ++t) dw[c * s_.taps() + t] += g[t * s_.in + c];
  }

 private:
  void gather(worker& who, const tap_map& m, const R* x, index images, const M* w, const M* bias, R* y) const {
    const index C = s_.in;
    M* sum = pieces(who, worker_bytes()).template take<M>(C);
    for (index image = 0; image < images; ++image, x += m.other_pixels() * C)
      for (index i = 0; i < m.height(); ++i)
        for (index j = 0; j < m.width(); ++j, y += C) {
          if (bias)
            std::copy_n(bias, C, sum);
          else
            std::fill_n(sum, C, M(0));
          for (index a = 0; a < s_.kernel; ++a)
            for (index b = 0; b < s_.kernel; ++b) {
              const index p = m.pixel(i, j, a, b);
              if (p < 0) continue;
              const R* from = x + p * C;
              const M* by = w + (a * s_.kernel + b) * C;
              POLYMOE_SIMD
              for (index c = 0; c < C; ++c) sum[c] += static_cast<M>(from[c]) * by[c];
            }
          POLYMOE_SIMD
          for (index c = 0; c < C; ++c) store(y[c], sum[c]);
        }
  }

  convolution_shape s_;
};

/// Convolution on the products of `Maths`, for every number type it has products for.
template <class R, class Maths>
class plain_convolution {
  using M = master_t<R>;

 public:
  plain_convolution() = default;
  explicit plain_convolution(const convolution_shape& s) : s_(s) {
    if (s.depthwise)
      channels_ = depthwise_convolution<R>(s);
    else
      columns_ = columns_convolution<R, Maths>(s);
  }
  std::size_t packed_bytes() const { return s_.depthwise ? channels_.packed_bytes() : columns_.packed_bytes(); }
  std::size_t worker_bytes() const { return s_.depthwise ? channels_.worker_bytes() : columns_.worker_bytes(); }
  index gradient_size() const { return s_.weights(); }
  void pack(const M* w, void* packed, worker& who, int part) const {
    s_.depthwise ? channels_.pack(w, packed, who, part) : columns_.pack(w, packed, who, part);
  }
  void forward(worker& who, const R* x, index images, const void* packed, const M* bias, R* y) const {
    s_.depthwise ? channels_.forward(who, x, images, packed, bias, y)
                 : columns_.forward(who, x, images, packed, bias, y);
  }
  void backward(worker& who, const R* dy, index images, const void* packed, R* dx) const {
    s_.depthwise ? channels_.backward(who, dy, images, packed, dx) : columns_.backward(who, dy, images, packed, dx);
  }
  void weight_gradient(worker& who, const R* dy, const R* x, index images, M* g, bool first) const {
    s_.depthwise ? channels_.weight_gradient(who, dy, x, images, g, first)
                 : columns_.weight_gradient(who, dy, x, images, g, first);
  }
  void add_gradient(worker& who, const M* g, M* dw) const {
    s_.depthwise ? channels_.add_gradient(who, g, dw) : columns_.add_gradient(who, g, dw);
  }

 private:
  convolution_shape s_;
  columns_convolution<R, Maths> columns_;
  depthwise_convolution<R> channels_;
};

}  // namespace detail
}  // namespace polymoe::inline v0::maths
