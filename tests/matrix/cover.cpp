// The greedy choice of compositions.
//
// CPU: what the list at hand does not meet is added, triples of router, capacity and unit first, then pair by pair.  A
// composition's other values are filled in many orders of the axes, each value the one that meets most of what is left;
// the best filling is taken.  At the end, compositions that others have made needless are taken out.
// CUDA: every value of every axis in turn, filled in the same way; then each composition is filled again beside all
// others, its router kept, as long as that meets more.
#include "cover.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace matrix {

bool operator<(const demand& a, const demand& b) {
  return std::lexicographical_compare(
      a.values.begin(), a.values.end(), b.values.begin(), b.values.end(),
      [](coordinate x, coordinate y) { return x.axis != y.axis ? x.axis < y.axis : x.number < y.number; });
}

bool tested(coordinate c, int backend) {
  if (!facts_of(c).appears.tests) return false;
  return c.axis == dimension::backend ? c.number == backend
                                      : verdict_on(c, {dimension::backend, backend}) == verdict::ok;
}

namespace {

/// A value that is not chosen yet.
constexpr int open = -1;
constexpr dimension triple[] = {dimension::router, dimension::capacity, dimension::unit};
/// The scalar in which gradients are compared with differences.
constexpr coordinate in_double{dimension::scalar, scalar_values::f64};
bool has_scalar(coordinate a, coordinate b) { return a.axis == in_double.axis || b.axis == in_double.axis; }
coordinate of(const point& p, dimension d) { return {d, at(p, d)}; }

/// Verdicts on what is tested on a backend as a table: they are asked for very often here.
class agreement {
 public:
  explicit agreement(int backend) : backend_(backend) {
    for (int d = 0; d < dimensions; ++d)
      first_[d] = static_cast<std::size_t>(d ? static_cast<int>(first_[d - 1]) + sizes[d - 1] : 0);
    values = first_[dimensions - 1] + static_cast<std::size_t>(sizes[dimensions - 1]);
    yes_.assign(values * values, false);
    each_pair([&](coordinate a, coordinate b) {
      const bool ok = tested(a, backend_) && tested(b, backend_) && verdict_on(a, b) == verdict::ok;
      const bool orders = a.axis != dimension::capacity || b.axis != dimension::priority ||
                          a.number != capacity_values::unlimited || b.number == priority_values::position;
      set(a, b, ok && orders);
    });
    // Nor has an order anything to do for what goes only with a capacity without a bound.
    each_pair([&](coordinate a, coordinate b) {
      if (a.axis == dimension::priority) std::swap(a, b);
      if (b.axis != dimension::priority || b.number == priority_values::position || a.axis == dimension::capacity)
        return;
      bool bounded = false;
      for (int c = 0; c < size_of(dimension::capacity); ++c)
        bounded = bounded || (c != capacity_values::unlimited && (*this)(a, {dimension::capacity, c}));
      if (!bounded) set(a, b, false);
    });
  }
  bool operator()(coordinate a, coordinate b) const {
    return a.axis == b.axis || yes_[index_of(a) * values + index_of(b)];
  }
  /// Whether all values of `p` are tested and go with each other.
  bool fits(const point& p) const {
    bool ok = true;
    for (int d = 0; d < dimensions && ok; ++d) ok = fits(of(p, axis_of(d)), p);
    return ok;
  }
  /// Whether the value goes with all of `p` that is filled.
  bool fits(coordinate c, const point& p) const {
    bool ok = tested(c, backend_);
    for (int e = 0; e < dimensions && ok; ++e)
      if (p[static_cast<std::size_t>(e)] != open) ok = (*this)(c, of(p, axis_of(e)));
    return ok;
  }
  template <class F>
  static void each_pair(F f) {
    for (int i = 0; i < dimensions; ++i)
      for (int j = i + 1; j < dimensions; ++j)
        for (int a = 0; a < sizes[i]; ++a)
          for (int b = 0; b < sizes[j]; ++b) f(coordinate{axis_of(i), a}, coordinate{axis_of(j), b});
  }
  std::size_t index_of(coordinate c) const {
    return first_[static_cast<std::size_t>(c.axis)] + static_cast<std::size_t>(c.number);
  }
  std::size_t values = 0;

