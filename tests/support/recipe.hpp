// What the recipe of a layer says against what the layer bound: memory, plan layout, describe().  For both backends:
// device memory is only compared with null.
#pragma once

#include <sstream>
#include <string>

#include <polymoe/polymoe.hpp>

namespace recipe_test {

/// The first thing a recipe says that is not so of a layer that is bound for at least one unit; empty when there is
/// none.
template <class Workspace>
std::string recipe_lie(Workspace& w) {
  using Layer = std::remove_cvref_t<decltype(w.module())>;
  constexpr polymoe::recipe of_layer = Layer::recipe;
  const bool padded = w.module().settings().padded;
  const polymoe::recipe said = of_layer.in_layout(padded);
  const auto& routing = w.saved().routing;
  const auto& apply = w.saved().apply;
  const std::string text = w.module().describe();
  std::ostringstream lie;
  const auto is = [&](const char* what, auto says, auto has) {
    if (lie.tellp() == 0 && says != has)
      lie << what << ": the recipe says " << static_cast<int>(says) << ", the layer has " << static_cast<int>(has);
  };
  const auto prints = [&](const char* part) { return text.find(part) != std::string::npos; };
  is("outputs kept", said.keeps_output, apply.out.ptr[0] != nullptr);
  if (apply.gathered.rows > 0) is("rows kept", said.keeps_input, apply.gathered.ptr[0] != nullptr);
  is("balance terms", said.balance_terms + 1, static_cast<int>(routing.values.cols));
  if constexpr (of_layer.mixes()) {
    is("a slot plan's rows", true, apply.gathered.rows > 0);
    is("text of slots", true, prints("plan of slots"));
    is("a layout", false, requires { routing.plan.layout; });
    is("combine by matrix", true, said.combine == polymoe::combine_path::matrix);
  } else {
    const auto& p = routing.plan;
    is("layout", said.layout(), p.layout);
    is("lists of slots", said.combine == polymoe::combine_path::gather_list, p.slots_begin != nullptr);
    is("a stride", said.combine == polymoe::combine_path::gather_fixed_stride, p.k > 0);
    is("no ids of units", said.dispatch == polymoe::dispatch_path::no_copy, p.token == nullptr);
    is("fallback expert", said.fallback, p.fallback_slot != nullptr);
    is("experts", said.fallback, p.all_experts > p.experts);
    is("units in their own output", said.skip, p.skip.ptr[0] != nullptr);
    is("noisy logits", said.noisy, routing.noisy.ptr[0] != nullptr);
    is("second matrix", said.router_matrices > 1, routing.raw.ptr[0] != nullptr);
    is("group plan", said.group_plan, routing.affinity.ptr[0] != nullptr);
    // Padded plans have batched products where the backend has those, which read a copy.
    if (said.dispatch == polymoe::dispatch_path::gather_packed)
      is("copied rows", said.copies_rows, apply.gathered.rows > 0);
    is("text of the layout", true,
       prints(p.layout == polymoe::plan_layout::packed   ? "; plan packed, "
              : p.layout == polymoe::plan_layout::padded ? "; plan padded [E, G*C], "
                                                         : "; plan identity (no copy), "));
    is("text of the combine", p.slots_begin != nullptr, prints("combine by gather from lists"));
  }
  is("text of the outputs", !said.keeps_output, prints(" without outputs"));
  return lie.str();
}

}  // namespace recipe_test
