// Balance losses over a batch of rows: values against closed forms written independently, gradients against central
// differences through the whole row (noise, threshold, second projection), perfect and broken balance.
#include <algorithm>
#include <functional>

#include "support/rows.hpp"

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
namespace score = polymoe::score;
using polymoe::mixture;
using polymoe::route_values;
using polymoe::row_grad;
using polymoe::top_k;

/// A batch of logits [N][E], a second projection, and the router that reads them.
template <class Router, class Loss, int Tier = 32>
struct batch {
  using Sum = balance::as_sum<Loss>;
  using Row = row_of<double, Tier>;
  static constexpr int terms = Sum::terms;
  int n, experts;
  std::vector<double> z, raw;  ///< [N * E]
  Router router{};
  Sum loss{};
  route_values v{};
  std::vector<int> target{};  ///< per row, for losses that want one

  batch(int rows, int e, std::uint64_t seed, double scale = 1)
      : n(rows), experts(e), z(noise_vector(seed, rows * e, scale)), raw(noise_vector(seed + 1, rows * e)) {
    v.noise = 1;
    v.draw = polymoe::random_root{seed}.stream(1, 0);
  }
  static Row one(const std::vector<double>& m, int t, int e) {
    return make_row<double, Tier>({m.begin() + t * e, m.begin() + (t + 1) * e});
  }
  template <class F>
  void each(const std::vector<double>& logits, const std::vector<double>& second, F f) const {
    for (int t = 0; t < n; ++t) {
      const Row r = one(second, t, experts);
      const auto routed = route_row(router, v, one(logits, t, experts), r, t);
      const Row clean = clean_scores_of(router, v, routed);
      f(t, r, routed, clean);
    }
  }
  std::vector<double> totals(const std::vector<double>& logits, const std::vector<double>& second) const {
    std::vector<Row> acc(Sum::columns,
                         make_row<double, Tier>(std::vector<double>(static_cast<std::size_t>(experts), 0.0)));
    each(logits, second, [&](int t, const Row&, const auto& r, const Row& clean) {
      loss.partial(polymoe::make_row_info<Sum>(r, clean, target_of(t)), acc.data());
    });
    std::vector<double> out;
    for (const Row& a : acc)
      for (int e = 0; e < experts; ++e) out.push_back(a.v[e]);
    return out;
  }
  std::vector<double> values(const std::vector<double>& logits, const std::vector<double>& second) const {
    std::vector<double> out(terms, not_a_number);
    loss.values(totals(logits, second).data(), experts, n, out.data());
    return out;
  }
  double value(int term = 0) const { return values(z, raw)[static_cast<std::size_t>(term)]; }
  /// Sum over terms of weight * value, the function whose gradient the library makes.
  double weighted(const std::vector<double>& logits, const std::vector<double>& second) const {
    const auto x = values(logits, second);
    double s = 0;
    for (int i = 0; i < terms; ++i) s += x[static_cast<std::size_t>(i)] * static_cast<double>(loss.weight_of(i));
    return s;
  }
  /// Gradients with respect to z and raw.
  std::pair<std::vector<double>, std::vector<double>> gradient() const {
    const auto sums = totals(z, raw);
    std::vector<double> cot(sums.size(), not_a_number), dz(z.size()), draw(raw.size());
    loss.cotangents(sums.data(), experts, n, 1.0, cot.data());
    std::vector<Row> rows;
    for (int c = 0; c < Sum::columns; ++c) rows.push_back(one(cot, c, experts));
    const Row zero = make_row<double, Tier>(std::vector<double>(static_cast<std::size_t>(experts), 0.0));
    each(z, raw, [&](int t, const Row& second, const auto& r, const Row& clean) {
      row_grad<Row> g{zero, zero, zero, zero, zero};
      loss.add_grad(polymoe::make_row_info<Sum>(r, clean, target_of(t)), rows.data(), g);
      const auto d = route_row_vjp(router, v, r, one(z, t, experts), second, g, Sum::needs_clean_scores, t);
      for (int e = 0; e < experts; ++e) {
        dz[static_cast<std::size_t>(t * experts + e)] = d.logits.v[e];
        draw[static_cast<std::size_t>(t * experts + e)] = d.raw.v[e];
      }
    });
    return {dz, draw};
  }
  void check_gradient() const {
    const auto [dz, draw] = gradient();
    CHECK(gradient_error([&](const std::vector<double>& x) { return weighted(x, raw); }, z, dz, 1e-6) < 1e-7);
    if (polymoe::projections<Router> > 1)
      CHECK(gradient_error([&](const std::vector<double>& x) { return weighted(z, x); }, raw, draw, 1e-6) < 1e-7);
  }
  int target_of(int t) const { return target.empty() ? -1 : target[static_cast<std::size_t>(t)]; }
  double eps(int t, int e) const {
    return static_cast<double>(v.draw.normal(static_cast<std::uint64_t>(t * experts + e)));
  }
};

