// The Hessian of a model's loss: against a closed form, against the dense Hessian by differences in double, and as an
// operator.
// with: hessian
#include <doctest/doctest.h>

#include <polymoe/analysis/loss_hessian.hpp>
#include <polymoe/analysis/lanczos.hpp>
#include <polymoe/analysis/loss_landscape.hpp>
#include <polymoe/analysis/power_iteration.hpp>
#include <polymoe/analysis/trace.hpp>
#include <polymoe/nn/layer_norm.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/sequential.hpp>
#include <polymoe/polymoe.hpp>

#include "golden/golden.hpp"

namespace polymoe {
namespace {

using namespace analysis;

template <class T>
struct small_moe : spec {
  using scalar = T;
  using router = top_k<2>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::importance;
};
template <class T>
using net = nn::sequential<nn::named<"stem", nn::linear<T>>, nn::named<"moe", layer<small_moe<T>, cpu>>,
                           nn::named<"head", nn::linear<T>>>;
template <class T>
net<T> make_net() {
  typename layer<small_moe<T>, cpu>::config moe;
  moe.dim = 4, moe.hidden = 5, moe.experts = 3;
  moe.balance.first.weight = 0.5f;
  typename nn::linear<T>::config stem, head;
  stem.in = stem.out = head.in = 4, head.out = 3;
  return net<T>({{stem, moe, head}});
}

/// Rows of three classes around three centres.
template <class R>
struct examples {
  std::vector<R> x;
  std::vector<std::int32_t> labels;
  explicit examples(index rows, index width = 4) {
    const auto draw = random_root{5}.stream(1, 0);
    for (index r = 0; r < rows; ++r) {
      labels.push_back(static_cast<std::int32_t>(r % 3));
      for (index j = 0; j < width; ++j)
        x.push_back(static_cast<R>(0.7 * static_cast<double>(draw.normal(static_cast<std::uint64_t>(r * width + j))) +
                                   (j == r % 3 ? 1.5 : 0)));
    }
  }
  std::vector<labelled_rows<R>> in_batches(index size, index width = 4) const {
    std::vector<labelled_rows<R>> b;
    const index rows = static_cast<index>(labels.size());
    for (index at = 0; at < rows; at += size) {
      const index n = std::min(size, rows - at);
      b.push_back({view<const R>(x.data() + at * width, n, width),
                   std::span(labels).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(n))});
    }
    return b;
  }
};

template <class Model>
void randomise(workspace<Model>& w) {
  for (const auto& e : w.entries()) {
    const auto draw = random_root{17}.stream(stream_id(e.name), 0);
    for (index i = 0; i < e.size; ++i)
      w.values().ptr[0][e.offset + i] =
          static_cast<real_t<typename Model::scalar>>(0.5f * draw.normal(static_cast<std::uint64_t>(i)));
  }
  w.refresh();
}

/// Mean loss of the plain double net, with its balance losses in training mode, and the decisions of its router.
struct plain_loss {
  workspace<net<double>> w{make_net<double>(), {.max_rows = 64}};
  const examples<double>& data;
  index n;
  explicit plain_loss(const examples<double>& d) : data(d), n(static_cast<index>(d.labels.size())) {}
  std::vector<double> gradient(const std::vector<double>& values, run_mode mode) {
    std::copy(values.begin(), values.end(), w.values().ptr[0]);
    w.refresh(), w.zero_grads();
    w.ctx().mode = mode;
    std::vector<double> y(static_cast<std::size_t>(n * 3)), dy(y.size());
    w.forward({data.x.data(), n, 4}, {y.data(), n, 3});
    for (index r = 0; r < n; ++r) {
      double sum = 0;
      for (index k = 0; k < 3; ++k) sum += std::exp(y[static_cast<std::size_t>(3 * r + k)]);
      for (index k = 0; k < 3; ++k)
        dy[static_cast<std::size_t>(3 * r + k)] =
            (std::exp(y[static_cast<std::size_t>(3 * r + k)]) / sum - (k == data.labels[static_cast<std::size_t>(r)])) /
            static_cast<double>(n);
    }
    w.backward({dy.data(), n, 3}, {});
    return {w.grads().ptr[0], w.grads().ptr[0] + w.grads().cols};
  }
};

}  // namespace

