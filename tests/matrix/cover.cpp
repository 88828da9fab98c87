// The greedy choice of compositions.
//
// Triples of router, capacity and unit come first, in double; a composition's other values are those that meet most of
// what is left.  Then what is still not met, pair by pair.  A router with another balance loss is compiled anew, with
// another expert it is not: so losses and combine rules change only where a pair asks for it.
#include "cover.hpp"

#include <algorithm>

namespace matrix {

bool operator<(const demand& a, const demand& b) {
  return std::lexicographical_compare(
      a.values.begin(), a.values.end(), b.values.begin(), b.values.end(),
      [](coordinate x, coordinate y) { return x.axis != y.axis ? x.axis < y.axis : x.number < y.number; });
}

namespace {

bool tested(coordinate c) { return facts_of(c).appears.tests && (c.axis != dimension::backend || c.number == 0); }
constexpr dimension triple[] = {dimension::router, dimension::capacity, dimension::unit};

/// Verdicts as a table: they are asked for very often here.
class agreement {
 public:
  bool operator()(coordinate a, coordinate b) const {
    return a.axis == b.axis || yes_[index_of(a) * values_ + index_of(b)];
  }
  agreement() {
    for (int d = 0; d < dimensions; ++d)
      first_[d] = static_cast<std::size_t>(d ? static_cast<int>(first_[d - 1]) + sizes[d - 1] : 0);
    values_ = first_[dimensions - 1] + static_cast<std::size_t>(sizes[dimensions - 1]);
    yes_.assign(values_ * values_, false);
    each_pair([&](coordinate a, coordinate b) {
      const bool ok = tested(a) && tested(b) && verdict_on(a, b) == verdict::ok;
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
  template <class F>
  static void each_pair(F f) {
    for (int i = 0; i < dimensions; ++i)
      for (int j = i + 1; j < dimensions; ++j)
        for (int a = 0; a < sizes[i]; ++a)
          for (int b = 0; b < sizes[j]; ++b) f(coordinate{axis_of(i), a}, coordinate{axis_of(j), b});
  }

 private:
  void set(coordinate a, coordinate b, bool yes) {
    yes_[index_of(a) * values_ + index_of(b)] = yes_[index_of(b) * values_ + index_of(a)] = yes;
  }
  std::size_t index_of(coordinate c) const {
    return first_[static_cast<std::size_t>(c.axis)] + static_cast<std::size_t>(c.number);
  }
  std::size_t first_[dimensions] = {}, values_ = 0;
  std::vector<bool> yes_;
};
const agreement& agrees() {
  static const agreement a;
  return a;
}

coordinate of(const point& p, dimension d) { return {d, at(p, d)}; }

}  // namespace

std::set<demand> demands() {
  std::set<demand> all;
  agreement::each_pair([&](coordinate a, coordinate b) {
    if (agrees()(a, b)) all.insert(demand{{a, b}});
  });
  for (int r = 0; r < size_of(triple[0]); ++r)
    for (int c = 0; c < size_of(triple[1]); ++c)
      for (int u = 0; u < size_of(triple[2]); ++u) {
        const coordinate x{triple[0], r}, y{triple[1], c}, z{triple[2], u};
        if (agrees()(x, y) && agrees()(x, z) && agrees()(y, z)) all.insert(demand{{x, y, z}});
      }
  return all;
}

std::vector<demand> met_by(const point& p) {
  std::vector<demand> d;
  for (int i = 0; i < dimensions; ++i)
    for (int j = i + 1; j < dimensions; ++j) d.push_back({{of(p, axis_of(i)), of(p, axis_of(j))}});
  d.push_back({{of(p, triple[0]), of(p, triple[1]), of(p, triple[2])}});
  return d;
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

constexpr int open = -1;

/// Fills the open axes of `p`, each with the value that meets most of `left`, or one of an earlier composition of the
/// router where that is as good.  False when some axis has no value that agrees.
bool fill(point& p, const std::set<demand>& left, const std::vector<point>& before) {
  // Axes with few choices left first: the rest bends to them.
  for (;;) {
    int next = open, fewest = 1 << 30;
    std::vector<coordinate> choices;
    for (int d = 0; d < dimensions; ++d) {
      if (p[static_cast<std::size_t>(d)] != open) continue;
      std::vector<coordinate> fit;
      for (int v = 0; v < sizes[d]; ++v) {
        const coordinate c{axis_of(d), v};
        bool ok = tested(c);
        for (int e = 0; e < dimensions && ok; ++e)
          if (p[static_cast<std::size_t>(e)] != open) ok = agrees()(c, of(p, axis_of(e)));
        if (ok) fit.push_back(c);
      }
      if (fit.empty()) return false;
      if (static_cast<int>(fit.size()) < fewest) fewest = static_cast<int>(fit.size()), next = d, choices = fit;
    }
    if (next == open) return true;
    coordinate best = choices.front();
    long long most = -1;
    for (const coordinate c : choices) {
      long long gain = 0;
      for (int e = 0; e < dimensions; ++e) {
        if (p[static_cast<std::size_t>(e)] == open || e == next) continue;
        const coordinate o = of(p, axis_of(e));
        gain += 1000 * static_cast<long long>(left.count(e < next ? demand{{o, c}} : demand{{c, o}}));
      }
      // As good: what this router has been compiled with, then what has been used least.
      long long used = 0;
      bool known = false;
      for (const point& q : before) {
        used += at(q, c.axis) == c.number;
        known = known || (at(q, c.axis) == c.number && at(q, dimension::router) == at(p, dimension::router));
      }
      const bool costly = c.axis == dimension::balance || c.axis == dimension::combine;
      const long long worth = gain + (costly && known ? 500 : 0) + std::max(0ll, 400 - used);
      if (worth > most) most = worth, best = c;
    }
    p[static_cast<std::size_t>(next)] = best.number;
  }
}

}  // namespace

std::vector<point> covering_compositions() {
  std::set<demand> left = demands();
  std::vector<point> list;
  const auto take = [&](point p) {
    if (!fill(p, left, list)) return false;
    for (const demand& d : met_by(p)) left.erase(d);
    list.push_back(p);
    return true;
  };
  point free;
  free.fill(open);
  at(free, dimension::backend) = backend_values::on_cpu;
  const std::set<demand> all = left;
  for (const demand& d : all) {
    if (d.values.size() != 3 || !left.count(d)) continue;
    point p = free;
    at(p, dimension::scalar) = scalar_values::f64;
    for (const coordinate c : d.values) at(p, c.axis) = c.number;
    require(take(p), "cover: nothing completes ", text_of(d));
  }
  while (!left.empty()) {
    const demand d = *left.begin();
    point p = free;
    for (const coordinate c : d.values) at(p, c.axis) = c.number;
    require(take(p), "cover: nothing completes ", text_of(d));
    require(!left.count(d), "cover: ", text_of(d), " is never met");
  }
  std::stable_sort(list.begin(), list.end(), [](const point& a, const point& b) {
    const auto key = [](const point& p) {
      return std::array{at(p, dimension::router), at(p, dimension::scalar), at(p, dimension::balance),
                        at(p, dimension::combine)};
    };
    return key(a) < key(b);
  });
  return list;
}

std::vector<point> random_compositions(long long most, std::uint64_t seed) {
  std::vector<point> list;
  if (most < 0) {
    // All of them, by counting through the axes.
    point p;
    p.fill(open);
    at(p, dimension::backend) = backend_values::on_cpu;
    const auto extend = [&](const auto& self, int d) -> void {
      if (d + 1 == dimensions) {
        list.push_back(p);
        return;
      }
      for (int v = 0; v < sizes[d]; ++v) {
        bool ok = tested({axis_of(d), v});
        for (int e = 0; e < d && ok; ++e) ok = agrees()({axis_of(d), v}, of(p, axis_of(e)));
        if (!ok) continue;
        p[static_cast<std::size_t>(d)] = v;
        self(self, d + 1);
      }
    };
    extend(extend, 0);
    return list;
  }
  const random_stream draw = random_root{seed}.stream(stream_id("matrix"), 0);
  std::uint64_t n = 0;
  std::set<point> seen;
  for (long long tries = 0; static_cast<long long>(list.size()) < most && tries < 10000 * (most + 1); ++tries) {
    point p{};
    for (int d = 0; d + 1 < dimensions; ++d)
      p[static_cast<std::size_t>(d)] = static_cast<int>(draw.bits(n++).a % static_cast<std::uint32_t>(sizes[d]));
    bool ok = true;
    for (int d = 0; d < dimensions && ok; ++d) {
      ok = tested(of(p, axis_of(d)));
      for (int e = 0; e < d && ok; ++e) ok = agrees()(of(p, axis_of(d)), of(p, axis_of(e)));
    }
    if (ok && seen.insert(p).second) list.push_back(p);
  }
  return list;
}

}  // namespace matrix