 private:
  void set(coordinate a, coordinate b, bool yes) {
    yes_[index_of(a) * values + index_of(b)] = yes_[index_of(b) * values + index_of(a)] = yes;
  }
  int backend_;
  std::size_t first_[dimensions] = {};
  std::vector<bool> yes_;
};
const agreement& agrees(int backend) {
  static const agreement on_cpu(backend_values::on_cpu), on_cuda(backend_values::on_cuda);
  return backend == backend_values::on_cpu ? on_cpu : on_cuda;
}

}  // namespace

std::set<demand> pairs_on(int backend) {
  std::set<demand> all;
  const agreement& agree = agrees(backend);
  agreement::each_pair([&](coordinate a, coordinate b) {
    if (agree(a, b)) all.insert(demand{{a, b}});
  });
  return all;
}

std::set<demand> demands() {
  std::set<demand> all;
  for (demand d : pairs_on(backend_values::on_cpu)) {
    if (!has_scalar(d.values[0], d.values[1])) d.values.push_back(in_double);
    all.insert(d);
  }
  const agreement& agree = agrees(backend_values::on_cpu);
  for (int r = 0; r < size_of(triple[0]); ++r)
    for (int c = 0; c < size_of(triple[1]); ++c)
      for (int u = 0; u < size_of(triple[2]); ++u) {
        const coordinate x{triple[0], r}, y{triple[1], c}, z{triple[2], u};
        if (agree(x, y) && agree(x, z) && agree(y, z)) all.insert(demand{{x, y, z, in_double}});
      }
  return all;
}

std::vector<demand> met_by(const point& p) {
  std::vector<demand> d;
  const coordinate scalar = of(p, dimension::scalar);
  for (int i = 0; i < dimensions; ++i)
    for (int j = i + 1; j < dimensions; ++j) {
      const coordinate a = of(p, axis_of(i)), b = of(p, axis_of(j));
      d.push_back({{a, b}});
      if (scalar == in_double && !has_scalar(a, b)) d.push_back({{a, b, in_double}});
    }
  d.push_back({{of(p, triple[0]), of(p, triple[1]), of(p, triple[2]), scalar}});
  return d;
}

coverage cuda_coverage(const std::vector<point>& list) {
  const std::set<demand> all = pairs_on(backend_values::on_cuda);
  std::set<demand> met;
  for (const point& p : list)
    for (const demand& d : met_by(p))
      if (all.count(d)) met.insert(d);
  return {met.size(), all.size()};
}

std::string text_of(const demand& d) {
  std::string s;
  for (const coordinate c : d.values)
    s += (s.empty() ? "" : " with ") + std::string(axis_names[static_cast<int>(c.axis)]) + " " + facts_of(c).name;
  return s;
}
std::string text_of(const point& p) {
  std::string s;
  for (int d = 0; d + 1 < dimensions; ++d) s += (d ? ", " : "") + std::string(facts_of(of(p, axis_of(d))).name);
  return s;
}

namespace {

/// Orders of axes that are tried for a composition.
constexpr int orders = 60;

/// What a list has not met yet.
struct unmet {
  const agreement& agree;
  std::set<demand> all;

  unmet(int backend, std::set<demand> demanded)
      : agree(agrees(backend)), all(std::move(demanded)), pair_(agree.values * agree.values, want::nothing) {
    for (const demand& d : all) mark(d, d.values.size() == 2 ? want::any : want::doubled);
  }
  void meet(const point& p) {
    for (const demand& d : met_by(p))
      if (all.erase(d)) mark(d, want::nothing);
  }
  /// How many pairs of the filled values are wanted; an open scalar may become double.
  int pairs_of(const point& p) const {
    const int scalar = at(p, dimension::scalar);
    const bool may_be_double = scalar == open || scalar == in_double.number;
    int n = 0;
    for (int i = 0; i < dimensions; ++i)
      for (int j = i + 1; j < dimensions && p[static_cast<std::size_t>(i)] != open; ++j) {
        if (p[static_cast<std::size_t>(j)] == open) continue;
        const want w = pair_[place_of(of(p, axis_of(i)), of(p, axis_of(j)))];
        n += w == want::any || (w == want::doubled && may_be_double);
      }
    return n;
  }

