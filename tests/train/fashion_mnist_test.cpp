// The real Fashion-MNIST, where it is installed: sizes, classes, mean and deviation.
// with: files
#include <doctest/doctest.h>

#include <cstdio>

#include <polymoe/train/idx.hpp>

namespace polymoe {

TEST_CASE("idx: the real Fashion-MNIST") {
  if (!has_fashion_mnist()) {
    std::printf("SKIPPED: no Fashion-MNIST in %s\n", fashion_mnist_folder);
    return;
  }
  const auto [train, test] = read_fashion_mnist();
  CHECK(train.size() == 60000);
  CHECK(test.size() == 10000);
  for (const auto* d : {&train, &test}) {
    CHECK(d->features() == 784);
    std::vector<index> count(10, 0);
    for (const auto y : d->labels) ++count[static_cast<std::size_t>(y)];
    for (const index n : count) CHECK(n == d->size() / 10);
    CHECK(d->mean[0] == doctest::Approx(0.2860406).epsilon(1e-5));
    CHECK(d->stddev[0] == doctest::Approx(0.3530242).epsilon(1e-5));
  }
  CHECK(train.class_names[static_cast<std::size_t>(train.labels[0])] == "Ankle boot");
}

}  // namespace polymoe
