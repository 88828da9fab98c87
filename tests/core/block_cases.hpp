// What a block context must do, as one function for all of them, and the inputs it is run on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include <polymoe/core/block.hpp>
#include <polymoe/core/rng.hpp>
#include <polymoe/router/order_key.hpp>

namespace block_test {

using polymoe::index;

/// Results of one run over n scores, `count` of which are selected.
template <class S>
struct outcome {
  S sum, most;
  int each_total, ranges_total, taken, left;
};
/// Counters that run_all asks for.
inline constexpr int counters_needed = 3;

/// Runs every primitive; chosen[p] is the index at position p.  Called by all threads of a block.
template <class Block, class S>
POLYMOE_HD void run_all(const Block& b, const S* score, const unsigned char* absent, int n, int count, int* bins,
                        int* counters, int* chosen, outcome<S>* out) {
  namespace phase = polymoe::phase;
  phase::each(b, counters_needed, [&](index i) { counters[i] = 0; });
  phase::each(b, n, [&](index) { b.count(&counters[0]); });
  phase::ranges(b, n, [&](index first, index length) {
    for (index i = first; i < first + length; ++i) b.count(&counters[1]);
  });
  const S sum = phase::sum<S>(b, n, [&](index i) { return absent[i] ? S(0) : score[i]; });
  const S most = phase::max<S>(b, n, [&](index i) { return absent[i] ? S(-1e30f) : score[i]; });
  using U = decltype(polymoe::descending_key(S(0)));
  const int taken = phase::select_first(
      b, n, count, bins, [&](int i) { return absent[i] ? ~U(0) : polymoe::descending_key(score[i]); },
      [&](int i, int position) { chosen[position] = i; }, [&](int) { b.count(&counters[2]); });
  if (b.rank() == 0) *out = {sum, most, counters[0], counters[1], taken, counters[2]};
  b.sync();
}

/// Lines of `length` numbers, long and short ones: of[line] becomes the sum of its elements' indices (a selection of
/// all of them is made beside), short_of[line] the line, if its whole team saw it.
template <class Block>
POLYMOE_HD void run_lines(const Block& b, int lines, int length, int* bins, int* of, int* short_of) {
  namespace phase = polymoe::phase;
  phase::lines(b, lines, length, bins, [&](const auto& team, int* own_bins, index line) {
    int sum = 0;
    const int taken = phase::select_first(
        team, length, length, own_bins, [&](int i) { return static_cast<unsigned>((i * 37 + line) % 251); },
        [&](int i, int) { sum += i; });
    sum = team.sum(sum);
    if (team.rank() == 0) of[line] = taken == length ? sum : -1;
  });
  phase::short_lines(b, lines, [&](const auto& team, index line) {
    const int threads = team.sum(1);
    if (team.rank() == 0) short_of[line] = threads == team.width() ? static_cast<int>(line) : -1;
  });
}

template <class S>
struct input {
  std::vector<S> score;
  std::vector<unsigned char> absent;
};
/// Kind 0: random; 1: few different values; 2: all equal; 3: signed zeros, denormals and huge numbers.
template <class S>
input<S> make_input(int n, int kind, bool holes) {
  input<S> in;
  const auto draw = polymoe::random_root{5}.stream(static_cast<std::uint64_t>(n * 8 + kind), 0);
  const S odd[] = {S(0), S(-0.0), S(1e-40), S(-1e-40), S(3e30), S(-3e30), S(1), S(-1)};
  for (int i = 0; i < n; ++i) {
    const double u = draw.uniform(static_cast<std::uint64_t>(i));
    in.score.push_back(kind == 0   ? S(u - 0.5)
                       : kind == 1 ? S(static_cast<int>(u * 5)) / S(4)
                       : kind == 2 ? S(0.25)
                                   : odd[static_cast<int>(u * 8)]);
    in.absent.push_back(holes && static_cast<int>(u * 1000) % 3 == 0);
  }
  return in;
}
/// The definition: sort by value, ties to the lower index, keep `count`, list them by index.
template <class S>
std::vector<int> want_chosen(const input<S>& in, int count) {
  std::vector<int> order;
  for (int i = 0; i < static_cast<int>(in.score.size()); ++i)
    if (!in.absent[static_cast<std::size_t>(i)]) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return in.score[static_cast<std::size_t>(a)] > in.score[static_cast<std::size_t>(b)];
  });
  if (static_cast<int>(order.size()) > count) order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

inline const std::vector<int> sizes = {0, 1, 2, 31, 33, 64, 65, 130, 257, 1000};

}  // namespace block_test
