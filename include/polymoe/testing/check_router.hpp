// check_router<Router>(): every promise a token-choice or mixture router makes to the library, checked on the CPU.
//
//   choice        k experts, all different, inside [0, E); best score first, equal scores in order of index
//   symmetry      renaming the experts renames the choice; equal logits give experts 0..k-1
//   numbers       finite logits, also +-1e4, give finite scores in float and double; nothing beyond E is looked at
//   gradients     vjp and noise_vjp equal fp64 central differences to 1e-6; the dual-number forward is their transpose,
//                 and the dual-number vjp is the difference of the vjp (exact Hessian-vector products rest on it)
//   prepare       prepare_vjp likewise, where the router has one; equal logits give no NaN
//   noise         deviations are finite and not negative; with one projection they must not depend on the logits,
//                 because the library carries no gradient through them
//   bad rows      select returns from rows with NaN and infinities (its result is not used there); through the library
//                 such a row is marked bad, and no row of finite logits is
//
// A select that never returns shows as a hang, one that writes out of bounds shows under AddressSanitizer.  Lane groups
// are outside this check: it runs rows of one lane.
#pragma once

#include <algorithm>
#include <limits>

#include "../router/route_row.hpp"
#include "report.hpp"

namespace polymoe::inline v0::testing {

struct router_options {
  /// Numbers of experts to try; those below k are left out.  Empty: k..17, 31..33, 64, 65.
  std::vector<int> experts{};
  int rows = 4;  ///< random rows per number of experts and kind of row
  /// Experts differ by their logits only.  False for routers that know an expert by its index (a price, a bias).
  bool symmetric = true;
  /// The choice is the k best scores, ties to the lower index.  False for routers that choose by another rule.
  bool by_score = true;
  double tolerance = 1e-6;  ///< of gradients against central differences, relative to max(1, |gradient|)
};

namespace detail {

template <class Router>
class router_check {
 public:
  static constexpr bool selects = Router::k >= 1;
  static constexpr int K = choices_of<Router>;
  static constexpr int tier = 128;
  template <class S>
  using row_of = row<scalar_group, tier, S>;
  using Row = row_of<double>;
  using Dual = row_of<dual<double>>;

  router_check(const Router& r, const router_options& o) : router_(r), options_(o), book_("check_router") {}

  report run() {
    std::vector<int> list = options_.experts;
    if (list.empty()) {
      for (int e = selects ? K : 1; e <= 17; ++e) list.push_back(e);
      for (int e : {31, 32, 33, 64, 65}) list.push_back(e);
    }
    for (int e : list) {
      if (e > tier) {
        book_.expect(false, "options.experts must stay within 128", "E = ", e);
        continue;
      }
      if (e < (selects ? K : 1)) continue;
      E_ = e;
      for (int i = 0; i < options_.rows; ++i) {
        row_i_ = i;
        random_rows();
        tied_rows();
        noise_rows();
        prepared_rows();
      }
      extreme_rows();
      bad_rows();
    }
    return book_.result();
  }

 private:
  /// A row of E elements; the tail is NaN, so that looking at it shows.
  template <class R, class F>
  R make(F f) const {
    R r;
    r.n = E_;
    for (int e = 0; e < tier; ++e) r.v[e] = typename R::scalar(std::numeric_limits<double>::quiet_NaN());
    for (int e = 0; e < E_; ++e) r.v[e] = f(e);
    return r;
  }
  Row draw(double scale) {
    return make<Row>([&](int) { return scale * random_.normal(); });
  }
  std::string where(const char* kind) const {
    return "E = " + std::to_string(E_) + ", " + kind + " row " + std::to_string(row_i_);
  }
  static double dot(const Row& a, const Row& b) {
    double s = 0;
    for (int e = 0; e < a.n; ++e) s += a.v[e] * b.v[e];
    return s;
  }

