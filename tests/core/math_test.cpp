// The float functions of core/math.hpp against double: the errors that the header states.
// sanitize: yes
#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>
#include <polymoe/core/math.hpp>

#include "support/close_to.hpp"

namespace polymoe {
namespace {

using moe_test::close_to;

double ulps(float got, double exact) {
  const float near = static_cast<float>(exact);
  const double step =
      std::abs(static_cast<double>(std::nextafter(near, std::numeric_limits<float>::infinity())) - near);
  return std::abs(static_cast<double>(got) - exact) / step;
}

TEST_CASE("math: exp stays within 3 ulp, and ends at 0 and infinity") {
  double worst = 0;
  for (int i = -870000; i <= 887000; i += 7) {
    const float x = static_cast<float>(i) * 1e-4f;
    worst = std::max(worst, ulps(math::exp(x), std::exp(static_cast<double>(x))));
  }
  MESSAGE("worst error of exp: ", worst, " ulp");
  CHECK(worst < 3);
  CHECK(math::exp(89.0f) == std::numeric_limits<float>::infinity());
  CHECK(math::exp(-200.0f) == 0.0f);
  CHECK(math::exp(-100.0f) == close_to(std::exp(-100.0), 0.05));  // denormal
  CHECK(std::isnan(math::exp(std::nanf(""))));
}
TEST_CASE("math: tanh stays within 2 ulp") {
  double worst = 0;
  for (int i = -120000; i <= 120000; ++i) {
    const float x = static_cast<float>(i) * 1e-4f;
    if (i != 0) worst = std::max(worst, ulps(math::tanh(x), std::tanh(static_cast<double>(x))));
  }
  MESSAGE("worst error of tanh: ", worst, " ulp");
  CHECK(worst < 2);
  CHECK(math::tanh(50.0f) == 1.0f);
  CHECK(math::tanh(-50.0f) == -1.0f);
  CHECK(std::isnan(math::tanh(std::nanf(""))));
}
TEST_CASE("math: erf stays within 5e-7 absolutely") {
  double worst = 0;
  for (int i = -60000; i <= 60000; ++i) {
    const float x = static_cast<float>(i) * 1e-4f;
    worst = std::max(worst, std::abs(static_cast<double>(math::erf(x)) - std::erf(static_cast<double>(x))));
  }
  MESSAGE("worst error of erf: ", worst);
  CHECK(worst < 5e-7);
  CHECK(std::isnan(math::erf(std::nanf(""))));
}
TEST_CASE("math: log stays within 2 ulp, and ends at -infinity and infinity") {
  double worst = 0, near_one = 0;
  for (std::uint32_t bits = 0x00800000u; bits < 0x7f800000u; bits += 9973) {
    const float x = bit_cast<float>(bits);
    const double exact = std::log(static_cast<double>(x));
    if (std::abs(exact) > 0.3) worst = std::max(worst, ulps(math::log(x), exact));
    else near_one = std::max(near_one, ulps(math::log(x), exact));
  }
  for (int i = -3000; i <= 3000; ++i) {
    const float x = 1.0f + static_cast<float>(i) * 1e-4f;
    if (i != 0) near_one = std::max(near_one, ulps(math::log(x), std::log(static_cast<double>(x))));
  }
  MESSAGE("worst error of log: ", worst, " ulp, near 1: ", near_one, " ulp");
  CHECK(worst < 2);
  CHECK(near_one < 2);
  CHECK(math::log(1.0f) == 0.0f);
  CHECK(math::log(1e-40f) == doctest::Approx(std::log(1e-40)).epsilon(1e-5));  // denormal
  CHECK(math::log(0.0f) == -std::numeric_limits<float>::infinity());
  CHECK(math::log(std::numeric_limits<float>::infinity()) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(math::log(-1.0f)));
  CHECK(std::isnan(math::log(std::nanf(""))));
}
TEST_CASE("math: log1p stays within 4 ulp, from tiny numbers to large ones") {
  double worst = 0;
  for (std::uint32_t bits = 0x20000000u; bits < 0x7f000000u; bits += 9973) {
    const float x = bit_cast<float>(bits);
    worst = std::max(worst, ulps(math::log1p(x), std::log1p(static_cast<double>(x))));
    if (x < 0.99f) worst = std::max(worst, ulps(math::log1p(-x), std::log1p(-static_cast<double>(x))));
  }
  MESSAGE("worst error of log1p: ", worst, " ulp");
  CHECK(worst < 4);
  CHECK(math::log1p(0.0f) == 0.0f);
  CHECK(math::log1p(-1.0f) == -std::numeric_limits<float>::infinity());
  CHECK(math::log1p(std::numeric_limits<float>::infinity()) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(math::log1p(std::nanf(""))));
}
TEST_CASE("math: cos_turns stays within 3e-7 absolutely") {
  double worst = 0;
  for (int i = 0; i <= 1000000; ++i) {
    const float v = static_cast<float>(i) * 1e-6f;
    worst = std::max(worst, std::abs(static_cast<double>(math::cos_turns(v)) -
                                     std::cos(6.283185307179586 * static_cast<double>(v))));
  }
  MESSAGE("worst error of cos_turns: ", worst);
  CHECK(worst < 3e-7);
}
TEST_CASE("math: sigmoid and softplus hold at both ends") {
  CHECK(math::sigmoid(-200.0f) == 0.0f);
  CHECK(math::sigmoid(200.0f) == 1.0f);
  CHECK(math::softplus(-200.0) == close_to(std::exp(-200.0), 1e-6));
  CHECK(math::softplus(800.0) == 800.0);
  CHECK(math::softplus(0.0) == doctest::Approx(std::log(2.0)));
  CHECK(math::normal_cdf(1.3) == doctest::Approx(0.5 * std::erfc(-1.3 / std::sqrt(2.0))));
  CHECK(!math::is_finite(std::numeric_limits<double>::infinity()));
  CHECK(!math::is_finite(std::nan("")));
  CHECK(!math::is_finite(dual<double>(1.0, std::nan(""))));
  CHECK(math::is_finite(1e300));
}

/// Derivatives of dual numbers against central differences.
template <class F>
void check_derivative(const char* name, F f, double x) {
  const double h = 1e-5, expected = (f(x + h) - f(x - h)) / (2 * h);
  const dual<double> y = f(dual<double>(x, 1.0));
  INFO(name, " at ", x);
  CHECK(y.v == f(x));
  CHECK(y.t == doctest::Approx(expected).epsilon(1e-7));
}
TEST_CASE("dual: every function carries its derivative") {
  for (const double x : {0.3, 1.7}) {
    check_derivative("exp", [](auto z) { return math::exp(z); }, x);
    check_derivative("log", [](auto z) { return math::log(z); }, x);
    check_derivative("log1p", [](auto z) { return math::log1p(z); }, x);
    check_derivative("sqrt", [](auto z) { return math::sqrt(z); }, x);
    check_derivative("tanh", [](auto z) { return math::tanh(z); }, x);
    check_derivative("erf", [](auto z) { return math::erf(z); }, x);
    check_derivative("abs", [](auto z) { return math::abs(-z); }, x);
    check_derivative("sigmoid", [](auto z) { return math::sigmoid(z); }, x);
    check_derivative("softplus", [](auto z) { return math::softplus(z); }, x);
    check_derivative("normal_cdf", [](auto z) { return math::normal_cdf(z); }, x);
    check_derivative("normal_pdf", [](auto z) { return math::normal_pdf(z); }, x);
    using S = double;
    check_derivative("rational", [](auto z) { return (z * z - S(3)) / (z + S(2)) - z; }, x);
  }
  CHECK((dual<float>(1, 5) < dual<float>(2, -9)));
  CHECK((dual<float>(1, 5) == dual<float>(1, 7)));  // comparisons look at values only
}

}  // namespace
}  // namespace polymoe