TEST_CASE("logistic regression: H is the closed form, with label smoothing and in float too") {
  const examples<double> data(30);
  const auto check = [&]<class R>(R, double tolerance) {
    using model = nn::linear<dual<R>>;
    workspace<model> w(model({4, 3}), {.max_rows = 30});
    randomise(w);
    const examples<R> own(30);
    loss_hessian h(w, own.in_batches(30), 3, {.smoothing = 0.1});
    REQUIRE(h.size() == 15);
    // Probabilities by hand; d2 loss / dW_ka dW_lb = mean (p_k [k = l] - p_k p_l) x_a x_b, x_4 = 1 for the bias.
    std::vector<double> want(225, 0.0);
    const auto* p = w.values().ptr[0];
    const auto &weight = w.entries()[0], &bias = w.entries()[1];
    for (std::size_t r = 0; r < 30; ++r) {
      double z[3], sum = 0;
      for (std::size_t k = 0; k < 3; ++k) {
        z[k] = static_cast<double>(p[bias.offset + static_cast<index>(k)]);
        for (std::size_t a = 0; a < 4; ++a)
          z[k] += static_cast<double>(p[weight.offset + static_cast<index>(4 * k + a)]) *
                  static_cast<double>(own.x[4 * r + a]);
        sum += z[k] = std::exp(z[k]);
      }
      const auto at = [](std::size_t k, std::size_t a) { return a < 4 ? 4 * k + a : 12 + k; };
      const auto input = [&](std::size_t a) { return a < 4 ? static_cast<double>(own.x[4 * r + a]) : 1.0; };
      for (std::size_t k = 0; k < 3; ++k)
        for (std::size_t l = 0; l < 3; ++l)
          for (std::size_t a = 0; a < 5; ++a)
            for (std::size_t b = 0; b < 5; ++b)
              want[15 * at(k, a) + at(l, b)] +=
                  (z[k] / sum * (k == l) - z[k] * z[l] / sum / sum) * input(a) * input(b) / 30;
    }
    std::vector<R> v(15), hv(15);
    for (std::size_t i = 0; i < 15; ++i) {
      std::fill(v.begin(), v.end(), R(0));
      v[i] = 1;
      h.apply(v, hv);
      for (std::size_t j = 0; j < 15; ++j) CHECK(std::abs(static_cast<double>(hv[j]) - want[15 * i + j]) < tolerance);
    }
  };
  check(double{}, 1e-14);
  check(float{}, 1e-6);
}

TEST_CASE("a sparse net against its dense Hessian by differences in double; symmetry; trace; frozen parts") {
  for (const run_mode mode : {run_mode::eval, run_mode::train}) {
    const examples<double> data(33);
    workspace<net<dual<double>>> w(make_net<dual<double>>(), {.max_rows = 64});
    randomise(w);
    loss_hessian h(w, data.in_batches(33), 3, {.mode = mode});
    const auto n = static_cast<std::size_t>(h.size());
    std::vector<double> dense(n * n), v(n), hv(n);
    for (std::size_t i = 0; i < n; ++i) {
      std::fill(v.begin(), v.end(), 0.0);
      v[i] = 1;
      h.apply(v, hv);
      std::copy(hv.begin(), hv.end(), dense.begin() + static_cast<std::ptrdiff_t>(i * n));
    }
    double size = 0, skew = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        size = std::max(size, std::abs(dense[i * n + j]));
        skew = std::max(skew, std::abs(dense[i * n + j] - dense[j * n + i]));
      }
    CHECK(size > 0.05);
    CHECK(skew < 1e-12 * size);

    // Differences of the plain net's gradient.
    plain_loss plain(data);
    std::vector<double> at(w.values().ptr[0], w.values().ptr[0] + w.values().cols);
    std::vector<index> place;  // of every Hessian coordinate in the flat buffer
    for (const auto& e : h.entries())
      for (index i = 0; i < e.size; ++i) place.push_back(e.offset + i);
    REQUIRE(place.size() == n);
    std::vector<double> gradient(n);
    h.gradient(gradient);
    const auto g = plain.gradient(at, mode);
    for (std::size_t i = 0; i < n; ++i)
      CHECK(gradient[i] == doctest::Approx(g[static_cast<std::size_t>(place[i])]).epsilon(1e-11).scale(1e-3));
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i) {
      double& x = at[static_cast<std::size_t>(place[i])];
      const double keep = x, step = 1e-5;
      x = keep + step;
      const auto up = plain.gradient(at, mode);
      x = keep - step;
      const auto down = plain.gradient(at, mode);
      x = keep;
      for (std::size_t j = 0; j < n; ++j) {
        const auto k = static_cast<std::size_t>(place[j]);
        worst = std::max(worst, std::abs((up[k] - down[k]) / (2 * step) - dense[i * n + j]));
      }
    }
    CHECK(worst < 1e-7);

    // The tools on it.
    double trace_exact = 0;
    for (std::size_t i = 0; i < n; ++i) trace_exact += dense[i * n + i];
    const auto t = trace(h, {.probes = 60});
    CHECK(std::abs(t.mean - trace_exact) < 3 * t.standard_error);
    const auto eigen = symmetric_eigen(dense, static_cast<index>(n));
    const auto top = lanczos(h, {.count = 3, .basis = 30, .tolerance = 1e-9});
    REQUIRE(top.converged);
    for (std::size_t i = 0; i < 3; ++i) CHECK(top.largest[i].value == doctest::Approx(eigen.values[i]).epsilon(1e-10));

    // Without the router's parameters: the block of the others.
    loss_hessian frozen(w, data.in_batches(33), 3, {.mode = mode, .includes = [](const std::string& name) {
                                                      return name.find("router") == std::string::npos;
                                                    }});
    REQUIRE(frozen.size() == h.size() - 12);
    std::vector<std::size_t> kept;
    std::size_t i = 0;
    for (const auto& e : h.entries())
      for (index k = 0; k < e.size; ++k, ++i)
        if (e.name.find("router") == std::string::npos) kept.push_back(i);
    std::vector<double> part(kept.size(), 0.0), out(kept.size());
    part[7] = 1;
    frozen.apply(part, out);
    for (std::size_t k = 0; k < kept.size(); ++k)
      CHECK(out[k] == doctest::Approx(dense[kept[7] * n + kept[k]]).epsilon(1e-12).scale(1e-6));
  }
}

