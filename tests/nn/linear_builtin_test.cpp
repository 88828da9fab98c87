// nn::linear on the plain loops that need no library.
#include <doctest/doctest.h>

#include <polymoe/nn/linear.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using builtin_linear = nn::linear<T, backend::cpu_with<maths::builtin>>;

TEST_CASE("linear without bias and on plain loops keeps the module contract") {
  testing::check_module<builtin_linear>(
      [](auto t) {
        return typename builtin_linear<decltype(t)>::config{12, 20, false, nn::linear_init::xavier};
      },
      {.rows = 70});
}

}  // namespace
}  // namespace polymoe
