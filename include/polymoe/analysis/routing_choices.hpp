// Which experts served which unit of one layer, over a pass of the data; and what two passes have in common.
//
//   routing_choices now;
//   trainer.evaluate([&](index, index) { now.add(layer.plan(ctx, saved)); });
//   switching_between(before, now).first;   // share of units whose first expert is another
//
// All of it is read from plans: what was served, after capacity, not what was wished for.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "../plan/served.hpp"

namespace polymoe::inline v0::analysis {

class routing_choices {
 public:
  /// Appends the units of a call.
  template <class Plan>
  void add(const Plan& p) {
    require(units() == 0 || (p.experts == experts_ && mixes_experts(p) == mixture_), "routing_choices: a plan of ",
            p.experts, " experts after one of ", experts_);
    experts_ = p.experts, mixture_ = mixes_experts(p), words_ = ceil_div(index{experts_}, 64);
    for (int t = 0; t < p.tokens; ++t) {
      const std::size_t row = set_.size();
      set_.resize(row + static_cast<std::size_t>(words_), 0);
      int best = -1;
      double most = 0;
      each_served(p, t, [&](int e, double weight) {
        set_[row + static_cast<std::size_t>(e) / 64] |= std::uint64_t{1} << (e % 64);
        if (best < 0 || weight > most) best = e, most = weight;
      });
      first_.push_back(best);
    }
  }
  /// What first_experts() and sets() of another one were.
  static routing_choices from(int experts, bool mixture, std::vector<std::int32_t> first,
                              std::vector<std::uint64_t> sets) {
    routing_choices c;
    c.experts_ = experts, c.mixture_ = mixture, c.words_ = ceil_div(index{experts}, 64);
    require(static_cast<index>(sets.size()) == static_cast<index>(first.size()) * c.words_,
            "routing_choices: ", sets.size(), " words of sets for ", first.size(), " units of ", experts, " experts");
    c.first_ = std::move(first), c.set_ = std::move(sets);
    return c;
  }

  index units() const { return static_cast<index>(first_.size()); }
  int experts() const { return experts_; }
  /// Whether every unit meets every expert: sets say nothing then.
  bool mixture() const { return mixture_; }
  /// [units] the expert of the largest weight (of equal ones the choice made first), -1 without an expert.
  const std::vector<std::int32_t>& first_experts() const { return first_; }
  /// [units, ceil(E / 64)] bit e: expert e serves the unit.
  const std::vector<std::uint64_t>& sets() const { return set_; }
  bool serves(index unit, int e) const {
    const auto at = static_cast<std::size_t>(unit * words_) + static_cast<std::size_t>(e) / 64;
    return (set_[at] >> (e % 64) & 1) != 0;
  }
  /// [E, E] units that both experts serve; the diagonal has the units of each.
  std::vector<double> together() const {
    const auto E = static_cast<std::size_t>(experts_);
    std::vector<double> n(E * E, 0.0);
    std::vector<std::size_t> own;
    for (index u = 0; u < units(); ++u) {
      own.clear();
      for (int e = 0; e < experts_; ++e)
        if (serves(u, e)) own.push_back(static_cast<std::size_t>(e));
      for (const std::size_t a : own)
        for (const std::size_t b : own) n[a * E + b] += 1;
    }
    return n;
  }
  /// [E + 1] units that so many experts serve.
  std::vector<index> units_by_experts() const {
    std::vector<index> n(static_cast<std::size_t>(experts_) + 1, 0);
    for (index u = 0; u < units(); ++u) {
      std::size_t count = 0;
      for (int e = 0; e < experts_; ++e) count += serves(u, e);
      ++n[count];
    }
    return n;
  }
  /// Share of units that at least so many experts serve (paper C's code logs 1, 2, 4 and on).
  double share_served_by(int at_least) const {
    require(units() > 0, "routing_choices: there are no units");
    require(at_least >= 0, "routing_choices: a share is asked for at least ", at_least, " experts");
    const std::vector<index> n = units_by_experts();
    index served = 0;
    for (std::size_t count = static_cast<std::size_t>(at_least); count < n.size(); ++count) served += n[count];
    return static_cast<double>(served) / static_cast<double>(units());
  }

 private:
  int experts_ = 0;
  bool mixture_ = false;
  index words_ = 0;
  std::vector<std::int32_t> first_;
  std::vector<std::uint64_t> set_;
};

struct switching {
  double first = 0;  ///< share of units whose first expert is another, or that lost or found one
  double set = 0;    ///< share of units that not the same experts serve; NaN for mixtures
};

/// Between two passes over the same data in the same order.
inline switching switching_between(const routing_choices& before, const routing_choices& now) {
  require(before.units() == now.units() && before.experts() == now.experts(), "switching_between: ", before.units(),
          " units of ", before.experts(), " experts and ", now.units(), " of ", now.experts());
  require(now.units() > 0, "switching_between: there are no units");
  const auto n = static_cast<std::size_t>(now.units()), words = now.sets().size() / n;
  index first = 0, set = 0;
  for (std::size_t u = 0; u < n; ++u) {
    first += before.first_experts()[u] != now.first_experts()[u];
    const auto at = static_cast<std::ptrdiff_t>(u * words);
    set += !std::equal(before.sets().begin() + at, before.sets().begin() + at + static_cast<std::ptrdiff_t>(words),
                       now.sets().begin() + at);
  }
  switching s{static_cast<double>(first) / static_cast<double>(n), static_cast<double>(set) / static_cast<double>(n)};
  if (before.mixture() || now.mixture()) s.set = std::numeric_limits<double>::quiet_NaN();
  return s;
}

}  // namespace polymoe::analysis
