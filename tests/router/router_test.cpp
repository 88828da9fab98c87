// One unit through the router: selection with ties, noise, temperature, bias, bad rows; and all of its derivatives.
// with: gates
#include <algorithm>

#include "support/moe_reference.hpp"
#include "support/rows.hpp"

namespace moe_test {
namespace {

using polymoe::every_expert;
using polymoe::mixture;
using polymoe::route_values;
using polymoe::row_grad;
using polymoe::top_k;
namespace score = polymoe::score;

const std::vector<int> sizes{1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,  15,  16,
                             17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 1024};

template <int K>
void check_largest(int E) {
  if (K > E) return;
  for (int kind = 0; kind < 3; ++kind) {
    std::vector<double> x(static_cast<std::size_t>(E));
    for (int e = 0; e < E; ++e) {
      const double u = noise(50 + static_cast<std::uint64_t>(kind), static_cast<std::uint64_t>(e));
      x[static_cast<std::size_t>(e)] = kind == 0 ? 0.25 : kind == 1 ? std::floor(2 * u) : u;
    }
    const auto c = polymoe::largest<K>(make_row<double, 1024>(x));
    const auto want = best_k(x, K);
    REQUIRE(c.n == K);
    for (int j = 0; j < K; ++j) REQUIRE(c.expert[j] == want[static_cast<std::size_t>(j)]);
    if (kind == 0)
      for (int j = 0; j < K; ++j) REQUIRE(c.expert[j] == j);
  }
}

}  // namespace

TEST_CASE("the K largest, ties to the lower index, for every size and K") {
  for (const int E : sizes) {
    check_largest<1>(E), check_largest<2>(E), check_largest<3>(E), check_largest<4>(E), check_largest<5>(E);
    check_largest<6>(E), check_largest<7>(E), check_largest<8>(E), check_largest<16>(E);
  }
}

TEST_CASE("a winner in any of 1024 positions is found, first and second") {
  for (int winner = 0; winner < 1024; ++winner) {
    auto r = make_row<float, 1024>(noise_vector(51, 1024));
    const int second = (winner * 37 + 5) % 1024;
    r.v[second] = 5, r.v[winner] = 9;
    const auto c = polymoe::largest<2>(r);
    REQUIRE(c.expert[0] == winner);
    REQUIRE(c.expert[1] == (second == winner ? polymoe::largest<3>(r).expert[1] : second));
  }
}

TEST_CASE("the bias moves the selection and leaves the scores alone") {
  const auto z = make_row({3, 2, 1, 0});
  const float bias[4] = {-9, 0, 0, 1};
  route_values v;
  v.bias = bias;
  const auto r = route_row(top_k<2>{}, v, z, z, 0);
  CHECK(r.chosen.expert[0] == 3);
  CHECK(r.chosen.expert[1] == 1);
  CHECK(to_vector(r.scores) == to_vector(score::softmax{}.forward(z)));
}

TEST_CASE("noise is a function of seed, stream, step, unit and expert only") {
  top_k<2, score::noisy_constant<>> router;
  router.scale = 2;
  route_values v;
  v.noise = 0.5f;
  v.inverse_temperature = 0.25f;
  v.draw = polymoe::random_root{7}.stream(polymoe::stream_id("router.noise"), 3);
  const auto z = make_row({0.1, 0.2, 0.3, 0.4, 0.5});
  const auto r = route_row(router, v, z, z, 6);
  double sum = 0;
  std::vector<double> p(5);
  for (int e = 0; e < 5; ++e) {
    const double eps = static_cast<double>(polymoe::random_root{7}
                                               .stream(polymoe::stream_id("router.noise"), 3)
                                               .normal(6 * 5 + static_cast<std::uint64_t>(e)));
    CHECK(r.noisy.v[e] == doctest::Approx(z.v[e] + 0.4 * 0.5 * eps).epsilon(1e-7));
    CHECK(r.scaled.v[e] == doctest::Approx(r.noisy.v[e] / 4).epsilon(1e-15));
    sum += p[static_cast<std::size_t>(e)] = std::exp(r.noisy.v[e] / 4);
  }
  for (int e = 0; e < 5; ++e)
    CHECK(r.scores.v[e] == doctest::Approx(p[static_cast<std::size_t>(e)] / sum).epsilon(1e-13));
  CHECK(to_vector(route_row(router, v, z, z, 7).noisy) != to_vector(r.noisy));
  CHECK(to_vector(route_row(router, v, z, z, 6).noisy) == to_vector(r.noisy));
  v.noise = 0;  // evaluation
  CHECK(to_vector(route_row(router, v, z, z, 6).noisy) == to_vector(z));
}

TEST_CASE("normal draws have mean 0, variance 1, and no two streams share them") {
  const auto a = polymoe::random_root{1}.stream(polymoe::stream_id("a"), 0),
             b = polymoe::random_root{1}.stream(polymoe::stream_id("b"), 0);
  double mean = 0, square = 0, cross = 0;
  constexpr int n = 20000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(a.normal(i));
    mean += x / n, square += x * x / n, cross += x * static_cast<double>(b.normal(i)) / n;
  }
  CHECK(std::abs(mean) < 0.03);
  CHECK(std::abs(square - 1) < 0.05);
  CHECK(std::abs(cross) < 0.03);
}

