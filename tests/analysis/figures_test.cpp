// Super-classes, calibration and figures over seeds, on cases whose answer is known.
// sanitize: yes
// with: hessian
#include <doctest/doctest.h>

#include <polymoe/analysis/break_even.hpp>
#include <polymoe/analysis/calibration.hpp>
#include <polymoe/analysis/statistics.hpp>
#include <polymoe/analysis/super_classes.hpp>

namespace polymoe {
namespace {

using namespace analysis;

/// Classes i and j are confused `near` times when i % groups == j % groups, else `far` times; 200 right ones each.
std::vector<index> planted(int n, int groups, index near, index far) {
  const random_stream draw = random_root{3}.stream(1, 0);
  std::vector<index> c;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      const index noise = static_cast<index>(draw.below(static_cast<std::uint64_t>(i * n + j), 2));
      c.push_back(i == j ? 200 : (i % groups == j % groups ? near : far) + noise);
    }
  return c;
}
std::vector<int> groups_of(int n, int groups) {
  std::vector<int> g;
  for (int i = 0; i < n; ++i) g.push_back(i % groups);
  return g;
}

}  // namespace

TEST_CASE("the confusion graph is symmetric, without diagonal, of rates and not of counts") {
  const std::vector<index> counts = {8, 2, 0, 10, 80, 10, 0, 0, 0};
  const auto g = confusion_graph(counts, 3);
  const std::vector<double> want = {0, 0.5 * (0.2 + 0.1), 0, 0.5 * (0.2 + 0.1), 0, 0.05, 0, 0.05, 0};
  for (std::size_t i = 0; i < 9; ++i) CHECK(g[i] == doctest::Approx(want[i]));
  CHECK_THROWS_AS(confusion_graph(counts, 4), error);
  CHECK_THROWS_AS(confusion_graph(std::vector<index>{1, -1, 0, 0}, 2), error);
}

TEST_CASE("planted super-classes are found by every method, and their quality is the closed form") {
  for (const auto& [n, groups] : {std::pair{10, 2}, {12, 4}, {30, 5}, {100, 20}}) {
    const auto graph = confusion_graph(planted(n, groups, 9, 1), n);
    const auto want = groups_of(n, groups);
    CHECK(agglomerative(graph, n, groups) == want);
    CHECK(by_modularity(graph, n, groups) == want);
    CHECK(spectral(graph, n, groups) == want);
    CHECK(spectral(graph, n, groups, 1, true) == want);
    CHECK(quality_of(graph, want, groups).inside > quality_of(graph, at_random(n, groups, 4), groups).inside);
    CHECK(quality_of(graph, want, groups).modularity > quality_of(graph, at_random(n, groups, 4), groups).modularity);
  }
  // Two pairs of classes confused with each other only: modularity 1 - 2 * (1/2)^2.
  const std::vector<double> pairs = {0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0};
  const auto q = quality_of(pairs, {0, 0, 1, 1}, 2);
  CHECK(q.inside == 1);
  CHECK(q.modularity == doctest::Approx(0.5));
  CHECK(q.sizes == std::vector<int>{2, 2});
  CHECK(quality_of(pairs, {0, 0, 0, 0}, 1).modularity == doctest::Approx(0));
}

