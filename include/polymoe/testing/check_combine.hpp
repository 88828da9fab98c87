// check_combine<Combine>(): every promise a combine policy makes to the library, for 1..4 choices and every pattern of
// kept choices.
//
//   numbers     weights of kept choices are finite in float and double for scores from 0 to 1e4, zero rows included
//   extent      weigh and vjp write the n present choices, all of them, and nothing beyond
//   gradients   vjp equals fp64 central differences to 1e-6 of sum over kept choices of d_weight * weight; the library
//               ignores weights of choices that were not kept and passes 0 for their d_weight
//   dual        the dual-number forward is the transpose of vjp, the dual-number vjp the derivative of vjp
//   purity      weights of kept choices do not change with what the output arrays held before
#pragma once

#include <limits>

#include "../combine/combine.hpp"
#include "report.hpp"

namespace polymoe::inline v0::testing {

struct combine_options {
  int rows = 6;             ///< random rows per pattern
  double tolerance = 1e-6;  ///< of gradients against central differences, relative to max(1, |gradient|)
};

namespace detail {

template <class Combine>
class combine_check {
 public:
  combine_check(const Combine& c, const combine_options& o) : combine_(c), options_(o) {}

  report run() {
    for_k<1>(), for_k<2>(), for_k<3>(), for_k<4>();
    return book_.result();
  }

 private:
  template <int K, class S>
  struct buffer {  // an output array with room behind it that must stay as it is
    S x[K + 4];
    explicit buffer(double fill) {
      for (S& e : x) e = S(fill);
    }
  };
  template <int K>
  std::string where(int n, unsigned mask) const {
    std::string s = "K = " + std::to_string(K) + ", n = " + std::to_string(n) + ", kept ";
    for (int j = 0; j < n; ++j) s += mask >> j & 1u ? '1' : '0';
    return s;
  }
  template <int K, class S>
  static chosen_scores<K, S> chosen(int n, unsigned mask, const S* score) {
    chosen_scores<K, S> c;
    c.n = n;
    for (int j = 0; j < K; ++j) {
      // Elements beyond n are not there: a policy that looks at them meets NaN.
      c.score[j] = j < n ? score[j] : S(std::numeric_limits<float>::quiet_NaN());
      c.kept[j] = j < n && (mask >> j & 1u);
    }
    return c;
  }

  template <int K>
  void for_k() {
    for (int n = 1; n <= K; ++n)
      for (unsigned mask = 0; mask < 1u << n; ++mask) {
        for (int i = 0; i < options_.rows; ++i) gradients<K>(n, mask);
        extreme<K, double>(n, mask, "double");
        extreme<K, float>(n, mask, "float");
      }
  }

  template <int K>
  void gradients(int n, unsigned mask) {
    const std::string at = where<K>(n, mask);
    double score[K], d_weight[K], u[K];
    for (int j = 0; j < K; ++j) {
      score[j] = 0.05 + 0.95 * random_.uniform();
      const double d = random_.normal();
      d_weight[j] = j < n && (mask >> j & 1u) ? d : 0.0;
      u[j] = random_.normal();
    }
    const auto value = [&](const double* s) {
      buffer<K, double> w(7);
      combine_.weigh(chosen<K>(n, mask, s), w.x);
      double sum = 0;
      for (int j = 0; j < n; ++j)
        if (mask >> j & 1u) sum += w.x[j] * d_weight[j];
      return sum;
    };
    book_.expect(value(score) == value(score), "equal scores get equal weights", at);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    buffer<K, double> w(nan), g(nan);
    const auto c = chosen<K>(n, mask, score);
    combine_.weigh(c, w.x);
    combine_.vjp(c, d_weight, g.x);
    for (int j = n; j < K + 4; ++j) {
      book_.expect(w.x[j] != w.x[j], "weigh writes nothing beyond n", at, ": element ", j);
      book_.expect(g.x[j] != g.x[j], "vjp writes nothing beyond n", at, ": element ", j);
    }
    const double h = 1e-6;
    for (int j = 0; j < n; ++j) {
      if (mask >> j & 1u) book_.expect(std::isfinite(w.x[j]), "weights of kept choices are written and finite", at);
      double up[K], down[K];
      for (int i = 0; i < K; ++i) up[i] = down[i] = score[i];
      up[j] += h, down[j] -= h;
      const double expected = (value(up) - value(down)) / (2 * h);
      book_.expect(close(g.x[j], expected, options_.tolerance),
                   "vjp equals fp64 central differences of the kept weights (does it compute in S throughout?)", at,
                   ": choice ", j, ", vjp ", g.x[j], ", difference ", expected);
    }
    duals<K>(n, mask, score, d_weight, u, g.x, at);
  }

