// The block primitives on one thread, against their definitions.
// sanitize: yes
#include <doctest/doctest.h>

#include "block_cases.hpp"

namespace block_test {

TEST_CASE_TEMPLATE("one thread: sums, largest values and the selection of the largest scores", S, float, double) {
  for (const int n : sizes)
    for (int kind = 0; kind < 4; ++kind)
      for (const bool holes : {false, true})
        for (const int count : {0, 1, 2, n / 3, n - 1, n, n + 5}) {
          if (count < 0) continue;
          const auto in = make_input<S>(n, kind, holes);
          std::vector<int> chosen(static_cast<std::size_t>(n + 1), -1);
          int bins[polymoe::phase::select_bins], counters[counters_needed];
          outcome<S> got;
          run_all(polymoe::scalar_block{}, in.score.data(), in.absent.data(), n, count, bins, counters, chosen.data(),
                  &got);
          const auto want = want_chosen(in, count);
          REQUIRE(got.taken == static_cast<int>(want.size()));
          for (std::size_t p = 0; p < want.size(); ++p) REQUIRE(chosen[p] == want[p]);
          CHECK(chosen[want.size()] == -1);
          CHECK((got.each_total == n && got.ranges_total == n && got.taken + got.left == n));
          S sum(0), most = n > 0 ? S(-1e30f) : S(-__builtin_inff());
          for (int i = 0; i < n; ++i)
            if (!in.absent[static_cast<std::size_t>(i)]) {
              sum += in.score[static_cast<std::size_t>(i)];
              most = std::max(most, in.score[static_cast<std::size_t>(i)]);
            }
          CHECK(got.sum == sum);
          CHECK(got.most == most);
        }
}

TEST_CASE("a scan over one thread is the number itself") {
  int total = 0;
  CHECK(polymoe::scalar_block{}.inclusive_scan(7, &total) == 7);
  CHECK(total == 7);
}

TEST_CASE("lines of one thread") {
  int bins[polymoe::phase::select_bins], of[5], short_of[5];
  run_lines(polymoe::scalar_block{}, 5, 40, bins, of, short_of);
  for (int i = 0; i < 5; ++i) CHECK((of[i] == 40 * 39 / 2 && short_of[i] == i));
}

}  // namespace block_test
