// A list of compositions that meets every supported triple of router, capacity and unit in double, and every supported
// pair of values of any two axes.
#pragma once

#include "verdicts.hpp"

namespace matrix {

/// Made greedily; the same list for the same axes.
std::vector<point> covering_compositions();

/// A pair or triple that a list has to meet.
struct demand {
  std::vector<coordinate> values;
  friend bool operator<(const demand& a, const demand& b);
};
/// What there is to meet on the CPU: of values that are tested.
std::set<demand> demands();
/// Whether compositions are tested with a value.
bool tested(coordinate c);
/// What a composition meets.
std::vector<demand> met_by(const point& p);
std::string text_of(const demand& d);
/// The identifiers of a composition's values, without the backend.
std::string text_of(const point& p);

/// Random supported compositions of values that are tested on the CPU, without repeats; all of them when `most` is
/// negative.  Every router has the same share, as far as it has compositions: most of the product belongs to the few
/// routers that go with everything.
std::vector<point> random_compositions(long long most, std::uint64_t seed);

}  // namespace matrix
