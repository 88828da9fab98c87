// The block primitives on the threads of a CUDA block, run by the host executor: the same selection as on one thread.
#include "host_executor.hpp"

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/grid_lanes.cuh>

#include "core/block_cases.hpp"

namespace block_test {
namespace {

namespace device = polymoe::device;

template <class S>
POLYMOE_KERNEL void block_kernel(const S* score, const unsigned char* absent, int n, int count, int* chosen,
                                 outcome<S>* out, int* scans) {
  auto* bytes = device::shared<unsigned char>();
  const device::block_lanes b{reinterpret_cast<double*>(bytes)};
  auto* bins = reinterpret_cast<int*>(bytes + device::block_lanes::bytes);
  int* const counters = bins + polymoe::phase::select_bins;
  if (b.width() == 32) run_all(device::warp_lanes{}, score, absent, n, count, bins, counters, chosen, out);
  else run_all(b, score, absent, n, count, bins, counters, chosen, out);
  int total = 0;
  const int seen = b.inclusive_scan(b.rank() + 1, &total);
  scans[b.rank()] = seen;
  if (b.rank() == 0) scans[b.width()] = total;
}

struct of_grid {
  int sum, most, last, seen;
};
template <class Int>
POLYMOE_KERNEL void grid_kernel(unsigned* words, double* exchange, Int n, int lines, int length, int* counter, int* of,
                                int* short_of, of_grid* out) {
  auto* bytes = device::shared<unsigned char>();
  device::grid_lanes b{device::block_lanes{reinterpret_cast<double*>(bytes)}};
  b.block = device::block_index().x, b.blocks = device::grid_size().x, b.words = words, b.exchange = exchange;
  int mine = 0;
  polymoe::phase::each(b, n, [&](index i) { mine += static_cast<int>(i), b.count(counter); });
  const int sum = b.sum(mine);
  const int most = static_cast<int>(b.max(static_cast<double>(1000 - b.rank() % 7)));
  int total = 0;
  const int seen = b.inclusive_scan(b.rank() + 1, &total);
  run_lines(b, lines, length, reinterpret_cast<int*>(bytes + device::block_lanes::bytes), of, short_of);
  if (b.rank() == b.width() - 1) *out = {sum, most, seen, total};
}

}  // namespace

TEST_CASE("several blocks as one context: whole sums, largest values, scans, lines dealt to warps and blocks") {
  constexpr int threads = 64;
  for (const int blocks : {1, 2, 5})
    for (const int length : {40, 1030}) {  // a warp's, a block's
      const int n = 333, lines = 7;
      unsigned words[2] = {0, 0};
      double exchange[5];
      int counter = 0, of[7], short_of[7];
      of_grid got{};
      for (int call = 1; call <= 2; ++call)  // the words are ready for another launch
        device::launch({.kernel = "grid test",
                        .grid = blocks,
                        .block = threads,
                        .shared = device::block_lanes::bytes +
                                  threads / 32 * std::size_t{polymoe::phase::select_bins} * sizeof(int),
                        .cooperative = true},
                       grid_kernel<int>, words, exchange, n, lines, length, &counter, of, short_of, &got);
      CHECK(words[0] == 0);
      CHECK(counter == 2 * n);
      CHECK((got.sum == n * (n - 1) / 2 && got.most == 1000));
      CHECK((got.last == got.seen && got.seen == blocks * threads * (blocks * threads + 1) / 2));
      for (int i = 0; i < lines; ++i) CHECK((of[i] == length * (length - 1) / 2 && short_of[i] == i));
    }
}
TEST_CASE_TEMPLATE("warps, and blocks of 64 and 256 threads, select the same units as one thread", S, float, double) {
  for (const int threads : {32, 64, 256})
    for (const int n : sizes)
      for (int kind = 0; kind < 4; ++kind) {
        const bool holes = (n + kind) % 2 == 1;
        const int count = kind == 3 ? n / 2 : n / 3 + 1;
        auto in = make_input<S>(n, kind, holes);
        in.score.push_back(S(0)), in.absent.push_back(1);  // never an empty vector
        std::vector<int> chosen(static_cast<std::size_t>(n + 2), -1), scans(static_cast<std::size_t>(threads + 1), -1);
        outcome<S> got{};
        device::launch(
            {.kernel = "block test",
             .grid = 1,
             .block = threads,
             .shared = device::block_lanes::bytes + (polymoe::phase::select_bins + counters_needed) * sizeof(int)},
            block_kernel<S>, in.score.data(), in.absent.data(), n, count, chosen.data(), &got, scans.data());
        in.score.pop_back(), in.absent.pop_back();
        const auto want = want_chosen(in, count);
        REQUIRE(got.taken == static_cast<int>(want.size()));
        for (std::size_t p = 0; p < want.size(); ++p) REQUIRE(chosen[p] == want[p]);
        CHECK(chosen[want.size()] == -1);
        CHECK((got.each_total == n && got.ranges_total == n && got.taken + got.left == n));
        double sum = 0, size = 1e-30;
        for (int i = 0; i < n; ++i)
          if (!in.absent[static_cast<std::size_t>(i)]) {
            sum += static_cast<double>(in.score[static_cast<std::size_t>(i)]);
            size += std::abs(static_cast<double>(in.score[static_cast<std::size_t>(i)]));
          }
        CHECK(std::abs(static_cast<double>(got.sum) - sum) <= 1e-6 * size);
        for (int i = 0; i < threads; ++i) CHECK(scans[static_cast<std::size_t>(i)] == (i + 1) * (i + 2) / 2);
        CHECK(scans[static_cast<std::size_t>(threads)] == threads * (threads + 1) / 2);
      }
}

}  // namespace block_test