using rows = std::vector<std::vector<double>>;
std::vector<double> softmax_of(std::vector<double> z) {
  double sum = 0;
  for (double& x : z) sum += x = std::exp(x);
  for (double& x : z) x /= sum;
  return z;
}
double cv2(const std::vector<double>& x) {
  double mean = 0, square = 0;
  for (const double v : x) mean += v, square += v * v;
  mean /= static_cast<double>(x.size()), square /= static_cast<double>(x.size());
  return (square - mean * mean) / (mean * mean);
}
double phi(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

/// The batch as plain rows: clean logits, noisy logits, deviation.
template <class B>
void spell_out(const B& b, std::function<double(double)> std_of_raw, rows& z, rows& noisy, rows& std) {
  for (int t = 0; t < b.n; ++t) {
    z.emplace_back(), noisy.emplace_back(), std.emplace_back();
    for (int e = 0; e < b.experts; ++e) {
      const auto i = static_cast<std::size_t>(t * b.experts + e);
      std.back().push_back(std_of_raw(b.raw[i]));
      z.back().push_back(b.z[i]);
      noisy.back().push_back(b.z[i] + std.back().back() * b.eps(t, e));
    }
  }
}
double softplus(double x) { return std::log(1 + std::exp(x)); }

template <int K>
void check_loads(int E) {
  using learned = top_k<K, score::noisy_learned<>>;
  rows z, noisy, std;
  batch<learned, balance::load> vmoe(17, E, 90);
  batch<learned, balance::load_shazeer> shazeer(17, E, 90);
  spell_out(vmoe, softplus, z, noisy, std);
  std::vector<double> want(static_cast<std::size_t>(E), 0.0), want_shazeer = want;
  for (std::size_t t = 0; t < z.size(); ++t)
    for (std::size_t e = 0; e < want.size(); ++e) {
      auto all = noisy[t];
      std::sort(all.rbegin(), all.rend());
      want[e] += 1 - phi((all[K - 1] - z[t][e]) / std[t][e]);
      auto others = noisy[t];
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(e));
      std::sort(others.rbegin(), others.rend());
      want_shazeer[e] += K > E - 1 ? 1 : phi((z[t][e] - others[K - 1]) / std[t][e]);
    }
  CHECK(vmoe.value() == doctest::Approx(cv2(want)).epsilon(1e-10));
  CHECK(shazeer.value() == doctest::Approx(cv2(want_shazeer)).epsilon(1e-10));
  vmoe.loss.first.weight = 3, shazeer.loss.first.weight = 3;
  vmoe.check_gradient();
  shazeer.check_gradient();
}

}  // namespace

