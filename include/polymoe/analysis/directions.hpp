// Directions in the space of a model's parameters.
//
// Vectors are dense: the chosen tensors one after the other, without the padding between them.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "../core/param.hpp"

namespace polymoe::inline v0::analysis {

/// Numbers of a vector over these tensors.
inline index numbers_of(const std::vector<param_entry>& tensors) {
  index n = 0;
  for (const param_entry& e : tensors) n += e.size;
  return n;
}

/// v with every filter (row of a tensor of two or more dimensions) scaled to the length of the parameters' filter, and
/// 0 for biases and norms (Li et al. 2018, "Visualizing the loss landscape of neural nets", section 4).  `values`: the
/// flat buffer that the tensors' offsets are in.
template <class R>
std::vector<R> filter_normalised(std::vector<R> v, const R* values, const std::vector<param_entry>& tensors) {
  index at = 0;
  for (const param_entry& e : tensors) {
    const index filters = e.dims.size() > 1 ? e.dims[0] : 0, length = filters ? e.size / filters : e.size;
    for (index f = 0; f < std::max<index>(filters, 1); ++f) {
      R* d = v.data() + at + f * length;
      const R* p = values + e.offset + f * length;
      double own = 0, want = 0;
      for (index i = 0; i < length; ++i) own += double(d[i]) * double(d[i]), want += double(p[i]) * double(p[i]);
      const double by = filters && own > 0 ? std::sqrt(want / own) : 0;
      for (index i = 0; i < length; ++i) d[i] = static_cast<R>(double(d[i]) * by);
    }
    at += e.size;
  }
  return v;
}

/// to = from + a u (+ b v unless it is empty), for the chosen tensors of two flat buffers.
template <class R>
void step_along(R* to, const R* from, const std::vector<param_entry>& tensors, double a, std::span<const R> u, double b,
                std::span<const R> v) {
  std::size_t at = 0;
  for (const param_entry& e : tensors)
    for (index i = e.offset; i < e.offset + e.size; ++i, ++at) {
      double x = static_cast<double>(from[i]) + a * static_cast<double>(u[at]);
      if (!v.empty()) x += b * static_cast<double>(v[at]);
      to[i] = static_cast<R>(x);
    }
}

}  // namespace polymoe::analysis