 private:
  enum class want : char { nothing, any, doubled };
  std::size_t place_of(coordinate a, coordinate b) const {
    return agree.index_of(a) * agree.values + agree.index_of(b);
  }
  void mark(const demand& d, want w) {
    if (!of_routing(d)) pair_[place_of(d.values[0], d.values[1])] = w;
  }
  std::vector<want> pair_;  ///< by both values, the earlier axis first
};

/// Fills the open axes of `p` in the given order, each with the value that meets most of `left` and, where that is as
/// good, has been used least.  The pairs met; negative when some axis has no value that fits.
int fill(point& p, const unmet& left, const std::vector<int>& order, const std::vector<int>& used) {
  for (const int d : order) {
    if (p[static_cast<std::size_t>(d)] != open) continue;
    int best = open;
    long long most = -1;
    for (int v = 0; v < sizes[d]; ++v) {
      const coordinate c{axis_of(d), v};
      p[static_cast<std::size_t>(d)] = open;
      if (!left.agree.fits(c, p)) continue;
      p[static_cast<std::size_t>(d)] = v;
      // What other values of it may still meet, so that a value with much to meet is taken early.
      const long long worth = 100000ll * left.pairs_of(p) + std::max(0, 99999 - used[left.agree.index_of(c)]);
      if (worth > most) most = worth, best = v;
    }
    if (best == open) return -1;
    p[static_cast<std::size_t>(d)] = best;
  }
  return left.pairs_of(p);
}

/// A list that grows.
class builder {
 public:
  unmet left;
  std::vector<point> list;

  builder(int backend, std::set<demand> demanded)
      : left(backend, std::move(demanded)), backend_(backend), used_(left.agree.values, 0), order_(dimensions) {
    std::iota(order_.begin(), order_.end(), 0);
  }
  /// The best filling of a composition that has these values, and the pairs of `wanted` that it meets; negative where
  /// there is none.
  int best(const std::vector<coordinate>& values, const unmet& wanted, point& found) {
    point start;
    start.fill(open);
    at(start, dimension::backend) = backend_;
    for (const coordinate c : values) at(start, c.axis) = c.number;
    int most = -1;
    for (int i = 0; i < orders; ++i) {
      for (std::size_t k = order_.size(); k > 1; --k)
        std::swap(order_[k - 1], order_[draw_.below(drawn_++, static_cast<std::uint32_t>(k))]);
      point p = start;
      if (const int met = fill(p, wanted, order_, used_); met > most) most = met, found = p;
    }
    return most;
  }
  /// Adds the composition that meets `d` and most of what else is left.
  void take(const demand& d) {
    point p{};
    require(best(d.values, left, p) >= 0, "cover: nothing completes ", text_of(d));
    add(p);
    require(!left.all.count(d), "cover: ", text_of(d), " is never met");
  }
  void add(const point& p) {
    left.meet(p);
    list.push_back(p);
    for (int e = 0; e < dimensions; ++e) ++used_[left.agree.index_of(of(p, axis_of(e)))];
  }

 private:
  int backend_;
  std::vector<int> used_, order_;
  random_stream draw_ = random_root{1}.stream(stream_id("cover"), 0);
  std::uint64_t drawn_ = 0;
};

/// Compositions that share code to compile are neighbours.
void sort_by_code(std::vector<point>& list) {
  std::stable_sort(list.begin(), list.end(), [](const point& a, const point& b) {
    const auto key = [](const point& p) {
      return std::array{at(p, dimension::router), at(p, dimension::scalar), at(p, dimension::balance)};
    };
    return key(a) < key(b);
  });
}

}  // namespace

