// Activations: values, derivatives and the ends of the range; nn::activation as a module.
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/activation.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class Act>
void check_derivative(double skip_near_zero) {
  const Act f;
  for (double x = -8; x <= 8; x += 0.0371) {
    if (std::abs(x) < skip_near_zero) continue;
    const double h = 1e-5, difference = (f(x + h) - f(x - h)) / (2 * h);
    CHECK(f.grad(x) == doctest::Approx(difference).epsilon(1e-8).scale(1));
    const dual<double> d = f(dual<double>(x, 1));
    CHECK(d.v == doctest::Approx(f(x)));
    CHECK(d.t == doctest::Approx(f.grad(x)).epsilon(1e-9).scale(1));
    // float against double
    const double y = f(x), yf = f(static_cast<float>(x)), gf = f.grad(static_cast<float>(x));
    CHECK(std::abs(yf - f(static_cast<double>(static_cast<float>(x)))) <= 2e-6 * (1 + std::abs(y)));
    CHECK(std::abs(gf - f.grad(x)) <= 3e-6);
  }
}

TEST_CASE("activations have the derivatives they say") {
  check_derivative<act::gelu_tanh>(0);
  check_derivative<act::gelu_erf>(0);
  check_derivative<act::silu>(0);
  check_derivative<act::relu>(1e-3);
  check_derivative<act::identity>(0);
}

TEST_CASE("activations by their definitions") {
  for (const double x : {-3.0, -0.5, 0.0, 0.7, 4.0}) {
    CHECK(act::gelu_tanh{}(x) ==
          doctest::Approx(0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)))).epsilon(1e-12));
    CHECK(act::gelu_erf{}(x) == doctest::Approx(0.5 * x * std::erfc(-x / std::sqrt(2.0))).epsilon(1e-12));
    CHECK(act::silu{}(x) == doctest::Approx(x / (1 + std::exp(-x))).epsilon(1e-12));
    CHECK(act::relu{}(x) == std::max(x, 0.0));
  }
}

TEST_CASE("activations in float at the ends of the range") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const float x : {65.0f, 1e10f, 1e30f}) {
    CHECK(act::gelu_tanh{}(x) == x);
    CHECK(act::silu{}(x) == x);
    CHECK(std::abs(act::gelu_erf{}(x) / x - 1) < 1e-6f);
    CHECK(act::gelu_tanh{}(-x) == 0.0f);
    CHECK(act::silu{}(-x) == 0.0f);
  }
  CHECK(act::relu{}(inf) == inf);
  CHECK(std::isnan(act::gelu_tanh{}(nan)));
  CHECK(std::isnan(act::gelu_tanh{}.grad(nan)));
  CHECK(std::isnan(act::gelu_erf{}(nan)));
  CHECK(std::isnan(act::silu{}(nan)));
  CHECK(std::isnan(act::relu{}(nan)));
}

template <class T>
using gelu = nn::activation<act::gelu_tanh, T>;

TEST_CASE("activation keeps the module contract") {
  testing::check_module<gelu>([](auto t) { return typename gelu<decltype(t)>::config{13}; },
                              {.rows = 21, .input_scale = 3});
}

}  // namespace
}  // namespace polymoe
