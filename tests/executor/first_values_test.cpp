// First values of parameters: the same bits on the CPU, under the executor, on a GPU, and with any compiler's habits; a
// workspace on CUDA that draws them where they lie.
// with: plans
#include "core/first_values_bits.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/initialise.cuh>

namespace polymoe::executor_test {
namespace {

/// A module of nothing but parameters, one for each rule, with sizes around launches and gaps between them.
template <class T, class B>
struct parameters {
  using scalar = T;
  using backend = B;
  struct saved {};
  param<T> p[9];

  static index in_cols() { return 1; }
  static index out_cols() { return 1; }
  void visit(visitor<T>& v) {
    v.add(p[0], "constant", {3}, init_rule::constant(1.5));
    v.add(p[1], "normal", {70, 131}, init_rule::normal(0.02));
    v.add(p[2], "zeros", {5}, init_rule::zeros());
    v.add(p[3], "uniform", {33, 17}, init_rule::uniform(0.1));
    v.add(p[4], "xavier", {1, 1}, init_rule::xavier(3, 5));
    v.add_stack(
        p[5], 3, [](index i) { return std::to_string(i) + ".weight"; }, {2, 9}, init_rule::normal(1));
    v.equal_stacks(true);
    v.add_stack(
        p[6], 2, [](index i) { return std::to_string(i) + ".equal"; }, {3, 5}, init_rule::normal(1));
    v.equal_stacks(false);
    v.add(p[7], "wide", {5, 13}, init_rule::orthogonal(0.1));
    v.add(p[8], "tall", {2, 7, 5}, init_rule::orthogonal(2));
  }
  saved bind(binder<B>&, index) const { return {}; }
  void refresh(context<B>&) {}
  void forward(context<B>&, view<const T>, view<T>, saved&) const {}
  void backward(context<B>&, view<const T>, view<T>, saved&) const {}
};

template <class T>
void compare_values(std::uint64_t seed) {
  workspace<parameters<T, cpu>> host({}, {.max_rows = 1, .seed = seed});
  workspace<parameters<T, cuda>> copied({}, {.max_rows = 1, .seed = seed});
  workspace<parameters<T, cuda>> there({}, {.max_rows = 1, .seed = seed}, first_values_on_device<T>);
  const std::vector<T> want = host.values_on_host();
  CHECK(same_bits(copied.values_on_host(), want));
  CHECK(same_bits(there.values_on_host(), want));
  for (const T g : there.grads_on_host()) CHECK(g == T(0));
  // Something was drawn, and no tensor repeats another of the same rule: their first numbers by the rule's deviation.
  const auto first = [&](const std::string& name, double deviation) {
    for (const param_entry& e : host.entries())
      if (e.name == name) return static_cast<double>(want[static_cast<std::size_t>(e.offset)]) / deviation;
    FAIL(name);
    return 0.0;
  };
  CHECK(first("normal", 0.02) != 0);
  CHECK(std::abs(first("normal", 0.02) - first("0.weight", 1)) > 1e-6);
  CHECK(std::abs(first("1.weight", 1) - first("0.weight", 1)) > 1e-6);
  // Equal stacks repeat their first tensor, others do not.
  const auto& list = host.entries();
  const auto tensor_of = [&](std::size_t i) {
    return std::vector<T>(want.begin() + list[i].offset, want.begin() + list[i].offset + list[i].size);
  };
  CHECK(tensor_of(5) != tensor_of(6));
  CHECK(tensor_of(8) == tensor_of(9));
}

TEST_CASE("first values on the device have the CPU's bits: every rule, float and double") {
  for (const std::uint64_t seed : {0u, 1u, 77u}) compare_values<float>(seed), compare_values<double>(seed);
}

TEST_CASE("first values are the same numbers where the compiler joins no product and sum") {
  check_bits_of_first_values();
}

TEST_CASE("first values that do not fit the parameters are refused") {
  const cuda::stream s;
  const std::vector<param_entry> list{{"w", {8}, 4, 8, init_rule::normal(1)}};
  tensor<float> values(1, 8);
  CHECK_THROWS_WITH_AS(first_values_on_device<float>(s, list, values, 1), doctest::Contains("'w'"), polymoe::error);
}

}  // namespace
}  // namespace polymoe::executor_test
