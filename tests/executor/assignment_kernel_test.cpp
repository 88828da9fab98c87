// The auction of score::balanced_assignment on the threads of a CUDA block, run by the host executor: the assignment of
// one thread, whatever the number of threads and their order.
// with: plans
#include "host_executor.hpp"

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/kernel/columns.cuh>
#include <polymoe/core/rng.hpp>
#include <polymoe/score/balanced_assignment.hpp>

namespace {

namespace device = polymoe::device;
using polymoe::view;

template <class C>
POLYMOE_KERNEL void assignment_kernel(polymoe::score::balanced_assignment<> score, polymoe::group_cells<C> cells) {
  cells.bins = polymoe::column_shared::counters();
  score.plan_group(polymoe::column_shared::lanes(), cells);
}

}  // namespace

TEST_CASE_TEMPLATE("blocks of 32 to 256 threads find the assignment of one thread, in training and greedily", C, float,
                   double) {
  for (const int n : {0, 1, 17, 70, 1030})  // the last: more than teams of a warp take
    for (const int E : {3, 8})
      for (const bool training : {true, false}) {
        const auto draw = polymoe::random_root{9}.stream(static_cast<std::uint64_t>(n * 16 + E), 0);
        std::vector<C> logits(static_cast<std::size_t>(n * E + 1));
        for (std::size_t i = 0; i < logits.size(); ++i)  // few different values: ties
          logits[i] = static_cast<C>(std::round(4 * draw.normal(i))) / C(4);
        std::vector<unsigned char> bad(static_cast<std::size_t>(n + 1), 0);
        for (int t = 4; t < n; t += 11) bad[static_cast<std::size_t>(t)] = 1;
        polymoe::score::balanced_assignment<> score;
        score.tolerance = 0.05f;
        if (n > 1000) score.rounds = 5;
        std::vector<C> kept(static_cast<std::size_t>(score.kept(n, E)));
        int bins[polymoe::phase::select_bins], steps = -1;
        const auto run = [&](int threads, const polymoe::executor::settings& how) {
          std::vector<C> plan(logits.size(), C(-7));
          std::memset(kept.data(), 0xFF, kept.size() * sizeof(C));
          polymoe::group_cells<C> cells;
          cells.logits = view<C>(logits.data(), n, E), cells.plan = view<C>(plan.data(), n, E);
          cells.kept = view<C>(kept.data(), 1, static_cast<polymoe::index>(kept.size()));
          cells.bad = bad.data(), cells.steps = &steps, cells.bins = bins, cells.training = training;
          if (threads == 0) {
            score.plan_group(polymoe::scalar_block{}, cells);
          } else {
            const polymoe::executor::scope with{how};
            device::launch({.kernel = "assignment test",
                            .grid = 1,
                            .block = threads,
                            .shared = polymoe::column_shared::bytes(threads / device::warp_size)},
                           assignment_kernel<C>, score, cells);
          }
          plan.push_back(static_cast<C>(steps));
          return plan;
        };
        const auto want = run(0, {});
        CHECK(run(32, {.seed = 1}) == want);
        CHECK(run(64, {.seed = 2, .threads = polymoe::executor::order::descending}) == want);
        if (n == 70) CHECK(run(256, {.seed = 3}) == want);
      }
}
