// Looking verdicts up.
#include "verdict_table.hpp"

#include <fstream>
#include <sstream>

#ifndef POLYMOE_SOURCE_DIR
#define POLYMOE_SOURCE_DIR "."
#endif

namespace matrix {
namespace detail {

pair_table& pairs() {
  static pair_table table = [] {
    pair_table t;
    fill_router_pairs(t), fill_other_pairs(t), fill_alone(t);
    return t;
  }();
  return table;
}
std::vector<sample>& samples() {
  static std::vector<sample> all = [] {
    std::vector<sample> s;
    fill_samples(s);
    return s;
  }();
  return all;
}

namespace {
const std::vector<value_facts>& all_facts() {
  static const std::vector<value_facts> facts = [] {
    std::vector<value_facts> v;
#define MATRIX_FACT(A, id, where, ...)                                                               \
  v.push_back({value<dimension::A, A##_values::id>::name, value<dimension::A, A##_values::id>::text, \
               value<dimension::A, A##_values::id>::appears});
#define MATRIX_FACTS(A, list, prefix) list(MATRIX_FACT, A)
    MATRIX_AXES(MATRIX_FACTS)
#undef MATRIX_FACTS
#undef MATRIX_FACT
    return v;
  }();
  return facts;
}
const std::vector<value_facts>& scored_facts() {
  static const std::vector<value_facts> facts = [] {
    std::vector<value_facts> v;
    for (const char* name : scored_routers) v.push_back({name, name, tests});
    return v;
  }();
  return facts;
}
int flat_of(coordinate c) { return detail::flat(c.axis, c.number); }

/// Whether a completion with this one value changed is supported.
bool alone(coordinate c, int way) {
  return pairs().alone[static_cast<std::size_t>(flat_of(c) * ways + way)] == static_cast<int>(verdict::ok);
}
}  // namespace
}  // namespace detail

const value_facts& facts_of(coordinate c) {
  const int beyond = c.number - router_values::count;
  if (c.axis == dimension::router && beyond >= 0) return detail::scored_facts().at(static_cast<std::size_t>(beyond));
  return detail::all_facts()[static_cast<std::size_t>(detail::flat_of(c))];
}

verdict verdict_on(coordinate a, coordinate b) {
  const int i = detail::flat_of(a), j = detail::flat_of(b);
  int blamed = 0, best = -1;
  for (int way = 0; way < ways; ++way) {
    const int said = detail::pairs().cell(i, j, way);
    if (said == static_cast<int>(verdict::ok)) return verdict::ok;
    if (said == detail::unasked) continue;
    const int fit = detail::alone(a, way) + detail::alone(b, way);
    if (fit > best) best = fit, blamed = said;
  }
  return static_cast<verdict>(blamed);
}

verdict first_refusal(const point& p) {
  for (int i = 0; i < dimensions; ++i)
    for (int j = i + 1; j < dimensions; ++j) {
      const verdict v =
          verdict_on({axis_of(i), p[static_cast<std::size_t>(i)]}, {axis_of(j), p[static_cast<std::size_t>(j)]});
      if (v != verdict::ok) return v;
    }
  return verdict::ok;
}
bool supported(const point& p) { return first_refusal(p) == verdict::ok; }

const std::vector<sample>& sampled() { return detail::samples(); }

namespace {
/// Extends `p` from axis `d` on by every listed value that agrees with the values before it.
void extend(point& p, int d, const std::vector<std::vector<char>>& agrees, census& c) {
  if (d == dimensions) {
    c.supported += distinct(p);
    return;
  }
  for (int v = 0; v < sizes[d]; ++v) {
    if (!facts_of({axis_of(d), v}).appears.page) continue;
    bool fits = true;
    for (int e = 0; e < d && fits; ++e)
      fits = agrees[static_cast<std::size_t>(detail::first_of(e) + p[static_cast<std::size_t>(e)])]
                   [static_cast<std::size_t>(detail::first_of(d) + v)] != 0;
    if (!fits) continue;
    p[static_cast<std::size_t>(d)] = v;
    extend(p, d + 1, agrees, c);
  }
}
}  // namespace

census count_compositions() {
  std::vector<std::vector<char>> agrees(detail::values, std::vector<char>(detail::values, 0));
  for (int i = 0; i < dimensions; ++i)
    for (int j = i + 1; j < dimensions; ++j)
      for (int a = 0; a < sizes[i]; ++a)
        for (int b = 0; b < sizes[j]; ++b)
          agrees[static_cast<std::size_t>(detail::first_of(i) + a)][static_cast<std::size_t>(detail::first_of(j) + b)] =
              verdict_on({axis_of(i), a}, {axis_of(j), b}) == verdict::ok;
  census c;
  c.compositions = 1;
  const auto listed = [](dimension d) {
    long long n = 0;
    for (int v = 0; v < size_of(d); ++v) n += facts_of({d, v}).appears.page;
    return n;
  };
  for (int d = 0; d < dimensions; ++d)
    if (axis_of(d) != dimension::capacity && axis_of(d) != dimension::priority) c.compositions *= listed(axis_of(d));
  // A capacity without a bound has no orders.
  c.compositions *= 1 + (listed(dimension::capacity) - 1) * listed(dimension::priority);
  point p{};
  extend(p, 0, agrees, c);
  return c;
}

namespace {
/// The codes by the numbers of the enumerators, which follow each other but where one says its own.
std::vector<std::string> read_codes() {
  const std::string text = project_text("include/polymoe/layer/support.hpp");
  const std::size_t first = text.find("enum class verdict {"), end = text.find("};", first);
  std::vector<std::string> codes;
  std::size_t at = text.find("ok,", first);
  for (codes.push_back("ok"); (at = text.find("\n  M", at)) < end; ++at) {
    const std::string line = text.substr(at + 3, text.find('\n', at + 1) - at - 3);
    if (const std::size_t sign = line.find("= "); sign != std::string::npos)
      codes.resize(std::stoul(line.substr(sign + 2)));
    codes.push_back(line.substr(0, 4));
  }
  return codes;
}
}  // namespace

std::string code_of(verdict v) {
  static const std::vector<std::string> codes = read_codes();
  return codes.at(static_cast<std::size_t>(v));
}

std::string project_text(const std::string& name) {
  std::ifstream in(std::string(POLYMOE_SOURCE_DIR) + "/" + name);
  require(in.good(), "support matrix: cannot read ", name);
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}

}  // namespace matrix