std::vector<point> covering_compositions(std::vector<point> list) {
  const std::set<demand> all = demands();
  builder b(backend_values::on_cpu, all);
  for (const point& p : list)
    if (b.left.agree.fits(p)) b.add(p);
  for (const demand& d : all)
    if (of_routing(d) && b.left.all.count(d)) b.take(d);
  while (!b.left.all.empty()) b.take(demand(*b.left.all.begin()));
  list = std::move(b.list);
  // The needless.
  std::map<demand, int> times;
  for (const point& p : list)
    for (const demand& d : met_by(p)) ++times[d];
  std::erase_if(list, [&](const point& p) {
    const auto met = met_by(p);
    for (const demand& d : met)
      if (all.count(d) && times[d] == 1) return false;
    for (const demand& d : met) --times[d];
    return true;
  });
  sort_by_code(list);
  return list;
}

std::vector<point> score_compositions() {
  std::vector<point> list;
  for (int t = 0; t < template_values::count; ++t)
    for (int s = 0; s < score_values::count; ++s) {
      const scored_verdict v = verdict_on_score(t, s);
      if (v.said == verdict::ok && !v.on_axis && router_templates[t].appears.tests && router_scores[s].appears.tests)
        list.push_back(v.composition);
    }
  return list;
}

std::vector<point> cuda_compositions() {
  const std::set<demand> all = pairs_on(backend_values::on_cuda);
  builder b(backend_values::on_cuda, all);
  // The router is the first axis and the longest.
  for (const demand& d : all)
    if (d.values[1].axis == dimension::backend && b.left.all.count(d)) b.take(d);
  for (bool better = true; better;) {
    better = false;
    for (point& p : b.list) {
      unmet others(backend_values::on_cuda, all);
      for (const point& q : b.list)
        if (&q != &p) others.meet(q);
      const auto pairs_of = [&](const point& q) {
        std::size_t n = 0;
        for (const demand& d : met_by(q)) n += others.all.count(d);
        return n;
      };
      point again{};
      if (b.best({of(p, dimension::router)}, others, again) >= 0 && pairs_of(again) > pairs_of(p))
        p = again, better = true;
    }
  }
  sort_by_code(b.list);
  return std::move(b.list);
}

std::vector<point> random_compositions(long long most, std::uint64_t seed, int backend) {
  const agreement& agree = agrees(backend);
  std::vector<point> list;
  if (most < 0) {
    // All of them, by counting through the axes.
    point p;
    p.fill(open);
    at(p, dimension::backend) = backend;
    const auto extend = [&](const auto& self, int d) -> void {
      if (d + 1 == dimensions) {
        list.push_back(p);
        return;
      }
      for (int v = 0; v < sizes[d]; ++v) {
        if (!agree.fits({axis_of(d), v}, p)) continue;
        p[static_cast<std::size_t>(d)] = v;
        self(self, d + 1);
        p[static_cast<std::size_t>(d)] = open;
      }
    };
    extend(extend, 0);
    return list;
  }
  const random_stream draw = random_root{seed}.stream(stream_id("matrix"), 0);
  std::uint64_t n = 0;
  std::set<point> seen;
  const long long routers = size_of(dimension::router);
  for (long long r = 0; r < routers; ++r) {
    const long long share = (r + 1) * most / routers - r * most / routers;
    long long found = 0;
    for (long long tries = 0; found < share && tries < 20000 * (share + 1); ++tries) {
      point p{};
      at(p, dimension::router) = static_cast<int>(r), at(p, dimension::backend) = backend;
      for (int d = 0; d + 1 < dimensions; ++d)
        if (axis_of(d) != dimension::router)
          p[static_cast<std::size_t>(d)] = static_cast<int>(draw.bits(n++).a % static_cast<std::uint32_t>(sizes[d]));
      if (agree.fits(p) && seen.insert(p).second) list.push_back(p), ++found;
    }
  }
  return list;
}

}  // namespace matrix
