// group_limited: choices against sorting by hand, ties, single-expert groups, every group kept; the library's checks;
// a whole layer with the loss-free bias and every gradient; sizes that do not fit.
// sanitize: yes
// with: gates
#include <polymoe/testing/check_router.hpp>

#include "support/column_layer.hpp"
#include "support/rows.hpp"

namespace moe_test {
namespace {

using polymoe::group_limited;

/// The definition, by sorting: groups by the sum of their two best, then experts.
std::vector<int> chosen_by_hand(const std::vector<double>& x, int K, int groups, int kept) {
  const std::size_t size = x.size() / static_cast<std::size_t>(groups);
  std::vector<double> worth;
  for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
    std::vector<double> own(x.begin() + static_cast<std::ptrdiff_t>(g * size),
                            x.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(own.rbegin(), own.rend());
    worth.push_back(size > 1 ? own[0] + own[1] : own[0]);
  }
  std::vector<double> left(x.size(), -1e300);
  for (const int g : best_k(worth, kept))
    for (std::size_t e = static_cast<std::size_t>(g) * size; e < (static_cast<std::size_t>(g) + 1) * size; ++e)
      left[e] = x[e];
  return best_k(left, K);
}

template <int K, int Groups, int Kept>
void check_choices(std::initializer_list<int> experts) {
  const group_limited<K, Groups, Kept> router;
  int other = 0;
  for (const int E : experts)
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
      auto x = noise_vector(seed, E);
      if (seed % 3 == 1)
        for (double& v : x) v = std::floor(2 * v);
      if (seed == 2) std::fill(x.begin(), x.end(), 0.5);
      const auto want = chosen_by_hand(x, K, Groups, Kept);
      const auto got = router.select(make_row<double, 256>(x));
      REQUIRE(got.n == K);
      for (int j = 0; j < K; ++j) REQUIRE(got.expert[j] == want[static_cast<std::size_t>(j)]);
      other += want != best_k(x, K);
    }
  CHECK((other > 0) == (Kept<Groups&& * experts.begin()> Groups));
}

}  // namespace

TEST_CASE("the K best of the groups whose two best add up to most") {
  check_choices<2, 2, 1>({4, 8, 32});
  check_choices<4, 4, 2>({8, 16, 64});
  check_choices<8, 8, 4>({16, 256});
  check_choices<3, 3, 3>({3, 9, 33});
  check_choices<2, 6, 2>({6});  // groups of one expert
}

TEST_CASE("a group with the best expert of all may lose to one with two good ones") {
  const group_limited<2, 2, 1> router;
  const auto c = router.select(make_row({0.9, 0.0, 0.1, 0.5, 0.1, 0.6}));
  CHECK((c.expert[0] == 5 && c.expert[1] == 3));
  const auto d = router.select(make_row({0.9, 0.3, 0.1, 0.5, 0.1, 0.6}));
  CHECK((d.expert[0] == 0 && d.expert[1] == 1));
}

TEST_CASE("check_router accepts group_limited, which knows an expert's group by its index") {
  const polymoe::testing::router_options options{.experts = {4, 8, 12, 64}, .symmetric = false, .by_score = false};
  const auto report = polymoe::testing::check_router<group_limited<2, 4, 2, polymoe::score::sigmoid>>({}, options);
  CHECK_MESSAGE(report.ok, report.text);
  CHECK(polymoe::testing::check_router<group_limited<3, 4, 4>>({}, {.experts = {4, 8, 64}, .symmetric = false}).ok);
}

namespace {
/// As DeepSeek-V3 routes.
struct limited_spec : polymoe::spec {
  using scalar = double;
  using router = group_limited<2, 3, 2, polymoe::score::sigmoid>;
  using capacity = polymoe::capacity::bounded<>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::loss_free_bias;
};
using limited_layer = polymoe::layer<limited_spec, polymoe::cpu>;
}  // namespace

TEST_CASE("a layer: choices of the biased scores, gates of the others, every gradient") {
  layer_case<limited_layer> c({.dim = 5, .hidden = 3, .experts = 6}, 23, 6);
  c.w.module().router().settings().capacity.factor = 0.8f;
  const std::vector<double> bias{0.3, -0.2, 0, 0.25, -0.3, 0.1};
  for (std::size_t e = 0; e < bias.size(); ++e) c.w.state()[e] = static_cast<float>(bias[e]);
  c.forward();
  const matrix z = logits_of(c);
  int unlike = 0;
  for (int t = 0; t < 23; ++t) {
    std::vector<double> score, biased;
    for (std::size_t e = 0; e < 6; ++e) {
      score.push_back(1 / (1 + std::exp(-z[static_cast<std::size_t>(t)][e])));
      biased.push_back(score[e] + static_cast<double>(c.w.state()[e]));
    }
    const auto want = chosen_by_hand(biased, 2, 3, 2);
    unlike += want != best_k(biased, 2);
    for (int j = 0; j < 2; ++j) {
      const int choice = 2 * t + j;
      CHECK(c.w.saved().routing.place.wish[choice] == want[static_cast<std::size_t>(j)]);
      if (c.plan().expert_of[choice] < 0) continue;
      const auto at = [&](int i) { return score[static_cast<std::size_t>(want[static_cast<std::size_t>(i)])]; };
      CHECK(as_double(c.plan().gate.get(0, c.plan().slot_of[choice])) ==
            doctest::Approx(at(j) / (at(0) + at(1))).epsilon(1e-12));
    }
  }
  CHECK(unlike > 0);
  const auto r = check_gradients(c);
  CHECK(r.worst < 1e-6);
  CHECK(r.flipped < r.checked / 10);
}

namespace {
template <class Router>
struct spec_of : polymoe::spec {
  using router = Router;
};
}  // namespace

TEST_CASE("numbers of experts and groups that do not fit are refused") {
  const auto made = []<class Router>(Router, index experts) {
    polymoe::layer<spec_of<Router>, polymoe::cpu>({.dim = 4, .hidden = 4, .experts = experts});
  };
  CHECK(refuses([&] { made(group_limited<2, 3, 2>{}, 8); }, {"8 experts", "3 equal groups"}));
  CHECK(refuses([&] { made(group_limited<4, 3, 1>{}, 9); }, {"K = 4", "1 groups of 3 have 3"}));
  CHECK(refuses([&] { made(group_limited<2, 2, 3>{}, 8); }, {"3 of 2 groups"}));
  made(group_limited<3, 3, 1>{}, 9);
}

}  // namespace moe_test
