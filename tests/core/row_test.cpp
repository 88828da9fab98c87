// row<> with one lane: reductions, and the K largest against a full sort, ties to the lower index.
// sanitize: yes
// optimise: yes
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <polymoe/core/rng.hpp>
#include <polymoe/core/row.hpp>
#include <vector>

namespace polymoe {
namespace {

template <int K>
void compare(int experts, int distinct, std::uint64_t seed) {
  using Row = row<scalar_group, 1024, float>;
  Row r;
  r.n = experts;
  const auto draw = random_root{seed}.stream(1, 0);
  for (int e = 0; e < experts; ++e)
    r.v[e] = static_cast<float>(draw.below(static_cast<std::uint64_t>(e), static_cast<std::uint32_t>(distinct)));
  std::vector<int> order(static_cast<std::size_t>(experts));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return r.v[a] > r.v[b]; });
  const choice<K> c = largest<K>(r);
  REQUIRE(c.n == std::min(K, experts));
  for (int j = 0; j < c.n; ++j) CHECK(c.expert[j] == order[static_cast<std::size_t>(j)]);
  CHECK(r.max() == r.v[order[0]]);
  CHECK(r.index_of(r.max()) == order[0]);
}

TEST_CASE("row: the K largest equal a stable sort, at every number of experts") {
  for (const int E : {1, 2, 3, 7, 8, 9, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 1024})
    for (const int distinct : {1, 2, 5, 1000000}) {
      compare<1>(E, distinct, 3), compare<2>(E, distinct, 4), compare<6>(E, distinct, 5), compare<16>(E, distinct, 6);
    }
}
template <int E, int K>
void compare_full(int distinct, std::uint64_t seed) {
  row<scalar_group, E, float, true> full;
  row<scalar_group, 128, float> loose;
  full.n = loose.n = E;
  const auto draw = random_root{seed}.stream(2, 0);
  for (int e = 0; e < E; ++e)
    full.v[e] = loose.v[e] =
        static_cast<float>(draw.below(static_cast<std::uint64_t>(e), static_cast<std::uint32_t>(distinct))) - 3.0f;
  const choice<K> a = largest<K>(full), b = largest<K>(loose);
  REQUIRE(a.n == b.n);
  for (int j = 0; j < a.n; ++j) CHECK(a.expert[j] == b.expert[j]);
  CHECK(full.sum() == doctest::Approx(loose.sum()));
  CHECK(full.max() == loose.max());
  CHECK(full.index_of(-4.0f) == E);
  CHECK(full.finite());
  full.v[E - 1] = std::numeric_limits<float>::infinity();
  CHECK_FALSE(full.finite());
}
TEST_CASE("row: a full row selects and reduces as one whose length is known at run time only") {
  for (const int distinct : {1, 2, 7, 1000000})
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      compare_full<8, 1>(distinct, seed), compare_full<8, 2>(distinct, seed), compare_full<8, 8>(distinct, seed);
      compare_full<16, 3>(distinct, seed), compare_full<32, 2>(distinct, seed), compare_full<32, 4>(distinct, seed);
      compare_full<32, 6>(distinct, seed);
    }
}
TEST_CASE("row: map, zip, sum and finite see the present experts only") {
  row<scalar_group, 8, double> r;
  r.n = 3;
  for (int i = 0; i < 8; ++i) r.v[i] = i < 3 ? i + 1.0 : std::numeric_limits<double>::quiet_NaN();
  CHECK(r.sum() == 6);
  CHECK(r.finite());
  CHECK(r.map([](double x, int e) { return x * e; }).sum() == 8);
  CHECK(r.zip(r, [](double a, double b, int) { return a * b; }).sum() == 14);
  r.add_at(1, 5);
  CHECK(r.at(1) == 7);
  r.v[2] = -std::numeric_limits<double>::infinity();
  CHECK(!r.finite());
}

}  // namespace
}  // namespace polymoe
