// Optimisers against references written out per element; clipping; averages; decay groups; threads.
// thread: yes
// with: rules
#include <doctest/doctest.h>

#include <polymoe/train/optimizer.hpp>

#include "support/close_to.hpp"

namespace polymoe {
namespace {

/// Two tensors, the second without weight decay, with a gap between them as flat buffers have; the first is longer than
/// one piece of work.
const index long_size = 20000;
std::vector<param_entry> entries() {
  return {{"w", {long_size}, 0, long_size, {}, decay::yes}, {"b", {10}, long_size + 48, 10, {}, decay::no}};
}
const std::size_t total = static_cast<std::size_t>(long_size) + 64;

std::vector<double> numbers(double scale, double phase) {
  std::vector<double> v(total);
  for (std::size_t i = 0; i < total; ++i) v[i] = scale * std::sin(0.37 * static_cast<double>(i) + phase);
  return v;
}
cpu::stream threads(int n) {
  cpu::stream s;
  s.threads = n;
  return s;
}
bool decays(std::size_t i) { return i < static_cast<std::size_t>(long_size); }
bool trained(std::size_t i) { return decays(i) || (i >= total - 16 && i < total - 6); }

TEST_CASE("sgd follows its recurrence") {
  for (const bool nesterov : {false, true}) {
    CAPTURE(nesterov);
    const sgd o{0.9, 0.1, nesterov};
    std::vector<double> p = numbers(1, 0), v(total, 0.0), rp = p, rv = v;
    double* moment[] = {v.data()};
    for (int step = 0; step < 3; ++step) {
      const std::vector<double> g = numbers(0.5, step);
      step_state at;
      at.step = step, at.learning_rate = 0.25f;
      o.step(threads(2), entries(), p.data(), g.data(), moment, at);
      for (std::size_t i = 0; i < total; ++i) {
        if (!trained(i)) continue;
        const double d = g[i] + (decays(i) ? 0.1 * rp[i] : 0);
        rv[i] = 0.9 * rv[i] + d;
        rp[i] -= 0.25 * (nesterov ? d + 0.9 * rv[i] : rv[i]);
      }
    }
    for (std::size_t i = 0; i < total; ++i) {
      CHECK(p[i] == doctest::Approx(rp[i]).epsilon(1e-12));
      CHECK(v[i] == doctest::Approx(rv[i]).epsilon(1e-12));
    }
  }
}

TEST_CASE("adamw follows algorithm 2 of Loshchilov and Hutter") {
  const adamw o{0.9, 0.99, 1e-6, 0.1};
  std::vector<double> p = numbers(1, 0), m(total, 0.0), v(total, 0.0), rp = p, rm = m, rv = v;
  double* moment[] = {m.data(), v.data()};
  for (int step = 0; step < 4; ++step) {
    const std::vector<double> g = numbers(0.5, step);
    step_state at;
    at.step = step, at.learning_rate = 0.125f;
    o.step(threads(3), entries(), p.data(), g.data(), moment, at);
    for (std::size_t i = 0; i < total; ++i) {
      if (!trained(i)) continue;
      rm[i] = 0.9 * rm[i] + 0.1 * g[i];
      rv[i] = 0.99 * rv[i] + 0.01 * g[i] * g[i];
      const double mean = rm[i] / (1 - std::pow(0.9, step + 1)), square = rv[i] / (1 - std::pow(0.99, step + 1));
      rp[i] -= 0.125 * ((decays(i) ? 0.1 * rp[i] : 0) + mean / (std::sqrt(square) + 1e-6));
    }
  }
  for (std::size_t i = 0; i < total; ++i) {
    CHECK(p[i] == doctest::Approx(rp[i]).epsilon(1e-11));
    CHECK(m[i] == doctest::Approx(rm[i]).epsilon(1e-11));
    CHECK(v[i] == doctest::Approx(rv[i]).epsilon(1e-11));
  }
}

TEST_CASE("the first step of adamw has the size of the learning rate whatever the gradient") {
  const adamw o{0.9, 0.999, 0, 0};
  for (const double scale : {1e-4, 1.0, 1e4}) {
    std::vector<double> p(total, 0.0), m(total, 0.0), v(total, 0.0), g(total, scale);
    double* moment[] = {m.data(), v.data()};
    step_state at;
    at.learning_rate = 0.5f;
    o.step(threads(1), entries(), p.data(), g.data(), moment, at);
    CHECK(p[0] == doctest::Approx(-0.5));
    CHECK(p[total - 7] == doctest::Approx(-0.5));
    CHECK(p[total - 1] == 0);  // outside every tensor
  }
}

TEST_CASE("clipping scales to the norm, and only when it must") {
  std::vector<double> g = numbers(2, 1);
  double squares = 0;
  for (std::size_t i = 0; i < total; ++i) squares += trained(i) ? g[i] * g[i] : 0;
  const std::vector<double> before = g;
  CHECK(gradient_norm(entries(), g.data()) == doctest::Approx(std::sqrt(squares)));
  CHECK(clip_gradients(threads(2), entries(), g.data(), 1e9) == doctest::Approx(std::sqrt(squares)));
  CHECK(g == before);
  CHECK(clip_gradients(threads(2), entries(), g.data(), 1.5) == doctest::Approx(std::sqrt(squares)));
  CHECK(gradient_norm(entries(), g.data()) == doctest::Approx(1.5));
  CHECK(g[3] == moe_test::close_to(before[3] * 1.5 / std::sqrt(squares), 1e-9));
  clip_gradients(threads(2), entries(), g.data(), 0);  // 0: no limit
  CHECK(gradient_norm(entries(), g.data()) == doctest::Approx(1.5));
  g[5] = std::numeric_limits<double>::infinity();
  const std::vector<double> broken = g;
  CHECK_FALSE(std::isfinite(clip_gradients(threads(1), entries(), g.data(), 1.0)));
  CHECK(g == broken);
}

TEST_CASE("the norm of float gradients is summed in double") {
  std::vector<float> g(total, 1e-3f);
  g[0] = 1e3f;
  CHECK(gradient_norm(entries(), g.data()) == doctest::Approx(std::sqrt(1e6 + (long_size + 9) * 1e-6)).epsilon(1e-9));
  std::fill(g.begin(), g.end(), 1e30f);  // squares beyond float
  CHECK(std::isfinite(gradient_norm(entries(), g.data())));
}

TEST_CASE("ema follows the parameters with a rising decay") {
  std::vector<double> a(total, 0.0), p(total, 1.0);
  const ema e{0.5};
  step_state at;
  e.update(threads(1), entries(), p.data(), a.data(), at);  // decay 1 / 10
  CHECK(a[0] == doctest::Approx(0.9));
  at.step = 1000;  // decay 0.5
  std::fill(p.begin(), p.end(), 2.0);
  e.update(threads(1), entries(), p.data(), a.data(), at);
  CHECK(a[0] == doctest::Approx(0.5 * 0.9 + 0.5 * 2));
  CHECK(a[total - 1] == 0);
}

TEST_CASE("optimisers keep their bits for any number of threads") {
  std::vector<float> start(total), g(total);
  for (std::size_t i = 0; i < total; ++i)
    start[i] = std::sin(static_cast<float>(i)), g[i] = std::cos(static_cast<float>(i));
  std::vector<float> result[3];
  for (int n = 1; n <= 3; ++n) {
    std::vector<float> p = start, m(total, 0.0f), v(total, 0.0f), clipped = g;
    float* moment[] = {m.data(), v.data()};
    step_state at;
    at.learning_rate = 0.01f;
    clip_gradients(threads(n), entries(), clipped.data(), 1.0);
    adamw{}.step(threads(n), entries(), p.data(), clipped.data(), moment, at);
    result[n - 1] = p;
  }
  CHECK(result[0] == result[1]);
  CHECK(result[0] == result[2]);
}

}  // namespace
}  // namespace polymoe
