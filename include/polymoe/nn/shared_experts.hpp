// Experts that every row meets, beside routed ones (DeepSeekMoE, Dai et al. 2024, eq. 9; DeepSeek-V2 and V3).
//
//   y = routed(x) + shared(x)
//
// The shared part is any dense module: N shared experts of H hidden units are one mlp_block of N H, since their outputs
// are added.  The routed part is a layer, whose own text knows nothing of it.  Together they are two branches.
#pragma once

#include "branches.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = routed(x) + shared(x).  Parameters of `Shared` are named "shared.", those of `Routed` as without it.  Both take
/// and give the same widths and rows.
template <class Shared, class Routed>
class shared_experts : public branches<Routed, named<"shared", Shared>> {
  using both = branches<Routed, named<"shared", Shared>>;

 public:
  struct config {
    typename Shared::config shared;
    typename Routed::config routed;
  };

  explicit shared_experts(config c) : both(typename both::config{std::move(c.routed), std::move(c.shared)}) {}

  config settings() const requires(has_settings<Shared>&& has_settings<Routed>) {
    return {both::side().settings(), both::main().settings()};
  }
  Shared& shared() { return both::side(); }
  Routed& routed() { return both::main(); }

  /// A unit meets all shared parameters; routed_macs are those of the routed experts alone.
  static constexpr cost count(const config& c, index rows) {
    cost all = Shared::count(c.shared, rows);
    all.shared_macs = all.macs;
    return all + Routed::count(c.routed, rows);
  }
};

}  // namespace nn
}  // namespace polymoe