TEST_CASE(
    "eigenvalues of a fixed sparse net are those of PyTorch's dense Hessian; the paper's instrument beside them") {
  golden g("hessian");
  workspace<net<dual<double>>> w(make_net<dual<double>>(), {.max_rows = 64});
  fill_parameters(w, "hessian");
  const std::vector<double> x = numbers("hessian/x", 33 * 4, 2);
  std::vector<std::int32_t> labels(33);
  for (std::size_t r = 0; r < 33; ++r) labels[r] = static_cast<std::int32_t>(r % 3);
  loss_hessian h(w, {{view<const double>(x.data(), 33, 4), labels}}, 3);
  g.check("loss", h.loss());

  const auto top = lanczos(h, {.count = 5, .basis = 40, .tolerance = 1e-9});
  REQUIRE(top.converged);
  const std::vector<double>& want = g.values("largest", 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(std::abs(top.largest[i].value - want[i]) < 1e-9 * want[0]);
  const auto n = static_cast<std::size_t>(h.size());
  std::vector<double> v(n), hv(n);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::fill(v.begin(), v.end(), 0.0);
    v[i] = 1;
    h.apply(v, hv);
    sum += hv[i];
    for (const double a : hv) squares += a * a;
  }
  g.check("trace", sum), g.check("frobenius", std::sqrt(squares));
  // The other end, as far as the vectors of the largest have seen it: within its bound.
  CHECK(std::abs(top.smallest - g.values("smallest", 1)[0]) <= top.smallest_residual + 1e-9);
  g.check_complete();

  // Power iteration that stops at a change of 1e-3: near, but no bound says how near.
  const auto power = power_iteration(h, {});
  CHECK(std::abs(power.front().value - want[0]) < 2e-2 * want[0]);
  MESSAGE("lambda_max: PyTorch ", want[0], ", Lanczos ", top.largest[0].value, " (residual ", top.largest[0].residual,
          "), power iteration ", power.front().value);
}

