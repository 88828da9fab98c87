// nn::conv2d on the plain loops that need no library, and on CBLAS in float where it is there.
// sanitize: yes
// thread: yes
#include <doctest/doctest.h>

#include <polymoe/nn/conv2d.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using builtin_conv = nn::conv2d<T, backend::cpu_with<maths::builtin>>;

TEST_CASE("conv2d on plain loops keeps the module contract") {
  for (const bool depthwise : {false, true}) {
    CAPTURE(depthwise);
    testing::check_module<builtin_conv>(
        [=](auto t) {
          return typename builtin_conv<decltype(t)>::config{6, depthwise ? 6 : 5, 7, 9, 3, 2, 1, true, depthwise};
        },
        {.rows = 5 * 63, .gaps = false}, 63);
  }
}

#if defined(POLYMOE_WITH_CBLAS)
TEST_CASE("conv2d on CBLAS agrees in float and double") {
  using f32 = nn::conv2d<float, backend::cpu_with<maths::cblas>>;
  using f64 = nn::conv2d<double, backend::cpu_with<maths::cblas>>;
  double output = 0, gradient = 0;
  testing::detail::check_precision<f32, f64>({8, 12, 8, 8, 3, 1, 1}, {8, 12, 8, 8, 3, 1, 1}, {.rows = 40 * 64}, 2e-5,
                                             "float", output, gradient);
  testing::detail::check_threads<f32>({8, 12, 8, 8, 3, 1, 1}, {.rows = 40 * 64});
}
#endif

}  // namespace
}  // namespace polymoe