TEST_CASE("a row with NaN or an infinity anywhere is marked, whatever the score") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const double bad : {not_a_number, inf, -inf})
    for (int at = 0; at < 9; ++at) {
      auto x = noise_vector(60, 9);
      x[static_cast<std::size_t>(at)] = bad;
      const auto z = make_row<float>(x), good = make_row<float>(noise_vector(60, 9));
      CHECK_FALSE(route_row(top_k<2>{}, {}, z, z, 0).finite);
      CHECK_FALSE(route_row(top_k<2, score::sigmoid>{}, {}, z, z, 0).finite);
      CHECK_FALSE(route_row(mixture<>{}, {}, z, z, 0).finite);
      CHECK_FALSE(route_row(top_k<2, score::noisy_learned<>>{}, {}, good, z, 0).finite);
      CHECK(route_row(top_k<2, score::noisy_learned<>>{}, {}, good, good, 0).finite);
      const auto c = route_row(top_k<2>{}, {}, z, z, 0).chosen;
      for (const int e : c.expert) CHECK((e >= 0 && e < 9));
    }
}

namespace {

/// The sparse head of paper B as its code has it.
using as_coded =
    top_k<2, score::standardized<score::logit_dropout<score::noisy_learned<score::largest_softmax<2>>>>>;

/// A smooth function of everything a unit's row produces, and its gradient through route_row_vjp.
template <class Router>
void check_row_vjp(const Router& router, float noise_scale, float inverse_temperature, bool clean) {
  const int E = 6;
  const auto a = noise_vector(70, E), b = noise_vector(71, E), c = noise_vector(72, E), d = noise_vector(73, E),
             f = noise_vector(74, E);
  const auto z = noise_vector(75, E, 2), raw = noise_vector(76, E, 2);
  route_values v;
  v.noise = noise_scale, v.inverse_temperature = inverse_temperature;
  v.draw = polymoe::random_root{3}.stream(5, 1);
  const auto value = [&](const std::vector<double>& logits, const std::vector<double>& second) {
    const auto r = route_row(router, v, make_row(logits), make_row(second), 4);
    double s = dot(to_vector(r.scores), a) + dot(to_vector(r.logits), c) + dot(to_vector(r.noisy), d);
    if (clean) s += dot(to_vector(clean_scores_of(router, v, r)), b);
    if (polymoe::projections<Router> > 1) s += dot(to_vector(r.noise_std), f);
    return s;
  };
  const auto r = route_row(router, v, make_row(z), make_row(raw), 4);
  using Row = row_of<>;
  const row_grad<Row> g{make_row(a), make_row(b), make_row(c), make_row(d), make_row(f)};
  const auto out = route_row_vjp(router, v, r, make_row(z), make_row(raw), g, clean, 4);
  CHECK(gradient_error([&](const std::vector<double>& x) { return value(x, raw); }, z, to_vector(out.logits)) < 1e-8);
  if (polymoe::projections<Router> > 1)
    CHECK(gradient_error([&](const std::vector<double>& x) { return value(z, x); }, raw, to_vector(out.raw)) < 1e-8);
}

}  // namespace

