// The combine checker: it accepts the shipped policies and names what is wrong with broken ones.
// sanitize: yes
// with: checks
#include <doctest/doctest.h>

#include <polymoe/testing/check_combine.hpp>

using namespace polymoe;
using polymoe::testing::check_combine;

namespace {

struct squares {  // w = s^2, right
  template <int K, class S>
  POLYMOE_HD void weigh(const chosen_scores<K, S>& c, S* w) const {
    for (int j = 0; j < c.n; ++j) w[j] = c.score[j] * c.score[j];
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d, S* g) const {
    for (int j = 0; j < c.n; ++j) g[j] = S(2) * c.score[j] * d[j];
  }
};
struct wrong_gradient : squares {
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d, S* g) const {
    for (int j = 0; j < c.n; ++j) g[j] = c.score[j] * d[j];
  }
};
struct frozen_tangent : squares {  // right in value, wrong in the derivative of its vjp
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d, S* g) const {
    for (int j = 0; j < c.n; ++j) g[j] = S(2) * S(value_of(c.score[j])) * d[j];
  }
};
/// Forward over the kept choices, gradient as if all had been kept.
struct forgets_the_mask : combine::renormalised<combine::over_kept> {
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d, S* g) const {
    combine::renormalised<combine::over_chosen>{}.vjp(c, d, g);
  }
};
struct divides_by_zero : squares {
  template <int K, class S>
  POLYMOE_HD void weigh(const chosen_scores<K, S>& c, S* w) const {
    S t(0);
    for (int j = 0; j < c.n; ++j) t += c.score[j];
    for (int j = 0; j < c.n; ++j) w[j] = c.score[j] / t;
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d, S* g) const {
    combine::renormalised<>{}.vjp(c, d, g);
  }
};
struct writes_all_k : squares {
  template <int K, class S>
  POLYMOE_HD void weigh(const chosen_scores<K, S>& c, S* w) const {
    for (int j = 0; j < K; ++j) w[j] = j < c.n ? c.score[j] * c.score[j] : S(0);
  }
};
struct writes_some : squares {
  template <int K, class S>
  POLYMOE_HD void vjp(const chosen_scores<K, S>& c, const S* d, S* g) const {
    for (int j = 0; j < c.n; ++j)
      if (c.kept[j]) g[j] = S(2) * c.score[j] * d[j];
  }
};

template <class C>
void accepts() {
  const auto r = check_combine<C>();
  CHECK_MESSAGE(r.ok, r.text);
}
template <class C>
void refuses_combine(const char* promise) {
  const auto r = check_combine<C>();
  CHECK_FALSE(r.ok);
  CHECK_MESSAGE(r.text.find(promise) != std::string::npos, r.text);
}

}  // namespace

TEST_CASE("check_combine accepts the shipped policies") {
  accepts<combine::affinity>();
  accepts<combine::sum>();
  accepts<combine::interpolated>();
  accepts<combine::renormalised<combine::over_chosen>>();
  accepts<combine::renormalised<combine::over_kept>>();
  accepts<squares>();
}
TEST_CASE("check_combine finds broken policies") {
  refuses_combine<wrong_gradient>("vjp equals fp64 central differences");
  refuses_combine<wrong_gradient>("transpose of vjp");
  refuses_combine<frozen_tangent>("tangent of vjp");
  refuses_combine<forgets_the_mask>("vjp equals fp64 central differences");
  refuses_combine<divides_by_zero>("finite for scores");
  refuses_combine<writes_all_k>("weigh writes nothing beyond n");
  refuses_combine<writes_some>("vjp equals fp64 central differences");
}
TEST_CASE("check_combine names the pattern of kept choices") {
  CHECK(check_combine<forgets_the_mask>().text.find("kept") != std::string::npos);
}