TEST_CASE("super-classes by meaning: weights of a hierarchy, and clusters that are its groups") {
  using path = std::vector<std::string>;
  const std::vector<path> paths{{"animal", "bird"}, {"animal", "pet"},  {"thing"},          {"animal", "pet"},
                                {"thing"},          {"animal", "bird"}, {"animal", "wild"}, {"thing", "animal"}};
  const auto graph = semantic_graph(paths);
  const auto at = [&](int i, int j) { return graph[static_cast<std::size_t>(8 * i + j)]; };
  CHECK(at(0, 5) == 1);                         // the same innermost group
  CHECK(at(0, 1) == 0.5);                       // one of two groups
  CHECK(at(2, 7) == doctest::Approx(2.0 / 3));  // one of one and of two
  CHECK(at(0, 2) == 0);
  CHECK(at(0, 7) == 0);  // "animal" below "thing" is another group
  for (int i = 0; i < 8; ++i) {
    CHECK(at(i, i) == 0);
    for (int j = 0; j < 8; ++j) CHECK(at(i, j) == at(j, i));
  }
  CHECK(agglomerative(graph, 8, 2) == std::vector<int>{0, 0, 1, 0, 1, 0, 0, 1});
  CHECK(agglomerative(graph, 8, 5) == std::vector<int>{0, 1, 2, 1, 2, 0, 3, 4});
  CHECK(spectral(graph, 8, 2) == std::vector<int>{0, 0, 1, 0, 1, 0, 0, 1});
  CHECK_THROWS_WITH_AS(semantic_graph({{"a"}, {}}), "semantic_graph: class 1 of 2 is in 0 groups, at least 1 is needed",
                       error);
}

TEST_CASE("every method gives exactly the clusters asked for, also without edges, and balanced ones stay in bounds") {
  const auto graph = confusion_graph(planted(23, 3, 9, 2), 23);
  const std::vector<double> empty(23 * 23, 0.0);
  for (const int clusters : {1, 2, 5, 7, 22, 23})
    for (const auto* g : {static_cast<const std::vector<double>*>(&graph), &empty}) {
      for (const auto& c :
           {agglomerative(*g, 23, clusters), by_modularity(*g, 23, clusters), spectral(*g, 23, clusters),
            spectral(*g, 23, clusters, 2, true), at_random(23, clusters, 5)}) {
        const auto q = quality_of(*g, c, clusters);
        for (const int size : q.sizes) CHECK(size >= 1);
      }
      for (const auto& c : {spectral(*g, 23, clusters, 2, true), at_random(23, clusters, 5)})
        for (const int size : quality_of(*g, c, clusters).sizes) CHECK(size <= (23 + clusters - 1) / clusters);
    }
  CHECK(spectral(graph, 23, 5, 7) == spectral(graph, 23, 5, 7));
  CHECK(at_random(23, 5, 1) != at_random(23, 5, 2));
  CHECK_THROWS_WITH_AS(spectral(graph, 23, 24), "super-classes: 24 of them for 23 classes", error);
  CHECK_THROWS_AS(agglomerative(graph, 22, 3), error);
}

