// backend/cpu/convert.hpp: bf16 rows to float and back, and the row loops built on them.
// sanitize: yes
#include <doctest/doctest.h>

#include <cmath>
#include <polymoe/backend/cpu/convert.hpp>
#include <polymoe/core/dual.hpp>
#include <vector>

namespace polymoe {
namespace {

TEST_CASE("convert: narrow rounds as bf16 does, for any length, and keeps NaN and infinity") {
  std::vector<float> x;
  // Every upper half with four lower halves: below, at and above the middle, and just under the next number.
  for (std::uint32_t high = 0; high < 0x10000u; ++high) {
    if ((high & 0x7f80u) == 0) continue;  // denormal numbers: instructions take them for zero
    for (std::uint32_t low : {0x0000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      x.push_back(bit_cast<float>(high << 16 | low));
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
    for (index i = 0; i < n; ++i)
      CHECK(part[static_cast<std::size_t>(i)].bits == bf16(x[1000 + static_cast<std::size_t>(i)]).bits);
    CHECK(static_cast<float>(part[static_cast<std::size_t>(n)]) == 7.0f);
  }
  std::vector<float> back(x.size());
  backend::widen(y.data(), back.data(), static_cast<index>(y.size()));
  for (std::size_t i = 0; i < x.size(); i += 97)
    CHECK((back[i] == static_cast<float>(y[i]) || std::isnan(back[i])));
}

// Functions with one rounding each, so that the expected bits are known whatever the compiler fuses.
TEST_CASE("convert: map_row computes in float and rounds once, in place too, across chunks and rows") {
  const index rows = 2, cols = 2 * 1024 + 37, n = rows * cols;
  std::vector<bf16> a(static_cast<std::size_t>(n)), b(a), out(a);
  for (index i = 0; i < n; ++i) {
    a[static_cast<std::size_t>(i)] = bf16(0.01f * static_cast<float>(i % 331) - 1.0f);
    b[static_cast<std::size_t>(i)] = bf16(0.02f * static_cast<float>(i % 71) + 0.5f);
  }
  const view<const bf16> x(a.data(), rows, cols), y(b.data(), rows, cols);
  const auto square = [](float p) { return p * p; };
  const auto add = [](float p, float q) { return p + q; };
  const auto weigh = [](float p, float q, float r) { return p > q ? r : -r; };
  for (index r = 0; r < rows; ++r) backend::map_row(r, view<bf16>(out.data(), rows, cols), square, x);
  std::vector<bf16> two = b, three = a;
  for (index r = 0; r < rows; ++r) {
    backend::map_row(r, view<bf16>(two.data(), rows, cols), add, x, view<const bf16>(two.data(), rows, cols));
    backend::map_row(r, view<bf16>(three.data(), rows, cols), weigh, view<const bf16>(three.data(), rows, cols), y, y);
  }
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float p = static_cast<float>(a[i]), q = static_cast<float>(b[i]);
    wrong += out[i].bits != bf16(square(p)).bits;
    wrong += two[i].bits != bf16(add(p, q)).bits;
    wrong += three[i].bits != bf16(weigh(p, q, q)).bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("convert: map_row of dual rows carries the tangent, of double rows computes in double") {
  const index n = 19;
  std::vector<double> v(static_cast<std::size_t>(n)), t(v), out_v(v), out_t(v), plain(v);
  for (index i = 0; i < n; ++i)
    v[static_cast<std::size_t>(i)] = 0.5 * static_cast<double>(i),
    t[static_cast<std::size_t>(i)] = 1.0 + static_cast<double>(i);
  const view<const dual<double>> x(v.data(), t.data(), 1, n);
  backend::map_row(0, view<dual<double>>(out_v.data(), out_t.data(), 1, n), [](dual<double> p) { return p * p; }, x);
  backend::map_row(
      0, view<double>(plain.data(), 1, n), [](double p, double q) { return p * q; }, view<const double>(v.data(), 1, n),
      view<const double>(t.data(), 1, n));
  for (std::size_t i = 0; i < v.size(); ++i) {
    CHECK(out_v[i] == v[i] * v[i]);
    CHECK(out_t[i] == 2 * v[i] * t[i]);
    CHECK(plain[i] == v[i] * t[i]);
  }
}

}  // namespace
}  // namespace polymoe
