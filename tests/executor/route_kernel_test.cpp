// The CUDA router kernel, run on the CPU by the host executor, against the CPU backend: same wishes, same bad rows, equal
// scores and balance shares up to rounding.
#include "host_executor.hpp"

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/route.cuh>
#include <polymoe/polymoe.hpp>

namespace {
using polymoe::every_expert;

template <class Router, class Balance>
void compare(int tokens, int experts, int group_size, bool ties, std::uint64_t seed) {
  using C = float;
  constexpr int K = polymoe::choices_of<Router>;
  const Router router{};
  const Balance balance{};
  const auto T = static_cast<std::size_t>(tokens), E = static_cast<std::size_t>(experts);
  const auto draw = polymoe::random_root{seed}.stream(1, 0);
  std::vector<C> logits(T * E), raw(T * E);
  for (std::size_t i = 0; i < T * E; ++i) {
    logits[i] = ties ? static_cast<C>(draw.below(i, 3)) : draw.normal(i);
    raw[i] = draw.normal(i + T * E);
  }
  if (tokens > 5) logits[5 * E] = std::nanf("");
  const bool learned = polymoe::projections<Router> > 1;

  polymoe::route_memory<C> cpu;
  auto& p = cpu.plan;
  p.tokens = tokens, p.experts = p.all_experts = experts, p.group_size = group_size, p.k = K;
  p.groups = (tokens + group_size - 1) / group_size;
  const int per_group = (group_size + 63) / 64, tiles = p.groups * per_group, columns = Balance::columns;
  std::vector<C> scores(T * E), partial(static_cast<std::size_t>(tiles * columns * experts) + 1), totals(partial.size()),
      cot(partial.size()), values(Balance::terms + 1);
  std::vector<C> work(static_cast<std::size_t>(2 * columns * experts) + 1);
  std::vector<double> stats(static_cast<std::size_t>(tiles) * (E + 2));
  std::vector<int> wish(T * K, -7);
  std::vector<unsigned char> bad(T, 9);
  const polymoe::index t64 = tokens, e64 = experts;
  cpu.logits = {logits.data(), t64, e64};
  if (learned) cpu.raw = {raw.data(), t64, e64};
  cpu.scores = {scores.data(), t64, e64};
  cpu.partial = {partial.data(), tiles, columns * e64};
  cpu.totals = {totals.data(), p.groups, columns * e64};
  cpu.cotangents = {cot.data(), p.groups, columns * e64};
  cpu.values = {values.data(), 1, Balance::terms + 1};
  cpu.work = work.data();
  cpu.tile_stats = stats.data();
  cpu.place.wish = wish.data();
  p.bad = bad.data();
  cpu.route.noise = 1;
  cpu.route.inverse_temperature = 0.7f;
  cpu.route.draw = polymoe::random_root{seed}.stream(2, 3);
  cpu.balanced = true;
  polymoe::route_rows(polymoe::cpu::stream{}, router, balance, cpu);

  const float nan = std::nanf("");
  std::vector<C> d_scores(T * E, nan), d_partial(partial.size(), nan), d_stats(stats.size(), nan);
  std::vector<int> d_wish(T * K, -9);
  std::vector<unsigned char> d_bad(T, 7);
  polymoe::route_rows_args<C> a;
  a.logits = logits.data(), a.raw = learned ? raw.data() : nullptr, a.scores = d_scores.data();
  a.wish = d_wish.data(), a.bad = d_bad.data(), a.partial = d_partial.data(), a.stats = d_stats.data();
  a.tokens = tokens, a.experts = experts, a.group_size = group_size, a.tiles_per_group = per_group;
  a.balanced = true, a.values = cpu.route;
  polymoe::executor::scope with{{.seed = seed}};
  polymoe::route_rows_cuda(nullptr, router, balance, a);

  CHECK(d_bad == bad);
  // The warp sums a row in another order than one thread does; wishes may differ only where scores are equal to rounding.
  int differing = 0;
  double worst = 0, size = 0;
  for (std::size_t i = 0; i < T * E; ++i) {
    worst = std::max(worst, std::abs(double(d_scores[i]) - scores[i]));
    size = std::max(size, std::abs(double(scores[i])));
  }
  CHECK(worst <= 2e-6 * size);
  if (Router::k != every_expert) {
    for (std::size_t t = 0; t < T; ++t)
      for (int j = 0; j < K; ++j) {
        const int x = d_wish[t * K + static_cast<std::size_t>(j)], y = wish[t * K + static_cast<std::size_t>(j)];
        if (x == y) continue;
        REQUIRE((x >= 0 && y >= 0));
        if (std::abs(scores[t * E + static_cast<std::size_t>(x)] - scores[t * E + static_cast<std::size_t>(y)]) > 4e-6 * size) ++differing;
      }
    CHECK(differing == 0);
  }
  for (int i = 0; i < tiles * columns * experts; ++i)
    CHECK(d_partial[static_cast<std::size_t>(i)] == doctest::Approx(partial[static_cast<std::size_t>(i)]).epsilon(2e-4).scale(1));
  for (std::size_t i = 0; i < stats.size(); ++i) CHECK(d_stats[i] == doctest::Approx(stats[i]).epsilon(1e-3).scale(1));

  // Another block order gives the same bits.
  const auto first = d_partial;
  polymoe::executor::scope again{{.seed = seed + 1}};
  polymoe::route_rows_cuda(nullptr, router, balance, a);
  CHECK(std::equal(first.begin(), first.begin() + tiles * columns * experts, d_partial.begin()));
}

using both_loads = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load_shazeer, polymoe::balance::switch_loss>;
}  // namespace

TEST_CASE("router kernel: top-2 softmax equals the CPU backend") {
  using R = polymoe::top_k<2, polymoe::score::softmax>;
  using B = polymoe::balance::sum<polymoe::balance::switch_loss, polymoe::balance::z_loss>;
  for (const int E : {2, 3, 8, 31, 32, 33, 64, 65, 257, 1000}) compare<R, B>(130, E, 130, false, 11);
  for (const bool ties : {false, true}) compare<R, B>(77, 9, 20, ties, 12);
}
TEST_CASE("router kernel: noisy top-4 with load losses equals the CPU backend") {
  using R = polymoe::top_k<4, polymoe::score::noisy_learned<>>;
  for (const int E : {4, 5, 17, 63, 128}) compare<R, both_loads>(70, E, 35, false, 21);
}
TEST_CASE("router kernel: mixture equals the CPU backend") {
  using R = polymoe::mixture<polymoe::score::softmax>;
  using B = polymoe::balance::sum<polymoe::balance::kl_from_uniform>;
  for (const int E : {1, 8, 33}) compare<R, B>(65, E, 65, false, 31);
}

namespace {
/// A router of a user: nothing in it knows about lanes.
struct shifted_sigmoid {
  static constexpr int k = 3;
  static constexpr const char* name = "shifted_sigmoid";
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    using S = typename Row::scalar;
    return z.map([](S x, int e) { return polymoe::math::sigmoid(x - S(0.01f * static_cast<float>(e % 7))); });
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<3> select(const Row& s) const {
    return polymoe::largest<3>(s);
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& d) const {
    using S = typename Row::scalar;
    return scores(z).zip(d, [](S p, S g, int) { return p * (S(1) - p) * g; });
  }
};
}  // namespace

TEST_CASE("router kernel: a custom router runs unchanged") {
  for (const int E : {3, 8, 40, 200}) compare<shifted_sigmoid, polymoe::balance::sum<>>(66, E, 66, false, 41);
}
