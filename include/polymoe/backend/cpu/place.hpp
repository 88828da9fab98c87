// Giving places: from wishes and scores to positions in expert runs, group by group, on the CPU.
//
// The order of giving is the priority policy; inside one group it is sequential, so positions are stable and the same
// for any number of threads.  Groups are independent and run in parallel.
#pragma once

#include <algorithm>

#include "../../capacity/capacity.hpp"
#include "../../plan/sparse_plan.hpp"
#include "parallel.hpp"

namespace polymoe::inline v0 {

/// A unit or a choice and the score that orders it.
struct priority_key {
  double score;
  int id;
  /// Larger scores first, lower ids first among equals.
  friend bool operator<(const priority_key& a, const priority_key& b) {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
  }
};

/// Working memory of `place`, sized by K * T choices.
struct place_memory {
  int* wish = nullptr;      ///< [T * K] expert wished for, -1 for none
  int* position = nullptr;  ///< [T * K] position in the run
  priority_key* order = nullptr;  ///< [T * K] units or choices sorted by priority
  int* pending = nullptr;   ///< [T * K] choices without a place
  int* proposed = nullptr;  ///< [T * K * rounds] experts proposed in earlier rounds
  random_stream draw{};     ///< for priority::random
  bool training = true;
};

namespace detail {

/// The score of choice c; units without wishes come last.
template <class C>
double score_of(const view<C>& scores, const place_memory& m, int c, int k) {
  return m.wish[c] < 0 ? -1e300 : static_cast<double>(value_of(scores.get(c / k, m.wish[c])));
}

/// Calls f(choice index) for the choices of units [t0, t1) in priority order.
template <class Priority, class C, class F>
void in_priority_order(const sparse_plan<C>& p, const view<C>& scores, const place_memory& m, int t0, int t1, F f) {
  const int k = p.k, n = t1 - t0;
  if constexpr (Priority::value == priority::kind::position) {
    for (int j = 0; j < k; ++j)
      for (int t = t0; t < t1; ++t) f(t * k + j);
  } else if constexpr (Priority::value != priority::kind::probability) {
    priority_key* order = m.order + index{t0} * k;
    for (int i = 0; i < n; ++i) {
      if constexpr (Priority::value == priority::kind::random)
        order[i] = {static_cast<double>(Priority::key(m.draw, m.training, t0 + i)), t0 + i};
      else
        order[i] = {detail::score_of(scores, m, (t0 + i) * k, k), t0 + i};
    }
    std::sort(order, order + n);
    for (int j = 0; j < k; ++j)
      for (int i = 0; i < n; ++i) f(order[i].id * k + j);
  } else {
    priority_key* order = m.order + index{t0} * k;
    for (int i = 0; i < n * k; ++i) order[i] = {detail::score_of(scores, m, t0 * k + i, k), t0 * k + i};
    std::sort(order, order + index{n} * k);
    for (int i = 0; i < n * k; ++i) f(order[i].id);
  }
}

/// Best-scoring expert that unit t neither wished for nor proposed before; -1 when none is left.
template <class C>
int next_best(const sparse_plan<C>& p, const view<C>& scores, const place_memory& m, int t, int rounds) {
  int best = -1;
  for (int e = 0; e < p.experts; ++e) {
    bool tried = false;
    for (int j = 0; j < p.k && !tried; ++j) {
      tried = m.wish[t * p.k + j] == e;
      for (int r = 0; r < rounds && !tried; ++r) tried = m.proposed[(index{t} * p.k + j) * rounds + r] == e;
    }
    if (tried) continue;
    if (best < 0 || scores.get(t, e) > scores.get(t, best)) best = e;
  }
  return best;
}

}  // namespace detail

/// Fills p.count, p.expert_of, p.begin, p.run_begin, p.token, p.slot_of (and fallback_slot) from the wishes.
/// `expert_of` is the expert whose score weighs a choice: the one that serves it, or the wish where the fallback expert
/// or the unit itself does; -1 when dropped.
template <class Capacity, class C, class Stream>
void place(const Stream& stream, sparse_plan<C>& p, const view<C>& scores, const place_memory& m) {
  using Overflow = typename Capacity::overflow_policy;
  using Priority = typename Capacity::priority_policy;
  constexpr auto kind = Overflow::value;
  constexpr int rounds = Overflow::rounds;
  const int k = p.k, G = p.groups;

  parallel_for(stream, G, [&](index g64, worker&) {
    const int g = static_cast<int>(g64), t0 = g * p.group_size, t1 = std::min(p.tokens, t0 + p.group_size);
    for (int e = 0; e < p.all_experts; ++e) p.count[e * G + g] = 0;
    if constexpr (rounds > 0)
      std::fill(m.proposed + index{t0} * k * rounds, m.proposed + index{t1} * k * rounds, -1);
    int* pending = m.pending + index{t0} * k;
    int waiting = 0;
    const auto try_place = [&](int c, int e) {
      int& held = p.count[e * G + g];
      if (Capacity::limited && held >= p.capacity) return false;
      m.position[c] = held++;
      p.expert_of[c] = e;
      return true;
    };
    detail::in_priority_order<Priority>(p, scores, m, t0, t1, [&](int c) {
      p.expert_of[c] = -1, m.position[c] = -1;
      if (m.wish[c] >= 0 && !try_place(c, m.wish[c])) pending[waiting++] = c;
    });
    for (int round = 0; round < rounds && waiting > 0; ++round) {
      for (int i = 0; i < waiting; ++i) {
        const int c = pending[i];
        m.proposed[index{c} * rounds + round] = detail::next_best(p, scores, m, c / k, rounds);
      }
      int left = 0;
      for (int i = 0; i < waiting; ++i) {
        const int c = pending[i], e = m.proposed[index{c} * rounds + round];
        if (e < 0 || !try_place(c, e)) pending[left++] = c;
      }
      waiting = left;
    }
    if constexpr (kind == overflow::kind::fallback) {
      for (int t = t0; t < t1; ++t) p.fallback_slot[t] = -1;
      // In unit order, one place per unit however many of its choices overflowed.
      for (int i = 0; i < waiting; ++i) p.fallback_slot[pending[i] / k] = 0;
      for (int t = t0; t < t1; ++t)
        if (p.fallback_slot[t] == 0) p.fallback_slot[t] = p.count[p.experts * G + g]++;
    }
    if constexpr (kind == overflow::kind::fallback || kind == overflow::kind::identity)
      for (int i = 0; i < waiting; ++i) p.expert_of[pending[i]] = m.wish[pending[i]];
  });

  int running = 0;
  for (int e = 0; e < p.all_experts; ++e) {
    p.begin[e] = running;
    for (int g = 0; g < G; ++g) {
      p.run_begin[e * G + g] = running;
      const int room = e == p.experts ? p.group_size : p.capacity;
      running += p.layout == plan_layout::padded ? room : p.count[e * G + g];
    }
  }
  p.begin[p.all_experts] = running;

  parallel_rows(stream, p.all_experts * G, 16, [&](index first, index n, worker&) {
    if (p.layout != plan_layout::padded) return;
    for (index run = first; run < first + n; ++run) {
      const int end = run + 1 < index{p.all_experts} * G ? p.run_begin[run + 1] : running;
      std::fill(p.token + p.run_begin[run], p.token + end, -1);
    }
  });
  parallel_rows(stream, p.tokens, 1024, [&](index first, index n, worker&) {
    for (int t = static_cast<int>(first); t < first + n; ++t) {
      const int g = t / p.group_size;
      if constexpr (kind == overflow::kind::fallback) {
        if (p.fallback_slot[t] >= 0) {
          p.fallback_slot[t] += p.run_begin[p.experts * G + g];
          p.token[p.fallback_slot[t]] = t;
        }
      }
      bool in_fallback = false;
      for (int j = 0; j < k; ++j) {
        const int c = t * k + j;
        p.slot_of[c] = -1;
        if (m.position[c] >= 0) {
          const int slot = p.run_begin[p.expert_of[c] * G + g] + m.position[c];
          p.slot_of[c] = slot;
          p.token[slot] = t;
        } else if (kind == overflow::kind::fallback && p.expert_of[c] >= 0 && !in_fallback) {
          // The first overflowing choice carries the fallback slot in the inverse, so combine meets it once.
          p.slot_of[c] = p.fallback_slot[t];
          in_fallback = true;
        }
      }
    }
  });
}

}  // namespace polymoe