TEST_CASE("derivatives of one routed row: noise, temperature, clean scores, second projection") {
  for (const float noise_scale : {0.0f, 1.0f, 0.3f})
    for (const float inverse_temperature : {1.0f, 0.5f, 3.0f})
      for (const bool clean : {false, true}) {
        check_row_vjp(top_k<2>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::sigmoid>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(mixture<>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::noisy_constant<>>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::noisy_learned<>>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::noisy_learned<score::sigmoid>>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::standardized<>>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::logit_dropout<>>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(mixture<score::logit_dropout<>>{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(as_coded{}, noise_scale, inverse_temperature, clean);
        check_row_vjp(top_k<2, score::logit_dropout<score::noisy_learned<score::sinkhorn<score::by_clean_score>>>>{},
                      noise_scale, inverse_temperature, clean);
      }
}

TEST_CASE("the sparse gate of paper B, step by step, against its own arithmetic") {
  as_coded router;
  router.floor = 0.3f, router.dropout = 0.4f;
  const int E = 8;
  for (int unit = 0; unit < 40; ++unit) {
    const auto a = noise_vector(600 + static_cast<std::uint64_t>(unit), E, 2), raw = noise_vector(700, E, 2);
    route_values v;
    v.noise = 1, v.inverse_temperature = 0.5f;
    v.draw = polymoe::random_root{9}.stream(2, 3);
    const auto r = route_row(router, v, make_row(a), make_row(raw), unit);
    double mean = 0, square = 0;
    for (const double x : a) mean += x / E;
    for (const double x : a) square += (x - mean) * (x - mean);
    const double deviation = std::sqrt(square / (E - 1)) + static_cast<double>(1e-5f);
    std::vector<double> z(E), sorted;
    for (std::size_t e = 0; e < z.size(); ++e) {
      const auto at = static_cast<std::uint64_t>(unit * E) + e;
      z[e] = (a[e] - mean) / deviation +
             (std::log1p(std::exp(raw[e])) + static_cast<double>(0.3f)) * static_cast<double>(v.draw.normal(at));
      const bool gone = v.draw.uniform(at | std::uint64_t{1} << 63) < 0.4f;
      z[e] = gone ? 0 : z[e] / (1 - static_cast<double>(0.4f));
    }
    sorted = z;
    std::sort(sorted.rbegin(), sorted.rend());
    double sum = 0;
    for (double& x : z) sum += x = x < sorted[1] ? 0 : std::exp(x / 2);
    for (int e = 0; e < E; ++e)
      CHECK(r.scores.v[e] == doctest::Approx(z[static_cast<std::size_t>(e)] / sum).epsilon(1e-9));
  }
}

TEST_CASE("dropped logits: their share, none in evaluation, ties that lose weight as paper B's code does") {
  top_k<2, score::logit_dropout<score::largest_softmax<2>>> router;
  router.dropout = 0.25f;
  route_values v;
  v.noise = 1;
  v.draw = polymoe::random_root{10}.stream(2, 3);
  int dropped = 0;
  for (int unit = 0; unit < 2000; ++unit) {
    const auto r = route_row(router, v, make_row({1, 2, 3, 4}), make_row({1, 2, 3, 4}), unit);
    for (int e = 0; e < 4; ++e) dropped += r.noisy.v[e] == 0;
  }
  CHECK(std::abs(dropped / 8000.0 - 0.25) < 0.02);
  v.noise = 0;
  CHECK(to_vector(route_row(router, v, make_row({1, 2, 3, 4}), make_row({1, 2, 3, 4}), 0).noisy) ==
        std::vector<double>{1, 2, 3, 4});
  // Three experts at the threshold: two are served, with a third of the weight each.
  const auto tied = route_row(router, v, make_row({0, -1, 0, 0}), make_row({0, -1, 0, 0}), 0);
  CHECK(tied.scores.v[1] == 0);
  for (const int e : {0, 2, 3}) CHECK(tied.scores.v[e] == doctest::Approx(1.0 / 3));
  CHECK((tied.chosen.expert[0] == 0 && tied.chosen.expert[1] == 2));
}

TEST_CASE("standardized logits have mean 0 and deviation 1, whatever their scale and offset; one expert gives 0") {
  const score::standardized<> s;
  for (const int E : {2, 3, 8, 31})
    for (const double scale : {0.01, 1.0, 1e3}) {
      auto x = noise_vector(61, E, scale);
      for (double& v : x) v += 7 * scale;
      const auto z = to_vector(s.prepare(make_row(x)));
      double mean = 0, square = 0;
      for (const double v : z) mean += v / E;
      for (const double v : z) square += (v - mean) * (v - mean) / (E - 1);
      CHECK(std::abs(mean) < 1e-12);
      CHECK(std::sqrt(square) == doctest::Approx(1).epsilon(5e-3));
    }
  CHECK(to_vector(s.prepare(make_row({4}))) == std::vector<double>{0});
  CHECK(to_vector(s.prepare_vjp(make_row({4}), make_row({3}))) == std::vector<double>{0});
}

}  // namespace moe_test
