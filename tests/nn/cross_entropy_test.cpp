// nn::cross_entropy: closed forms, label smoothing, gradients by differences and by dual numbers, hits, threads.
// thread: yes
// with: parts
#include <doctest/doctest.h>

#include <polymoe/core/workspace.hpp>
#include <polymoe/nn/cross_entropy.hpp>

namespace polymoe {
namespace {

/// A loss with its memory.
template <class T>
struct bench {
  nn::cross_entropy<T> loss;
  aligned_block saved_block, scratch_block;
  typename nn::cross_entropy<T>::saved saved;
  context<cpu> c;
  bench(index classes, double smoothing, index rows, int threads = 1) : loss({classes, smoothing}) {
    binder<cpu> dry;
    loss.bind(dry, rows);
    saved_block = aligned_block(dry.saved.peak()), scratch_block = aligned_block(dry.scratch.peak());
    binder<cpu> real;
    real.saved = saved_block.as_arena();
    saved = loss.bind(real, rows);
    c.stream.threads = threads;
  }
  loss_report run(view<const T> logits, std::span<const std::int32_t> labels, view<T> d, double weight = 1,
                  const label_mix& mix = {}) {
    c.scratch = scratch_block.as_arena();
    loss.run(c, logits, labels, d, saved, weight, mix);
    return *saved.report;
  }
};

TEST_CASE("cross_entropy of equal logits is log of the classes") {
  bench<double> b(10, 0, 4);
  std::vector<double> x(40, 3.0), d(40);
  const std::int32_t labels[4] = {0, 3, 9, 0};
  const loss_report r = b.run({x.data(), 4, 10}, labels, {d.data(), 4, 10});
  CHECK(r.loss == doctest::Approx(std::log(10.0)));
  CHECK(r.rows == 4);
  CHECK(r.correct == 2);  // ties go to class 0
  CHECK(d[0] == doctest::Approx((0.1 - 1) / 4));
  CHECK(d[1] == doctest::Approx(0.1 / 4));
}

TEST_CASE("label smoothing follows its definition") {
  const double eps = 0.1;
  bench<double> b(3, eps, 2);
  double x[6] = {1, 2, -1, 0.5, 0, 3}, d[6];
  const std::int32_t labels[2] = {1, 0};
  const loss_report r = b.run({x, 2, 3}, labels, {d, 2, 3}, 0.5);
  double expected = 0;
  for (int row = 0; row < 2; ++row) {
    double total = 0;
    for (int k = 0; k < 3; ++k) total += std::exp(x[3 * row + k]);
    for (int k = 0; k < 3; ++k) {
      const double q = (1 - eps) * (k == labels[row]) + eps / 3, p = std::exp(x[3 * row + k]) / total;
      expected -= q * std::log(p) / 2;
      CHECK(d[3 * row + k] == doctest::Approx(0.5 * (p - q) / 2));  // weight 0.5, 2 rows
    }
  }
  CHECK(r.loss == doctest::Approx(expected));
  CHECK(r.correct == 1);
}

TEST_CASE("mixed labels: the loss is the labels' losses by their shares, its gradient that of differences") {
  const double own = 0.7, beyond = 1.5, h = 1e-6;
  for (const double eps : {0.0, 0.1}) {
    bench<double> b(3, eps, 2);
    double x[6] = {1, 2, -1, 0.5, 0, 3}, d[6], unused[6];
    const std::int32_t first[2] = {1, 0}, second[2] = {2, 0};  // the second row's partner has its class
    const label_mix mix{second, &own};
    const loss_report r = b.run({x, 2, 3}, first, {d, 2, 3}, 1, mix);
    CHECK(r.correct == 1);  // of the first labels
    const double apart =
        own * b.run({x, 2, 3}, first, {unused, 2, 3}).loss + (1 - own) * b.run({x, 2, 3}, second, {unused, 2, 3}).loss;
    CHECK(r.loss == doctest::Approx(apart).epsilon(1e-14));
    for (int k = 0; k < 6; ++k) {
      const double kept = x[k];
      x[k] = kept + h;
      const double up = b.run({x, 2, 3}, first, {unused, 2, 3}, 1, mix).loss;
      x[k] = kept - h;
      const double down = b.run({x, 2, 3}, first, {unused, 2, 3}, 1, mix).loss;
      x[k] = kept;
      CHECK(d[k] == doctest::Approx((up - down) / (2 * h)).epsilon(1e-7));
    }
    const std::int32_t bad[2] = {0, 3};
    CHECK_THROWS_WITH_AS(b.run({x, 2, 3}, first, {d, 2, 3}, 1, {bad, &own}),
                         "cross_entropy: label 3 of row 1 is not in [0, 3)", error);
    CHECK_THROWS_WITH_AS(b.run({x, 2, 3}, first, {d, 2, 3}, 1, {second, &beyond}), doctest::Contains("share 1.5"),
                         error);
    CHECK_THROWS_WITH_AS(b.run({x, 2, 3}, first, {d, 2, 3}, 1, {second, nullptr}),
                         "cross_entropy: 2 second labels without the share of the first ones", error);
  }
}

TEST_CASE("dual cross_entropy carries the derivative of loss and gradient") {
  const double eps = 0.2, h = 1e-6;
  const std::int32_t labels[1] = {2};
  const double x[4] = {0.3, -1, 2, 0.1}, t[4] = {1, -0.5, 0.25, 2};
  bench<dual<double>> b(4, eps, 1);
  double xv[4], xt[4], dv[4], dt[4];
  std::copy_n(x, 4, xv), std::copy_n(t, 4, xt);
  const loss_report r = b.run({xv, xt, 1, 4}, labels, {dv, dt, 1, 4});
  bench<double> p(4, eps, 1);
  double moved[4], hi[4], lo[4];
  for (int k = 0; k < 4; ++k) moved[k] = x[k] + h * t[k];
  const double up = p.run({moved, 1, 4}, labels, {hi, 1, 4}).loss;
  for (int k = 0; k < 4; ++k) moved[k] = x[k] - h * t[k];
  const double down = p.run({moved, 1, 4}, labels, {lo, 1, 4}).loss;
  CHECK(r.loss_tangent == doctest::Approx((up - down) / (2 * h)).epsilon(1e-7));
  for (int k = 0; k < 4; ++k) CHECK(dt[k] == doctest::Approx((hi[k] - lo[k]) / (2 * h)).epsilon(1e-6));
}

TEST_CASE("cross_entropy keeps its bits for any number of threads, and bf16 is near float") {
  const index rows = 3000, classes = 17;
  std::vector<float> x(rows * classes), d1(x.size()), d3(x.size());
  std::vector<bf16> xb(x.size()), db(x.size());
  std::vector<std::int32_t> labels(rows);
  for (std::size_t i = 0; i < x.size(); ++i) {
    xb[i] = bf16(4 * std::sin(static_cast<float>(i)));
    x[i] = static_cast<float>(xb[i]);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int32_t>(i % classes);
  bench<float> one(classes, 0.1, rows, 1), three(classes, 0.1, rows, 3);
  bench<bf16> half(classes, 0.1, rows, 1);
  const loss_report a = one.run({x.data(), rows, classes}, labels, {d1.data(), rows, classes});
  const loss_report b = three.run({x.data(), rows, classes}, labels, {d3.data(), rows, classes});
  const loss_report c = half.run({xb.data(), rows, classes}, labels, {db.data(), rows, classes});
  CHECK(a.loss == b.loss);
  CHECK(a.correct == b.correct);
  CHECK(d1 == d3);
  CHECK(c.loss == doctest::Approx(a.loss).epsilon(1e-6));  // equal inputs, arithmetic in float
  double apart = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = static_cast<double>(d1[i]), got = static_cast<double>(static_cast<float>(db[i]));
    apart += (got - want) * (got - want), size += want * want;
  }
  CHECK(std::sqrt(apart) < 0.0025 * std::sqrt(size));  // rounding to bf16 moves a number by 1/512 of itself at most
}

TEST_CASE("cross_entropy survives huge logits, no rows and refuses bad labels") {
  bench<float> b(3, 0, 2);
  float x[6] = {1e30f, 0, 0, -1e30f, 5, 1}, d[6];
  const std::int32_t labels[2] = {0, 1}, bad[2] = {0, 3}, negative[2] = {-1, 0};
  const loss_report r = b.run({x, 2, 3}, labels, {d, 2, 3});
  CHECK(std::isfinite(r.loss));
  for (const float v : d) CHECK(std::isfinite(v));
  CHECK(b.run({x, 0, 3}, {}, {d, 0, 3}).loss == 0);
  CHECK_THROWS_WITH_AS(b.run({x, 2, 3}, bad, {d, 2, 3}), doctest::Contains("label 3 of row 1"), error);
  CHECK_THROWS_WITH_AS(b.run({x, 2, 3}, negative, {d, 2, 3}), doctest::Contains("label -1 of row 0"), error);
  CHECK_THROWS_WITH_AS(b.run({x, 1, 3}, labels, {d, 1, 3}), doctest::Contains("2 labels for 1 rows"), error);
}

}  // namespace
}  // namespace polymoe
