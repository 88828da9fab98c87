// Verdicts on random whole compositions.
#include "verdict_table.hpp"

namespace matrix::detail {
namespace {

/// Number `i` of a fixed sequence of points; half of them keep most axes at a completion, so that enough are supported.
constexpr point random_point(int i) {
  std::uint64_t z = static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15ull + 0x1234567ull;
  const auto draw = [&](int n) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return static_cast<int>((z >> 8) % static_cast<std::uint64_t>(n));
  };
  point p = completion(draw(ways));
  const bool near = draw(2) == 0;
  for (std::size_t d = 0; d < p.size(); ++d)
    if (!near || draw(3) == 0) p[d] = draw(sizes[d]);
  return p;
}
template <int First, int... I>
void add(std::vector<sample>& s, std::integer_sequence<int, I...>) {
  (s.push_back({random_point(First + I), ask<random_point(First + I)>()}), ...);
}

}  // namespace

void fill_samples(std::vector<sample>& s) {
  add<0>(s, std::make_integer_sequence<int, 500>{});
  add<500>(s, std::make_integer_sequence<int, 500>{});
}

}  // namespace matrix::detail
