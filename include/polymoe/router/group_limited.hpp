// group_limited<K, Groups, Kept, Score>: token choice inside few groups of experts, so that a unit's experts lie on few
// devices   (DeepSeek-V3, "node-limited routing"; Megatron, moe_router_num_groups and moe_router_group_topk).
//
// Experts 0 .. E/Groups - 1 are the first group, and so on.  A group is worth the sum of its two best scores, one where
// it has a single expert; the `Kept` best groups stay, ties to the lower index, and the unit takes the K best experts
// among theirs.  Scores are those with the selection bias where there is one (balance::loss_free_bias), as in
// DeepSeek-V3.
#pragma once

#include "../core/error.hpp"
#include "top_k.hpp"

namespace polymoe::inline v0 {

template <int K, int Groups, int Kept, class Score = score::softmax>
struct group_limited : detail::scored<K, Score> {
  static constexpr const char* name = "group-limited top-k";

  /// E is known when a layer is made.
  static void validate_experts(index experts) {
    require(Groups >= 1 && Kept >= 1 && Kept <= Groups, "group_limited: ", Kept, " of ", Groups, " groups are kept");
    require(experts % Groups == 0, "group_limited: ", experts, " experts are no ", Groups, " equal groups");
    require(K <= experts / Groups * Kept, "group_limited: K = ", K, " experts a unit, ", Kept, " groups of ",
            experts / Groups, " have ", experts / Groups * Kept);
  }

  template <class Row>
  POLYMOE_HD choice<K> select(const Row& scores) const {
    using S = typename Row::scalar;
    const S none(-__builtin_inff());
    const int size = scores.n / Groups > 0 ? scores.n / Groups : 1;
    S worth[Groups];
    for (int g = 0; g < Groups; ++g) worth[g] = two_best(scores, g * size, size);
    bool stays[Groups] = {};
    for (int i = 0; i < Kept; ++i) {
      int best = -1;
      for (int g = 0; g < Groups; ++g)
        if (!stays[g] && (best < 0 || worth[g] > worth[best])) best = g;
      stays[best] = true;
    }
    return largest<K>(scores.map([&](S x, int e) { return e < Groups * size && stays[e / size] ? x : none; }));
  }

 private:
  /// Sum of the two best scores of the experts [first, first + size).
  template <class Row>
  POLYMOE_HD static typename Row::scalar two_best(const Row& scores, int first, int size) {
    using S = typename Row::scalar;
    const S none(-__builtin_inff());
    if constexpr (Row::lanes::width == 1) {
      S best = none, second = none;
      for (int e = first; e < first + size && e < scores.n; ++e) {
        const S x = scores.v[e];
        if (x > best)
          second = best, best = x;
        else if (x > second)
          second = x;
      }
      return size > 1 ? best + second : best;
    } else {
      const Row own = scores.map([=](S x, int e) { return e >= first && e < first + size ? x : none; });
      const S best = own.max();
      if (size == 1) return best;
      const int at = own.index_of(best);
      return best + own.map([=](S x, int e) { return e == at ? none : x; }).max();
    }
  }
};

}  // namespace polymoe
