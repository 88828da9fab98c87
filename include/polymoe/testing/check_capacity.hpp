// check_capacity<Capacity>(): every promise a capacity policy makes to the library.
//
//   range      slots lie in [0, tokens], or in [0, tokens rounded up] for policies that raise to a multiple
//   order      more tokens in a group never mean fewer slots of an expert
//   sizes      the same up to 2^30 tokens, 1024 experts and 16 choices: nothing wraps
//   purity     equal questions get equal answers, in training and in evaluation
//   validate   where a policy has it, it accepts these run-time values
//   overflow   rounds agree with the kind (only reroute has them), and an unlimited policy has a place for every token
#pragma once

#include "../capacity/capacity.hpp"
#include "report.hpp"

namespace polymoe::inline v0::testing {

struct capacity_options {
  /// Slots may exceed the tokens up to this multiple; without it the policy's own multiple_of where it has one, else 1.
  std::optional<index> multiple = std::nullopt;
};

namespace detail {

template <class Capacity>
class capacity_check {
 public:
  capacity_check(const Capacity& c, const capacity_options& o) : capacity_(c) {
    if (o.multiple)
      multiple_ = *o.multiple;
    else if constexpr (requires {
                         { c.multiple_of } -> std::convertible_to<index>;
                       })
      multiple_ = c.multiple_of;
    require(!o.multiple || multiple_ >= 1, "check_capacity: the multiple is ", multiple_, ", it must be at least 1");
  }

  report run() {
    if constexpr (requires { capacity_.validate(); }) {
      try {
        capacity_.validate();
      } catch (const error& e) {
        book_.expect(false, "validate accepts the values of the policy", e.what());
        return book_.result();
      }
    }
    std::vector<index> tokens;
    for (index t = 0; t <= 70; ++t) tokens.push_back(t);
    for (index t = 127; t <= 1030; t += 43) tokens.push_back(t);
    for (int b = 11; b <= 30; ++b)
      for (const index d : {-1, 0, 1}) tokens.push_back((index{1} << b) + d);
    for (const index experts : {1, 2, 3, 8, 10, 33, 64, 1000, 1024})
      for (const index k : {1, 2, 3, 6, 16}) {
        if (k > experts) continue;
        for (const bool training : {true, false}) {
          index last = -1, last_tokens = 0;
          for (const index t : tokens) {
            ask({t, experts, k, training}, last, last_tokens);
            last_tokens = t;
          }
        }
      }
    check_overflow();
    return book_.result();
  }

 private:
  void ask(const capacity_query& q, index& last, index last_tokens) {
    const index c = capacity_.slots(q), most = round_up(q.tokens, multiple_);
    const auto at = [&] {
      return "tokens " + std::to_string(q.tokens) + ", experts " + std::to_string(q.experts) + ", k " +
             std::to_string(q.k) + (q.training ? ", training" : ", evaluation");
    };
    if (c < 0) book_.expect(false, "slots are not negative", at(), ": ", c);
    if (c > most)
      book_.expect(false, "slots do not exceed the tokens of the group, rounded up to the multiple", at(), ": ", c,
                   " slots, at most ", most);
    if (c < last)
      book_.expect(false, "slots do not fall when tokens are added", at(), ": ", c, " slots, ", last, " with ",
                   last_tokens, " tokens");
    if (capacity_.slots(q) != c) book_.expect(false, "equal questions get equal answers", at());
    if (!Capacity::limited && c < q.tokens)
      book_.expect(false, "an unlimited policy has a slot for every token", at(), ": ", c);
    last = c;
  }
  void check_overflow() {
    constexpr auto kind = Capacity::overflow_policy::value;
    constexpr int rounds = Capacity::overflow_policy::rounds;
    book_.expect(kind == overflow::kind::reroute ? rounds >= 1 : rounds == 0,
                 "overflow rounds are positive for reroute and 0 for every other kind", "rounds = ", rounds);
    book_.expect(rounds <= 64, "overflow rounds stay below 65 (memory grows with them)", "rounds = ", rounds);
  }

  const Capacity& capacity_;
  index multiple_ = 1;
  ledger book_{"check_capacity"};
};

}  // namespace detail

/// Checks `capacity` as it is, with its run-time values.
template <class Capacity>
report check_capacity(const Capacity& capacity = {}, const capacity_options& options = {}) {
  return detail::capacity_check<Capacity>(capacity, options).run();
}

}  // namespace polymoe::testing
