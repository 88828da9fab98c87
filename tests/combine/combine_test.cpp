// Combine policies: weights against their definitions, vjp against central differences, for every pattern of kept
// choices.
#include "support/rows.hpp"

namespace moe_test {
namespace combine = polymoe::combine;

namespace {

template <int K>
polymoe::chosen_scores<K, double> chosen(const std::vector<double>& s, unsigned kept) {
  polymoe::chosen_scores<K, double> c;
  c.n = K;
  for (int j = 0; j < K; ++j) c.score[j] = s[static_cast<std::size_t>(j)], c.kept[j] = (kept >> j & 1u) != 0;
  return c;
}

/// Weights of dropped choices are ignored by the library, so they are set to zero here too.
template <int K, class Combine>
std::vector<double> weights(const Combine& rule, const std::vector<double>& s, unsigned kept) {
  std::vector<double> w(K, not_a_number);
  rule.weigh(chosen<K>(s, kept), w.data());
  for (int j = 0; j < K; ++j)
    if (!(kept >> j & 1u)) w[static_cast<std::size_t>(j)] = 0;
  return w;
}

template <int K, class Combine, class Expected>
void check_all(const Combine& rule, Expected expected) {
  for (unsigned kept = 0; kept < 1u << K; ++kept) {
    std::vector<double> s, d = noise_vector(41, K);
    for (int j = 0; j < K; ++j) s.push_back(0.55 + 0.4 * noise(40, static_cast<std::uint64_t>(j)));
    const auto w = weights<K>(rule, s, kept);
    double all = 0, served = 0;
    for (int j = 0; j < K; ++j) {
      all += s[static_cast<std::size_t>(j)];
      if (kept >> j & 1u) served += s[static_cast<std::size_t>(j)];
    }
    for (int j = 0; j < K; ++j) {
      const auto i = static_cast<std::size_t>(j);
      if (!(kept >> j & 1u)) d[i] = 0;  // as the library does
      else CHECK(w[i] == doctest::Approx(expected(s[i], all, served)).epsilon(1e-14));
    }
    std::vector<double> gradient(K, not_a_number);
    rule.vjp(chosen<K>(s, kept), d.data(), gradient.data());
    const auto f = [&](const std::vector<double>& x) { return dot(weights<K>(rule, x, kept), d); };
    if (kept) CHECK(gradient_error(f, s, gradient) < 1e-9);
    else
      for (const double g : gradient) CHECK(g == 0.0);
  }
}

template <int K>
void check_rules() {
  check_all<K>(combine::affinity{}, [](double s, double, double) { return s; });
  check_all<K>(combine::sum{}, [](double, double, double) { return 1.0; });
  check_all<K>(combine::renormalised<combine::over_chosen>{}, [](double s, double all, double) { return s / all; });
  check_all<K>(combine::renormalised<combine::over_kept>{}, [](double s, double, double kept) { return s / kept; });
}

}  // namespace

TEST_CASE("weights and gradients of every rule, K = 1, 2, 3, 4, 6 and every pattern of kept choices") {
  check_rules<1>();
  check_rules<2>();
  check_rules<3>();
  check_rules<4>();
  check_rules<6>();
}

TEST_CASE("renormalised weights sum to one, and nothing divides by zero") {
  const auto chosen_weights = weights<3>(combine::renormalised<>{}, {0.2, 0.3, 0.1}, 7);
  CHECK(chosen_weights[0] + chosen_weights[1] + chosen_weights[2] == doctest::Approx(1).epsilon(1e-14));
  const auto kept_weights = weights<3>(combine::renormalised<combine::over_kept>{}, {0.2, 0.3, 0.1}, 5);
  CHECK(kept_weights[0] == doctest::Approx(2.0 / 3));
  CHECK(kept_weights[2] == doctest::Approx(1.0 / 3));
  // Sigmoid scores can all vanish in float.
  polymoe::chosen_scores<2, float> c{2, {0.0f, 0.0f}, {true, true}};
  float w[2], g[2];
  const float d[2] = {1, -2};
  combine::renormalised<>{}.weigh(c, w);
  combine::renormalised<>{}.vjp(c, d, g);
  for (const float x : {w[0], w[1], g[0], g[1]}) CHECK(std::isfinite(x));
}

TEST_CASE("with one choice renormalisation leaves the router without a gradient (a documented trap)") {
  for (const double s : {0.125, 0.5, 0.9}) {
    std::vector<double> g(1);
    const double d = 2;
    combine::renormalised<>{}.vjp(chosen<1>({s}, 1), &d, g.data());
    CHECK(std::abs(g[0]) < 1e-14);
    combine::affinity{}.vjp(chosen<1>({s}, 1), &d, g.data());
    CHECK(g[0] == 2.0);
  }
}

}  // namespace moe_test
