// backend/cpu/logits.hpp: router logits of a bf16 input are as exact as float's, on both of its ways.
#include <doctest/doctest.h>

#include <cmath>
#include <polymoe/backend/cpu/logits.hpp>
#include <vector>

namespace polymoe {
namespace {

template <class Maths>
double worst_error(index rows, index dim, index experts, bool in_parts) {
  backend::logits_product<bf16, Maths> product(dim, experts, in_parts);
  aligned_block packed(product.packed_bytes()), scratch(product.worker_bytes() + 64);
  worker w{0, static_cast<std::byte*>(scratch.data()), scratch.size()};
  const auto draw = random_root{5}.stream(1, 0);
  std::vector<float> weight(static_cast<std::size_t>(experts * dim)),
      z(static_cast<std::size_t>(rows * experts), std::nanf(""));
  std::vector<bf16> r(static_cast<std::size_t>(rows * dim));
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = 0.05f * draw.normal(i);
  for (std::size_t i = 0; i < r.size(); ++i) r[i] = bf16(draw.normal(i + weight.size()));
  product.pack(view<const float>(weight.data(), experts, dim), static_cast<std::byte*>(packed.data()), w);
  product.run(w, view<const bf16>(r.data(), rows, dim), static_cast<const std::byte*>(packed.data()),
              view<float>(z.data(), rows, experts));
  double worst = 0, size = 0;
  for (index t = 0; t < rows; ++t)
    for (index e = 0; e < experts; ++e) {
      double exact = 0, sum = 0;
      for (index k = 0; k < dim; ++k) {
        const double x = static_cast<double>(weight[static_cast<std::size_t>(e * dim + k)]) *
                         static_cast<double>(static_cast<float>(r[static_cast<std::size_t>(t * dim + k)]));
        exact += x, sum += x * x;
      }
      worst = std::max(worst, std::abs(static_cast<double>(z[static_cast<std::size_t>(t * experts + e)]) - exact));
      size = std::max(size, std::sqrt(sum));
    }
  return worst / size;
}

TEST_CASE("logits of bf16 rows are exact to float rounding, not to bf16 rounding") {
  // bf16 weights would be off by about 2^-9 = 2e-3; float accumulation over 384 terms by a few 1e-7.
  for (const bool in_parts : {false, true}) {
    for (const index experts : {1, 7, 8, 33}) {
      CHECK(worst_error<maths::automatic>(37, 384, experts, in_parts) < 2e-6);
      CHECK(worst_error<maths::builtin>(5, 96, experts, in_parts) < 2e-6);
    }
    CHECK(worst_error<maths::automatic>(256, 200, 16, in_parts) < 2e-6);
  }
}

}  // namespace
}  // namespace polymoe
