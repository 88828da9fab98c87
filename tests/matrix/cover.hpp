// Lists of compositions.  For the CPU one that meets every supported triple of router, capacity and unit and every
// supported pair of values of any two axes in double, where gradients are checked (pairs with another scalar in that),
// and one with every supported router and score; for CUDA, whose layers take longer to compile, one composition a
// router, which meets every value of every axis and many pairs.
#pragma once

#include "verdicts.hpp"

namespace matrix {

/// `list`, without what is no longer supported, with what it does not meet, chosen greedily, and without what that
/// makes needless; the same for the same list and axes.
std::vector<point> covering_compositions(std::vector<point> list);
/// One for every router template with a score that is supported and no router of the axis, in the order of the lists.
std::vector<point> score_compositions();
/// The same as the first for CUDA, made from nothing: as many as there are routers, or a few more where they leave a
/// value out.
std::vector<point> cuda_compositions();

/// A pair or triple that a list has to meet, with a last value where it has to be met in double.
struct demand {
  std::vector<coordinate> values;
  friend bool operator<(const demand& a, const demand& b);
};
/// Whether it is a triple of router, capacity and unit.
inline bool of_routing(const demand& d) { return d.values.size() == 4; }
/// What there is to meet on the CPU: of values that are tested.
std::set<demand> demands();
/// The pairs among what there would be to meet on a backend, itself a value that every other makes a pair with.
std::set<demand> pairs_on(int backend);
/// Whether compositions on a backend are tested with a value.
bool tested(coordinate c, int backend = backend_values::on_cpu);
/// How many of the pairs on CUDA a list meets.
struct coverage {
  std::size_t met = 0, all = 0;
  std::size_t percent() const { return 100 * met / all; }
};
coverage cuda_coverage(const std::vector<point>& list);
/// What a composition meets.
std::vector<demand> met_by(const point& p);
std::string text_of(const demand& d);
/// The identifiers of a composition's values, without the backend.
std::string text_of(const point& p);

/// Random supported compositions of values that are tested on a backend, without repeats; all of them when `most` is
/// negative.  Every router has the same share, as far as it has compositions: most of the product belongs to the few
/// routers that go with everything.
std::vector<point> random_compositions(long long most, std::uint64_t seed, int backend = backend_values::on_cpu);

}  // namespace matrix
