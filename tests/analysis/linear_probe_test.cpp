// analysis::linear_probe: against a direct solution of the normal equations, examples per class, separable and useless
// features, refusals.
// with: hessian
#include <doctest/doctest.h>

#include <polymoe/analysis/linear_probe.hpp>

namespace polymoe {
namespace {

using analysis::linear_probe;

struct features {
  std::vector<float> x;
  std::vector<std::int32_t> labels;
  index width = 0;
  analysis::labelled_features get() const {
    return {{x.data(), static_cast<index>(labels.size()), width}, labels};
  }
};
/// Classes in turns; each has its own centre, `apart` away from the others.
features clusters(index rows, index width, index classes, double apart, std::uint64_t seed) {
  features f;
  f.width = width;
  const random_stream draw = random_root{seed}.stream(1, 0), centre = random_root{99}.stream(2, 0);
  for (index r = 0; r < rows; ++r) {
    const index c = r % classes;
    f.labels.push_back(static_cast<std::int32_t>(c));
    for (index j = 0; j < width; ++j)
      f.x.push_back(
          static_cast<float>(apart * static_cast<double>(centre.normal(static_cast<std::uint64_t>(c * width + j))) +
                             static_cast<double>(draw.normal(static_cast<std::uint64_t>(r * width + j))) + 3.0));
  }
  return f;
}

/// Solves A w = b by elimination with pivots.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t p = i;
    for (std::size_t r = i + 1; r < n; ++r)
      if (std::abs(a[r * n + i]) > std::abs(a[p * n + i])) p = r;
    for (std::size_t c = 0; c < n; ++c) std::swap(a[i * n + c], a[p * n + c]);
    std::swap(b[i], b[p]);
    for (std::size_t r = 0; r < n; ++r) {
      if (r == i) continue;
      const double by = a[r * n + i] / a[i * n + i];
      for (std::size_t c = i; c < n; ++c) a[r * n + c] -= by * a[i * n + c];
      b[r] -= by * b[i];
    }
  }
  for (std::size_t i = 0; i < n; ++i) b[i] /= a[i * n + i];
  return b;
}

TEST_CASE("every strength gives the accuracy of the normal equations, solved directly") {
  const features train = clusters(40, 5, 4, 0.7, 1), test = clusters(200, 5, 4, 0.7, 2);
  const auto got =
      linear_probe(train.get(), test.get(), {.classes = 4, .shots = 100, .lowest_power = -3, .highest_power = 12});
  CHECK(got.examples == 40);
  REQUIRE(got.strength.size() == 16);
  std::vector<double> mean(5, 0.0), deviation(5, 0.0);
  for (std::size_t j = 0; j < 5; ++j) {
    for (std::size_t r = 0; r < 40; ++r) mean[j] += train.x[r * 5 + j] / 40.0;
    for (std::size_t r = 0; r < 40; ++r) deviation[j] += std::pow(train.x[r * 5 + j] - mean[j], 2) / 40;
    deviation[j] = std::sqrt(deviation[j]);
  }
  const auto at = [&](const features& f, std::size_t r, std::size_t j) {
    return j == 5 ? 1.0 : (f.x[r * 5 + j] - mean[j]) / deviation[j];
  };
  bool varies = false;
  for (std::size_t s = 0; s < got.strength.size(); ++s) {
    std::vector<double> gram(36, 0.0);
    for (std::size_t r = 0; r < 40; ++r)
      for (std::size_t i = 0; i < 6; ++i)
        for (std::size_t j = 0; j < 6; ++j) gram[i * 6 + j] += at(train, r, i) * at(train, r, j);
    for (std::size_t i = 0; i < 6; ++i) gram[i * 7] += got.strength[s];
    std::vector<std::vector<double>> w;
    for (int k = 0; k < 4; ++k) {
      std::vector<double> b(6, 0.0);
      for (std::size_t r = 0; r < 40; ++r)
        for (std::size_t i = 0; i < 6; ++i) b[i] += at(train, r, i) * (train.labels[r] == k ? 1 : -1);
      w.push_back(solve(gram, b));
    }
    int right = 0;
    for (std::size_t r = 0; r < 200; ++r) {
      int best = 0;
      double most = -1e300;
      for (int k = 0; k < 4; ++k) {
        double score = 0;
        for (std::size_t i = 0; i < 6; ++i) score += at(test, r, i) * w[static_cast<std::size_t>(k)][i];
        if (score > most) most = score, best = k;
      }
      right += best == test.labels[r];
    }
    CHECK(got.accuracy[s] == doctest::Approx(right / 200.0));
    varies = varies || got.accuracy[s] != got.accuracy[0];
  }
  CHECK(varies);
  CHECK(got.best == *std::max_element(got.accuracy.begin(), got.accuracy.end()));
}

TEST_CASE("separable features are learned from few examples, noise is not; the seed chooses the examples") {
  const features train = clusters(300, 8, 5, 4, 1), test = clusters(500, 8, 5, 4, 2);
  const auto one = linear_probe(train.get(), test.get(), {.classes = 5, .shots = 1}),
             ten = linear_probe(train.get(), test.get(), {.classes = 5, .shots = 10});
  CHECK(one.examples == 5);
  CHECK(ten.examples == 50);
  CHECK(ten.best > 0.99);
  CHECK(one.best > 0.6);
  const auto other = linear_probe(train.get(), test.get(), {.classes = 5, .shots = 1, .seed = 1});
  CHECK(other.accuracy != one.accuracy);
  const features noise = clusters(300, 8, 5, 0, 1), more = clusters(2000, 8, 5, 0, 2);
  CHECK(linear_probe(noise.get(), more.get(), {.classes = 5, .shots = 25}).best < 0.3);
}

TEST_CASE("a feature that does not change, and what is refused") {
  features train = clusters(60, 3, 3, 3, 1), test = clusters(60, 3, 3, 3, 2);
  for (std::size_t r = 0; r < 60; ++r) train.x[3 * r + 1] = 7;
  CHECK(linear_probe(train.get(), test.get(), {.classes = 3, .shots = 5}).best > 0.6);
  CHECK_THROWS_WITH_AS(linear_probe(train.get(), test.get(), {.classes = 2}),
                       doctest::Contains("label 2, there are 2 classes"), error);
  features wide = clusters(6, 4, 3, 1, 1);
  CHECK_THROWS_WITH_AS(linear_probe(train.get(), wide.get(), {.classes = 3}), doctest::Contains("the width is 3"),
                       error);
}

}  // namespace
}  // namespace polymoe
