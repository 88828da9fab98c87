// First values of parameters: their bits, and their distribution.
#include "first_values_bits.hpp"

#include <algorithm>
#include <cmath>

namespace polymoe {
namespace {

TEST_CASE("first values are the same numbers on every machine") { check_bits_of_first_values(); }

TEST_CASE("first values are normal: close to the formula in double, and to what a stream draws") {
  const random_stream r = random_root{3}.stream(4, 0);
  double largest = 0, sum = 0, square = 0;
  constexpr int count = 200000;
  for (std::uint64_t i = 0; i < count; ++i) {
    const words4 b = r.bits(i);
    const double u = (static_cast<double>(b.a >> 8) + 1) * 0x1p-24, v = static_cast<double>(b.b >> 8) * 0x1p-24;
    const double want = std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
    const double got = static_cast<double>(first_normal(r, i));
    largest = std::max(largest, std::abs(got - want));
    CHECK(std::abs(got - static_cast<double>(r.normal(i))) < 4e-6);
    sum += got, square += got * got;
  }
  CHECK(largest < 4e-6);
  CHECK(std::abs(sum / count) < 0.01);
  CHECK(square / count == doctest::Approx(1).epsilon(0.02));
}

}  // namespace
}  // namespace polymoe
