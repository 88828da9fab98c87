// docs/support.md is what the code says, and has every router and score; a composition is refused exactly where a pair
// of its values is.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <regex>
#include <sstream>

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

TEST_CASE("every score, router and linear map of docs/policies.md is in the tables of routers") {
  const std::string policies = project_text("docs/policies.md");
  const auto section = [&](const std::string& heading) {
    const std::size_t start = policies.find("\n## " + heading + "\n");
    REQUIRE(start != std::string::npos);
    return policies.substr(start, policies.find("\n## ", start + 1) - start);
  };
  // `name` and `name<...>` in the first column of a table.
  static const std::regex cell("`([a-z_0-9]+)(<[^`]*>)?`");
  const auto policies_of = [&](const std::string& heading) {
    std::map<std::string, std::string> found;  // with what they take
    std::istringstream lines(section(heading));
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("| `", 0) != 0) continue;
      const std::string first = line.substr(0, line.find('|', 1));
      for (std::sregex_iterator i(first.begin(), first.end(), cell), none; i != none; ++i)
        found.emplace((*i)[1], (*i)[2]);
    }
    return found;
  };
  const auto in = [](const auto& list, const std::string& name) {
    return std::any_of(std::begin(list), std::end(list), [&](const value_facts& f) {
      return std::regex_search(f.text, std::regex("(^|::)" + name + "(<|$)"));
    });
  };
  const auto scores = policies_of("Score"), routers = policies_of("Router");
  CHECK((scores.size() > 11 && routers.size() > 9));
  for (const auto& [name, takes] : scores) CHECK_MESSAGE(in(router_scores, name), name);
  for (const auto& [name, takes] : routers) {
    if (takes.find("Score") != std::string::npos) CHECK_MESSAGE(in(router_templates, name), name);
    if (takes.find("Router") != std::string::npos) CHECK_MESSAGE(in(linear_maps, name), name);
  }
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
  const auto scored = [](int t, int s) { return verdict_on_score(t, s).said; };
  CHECK(scored(template_values::top_1, score_values::assignment) == verdict::ok);
  CHECK(scored(template_values::top_2, score_values::assignment) == verdict::M035_assignment_of_one);
  CHECK(scored(template_values::expert_choice, score_values::transport_adam_plan) == verdict::M038_gradient_of_plan);
  CHECK(scored(template_values::mixture, score_values::transport_clean) == verdict::M039_clean_scores_of_plan);
  CHECK(scored(template_values::strictly_balanced, score_values::sinkhorn) == verdict::M036_thresholds_of_rows);
  CHECK(scored(template_values::strictly_balanced, score_values::relu) == verdict::ok);
  CHECK(verdict_on_score(template_values::top_2, score_values::softmax).on_axis);
  CHECK(!verdict_on_score(template_values::hashed, score_values::relu).on_axis);
  const auto mapped = [](int number, int map) {
    const auto* const found = std::find(std::begin(mapped_routers), std::end(mapped_routers), number);
    REQUIRE(found != std::end(mapped_routers));
    return verdict_on_map(static_cast<int>(found - std::begin(mapped_routers)), map);
  };
  CHECK(mapped(router_values::soft_slots, linear_map_values::bias) == verdict::M034_linear_map_needed);
  CHECK(mapped(router_values::fixed, linear_map_values::cosine_of_units_bias) == verdict::M034_linear_map_needed);
  CHECK(mapped(router_values::fixed, linear_map_values::cosine_bias) == verdict::ok);
  CHECK(code_of(verdict::M029_convolution_needs_maps) == "M029");
  CHECK(code_of(verdict::M036_thresholds_of_rows) == "M036");
}

}  // namespace matrix