  template <int K>
  void duals(int n, unsigned mask, const double* score, const double* d_weight, const double* u, const double* g,
             const std::string& at) {
    using D = dual<double>;
    D s[K], d[K];
    for (int j = 0; j < K; ++j) s[j] = D(score[j], u[j]), d[j] = D(d_weight[j]);
    buffer<K, D> w(0), gu(0);
    const auto c = chosen<K>(n, mask, s);
    combine_.weigh(c, w.x);
    combine_.vjp(c, d, gu.x);
    double along = 0, back = 0;
    for (int j = 0; j < n; ++j) {
      if (mask >> j & 1u) along += w.x[j].t * d_weight[j];
      back += g[j] * u[j];
    }
    book_.expect(close(along, back, 1e-9), "the tangent of the weights is the transpose of vjp", at, ": ", along,
                 " and ", back);
    const double h = 1e-6;
    double up[K], down[K];
    for (int j = 0; j < K; ++j) up[j] = score[j] + h * u[j], down[j] = score[j] - h * u[j];
    buffer<K, double> a(0), b(0);
    combine_.vjp(chosen<K>(n, mask, up), d_weight, a.x);
    combine_.vjp(chosen<K>(n, mask, down), d_weight, b.x);
    for (int j = 0; j < n; ++j)
      book_.expect(close(gu.x[j].t, (a.x[j] - b.x[j]) / (2 * h), 10 * options_.tolerance),
                   "the tangent of vjp is its derivative", at, ": choice ", j, ", tangent ", gu.x[j].t, ", difference ",
                   (a.x[j] - b.x[j]) / (2 * h));
  }

  template <int K, class S>
  void extreme(int n, unsigned mask, const char* type) {
    const double rows[][4] = {
        {0, 0, 0, 0},         {1, 0, 0, 0},      {0, 0, 0, 1},        {1e-30, 1e-30, 1e-30, 1e-30},
        {1e-30, 0, 1, 1e-10}, {1e4, 1e-4, 1, 0}, {1e4, 1e4, 1e4, 1e4}};
    for (const auto& r : rows) {
      S score[K], d[K];
      for (int j = 0; j < K; ++j) score[j] = S(r[j]), d[j] = mask >> j & 1u ? S(1 + j) : S(0);
      buffer<K, S> w(7), g(7);
      const auto c = chosen<K>(n, mask, score);
      combine_.weigh(c, w.x);
      combine_.vjp(c, d, g.x);
      for (int j = 0; j < n; ++j) {
        if (mask >> j & 1u)
          book_.expect(math::is_finite(w.x[j]), "weights of kept choices are finite for scores from 0 to 1e4",
                       where<K>(n, mask), " in ", type, ": choice ", j, ", scores ", r[0], " ", r[1], " ", r[2], " ",
                       r[3]);
        book_.expect(math::is_finite(g.x[j]), "gradients are finite for scores from 0 to 1e4", where<K>(n, mask),
                     " in ", type, ": choice ", j, ", scores ", r[0], " ", r[1], " ", r[2], " ", r[3]);
      }
    }
  }

  const Combine& combine_;
  const combine_options& options_;
  ledger book_{"check_combine"};
  numbers random_{"check_combine"};
};

}  // namespace detail

/// Checks `combine` as it is, with its run-time values.
template <class Combine>
report check_combine(const Combine& combine = {}, const combine_options& options = {}) {
  return detail::combine_check<Combine>(combine, options).run();
}

}  // namespace polymoe::testing
