// The packer of weights beside oneDNN's own reorder: formats that its kernels ask for with and without AVX-512, either
// order of the source, and rows that are missing.
#include <doctest/doctest.h>

#if defined(POLYMOE_WITH_ONEDNN)
#include <string>
#include <vector>

#include <polymoe/backend/cpu/maths.hpp>

namespace polymoe {
namespace {
using tag = dnnl::memory::format_tag;

/// What oneDNN makes of a dense [k, n] matrix of floats.
template <class R>
std::vector<R> reordered(std::vector<float> source, index k, index n, const dnnl::memory::desc& to) {
  dnnl::engine e(dnnl::engine::kind::cpu, 0);
  dnnl::stream s(e);
  std::vector<R> out(to.get_size() / sizeof(R));
  dnnl::memory from({{k, n}, dnnl::memory::data_type::f32, tag::ab}, e, source.data()), into(to, e, out.data());
  dnnl::reorder(from, into).execute(s, from, into);
  s.wait();
  return out;
}

template <class R>
void compare(tag format, index k, index n) {
  const dnnl::memory::desc md({k, n}, maths::detail::dnnl_type<R>, format);
  const maths::detail::weight_packer<R> packer(md, k, n);
  REQUIRE(packer.size() == md.get_size());
  for (const index rows : {k, k - 3, index{1}, index{0}})
    for (const bool turned : {false, true}) {
      CAPTURE(k);
      CAPTURE(n);
      CAPTURE(rows);
      CAPTURE(turned);
      // Rows of the source lie further apart than they are long; what is behind them must not be taken.
      const index row = turned ? 1 : n + 5, col = turned ? k + 7 : 1;
      std::vector<R> source(static_cast<std::size_t>((turned ? n : k) * (n + k + 12)), static_cast<R>(99.0f));
      std::vector<float> whole(static_cast<std::size_t>(k * n), 0.0f);
      for (index p = 0; p < rows; ++p)
        for (index j = 0; j < n; ++j) {
          const float x = static_cast<float>((p * 37 + j * 11) % 101 - 50);  // bf16 has each of them
          source[static_cast<std::size_t>(p * row + j * col)] = static_cast<R>(x);
          whole[static_cast<std::size_t>(p * n + j)] = x;
        }
      const std::vector<R> want = reordered<R>(whole, k, n, md);
      std::vector<R> got(want.size(), static_cast<R>(77.0f));
      packer.pack(source.data(), row, col, rows, got.data());
      index wrong = 0;
      for (std::size_t i = 0; i < want.size(); ++i) wrong += static_cast<float>(got[i]) != static_cast<float>(want[i]);
      CHECK(wrong == 0);
    }
}

template <class R>
void compare(tag format) {
  for (const auto& [k, n] : {std::pair<index, index>{64, 64}, {37, 70}, {5, 3}, {16, 130}}) compare<R>(format, k, n);
}

TEST_CASE("weights are packed as oneDNN reorders them") {
  SUBCASE("rows one after another") { compare<float>(tag::ab); }
  SUBCASE("columns one after another") { compare<float>(tag::ba); }
  SUBCASE("blocks of 16 rows and 64 columns") { compare<float>(tag::BA16a64b); }
  SUBCASE("the same in pairs of rows") { compare<bf16>(tag::BA16a64b2a); }
  SUBCASE("rows of bf16") { compare<bf16>(tag::ab); }
  SUBCASE("blocks that no kernel here asks for") { compare<float>(tag::AB8b16a2b); }
}

}  // namespace
}  // namespace polymoe
#endif
