// backend/cpu/convert.hpp: bf16 rows to float and back, and the row loops built on them.
// sanitize: yes
#include <doctest/doctest.h>

#include <cmath>
#include <polymoe/backend/cpu/convert.hpp>
#include <vector>

namespace polymoe {
namespace {

TEST_CASE("convert: narrow rounds as bf16 does, for any length, and keeps NaN and infinity") {
  std::vector<float> x;
  // Every upper half with four lower halves: below, at and above the middle, and just under the next number.
  for (std::uint32_t high = 0; high < 0x10000u; ++high) {
    if ((high & 0x7f80u) == 0) continue;  // denormal numbers: instructions take them for zero
    for (std::uint32_t low : {0x0000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) x.push_back(bit_cast<float>(high << 16 | low));
  }
  std::vector<bf16> y(x.size());
  backend::narrow(x.data(), y.data(), static_cast<index>(x.size()));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    wrong += std::isnan(x[i]) ? !std::isnan(static_cast<float>(y[i])) : y[i].bits != bf16(x[i]).bits;
  CHECK(wrong == 0);
  for (index n : {0, 1, 15, 16, 17, 31, 33}) {
    std::vector<bf16> part(static_cast<std::size_t>(n) + 1, bf16(7.0f));
    backend::narrow(x.data() + 1000, part.data(), n);
    for (index i = 0; i < n; ++i) CHECK(part[static_cast<std::size_t>(i)].bits == bf16(x[1000 + static_cast<std::size_t>(i)]).bits);
    CHECK(static_cast<float>(part[static_cast<std::size_t>(n)]) == 7.0f);
  }
  std::vector<float> back(x.size());
  backend::widen(y.data(), back.data(), static_cast<index>(y.size()));
  for (std::size_t i = 0; i < x.size(); i += 97)
    CHECK((back[i] == static_cast<float>(y[i]) || std::isnan(back[i])));
}

TEST_CASE("convert: map_row computes in float and rounds once, in place too, across chunks") {
  const index n = 2 * 1024 + 37;
  std::vector<bf16> a(static_cast<std::size_t>(n)), b(a), out(a);
  for (index i = 0; i < n; ++i) {
    a[static_cast<std::size_t>(i)] = bf16(0.01f * static_cast<float>(i % 331) - 1.0f);
    b[static_cast<std::size_t>(i)] = bf16(0.02f * static_cast<float>(i % 71) + 0.5f);
  }
  const auto f = [](float x) { return x * x - 0.3f * x; };
  const auto g = [](float x, float y) { return x * y + x; };
  backend::map_row(a.data(), out.data(), n, f);
  for (index i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    // Fused multiply-add may differ by one rounding of the float result: a bf16 step at most.
    CHECK(static_cast<float>(out[k]) == doctest::Approx(f(static_cast<float>(a[k]))).epsilon(0.005));
  }
  std::vector<bf16> two = b;
  backend::map_row(static_cast<const bf16*>(a.data()), static_cast<const bf16*>(two.data()), two.data(), n, g);
  for (index i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    CHECK(static_cast<float>(two[k]) == doctest::Approx(g(static_cast<float>(a[k]), static_cast<float>(b[k]))).epsilon(0.005));
  }
}

}  // namespace
}  // namespace polymoe
