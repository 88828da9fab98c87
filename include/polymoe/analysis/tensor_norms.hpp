// How large each tensor of a model is, or its gradient: which expert learns nothing, which layer explodes.
#pragma once

#include <cmath>

#include "../backend/cpu/parallel.hpp"
#include "../core/workspace.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// For each entry the sum of the squares of values[offset .. offset + size), in double and in one order.  Waits for the
/// backend; that of CUDA is in backend/cuda/dispatch/segments.cuh.
template <class Maths, class M>
std::vector<double> segment_squares(const context<cpu_with<Maths>>& c, const M* values,
                                    const std::vector<param_entry>& entries) {
  std::vector<double> sums(entries.size());
  parallel_for(c.stream, static_cast<index>(entries.size()), [&](index i, worker&) {
    const param_entry& e = entries[static_cast<std::size_t>(i)];
    double sum = 0;
    for (index k = e.offset; k < e.offset + e.size; ++k) sum += double(values[k]) * double(values[k]);
    sums[static_cast<std::size_t>(i)] = sum;
  });
  return sums;
}

}  // namespace backend

namespace analysis {

struct tensor_norm {
  std::string name;
  index size = 0;   ///< numbers in the tensor
  double norm = 0;  ///< L2; not finite if one of them is not
};

namespace detail {
template <class Work, class M>
std::vector<tensor_norm> norms_of(Work& w, const M* values) {
  using Context = std::remove_reference_t<decltype(w.ctx())>;
  constexpr bool sums = requires(const Context& c) { segment_squares(c, values, w.entries()); };
  static_assert(sums, "polymoe: norms of tensors on CUDA are sums of segments; include "
                      "<polymoe/backend/cuda/dispatch/segments.cuh> before they are asked for (it includes CUB, ten seconds "
                      "of compile time)");
  const std::vector<double> squares = segment_squares(w.ctx(), values, w.entries());
  std::vector<tensor_norm> r;
  for (std::size_t i = 0; i < squares.size(); ++i)
    r.push_back({w.entries()[i].name, w.entries()[i].size, std::sqrt(squares[i])});
  return r;
}
}  // namespace detail

/// The L2 norm of every parameter's gradient, in the order of `w.entries()`.  Of the values, not of their tangents.
template <class Module>
std::vector<tensor_norm> gradient_norms(workspace<Module>& w) {
  return detail::norms_of(w, w.grads().ptr[0]);
}
/// The L2 norm of every parameter.
template <class Module>
std::vector<tensor_norm> parameter_norms(workspace<Module>& w) {
  return detail::norms_of(w, w.values().ptr[0]);
}

}  // namespace analysis
}  // namespace polymoe
