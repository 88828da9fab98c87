// The synthetic data set: the same everywhere, learnable, confused within super-classes.
// sanitize: yes
// with: files
#include <doctest/doctest.h>

#include <polymoe/train/synthetic.hpp>

namespace polymoe {
namespace {

/// The class whose mean training image is nearest.
std::vector<int> nearest_mean(const dataset& train, const dataset& test) {
  const auto features = static_cast<std::size_t>(train.features()), classes = static_cast<std::size_t>(train.classes());
  std::vector<double> mean(classes * features, 0.0);
  const double share = static_cast<double>(train.classes()) / static_cast<double>(train.size());
  for (index i = 0; i < train.size(); ++i)
    for (std::size_t k = 0; k < features; ++k)
      mean[static_cast<std::size_t>(train.labels[static_cast<std::size_t>(i)]) * features + k] +=
          share * train.image(i)[k];
  std::vector<int> out;
  for (index i = 0; i < test.size(); ++i) {
    double least = 1e300;
    int best = 0;
    for (std::size_t c = 0; c < classes; ++c) {
      double d = 0;
      for (std::size_t k = 0; k < features; ++k) d += std::pow(mean[c * features + k] - test.image(i)[k], 2);
      if (d < least) least = d, best = static_cast<int>(c);
    }
    out.push_back(best);
  }
  return out;
}

}  // namespace

TEST_CASE("classes can be told apart, and are confused within their super-class first") {
  synthetic_options o{.classes = 8,
                      .per_class = 40,
                      .super_classes = 4,
                      .height = 12,
                      .width = 12,
                      .prototypes = 2,
                      .noise = 0.3,
                      .shift = 1};
  const dataset train = synthetic_images(o);
  o.part = 1;
  const dataset test = synthetic_images(o);
  train.check(), test.check();
  CHECK(train.size() == 320);
  CHECK(train.pixels != test.pixels);
  const auto found = nearest_mean(train, test);
  int right = 0, within = 0, wrong = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    right += found[i] == test.labels[i];
    wrong += found[i] != test.labels[i];
    within += found[i] != test.labels[i] && found[i] % 4 == test.labels[i] % 4;
  }
  CHECK(right > 200);
  CHECK(wrong > 0);
  CHECK(within * 3 > wrong);  // one of the seven other classes shares the super-class: a seventh by chance
}

TEST_CASE("the same options give the same images, others do not; noise and shift can be off") {
  const synthetic_options o{.classes = 3, .per_class = 4, .height = 6, .width = 5};
  CHECK(synthetic_images(o).pixels == synthetic_images(o).pixels);
  auto other = o;
  other.seed = 1;
  CHECK(synthetic_images(o).pixels != synthetic_images(other).pixels);
  synthetic_options plain{
      .classes = 2, .per_class = 5, .channels = 1, .height = 6, .width = 6, .prototypes = 1, .noise = 0, .shift = 0};
  const dataset d = synthetic_images(plain);
  for (index i = 2; i < 10; ++i) CHECK(std::equal(d.image(i).begin(), d.image(i).end(), d.image(i % 2).begin()));
  plain.classes = 0;
  CHECK_THROWS_AS(synthetic_images(plain), error);
  plain.classes = 2, plain.super_classes = 3;
  CHECK_THROWS_AS(synthetic_images(plain), error);
}

}  // namespace polymoe
