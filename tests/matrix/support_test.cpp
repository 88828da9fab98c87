// docs/support.md is what the code says; a composition is refused exactly where a pair of its values is.
#include <doctest/doctest.h>

#include "page.hpp"

namespace matrix {

TEST_CASE("docs/support.md is the support matrix of this code") {
  const std::string written = project_text("docs/support.md"), now = support_page();
  std::size_t same = 0;
  while (same < written.size() && same < now.size() && written[same] == now[same]) ++same;
  const std::size_t line = same ? now.rfind('\n', same - 1) : std::string::npos;
  CHECK_MESSAGE(written == now,
                "write it again: build/check/tests/support_matrix write; it differs from:\n",
                now.substr(line == std::string::npos ? 0 : line + 1, 300));
}

TEST_CASE("a whole composition is supported exactly if all pairs of its values are") {
  int supported_ones = 0;
  for (const sample& s : sampled()) {
    const bool by_pairs = supported(s.numbers);
    supported_ones += by_pairs;
    std::string text;
    for (int d = 0; d < dimensions; ++d)
      text += std::string(facts_of({axis_of(d), s.numbers[static_cast<std::size_t>(d)]}).name) + " ";
    CHECK_MESSAGE(by_pairs == (s.said == verdict::ok), text, "is ", code_of(s.said));
  }
  // Both answers occur often enough to mean something.
  CHECK(supported_ones > static_cast<int>(sampled().size()) / 10);
  CHECK(supported_ones < static_cast<int>(sampled().size()) * 9 / 10);
}

TEST_CASE("verdicts that the manuals promise") {
  const auto say = [](dimension a, int i, dimension b, int j) { return verdict_on({a, i}, {b, j}); };
  using enum dimension;
  CHECK(say(router, router_values::top_2, capacity, capacity_values::reroute) == verdict::ok);
  CHECK(say(router, router_values::mixture, capacity, capacity_values::drop) == verdict::M013_mixture_bounded);
  CHECK(say(router, router_values::top_2, balance, balance_values::load) == verdict::M012_noise_needed);
  CHECK(say(router, router_values::top_2_learned_noise, balance, balance_values::load) == verdict::ok);
  CHECK(say(router, router_values::top_2, balance, balance_values::relu_l1) == verdict::M026_l1_needs_positive);
  CHECK(say(expert, expert_values::head, capacity, capacity_values::drop) == verdict::M010_drop_with_head);
  CHECK(say(expert, expert_values::conv_block, unit, unit_values::token) == verdict::M029_convolution_needs_maps);
  CHECK(say(expert, expert_values::conv_block, backend, backend_values::on_cuda) == verdict::ok);
  CHECK(say(scalar, scalar_values::dual_f32, backend, backend_values::on_cuda) == verdict::M021_scalar_of_backend);
  CHECK(say(router, router_values::strictly_balanced, capacity, capacity_values::unlimited) ==
        verdict::M036_thresholds_of_rows);
  CHECK(say(router, router_values::top_1_balanced, backend, backend_values::on_cuda) == verdict::ok);
  CHECK(code_of(verdict::M029_convolution_needs_maps) == "M029");
  CHECK(code_of(verdict::M036_thresholds_of_rows) == "M036");
}

}  // namespace matrix