TEST_CASE("importance is the squared coefficient of variation of the clean scores") {
  for (const int E : {1, 2, 5, 8}) {
    batch<top_k<1, score::noisy_constant<>>, balance::importance> b(13, E, 80, 2);
    std::vector<double> sum(static_cast<std::size_t>(E), 0.0);
    for (int t = 0; t < b.n; ++t) {
      const auto p = softmax_of({b.z.begin() + t * E, b.z.begin() + (t + 1) * E});
      for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += p[e];
    }
    CHECK(b.value() == doctest::Approx(cv2(sum)).epsilon(1e-10));
    b.loss.first.weight = 5;
    b.check_gradient();
  }
}

TEST_CASE("V-MoE load and Shazeer load against brute force thresholds, with their gradients, also for K = E") {
  for (const int E : {2, 3, 5, 8}) check_loads<1>(E), check_loads<2>(E);
  check_loads<4>(5), check_loads<4>(4), check_loads<3>(3), check_loads<1>(1);
}

TEST_CASE("load with constant noise") {
  batch<top_k<2, score::noisy_constant<>>, balance::load> b(11, 6, 91);
  rows z, noisy, std;
  spell_out(b, [](double) { return 1.0 / 6; }, z, noisy, std);
  std::vector<double> want(6, 0.0);
  for (std::size_t t = 0; t < z.size(); ++t) {
    auto all = noisy[t];
    std::sort(all.rbegin(), all.rend());
    for (std::size_t e = 0; e < 6; ++e) want[e] += 1 - phi((all[1] - z[t][e]) * 6);
  }
  CHECK(b.value() == doctest::Approx(cv2(want)).epsilon(1e-6));  // 1/6 is rounded to float in the policy's scale
  b.check_gradient();
}

TEST_CASE("switch loss: closed form, one when uniform, E when everything goes to one expert") {
  batch<top_k<2>, balance::switch_loss> b(23, 5, 92, 2);
  std::vector<double> f(5, 0.0), p(5, 0.0);
  for (int t = 0; t < b.n; ++t) {
    std::vector<double> z{b.z.begin() + t * 5, b.z.begin() + (t + 1) * 5};
    const auto s = softmax_of(z);
    for (int j = 0; j < 2; ++j) {
      const auto e = std::max_element(z.begin(), z.end()) - z.begin();
      f[static_cast<std::size_t>(e)] += 1.0 / (2 * b.n);
      z[static_cast<std::size_t>(e)] = -1e9;
    }
    for (std::size_t e = 0; e < 5; ++e) p[e] += s[e] / b.n;
  }
  CHECK(b.value() == doctest::Approx(5 * dot(f, p)).epsilon(1e-12));
  b.loss.first.weight = 4;
  b.check_gradient();

  batch<top_k<1>, balance::switch_loss> even(4, 4, 1);
  for (int t = 0; t < 4; ++t)
    for (int e = 0; e < 4; ++e) even.z[static_cast<std::size_t>(4 * t + e)] = t == e ? 2 : 0;
  CHECK(even.value() == doctest::Approx(1).epsilon(1e-14));
  batch<top_k<1>, balance::switch_loss> one(7, 4, 1);
  for (int i = 0; i < 28; ++i) one.z[static_cast<std::size_t>(i)] = i % 4 == 2 ? 100 : 0;
  CHECK(one.value() == doctest::Approx(4).epsilon(1e-14));
}

TEST_CASE("z loss is the mean squared logsumexp of the clean logits") {
  batch<top_k<2, score::noisy_constant<>>, balance::z_loss> b(9, 6, 93, 3);
  double want = 0;
  for (int t = 0; t < b.n; ++t) {
    double s = 0;
    for (int e = 0; e < 6; ++e) s += std::exp(b.z[static_cast<std::size_t>(6 * t + e)]);
    want += std::log(s) * std::log(s) / b.n;
  }
  CHECK(b.value() == doctest::Approx(want).epsilon(1e-12));
  b.loss.first.weight = 1;
  b.check_gradient();
}

