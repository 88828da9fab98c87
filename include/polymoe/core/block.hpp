// block: the threads that share the column phases of one group, and what they compute together.
//
// Routers that look at a whole group (experts that pick units, transport plans, slot softmax) are phases between
// barriers.  A phase is written once, over a block context:
//   scalar_block                          one thread: the CPU backend and the readable reference
//   device::warp_lanes, block_lanes       the threads of a warp, of a CUDA block (backend/cuda/block_lanes.cuh)
//   device::grid_lanes                    the threads of several blocks, for a group too large for one
// A context has rank(), width(), sync(), sum(x), max(x), inclusive_scan(x, &total) and count(&counter): sums and
// largest values over its threads, the same bits on every thread and in every run.  All threads of a block call them
// together.  lines() and short_lines() deal work to teams of threads, which are contexts themselves.
//
// The bits of a floating sum depend on the width of its context.  How many blocks share a group must not show in any
// result, so phases of a group add floating numbers in one thread, or in a team, whose width depends on sizes only;
// sums over the whole context are of whole numbers.
#pragma once

#include "dtype.hpp"

namespace polymoe::inline v0 {

struct scalar_block {
  POLYMOE_HD constexpr int rank() const { return 0; }
  POLYMOE_HD constexpr int width() const { return 1; }
  /// Waits for all threads; what they wrote before is seen after.
  POLYMOE_HD void sync() const {}
  template <class S>
  POLYMOE_HD S sum(S x) const {
    return x;
  }
  template <class S>
  POLYMOE_HD S max(S x) const {
    return x;
  }
  /// Sum of x over the threads up to and including this one; `total` becomes the sum over all.
  POLYMOE_HD int inclusive_scan(int x, int* total) const {
    *total = x;
    return x;
  }
  /// Adds 1 to a counter that the threads share.
  POLYMOE_HD void count(int* counter) const { ++*counter; }
  /// f(team, bins of the team, line) for every line in [0, n); `length` elements in a line.
  template <class F>
  POLYMOE_HD void lines(index n, index /*length*/, int* bins, F f) const {
    for (index i = 0; i < n; ++i) f(*this, bins, i);
  }
  /// f(team, line), where a line is work for a few threads.
  template <class F>
  POLYMOE_HD void short_lines(index n, F f) const {
    for (index i = 0; i < n; ++i) f(*this, i);
  }
};

namespace phase {

/// f(i) for every i in [0, n), dealt out to the threads; then a barrier.
template <class Block, class F>
POLYMOE_HD void each(const Block& b, index n, F f) {
  for (index i = b.rank(); i < n; i += b.width()) f(i);
  b.sync();
}
/// f(first, count) for ranges that cover [0, n): one long range for one thread, so that its inner loops run along
/// memory; single elements side by side for many.  Then a barrier.
template <class Block, class F>
POLYMOE_HD void ranges(const Block& b, index n, F f) {
  if (b.width() == 1) {
    if (n > 0) f(index{0}, n);
  } else {
    for (index i = b.rank(); i < n; i += b.width()) f(i, index{1});
  }
  b.sync();
}
/// f(team, bins, line) for every line in [0, n), by the team of threads that a line of `length` elements is worth; then
/// a barrier of all.  Teams work on their lines side by side: f meets barriers of its team only.
template <class Block, class F>
POLYMOE_HD void lines(const Block& b, index n, index length, int* bins, F f) {
  b.lines(n, length, bins, f);
  b.sync();
}
/// f(team, line) likewise, by the smallest teams.
template <class Block, class F>
POLYMOE_HD void short_lines(const Block& b, index n, F f) {
  b.short_lines(n, f);
  b.sync();
}
/// Sum of f(i) over i in [0, n): each thread adds its elements in order, then the threads' sums in a fixed order.
template <class S, class Block, class F>
POLYMOE_HD S sum(const Block& b, index n, F f) {
  S s(0);
  for (index i = b.rank(); i < n; i += b.width()) s += f(i);
  return b.sum(s);
}
/// Largest f(i), -infinity when there is none.
template <class S, class Block, class F>
POLYMOE_HD S max(const Block& b, index n, F f) {
  S m(-__builtin_inff());
  for (index i = b.rank(); i < n; i += b.width()) {
    const S x = f(i);
    if (x > m) m = x;
  }
  return b.max(m);
}

/// Counters that select_first needs, shared by the threads of a block.
inline constexpr int select_bins = 256;

namespace detail {
/// The digit at which `left` keys are found, when bins[d] keys have digit d; `left` becomes how many of its keys those
/// are, `all` whether they are all of them.  Leaves the bins in disorder.
template <class Block>
POLYMOE_HD int digit_of_rank(const Block& b, int* bins, int* left, bool* all) {
  int digit = 0;
  if (b.width() == 1) {
    while (bins[digit] < *left) *left -= bins[digit++];
    *all = bins[digit] == *left;
    return digit;
  }
  int found = -1, rest = 0, before = 0;
  bool whole = false;
  for (int start = 0; start < select_bins; start += b.width()) {
    const int d = start + b.rank(), held = d < select_bins ? bins[d] : 0;
    int total = 0;
    const int here = before + b.inclusive_scan(held, &total);
    if (here - held < *left && *left <= here) found = d, rest = *left - (here - held), whole = held == rest;
    before += total;
  }
  b.sync();
  if (found >= 0) bins[0] = found, bins[1] = rest, bins[2] = whole;
  b.sync();
  digit = bins[0], *left = bins[1], *all = bins[2] != 0;
  return digit;
}
struct ignored {
  POLYMOE_HD void operator()(int) const {}
};
}  // namespace detail

/// The `count` smallest keys of n, equal keys by rising index: emit(index, position) for each, positions 0, 1, .. by
/// rising index, and leave(index) for each that is not among them.  Returns how many there were: keys of all ones stand
/// for nothing and are never taken.  Keys are unsigned; order_key.hpp makes them of scores, larger scores first.  A
/// radix select, 8 bits a round, then one pass: the same result for any number of threads.
template <class Block, class Key, class Emit, class Leave = detail::ignored>
POLYMOE_HD int select_first(const Block& b, int n, int count, int* bins, Key key, Emit emit, Leave leave = {}) {
  using U = decltype(key(0));
  const U nothing = ~U(0);
  int present = 0;
  for (int i = b.rank(); i < n; i += b.width()) present += key(i) != nothing;
  present = b.sum(present);
  const int taken = count < present ? count : present;
  if (taken <= 0) {
    each(b, n, [&](index i) { leave(static_cast<int>(i)); });
    return 0;
  }

  // The key of rank `taken`, digit by digit from the top; `left` keys with the digits found so far are still to be
  // taken.
  U prefix = 0, mask = 0;
  int left = taken;
  for (int shift = static_cast<int>(sizeof(U)) * 8 - 8; shift >= 0; shift -= 8) {
    each(b, select_bins, [&](index d) { bins[d] = 0; });
    for (int i = b.rank(); i < n; i += b.width())
      if (const U k = key(i); (k & mask) == prefix) b.count(&bins[static_cast<int>((k >> shift) & U(255))]);
    b.sync();
    bool all = false;
    const int digit = detail::digit_of_rank(b, bins, &left, &all);
    b.sync();
    prefix |= static_cast<U>(digit) << shift, mask |= U(255) << shift;
    if (all) break;
  }

  // Keys below the prefix are taken, and the first `left` of those that equal it.
  int below = 0, equal = 0;
  for (int start = 0; start < n; start += b.width()) {
    const int i = start + b.rank();
    const U k = i < n ? key(i) & mask : nothing;
    const bool less = i < n && k < prefix, same = i < n && k == prefix;
    int total = 0;
    const int seen = b.inclusive_scan((less ? 1 : 0) + (same ? 1 << 16 : 0), &total);
    const int less_here = below + (seen & 0xffff), same_here = equal + (seen >> 16);
    if (less || (same && same_here <= left))
      emit(i, less_here + (same_here < left ? same_here : left) - 1);
    else if (i < n)
      leave(i);
    below += total & 0xffff, equal += total >> 16;
  }
  b.sync();
  return taken;
}

}  // namespace phase
}  // namespace polymoe