TEST_CASE("break-even: experts that are met, the fit of a model of times, and the size where a ratio stays above 1") {
  CHECK(experts_met(8, 2, 0) == 0);
  CHECK(experts_met(8, 2, 1) == doctest::Approx(2));
  CHECK(experts_met(8, 2, 2) == doctest::Approx(8 * (1 - 36.0 / 64)));
  CHECK(experts_met(8, 2, 1e6) == 8);
  CHECK_THROWS_WITH_AS(experts_met(2, 3, 1), "experts_met: 3 of 2 experts for 1 units", error);

  // Crossed at 2, lost again, and for good between 8 and 16: halfway, over the logarithm.
  const std::vector<double> sizes{1, 2, 4, 8, 16, 32}, ratio{0.5, 1.5, 1.2, 0.8, 1.2, 3};
  CHECK(break_even(sizes, ratio) == doctest::Approx(8 * std::sqrt(2.0)));
  CHECK(break_even(sizes, std::vector<double>(6, 1.01)) == 1);
  CHECK(break_even(sizes, std::vector<double>{2, 2, 2, 2, 2, 1}) == HUGE_VAL);
  CHECK(break_even(1, 100, [](double n) { return n * n / 400; }) == doctest::Approx(20).epsilon(1e-3));
  CHECK(break_even_text(11.3, 1, 32) == "11");
  CHECK(break_even_text(1, 1, 32) == "from 1 on");
  CHECK(break_even_text(HUGE_VAL, 1, 32) == "never up to 32");
  CHECK_THROWS_WITH_AS(break_even(sizes, std::vector<double>{1}), "break_even: 6 sizes and 1 ratios", error);
  CHECK_THROWS_AS(break_even(std::vector<double>{4, 2}, std::vector<double>{1, 2}), error);

  // Times that are such a sum are found again; where they are not, large and small ones count alike.
  std::vector<std::array<double, 3>> x;
  std::vector<double> t;
  for (const double n : {1.0, 2.0, 4.0, 16.0, 64.0, 512.0})
    x.push_back({1, n, experts_met(8, 2, n)}), t.push_back(0.3 + 0.02 * n + 0.07 * x.back()[2]);
  const auto m = fit_times<3>(x, t);
  CHECK(m.c[0] == doctest::Approx(0.3).epsilon(1e-9));
  CHECK(m.c[1] == doctest::Approx(0.02).epsilon(1e-9));
  CHECK(m.c[2] == doctest::Approx(0.07).epsilon(1e-9));
  CHECK(m.worst < 1e-9);
  CHECK(m({1, 100, 8}) == doctest::Approx(0.3 + 2 + 0.56));
  const auto flat = fit_times<1>({{1}, {1}}, {1, 3});  // (c - 1)^2 + (c / 3 - 1)^2 is least at 1.2
  CHECK(flat.c[0] == doctest::Approx(1.2));
  CHECK(flat.worst == doctest::Approx(0.6));
  // 2 n - 0.5: with a negative constant it would be exact; without, c = sum (n / t) / sum (n / t)^2.
  const auto pushed = fit_times<2>({{1, 1}, {1, 2}}, {1.5, 3.5});
  CHECK(pushed.c[0] == 0);
  CHECK(pushed.c[1] == doctest::Approx((1 / 1.5 + 2 / 3.5) / (1 / 2.25 + 4 / 12.25)));
  CHECK_THROWS_WITH_AS(fit_times<2>({{1, 1}}, {1}), "fit_times: 1 times do not tell 2 terms apart", error);
  CHECK_THROWS_WITH_AS(fit_times<1>({{1}}, {0}), "fit_times: time 0 is 0, it must be above 0", error);
}

TEST_CASE("mean, standard error, paired differences, bootstrap and sign test") {
  const std::vector<double> a = {1, 2, 3, 4, 10}, b = {0, 1, 2, 3, 9.5};
  const auto s = summarise(a);
  CHECK(s.mean == 4);
  CHECK(s.deviation == doctest::Approx(std::sqrt(50.0 / 4)));
  CHECK(s.standard_error == doctest::Approx(std::sqrt(50.0 / 4 / 5)));
  CHECK(std::isnan(summarise(std::vector<double>{3}).deviation));
  const auto d = paired_difference(a, b);
  CHECK(d.mean == doctest::Approx(0.9));
  CHECK(d.standard_error < 0.15);  // of the arms alone it is ten times larger
  CHECK_THROWS_WITH_AS(paired_difference(a, std::vector<double>{1}), "paired figures: 5 and 1 numbers", error);

  // 400 normal numbers: the 95 % interval of the mean is mean +- 1.96 standard errors, nearly.
  std::vector<double> x;
  const random_stream draw = random_root{8}.stream(1, 0);
  for (std::uint64_t i = 0; i < 400; ++i) x.push_back(5 + static_cast<double>(draw.normal(i)));
  const auto wide = summarise(x);
  const auto i = bootstrap_mean(x);
  CHECK(i.low == doctest::Approx(wide.mean - 1.96 * wide.standard_error).epsilon(2e-3));
  CHECK(i.high == doctest::Approx(wide.mean + 1.96 * wide.standard_error).epsilon(2e-3));
  CHECK(bootstrap_mean(x, 0.5).low > i.low);
  CHECK(bootstrap_mean(std::vector<double>{2, 2, 2}).low == 2);

  const auto t = sign_test(a, b);
  CHECK(t.positive == 5);
  CHECK(t.p == doctest::Approx(2.0 / 32));
  CHECK(sign_test(a, a).p == 1);
  const std::vector<double> c = {1, 1, 1, 0, 0, 0, 0, 0, 0, 0}, e = {0, 0, 0, 1, 1, 1, 1, 1, 1, 1};
  CHECK(sign_test(c, e).p == doctest::Approx(2 * (1 + 10 + 45 + 120) / 1024.0));
}