TEST_CASE("GShard counts first choices only: closed form, one when uniform, Switch when K = 1") {
  batch<top_k<2>, balance::gshard> b(23, 5, 92, 2);
  std::vector<double> f(5, 0.0), p(5, 0.0);
  for (int t = 0; t < b.n; ++t) {
    const std::vector<double> z{b.z.begin() + t * 5, b.z.begin() + (t + 1) * 5};
    const auto s = softmax_of(z);
    f[static_cast<std::size_t>(std::max_element(z.begin(), z.end()) - z.begin())] += 1.0 / b.n;
    for (std::size_t e = 0; e < 5; ++e) p[e] += s[e] / b.n;
  }
  CHECK(b.value() == doctest::Approx(5 * dot(f, p)).epsilon(1e-12));
  b.loss.first.weight = 4;
  b.check_gradient();
  CHECK(batch<top_k<1>, balance::gshard>(31, 6, 7, 2).value() ==
        doctest::Approx(batch<top_k<1>, balance::switch_loss>(31, 6, 7, 2).value()).epsilon(1e-14));

  batch<top_k<2>, balance::gshard> even(4, 4, 1);
  for (int t = 0; t < 4; ++t)
    for (int e = 0; e < 4; ++e) even.z[static_cast<std::size_t>(4 * t + e)] = t == e ? 2 : 0;
  CHECK(even.value() == doctest::Approx(1).epsilon(1e-14));
}

TEST_CASE("importance of scores sums the noisy gates, as paper B's code does; the published form sums clean ones") {
  using router = top_k<2, score::noisy_learned<score::largest_softmax<2>>>;
  batch<router, balance::importance_of_scores> b(13, 6, 81, 2);
  rows z, noisy, std;
  spell_out(b, softplus, z, noisy, std);
  std::vector<double> sum(6, 0.0);
  for (const auto& row : noisy) {
    auto sorted = row;
    std::sort(sorted.rbegin(), sorted.rend());
    const double both = std::exp(sorted[0]) + std::exp(sorted[1]);
    for (std::size_t e = 0; e < 6; ++e) sum[e] += row[e] >= sorted[1] ? std::exp(row[e]) / both : 0;
  }
  CHECK(b.value() == doctest::Approx(cv2(sum)).epsilon(1e-9));
  CHECK(b.value() != doctest::Approx(batch<router, balance::importance>(13, 6, 81, 2).value()).epsilon(1e-3));
  CHECK(b.loss.first.weight == 0.4f);
  b.loss.first.weight = 3;
  b.check_gradient();
}

TEST_CASE("supervised routing: cross-entropy of the clean logits over the rows that have a target") {
  batch<top_k<2, score::noisy_constant<>>, balance::supervised> b(9, 5, 82, 2);
  b.target = {0, 4, -1, 2, 2, -1, 1, 3, 0};
  b.v.inverse_temperature = 0.25f;  // neither temperature nor noise is part of it
  double want = 0;
  for (int t = 0; t < b.n; ++t)
    if (b.target_of(t) >= 0)
      want -= std::log(softmax_of(
                  {b.z.begin() + t * 5, b.z.begin() + (t + 1) * 5})[static_cast<std::size_t>(b.target_of(t))]) /
              7;
  CHECK(b.value() == doctest::Approx(want).epsilon(1e-12));
  b.loss.first.weight = 2;
  b.check_gradient();
  b.target.assign(9, -1);
  CHECK(b.value() == 0);
  for (const double g : b.gradient().first) CHECK(g == 0);
  b.target.assign(9, 5);  // no expert: as if there were none
  CHECK(b.value() == 0);
  // Confident and wrong: a large finite loss with a gradient of at most 1 per logit.
  std::fill(b.z.begin(), b.z.end(), 0.0);
  b.target.assign(9, 1), b.loss.first.weight = 1;
  for (int t = 0; t < 9; ++t) b.z[static_cast<std::size_t>(5 * t)] = 1e4;
  CHECK(b.value() == doctest::Approx(1e4));
  for (const double g : b.gradient().first) CHECK(std::abs(g) <= 1.0 / 9 + 1e-12);
}

