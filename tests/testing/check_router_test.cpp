// The router checker: it accepts every shipped router and names what is wrong with broken ones.
// with: checks
#include <doctest/doctest.h>

#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_router.hpp>

using namespace polymoe;
using polymoe::testing::check_router;
using polymoe::testing::router_options;

namespace {

/// standardized without the part of the gradient that goes through the deviation.
struct deviation_forgotten : top_k<2, score::standardized<>> {
  template <class Row>
  POLYMOE_HD Row prepare_vjp(const Row& z, const Row& d) const {
    using S = typename Row::scalar;
    const Row p = prepare(z);
    const S scale = (p.at(0) - p.at(1)) / (z.at(0) - z.at(1)), mean = d.sum() / S(static_cast<float>(z.n));
    return d.map([=](S x, int) { return (x - mean) * scale; });
  }
};
/// The default router with one member replaced below.
struct good : top_k<2> {};

struct wrong_factor : top_k<2> {
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& d) const {
    using S = typename Row::scalar;
    return top_k<2>::vjp(z, d).map([](S x, int) { return x * S(1.001); });
  }
};
struct higher_index_wins : top_k<2> {
  template <class Row>
  POLYMOE_HD choice<2> select(const Row& s) const {
    Row turned = s;
    for (int e = 0; e < s.n; ++e) turned.v[e] = s.v[s.n - 1 - e];
    choice<2> c = largest<2>(turned);
    for (int& e : c.expert) e = s.n - 1 - e;
    return c;
  }
};
struct out_of_range : top_k<2> {
  template <class Row>
  POLYMOE_HD choice<2> select(const Row& s) const {
    choice<2> c = largest<2>(s);
    if (s.n == 33) c.expert[1] = s.n;
    return c;
  }
};
struct same_expert_twice : top_k<2> {
  template <class Row>
  POLYMOE_HD choice<2> select(const Row& s) const {
    choice<2> c = largest<2>(s);
    if (s.n == 64) c.expert[1] = c.expert[0];
    return c;
  }
};
struct worst_first : top_k<2> {
  template <class Row>
  POLYMOE_HD choice<2> select(const Row& s) const {
    choice<2> c = largest<2>(s);
    const int best = c.expert[0];
    c.expert[0] = c.expert[1], c.expert[1] = best;
    return c;
  }
};
struct second_best : top_k<1> {
  template <class Row>
  POLYMOE_HD choice<1> select(const Row& s) const {
    choice<1> c = largest<1>(s);
    if (s.n > 1) c.expert[0] = largest<2>(s).expert[1];
    return c;
  }
};
struct likes_expert_3 : top_k<1> {
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    using S = typename Row::scalar;
    return score::softmax::forward(z.map([](S x, int e) { return e == 3 ? x + S(1) : x; }));
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& d) const {
    using S = typename Row::scalar;
    return score::softmax::vjp(z.map([](S x, int e) { return e == 3 ? x + S(1) : x; }), d);
  }
};
struct exp_without_maximum : top_k<2> {
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    using S = typename Row::scalar;
    const Row e = z.map([](S x, int) { return math::exp(x); });
    const S inverse = S(1) / e.sum();
    return e.map([=](S x, int) { return x * inverse; });
  }
};
struct looks_beyond_e : top_k<2> {
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    Row p = top_k<2>::scores(z);
    if (z.n < Row::tier) p.v[0] += z.v[z.n];
    return p;
  }
};
struct computes_in_float : top_k<2> {
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    using S = typename Row::scalar;
    return top_k<2>::scores(z).map([](S x, int) { return S(static_cast<float>(value_of(x))); });
  }
};
struct one_too_few : top_k<2> {
  template <class Row>
  POLYMOE_HD choice<2> select(const Row& s) const {
    choice<2> c = largest<2>(s);
    c.n = 1;
    return c;
  }
};
struct gradient_overflows : top_k<1> {
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row& d) const {
    using S = typename Row::scalar;
    return top_k<1>::vjp(z, d).map([&](S x, int) { return value_of(z.max()) > 9e3 ? x / S(0) : x; });
  }
};
struct noise_of_the_logits : top_k<2> {
  template <class Row>
  POLYMOE_HD Row noise_std(const Row& z) const {
    using S = typename Row::scalar;
    return z.map([](S x, int) { return math::softplus(x); });
  }
};
struct noise_without_gradient : top_k<2, score::noisy_learned<>> {
  template <class Row>
  POLYMOE_HD Row noise_vjp(const Row& raw, const Row&) const {
    return raw.filled(typename Row::scalar(0));
  }
};
struct hides_bad_rows : top_k<1> {  // the library still marks them, through the logits
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z.filled(typename Row::scalar(1));
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row& z, const Row&) const {
    return z.filled(typename Row::scalar(0));
  }
};
struct first_two : top_k<2> {  // not by score: a rule of its own
  template <class Row>
  POLYMOE_HD choice<2> select(const Row& s) const {
    choice<2> c;
    c.expert[0] = 0, c.expert[1] = s.n - 1 > 0 ? s.n - 1 : 0;
    return c;
  }
};