TEST_CASE("figures: Student's intervals are those of the tables, and wide for few numbers") {
  // Two-sided 95 % points: 12.706 of 1 degree of freedom, 4.303 of 2, 3.182 of 3, 2.776 of 4, 2.262 of 9, 1.980 of 120.
  const std::vector<std::pair<index, double>> table{{1, 12.7062}, {2, 4.30265}, {3, 3.18245},
                                                    {4, 2.77645}, {9, 2.26216}, {120, 1.97993}};
  for (const auto& [freedom, point] : table)
    CHECK(student_within(point, freedom) == doctest::Approx(0.95).epsilon(1e-6));
  CHECK(student_within(0, 7) == 0);
  // Mean 2, standard error 1 / sqrt(3).
  const auto in = mean_interval(std::vector<double>{1, 2, 3});
  CHECK(in.low == doctest::Approx(2 - 4.30265 / std::sqrt(3.0)).epsilon(1e-5));
  CHECK(in.high == doctest::Approx(2 + 4.30265 / std::sqrt(3.0)).epsilon(1e-5));
  const auto half = mean_interval(std::vector<double>{0, 1}, 0.5);  // t = 1 of one degree of freedom
  CHECK((half.low == doctest::Approx(0.0) && half.high == doctest::Approx(1.0)));
  CHECK_THROWS_AS(mean_interval(std::vector<double>{1}), error);
}

TEST_CASE("calibration: closed forms, the ends of the bins, and what makes a model overconfident") {
  // Probabilities 0.75 and 0.25 for two classes; three of four right: calibrated.
  const double z = std::log(3.0);
  const std::vector<double> logits = {z, 0, z, 0, z, 0, z, 0};
  const std::vector<std::int32_t> labels = {0, 0, 0, 1};
  const auto c = calibrate(view<const double>(logits.data(), 4, 2), labels, 4);
  CHECK(c.accuracy == 0.75);
  CHECK(c.ece == doctest::Approx(0).scale(1));
  CHECK(c.nll == doctest::Approx(-(3 * std::log(0.75) + std::log(0.25)) / 4));
  CHECK(c.brier == doctest::Approx((3 * 2 * 0.0625 + 2 * 0.5625) / 4));
  CHECK(c.bins[2].count == 4);  // 0.75 is the upper end of (0.5, 0.75]
  const std::vector<std::int32_t> wrong = {1, 1, 0, 1};
  const auto w = calibrate(view<const double>(logits.data(), 4, 2), wrong, 4);
  CHECK(w.ece == doctest::Approx(0.5));
  CHECK(w.mce == doctest::Approx(0.5));
  // Certain and right; certain and wrong: large but finite.
  const std::vector<float> sure = {1000, 0, 0, 1000};
  const auto s = calibrate(view<const float>(sure.data(), 2, 2), std::vector<std::int32_t>{0, 0});
  CHECK(s.nll == doctest::Approx(500));
  CHECK(s.bins.back().count == 2);
  CHECK(s.bins.back().accuracy == 0.5);
  CHECK_THROWS_AS(calibrate(view<const double>(logits.data(), 4, 2), std::vector<std::int32_t>{0, 0, 0, 2}), error);
  const std::vector<double> bad = {std::nan(""), 0};
  CHECK_THROWS_AS(calibrate(view<const double>(bad.data(), 1, 2), std::vector<std::int32_t>{0}), error);
}

}  // namespace polymoe
