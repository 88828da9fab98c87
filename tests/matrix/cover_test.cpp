// The tested compositions (compositions_<n>_test.cpp) meet every supported pair and every supported triple of router,
// capacity and unit in double, those of scores (score_compositions_<n>_test.cpp) every supported router and score,
// those on CUDA (cuda_compositions_<n>_test.cpp) every value; none holds anything that is refused, and all are as the
// tool writes them.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "lists.hpp"

namespace matrix {
namespace {

const std::vector<point>& committed_points() {
  static const std::vector<point> list = committed("compositions", backend_values::on_cpu);
  REQUIRE(!list.empty());
  return list;
}
/// Values of axes, the backend apart, that are tested on a backend and not in a list for it.
std::string values_without(const std::vector<point>& list, int backend) {
  std::string text;
  for (int d = 0; d + 1 < dimensions; ++d)
    for (int v = 0; v < sizes[d]; ++v) {
      bool met = !tested({axis_of(d), v}, backend);
      for (const point& p : list) met = met || p[static_cast<std::size_t>(d)] == v;
      if (!met) text += std::string(axis_names[d]) + " " + facts_of({axis_of(d), v}).name + "; ";
    }
  return text;
}
/// Demands that a list does not meet.
std::set<demand> missing(const std::vector<point>& list) {
  static const std::set<demand> all = demands();
  std::set<demand> left = all;
  for (const point& p : list)
    for (const demand& d : met_by(p)) left.erase(d);
  return left;
}

}  // namespace

TEST_CASE("the tested compositions meet every supported pair and triple, and are supported") {
  const auto& list = committed_points();
  for (const point& p : list) {
    CHECK_MESSAGE(supported(p), text_of(p), " is refused: ", code_of(first_refusal(p)));
    CHECK_MESSAGE(distinct(p), text_of(p), " has an order of places where every wish has one");
  }
  const auto left = missing(list);
  for (const demand& d : left)
    CHECK_MESSAGE(false, "not met: ", text_of(d), "; support_matrix write makes another list");
  CHECK(demands().size() > 3000);
  CHECK(values_without(list, backend_values::on_cpu) == "");
}

TEST_CASE("the compositions on CUDA are supported, meet every value, and are those that support_matrix writes") {
  auto list = committed("cuda_compositions", backend_values::on_cuda);
  REQUIRE(!list.empty());
  for (const point& p : list) {
    CHECK_MESSAGE(supported(p), text_of(p), " is refused: ", code_of(first_refusal(p)));
    CHECK_MESSAGE(distinct(p), text_of(p), " has an order of places where every wish has one");
  }
  CHECK(values_without(list, backend_values::on_cuda) == "");
  CHECK(values_without({}, backend_values::on_cuda).find("scalar b16; ") != std::string::npos);
  CHECK(values_without({}, backend_values::on_cuda).find("scalar dual") == std::string::npos);
  const coverage pairs = cuda_coverage(list);
  MESSAGE(list.size(), " compositions on CUDA meet ", pairs.met, " of ", pairs.all, " pairs");
  // The files deal the list out.
  auto made = cuda_compositions();
  std::sort(list.begin(), list.end()), std::sort(made.begin(), made.end());
  CHECK_MESSAGE(list == made, "the list is an old one: support_matrix write");
}

TEST_CASE("every supported router and score is tested in double") {
  const auto list = committed("score_compositions", backend_values::on_cpu);
  CHECK(list.size() == std::set<point>(list.begin(), list.end()).size());
  std::size_t of_list = 0;
  for (int t = 0; t < template_values::count; ++t)
    for (int s = 0; s < score_values::count; ++s) {
      const scored_verdict v = verdict_on_score(t, s);
      const auto has_router = [&](int number, const std::vector<point>& points) {
        return std::any_of(points.begin(), points.end(), [&](const point& p) {
          return at(p, dimension::router) == number && at(p, dimension::scalar) == scalar_values::f64;
        });
      };
      const int number = at(v.composition, dimension::router);
      const bool here = has_router(number, list);
      of_list += here;
      const std::string name = facts_of({dimension::router, number}).name;
      if (v.said != verdict::ok || v.on_axis || !router_templates[t].appears.tests) {
        CHECK_MESSAGE(!here, name, " is refused, or of the axis");
        continue;
      }
      CHECK_MESSAGE(here, name, " is not tested; support_matrix write");
    }
  CHECK(of_list == list.size());
  CHECK(list.size() > 80);
}

TEST_CASE("the tests of compositions are, letter for letter, what support_matrix writes from them") {
  std::set<std::string> names;
  for (const file_text& f : tests_of_compositions()) {
    names.insert(std::filesystem::path(f.name).filename().string());
    CHECK_MESSAGE((std::filesystem::exists(f.name) && project_text(f.name) == f.text),
                  f.name, " is an old one: support_matrix write");
  }
  for (const auto& f : std::filesystem::directory_iterator("tests/matrix")) {
    const std::string name = f.path().filename().string();
    if (name.find("compositions_") != std::string::npos) CHECK_MESSAGE(names.count(name), name, " is nobody's");
  }
}

TEST_CASE("docs/results/matrix.md has the numbers of the lists") {
  const std::string written = project_text("docs/results/matrix.md");
  const auto says = [&](std::size_t n, const std::string& of) {
    const std::string text = std::to_string(n) + " " + of;
    CHECK_MESSAGE((written.find(" " + text) != std::string::npos || written.find("\n" + text) != std::string::npos),
                  "it does not say ", text);
  };
  says(committed_points().size(), "compositions that meet all");
  says(committed("score_compositions", backend_values::on_cpu).size(), "compositions in double, one for each");
  says(committed("cuda_compositions", backend_values::on_cuda).size(), "compositions, one a router");
  std::size_t triples = 0;
  for (const demand& d : demands()) triples += of_routing(d);
  says(triples, "supported triples of router");
  says(demands().size() - triples, "supported pairs of values of any two axes");
}

TEST_CASE("everything that the page lists is tested on the CPU") {
  for (int d = 0; d < dimensions; ++d)
    for (int v = 0; v < sizes[d]; ++v)
      if (axis_of(d) != dimension::backend && facts_of({axis_of(d), v}).appears.page)
        CHECK_MESSAGE(tested({axis_of(d), v}), facts_of({axis_of(d), v}).name, " is listed only");
}

TEST_CASE("a missing composition is seen") {
  auto list = committed_points();
  const auto before = missing(list).size();
  // The triples are met once or a few times: among these there is one whose loss is seen.
  std::size_t seen = 0;
  for (std::size_t i = 0; i < list.size(); i += 7) {
    auto fewer = list;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    seen += missing(fewer).size() > before;
  }
  CHECK(seen > list.size() / 14);
}

TEST_CASE("a pair that is met in float alone is seen") {
  auto list = committed_points();
  // A pair of router and save, in double in one composition only, which becomes one in float.
  std::map<demand, std::vector<std::size_t>> where;
  for (std::size_t i = 0; i < list.size(); ++i)
    for (const demand& d : met_by(list[i]))
      if (d.values.size() == 3 && d.values[0].axis == dimension::router && d.values[1].axis == dimension::save)
        where[d].push_back(i);
  const auto once =
      std::find_if(where.begin(), where.end(), [](const auto& met) { return met.second.size() == 1; });
  REQUIRE(once != where.end());
  CHECK(!missing(list).count(once->first));
  at(list[once->second[0]], dimension::scalar) = scalar_values::f32;
  CHECK(missing(list).count(once->first));
}

TEST_CASE("a list grows by what is missing, and keeps what it has") {
  const auto& list = committed_points();
  CHECK(covering_compositions(list) == list);
  auto fewer = list;
  fewer.erase(fewer.begin() + 100, fewer.begin() + 110);
  const auto again = covering_compositions(fewer);
  CHECK(missing(again).empty());
  std::size_t kept = 0;
  for (const point& p : fewer) kept += std::count(again.begin(), again.end(), p) != 0;
  CHECK(kept > fewer.size() - 20);
}

TEST_CASE("random compositions: supported, without repeats, the same for the same seed") {
  const auto a = random_compositions(50, 3), b = random_compositions(50, 3), c = random_compositions(50, 4);
  CHECK((a == b && a != c && a.size() == 50));
  CHECK(std::set<point>(a.begin(), a.end()).size() == 50);
  for (const point& p : a) CHECK_MESSAGE(supported(p), text_of(p));
  // As many of every router.
  std::vector<int> of_router(router_values::count, 0);
  for (const point& p : random_compositions(3 * router_values::count, 5)) ++of_router[static_cast<std::size_t>(p[0])];
  CHECK(of_router == std::vector<int>(router_values::count, 3));
  const auto on_cuda = random_compositions(60, 3, backend_values::on_cuda);
  CHECK(on_cuda.size() == 60);
  for (const point& p : on_cuda) {
    CHECK_MESSAGE(supported(p), text_of(p));
    CHECK(at(p, dimension::backend) == backend_values::on_cuda);
  }
}

}  // namespace matrix
