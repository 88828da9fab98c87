// How large each tensor of a model is, or its gradient: which expert learns nothing, which layer explodes.
#pragma once

#include <cmath>
#include <map>

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
  static_assert(sums,
                "polymoe: norms of tensors on CUDA are sums of segments; include "
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

/// All tensors of one expert together.
struct expert_norm {
  std::string experts;  ///< whose expert: "blocks.1.moe.experts"
  index expert = 0;
  double norm = 0;
};
/// The experts among `all`, by the names of their tensors ("<experts>.<number>.<tensor>"), in the order of their layers
/// and numbers as they come; tensors of no expert are left out.
inline std::vector<expert_norm> norms_of_experts(const std::vector<tensor_norm>& all) {
  constexpr std::string_view word = "experts.";
  std::vector<expert_norm> r;
  std::map<std::string, std::size_t> place;  // of "<experts>.<number>" in r
  for (const tensor_norm& t : all) {
    const std::size_t at = t.name.find(word);
    if (at == t.name.npos || (at > 0 && t.name[at - 1] != '.')) continue;
    const std::size_t number = at + word.size(), end = t.name.find_first_not_of("0123456789", number);
    if (end == number || end == t.name.npos || t.name[end] != '.') continue;
    const auto [found, first] = place.emplace(t.name.substr(0, end), r.size());
    if (first) r.push_back({t.name.substr(0, number - 1), std::stoll(t.name.substr(number, end - number)), 0});
    expert_norm& e = r[found->second];
    e.norm = std::hypot(e.norm, t.norm);
  }
  return r;
}

}  // namespace analysis
}  // namespace polymoe
