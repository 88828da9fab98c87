// The block primitives on the threads of a CUDA block, run by the host executor: the same selection as on one thread.
#include "host_executor.hpp"

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/block_lanes.cuh>

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
  run_all(b, score, absent, n, count, bins, bins + polymoe::phase::select_bins, chosen, out);
  int total = 0;
  const int seen = b.inclusive_scan(b.rank() + 1, &total);
  scans[b.rank()] = seen;
  if (b.rank() == 0) scans[b.width()] = total;
}

}  // namespace

TEST_CASE_TEMPLATE("blocks of 32 to 256 threads select the same units as one thread", S, float, double) {
  for (const int threads : {32, 64, 256})
    for (const int n : sizes)
      for (int kind = 0; kind < 4; ++kind) {
        const bool holes = (n + kind) % 2 == 1;
        const int count = kind == 3 ? n / 2 : n / 3 + 1;
        auto in = make_input<S>(n, kind, holes);
        in.score.push_back(S(0)), in.absent.push_back(1);  // never an empty vector
        std::vector<int> chosen(static_cast<std::size_t>(n + 2), -1), scans(static_cast<std::size_t>(threads + 1), -1);
        outcome<S> got{};
        device::launch({.kernel = "block test",
                        .grid = 1,
                        .block = threads,
                        .shared = device::block_lanes::bytes + (polymoe::phase::select_bins + 2) * sizeof(int)},
                       block_kernel<S>, in.score.data(), in.absent.data(), n, count, chosen.data(), &got, scans.data());
        in.score.pop_back(), in.absent.pop_back();
        const auto want = want_chosen(in, count);
        REQUIRE(got.taken == static_cast<int>(want.size()));
        for (std::size_t p = 0; p < want.size(); ++p) REQUIRE(chosen[p] == want[p]);
        CHECK(chosen[want.size()] == -1);
        CHECK((got.each_total == n && got.ranges_total == n));
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
