// upcycle(): a Mixture-of-Experts model that starts as a trained dense one   (Komatsuzaki et al. 2023,
// "Sparse Upcycling").
//
// Every expert gets the weights of the dense MLP in its place, everything else that both models have is copied, and
// what only the sparse model has (routers) keeps its first values.  With top-k choices, weights that sum to 1
// (combine::renormalised) and no drops, the layer then computes what the dense MLP does, whatever the router says; with
// combine::affinity its output is smaller by the sum of the chosen scores.
//
//   upcycle(dense_workspace, sparse_workspace, {.dense = "mlp"});
#pragma once

#include "../core/workspace.hpp"

namespace polymoe::inline v0 {

struct upcycle_options {
  /// Name of the dense module that stands where the sparse model has its layer: with "mlp",
  /// blocks.0.moe.experts.3.fc1.weight comes from blocks.0.mlp.fc1.weight.  A layer that is the whole model has no such
  /// name.
  std::string dense = "mlp";
  double noise = 0;  ///< deviation of normal noise on every copied expert, in units of the tensor's root mean square
  double router_scale = 1;  ///< multiplies the first values of routers
  std::uint64_t seed = 0;   ///< of the noise
};

/// Tensors of the sparse model by where their values come from.
struct upcycle_report {
  index experts = 0;  ///< of experts, from the dense MLPs
  index copied = 0;   ///< of the same name in both
  index fresh = 0;    ///< of the sparse model alone: first values
};

namespace detail {
/// "<prefix>experts.<number>.<leaf>" in its parts; false for every other name.
inline bool split_expert_name(const std::string& name, std::string* prefix, std::string* leaf) {
  static const std::string word = "experts.";
  std::size_t at = name.find(word);
  while (at != std::string::npos && at > 0 && name[at - 1] != '.') at = name.find(word, at + 1);
  if (at == std::string::npos) return false;
  const std::size_t number = at + word.size(), dot = name.find_first_not_of("0123456789", number);
  if (dot == std::string::npos || dot == number || name[dot] != '.') return false;
  *prefix = name.substr(0, at), *leaf = name.substr(dot + 1);
  return true;
}
/// "a.b.moe." -> "a.b.mlp."; the empty prefix stays.
inline std::string with_last_name(const std::string& prefix, const std::string& last) {
  if (prefix.empty()) return prefix;
  const std::size_t dot = prefix.rfind('.', prefix.size() - 2);
  return (dot == std::string::npos ? "" : prefix.substr(0, dot + 1)) + last + ".";
}
inline bool is_router(const std::string& name) {
  return name.rfind("router.", 0) == 0 || name.find(".router.") != std::string::npos;
}
}  // namespace detail

/// Writes the parameters of `to` from those of `from` and packs them again.  Throws when no tensor of an expert has a
/// dense tensor of its size.  Optimiser state is not touched: upcycle before the first step.
template <class Dense, class Sparse>
upcycle_report upcycle(workspace<Dense>& from, workspace<Sparse>& to, const upcycle_options& o = {}) {
  using R = typename workspace<Sparse>::R;
  static_assert(std::is_same_v<R, typename workspace<Dense>::R>, "polymoe: both models need the same number type");
  const std::vector<R> dense = from.values_on_host();
  std::vector<R> values = to.values_on_host();
  const auto find = [&](const std::string& name) -> const param_entry* {
    for (const param_entry& e : from.entries())
      if (e.name == name) return &e;
    return nullptr;
  };
  upcycle_report report;
  for (const param_entry& e : to.entries()) {
    R* out = values.data() + e.offset;
    std::string prefix, leaf;
    const bool expert = detail::split_expert_name(e.name, &prefix, &leaf);
    const std::string source = expert ? detail::with_last_name(prefix, o.dense) + leaf : e.name;
    const param_entry* d = find(source);
    require(d || !expert, "upcycle: '", e.name, "' should come from '", source,
            "', which the dense model does not have");
    if (!d) {
      ++report.fresh;
      if (detail::is_router(e.name))
        for (index i = 0; i < e.size; ++i) out[i] = static_cast<R>(static_cast<double>(out[i]) * o.router_scale);
      continue;
    }
    require(d->dims == e.dims, "upcycle: '", e.name, "' has ", e.size, " numbers in ", e.dims.size(), " dimensions, '",
            source, "' ", d->size, " in ", d->dims.size(), " or another shape");
    std::copy_n(dense.data() + d->offset, e.size, out);
    ++(expert ? report.experts : report.copied);
    if (!expert || o.noise == 0) continue;
    double square = 0;
    for (index i = 0; i < e.size; ++i) square += static_cast<double>(out[i]) * static_cast<double>(out[i]);
    const double deviation = o.noise * std::sqrt(square / static_cast<double>(std::max<index>(e.size, 1)));
    const random_stream draw = random_root{o.seed}.stream(stream_id(e.name), 1);
    for (index i = 0; i < e.size; ++i)
      out[i] = static_cast<R>(static_cast<double>(out[i]) +
                              deviation * static_cast<double>(first_normal(draw, static_cast<std::uint64_t>(i))));
  }
  require(report.experts > 0, "upcycle: none of the ", to.entries().size(), " tensors belongs to an expert");
  to.set_values(values);
  to.refresh();
  return report;
}

}  // namespace polymoe
