// Score policies against closed forms in double, their vjp against central differences, and their tangents.
// sanitize: yes
#include "support/close_to.hpp"
#include "support/rows.hpp"

namespace moe_test {
using polymoe::dual;
namespace score = polymoe::score;

namespace {

template <class Score>
void check_vjp(int experts, double scale) {
  const auto z = noise_vector(11, experts, scale), d = noise_vector(12, experts);
  const Score s{};
  const auto f = [&](const std::vector<double>& x) { return dot(to_vector(s.forward(make_row(x))), d); };
  CHECK(gradient_error(f, z, to_vector(s.vjp(make_row(z), make_row(d)))) < 1e-9);
}

/// <J v, u> by dual numbers equals <v, J^T u> by the vjp.
template <class Score>
void check_tangent(int experts) {
  const auto z = noise_vector(13, experts, 2), v = noise_vector(14, experts), u = noise_vector(15, experts);
  auto r = make_row<dual<double>>(z);
  for (int e = 0; e < experts; ++e) r.v[e].t = v[static_cast<std::size_t>(e)];
  const auto p = Score{}.forward(r);
  double forward = 0;
  for (int e = 0; e < experts; ++e) forward += p.v[e].t * u[static_cast<std::size_t>(e)];
  CHECK(forward == doctest::Approx(dot(v, to_vector(Score{}.vjp(make_row(z), make_row(u))))).epsilon(1e-12));
}

}  // namespace

TEST_CASE("softmax of logarithms gives their shares") {
  const auto p = to_vector(score::softmax{}.forward(make_row({std::log(1.0), std::log(2.0), std::log(5.0)})));
  CHECK(p[0] == doctest::Approx(0.125).epsilon(1e-15));
  CHECK(p[1] == doctest::Approx(0.25).epsilon(1e-15));
  CHECK(p[2] == doctest::Approx(0.625).epsilon(1e-15));
}

TEST_CASE("sigmoid at known points") {
  const auto p = to_vector(score::sigmoid{}.forward(make_row({0, std::log(3.0), -std::log(3.0), 50, -50})));
  CHECK(p[0] == 0.5);
  CHECK(p[1] == doctest::Approx(0.75).epsilon(1e-15));
  CHECK(p[2] == doctest::Approx(0.25).epsilon(1e-15));
  CHECK(p[3] == doctest::Approx(1).epsilon(1e-15));
  CHECK(p[4] == close_to(std::exp(-50.0), 1e-12));
}

TEST_CASE("huge logits overflow nothing, also in float") {
  for (const double big : {100.0, 3e4, 1e30}) {
    const auto p = score::softmax{}.forward(make_row<float>({big, -big, big}));
    CHECK(p.v[0] == 0.5f);
    CHECK(p.v[1] == 0.0f);
    CHECK(p.finite());
    const auto s = score::sigmoid{}.forward(make_row<float>({big, -big}));
    CHECK(s.v[0] == 1.0f);
    CHECK((s.v[1] >= 0 && s.v[1] <= std::numeric_limits<float>::min()));
    CHECK(s.finite());
    CHECK(score::softmax{}.vjp(make_row<float>({big, -big, big}), make_row<float>({1, 2, 3})).finite());
    CHECK(score::sigmoid{}.vjp(make_row<float>({big, -big}), make_row<float>({1, 2})).finite());
  }
}

TEST_CASE("scores of every expert count match independent formulas, in double and float") {
  for (int E : {1, 2, 3, 5, 8, 13, 31, 32}) {
    const auto z = noise_vector(21, E, 4);
    double sum = 0;
    for (const double x : z) sum += std::exp(x);
    const auto p = to_vector(score::softmax{}.forward(make_row(z)));
    const auto pf = to_vector(score::softmax{}.forward(make_row<float>(z)));
    const auto s = to_vector(score::sigmoid{}.forward(make_row(z)));
    const auto sf = to_vector(score::sigmoid{}.forward(make_row<float>(z)));
    for (std::size_t e = 0; e < z.size(); ++e) {
      CHECK(p[e] == close_to(std::exp(z[e]) / sum, 1e-13));
      CHECK(s[e] == doctest::Approx(0.5 + 0.5 * std::tanh(z[e] / 2)).epsilon(1e-13));
      CHECK(pf[e] == close_to(p[e], 4e-6));
      CHECK(sf[e] == close_to(s[e], 4e-6));
    }
  }
}

TEST_CASE("vjp against central differences and against dual tangents") {
  for (int E : {1, 2, 7, 32}) {
    check_vjp<score::softmax>(E, 2);
    check_vjp<score::sigmoid>(E, 2);
    check_tangent<score::softmax>(E);
    check_tangent<score::sigmoid>(E);
  }
}

TEST_CASE("constant noise has the deviation s / E") {
  score::noisy_constant<> s;
  CHECK(to_vector(s.noise_std(make_row({7, 8, 9, 10}))) == std::vector<double>{0.25, 0.25, 0.25, 0.25});
  s.scale = 3;
  for (const double x : to_vector(s.noise_std(make_row({7, 8, 9, 10, 11}))))
    CHECK(x == doctest::Approx(0.6).epsilon(1e-15));
}

TEST_CASE("learned noise has the deviation softplus(raw) + floor, and its gradient") {
  score::noisy_learned<> s;
  const std::vector<double> raw{0, 1, -1, 30, -30, 0.3};
  for (const float floor : {0.0f, 0.25f}) {
    s.floor = floor;
    const auto std = to_vector(s.noise_std(make_row(raw)));
    for (std::size_t e = 0; e < raw.size(); ++e)
      CHECK(std[e] == close_to(static_cast<double>(floor) + std::log1p(std::exp(raw[e])), 1e-13));
    const auto d = noise_vector(31, 6);
    const auto f = [&](const std::vector<double>& x) { return dot(to_vector(s.noise_std(make_row(x))), d); };
    CHECK(gradient_error(f, raw, to_vector(s.noise_vjp(make_row(raw), make_row(d)))) < 1e-9);
  }
}

TEST_CASE("the tangent of softplus is right at zero, where a new noise projection starts") {
  for (const double x : {-40.0, -1.0, -1e-300, 0.0, 1e-300, 1.0, 40.0}) {
    const dual<double> y = polymoe::math::softplus(dual<double>(x, 1.0));
    CHECK(y.v == close_to(std::log1p(std::exp(x)), 1e-14));
    CHECK(y.t == close_to(1 / (1 + std::exp(-x)), 1e-14));
  }
}

}  // namespace moe_test
