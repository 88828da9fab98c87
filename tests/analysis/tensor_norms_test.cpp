// Norms of tensors and of their gradients: by hand over the flat buffers, and what clipping takes for their sum.
// with: hessian
#include <doctest/doctest.h>

#include <polymoe/analysis/tensor_norms.hpp>
#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

TEST_CASE("norms of tensors: each its own numbers, a bad one is found by its name, threads change no bit") {
  using block = nn::mlp_block<double>;
  constexpr index rows = 7;
  std::vector<analysis::tensor_norm> of_threads[2];
  for (const int threads : {1, 3}) {
    workspace<block> w(block({5, 9}), {.max_rows = rows, .threads = threads, .seed = 4});
    testing::detail::tensor<double> x(rows, 5), y(rows, 5), dx(rows, 5);
    testing::detail::fill<double>(x, 5, 1, 1);
    w.forward(x, y), w.backward(y, dx);
    const auto values = w.values_on_host(), grads = w.grads_on_host();
    const auto by_value = analysis::parameter_norms(w), by_grad = analysis::gradient_norms(w);
    REQUIRE(by_grad.size() == 4);
    REQUIRE(by_value.size() == 4);
    double sum = 0, whole = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const param_entry& e = w.entries()[i];
      double value = 0, grad = 0;
      for (index k = e.offset; k < e.offset + e.size; ++k)
        value += values[static_cast<std::size_t>(k)] * values[static_cast<std::size_t>(k)],
            grad += grads[static_cast<std::size_t>(k)] * grads[static_cast<std::size_t>(k)];
      CHECK((by_grad[i].name == e.name && by_grad[i].size == e.size));
      CHECK(by_value[i].norm == doctest::Approx(std::sqrt(value)).epsilon(1e-14));
      CHECK(by_grad[i].norm == doctest::Approx(std::sqrt(grad)).epsilon(1e-14));
      CHECK(by_grad[i].norm > 0);
      sum += by_grad[i].norm * by_grad[i].norm;
    }
    for (const double g : grads) whole += g * g;
    CHECK(sum == doctest::Approx(whole).epsilon(1e-13));
    of_threads[threads > 1] = by_grad;
    auto broken = values;
    broken[static_cast<std::size_t>(w.entries()[2].offset)] = std::nan("");
    w.set_values(broken);
    const auto found = analysis::parameter_norms(w);
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::isfinite(found[i].norm) == (i != 2));
  }
  for (std::size_t i = 0; i < 4; ++i) CHECK(of_threads[0][i].norm == of_threads[1][i].norm);
}

TEST_CASE("norms of experts: all tensors of an expert together, by their names; others are left out") {
  const auto found = analysis::norms_of_experts({{"a.moe.experts.0.fc1.weight", 6, 3},
                                                 {"a.moe.experts.10.fc1.weight", 6, 1},
                                                 {"a.moe.experts.0.fc1.bias", 2, 4},
                                                 {"a.moe.router.weight", 4, 9},
                                                 {"experts.0.w", 1, 2},
                                                 {"nonexperts.0.w", 1, 7},
                                                 {"experts.gate.w", 1, 7},
                                                 {"a.moe.experts.10.fc2.weight", 6, std::nan("")}});
  REQUIRE(found.size() == 3);
  CHECK((found[0].experts == "a.moe.experts" && found[0].expert == 0 && found[0].norm == 5));
  CHECK((found[1].experts == "a.moe.experts" && found[1].expert == 10 && std::isnan(found[1].norm)));
  CHECK((found[2].experts == "experts" && found[2].expert == 0 && found[2].norm == 2));
}

}  // namespace
}  // namespace polymoe