TEST_CASE("the cut into batches and threads does not matter; the loss along a direction bends as H says") {
  const examples<double> data(33);
  workspace<net<dual<double>>> w(make_net<dual<double>>(), {.max_rows = 64}),
      two(make_net<dual<double>>(), {.max_rows = 64, .threads = 2});
  randomise(w), randomise(two);
  loss_hessian whole(w, data.in_batches(33), 3), cut(w, data.in_batches(7), 3), threads(two, data.in_batches(33), 3);
  const auto v = analysis::detail::normal_vector<double>(whole.size(), 3, 0);
  std::vector<double> a(v.size()), b(v.size()), c(v.size());
  whole.apply(v, a), cut.apply(v, b), threads.apply(v, c);
  double size = analysis::detail::norm(a);
  for (std::size_t i = 0; i < v.size(); ++i) CHECK(std::abs(a[i] - b[i]) < 1e-12 * size);
  CHECK(a == c);
  CHECK(whole.loss() == doctest::Approx(cut.loss()).epsilon(1e-13));

  const std::vector<double> before(w.values().ptr[0], w.values().ptr[0] + w.values().cols);
  auto u = v;
  analysis::detail::scale(u, 1 / analysis::detail::norm(v));
  const double step = 1e-4;
  const auto curve = whole.loss_along(u, {-step, 0, step});
  whole.apply(u, a);
  CHECK((curve[0] - 2 * curve[1] + curve[2]) / (step * step) ==
        doctest::Approx(analysis::detail::dot(u, a)).epsilon(1e-4));
  CHECK(before == std::vector<double>(w.values().ptr[0], w.values().ptr[0] + w.values().cols));
  CHECK(curve[1] == whole.loss());

  // Filter normalisation: every row of a weight as long as the parameters' row, biases 0.
  const auto d = whole.filter_normalised(v);
  index at = 0;
  for (const auto& e : whole.entries()) {
    const index rows = e.dims.size() > 1 ? e.dims[0] : 0;
    for (index r = 0; r < rows; ++r) {
      const index n = e.size / rows;
      double x = 0, p = 0;
      for (index k = 0; k < n; ++k) {
        x += std::pow(d[static_cast<std::size_t>(at + r * n + k)], 2);
        p += std::pow(w.values().ptr[0][e.offset + r * n + k], 2);
      }
      CHECK(x == doctest::Approx(p).epsilon(1e-10));
    }
    if (rows == 0)
      for (index k = 0; k < e.size; ++k) CHECK(d[static_cast<std::size_t>(at + k)] == 0);
    at += e.size;
  }
}

TEST_CASE("landscape: lines and planes are those of the Hessian's quadratic form; frozen gates leave no jump") {
  const examples<double> data(33);
  workspace<net<dual<double>>> dual_work(make_net<dual<double>>(), {.max_rows = 64});
  workspace<net<double>> work(make_net<double>(), {.max_rows = 64});
  randomise(dual_work), randomise(work);
  loss_hessian h(dual_work, data.in_batches(33), 3);
  loss_landscape whole(work, data.in_batches(33), 3), cut(work, data.in_batches(7), 3);
  const std::vector<double> before = work.values_on_host();
  const auto u = whole.random_direction(1), v = whole.random_direction(2);
  REQUIRE(whole.size() == h.size());
  CHECK(u == h.filter_normalised(analysis::detail::normal_vector<double>(h.size(), 1, 0)));

  const std::vector<double> alphas{-0.5, -0.1, 0, 0.1, 0.5};
  const auto line = whole.along(u, alphas), dual_line = h.loss_along(u, alphas), in_parts = cut.along(u, alphas);
  const auto plane = whole.over(u, v, alphas, {0, 0.25});
  for (std::size_t i = 0; i < alphas.size(); ++i) {
    CHECK(line[i] == doctest::Approx(dual_line[i]).epsilon(1e-12));
    CHECK(line[i] == doctest::Approx(in_parts[i]).epsilon(1e-12));
    CHECK(line[i] == plane[2 * i]);
  }
  CHECK(whole.over(v, u, {0.25}, {0.5})[0] == doctest::Approx(plane[9]).epsilon(1e-12));
  // u'Hv by the mixed difference.
  const double d = 1e-3;
  const auto corners = whole.over(u, v, {-d, d}, {-d, d});
  std::vector<double> hv(v.size());
  h.apply(v, hv);
  CHECK((corners[3] - corners[2] - corners[1] + corners[0]) / (4 * d * d) ==
        doctest::Approx(analysis::detail::dot(u, hv)).epsilon(1e-4));

  // Gates: the router's own parameters do nothing when frozen; those behind it do the same either way.
  const auto only = [&](const char* part) {
    const auto has_part = [=](const std::string& name) { return name.find(part) != std::string::npos; };
    return loss_landscape(work, data.in_batches(7), 3, has_part);
  };
  auto router = only("router"), head = only("head");
  const auto r = router.random_direction(3), b = head.random_direction(3);
  const double middle = router.along(r, {0}, gates::frozen)[0];
  CHECK(middle == router.along(r, {0})[0]);
  CHECK(router.along(r, alphas, gates::frozen) == std::vector<double>(5, middle));
  CHECK(router.along(r, alphas)[0] != middle);
  CHECK(head.along(b, alphas, gates::frozen) == head.along(b, alphas));
  // A line on which gates change: free ones jump, frozen ones leave a curve.
  std::vector<double> fine;
  for (int i = -200; i <= 200; ++i) fine.push_back(1e-3 * i);
  const auto largest = [](const std::vector<double>& y) {
    double most = 0;
    for (std::size_t i = 2; i < y.size(); ++i) most = std::max(most, std::abs(y[i] - 2 * y[i - 1] + y[i - 2]));
    return most;
  };
  const double free = largest(cut.along(u, fine)), frozen = largest(cut.along(u, fine, gates::frozen));
  CHECK(free > 1e-4);
  CHECK(frozen < 0.05 * free);
  CHECK(work.values_on_host() == before);
  CHECK(work.ctx().mode == run_mode::train);

  CHECK_THROWS_WITH_AS(whole.along(std::vector<double>(3), alphas), ("loss_landscape: a direction of 3 numbers for " +
                       std::to_string(h.size()) + " parameters").c_str(), error);
  const std::vector<std::int32_t> wrong(7, 3);
  CHECK_THROWS_WITH_AS(loss_landscape(work, {labelled_rows<double>{{data.x.data(), 7, 4}, wrong}}, 3),
                       "loss_landscape: label 3 is not in [0, 3)", error);
}

