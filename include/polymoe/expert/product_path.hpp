// How the products of experts run on CUDA: the one place where it is decided.
//
//   grouped   our kernel: row counts of experts are read on the device, rows are fetched through the plan
//   batched   cuBLASLt, one product of E equal matrices: every expert has the same number of rows, known on the host
//
// The CPU has one way (tiles of rows) and ignores this.
#pragma once

#include "../core/view.hpp"

namespace polymoe::inline v0 {

enum class product_path { automatic, grouped, batched };

/// A decision and its reason.
struct product_choice {
  product_path path = product_path::grouped;
  const char* reason = "";
};

/// `even`: every expert owns as many slots of a plan as any other: padded plans without a fallback expert, and
/// mixtures. For those the library's kernels (wgmma on Hopper; ours use mma.sync) do the same multiplications as ours
/// would: the empty slots of a padded plan are rows of zeros for either.  So automatic is `batched` there.  What
/// padding wastes is the plan's: E G C rows are computed for T K choices, so a padded plan pays while C is close to T K
/// / (E G); with a capacity factor f that binds rarely, 1 - 1/f of the work is zeros, and a packed plan
/// (layer_config::padded = false) with the grouped kernel computes the rows that exist.
constexpr product_choice choose_products(product_path wanted, bool even) {
  if (!even)
    return wanted == product_path::batched
               ? product_choice{product_path::automatic, "experts own different numbers of slots"}
               : product_choice{product_path::grouped, "experts own different numbers of rows, counted on the device"};
  if (wanted == product_path::grouped) return {product_path::grouped, "asked for"};
  return {product_path::batched, wanted == product_path::batched ? "asked for" : "every expert owns as many rows"};
}

}  // namespace polymoe