template <class Router>
void accepts_router(const router_options& o = {}) {
  const auto r = check_router<Router>({}, o);
  CHECK_MESSAGE(r.ok, r.text);
  CHECK(r.text.empty());
}
template <class Router>
void refuses_router(const char* promise, const router_options& o = {}) {
  const auto r = check_router<Router>({}, o);
  CHECK_FALSE(r.ok);
  CHECK_MESSAGE(r.text.find(promise) != std::string::npos, r.text);
}

}  // namespace

TEST_CASE("check_router accepts the shipped token-choice routers") {
  accepts_router<top_k<1>>();
  accepts_router<top_k<2>>();
  accepts_router<top_k<3, score::sigmoid>>();
  accepts_router<top_k<8, score::softmax>>();
  accepts_router<top_k<16>>();
  accepts_router<top_k<2, score::noisy_constant<>>>();
  accepts_router<top_k<2, score::noisy_learned<>>>();
  accepts_router<top_k<1, score::noisy_learned<score::sigmoid>>>();
  accepts_router<top_k<2, score::standardized<score::noisy_learned<>>>>();
  accepts_router<top_k<2, score::logit_dropout<>>>();
  accepts_router<top_k<2, score::largest_softmax<2>>>();
}
TEST_CASE("check_router accepts the shipped mixtures") {
  accepts_router<mixture<>>();
  accepts_router<mixture<score::sigmoid>>();
  accepts_router<mixture<score::noisy_constant<>>>();
}
TEST_CASE("check_router checks run-time values: a floor on the learned noise") {
  top_k<2, score::noisy_learned<>> r;
  r.floor = 0.3f;
  CHECK(check_router(r).ok);
  r.floor = -9.0f;
  const auto report = check_router(r);
  CHECK_FALSE(report.ok);
  CHECK(report.text.find("not negative") != std::string::npos);
}
TEST_CASE("check_router finds broken gradients") {
  refuses_router<wrong_factor>("vjp equals fp64 central differences");
  refuses_router<wrong_factor>("transpose of vjp");
  refuses_router<computes_in_float>("vjp equals fp64 central differences");
  refuses_router<noise_without_gradient>("noise_vjp equals");
  refuses_router<noise_of_the_logits>("does not depend on the logits");
  refuses_router<deviation_forgotten>("prepare_vjp equals fp64 central differences");
}
TEST_CASE("check_router finds broken choices") {
  refuses_router<higher_index_wins>("equal scores go to the lower index");
  refuses_router<higher_index_wins>("equal logits go to the lowest indexes");
  refuses_router<out_of_range>("lie in [0, E)");
  refuses_router<out_of_range>("E = 33");
  refuses_router<same_expert_twice>("all different");
  refuses_router<worst_first>("best score first");
  refuses_router<second_best>("k best scores");
  refuses_router<one_too_few>("names k experts");
}
TEST_CASE("check_router finds routers that know experts by index, unless that is meant") {
  refuses_router<likes_expert_3>("renaming the experts");
  refuses_router<likes_expert_3>("equal logits go to the lowest indexes");
  accepts_router<likes_expert_3>({.symmetric = false});
}
TEST_CASE("check_router lets a router choose by its own rule") {
  refuses_router<first_two>("k best scores");
  const auto r = check_router<first_two>({}, {.experts = {2}, .symmetric = false, .by_score = false});
  CHECK_MESSAGE(r.ok, r.text);
}
TEST_CASE("check_router finds broken numbers") {
  refuses_router<exp_without_maximum>("+-1e4");
  refuses_router<gradient_overflows>("finite gradients");
  refuses_router<looks_beyond_e>("finite logits give finite scores");
}
TEST_CASE("check_router: the library marks bad rows even where scores hide them") { accepts_router<hides_bad_rows>(); }
TEST_CASE("check_router reports the same text twice and refuses sizes it cannot hold") {
  CHECK(check_router<wrong_factor>().text == check_router<wrong_factor>().text);
  CHECK_FALSE(check_router<good>({}, {.experts = {129}}).ok);
  CHECK(check_router<good>({}, {.experts = {127, 128}}).ok);
}