TEST_CASE("landscape: rescaling a layer before a norm does not change the curve of a filter-normalised direction") {
  using model = nn::sequential<nn::named<"a", nn::linear<double>>, nn::named<"norm", nn::layer_norm<double>>,
                               nn::named<"b", nn::linear<double>>>;
  const examples<double> data(33);
  const std::vector<double> alphas{-1, -0.3, 0, 0.2, 0.7};
  std::vector<double> curve, plain;
  for (const double by : {1.0, 8.0}) {
    workspace<model> w(model({{{4, 6}, {6, 0.0}, {6, 3}}}), {.max_rows = 64});
    randomise(w);
    for (const auto& e : w.entries())
      for (index i = 0; i < e.size && e.name.starts_with("a."); ++i) w.values().ptr[0][e.offset + i] *= by;
    w.refresh();
    loss_landscape scape(w, data.in_batches(33), 3);
    const auto now = scape.along(scape.random_direction(4), alphas);
    const auto raw = scape.along(analysis::detail::normal_vector<double>(scape.size(), 4, 0), alphas);
    if (by == 1) {
      curve = now, plain = raw;
      continue;
    }
    for (std::size_t i = 0; i < alphas.size(); ++i) CHECK(now[i] == doctest::Approx(curve[i]).epsilon(1e-10));
    CHECK(std::abs(raw[0] - plain[0]) > 0.01);  // without it, it does
    CHECK(std::abs(now[0] - now[2]) > 0.01);
  }
}

TEST_CASE("bad input is refused with its numbers") {
  const examples<double> data(33);
  workspace<net<dual<double>>> w(make_net<dual<double>>(), {.max_rows = 20});
  CHECK_THROWS_WITH_AS(loss_hessian(w, data.in_batches(33), 3),
                       "loss_hessian: a batch has 33 rows, the workspace was made for 20", error);
  CHECK_THROWS_WITH_AS(loss_hessian(w, {}, 3), "loss_hessian: there are no labelled rows", error);
  const examples<double> wide(10, 5);
  CHECK_THROWS_WITH_AS(loss_hessian(w, wide.in_batches(10, 5), 3),
                       "loss_hessian: a batch has 5 columns, the model takes 4", error);
  CHECK_THROWS_AS(loss_hessian(w, data.in_batches(11), 3, {.includes = [](const std::string&) { return false; }}),
                  error);
  loss_hessian h(w, data.in_batches(11), 3);
  std::vector<double> v(3), out(3);
  CHECK_THROWS_AS(h.apply(v, out), error);
}

}  // namespace polymoe
