// What support<Spec, Backend>() says of every pair of values, of every triple of router, capacity and unit, and of
// random whole compositions: computed when verdicts_*.cpp are compiled, looked up here.
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
const value_facts& facts_of(coordinate c);
inline dimension axis_of(int i) { return static_cast<dimension>(i); }

/// The verdict on two values: ok if some completion of them is; else of the completion that either value would have
/// alone, so that it is the pair that is refused.
verdict verdict_on(coordinate a, coordinate b);
/// A whole composition, by its pairs: ok exactly if all of them are.  `sampled()` is what shows that this is enough.
bool supported(const point& p);
/// The first refusal among the pairs of a composition; ok when there is none.
verdict first_refusal(const point& p);

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
