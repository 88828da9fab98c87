// nn::sequential, residual, repeat and named: the module contract of a small tower, names, messages, cost.
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/pool.hpp>
#include <polymoe/nn/repeat.hpp>
#include <polymoe/nn/residual.hpp>
#include <polymoe/nn/sequential.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using contained_block =
    nn::residual<nn::sequential<nn::named<"in", nn::linear<T>>, nn::activation<act::silu, T>, nn::linear<T>>>;
/// Rows shrink on the way, widths change, a block is wrapped without forward_add (activation) and with it (linear).
template <class T>
using contained_tower =
    nn::sequential<nn::named<"stem", nn::linear<T>>, nn::named<"blocks", nn::repeat<contained_block<T>>>,
                   nn::residual<nn::activation<act::gelu_erf, T>>, nn::pool<T>, nn::named<"", nn::linear<T>>>;

template <class T>
typename contained_tower<T>::config tower_config(index depth) {
  typename contained_block<T>::config b{{{5, 9}, {9}, {9, 5}}};
  return {{{3, 5}, {b, depth}, {5}, {5, 2}, {5, 4}}};
}

TEST_CASE("a tower of containers keeps the module contract") {
  for (const index depth : {1, 2, 3}) {
    CAPTURE(depth);
    testing::check_module<contained_tower>([=](auto t) { return tower_config<decltype(t)>(depth); }, {.rows = 10}, 2);
  }
}

TEST_CASE("containers name their children like a state_dict") {
  contained_tower<float> m(tower_config<float>(2));
  visitor<float> v;
  m.visit(v);
  std::vector<std::string> names;
  for (const auto& e : v.params()) names.push_back(e.name);
  CHECK(names == std::vector<std::string>{"stem.weight", "stem.bias", "blocks.0.in.weight", "blocks.0.in.bias",
                                          "blocks.0.2.weight", "blocks.0.2.bias", "blocks.1.in.weight",
                                          "blocks.1.in.bias", "blocks.1.2.weight", "blocks.1.2.bias", "weight",
                                          "bias"});
  const cost n = contained_tower<float>::count(tower_config<float>(2), 10);
  CHECK(n.params == v.param_count());
  CHECK(n.macs == 10 * 15 + 2 * 10 * 90 + 5 * 20);
  CHECK(contained_tower<float>::out_rows(tower_config<float>(2), 10) == 5);
}

TEST_CASE("containers say which widths do not meet") {
  using pair = nn::sequential<nn::linear<float>, nn::linear<float>>;
  CHECK_THROWS_WITH_AS(pair({{{3, 4}, {5, 2}}}), doctest::Contains("gives rows of width 4, module 1 takes width 5"),
                       error);
  CHECK_THROWS_WITH_AS(nn::residual<nn::linear<float>>({3, 4}), doctest::Contains("input width 3"), error);
  CHECK_THROWS_AS(nn::repeat<nn::linear<float>>({{3, 3}, 0}), error);
}

TEST_CASE("each_module reaches every leaf") {
  contained_tower<float> m(tower_config<float>(3));
  binder<cpu> dry;
  auto saved = m.bind(dry, 10);
  int leaves = 0, linears = 0;
  nn::each_module(m, saved, [&](auto& leaf, auto&) {
    ++leaves;
    linears += requires { leaf.weight(); };
  });
  CHECK(leaves == 1 + 3 * 3 + 1 + 1 + 1);
  CHECK(linears == 1 + 3 * 2 + 1);
}

}  // namespace
}  // namespace polymoe