TEST_CASE("KL losses both ways, for softmax and for sigmoid scores that do not sum to one") {
  const auto check = [](auto b, bool normalised) {
    std::vector<double> p(5, 0.0);
    for (int t = 0; t < b.n; ++t) {
      std::vector<double> z{b.z.begin() + t * 5, b.z.begin() + (t + 1) * 5};
      if (normalised) z = softmax_of(z);
      else
        for (double& x : z) x = 1 / (1 + std::exp(-x));
      for (std::size_t e = 0; e < 5; ++e) p[e] += z[e];
    }
    double all = 0, from = 0, to = 0;
    for (const double x : p) all += x;
    for (const double x : p) from += 0.2 * (std::log(0.2) - std::log(x / all)), to += x / all * std::log(x / all / 0.2);
    CHECK(b.value(0) == doctest::Approx(from).epsilon(1e-10));
    CHECK(b.value(1) == doctest::Approx(to).epsilon(1e-10));
    // As torch.nn.functional.kl_div(log p, u, reduction='batchmean') has it for p of one dimension.
    CHECK(b.value(2) == doctest::Approx(from / 5).epsilon(1e-10));
    CHECK(b.loss.template get<balance::kl_as_coded>().weight == 0.2f);
    b.loss.template get<balance::kl_from_uniform>().weight = 2,
                    b.loss.template get<balance::kl_to_uniform>().weight = 3;
    b.loss.template get<balance::kl_as_coded>().weight = 30;
    b.check_gradient();
  };
  using all = balance::sum<balance::kl_from_uniform, balance::kl_to_uniform, balance::kl_as_coded>;
  check(batch<mixture<>, all>(12, 5, 94, 2), true);
  check(batch<mixture<score::sigmoid>, all>(12, 5, 94, 2), false);
}

TEST_CASE("KL stays finite when an expert's share vanishes") {
  batch<mixture<>, balance::sum<balance::kl_from_uniform, balance::kl_to_uniform>> b(3, 4, 1);
  for (int i = 0; i < 12; ++i) b.z[static_cast<std::size_t>(i)] = i % 4 == 0 ? 0 : -900;
  CHECK(std::isfinite(b.value(0)));
  CHECK(b.value(1) == doctest::Approx(std::log(4.0)).epsilon(1e-5));
  for (const double g : b.gradient().first) CHECK(std::isfinite(g));
}

TEST_CASE("terms of a sum keep their own columns and weights") {
  using many =
      balance::sum<balance::importance, balance::switch_loss, balance::load, balance::z_loss, balance::load_shazeer>;
  using router = top_k<2, score::noisy_learned<>>;
  batch<router, many> b(15, 6, 95);
  CHECK(b.value(0) == batch<router, balance::importance>(15, 6, 95).value());
  CHECK(b.value(1) == batch<router, balance::switch_loss>(15, 6, 95).value());
  CHECK(b.value(2) == batch<router, balance::load>(15, 6, 95).value());
  CHECK(b.value(3) == batch<router, balance::z_loss>(15, 6, 95).value());
  CHECK(b.value(4) == batch<router, balance::load_shazeer>(15, 6, 95).value());
  b.loss.get<balance::importance>().weight = 1, b.loss.get<balance::switch_loss>().weight = 2;
  b.loss.get<balance::load>().weight = 3, b.loss.get<balance::z_loss>().weight = 4,
  b.loss.get<balance::load_shazeer>().weight = 5;
  b.check_gradient();
  b.v.inverse_temperature = 0.5f;
  b.check_gradient();
}

