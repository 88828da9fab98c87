// nn::pool and nn::positions: the module contract and closed forms.
// thread: yes
// with: parts
#include <doctest/doctest.h>

#include <polymoe/nn/pool.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using pool = nn::pool<T>;

TEST_CASE("pool keeps the module contract") {
  for (const auto kind : {nn::pool_kind::mean, nn::pool_kind::first})
    testing::check_module<pool>(
        [=](auto t) {
          return typename pool<decltype(t)>::config{70, 5, kind};
        },
        {.rows = 30}, 5);
}

TEST_CASE("pool takes the mean or the first token of each image") {
  double x[12] = {1, 2, 3, 4, 5, 9, 10, 20, 30, 40, 50, 60}, y[4];
  workspace<nn::pool<double>> mean(nn::pool<double>({2, 3, nn::pool_kind::mean}), {.max_rows = 6});
  mean.forward({x, 6, 2}, {y, 2, 2});
  CHECK(y[0] == doctest::Approx(3));
  CHECK(y[1] == doctest::Approx(5));
  CHECK(y[2] == doctest::Approx(30));
  CHECK(y[3] == doctest::Approx(40));
  workspace<nn::pool<double>> first(nn::pool<double>({2, 3, nn::pool_kind::first}), {.max_rows = 6});
  first.forward({x, 6, 2}, {y, 2, 2});
  CHECK(y[0] == 1);
  CHECK(y[3] == 20);
  double dx[12];
  first.backward({y, 2, 2}, {dx, 6, 2});
  CHECK(dx[6] == 10);
  CHECK(dx[8] == 0);
  CHECK_THROWS_WITH_AS(first.forward({x, 5, 2}, {y, 1, 2}), doctest::Contains("5 rows"), error);
}

}  // namespace
}  // namespace polymoe
