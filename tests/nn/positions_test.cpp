// nn::positions: the module contract with and without a class token, and a small example.
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/positions.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using positions = nn::positions<T>;

TEST_CASE("positions keeps the module contract") {
  for (const bool class_token : {false, true})
    testing::check_module<positions>(
        [=](auto t) {
          return typename positions<decltype(t)>::config{6, 4, class_token};
        },
        {.rows = 12, .param_scale = 1}, 4);
}

TEST_CASE("positions puts the class token in front") {
  workspace<nn::positions<double>> w(nn::positions<double>({1, 2, true}), {.max_rows = 4});
  REQUIRE(w.entries().size() == 2);
  CHECK(w.entries()[0].name == "pos_embed");
  CHECK(w.entries()[1].name == "cls_token");
  const double p[3] = {100, 200, 300};
  std::copy_n(p, 3, w.values().ptr[0] + w.entries()[0].offset);
  w.values().ptr[0][w.entries()[1].offset] = 7;
  double x[4] = {1, 2, 3, 4}, y[6];
  w.forward({x, 4, 1}, {y, 6, 1});
  const double expected[6] = {107, 201, 302, 107, 203, 304};
  for (int i = 0; i < 6; ++i) CHECK(y[i] == expected[i]);
}

}  // namespace
}  // namespace polymoe