namespace {
/// Logits that lean to expert 0 by `lean`.
template <class B>
double leaning(double lean) {
  B b(64, 4, 96, 0.5);
  for (int t = 0; t < b.n; ++t) b.z[static_cast<std::size_t>(4 * t)] += lean;
  return b.value();
}
template <class Router, class Loss>
void grows_with_imbalance() {
  using B = batch<Router, Loss>;
  const double a = leaning<B>(0), b = leaning<B>(1), c = leaning<B>(3);
  CHECK(a < b);
  CHECK(b < c);
}
/// Zero logits without noise: perfect balance.  Gradients must be finite, and zero.
template <class Router, class Loss>
void zero_at_balance(bool exact) {
  for (const int E : {1, 2, 3, 4, 5, 7, 8, 16, 31}) {
    if (Router::k > E) continue;
    batch<Router, Loss> b(16, E, 97);
    b.v.noise = 0;
    std::fill(b.z.begin(), b.z.end(), 0.0), std::fill(b.raw.begin(), b.raw.end(), 0.0);
    const auto [dz, draw] = b.gradient();
    const bool power_of_two = (E & (E - 1)) == 0;
    for (const double g : dz) CHECK(std::abs(g) <= (exact && power_of_two ? 0.0 : 1e-16));
    for (const double g : draw) CHECK(std::abs(g) <= (exact && power_of_two ? 0.0 : 1e-16));
  }
}
}  // namespace

TEST_CASE("imbalance costs more than balance") {
  using noisy = top_k<2, score::noisy_learned<>>;
  grows_with_imbalance<noisy, balance::importance>();
  grows_with_imbalance<noisy, balance::load>();
  grows_with_imbalance<noisy, balance::load_shazeer>();
  grows_with_imbalance<noisy, balance::switch_loss>();
  grows_with_imbalance<mixture<>, balance::kl_from_uniform>();
  grows_with_imbalance<mixture<>, balance::kl_to_uniform>();
}

TEST_CASE("a router of zeros: gradients are finite and zero at perfect balance") {
  using noisy = top_k<1, score::noisy_learned<>>;
  zero_at_balance<noisy, balance::importance>(true);
  zero_at_balance<noisy, balance::load>(true);
  zero_at_balance<mixture<>, balance::kl_from_uniform>(true);
  zero_at_balance<mixture<>, balance::kl_to_uniform>(true);
}

TEST_CASE("load losses stay finite when the learned deviation vanishes") {
  const auto finite = [](auto b) {
    std::fill(b.raw.begin(), b.raw.end(), -900.0);
    CHECK(std::isfinite(b.value()));
    const auto [dz, draw] = b.gradient();
    for (const double g : dz) CHECK(std::isfinite(g));
    for (const double g : draw) CHECK(std::isfinite(g));
  };
  finite(batch<top_k<2, score::noisy_learned<>>, balance::load>(8, 5, 98));
  finite(batch<top_k<2, score::noisy_learned<>>, balance::load_shazeer>(8, 5, 98));
}

TEST_CASE("the threshold is the K-th largest, also for many experts and ties") {
  batch<top_k<4, score::noisy_constant<>>, balance::load_shazeer, 1024> b(2, 1000, 99);
  std::fill(b.z.begin(), b.z.end(), 0.5);
  b.v.noise = 0;
  CHECK(b.value() == doctest::Approx(0).epsilon(1e-12));
  for (const double g : b.gradient().first) CHECK(std::isfinite(g));
}

TEST_CASE("loss-free bias has no loss of its own") {
  using alone = balance::as_sum<balance::loss_free_bias>;
  static_assert(alone::columns == 0 && alone::terms == 1 && alone::has_bias && !alone::needs_noise);
  using with = balance::sum<balance::switch_loss, balance::loss_free_bias>;
  with w{};
  w.get<balance::loss_free_bias>().rate = 0.25f;
  CHECK(w.bias_rate() == 0.25f);
  static_assert(balance::as_sum<balance::none>::terms == 0 && !balance::as_sum<balance::none>::has_bias);
}

}  // namespace moe_test
