// What support<Spec, Backend>() says of every pair of values, of random whole compositions, of every router with every
// score, and of routers with linear maps: computed when verdicts_*.cpp are compiled, looked up here.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "axes.hpp"

namespace matrix {

/// A value of an axis.
struct coordinate {
  dimension axis{};
  int number = 0;
  friend bool operator==(const coordinate&, const coordinate&) = default;
};
inline int& at(point& p, dimension d) { return p[static_cast<std::size_t>(d)]; }
inline int at(const point& p, dimension d) { return p[static_cast<std::size_t>(d)]; }
inline int size_of(dimension d) { return sizes[static_cast<int>(d)]; }

/// Identifier, text and place of a value.
struct value_facts {
  const char* name;
  const char* text;
  place appears;
};
/// Of a router with a number beyond the axis too (`scored_router`).
const value_facts& facts_of(coordinate c);
#define MATRIX_FACT(A, id, where, ...) {#id, #__VA_ARGS__, where},
inline constexpr value_facts router_templates[] = {MATRIX_TEMPLATES(MATRIX_FACT, template)},
                             router_scores[] = {MATRIX_SCORES(MATRIX_FACT, score)},
                             linear_maps[] = {MATRIX_LINEAR_MAPS(MATRIX_FACT, map)};
#undef MATRIX_FACT
inline dimension axis_of(int i) { return static_cast<dimension>(i); }

/// The verdict on two values: ok if some completion of them is; else of the completion that either value would have
/// alone, so that it is the pair that is refused.
verdict verdict_on(coordinate a, coordinate b);
/// A whole composition, by its pairs: ok exactly if all of them are.  `sampled()` is what shows that this is enough.
bool supported(const point& p);
/// The first refusal among the pairs of a composition; ok when there is none.
verdict first_refusal(const point& p);

/// A router template with a score.
struct scored_verdict {
  verdict said{};
  bool on_axis = false;  ///< the axis has this router, and it is tested there
  point composition{};   ///< the layer that was asked about: as little else as there can be
};
/// By the numbers of both.
scored_verdict verdict_on_score(int t, int s);

/// One router of every template, and those that have no score.
inline constexpr int mapped_routers[] = {router_values::top_2,         router_values::top_2_group_limited,
                                         router_values::mixture,       router_values::expert_choice,
                                         router_values::positive,      router_values::strictly_balanced,
                                         router_values::fixed,         router_values::hashed,
                                         router_values::soft_slots};
/// The verdict on number `i` of them with a linear map.
verdict verdict_on_map(int i, int m);

/// A random composition and what support<> says of it.
struct sample {
  point numbers;
  verdict said;
};
const std::vector<sample>& sampled();

/// Compositions in all, and how many of them are supported; of values that the page lists.
struct census {
  long long compositions = 0, supported = 0;
};
census count_compositions();

/// "M023" of a verdict, "ok" when there is nothing to refuse.
std::string code_of(verdict v);
/// A file of the project.
std::string project_text(const std::string& name);

}  // namespace matrix