  void check_choice(const Row& scores, const std::string& at) {
    const choice<K> c = router_.select(scores);
    if (!book_.expect(c.n == K, "select names k experts", at, ": n = ", c.n, ", k = ", K)) return;
    bool inside = true;
    for (int j = 0; j < K; ++j) {
      inside = inside && c.expert[j] >= 0 && c.expert[j] < E_;
      book_.expect(c.expert[j] >= 0 && c.expert[j] < E_, "chosen experts lie in [0, E)", at, ": choice ", j, " is ",
                   c.expert[j]);
      for (int i = 0; i < j; ++i)
        book_.expect(c.expert[i] != c.expert[j], "chosen experts are all different", at, ": choices ", i, " and ", j,
                     " are both ", c.expert[j]);
    }
    if (!inside || !options_.by_score) return;
    for (int j = 0; j + 1 < K; ++j)
      book_.expect(!(scores.v[c.expert[j]] < scores.v[c.expert[j + 1]]), "choices are ordered, best score first", at,
                   ": choice ", j, " scores ", scores.v[c.expert[j]], ", choice ", j + 1, " ",
                   scores.v[c.expert[j + 1]]);
    std::vector<int> order(static_cast<std::size_t>(E_));
    for (int e = 0; e < E_; ++e) order[static_cast<std::size_t>(e)] = e;
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores.v[a] > scores.v[b]; });
    for (int j = 0; j < K; ++j) {
      const int right = order[static_cast<std::size_t>(j)];
      if (c.expert[j] == right) continue;
      if (scores.v[c.expert[j]] == scores.v[right])
        book_.expect(false, "equal scores go to the lower index", at, ": choice ", j, " is ", c.expert[j], ", not ",
                     right);
      else
        book_.expect(false, "the choice is the k best scores", at, ": choice ", j, " is ", c.expert[j], " with score ",
                     scores.v[c.expert[j]], ", not ", right, " with ", scores.v[right]);
      break;
    }
  }

  void random_rows() {
    const std::string at = where("random");
    const Row z = draw(1.5);
    const Row p = router_.scores(z);
    book_.expect(p.n == E_, "scores has as many experts as the logits", at, ": n = ", p.n);
    book_.expect(p.finite(), "finite logits give finite scores", at);
    if constexpr (selects) {
      check_choice(p, at);
      // Balance biases are added to scores before the selection, so any finite row may come.
      check_choice(make<Row>([&](int e) { return p.v[e] + 3 * random_.normal(); }), where("biased"));
      if (options_.symmetric) check_permutation(z, at);
    }
    check_vjp(z, at);
  }

  void check_permutation(const Row& z, const std::string& at) {
    std::vector<int> to(static_cast<std::size_t>(E_));
    for (int e = 0; e < E_; ++e) to[static_cast<std::size_t>(e)] = e;
    for (int e = E_ - 1; e > 0; --e)
      std::swap(to[static_cast<std::size_t>(e)], to[static_cast<std::size_t>(random_.below(e + 1))]);
    Row moved = z;
    for (int e = 0; e < E_; ++e) moved.v[to[static_cast<std::size_t>(e)]] = z.v[e];
    const Row p = router_.scores(z);
    for (int e = 0; e < E_; ++e)
      for (int i = 0; i < e; ++i)
        if (close(p.v[i], p.v[e], 1e-12)) return;  // a tie breaks by index, which renaming changes
    const choice<K> a = router_.select(p), b = router_.select(router_.scores(moved));
    for (int j = 0; j < K; ++j)
      book_.expect(a.expert[j] >= 0 && a.expert[j] < E_ && to[static_cast<std::size_t>(a.expert[j])] == b.expert[j],
                   "renaming the experts renames the choice (options.symmetric)", at, ": choice ", j, " is ",
                   a.expert[j], ", renamed ", b.expert[j]);
  }

