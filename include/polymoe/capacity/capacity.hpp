// Capacity policies: how many slots an expert has per group, who gets them, and what happens to the rest.
//
//   unlimited                              dropless: every choice has a place
//   bounded<Overflow, Priority, Rounding>  C = round(factor * n * K / E) or an absolute number, raised to a multiple
//
// A policy has `limited`, `overflow_policy`, `priority_policy` and slots(query); one that has `void validate() const`
// is asked to throw `polymoe::error` for numbers that make no sense, before anything is built from them.
//
// Overflow: drop (a residual carries the unit on), drop_to_zero (the same where no residual exists, asked for by name),
// identity (the unit itself serves as the expert's output), fallback (one more expert takes all overflow), reroute<R>
// (R rounds of next-best experts, then drop).
// Priority: position (V-MoE "vanilla": first choices before second ones, then token order), gate (batch prioritised
// routing: units by their largest score), probability (each expert keeps its largest scores, Megatron "probs"), random
// (as gate with a drawn number in place of the score: DeepSpeed's random token selection).
#pragma once

#include <optional>

#include "../core/error.hpp"
#include "../core/rng.hpp"

namespace polymoe::inline v0 {

namespace overflow {
/// What a policy's `value` can be.
enum class kind { drop, drop_to_zero, identity, fallback, reroute };
/// The choice is gone; the residual around the layer carries the unit on (GShard, V-MoE).
struct drop {
  static constexpr kind value = kind::drop;
  static constexpr int rounds = 0;
  static constexpr const char* name = "drop";
};
/// The same where no residual does: a unit without experts gets zeros.
struct drop_to_zero {
  static constexpr kind value = kind::drop_to_zero;
  static constexpr int rounds = 0;
  static constexpr const char* name = "drop_to_zero";
};
/// The unit itself stands in for the expert's output, weighted by the gate; widths in and out are equal.
struct identity {
  static constexpr kind value = kind::identity;
  static constexpr int rounds = 0;
  static constexpr const char* name = "identity";
};
/// One more expert, id E, takes all overflow: T slots at most.
struct fallback {
  static constexpr kind value = kind::fallback;
  static constexpr int rounds = 0;
  static constexpr const char* name = "fallback";
};
/// At most `Rounds` rounds: every unplaced choice proposes its next-best expert not already chosen; places are given in
/// priority order.
template <int Rounds = 4>
struct reroute {
  static_assert(Rounds >= 1, "polymoe: overflow::reroute<R> makes R rounds, at least one; overflow::drop makes none");
  static constexpr kind value = kind::reroute;
  static constexpr int rounds = Rounds;
  static constexpr const char* name = "reroute";
};
}  // namespace overflow

namespace priority {
/// What a policy's `value` can be.
enum class kind { position, gate, probability, random };
/// First choices of all units before second ones, then in the units' order (V-MoE "vanilla").
struct position {
  static constexpr kind value = kind::position;
  static constexpr const char* name = "position";
};
/// Batch prioritised routing (V-MoE, arXiv 2106.05974): units by their largest score.
struct gate {
  static constexpr kind value = kind::gate;
  static constexpr const char* name = "gate";
};
/// Each expert keeps the choices with its largest scores (Megatron "probs").
struct probability {
  static constexpr kind value = kind::probability;
  static constexpr const char* name = "probability";
};
/// In training units get places in an order drawn anew in every step; in evaluation, which draws nothing, by position.
struct random {
  static constexpr kind value = kind::random;
  static constexpr const char* name = "random";
  /// The number that orders a unit; larger ones first.  Of the noise's stream, which counts noise from 0 and dropout
  /// from 2^63.
  POLYMOE_HD static float key(const random_stream& draw, bool training, index unit) {
    return training ? draw.uniform(static_cast<std::uint64_t>(unit) | std::uint64_t{1} << 62) : 0.0f;
  }
};
}  // namespace priority

/// What a capacity policy is asked.
struct capacity_query {
  index tokens = 0;   ///< routed units in the group
  index experts = 0;  ///< E
  index k = 0;        ///< choices per unit
  bool training = true;
};

namespace capacity {

/// Of factor * n * K / E to whole slots.
enum class rounding { up, nearest };

/// Dropless: as many slots as units, nothing overflows (MegaBlocks, arXiv 2211.15841).
struct unlimited {
  static constexpr bool limited = false;
  static constexpr const char* name = "unlimited";
  using overflow_policy = overflow::drop;
  using priority_policy = priority::position;
  constexpr index slots(const capacity_query& q) const { return q.tokens; }
};

/// C = factor * n * K / E slots of an expert in a group of n units (GShard, arXiv 2006.16668; Switch, arXiv
/// 2101.03961), or an absolute number.
template <class Overflow = overflow::drop, class Priority = priority::position, rounding Round = rounding::up>
struct bounded {
  static constexpr bool limited = true;
  static constexpr const char* name = "bounded";
  using overflow_policy = Overflow;
  using priority_policy = Priority;

  float factor = 1.25f;                             ///< capacity factor in training
  std::optional<float> eval_factor = std::nullopt;  ///< in evaluation; without it the same as in training
  std::optional<index> absolute = std::nullopt;     ///< this many slots, in place of the factors
  std::optional<index> eval_absolute = std::nullopt;  ///< in evaluation; without it the same as in training
  index multiple_of = 1;                            ///< raised to a multiple of this

  static constexpr float max_factor = 1e6f;
  static constexpr index max_multiple = index{1} << 20;

  /// Throws unless factors lie in (0, 1e6], absolute numbers are not negative and `multiple_of` lies in [1, 2^20].
  constexpr void validate() const {
    // Written so that NaN fails.
    if (!(factor > 0 && factor <= max_factor))
      detail::fail("capacity factor ", factor, " is outside (0, ", max_factor, "]");
    if (eval_factor && !(*eval_factor > 0 && *eval_factor <= max_factor))
      detail::fail("capacity factor ", *eval_factor, " in evaluation is outside (0, ", max_factor, "]");
    if (absolute && *absolute < 0) detail::fail("capacity absolute is ", *absolute, " slots, it must not be negative");
    if (eval_absolute && *eval_absolute < 0)
      detail::fail("capacity absolute is ", *eval_absolute, " slots in evaluation, it must not be negative");
    if (multiple_of < 1 || multiple_of > max_multiple)
      detail::fail("capacity multiple_of is ", multiple_of, ", it must lie in [1, ", max_multiple, "]");
  }

  /// C, slots of one expert in one group, never more than the units of the group (rounded up to the multiple).
  constexpr index slots(const capacity_query& q) const {
    validate();
    index c = 0;
    if (const std::optional<index>& number = !q.training && eval_absolute ? eval_absolute : absolute) {
      c = *number;
    } else {
      const double f = q.training ? factor : eval_factor.value_or(factor);
      const double exact =
          f * static_cast<double>(q.tokens) * static_cast<double>(q.k) / static_cast<double>(q.experts);
      // Rounding the factor to float adds at most 6e-8 of it: ceil(0.1f * 10) must not become 2.
      const double wanted = Round == rounding::up ? exact - 6e-8 * exact : exact - 0.5;
      c = static_cast<index>(wanted);
      if (static_cast<double>(c) < wanted) ++c;
    }
    if (c > q.tokens) c = q.tokens;
    if (c < 0) c = 0;
    return round_up(c, multiple_of);
  }
};

}  // namespace capacity
}  // namespace polymoe
