// Images at another size: the shorter side to a given length, then the middle cut out; what ImageNet recipes do.
#pragma once

#include <algorithm>
#include <cmath>

#include "decode_image.hpp"

namespace polymoe::inline v0 {

namespace detail {

/// Weights of a triangle filter that is as wide as one output pixel when it shrinks (no aliasing), and interpolates
/// linearly when it grows.  Output pixel i is the sum over k of weight[i][k] * input[first[i] + k].
struct resize_line {
  std::vector<index> first;
  std::vector<std::vector<float>> weight;
  resize_line(index from, index to) {
    const double scale = static_cast<double>(from) / static_cast<double>(to), reach = std::max(scale, 1.0);
    for (index i = 0; i < to; ++i) {
      const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
      const index low = std::max<index>(0, static_cast<index>(std::ceil(centre - reach))),
                  high = std::min(from - 1, static_cast<index>(std::floor(centre + reach)));
      std::vector<double> w;
      double sum = 0;
      for (index k = low; k <= high; ++k)
        sum += w.emplace_back(std::max(0.0, 1 - std::abs(static_cast<double>(k) - centre) / reach));
      first.push_back(low);
      weight.emplace_back();
      for (const double x : w) weight.back().push_back(static_cast<float>(x / sum));
    }
  }
};

}  // namespace detail

/// `in` at height x width, by a triangle filter, first along rows, then along columns.
inline decoded_image resize(const decoded_image& in, index height, index width) {
  require(in.height > 0 && in.width > 0 && height > 0 && width > 0 && height * width <= detail::most_pixels,
          "resize: from ", in.height, "x", in.width, " to ", height, "x", width);
  if (in.height == height && in.width == width) return in;
  const detail::resize_line across(in.width, width), down(in.height, height);
  const index c = in.channels;
  std::vector<float> half(static_cast<std::size_t>(in.height * width * c));
  for (index y = 0; y < in.height; ++y)
    for (index x = 0; x < width; ++x) {
      const auto& w = across.weight[static_cast<std::size_t>(x)];
      const std::uint8_t* from = in.pixels.data() + (y * in.width + across.first[static_cast<std::size_t>(x)]) * c;
      for (index k = 0; k < c; ++k) {
        float s = 0;
        for (std::size_t i = 0; i < w.size(); ++i) s += w[i] * static_cast<float>(from[static_cast<index>(i) * c + k]);
        half[static_cast<std::size_t>((y * width + x) * c + k)] = s;
      }
    }
  decoded_image out{height, width, in.channels, {}};
  out.pixels.resize(static_cast<std::size_t>(height * width * c));
  for (index y = 0; y < height; ++y) {
    const auto& w = down.weight[static_cast<std::size_t>(y)];
    const float* from = half.data() + down.first[static_cast<std::size_t>(y)] * width * c;
    for (index i = 0; i < width * c; ++i) {
      float s = 0;
      for (std::size_t k = 0; k < w.size(); ++k) s += w[k] * from[static_cast<index>(k) * width * c + i];
      out.pixels[static_cast<std::size_t>(y * width * c + i)] =
          static_cast<std::uint8_t>(std::clamp(s + 0.5f, 0.0f, 255.0f));
    }
  }
  return out;
}

/// The shorter side becomes `side` (0: the image keeps its size), then the middle height x width is cut out.  Throws
/// when the image is smaller than that.
inline decoded_image resize_and_crop(decoded_image in, index side, index height, index width) {
  const index shorter = std::min(in.height, in.width);
  const auto scaled = [&](index n) { return std::max<index>(1, (n * side + shorter / 2) / shorter); };
  decoded_image at = side > 0 ? resize(in, scaled(in.height), scaled(in.width)) : std::move(in);
  require(at.height >= height && at.width >= width, "resize_and_crop: the image is ", at.height, "x", at.width,
          ", the cut ", height, "x", width);
  if (at.height == height && at.width == width) return at;
  decoded_image out{height, width, in.channels, {}};
  const index top = (at.height - height) / 2, left = (at.width - width) / 2, row = width * in.channels;
  for (index y = 0; y < height; ++y) {
    const std::uint8_t* from = at.pixels.data() + ((top + y) * at.width + left) * in.channels;
    out.pixels.insert(out.pixels.end(), from, from + row);
  }
  return out;
}

}  // namespace polymoe