  /// The gradient `g` of `value` at z against central differences; `name` is what made it.
  template <class F>
  void check_differences(F value, const Row& z, const Row& g, const char* promise, const char* name,
                         const std::string& at) {
    const double h = 1e-5;
    for (int e = 0; e < E_; ++e) {
      Row up = z, down = z;
      up.v[e] += h, down.v[e] -= h;
      const double expected = (value(up) - value(down)) / (2 * h);
      book_.expect(close(g.v[e], expected, options_.tolerance), promise, at, ": expert ", e, ", ", name, " ", g.v[e],
                   ", difference ", expected);
    }
  }
  /// <w, J u> from the tangent of a forward over dual numbers, against <J' w, u>.
  void check_transpose(const Dual& forward, const Row& w, double expected, const char* promise, const std::string& at) {
    double along = 0;
    for (int e = 0; e < E_; ++e) along += forward.v[e].t * w.v[e];
    book_.expect(close(along, expected, 1e-9), promise, at, ": w'Ju is ", along, ", (J'w)'u is ", expected);
  }
  void check_vjp(const Row& z, const std::string& at) {
    const Row w = draw(1), u = draw(1);
    const Row g = router_.vjp(z, w);
    const double h = 1e-5;
    check_differences([&](const Row& x) { return dot(router_.scores(x), w); }, z, g,
                      "vjp equals fp64 central differences of scores (does it compute in Row::scalar throughout?)",
                      "vjp", at);
    const Dual zu = make<Dual>([&](int e) { return dual<double>(z.v[e], u.v[e]); });
    check_transpose(router_.scores(zu), w, dot(g, u), "the tangent of scores is the transpose of vjp", at);
    const Dual gu = router_.vjp(zu, make<Dual>([&](int e) { return dual<double>(w.v[e]); }));
    const auto shifted = [&](double s) {
      return router_.vjp(make<Row>([&](int e) { return z.v[e] + s * u.v[e]; }), w);
    };
    const Row up = shifted(h), down = shifted(-h);
    for (int e = 0; e < E_; ++e) {
      const double expected = (up.v[e] - down.v[e]) / (2 * h);
      book_.expect(close(gu.v[e].t, expected, options_.tolerance), "the tangent of vjp is its derivative", at,
                   ": expert ", e, ", tangent ", gu.v[e].t, ", difference ", expected);
    }
  }

  void tied_rows() {
    if constexpr (selects) {
      const std::string at = where("tied");
      check_choice(router_.scores(make<Row>([&](int) { return 0.5 * random_.below(3); })), at);
      const Row same = options_.symmetric ? router_.scores(make<Row>([](int) { return 0.25; }))
                                          : make<Row>([](int) { return 0.25; });
      const choice<K> c = router_.select(same);
      for (int j = 0; j < K && j < c.n; ++j)
        book_.expect(
            c.expert[j] == j,
            options_.symmetric ? "equal logits go to the lowest indexes" : "equal scores go to the lowest indexes", at,
            ": choice ", j, " is ", c.expert[j]);
    }
  }

  void noise_rows() {
    if constexpr (has_noise<Router, Row>) {
      const std::string at = where("noise");
      const Row z = draw(1.5), other = draw(1.5), w = draw(1);
      const Row s = router_.noise_std(z);
      bool right = s.finite();
      for (int e = 0; e < E_; ++e) right = right && s.v[e] >= 0;
      book_.expect(right, "noise deviations are finite and not negative", at);
      if constexpr (projections<Router> == 1) {
        const Row t = router_.noise_std(other);
        for (int e = 0; e < E_; ++e)
          book_.expect(s.v[e] == t.v[e],
                       "with one projection the deviation does not depend on the logits (no gradient flows through it)",
                       at, ": expert ", e, ", deviations ", s.v[e], " and ", t.v[e]);
      } else {
        check_differences([&](const Row& x) { return dot(router_.noise_std(x), w); }, z, router_.noise_vjp(z, w),
                          "noise_vjp equals fp64 central differences of noise_std", "noise_vjp", at);
      }
    }
  }

