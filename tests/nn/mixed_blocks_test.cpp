// nn::mixed_blocks and nn::placement: where blocks of the second kind sit, the module contract, names, cost, messages.
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/mixed_blocks.hpp>
#include <polymoe/nn/residual.hpp>
#include <polymoe/nn/sequential.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

using nn::placement;

std::vector<index> blocks_of(placement p) {
  std::vector<index> v;
  for (index i = 0; i < 64; ++i)
    if (p[i]) v.push_back(i);
  return v;
}
using list = std::vector<index>;

TEST_CASE("placements of the papers") {
  CHECK(blocks_of(placement::every(2, 12)) == list{1, 3, 5, 7, 9, 11});
  CHECK(blocks_of(placement::every(3, 8)) == list{2, 5});
  CHECK(blocks_of(placement::every(1, 3)) == list{0, 1, 2});
  CHECK(blocks_of(placement::last_odd(2, 8)) == list{5, 7});  // V-MoE S/32 Last 2
  CHECK(blocks_of(placement::last_odd(1, 9)) == list{7});
  CHECK(blocks_of(placement::last(6, 12)) == list{6, 7, 8, 9, 10, 11});
  CHECK(blocks_of(placement::at({0, 63})) == list{0, 63});
  CHECK(blocks_of({}) == list{});
  static_assert(placement::every(2, 12).count() == 6 && placement::last(2, 12).reach() == 12);
  static_assert(placement::head().in_head() && placement::head().count() == 0 && !placement::last(1, 2).in_head());
  CHECK(blocks_of(placement::every(2, 12).part(3, 4)) == list{0, 2});
  CHECK(blocks_of(placement::at({63}).part(60, 9)) == list{3});
}

TEST_CASE("placements by name, refused with both numbers") {
  static_assert(placement::named("every-2", 12) == placement::every(2, 12));
  static_assert(placement::named("last-odd-2", 8) == placement::last_odd(2, 8));
  static_assert(placement::named("last-12", 12) == placement::last(12, 12));
  static_assert(placement::named("1+3+10", 12) == placement::at({1, 3, 10}));
  static_assert(placement::named("head", 12) == placement::head());
  const auto refused = [](const char* name, index depth) {
    try {
      placement::named(name, depth);
    } catch (const error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(refused("0", 1) == "");
  CHECK(refused("every-5", 4) == "placement every-5 does not fit 4 blocks");
  CHECK(refused("every-0", 4) == "placement every-0 does not fit 4 blocks");
  CHECK(refused("last-5", 4) == "placement last-5 does not fit 4 blocks");
  CHECK(refused("last-odd-3", 4) == "placement last-odd-3 does not fit 4 blocks");
  CHECK(refused("1+4", 4) == "placement: there is no block 4, the 4 blocks are 0 to 3");
  CHECK(refused("last-1", 65) == "placement: a network of 65 blocks, 1 to 64 are supported");
  for (const char* name : {"", "every", "every-", "last-x", "last--1", "1,3", "+1", "1+", "heads", "1234567890"})
    CHECK_MESSAGE(refused(name, 4) == "placement '" + std::string(name) +
                                          "': expected head, every-N, last-N, last-odd-N or blocks such as 1+3",
                  name);
  CHECK_THROWS_AS(placement::every(0, 4), error);
  CHECK_THROWS_AS(placement::last(-1, 4), error);
  CHECK_THROWS_AS(placement::at({64}), error);
  CHECK_THROWS_AS(placement::at({-1}), error);
}

template <class T>
using plain = nn::residual<nn::linear<T>>;
template <class T>
using special =
    nn::residual<nn::sequential<nn::named<"in", nn::linear<T>>, nn::activation<act::silu, T>, nn::linear<T>>>;
template <class T>
using tower = nn::mixed_blocks<plain<T>, special<T>>;
template <class T>
typename tower<T>::config config_of(index count, placement where) {
  typename tower<T>::config c;
  c.plain = {4, 4}, c.special = {{{4, 7}, {7}, {7, 4}}};
  c.count = count, c.special_at = where, c.first = 1;
  return c;
}

TEST_CASE("mixed blocks keep the module contract wherever the special ones sit") {
  for (const auto& [count, where] : {std::pair{1, placement{}},
                                     {1, placement::at({0})},
                                     {2, placement::at({0})},
                                     {4, placement::every(2, 4)},
                                     {3, placement::last(3, 3)}}) {
    CAPTURE(count);
    testing::check_module<tower>(
        [count = count, where = where](auto t) { return config_of<decltype(t)>(count, where); }, {.rows = 5}, 2);
  }
}

TEST_CASE("names by their place, costs by their kind, children in order") {
  const auto c = config_of<float>(4, placement::at({0, 2}));
  tower<float> m(c);
  visitor<float> v;
  m.visit(v);
  std::vector<std::string> names;
  for (const auto& e : v.params())
    if (e.dims.size() > 1) names.push_back(e.name);
  CHECK(names ==
        std::vector<std::string>{"1.in.weight", "1.2.weight", "2.weight", "3.in.weight", "3.2.weight", "4.weight"});
  const cost n = tower<float>::count(c, 10);
  CHECK(n.params == v.param_count());
  CHECK(n.macs == 10 * (2 * 16 + 2 * 2 * 28));
  binder<cpu> dry;
  auto saved = m.bind(dry, 5);
  std::vector<index> widths;
  nn::each_module(m, saved, [&](auto& leaf, auto&) { widths.push_back(leaf.out_cols()); });
  CHECK(widths == std::vector<index>{7, 7, 4, 4, 7, 7, 4, 4});
}

TEST_CASE("messages") {
  CHECK_THROWS_WITH_AS(tower<float>(config_of<float>(3, placement::at({3}))),
                       doctest::Contains("3 blocks, the last special one is block 3"), error);
  CHECK_THROWS_AS(tower<float>(config_of<float>(0, {})), error);
  auto c = config_of<float>(2, placement::at({1}));
  c.special = {{{5, 7}, {7}, {7, 5}}};
  CHECK_THROWS_WITH_AS(tower<float>{c}, doctest::Contains("block 1 maps width 5 to 5, all have to keep width 4"),
                       error);
}

}  // namespace
}  // namespace polymoe