  void prepared_rows() {
    if constexpr (prepares_logits<Router, Row>) {
      const std::string at = where("prepared");
      const Row z = draw(1.5), w = draw(1), u = draw(1);
      const Row g = router_.prepare_vjp(z, w);
      check_differences([&](const Row& x) { return dot(router_.prepare(x), w); }, z, g,
                        "prepare_vjp equals fp64 central differences of prepare", "prepare_vjp", at);
      check_transpose(router_.prepare(make<Dual>([&](int e) { return dual<double>(z.v[e], u.v[e]); })), w, dot(g, u),
                      "the tangent of prepare is the transpose of prepare_vjp", at);
      const Row same = router_.prepare(make<Row>([](int) { return 0.25; }));
      book_.expect(same.finite() && router_.prepare_vjp(make<Row>([](int) { return 0.25; }), w).finite(),
                   "equal logits are prepared without NaN", at);
    }
  }

  template <class S>
  void check_extreme(const char* kind, const char* type, const std::vector<double>& logits) {
    using R = row_of<S>;
    const std::string at = where(kind) + " in " + type;
    const R z = make<R>([&](int e) { return S(logits[static_cast<std::size_t>(e)]); });
    const R p = router_.scores(z);
    book_.expect(p.finite(), "finite logits give finite scores, also +-1e4", at);
    const R d = make<R>([](int e) { return S(e % 2 ? 1 : -1); });
    book_.expect(router_.vjp(z, d).finite(), "finite logits give finite gradients, also +-1e4", at);
    if constexpr (has_noise<Router, R>)
      book_.expect(router_.noise_std(z).finite(), "finite logits give finite noise deviations, also +-1e4", at);
    const auto r = route_row(router_, route_values{}, z, z, 0);
    book_.expect(r.finite && r.scores.finite(), "no row of finite logits is marked bad", at);
    if constexpr (selects && std::is_same_v<S, double>)
      if (p.finite()) check_choice(p, at);
  }
  void extreme_rows() {
    row_i_ = 0;
    const auto both = [&](const char* kind, auto f) {
      std::vector<double> z(static_cast<std::size_t>(E_));
      for (int e = 0; e < E_; ++e) z[static_cast<std::size_t>(e)] = f(e);
      check_extreme<double>(kind, "double", z);
      check_extreme<float>(kind, "float", z);
    };
    both("zero", [](int) { return 0.0; });
    both("all +1e4", [](int) { return 1e4; });
    both("all -1e4", [](int) { return -1e4; });
    both("one +1e4", [&](int e) { return e == E_ / 2 ? 1e4 : 0.0; });
    both("one -1e4", [&](int e) { return e == E_ / 2 ? -1e4 : 0.0; });
    both("alternating +-1e4", [](int e) { return e % 2 ? 1e4 : -1e4; });
  }

  void bad_rows() {
    const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
    row_i_ = 0;
    for (const double bad : {nan, inf, -inf})
      for (const int which : {0, E_ - 1, -1}) {  // first, last, all
        const std::string at = where("not finite");
        const Row z = make<Row>([&](int e) { return which < 0 || e == which ? bad : 0.1 * e; });
        if constexpr (selects) {
          (void)router_.select(z);  // bad scores
          (void)router_.select(router_.scores(z));
        }
        const auto r = route_row(router_, route_values{}, z, z, 0);
        book_.expect(!(r.finite && r.scores.finite()), "a row with NaN or infinity is marked bad", at);
      }
  }

  const Router& router_;
  const router_options& options_;
  ledger book_;
  numbers random_{"check_router"};
  int E_ = 0, row_i_ = 0;
};

}  // namespace detail

/// Checks `router` as it is, with its run-time values.  Deterministic; about a second for all default sizes.
template <class Router>
report check_router(const Router& router = {}, const router_options& options = {}) {
  return detail::router_check<Router>(router, options).run();
}

}  // namespace polymoe::testing
